"""A book: what one trader holds in one contract, from its fills, at average cost.

Money is in account currency and kept to 8 decimal places: every fill's value
(quantity x price x point value) is rounded once, half to even, and everything else is sums of
those values. So realised plus unrealised P&L equals the cash flow to the last digit, and at flat
the realised total does not depend on the order in which the fills were seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Protocol

from app.domain.trading import PositionSide, Side

ZERO = Decimal(0)
_MONEY_STEP = Decimal("1E-8")
_PRICE_STEP = Decimal("1E-10")


class Execution(Protocol):
    """The parts of a fill that matter to a book. ``fee`` positive = paid."""

    @property
    def side(self) -> Side: ...
    @property
    def quantity(self) -> Decimal: ...
    @property
    def price(self) -> Decimal: ...
    @property
    def fee(self) -> Decimal: ...
    @property
    def at(self) -> datetime: ...


@dataclass(frozen=True, slots=True)
class Trip:
    """Sums of a round trip that is still open. Quantities and values are positive.

    ``cost`` is the value of what is still held, at average cost. ``mae`` <= 0 <= ``mfe`` are the
    worst and the best P&L of the trip (what it realised before plus the open part, before fees).
    """

    side: PositionSide
    opened_at: datetime
    max_quantity: Decimal = ZERO
    entry_quantity: Decimal = ZERO
    entry_value: Decimal = ZERO
    exit_quantity: Decimal = ZERO
    exit_value: Decimal = ZERO
    cost: Decimal = ZERO
    fees: Decimal = ZERO
    mae: Decimal = ZERO
    mfe: Decimal = ZERO

    @property
    def gross(self) -> Decimal:
        """What was realised so far, before fees."""
        return self.side.sign * (self.exit_value - (self.entry_value - self.cost))

    def to_json(self) -> dict[str, str]:
        sums = {name: format(getattr(self, name), "f") for name in _TRIP_SUMS}
        return {"side": self.side.value, "opened_at": self.opened_at.isoformat(), **sums}

    @classmethod
    def from_json(cls, data: Mapping[str, str]) -> Trip:
        return cls(
            side=PositionSide(data["side"]),
            opened_at=datetime.fromisoformat(data["opened_at"]),
            **{name: Decimal(data[name]) for name in _TRIP_SUMS},
        )


_TRIP_SUMS = (
    "max_quantity",
    "entry_quantity",
    "entry_value",
    "exit_quantity",
    "exit_value",
    "cost",
    "fees",
    "mae",
    "mfe",
)


@dataclass(frozen=True, slots=True)
class Trade:
    """A closed round trip, flat to flat. ``quantity`` is the most that it held."""

    side: PositionSide
    quantity: Decimal
    entry_price: Decimal
    exit_price: Decimal
    gross: Decimal
    fees: Decimal
    net: Decimal
    mae: Decimal
    mfe: Decimal
    opened_at: datetime
    closed_at: datetime


@dataclass(frozen=True, slots=True)
class Book:
    """``net_pos`` is signed, ``avg_price`` None when flat, ``realized`` net of all fees so far."""

    net_pos: Decimal = ZERO
    avg_price: Decimal | None = None
    realized: Decimal = ZERO
    trip: Trip | None = None

    @property
    def side(self) -> PositionSide | None:
        return PositionSide.of(self.net_pos)


@dataclass(frozen=True, slots=True)
class Applied:
    """The book after a fill, the trade it closed, and by how much ``realized`` changed."""

    book: Book
    trade: Trade | None
    realized: Decimal


def apply(book: Book, fill: Execution, point_value: Decimal) -> Applied:
    """Apply one fill. A fill that is larger than the opposite position closes it and opens the
    other side; its fee is shared in proportion."""
    value = _money(fill.quantity * fill.price * point_value)
    closing = _closing_part(book, fill)
    if not closing:
        after = _open(book, fill, fill.quantity, value, _money(fill.fee), point_value)
        return Applied(after, None, after.realized - book.realized)
    value_closing = _share(value, closing, fill.quantity)
    fee_closing = _share(_money(fill.fee), closing, fill.quantity)
    after, trade = _close(book, fill, closing, value_closing, fee_closing, point_value)
    if closing < fill.quantity:
        rest = fill.quantity - closing
        fee = _money(fill.fee) - fee_closing
        after = _open(after, fill, rest, value - value_closing, fee, point_value)
    return Applied(after, trade, after.realized - book.realized)


def replay(fills: Iterable[Execution], point_value: Decimal) -> tuple[Book, tuple[Trade, ...]]:
    """The book and the trades that a list of fills makes, in the order given."""
    book, trades = Book(), []
    for fill in fills:
        applied = apply(book, fill, point_value)
        book = applied.book
        if applied.trade is not None:
            trades.append(applied.trade)
    return book, tuple(trades)


def unrealized(book: Book, price: Decimal, point_value: Decimal) -> Decimal:
    """Open P&L at ``price``, before fees; zero when flat."""
    if book.trip is None:
        return ZERO
    held = _money(abs(book.net_pos) * price * point_value)
    return book.trip.side.sign * (held - book.trip.cost)


def mark(book: Book, price: Decimal, point_value: Decimal) -> Book:
    """Take a seen price into the worst and best P&L of the open trip; the same book if neither
    changed."""
    if book.trip is None:
        return book
    trip = _marked(book.trip, abs(book.net_pos), price, point_value)
    return book if trip is book.trip else replace(book, trip=trip)


def _closing_part(book: Book, fill: Execution) -> Decimal:
    if book.trip is None or fill.side is book.trip.side.opening:
        return ZERO
    return min(abs(book.net_pos), fill.quantity)


def _open(
    book: Book,
    fill: Execution,
    quantity: Decimal,
    value: Decimal,
    fee: Decimal,
    point_value: Decimal,
) -> Book:
    trip = book.trip or Trip(_opened_by(fill.side), fill.at)
    trip = _marked(trip, abs(book.net_pos), fill.price, point_value)
    held = abs(book.net_pos) + quantity
    cost = trip.cost + value
    trip = replace(
        trip,
        max_quantity=max(trip.max_quantity, held),
        entry_quantity=trip.entry_quantity + quantity,
        entry_value=trip.entry_value + value,
        cost=cost,
        fees=trip.fees + fee,
    )
    average = _price(cost, held, point_value) if book.net_pos else fill.price
    return Book(trip.side.sign * held, average, book.realized - fee, trip)


def _close(
    book: Book,
    fill: Execution,
    quantity: Decimal,
    value: Decimal,
    fee: Decimal,
    point_value: Decimal,
) -> tuple[Book, Trade | None]:
    assert book.trip is not None  # noqa: S101  (only a held position has a closing part)
    held = abs(book.net_pos)
    trip = _marked(book.trip, held, fill.price, point_value)
    released = _share(trip.cost, quantity, held)
    realized = book.realized + trip.side.sign * (value - released) - fee
    trip = replace(
        trip,
        exit_quantity=trip.exit_quantity + quantity,
        exit_value=trip.exit_value + value,
        cost=trip.cost - released,
        fees=trip.fees + fee,
    )
    if quantity == held:
        return Book(realized=realized), _trade(trip, fill.at, point_value)
    return Book(trip.side.sign * (held - quantity), book.avg_price, realized, trip), None


def _trade(trip: Trip, closed_at: datetime, point_value: Decimal) -> Trade:
    return Trade(
        side=trip.side,
        quantity=trip.max_quantity,
        entry_price=_price(trip.entry_value, trip.entry_quantity, point_value),
        exit_price=_price(trip.exit_value, trip.exit_quantity, point_value),
        gross=trip.gross,
        fees=trip.fees,
        net=trip.gross - trip.fees,
        mae=trip.mae,
        mfe=trip.mfe,
        opened_at=trip.opened_at,
        closed_at=closed_at,
    )


def _marked(trip: Trip, held: Decimal, price: Decimal, point_value: Decimal) -> Trip:
    if not held:
        return trip
    pnl = trip.gross + trip.side.sign * (_money(held * price * point_value) - trip.cost)
    if trip.mae <= pnl <= trip.mfe:
        return trip
    return replace(trip, mae=min(trip.mae, pnl), mfe=max(trip.mfe, pnl))


def _opened_by(side: Side) -> PositionSide:
    return PositionSide.LONG if side is Side.BUY else PositionSide.SHORT


def _share(amount: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    return amount if part == whole else _money(amount * part / whole)


def _money(amount: Decimal) -> Decimal:
    return amount.quantize(_MONEY_STEP, ROUND_HALF_EVEN)


def _price(value: Decimal, quantity: Decimal, point_value: Decimal) -> Decimal:
    return (value / (quantity * point_value)).quantize(_PRICE_STEP, ROUND_HALF_EVEN).normalize()
