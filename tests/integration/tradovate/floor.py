"""A trading floor: the whole app at work on the simulated Tradovate, over real sockets.

Alerts go in by the intake, people by the API; what came of it is read from the database and
compared with what the simulator has.
"""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from apiflask import APIFlask
from sqlalchemy import select

from app import create_app
from app.extensions import writer
from app.models import (
    Account,
    Book,
    ExternalOrder,
    LivePosition,
    Order,
    RecordedPosition,
    StrategyLog,
    Trade,
)
from app.models.base import table
from config import Config
from tests.apps import started
from tests.faults.proof import Rows
from tests.faults.tradovate import proof
from tests.integration.trading.desk import BRACKET, contract_of, wait_until
from tests.people import PASSWORD, Person, register
from tests.simulators.tradovate.control import Simulator

SYMBOL = "MNQ1!"
CREDENTIALS = {"username": "demo", "password": "demo", "client_id": "1", "client_secret": "demo"}
ORDER_PATHS = (
    "order/placeorder",
    "order/placeoso",
    "order/placeoco",
    "orderstrategy/startorderstrategy",
)
_PATIENCE_S = 30.0
_FINISHED = ("done", "skipped", "expired", "failed", "unknown")
_numbers = count(1)

__all__ = ["BRACKET", "Floor", "Robot", "contract_of", "wait_until"]


