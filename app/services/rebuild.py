"""Round trips made anew: a fill came that is older than others that its book has seen.

Average cost depends on the order of the fills, so from the last moment before it at which the
book was flat everything is worked out again from the stored fills, in the order of their time.
Trades and recorded positions keep their rows as far as there are as many as before. What prices
between the fills had said of a trip's worst and best is not known any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Table, delete, insert, select, update

from app import clock
from app.brokers.base import AccountRef
from app.domain import books, symbols
from app.domain.trading import Side
from app.models import Book, Fill, Order, RecordedPosition, StrategyLog, Trade
from app.models.base import table
from app.models.engine import reserve_ids
from app.services import payloads
from app.transactions import Tx

_BOOKS = table(Book)
_FILLS = table(Fill)
_ORDERS = table(Order)
_POSITIONS = table(RecordedPosition)
_TRADES = table(Trade)
_LOGS = table(StrategyLog)

EXTERNAL = "external"
_BY_ROLE = {"take_profit": "take_profit", "stop_loss": "stop_loss"}
_BY_ORIGIN = {"signal": "signal", "manual": "manual", "risk": "risk", "reconcile": EXTERNAL}


def exit_reason(role: str, origin: str) -> str:
    """Why a round trip ended, from the order that ended it."""
    return _BY_ROLE.get(role) or _BY_ORIGIN.get(origin, "signal")


def to_book(row: Any) -> books.Book:
    """The pure book of a row of the table."""
    trip = books.Trip.from_json(row["trip"]) if row["trip"] else None
    return books.Book(row["net_pos"], row["avg_price"], row["realized"], trip)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stored fill, as a book wants it, and what its row says beside."""

    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    at: datetime
    fill_id: str
    reason: str
    source: str


@dataclass(frozen=True, slots=True)
class _Trip:
    """A closed round trip: why it ended, and from where its first fill was known."""

    trade: books.Trade
    reason: str
    source: str


@dataclass(frozen=True, slots=True)
class _Replayed:
    book: books.Book
    trips: tuple[_Trip, ...]
    source: str
    """From where the first fill of the open trip was known."""
    last: _Piece | None
    """None: no fill is left."""


@dataclass(frozen=True, slots=True)
class _Since:
    """The moment (None: the beginning) from which on a book is made anew, and what it had made
    until then."""

    at: datetime | None
    realized: Decimal


def rebuild(
    tx: Tx,
    account: AccountRef,
    row: Mapping[str, Any],
    late_at: datetime,
    *,
    is_fee_only: bool = False,
) -> tuple[books.Book, int | None]:
    """Work out the book of ``row`` anew, since its fills of ``late_at`` are not as it has seen
    them: one came, one went, or (``is_fee_only``) one costs something else, where what prices had
    said stays. The book as it is now and the id of its newest recorded position."""
    since = _flat_before(tx, account, row, late_at)
    pieces = _fills_since(tx, account, row, since.at)
    replayed = _replay(pieces, row["contract"], since.realized)
    if is_fee_only:
        replayed = replace(replayed, book=_with_marks(replayed.book, to_book(row)))
    book = replayed.book
    now = clock.now()
    tx.conn.execute(
        update(_BOOKS)
        .where(_BOOKS.c.id == row["id"])
        .values(
            net_pos=book.net_pos,
            avg_price=book.avg_price,
            realized=book.realized,
            trip=book.trip.to_json() if book.trip else {},
            last_fill_at=replayed.last.at if replayed.last is not None else since.at,
            updated_at=now,
        )
    )
    _store_trades(tx, account, row, since.at, replayed, is_fee_only)
    return book, _store_positions(tx, account, row, since.at, replayed, is_fee_only)


def of_book(rows: Table, account: AccountRef, row: Mapping[str, Any]) -> Any:
    """The rows (fills, trades, positions) of the same book: a trader's, a recorder's, nobody's."""
    here = (rows.c.account_id == account.id) & (rows.c.contract == row["contract"])
    if row["trader_id"] is not None:
        return here & (rows.c.trader_id == row["trader_id"])
    of_strategy = rows.c.strategy_id.is_not_distinct_from(row["strategy_id"])
    return here & rows.c.trader_id.is_(None) & of_strategy


def place_of(fill_id: str) -> tuple[int, str]:
    """Fills of one instant follow each other by their numbers at the broker."""
    return len(fill_id), fill_id


