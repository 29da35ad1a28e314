"""One user's trading desk: alerts go in by the intake, and what came of them is read back."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from time import monotonic
from typing import Any

import gevent
from apiflask import APIFlask
from sqlalchemy import select

from app import clock
from app.brokers import registry
from app.brokers.base import AccountRef
from app.domain import symbols
from app.domain.settings import dump, parse_overrides, parse_strategy
from app.extensions import writer
from app.models import (
    Account,
    Book,
    Event,
    Execution,
    Order,
    RecordedPosition,
    Signal,
    Strategy,
    StrategyLog,
    Trade,
    Trader,
    User,
)
from app.services import signals
from app.services.signals import Alert, Receipt
from tests import factories
from tests.brokers import FakeBroker
from tests.contract.brokers import PriceBoard

SYMBOL = "MNQ1!"
BRACKET: dict[str, Any] = {
    "take_profits": [{"distance": "40", "unit": "ticks"}],
    "stop_loss": {"distance": "20", "unit": "ticks"},
}
"""Target 10 points away, stop 5: MNQ's tick is a quarter of a point, worth 0.50."""
_numbers = count(1)


def contract_of(symbol: str = SYMBOL) -> str:
    return symbols.resolve(symbol, clock.now()).contract


def wait_until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Let everybody work until ``condition`` holds."""
    until = monotonic() + timeout_s
    while not condition():
        assert monotonic() < until, "it did not happen in time"
        gevent.sleep(0.005)


@dataclass
class Setup:
    """A strategy with its trader on an account."""

    desk: Desk
    strategy: Strategy
    account: Account
    trader: Trader
    token: str

    @property
    def ref(self) -> AccountRef:
        return registry.ref(self.account)

    def alert(self, action: str | list[dict[str, Any]], **fields: Any) -> Receipt:
        """Send one alert; what the intake says. ``wait`` (default) until it is carried out."""
        wait = fields.pop("wait", True)
        if isinstance(action, str):
            body: Any = {"action": action, "symbol": SYMBOL, "order_id": next(_numbers), **fields}
        else:
            body = action
        receipt = self.desk.receive(self.token, body)
        if wait:
            self.desk.settle()
        return receipt

    def executions(self) -> list[Any]:
        return self.desk.rows(Execution, trader_id=self.trader.id)

    def outcome(self) -> tuple[str, str | None]:
        """Status and reason of the newest execution."""
        last = self.executions()[-1]
        return last.status, last.reason

    def orders(self, role: str | None = None) -> list[Any]:
        found = self.desk.rows(Order, trader_id=self.trader.id)
        return [order for order in found if role is None or order.role == role]

    def statuses(self) -> list[tuple[str, str]]:
        return [(order.role, order.status) for order in self.orders()]

    def order(self, role: str) -> Any:
        """The newest order of that role."""
        return self.orders(role)[-1]

    def net(self, contract: str | None = None) -> Any:
        """What the book holds, signed."""
        books = self.desk.rows(Book, trader_id=self.trader.id, contract=contract or contract_of())
        return books[0].net_pos if books else Decimal(0)

    def positions(self) -> list[Any]:
        return self.desk.rows(RecordedPosition, trader_id=self.trader.id)

    def trades(self) -> list[Any]:
        return self.desk.rows(Trade, trader_id=self.trader.id)

    def logs(self) -> list[str]:
        found = self.desk.rows(StrategyLog, strategy_id=self.strategy.id)
        return [line.event for line in found]

    def change(self, row: Any, **values: Any) -> None:
        def work(tx: Any) -> None:
            found = tx.session.get(type(row), row.id)
            for name, value in values.items():
                setattr(found, name, value)
            if hasattr(found, "version"):
                found.version += 1

        writer.run(work)


class Desk:
    def __init__(self, app: APIFlask, board: PriceBoard) -> None:
        self.app = app
        self.board = board
        self.user: User = factories.user()

    def show(self, bid: str, ask: str, symbol: str = SYMBOL) -> None:
        self.board.show(contract_of(symbol), bid, ask)

    def account(self, broker: str = "paper") -> Account:
        account = factories.account(self.user, broker=broker)
        if broker == "paper":
            paper: Any = registry.get("paper")
            writer.run(lambda tx: paper.open_account(tx, account.id, "USD", Decimal(1_000_000)))
        return account

    def setup(
        self,
        broker: str = "paper",
        *,
        account: Account | None = None,
        overrides: dict[str, Any] | None = None,
        **settings: Any,
    ) -> Setup:
        token = secrets.token_hex(16)
        document = dump(parse_strategy({"duplicate_window": 0, **settings}))
        strategy = factories.strategy(self.user, token=token, settings=document)
        account = account or self.account(broker)
        changed = dump(parse_overrides(overrides or {}))
        trader = factories.trader(strategy, account, overrides=changed)
        return Setup(self, strategy, account, trader, token)

    def receive(self, token: str, body: Any) -> Receipt:
        data = json.dumps(body).encode()
        alert = Alert(data, "application/json", "127.0.0.1", clock.now(), None)
        with self.app.app_context():
            return signals.receive(token, alert)

    def settle(self) -> None:
        wait_until(lambda: not self.unfinished())

    def unfinished(self) -> list[Any]:
        """Executions that are under way or due."""
        now = clock.now()
        return [
            row
            for row in self.rows(Execution, user_id=self.user.id)
            if row.status in ("pending", "running") and (row.due_at is None or row.due_at <= now)
        ]

    def rows(self, model: Any, **where: Any) -> list[Any]:
        statement = select(model.__table__).order_by(model.__table__.c.id)
        for name, value in where.items():
            statement = statement.where(model.__table__.c[name] == value)
        with writer.read() as connection:
            return list(connection.execute(statement))

    def events(self) -> list[str]:
        """The types of all events so far; their numbers have no gap."""
        found = self.rows(Event, user_id=self.user.id)
        assert sorted(e.seq for e in found) == list(range(1, len(found) + 1))
        return [event.type for event in sorted(found, key=lambda e: e.seq)]

    def signal(self, receipt: Receipt) -> Any:
        [row] = self.rows(Signal, id=receipt.signal_id)
        return row


def in_sync(setup: Setup, fake: FakeBroker) -> bool:
    """Whether the broker holds what the only book says."""
    return bool(fake.held(setup.account.id).get(contract_of(), Decimal(0)) == setup.net())
