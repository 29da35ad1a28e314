"""Books, recorded positions and closed trades follow the fills that were stored.

A book belongs to a trader, or to a recorder (what was traded on its account without us), or to
nobody. One open position of a strategy in a contract on an account: where a trader opens while the
recorder of the same strategy still holds something there, it takes over what that holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import bindparam, delete, insert, or_, select, update

from app import clock
from app.brokers.base import AccountRef
from app.domain import books, symbols
from app.domain.trading import BrokerFill, Side
from app.models import Book, Fill, RecordedPosition, Trade
from app.models.base import table
from app.models.bulk import BulkInsert
from app.models.engine import reserve_ids
from app.models.prepared import Prepared
from app.services import journal, payloads, rebuild
from app.services.rebuild import to_book
from app.transactions import Tx

ZERO = Decimal(0)

_FILLS = table(Fill)
_BOOKS = table(Book)
_POSITIONS = table(RecordedPosition)
_TRADES = table(Trade)

_BOOKS_OF_TRADER = Prepared(
    select(_BOOKS).where(
        _BOOKS.c.contract == bindparam("contract"),
        or_(
            _BOOKS.c.trader_id == bindparam("trader"),
            (_BOOKS.c.account_id == bindparam("account"))
            & _BOOKS.c.trader_id.is_(None)
            & (_BOOKS.c.strategy_id == bindparam("strategy"))
            & (_BOOKS.c.net_pos != ZERO),
        ),
    )
)
"""The trader's own, and what the recorder of its strategy holds beside it."""
_FOREIGN_BOOK = Prepared(
    select(_BOOKS).where(
        _BOOKS.c.account_id == bindparam("account"),
        _BOOKS.c.trader_id.is_(None),
        _BOOKS.c.strategy_id.is_not_distinct_from(bindparam("strategy")),
        _BOOKS.c.contract == bindparam("contract"),
    )
)
_POSITION_OF_TRADER = Prepared(
    select(_POSITIONS).where(
        _POSITIONS.c.account_id == bindparam("account"),
        _POSITIONS.c.trader_id == bindparam("trader"),
        _POSITIONS.c.contract == bindparam("contract"),
        _POSITIONS.c.closed_at.is_(None),
    )
)
_FOREIGN_POSITION = Prepared(
    select(_POSITIONS).where(
        _POSITIONS.c.account_id == bindparam("account"),
        _POSITIONS.c.trader_id.is_(None),
        _POSITIONS.c.strategy_id.is_not_distinct_from(bindparam("strategy")),
        _POSITIONS.c.contract == bindparam("contract"),
        _POSITIONS.c.closed_at.is_(None),
    )
)
_UPDATE_BOOK = Prepared(
    update(_BOOKS)
    .where(_BOOKS.c.id == bindparam("of_id"))
    .values(
        net_pos=bindparam("net_pos"),
        avg_price=bindparam("avg_price"),
        realized=bindparam("realized"),
        trip=bindparam("trip"),
        last_fill_at=bindparam("last_fill_at"),
        updated_at=bindparam("updated_at"),
    )
)
_POSITION_STATE = (
    "quantity",
    "max_quantity",
    "entry_price",
    "last_price",
    "realized_pnl",
    "unrealized_pnl",
    "mae",
    "mfe",
    "updated_at",
)
_CLOSED_STATE = (*_POSITION_STATE, "exit_price", "closed_at", "exit_reason")
_UPDATE_POSITION = Prepared(
    update(_POSITIONS)
    .where(_POSITIONS.c.id == bindparam("of_id"))
    .values({name: bindparam(name) for name in _POSITION_STATE})
)
_CLOSE_POSITION = Prepared(
    update(_POSITIONS)
    .where(_POSITIONS.c.id == bindparam("of_id"))
    .values({name: bindparam(name) for name in _CLOSED_STATE})
)
_NEW_POSITIONS = BulkInsert(
    _POSITIONS,
    (
        "id",
        "user_id",
        "strategy_id",
        "account_id",
        "trader_id",
        "contract",
        "symbol",
        "side",
        "opened_at",
        "source",
        "created_at",
        *_POSITION_STATE,
    ),
)
_NEW_TRADES = BulkInsert(
    _TRADES,
    (
        "id",
        "user_id",
        "account_id",
        "strategy_id",
        "trader_id",
        "contract",
        "side",
        "quantity",
        "entry_price",
        "exit_price",
        "gross",
        "fees",
        "net",
        "mae",
        "mfe",
        "opened_at",
        "closed_at",
        "exit_reason",
        "created_at",
        "updated_at",
    ),
)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose book a fill moves: a trader's, else a recorder's, else (both None) nobody's."""

    trader_id: int | None
    strategy_id: int | None

    @property
    def key(self) -> tuple[int | None, int | None]:
        """What tells the books of one contract on one account apart."""
        return (None, self.strategy_id) if self.trader_id is None else (self.trader_id, None)


