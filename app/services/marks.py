"""Open positions at the market: shown once a second to who looks, stored every few seconds.

A long position is worth what it could be sold for (the bid), a short one what it would cost to
buy back (the ask). Contracts that no feed knows keep their last known price, and so does what is
held at a broker: simulated prices are for paper, and the broker's own money says what such an
account is worth (``live``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import gevent
from sqlalchemy import Engine, and_, bindparam, or_, select, update

from app import clock, events
from app.domain import books
from app.domain.symbols import instrument_for
from app.domain.trading import PositionSide, Quote
from app.extensions import writer
from app.marketdata.base import Feed
from app.marketdata.simulated import SimulatedFeed
from app.models import Account, Book, RecordedPosition
from app.models.base import table
from app.services import payloads
from app.services.rebuild import to_book
from app.transactions import Tx

log = logging.getLogger(__name__)

EVERY_S = 1.0
STORE_EVERY = 15
"""Ticks between two writes."""

_ACCOUNTS = table(Account)
_BOOKS = table(Book)
_POSITIONS = table(RecordedPosition)
_OPEN = (
    select(
        _POSITIONS.c.id,
        _POSITIONS.c.user_id,
        _POSITIONS.c.contract,
        _POSITIONS.c.last_price,
        _BOOKS.c.id.label("book_id"),
        _BOOKS.c.net_pos,
        _BOOKS.c.avg_price,
        _BOOKS.c.realized,
        _BOOKS.c.trip,
        _BOOKS.c.updated_at.label("book_updated_at"),
    )
    .join(
        _BOOKS,
        and_(
            _BOOKS.c.account_id == _POSITIONS.c.account_id,
            _BOOKS.c.trader_id.is_not_distinct_from(_POSITIONS.c.trader_id),
            or_(
                _BOOKS.c.trader_id.is_not(None),
                _BOOKS.c.strategy_id.is_not_distinct_from(_POSITIONS.c.strategy_id),
            ),
            _BOOKS.c.contract == _POSITIONS.c.contract,
        ),
    )
    .join(_ACCOUNTS, _ACCOUNTS.c.id == _POSITIONS.c.account_id)
    .where(_POSITIONS.c.closed_at.is_(None), _ACCOUNTS.c.broker == "paper")
)
"""The positions that a feed of ours has prices for."""
_STORE_MARK = (
    update(_POSITIONS)
    .where(_POSITIONS.c.id == bindparam("of_id"), _POSITIONS.c.closed_at.is_(None))
    .values(
        last_price=bindparam("to_price"),
        unrealized_pnl=bindparam("to_pnl"),
        mae=bindparam("to_mae"),
        mfe=bindparam("to_mfe"),
        updated_at=bindparam("at"),
    )
)
# Another process may apply a fill between our read and our write: its book then stands.
_STORE_TRIP = (
    update(_BOOKS)
    .where(_BOOKS.c.id == bindparam("of_id"), _BOOKS.c.updated_at == bindparam("read_at"))
    .values(trip=bindparam("to_trip"))
)

Send = Callable[[int, str, Any], None]
"""Sends (user id, event, data) to the user's connections."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """The prices that a book was marked at since the last write, and which book that was."""

    net_pos: Decimal
    avg_price: Decimal | None
    low: Decimal
    high: Decimal
    last: Decimal

    def and_then(self, later: _Seen) -> _Seen:
        if (self.net_pos, self.avg_price) != (later.net_pos, later.avg_price):
            return later
        return replace(later, low=min(self.low, later.low), high=max(self.high, later.high))


