"""Open positions at the market: what is shown to whom, and what is stored of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from apiflask import APIFlask
from sqlalchemy import select

from app import clock
from app.brokers.base import AccountRef
from app.domain.trading import BrokerFill, BrokerReport, Quote, Side
from app.extensions import db, writer
from app.models import Account, Book, RecordedPosition, Trade, User
from app.services import fills
from app.services.marks import Marks
from tests import factories
from tests.databases import ONLY_SQLITE
from tests.integration.realtime.conftest import Listener, wait_until


@dataclass
class Fixed:
    """A feed whose prices the test sets; contracts without one are unknown to it."""

    quotes: dict[str, tuple[str, str]] = field(default_factory=dict)

    def knows(self, symbol: str) -> bool:
        return symbol in self.quotes

    def quote(self, symbol: str) -> Quote | None:
        bid, ask = self.quotes[symbol]
        return Quote(symbol, Decimal(bid), Decimal(ask), clock.now())


@dataclass
class Desk:
    """Marks for users who look, and what they were sent."""

    app: APIFlask
    feed: Fixed = field(default_factory=Fixed)
    looking: list[int] = field(default_factory=list)
    sent: list[tuple[int, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        with self.app.app_context():
            engine = db.engine
        self.marks = Marks(
            engine,
            lambda: self.looking,
            lambda user_id, _event, body: self.sent.append((user_id, body["positions"])),
            feed=self.feed,
        )

    def at(self, **quotes: tuple[str, str]) -> None:
        """Show at these prices."""
        self.feed.quotes = quotes
        self.sent.clear()
        self.marks.show()


@pytest.fixture
def desk(app: APIFlask) -> Desk:
    return Desk(app)


def fill(account: Account, contract: str, side: Side, quantity: str, price: str) -> None:
    ref = AccountRef(account.id, account.user_id, "paper", "demo")
    one = BrokerFill(
        fill_id=f"f{next(factories._numbers)}",
        client_order_id=None,
        broker_order_id="b",
        contract=contract,
        side=side,
        quantity=Decimal(quantity),
        price=Decimal(price),
        fee=Decimal(0),
        at=clock.now(),
    )
    writer.run(lambda tx: fills.apply(tx, ref, BrokerReport(fills=(one,)), source="stream"))


def only(app: APIFlask, model: Any) -> Any:
    with app.app_context():
        return db.session.scalars(select(model)).one()


def test_long_is_worth_the_bid_and_short_the_ask(app: APIFlask, desk: Desk) -> None:
    user = factories.user()
    account = factories.account(user)
    fill(account, "MESZ6", Side.BUY, "2", "5000")
    fill(account, "MNQZ6", Side.SELL, "1", "20000")
    desk.looking = [user.id]

    desk.at(MESZ6=("5010", "5010.25"), MNQZ6=("20009.75", "20010"))

    [(to, positions)] = desk.sent
    assert to == user.id
    # A point is worth 5 dollars in MES and 2 in MNQ.
    assert {(p["last_price"], p["unrealized_pnl"]) for p in positions} == {
        ("5010", "100"),
        ("20010", "-20"),
    }


@ONLY_SQLITE
def test_only_who_looks_is_shown_and_only_his_own(desk: Desk) -> None:
    users = [factories.user() for _ in range(3)]
    for user in users:
        fill(factories.account(user), "MESZ6", Side.BUY, "1", "5000")
    desk.looking = [users[0].id, users[1].id]

    desk.at(MESZ6=("5001", "5001.25"))

    assert sorted(to for to, _ in desk.sent) == desk.looking
    assert all(len(positions) == 1 for _, positions in desk.sent)


@ONLY_SQLITE
def test_contract_without_a_price_is_left_as_it_is(app: APIFlask, desk: Desk) -> None:
    user = factories.user()
    fill(factories.account(user), "MESZ6", Side.BUY, "1", "5000")
    desk.looking = [user.id]

    desk.at()
    desk.marks.store()

    assert desk.sent == []
    assert only(app, RecordedPosition).last_price == Decimal(5000)


@ONLY_SQLITE
def test_position_at_a_broker_keeps_its_last_known_price(app: APIFlask, desk: Desk) -> None:
    user = factories.user()
    fill(factories.account(user, broker="tradovate"), "MESZ6", Side.BUY, "1", "5000")
    desk.looking = [user.id]

    desk.at(MESZ6=("1", "2"))
    desk.marks.store()

    assert desk.sent == []
    assert only(app, RecordedPosition).last_price == Decimal(5000)


def test_worst_and_best_since_the_last_write_are_kept(app: APIFlask, desk: Desk) -> None:
    user = factories.user()
    account = factories.account(user)
    fill(account, "MESZ6", Side.BUY, "1", "5000")
    desk.looking = [user.id]

    for bid in ("4990", "5030", "5010"):
        desk.at(MESZ6=(bid, bid))
    desk.marks.store()

    position = only(app, RecordedPosition)
    assert (position.last_price, position.unrealized_pnl) == (Decimal(5010), Decimal(50))
    assert (position.mae, position.mfe) == (Decimal(-50), Decimal(150))
    fill(account, "MESZ6", Side.SELL, "1", "5010")
    trade = only(app, Trade)
    assert (trade.mae, trade.mfe, trade.net) == (Decimal(-50), Decimal(150), Decimal(50))


@ONLY_SQLITE
def test_extremes_of_a_position_that_changed_do_not_count(app: APIFlask, desk: Desk) -> None:
    user = factories.user()
    account = factories.account(user)
    fill(account, "MESZ6", Side.BUY, "1", "5000")
    desk.looking = [user.id]
    desk.at(MESZ6=("4000", "4000"))

    fill(account, "MESZ6", Side.BUY, "9", "5000")
    desk.at(MESZ6=("5001", "5001"))
    desk.marks.store()

    position = only(app, RecordedPosition)
    assert position.unrealized_pnl == Decimal(50)
    assert position.mae == 0


@ONLY_SQLITE
def test_closed_position_is_not_touched(app: APIFlask, desk: Desk) -> None:
    user = factories.user()
    account = factories.account(user)
    fill(account, "MESZ6", Side.BUY, "1", "5000")
    desk.looking = [user.id]
    desk.at(MESZ6=("4000", "4000"))

    fill(account, "MESZ6", Side.SELL, "1", "5000")
    desk.marks.store()

    position, book = only(app, RecordedPosition), only(app, Book)
    assert (position.last_price, position.mae) == (Decimal(5000), Decimal(0))
    assert book.trip == {}


@ONLY_SQLITE
def test_connected_owner_is_sent_marks_each_second(
    connect: Callable[..., Listener], app: APIFlask
) -> None:
    user: User = factories.user()
    fill(factories.account(user), "MESZ6", Side.BUY, "1", "5000")

    listener = connect(user)

    wait_until(lambda: len(listener.of("marks")) >= 2, "two marks")
    body = listener.of("marks")[-1]
    assert set(body) == {"positions", "at"}
    assert set(body["positions"][0]) == {"id", "last_price", "unrealized_pnl"}