def _with_marks(book: books.Book, before: books.Book) -> books.Book:
    """With the worst and the best that prices between the fills had said of the open trip."""
    if book.trip is None or before.trip is None:
        return book
    return replace(book, trip=replace(book.trip, mae=before.trip.mae, mfe=before.trip.mfe))


def _flat_before(tx: Tx, account: AccountRef, row: Mapping[str, Any], late_at: datetime) -> _Since:
    """The newest moment before ``late_at`` at which a trip ended and no other began."""
    trip = to_book(row).trip
    opened = {trip.opened_at} if trip else set()
    realized = row["realized"] - (trip.gross - trip.fees if trip else Decimal(0))
    trades = tx.conn.execute(
        select(_TRADES.c.opened_at, _TRADES.c.closed_at, _TRADES.c.net)
        .where(of_book(_TRADES, account, row))
        .order_by(_TRADES.c.closed_at.desc(), _TRADES.c.id.desc())
    )
    for trade in trades:
        if trade.closed_at < late_at and trade.closed_at not in opened:
            trades.close()
            return _Since(trade.closed_at, realized)
        opened.add(trade.opened_at)
        realized -= trade.net
    return _Since(None, realized)


def _fills_since(
    tx: Tx, account: AccountRef, row: Mapping[str, Any], at: datetime | None
) -> list[_Piece]:
    statement = (
        select(_FILLS, _ORDERS.c.role, _ORDERS.c.origin)
        .outerjoin_from(_FILLS, _ORDERS, _ORDERS.c.id == _FILLS.c.order_id)
        .where(of_book(_FILLS, account, row))
    )
    if at is not None:
        statement = statement.where(_FILLS.c.filled_at > at)
    pieces = [
        _Piece(
            side=Side(found.side),
            quantity=found.quantity,
            price=found.price,
            fee=found.fee,
            at=found.filled_at,
            fill_id=found.broker_fill_id,
            reason=exit_reason(found.role, found.origin) if found.role else EXTERNAL,
            source=found.source,
        )
        for found in tx.conn.execute(statement)
    ]
    return sorted(pieces, key=lambda piece: (piece.at, *place_of(piece.fill_id)))


def _replay(pieces: Sequence[_Piece], contract: str, realized: Decimal) -> _Replayed:
    point_value = symbols.instrument_for(contract).point_value
    book = books.Book(realized=realized)
    if not pieces:
        return _Replayed(book, (), "", None)
    trips, first = [], pieces[0]
    for piece in pieces:
        if book.trip is None:
            first = piece
        applied = books.apply(book, piece, point_value)
        book = applied.book
        if applied.trade is not None:
            trips.append(_Trip(applied.trade, piece.reason, first.source))
            first = piece
    return _Replayed(book, tuple(trips), first.source, pieces[-1])


def _store_trades(
    tx: Tx,
    account: AccountRef,
    row: Mapping[str, Any],
    since: datetime | None,
    replayed: _Replayed,
    is_fee_only: bool,
) -> None:
    rows = of_book(_TRADES, account, row)
    if since is not None:
        rows &= _TRADES.c.closed_at > since
    wanted = [_trade(trip) for trip in replayed.trips]
    kept = _MARKS_OF_TRADE if is_fee_only else ()
    for stored in _put(tx, _TRADES, rows, wanted, _names(account, row), kept):
        tx.record(account.user_id, "trade", payloads.trade(stored))


def _store_positions(
    tx: Tx,
    account: AccountRef,
    row: Mapping[str, Any],
    since: datetime | None,
    replayed: _Replayed,
    is_fee_only: bool,
) -> int | None:
    rows = of_book(_POSITIONS, account, row)
    if since is not None:
        rows &= _POSITIONS.c.closed_at.is_(None) | (_POSITIONS.c.closed_at > since)
    wanted = [_closed(trip) for trip in replayed.trips]
    if replayed.book.trip is not None:
        wanted.append(_open(replayed, row["contract"]))
    names = {**_names(account, row), "symbol": symbols.instrument_for(row["contract"]).root}
    position_id: int | None = None
    kept = _MARKS_OF_POSITION if is_fee_only else ()
    for stored in _put(tx, _POSITIONS, rows, wanted, names, kept):
        is_open = stored["closed_at"] is None
        name = "position:update" if is_open else "position:closed"
        tx.record(account.user_id, name, payloads.position(stored))
        position_id = stored["id"]
    return position_id