class Marks:
    def __init__(
        self,
        engine: Engine,
        user_ids: Callable[[], list[int]],
        send: Send,
        *,
        feed: Feed | None = None,
    ) -> None:
        """``user_ids``: the users who look now. Without a ``feed`` prices are simulated."""
        self._engine = engine
        self._feed: Feed = feed or SimulatedFeed()
        self._user_ids = user_ids
        self._send = send
        self._seen: dict[int, _Seen] = {}
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill()
            self._greenlet = None
            self._store_safely()

    def show(self) -> None:
        """Mark the open positions of everybody who looks and send each their own."""
        user_ids = self._user_ids()
        if not user_ids:
            return
        with self._engine.connect() as connection:
            rows = (
                connection.execute(_OPEN.where(_POSITIONS.c.user_id.in_(user_ids))).mappings().all()
            )
        quotes = {contract: self._quote(contract) for contract in {row["contract"] for row in rows}}
        of_user: dict[int, list[dict[str, Any]]] = {}
        for row in rows:
            price = _price(row["net_pos"], quotes[row["contract"]])
            if price is not None:
                of_user.setdefault(row["user_id"], []).append(self._mark(row, price))
        at = events.timestamp(clock.now())
        for user_id, positions in of_user.items():
            self._send(user_id, "marks", {"positions": positions, "at": at})

    def store(self) -> None:
        """Write what was seen since the last time."""
        seen, self._seen = self._seen, {}
        if seen:
            writer.run(lambda tx: _store(tx, seen))

    def _mark(self, row: Any, price: Decimal) -> dict[str, Any]:
        seen = _Seen(row["net_pos"], row["avg_price"], price, price, price)
        before = self._seen.get(row["id"])
        self._seen[row["id"]] = before.and_then(seen) if before else seen
        pnl = books.unrealized(to_book(row), price, instrument_for(row["contract"]).point_value)
        return {
            "id": row["id"],
            "last_price": payloads.number(price),
            "unrealized_pnl": payloads.number(pnl),
        }

    def _quote(self, contract: str) -> Quote | None:
        return self._feed.quote(contract) if self._feed.knows(contract) else None

    def _run(self) -> None:
        ticks = 0
        while True:
            gevent.sleep(EVERY_S)
            ticks += 1
            try:
                self.show()
            except Exception:  # the loop's edge: the next second tries again
                log.exception("could not mark positions")
            if ticks % STORE_EVERY == 0:
                self._store_safely()

    def _store_safely(self) -> None:
        try:
            self.store()
        except Exception:  # the loop's edge: only marks are lost, and new ones come
            log.exception("could not store marks")


def _price(net_pos: Decimal, quote: Quote | None) -> Decimal | None:
    side = PositionSide.of(net_pos)
    if quote is None or side is None:
        return None
    return quote.bid if side is PositionSide.LONG else quote.ask


def _store(tx: Tx, seen: dict[int, _Seen]) -> None:
    """Write what differs from what is stored, in the marks and in the books' worst and best."""
    now = clock.now()
    rows = tx.conn.execute(_OPEN.where(_POSITIONS.c.id.in_(list(seen)))).mappings().all()
    marks, trips = [], []
    for row in rows:
        before, last = to_book(row), seen[row["id"]].last
        book = _marked(before, row["contract"], seen[row["id"]])
        if book.trip is None or (book is before and row["last_price"] == last):
            continue
        point_value = instrument_for(row["contract"]).point_value
        marks.append(
            {
                "of_id": row["id"],
                "to_price": last,
                "to_pnl": books.unrealized(book, last, point_value),
                "to_mae": book.trip.mae,
                "to_mfe": book.trip.mfe,
                "at": now,
            }
        )
        if book is not before:
            trips.append(
                {
                    "of_id": row["book_id"],
                    "read_at": row["book_updated_at"],
                    "to_trip": book.trip.to_json(),
                }
            )
    if marks:
        tx.conn.execute(_STORE_MARK, marks)
    if trips:
        tx.conn.execute(_STORE_TRIP, trips)


def _marked(book: books.Book, contract: str, seen: _Seen) -> books.Book:
    """The book after the seen prices; of a book that has since changed only the last counts."""
    unchanged = (book.net_pos, book.avg_price) == (seen.net_pos, seen.avg_price)
    for price in (seen.low, seen.high, seen.last) if unchanged else (seen.last,):
        book = books.mark(book, price, instrument_for(contract).point_value)
    return book