NOBODY = Owner(None, None)


@dataclass(frozen=True, slots=True)
class Entry:
    """A fill, or its part that moves one book, that was stored just now. ``order`` is our row of
    the order that it is of."""

    stored: dict[str, Any]
    fill: BrokerFill
    owner: Owner
    order: dict[str, Any] | None


def move(tx: Tx, account: AccountRef, entries: Sequence[Entry]) -> None:
    """Let the books follow fills that are given oldest first. Where one is older than what its
    book has seen, the round trips since then are made anew."""
    by_book: dict[tuple[Any, str], list[Entry]] = {}
    for entry in entries:
        by_book.setdefault((entry.owner.key, entry.fill.contract), []).append(entry)
    taken_over: dict[tuple[Any, str], dict[str, Any]] = {}
    for (key, contract), group in by_book.items():
        if (key, contract) in taken_over:
            _remake(tx, account, taken_over[key, contract], group)
            continue
        book, rival = _find(tx, account, group[0].owner, contract)
        if rival is not None and (book is None or not book["net_pos"]):
            book = _take_over(tx, account, group[0].owner, book, rival)
            taken_over[Owner(None, group[0].owner.strategy_id).key, contract] = book
            _remake(tx, account, book, group)
        elif book is not None and _is_late(tx, account, book, group[0].fill):
            _remake(tx, account, book, group)
        else:
            _follow(tx, account, book, group)


def find_book(tx: Tx, account: AccountRef, owner: Owner, contract: str) -> dict[str, Any] | None:
    return _find(tx, account, owner, contract)[0]


def remake(
    tx: Tx,
    account: AccountRef,
    owner: Owner,
    contract: str,
    at: datetime,
    *,
    is_fee_only: bool = False,
) -> None:
    """Work out a book anew whose stored fills of ``at`` are not as it has seen them."""
    book, rival = _find(tx, account, owner, contract)
    if rival is not None and (book is None or not book["net_pos"]):
        book = _take_over(tx, account, owner, book, rival)
    if book is None:
        _store_book(tx, account, owner, contract, None, books.Book(), None)
        book = find_book(tx, account, owner, contract)
    assert book is not None  # noqa: S101  (it was stored just now)
    rebuild.rebuild(tx, account, book, at, is_fee_only=is_fee_only)