_MARKS_OF_TRADE = ("mae", "mfe")
_MARKS_OF_POSITION = ("mae", "mfe", "last_price", "unrealized_pnl")


def _put(
    tx: Tx,
    rows: Table,
    condition: Any,
    wanted: list[dict[str, Any]],
    names: dict[str, Any],
    kept: tuple[str, ...],
) -> list[dict[str, Any]]:
    """Let the rows of ``condition`` be the ``wanted`` ones, oldest first; those that changed.
    What ``kept`` names stays as it is stored."""
    found = tx.conn.execute(
        select(rows).where(condition).order_by(rows.c.opened_at, rows.c.id)
    ).all()
    _remove(tx, rows, [row.id for row in found[len(wanted) :]], names["user_id"])
    now = clock.now()
    changed = []
    for row, values in zip(found, wanted, strict=False):
        before = dict(row._mapping)
        values |= {name: before[name] for name in kept}
        if {**before, **values} == before:
            continue
        values["updated_at"] = now
        tx.conn.execute(update(rows).where(rows.c.id == row.id).values(values))
        changed.append({**before, **values})
    for values in wanted[len(found) :]:
        [row_id] = reserve_ids(tx.conn, rows.name, 1)
        new = {"id": row_id, **names, **values, "created_at": now, "updated_at": now}
        tx.conn.execute(insert(rows).values(new))
        changed.append(new)
    return changed


def _remove(tx: Tx, rows: Table, ids: list[int], user_id: int) -> None:
    if not ids:
        return
    if rows is _POSITIONS:
        mentions = update(_LOGS).where(_LOGS.c.position_id.in_(ids)).values(position_id=None)
        tx.conn.execute(mentions)
    tx.conn.execute(delete(rows).where(rows.c.id.in_(ids)))
    noun = "position" if rows is _POSITIONS else "trade"
    for row_id in ids:
        tx.record(user_id, f"{noun}:removed", {"id": row_id})


def _names(account: AccountRef, row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "user_id": account.user_id,
        "account_id": account.id,
        "strategy_id": row["strategy_id"],
        "trader_id": row["trader_id"],
        "contract": row["contract"],
    }


def _trade(trip: _Trip) -> dict[str, Any]:
    trade = trip.trade
    return {
        "side": trade.side.value,
        "quantity": trade.quantity,
        "entry_price": trade.entry_price,
        "exit_price": trade.exit_price,
        "gross": trade.gross,
        "fees": trade.fees,
        "net": trade.net,
        "mae": trade.mae,
        "mfe": trade.mfe,
        "opened_at": trade.opened_at,
        "closed_at": trade.closed_at,
        "exit_reason": trip.reason,
    }


def _closed(trip: _Trip) -> dict[str, Any]:
    trade = trip.trade
    return {
        "side": trade.side.value,
        "quantity": Decimal(0),
        "max_quantity": trade.quantity,
        "entry_price": trade.entry_price,
        "exit_price": trade.exit_price,
        "last_price": trade.exit_price,
        "realized_pnl": trade.net,
        "unrealized_pnl": Decimal(0),
        "mae": trade.mae,
        "mfe": trade.mfe,
        "opened_at": trade.opened_at,
        "closed_at": trade.closed_at,
        "exit_reason": trip.reason,
        "source": trip.source,
    }


def _open(replayed: _Replayed, contract: str) -> dict[str, Any]:
    book, trip = replayed.book, replayed.book.trip
    assert trip is not None and replayed.last is not None  # noqa: S101, PT018  (something is held)
    point_value = symbols.instrument_for(contract).point_value
    price = replayed.last.price
    return {
        "side": trip.side.value,
        "quantity": abs(book.net_pos),
        "max_quantity": trip.max_quantity,
        "entry_price": book.avg_price,
        "exit_price": None,
        "last_price": price,
        "realized_pnl": trip.gross - trip.fees,
        "unrealized_pnl": books.unrealized(book, price, point_value),
        "mae": trip.mae,
        "mfe": trip.mfe,
        "opened_at": trip.opened_at,
        "closed_at": None,
        "exit_reason": None,
        "source": replayed.source,
    }
