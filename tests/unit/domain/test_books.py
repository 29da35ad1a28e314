from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.books import Book, Trip, apply, mark, replay, unrealized
from app.domain.trading import PositionSide, Side

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MNQ = Decimal(2)  # dollars per point


@dataclass(frozen=True)
class Done:
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal = Decimal(0)
    at: datetime = NOON


def bought(quantity: str, price: str, fee: str = "0", minute: int = 0) -> Done:
    at = NOON + timedelta(minutes=minute)
    return Done(Side.BUY, Decimal(quantity), Decimal(price), Decimal(fee), at)


def sold(quantity: str, price: str, fee: str = "0", minute: int = 0) -> Done:
    at = NOON + timedelta(minutes=minute)
    return Done(Side.SELL, Decimal(quantity), Decimal(price), Decimal(fee), at)


def test_an_add_averages_the_price() -> None:
    book, trades = replay([bought("1", "100"), bought("3", "104")], MNQ)

    assert (book.net_pos, book.avg_price) == (Decimal(4), Decimal(103))
    assert trades == ()


def test_a_partial_exit_keeps_the_average_and_realises_its_part() -> None:
    book, trades = replay([bought("4", "103"), sold("1", "110", fee="0.5")], MNQ)

    assert (book.net_pos, book.avg_price) == (Decimal(3), Decimal(103))
    assert book.realized == Decimal("13.5")
    assert trades == ()


def test_a_short_round_trip_is_one_trade_net_of_fees() -> None:
    fills = [
        sold("2", "200", fee="1", minute=0),
        sold("1", "203", fee="0.5", minute=1),
        bought("1", "190", fee="0.5", minute=2),
        bought("2", "196", fee="1", minute=3),
    ]

    book, (trade,) = replay(fills, MNQ)

    assert book == Book(realized=Decimal(39))
    assert (trade.side, trade.quantity) == (PositionSide.SHORT, Decimal(3))
    assert (trade.entry_price, trade.exit_price) == (Decimal(201), Decimal(194))
    assert (trade.gross, trade.fees, trade.net) == (Decimal(42), Decimal(3), Decimal(39))
    assert (trade.opened_at, trade.closed_at) == (NOON, NOON + timedelta(minutes=3))


def test_a_reversal_closes_the_trade_and_opens_the_next() -> None:
    book, (trade,) = replay([bought("2", "100"), sold("5", "110", fee="5", minute=1)], MNQ)

    assert (trade.side, trade.gross, trade.fees) == (PositionSide.LONG, Decimal(40), Decimal(2))
    assert (book.net_pos, book.avg_price) == (Decimal(-3), Decimal(110))
    assert book.realized == Decimal(35)
    assert book.trip is not None
    assert (book.trip.opened_at, book.trip.fees) == (NOON + timedelta(minutes=1), Decimal(3))


def test_unrealised_follows_the_side() -> None:
    long, _ = replay([bought("2", "100")], MNQ)
    short, _ = replay([sold("2", "100")], MNQ)

    assert unrealized(long, Decimal(103), MNQ) == Decimal(12)
    assert unrealized(short, Decimal(103), MNQ) == Decimal(-12)
    assert unrealized(Book(), Decimal(103), MNQ) == 0


def test_excursions_keep_the_worst_and_best_of_the_whole_trip() -> None:
    book, _ = replay([bought("2", "100")], MNQ)

    for price in ("97", "105", "101"):
        book = mark(book, Decimal(price), MNQ)
    (trade,) = [apply(book, sold("2", "106"), MNQ).trade]

    assert trade is not None
    assert (trade.mae, trade.mfe) == (Decimal(-12), Decimal(24))


def test_a_mark_inside_the_excursions_is_the_same_book() -> None:
    book = mark(replay([bought("1", "100")], MNQ)[0], Decimal(110), MNQ)

    assert mark(book, Decimal(105), MNQ) is book
    assert mark(Book(), Decimal(105), MNQ) == Book()


def test_a_trip_survives_storage() -> None:
    book, _ = replay([bought("0.3", "100.7", fee="0.01"), sold("0.1", "99")], Decimal(1))

    assert book.trip is not None
    assert Trip.from_json(book.trip.to_json()) == book.trip


quantities = st.decimals("0.001", "50", places=3)
prices = st.decimals("0.01", "99999", places=2)
fees = st.decimals("-1", "5", places=4)
fills = st.builds(Done, st.sampled_from(list(Side)), quantities, prices, fees)
point_values = st.sampled_from([Decimal(1), Decimal(2), Decimal(50), Decimal("0.1")])


@given(done=st.lists(fills, max_size=25), mark_at=prices, point_value=point_values)
def test_realised_and_unrealised_equal_the_cash_flow(
    done: list[Done], mark_at: Decimal, point_value: Decimal
) -> None:
    book, trades = replay(done, point_value)

    flow = sum((-f.side.sign * f.quantity * f.price * point_value for f in done), Decimal(0))
    fees_paid = sum((f.fee for f in done), Decimal(0))
    worth = book.net_pos * mark_at * point_value
    assert book.realized + unrealized(book, mark_at, point_value) == flow - fees_paid + worth
    open_part = (book.trip.gross - book.trip.fees) if book.trip else Decimal(0)
    assert sum((t.net for t in trades), open_part) == book.realized
    assert all(t.mae <= t.gross <= t.mfe and t.mae <= 0 <= t.mfe for t in trades)


@given(data=st.data(), done=st.lists(fills, min_size=1, max_size=12), mark_at=prices)
def test_position_and_total_pnl_do_not_depend_on_the_order(
    data: st.DataObject, done: list[Done], mark_at: Decimal
) -> None:
    shuffled = data.draw(st.permutations(done))

    one, _ = replay(done, MNQ)
    other, _ = replay(shuffled, MNQ)

    assert one.net_pos == other.net_pos
    assert one.realized + unrealized(one, mark_at, MNQ) == other.realized + unrealized(
        other, mark_at, MNQ
    )


@given(data=st.data(), done=st.lists(fills, min_size=1, max_size=10), out_at=prices)
def test_at_flat_the_realised_total_does_not_depend_on_the_order(
    data: st.DataObject, done: list[Done], out_at: Decimal
) -> None:
    net = sum((f.side.sign * f.quantity for f in done), Decimal(0))
    if net:
        done = [*done, Done(Side.SELL if net > 0 else Side.BUY, abs(net), out_at)]

    one, _ = replay(done, MNQ)
    other, _ = replay(data.draw(st.permutations(done)), MNQ)

    assert one.net_pos == other.net_pos == 0
    assert one.realized == other.realized


@given(done=st.lists(fills, max_size=25))
def test_sides_and_averages_are_always_sound(done: list[Done]) -> None:
    book = Book()
    for fill in done:
        book = apply(book, fill, MNQ).book

        assert (book.side is None) == (book.avg_price is None) == (book.trip is None)
        assert book.trip is None or book.trip.side is book.side


@pytest.mark.parametrize("side", list(Side))
def test_fills_of_one_side_give_the_weighted_price_in_any_order(side: Side) -> None:
    done = [Done(side, Decimal(q), Decimal(p)) for q, p in ((1, 10), (2, 13), (3, 17))]

    averages = {replay(order, MNQ)[0].avg_price for order in (done, done[::-1])}

    assert len(averages) == 1
