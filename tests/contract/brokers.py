"""What the contract test needs of a broker: the broker, one account, and a hand on the price."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Protocol

from app import clock
from app.brokers.base import AccountRef, Broker
from app.brokers.paper import PaperBroker
from app.domain.trading import BrokerReport, Quote
from app.extensions import writer
from app.models import Account
from tests import factories
from tests.simulators.tradovate.control import Simulator
from tests.tradovate import CONTRACT as CONTRACT
from tests.tradovate import TradovateDesk


class Rig(Protocol):
    """One broker under test with one empty account of 10,000, quoted 20,000.00 x 20,000.25."""

    account: AccountRef
    heard: list[BrokerReport]
    """What listeners were told."""

    @property
    def broker(self) -> Broker: ...

    def move(self, bid: str, ask: str) -> None:
        """Bring a new quote of ``CONTRACT`` and wait until its consequences are told."""
        ...


class PriceBoard:
    """A feed whose quotes are written by hand."""

    def __init__(self) -> None:
        self.quotes: dict[str, Quote] = {}

    def knows(self, symbol: str) -> bool:
        return symbol in self.quotes

    def quote(self, symbol: str) -> Quote | None:
        return self.quotes.get(symbol)

    def show(self, symbol: str, bid: str, ask: str) -> None:
        # A microsecond on, since nothing fills on a quote as old as its order.
        at = clock.now() + timedelta(microseconds=1)
        self.quotes[symbol] = Quote(symbol, Decimal(bid), Decimal(ask), at)


@dataclass
class PaperRig:
    broker: PaperBroker
    board: PriceBoard
    account: AccountRef
    heard: list[BrokerReport] = field(default_factory=list)

    def move(self, bid: str, ask: str) -> None:
        self.board.show(CONTRACT, bid, ask)
        self.broker.beat()


def paper(board: PriceBoard | None = None, account: AccountRef | None = None) -> PaperRig:
    """A paper broker on the app's database; with ``account`` on one that exists already."""
    board = board or PriceBoard()
    broker = PaperBroker(writer, board)
    if account is None:
        row = factories.account(factories.user())
        writer.run(lambda tx: broker.open_account(tx, row.id, "USD", Decimal(10_000)))
        account = ref(row)
        board.show(CONTRACT, "20000", "20000.25")
    rig = PaperRig(broker, board, account)
    broker.subscribe(lambda _account, report: rig.heard.append(report))
    return rig


@contextmanager
def on_paper(simulator: Simulator) -> Iterator[PaperRig]:
    del simulator
    yield paper()


@contextmanager
def on_tradovate(simulator: Simulator, *, has_stream: bool = True) -> Iterator[TradovateDesk]:
    desk = TradovateDesk(simulator, has_stream=has_stream)
    try:
        yield desk
    finally:
        desk.stop()


def ref(row: Account) -> AccountRef:
    return AccountRef(row.id, row.user_id, row.broker, row.environment)
