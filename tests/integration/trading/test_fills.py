"""Reports of a broker in any order, as often as it likes: the same orders, books and trades."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from app import clock
from app.brokers import registry
from app.domain import books
from app.domain.trading import BrokerFill, BrokerOrder, BrokerReport, OrderStatus, OrderType, Side
from app.extensions import writer
from app.models import Account, Book, Fill, Order, RecordedPosition, StrategyLog, Trade
from app.services import fills
from app.transactions import Tx
from tests import factories
from tests.integration.trading.desk import Desk, Setup

CONTRACT = "MNQZ6"
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
_numbers = count(1)


@dataclass(frozen=True)
class Part:
    """One execution of an order, ``at`` seconds after noon."""

    order: int
    quantity: int
    price: int
    at: int


def _store_orders(setup: Setup, sides: Sequence[tuple[Side, int]]) -> list[str]:
    """Orders on their way to the broker; their client order ids."""
    keys = []
    for side, quantity in sides:
        keys.append(f"order{next(_numbers)}")
        factories.store(
            Order(
                user_id=setup.account.user_id,
                account_id=setup.account.id,
                strategy_id=setup.strategy.id,
                trader_id=setup.trader.id,
                contract=CONTRACT,
                side=side.value,
                role="entry",
                origin="signal",
                order_type="market",
                quantity=Decimal(quantity),
                client_order_id=keys[-1],
                status="submitting",
                submitted_at=clock.now(),
            )
        )
    return keys


def _fill(key: str | None, number: int, side: Side, part: Part, at: datetime) -> BrokerFill:
    return BrokerFill(
        fill_id=f"x{number}",
        client_order_id=key,
        broker_order_id=f"B{part.order}",
        contract=CONTRACT,
        side=side,
        quantity=Decimal(part.quantity),
        price=Decimal(20000 + part.price),
        fee=Decimal("0.37"),
        at=at,
    )


def _state(key: str, number: int, side: Side, quantity: int, filled: int, at: int) -> BrokerOrder:
    status = OrderStatus.PARTIALLY_FILLED if filled else OrderStatus.WORKING
    return BrokerOrder(
        broker_order_id=f"B{number}",
        client_order_id=key,
        contract=CONTRACT,
        side=side,
        quantity=Decimal(quantity),
        filled_quantity=Decimal(filled),
        order_type=OrderType.MARKET,
        status=OrderStatus.FILLED if filled == quantity else status,
        limit_price=None,
        stop_price=None,
        avg_fill_price=None,
        reason=None,
        at=NOON + timedelta(seconds=at),
    )


def _apply(setup: Setup, report: BrokerReport) -> None:
    writer.run(lambda tx: fills.apply(tx, setup.ref, report, source="stream"))


def _make_leg(order_id: int, entry_id: int) -> None:
    def work(tx: Tx) -> None:
        tx.conn.execute(
            update(Order).where(Order.id == order_id).values(role="take_profit", parent_id=entry_id)
        )

    writer.run(work)


@pytest.mark.parametrize("entry_filled", [1, 2])
def test_a_leg_of_an_entry_that_fills_further_is_not_filled_yet(
    desk: Desk, entry_filled: int
) -> None:
    setup = desk.setup()
    entry, leg = _store_orders(setup, [(Side.BUY, 2), (Side.SELL, 2)])
    ids = {row.client_order_id: row.id for row in setup.orders()}
    _make_leg(ids[leg], ids[entry])
    parts = [Part(0, 1, 0, n) for n in range(entry_filled)]
    ins = [_fill(entry, next(_numbers), Side.BUY, part, NOON) for part in parts]
    out = _fill(leg, next(_numbers), Side.SELL, Part(1, 1, 5, 3), NOON + timedelta(seconds=3))
    small = replace(_state(leg, 1, Side.SELL, 1, 1, 3), status=OrderStatus.PARTIALLY_FILLED)

    _apply(setup, BrokerReport((small,), (*ins, out)))
    assert setup.order("take_profit").status == "partially_filled"
    _apply(setup, BrokerReport((_state(leg, 1, Side.SELL, 2, 1, 4),), ()))

    assert setup.order("take_profit").status == "partially_filled"
    assert setup.order("take_profit").quantity == 2


@st.composite
def _days(draw: st.DrawFn) -> tuple[list[tuple[Side, int]], list[Part]]:
    """Orders of one contract, each filled in parts at moments of its own."""
    sides, parts = [], []
    for number in range(draw(st.integers(1, 4))):
        pieces = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
        sides.append((draw(st.sampled_from(Side)), sum(pieces)))
        for quantity in pieces:
            at, price = draw(st.integers(0, 6)), draw(st.integers(-5, 5))
            parts.append(Part(number, quantity, price, at))
    return sides, parts


def _reports(
    keys: list[str], sides: list[tuple[Side, int]], parts: list[Part]
) -> list[BrokerReport]:
    """Per part a push with the fill and the order's state by then, as the broker would tell."""
    told: list[BrokerReport] = []
    filled = dict.fromkeys(range(len(sides)), 0)
    in_time = sorted(enumerate(parts), key=lambda numbered: numbered[1].at)
    for number, part in in_time:
        side, quantity = sides[part.order]
        filled[part.order] += part.quantity
        order = _state(keys[part.order], part.order, side, quantity, filled[part.order], number)
        order = replace(order, at=NOON + timedelta(seconds=part.at, microseconds=len(told)))
        at = NOON + timedelta(seconds=part.at)
        fill = _fill(keys[part.order], number, side, part, at)
        told += [BrokerReport((order,), (fill,)), BrokerReport((), (fill,))]
    return told