class _Tracebacks(logging.Handler):
    """Keeps what was logged with a stack trace."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.found.append(f"{record.name}: {record.getMessage()} {record.exc_info[1]!r}")


@dataclass
class Robot:
    """A strategy with its traders; alerts come by its webhook."""

    floor: Floor
    id: int
    hook: str
    traders: list[int]

    def alert(self, action: str, *, wait: bool = True, **fields: Any) -> dict[str, Any]:
        """Send one alert. Its first execution when all have ended, or as it is (``wait``)."""
        symbol = fields.pop("symbol", SYMBOL)
        body = {"action": action, "symbol": symbol, "order_id": next(_numbers), **fields}
        answer = self.floor.app.test_client().post(self.hook, json=body)
        assert answer.status_code in (200, 202), answer.text
        self.signal = int(answer.get_json()["signal_id"])
        if wait:
            self.wait()
        return self.executions()[0]

    def wait(self) -> None:
        def is_over() -> bool:
            return all(e["status"] in _FINISHED for e in self.executions())

        wait_until(is_over, _PATIENCE_S)

    def executions(self) -> list[dict[str, Any]]:
        answer = self.floor.person.get(f"/api/signals/{self.signal}/")
        return list(answer.get_json()["executions"])

    def orders(self, *roles: str) -> list[Any]:
        found = self.floor.rows(Order, strategy_id=self.id)
        return [order for order in found if not roles or order.role in roles]

    def legs(self) -> list[tuple[str, int, Decimal]]:
        """Role, quantity and price of each leg that works, sorted."""
        return sorted(
            (order.role, int(order.quantity), order.limit_price or order.stop_price)
            for order in self.orders("take_profit", "stop_loss")
            if order.status in ("working", "partially_filled")
        )

    def net(self, contract: str | None = None) -> int:
        """What its books hold, signed."""
        held = self.floor.rows(Book, strategy_id=self.id, contract=contract or self.floor.contract)
        return sum(int(book.net_pos) for book in held)

    def trades(self) -> list[Any]:
        return self.floor.rows(Trade, strategy_id=self.id)

    def positions(self) -> list[Any]:
        return self.floor.rows(RecordedPosition, strategy_id=self.id)

    def lines(self) -> list[str]:
        return [line.message for line in self.floor.rows(StrategyLog, strategy_id=self.id)]


@dataclass
class Floor:
    """The app as it runs, a person who is signed in, and their first account."""

    config: Config
    simulator: Simulator
    twice: set[str | None] = field(default_factory=lambda: {None})
    """Client order ids of what the simulator was told to take twice."""
    number: int = 0
    """The first account's number at the broker."""
    foreign: bool = False
    """Whether somebody else trades on the accounts."""

    def __post_init__(self) -> None:
        self.contract = contract_of(SYMBOL)
        self.next_contract = contract_of("MNQ2!")
        self.tracebacks = _Tracebacks()
        self.answers: Counter[int] = Counter()
        self.start()
        self.person: Person = register(self.app)
        self.quote("20000")

    # The process

    def start(self) -> None:
        self.app: APIFlask = create_app(self.config)
        self.app.testing = True
        self.app.after_request(self._note)
        logging.getLogger().addHandler(self.tracebacks)
        self._life = ExitStack()
        self._life.enter_context(started(self.app))

    def stop(self) -> None:
        self._life.close()
        logging.getLogger().removeHandler(self.tracebacks)

    def restart(self) -> None:
        self.stop()
        self.start()
        client = self.app.test_client()
        body = {"login": self.person.username, "password": PASSWORD}
        answer = client.post("/api/auth/login/", json=body)
        csrf = answer.get_json()["csrf_token"]
        self.person = Person(client, self.person.id, self.person.username, csrf, self.app)

    def _note(self, response: Any) -> Any:
        self.answers[response.status_code] += 1
        return response

    # The market

    def quote(self, bid: str | Decimal, contract: str | None = None) -> None:
        """Bid, and the offer a tick above."""
        price = Decimal(bid)
        name = contract or self.contract
        self.simulator.set_price(name, price, price + Decimal("0.25"), price)

    # People

    def open(self, name: str = "Demo", *, wait: bool = True, **more: Any) -> int:
        """Open an account of the seeded log-in (the first, where none is named); our id."""
        number = int(more.pop("number", None) or min(self.simulator.book()["cash"], key=int))
        self.number = self.number or number
        body = {
            "name": name,
            "broker": "tradovate",
            "environment": "demo",
            "broker_account_id": str(number),
            "credentials": CREDENTIALS,
            **more,
        }
        made = self.person.post("/api/accounts/", body)
        assert made.status_code == 201, made.text
        account_id = int(made.get_json()["id"])
        if wait:
            wait_until(lambda: self.account(account_id).status == "connected", _PATIENCE_S)
        return account_id

    def account(self, account_id: int | None = None) -> Any:
        rows = self.rows(Account) if account_id is None else self.rows(Account, id=account_id)
        return rows[0]

    def robot(self, account_ids: list[int] | int, symbol: str = SYMBOL, **settings: Any) -> Robot:
        """A strategy that trades on these accounts."""
        name = f"Robot {next(_numbers)}"
        body = {"name": name, "symbol": symbol, "settings": settings}
        made = self.person.post("/api/recorders/", body)
        assert made.status_code == 201, made.text
        recorder = made.get_json()
        ids = [account_ids] if isinstance(account_ids, int) else account_ids
        traders = []
        for account_id in ids:
            wanted = {"strategy_id": recorder["id"], "account_id": account_id, "enabled": True}
            added = self.person.post("/api/traders/", {**wanted, "overrides": {}})
            assert added.status_code == 201, added.text
            traders.append(int(added.get_json()["id"]))
        return Robot(self, recorder["id"], urlsplit(recorder["webhook_url"]).path, traders)

    def flatten(self, account_id: int) -> Any:
        return self.person.post(f"/api/accounts/{account_id}/flatten/")

    # What is there

    def rows(self, model: Any, **where: Any) -> list[Any]:
        of = table(model)
        query = select(of).order_by(of.c.id)
        for name, value in where.items():
            query = query.where(of.c[name] == value)
        with writer.read() as connection:
            return list(connection.execute(query))

    def lines(self, level: str | None = None) -> list[str]:
        found = self.rows(StrategyLog)
        return [line.message for line in found if level in (None, line.level)]

    def says(self, *words: str) -> None:
        """Wait until one line of the log has all of these words."""

        def is_said() -> bool:
            return any(all(word in line for word in words) for line in self.lines())

        try:
            wait_until(is_said)
        except AssertionError:
            raise AssertionError(f"{words} is in none of {self.lines()}") from None

    def sent(self, *paths: str) -> list[dict[str, Any]]:
        """The bodies of what was sent to these paths (all that make orders, where none)."""
        found = self.simulator.requests()
        return [row["body"] for row in found if row["path"] in (paths or ORDER_PATHS)]

    def orders(self, status: str | None = None) -> list[dict[str, Any]]:
        """As the simulator has them."""
        found = self.simulator.book()["orders"]
        return [order for order in found if status in (None, order["status"])]

    def net(self, contract: str | None = None, number: int | None = None) -> int:
        """What the simulator holds in a contract."""
        held = self.simulator.book()["positions"]
        wanted = (number or self.number, contract or self.contract)
        return sum(int(p["netPos"]) for p in held if (p["accountId"], p["contract"]) == wanted)

    def is_live(self) -> bool:
        return all(row.status == "connected" for row in self.rows(Account))

    def differences(self) -> dict[str, list[Any]]:
        """What the simulator has otherwise than we: orders, fills, positions, books."""
        book = self.simulator.book()
        with writer.read() as connection:
            rows = Rows(connection)
        accounts = self.rows(Account)
        ours = {row.id: int(row.broker_account_id) for row in accounts if row.broker_account_id}
        numbers = set(ours.values())
        seen = proof.Seen(
            rows=rows,
            numbers=ours,
            live=self.rows(LivePosition),
            external=self.rows(ExternalOrder),
            apart={ours[row.id] for row in accounts if row.out_of_sync_since is not None},
            orders={o["id"]: o for o in book["orders"] if o["accountId"] in numbers},
            fills=[f for f in book["fills"] if f["accountId"] in numbers],
            net={
                (p["accountId"], p["contract"]): Decimal(str(p["netPos"]))
                for p in book["positions"]
                if p["accountId"] in numbers
            },
            fees={int(k): Decimal(str(v["fees"])) for k, v in book["cash"].items()},
            twice=frozenset(self.twice),
        )
        found = {what: those for what, those in proof.compare(seen).items() if those}
        if self.foreign:
            found.pop("orders of ours taken for somebody else's", None)
        return found

    def agree(self) -> None:
        """Both sides come to say the same, and nothing was sent twice."""
        try:
            wait_until(lambda: not self.differences() and self.is_live(), _PATIENCE_S)
        except AssertionError:
            states = [(row.status, row.last_error, row.sync_note) for row in self.rows(Account)]
            raise AssertionError(f"{self.differences()} {states} {self.lines()}") from None
        assert not self.tracebacks.found
        assert not [status for status in self.answers if status == 500]

    def nothing_works(self, number: int | None = None) -> bool:
        """Whether the simulator has no order open on the account."""
        working = self.simulator.book()["working"]
        return not working[str(number or self.number)]