def _find(
    tx: Tx, account: AccountRef, owner: Owner, contract: str
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The owner's book, and for a trader the one that its strategy's recorder holds something in
    at the same place."""
    wanted = {"account": account.id, "strategy": owner.strategy_id, "contract": contract}
    if owner.trader_id is None:
        found = _FOREIGN_BOOK.dicts(tx.conn, wanted)
        return (found[0] if found else None), None
    book, rival = None, None
    for row in _BOOKS_OF_TRADER.dicts(tx.conn, {**wanted, "trader": owner.trader_id}):
        if row["trader_id"] is None:
            rival = row
        else:
            book = row
    return book, rival


def _take_over(
    tx: Tx,
    account: AccountRef,
    owner: Owner,
    book: dict[str, Any] | None,
    rival: dict[str, Any],
) -> dict[str, Any]:
    """Make everything of the recorder's book the trader's, whose own is flat; the joined row."""
    for rows in (_FILLS, _TRADES, _POSITIONS):
        tx.conn.execute(
            update(rows)
            .where(
                rows.c.account_id == account.id,
                rows.c.trader_id.is_(None),
                rows.c.strategy_id == owner.strategy_id,
                rows.c.contract == rival["contract"],
            )
            .values(trader_id=owner.trader_id)
        )
    joined = {**rival, "trader_id": owner.trader_id}
    if book is None:
        tx.conn.execute(
            update(_BOOKS).where(_BOOKS.c.id == rival["id"]).values(trader_id=owner.trader_id)
        )
    else:
        # Its row only: what it says is worked out by the caller.
        joined |= {"id": book["id"], "realized": rival["realized"] + book["realized"]}
        tx.conn.execute(delete(_BOOKS).where(_BOOKS.c.id == rival["id"]))
    journal.write(
        tx,
        account.user_id,
        "taken_over",
        f"The trader took over {payloads.number(abs(rival['net_pos']))} {rival['contract']} "
        "that its recorder held on this account.",
        strategy_id=owner.strategy_id,
        account_id=account.id,
    )
    return joined


def _remake(tx: Tx, account: AccountRef, book: dict[str, Any], group: list[Entry]) -> None:
    held, position_id = rebuild.rebuild(tx, account, book, group[0].fill.at)
    for entry in group:
        _tell(tx, account, entry, held.net_pos, position_id)


def _follow(tx: Tx, account: AccountRef, book: dict[str, Any] | None, group: list[Entry]) -> None:
    for place, entry in enumerate(group):
        if place:
            book = find_book(tx, account, entry.owner, entry.fill.contract)
        _move_one(tx, account, entry, book)


def _is_late(tx: Tx, account: AccountRef, book: dict[str, Any], fill: BrokerFill) -> bool:
    last = book["last_fill_at"]
    if last is None or fill.at > last:
        return False
    if fill.at < last:
        return True
    same = select(_FILLS.c.broker_fill_id).where(
        rebuild.of_book(_FILLS, account, book), _FILLS.c.filled_at == fill.at
    )
    mine = rebuild.place_of(fill.fill_id)
    return any(rebuild.place_of(i) > mine for i in tx.conn.scalars(same))


def _move_one(tx: Tx, account: AccountRef, entry: Entry, row: dict[str, Any] | None) -> None:
    owner, fill, order = entry.owner, entry.fill, entry.order
    instrument = symbols.instrument_for(fill.contract)
    book = to_book(row) if row is not None else books.Book()
    applied = books.apply(book, fill, instrument.point_value)
    _store_book(tx, account, owner, fill.contract, row, applied.book, fill.at)
    reason = rebuild.exit_reason(order["role"], order["origin"]) if order else rebuild.EXTERNAL
    position_id = _follow_position(
        tx, account, owner, instrument.root, fill, applied, reason, entry.stored["source"]
    )
    if applied.trade is not None:
        _store_trade(tx, account, owner, fill.contract, applied.trade, reason)
    _tell(tx, account, entry, applied.book.net_pos, position_id)


def _tell(
    tx: Tx, account: AccountRef, entry: Entry, net_pos: Decimal, position_id: int | None
) -> None:
    fill = entry.fill
    journal.write(
        tx,
        account.user_id,
        "fill",
        in_words(fill),
        strategy_id=entry.owner.strategy_id,
        account_id=account.id,
        order_id=entry.stored["order_id"],
        position_id=position_id,
        data={"fill_id": entry.stored["id"], "net_pos": payloads.number(net_pos)},
    )


def in_words(fill: BrokerFill) -> str:
    verb = "Bought" if fill.side is Side.BUY else "Sold"
    places = symbols.instrument_for(fill.contract).price_places
    return f"{verb} {payloads.number(fill.quantity)} {fill.contract} at {fill.price:,.{places}f}"


def _store_book(
    tx: Tx,
    account: AccountRef,
    owner: Owner,
    contract: str,
    row: Any,
    book: books.Book,
    last_fill_at: datetime | None,
) -> None:
    now = clock.now()
    values = {
        "net_pos": book.net_pos,
        "avg_price": book.avg_price,
        "realized": book.realized,
        "trip": book.trip.to_json() if book.trip else {},
        "last_fill_at": last_fill_at,
        "updated_at": now,
    }
    if row is not None:
        _UPDATE_BOOK.run(tx.conn, {"of_id": row["id"], **values})
        return
    tx.conn.execute(
        insert(_BOOKS).values(
            user_id=account.user_id,
            account_id=account.id,
            strategy_id=owner.strategy_id,
            trader_id=owner.trader_id,
            contract=contract,
            created_at=now,
            **values,
        )
    )


def _follow_position(
    tx: Tx,
    account: AccountRef,
    owner: Owner,
    symbol: str,
    fill: BrokerFill,
    applied: books.Applied,
    reason: str,
    source: str,
) -> int | None:
    """Keep the recorded position in step with the book: close it, open it, or update it."""
    found = _open_position(tx, account, owner, fill.contract)
    position_id: int | None = None
    if applied.trade is not None and found is not None:
        position_id = _close_position(tx, account, found, applied.trade, reason)
        found = None
    trip = applied.book.trip
    if trip is None:
        return position_id
    now = clock.now()
    state = {
        "quantity": abs(applied.book.net_pos),
        "max_quantity": trip.max_quantity,
        "entry_price": applied.book.avg_price,
        "last_price": fill.price,
        "realized_pnl": trip.gross - trip.fees,
        "unrealized_pnl": books.unrealized(
            applied.book, fill.price, symbols.instrument_for(fill.contract).point_value
        ),
        "mae": trip.mae,
        "mfe": trip.mfe,
        "updated_at": now,
    }
    if found is not None:
        row = {**found, **state}
        _UPDATE_POSITION.run(tx.conn, {"of_id": row["id"], **state})
        tx.record(account.user_id, "position:update", payloads.position(row))
        return int(row["id"])
    row = {
        "user_id": account.user_id,
        "strategy_id": owner.strategy_id,
        "account_id": account.id,
        "trader_id": owner.trader_id,
        "contract": fill.contract,
        "symbol": symbol,
        "side": trip.side.value,
        "opened_at": trip.opened_at,
        "closed_at": None,
        "exit_price": None,
        "exit_reason": None,
        "source": source,
        "created_at": now,
        **state,
    }
    [row["id"]] = reserve_ids(tx.conn, "recorded_positions", 1)
    _NEW_POSITIONS.execute(tx.conn, [row])
    tx.record(account.user_id, "position:new", payloads.position(row))
    return int(row["id"])


def _open_position(
    tx: Tx, account: AccountRef, owner: Owner, contract: str
) -> dict[str, Any] | None:
    wanted: dict[str, Any] = {"account": account.id, "contract": contract}
    if owner.trader_id is None:
        found = _FOREIGN_POSITION.dicts(tx.conn, {**wanted, "strategy": owner.strategy_id})
    else:
        found = _POSITION_OF_TRADER.dicts(tx.conn, {**wanted, "trader": owner.trader_id})
    return found[0] if found else None


def _close_position(
    tx: Tx, account: AccountRef, row: dict[str, Any], trade: books.Trade, reason: str
) -> int:
    state = {
        "quantity": Decimal(0),
        "max_quantity": trade.quantity,
        "entry_price": trade.entry_price,
        "exit_price": trade.exit_price,
        "last_price": trade.exit_price,
        "realized_pnl": trade.net,
        "unrealized_pnl": Decimal(0),
        "mae": trade.mae,
        "mfe": trade.mfe,
        "closed_at": trade.closed_at,
        "exit_reason": reason,
        "updated_at": clock.now(),
    }
    _CLOSE_POSITION.run(tx.conn, {"of_id": row["id"], **state})
    tx.record(account.user_id, "position:closed", payloads.position({**row, **state}))
    return int(row["id"])


def _store_trade(
    tx: Tx, account: AccountRef, owner: Owner, contract: str, trade: books.Trade, reason: str
) -> None:
    now = clock.now()
    row = {
        "user_id": account.user_id,
        "account_id": account.id,
        "strategy_id": owner.strategy_id,
        "trader_id": owner.trader_id,
        "contract": contract,
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
        "exit_reason": reason,
        "created_at": now,
        "updated_at": now,
    }
    [row["id"]] = reserve_ids(tx.conn, "trades", 1)
    _NEW_TRADES.execute(tx.conn, [row])
    tx.record(account.user_id, "trade", payloads.trade(row))