def _result(desk: Desk, setup: Setup) -> dict[str, Any]:
    of_trader = {"trader_id": setup.trader.id}
    position = "side quantity max_quantity entry_price exit_price realized_pnl opened_at closed_at"
    trade = "side quantity entry_price exit_price gross fees net mae mfe opened_at closed_at"
    wanted = {
        Order: "side quantity status filled_quantity avg_fill_price",
        Book: "net_pos avg_price realized trip",
        Trade: f"{trade} exit_reason",
        RecordedPosition: f"{position} mae mfe exit_reason",
    }
    return {
        model.__name__: [
            tuple(getattr(row, name) for name in names.split())
            for row in desk.rows(model, **of_trader)
        ]
        for model, names in wanted.items()
    }


@given(day=_days(), data=st.data())
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_order_and_number_of_reports_change_nothing(
    desk: Desk, day: tuple[list[tuple[Side, int]], list[Part]], data: st.DataObject
) -> None:
    sides, parts = day
    straight, shuffled = desk.setup(), desk.setup()
    for report in _reports(_store_orders(straight, sides), sides, parts):
        _apply(straight, report)
    reports = _reports(_store_orders(shuffled, sides), sides, parts)
    again = data.draw(st.lists(st.sampled_from(reports), max_size=4))
    for report in data.draw(st.permutations([*reports, *again])):
        _apply(shuffled, report)

    assert _result(desk, shuffled) == _result(desk, straight)
    _assert_the_books_add_up(desk, shuffled, parts)
    desk.events()


def _assert_the_books_add_up(desk: Desk, setup: Setup, parts: list[Part]) -> None:
    [book] = desk.rows(Book, trader_id=setup.trader.id)
    stored = desk.rows(Fill, trader_id=setup.trader.id)
    assert len(stored) == len(parts)
    assert book.net_pos == sum(Side(f.side).sign * f.quantity for f in stored)
    trip = books.Trip.from_json(book.trip) if book.trip else None
    nets = sum((t.net for t in setup.trades()), Decimal(0))
    assert book.realized == nets + (trip.gross - trip.fees if trip else Decimal(0))
    is_open = [p for p in setup.positions() if p.closed_at is None]
    assert len(is_open) == (1 if book.net_pos else 0)
    assert len(setup.positions()) == len(setup.trades()) + len(is_open)


@pytest.fixture
def setup(desk: Desk) -> Setup:
    return desk.setup()


def _one(desk: Desk, setup: Setup, at: int, side: Side, quantity: int, price: int) -> None:
    [key] = _store_orders(setup, [(side, quantity)])
    number = next(_numbers)
    part = Part(number, quantity, price, at)
    fill = _fill(key, number, side, part, NOON + timedelta(seconds=at))
    state = _state(key, number, side, quantity, quantity, at)
    _apply(setup, BrokerReport((state,), (fill,)))


def test_a_late_fill_leaves_the_round_trips_before_it_alone(desk: Desk, setup: Setup) -> None:
    for at, side in ((1, Side.BUY), (2, Side.SELL), (5, Side.BUY), (6, Side.SELL)):
        _one(desk, setup, at, side, 1, at)
    before = setup.trades()

    _one(desk, setup, 4, Side.BUY, 1, 0)

    after = setup.trades()
    assert after[0] == before[0]
    assert len(after) == 1
    assert setup.net(CONTRACT) == 1
    assert [(p.quantity, p.max_quantity) for p in setup.positions()] == [(0, 1), (1, 2)]
    assert "trade:removed" in desk.events()


def test_a_reversal_in_one_fill_is_worked_out_again_from_before_it(
    desk: Desk, setup: Setup
) -> None:
    _one(desk, setup, 1, Side.BUY, 2, 0)
    _one(desk, setup, 5, Side.SELL, 3, 10)

    _one(desk, setup, 3, Side.BUY, 1, 4)

    [trade] = setup.trades()
    assert (trade.side, trade.quantity, setup.net(CONTRACT)) == ("long", 3, 0)


def test_a_late_fill_does_not_lose_the_logs_of_a_position_that_never_was(
    desk: Desk, setup: Setup
) -> None:
    _one(desk, setup, 5, Side.SELL, 1, 10)
    _one(desk, setup, 6, Side.BUY, 1, 4)
    _one(desk, setup, 7, Side.BUY, 1, 4)

    _one(desk, setup, 1, Side.BUY, 2, 0)

    lines = [r for r in desk.rows(StrategyLog, user_id=desk.user.id) if r.event == "fill"]
    assert len(lines) == 4
    assert setup.net(CONTRACT) == 3


def test_fees_with_many_places_are_rounded_to_money(desk: Desk, setup: Setup) -> None:
    [key] = _store_orders(setup, [(Side.BUY, 1)])
    fill = replace(_fill(key, 1, Side.BUY, Part(0, 1, 0, 0), NOON), fee=Decimal("0.1234567890123"))

    _apply(setup, BrokerReport((), (fill,)))

    [stored] = desk.rows(Fill, trader_id=setup.trader.id)
    assert stored.fee == Decimal("0.12345679")


def test_an_older_state_changes_nothing(desk: Desk, setup: Setup) -> None:
    [key] = _store_orders(setup, [(Side.BUY, 3)])
    newer = replace(_state(key, 1, Side.BUY, 3, 0, 5), limit_price=Decimal(20010))
    older = replace(_state(key, 1, Side.BUY, 2, 0, 4), limit_price=Decimal(20000))

    for report in (newer, older):
        _apply(setup, BrokerReport((report,)))

    [order] = setup.orders()
    assert (order.quantity, order.limit_price) == (3, 20010)


def test_a_newer_state_without_news_is_no_event(desk: Desk, setup: Setup) -> None:
    [key] = _store_orders(setup, [(Side.BUY, 3)])
    _apply(setup, BrokerReport((_state(key, 1, Side.BUY, 3, 0, 5),)))
    before = desk.events().count("order:update")

    _apply(setup, BrokerReport((_state(key, 1, Side.BUY, 3, 0, 6),)))

    assert desk.events().count("order:update") == before


def test_a_fill_after_the_cancel_counts_and_is_told_loudly(
    desk: Desk, setup: Setup, caplog: pytest.LogCaptureFixture
) -> None:
    [key] = _store_orders(setup, [(Side.BUY, 1)])
    cancelled = replace(_state(key, 1, Side.BUY, 1, 0, 5), status=OrderStatus.CANCELLED)
    _apply(setup, BrokerReport((replace(cancelled, status=OrderStatus.WORKING),)))
    _apply(setup, BrokerReport((replace(cancelled, at=NOON + timedelta(seconds=6)),)))

    late = _fill(key, 1, Side.BUY, Part(1, 1, 0, 4), NOON + timedelta(seconds=4))
    _apply(setup, BrokerReport((), (late,)))

    assert setup.orders()[0].status == "filled"
    assert setup.net(CONTRACT) == 1
    assert "late fill" in caplog.text


def test_a_strangers_fill_goes_to_the_manual_book(desk: Desk, setup: Setup) -> None:
    fill = _fill(None, 1, Side.SELL, Part(9, 2, 0, 0), NOON)

    _apply(setup, BrokerReport((), (fill,)))
    _apply(setup, BrokerReport((), (fill,)))

    [book] = desk.rows(Book, account_id=setup.account.id)
    assert (book.trader_id, book.net_pos) == (None, -2)


def test_fills_of_two_accounts_with_the_same_number_are_two(desk: Desk) -> None:
    setups = [desk.setup(), desk.setup()]

    for setup in setups:
        _one(desk, setup, 1, Side.BUY, 1, 0)

    assert [s.net(CONTRACT) for s in setups] == [1, 1]
    accounts: list[Account] = [s.account for s in setups]
    assert {registry.ref(a).id for a in accounts} == {a.id for a in accounts}
