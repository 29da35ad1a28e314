"""What brokers report becomes our orders, books, trades and positions: idempotent, in any order.

Stream, answer, poll and reconcile all end here. A fill counts once (unique by account and the
broker's fill id); totals of an order are recomputed from its fills; a report that is older than
what we know changes nothing.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import bindparam, insert, select, update

from app import clock, metrics
from app.brokers.base import AccountRef
from app.domain import books, symbols
from app.domain.orders import TERMINAL, IllegalTransition, reach, status_from_fills
from app.domain.trading import BrokerFill, BrokerOrder, BrokerReport, OrderStatus, Side
from app.models import Book, Fill, Order, RecordedPosition, Trade
from app.models.base import table
from app.models.bulk import BulkInsert
from app.models.engine import reserve_ids
from app.models.prepared import Prepared
from app.services import journal, payloads, rebuild
from app.services.rebuild import to_book
from app.transactions import Tx

log = logging.getLogger(__name__)

_ORDERS = table(Order)
_FILLS = table(Fill)
_BOOKS = table(Book)
_POSITIONS = table(RecordedPosition)
_TRADES = table(Trade)

_BY_CLIENT_ID = Prepared(
    select(_ORDERS).where(
        _ORDERS.c.account_id == bindparam("account"),
        _ORDERS.c.client_order_id == bindparam("id"),
    )
)
_BY_BROKER_ID = Prepared(
    select(_ORDERS).where(
        _ORDERS.c.account_id == bindparam("account"),
        _ORDERS.c.broker_order_id == bindparam("id"),
    )
)
_FILLS_OF = Prepared(
    select(_FILLS.c.quantity, _FILLS.c.price).where(_FILLS.c.order_id == bindparam("order"))
)
_KNOWN_FILLS = Prepared(
    select(_FILLS.c.broker_fill_id).where(
        _FILLS.c.account_id == bindparam("account"), _FILLS.c.filled_at >= bindparam("since")
    )
)
_BOOK_OF_TRADER = Prepared(
    select(_BOOKS).where(
        _BOOKS.c.trader_id == bindparam("trader"), _BOOKS.c.contract == bindparam("contract")
    )
)
_MANUAL_BOOK = Prepared(
    select(_BOOKS).where(
        _BOOKS.c.account_id == bindparam("account"),
        _BOOKS.c.trader_id.is_(None),
        _BOOKS.c.contract == bindparam("contract"),
    )
)
_OPEN_POSITION = Prepared(
    select(_POSITIONS).where(
        _POSITIONS.c.account_id == bindparam("account"),
        _POSITIONS.c.trader_id.is_not_distinct_from(bindparam("trader")),
        _POSITIONS.c.contract == bindparam("contract"),
        _POSITIONS.c.closed_at.is_(None),
    )
)
_UPDATE_ORDER = Prepared(
    update(_ORDERS)
    .where(_ORDERS.c.id == bindparam("of_id"))
    .values(
        status=bindparam("to_status"),
        reason=bindparam("to_reason"),
        broker_order_id=bindparam("to_broker_id"),
        filled_quantity=bindparam("to_filled"),
        avg_fill_price=bindparam("to_avg"),
        quantity=bindparam("to_quantity"),
        limit_price=bindparam("to_limit"),
        stop_price=bindparam("to_stop"),
        acknowledged_at=bindparam("to_acknowledged"),
        finished_at=bindparam("to_finished"),
        reported_at=bindparam("to_reported"),
        reported_filled=bindparam("to_reported_filled"),
        updated_at=bindparam("at"),
    )
)

_NEW_FILLS = BulkInsert(
    _FILLS,
    (
        "id",
        "user_id",
        "account_id",
        "order_id",
        "trader_id",
        "broker_fill_id",
        "contract",
        "side",
        "quantity",
        "price",
        "fee",
        "liquidity",
        "source",
        "filled_at",
        "created_at",
        "updated_at",
    ),
    "ON CONFLICT (account_id, broker_fill_id) DO NOTHING",
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

_FEE_STEP = Decimal("1E-8")
"""Fees are money, kept to 8 places, half to even."""


@dataclass(slots=True)
class Owner:
    """Whose book a fill moves: a trader's, or the account's manual one."""

    trader_id: int | None
    strategy_id: int | None


def apply(tx: Tx, account: AccountRef, report: BrokerReport, *, source: str) -> None:
    """Take in what a broker said about an account, as part of ``tx``."""
    report = _with_unclaimed(account, _without_known_fills(tx, account, report))
    rows = _our_orders(tx, account, report)
    before = {row["id"]: dict(row) for row in rows.by_id.values()}
    fresh = _store_fills(tx, account, rows, report.fills, source)
    if fresh:
        _recompute_totals(tx, rows, fresh)
        _move_books(tx, account, rows, fresh)
    for order in report.orders:
        row = rows.find(order.client_order_id, order.broker_order_id)
        if row is not None:
            _take_state(row, order)
    _store_orders(tx, account, rows, before)


def adopt(
    tx: Tx,
    account: AccountRef,
    owner: Owner,
    contract: str,
    net_pos: Decimal,
    price: Decimal,
    key: str,
) -> None:
    """Make a book hold what the broker holds: what differs becomes a fill at ``price``, of which
    no order and no fee is known. ``key`` makes it count once."""
    row = _find_book(tx, account, owner, contract)
    difference = net_pos - (row["net_pos"] if row is not None else Decimal(0))
    if not difference:
        return
    side = Side.BUY if difference > 0 else Side.SELL
    now = clock.now()
    fill = BrokerFill(key, None, key, contract, side, abs(difference), price, Decimal(0), now)
    stored = _fill_row(account, None, owner.trader_id, fill, "reconcile")
    if _insert_fill(tx, account, stored):
        _move_book(tx, account, owner, None, stored, fill, row)


_FEW = 8
_unclaimed: dict[int, tuple[BrokerFill, ...]] = {}
"""Per account, fills that name only the broker's order id and came before it was known which of
our orders that is. A crash loses them; ``reconcile`` asks for them again."""


def _with_unclaimed(account: AccountRef, report: BrokerReport) -> BrokerReport:
    held_back = _unclaimed.get(account.id)
    return replace(report, fills=(*held_back, *report.fills)) if held_back else report


def _without_known_fills(tx: Tx, account: AccountRef, report: BrokerReport) -> BrokerReport:
    """A long list, as a reconcile brings it, is mostly old: what is stored is left out at once."""
    if len(report.fills) <= _FEW:
        return report
    since = min(fill.at for fill in report.fills)
    stored = _KNOWN_FILLS.rows(tx.conn, {"account": account.id, "since": since})
    known = {row.broker_fill_id for row in stored}
    return replace(report, fills=tuple(f for f in report.fills if f.fill_id not in known))


class _Rows:
    """Our orders that a report is about, found by either id."""

    def __init__(self, rows: dict[int, dict[str, Any]]) -> None:
        self.by_id = rows
        self._by_client = {row["client_order_id"]: row for row in self.by_id.values()}
        self._by_broker = {
            row["broker_order_id"]: row for row in self.by_id.values() if row["broker_order_id"]
        }

    def find(self, client_id: str | None, broker_id: str) -> dict[str, Any] | None:
        if client_id is not None and client_id in self._by_client:
            return self._by_client[client_id]
        return self._by_broker.get(broker_id)

    def link(self, orders: tuple[BrokerOrder, ...]) -> None:
        """Take in which of our orders has which id at the broker."""
        for order in orders:
            row = self._by_client.get(order.client_order_id or "")
            if row is not None:
                self._by_broker[order.broker_order_id] = row


def _our_orders(tx: Tx, account: AccountRef, report: BrokerReport) -> _Rows:
    told: list[BrokerOrder | BrokerFill] = [*report.orders, *report.fills]
    found: dict[int, dict[str, Any]] = {}
    for client_id in {t.client_order_id for t in told if t.client_order_id}:
        for row in _BY_CLIENT_ID.dicts(tx.conn, {"account": account.id, "id": client_id}):
            found[row["id"]] = row
    for broker_id in {t.broker_order_id for t in told if not t.client_order_id}:
        for row in _BY_BROKER_ID.dicts(tx.conn, {"account": account.id, "id": broker_id}):
            found.setdefault(row["id"], row)
    rows = _Rows(found)
    rows.link(report.orders)
    return rows


_MAY_BE_OURS = (
    select(_ORDERS.c.id)
    .where(
        _ORDERS.c.account_id == bindparam("account"),
        _ORDERS.c.contract == bindparam("contract"),
        _ORDERS.c.side == bindparam("side"),
        _ORDERS.c.broker_order_id.is_(None),
        _ORDERS.c.status.in_((OrderStatus.SUBMITTING.value, OrderStatus.UNKNOWN.value)),
    )
    .limit(1)
)


def _is_unclear(tx: Tx, account: AccountRef, fill: BrokerFill) -> bool:
    """Whether a fill of an order that we do not know may be one that is just being sent."""
    if fill.client_order_id is not None:
        return False
    wanted = {"account": account.id, "contract": fill.contract, "side": fill.side.value}
    return tx.conn.execute(_MAY_BE_OURS, wanted).first() is not None


def _order_of_time(fill: BrokerFill) -> tuple[datetime, int, str]:
    """Fills of one instant follow each other by their numbers at the broker."""
    return fill.at, len(fill.fill_id), fill.fill_id


def _fill_row(
    account: AccountRef, order_id: int | None, trader_id: int | None, fill: BrokerFill, source: str
) -> dict[str, Any]:
    now = clock.now()
    return {
        "user_id": account.user_id,
        "account_id": account.id,
        "order_id": order_id,
        "trader_id": trader_id,
        "broker_fill_id": fill.fill_id,
        "contract": fill.contract,
        "side": fill.side.value,
        "quantity": fill.quantity,
        "price": fill.price,
        "fee": fill.fee.quantize(_FEE_STEP),
        "liquidity": fill.liquidity,
        "source": source,
        "filled_at": fill.at,
        "created_at": now,
        "updated_at": now,
    }


def _insert_fill(tx: Tx, account: AccountRef, row: dict[str, Any]) -> bool:
    """False: it was stored before."""
    [row["id"]] = reserve_ids(tx.conn, "fills", 1)
    if not _NEW_FILLS.execute(tx.conn, [row]):
        return False
    tx.record(account.user_id, "fill", payloads.fill(row))
    return True


def _store_fills(
    tx: Tx, account: AccountRef, rows: _Rows, fills: tuple[BrokerFill, ...], source: str
) -> list[tuple[dict[str, Any], BrokerFill]]:
    """Insert what is new; the rows that were, oldest first, each with its fill."""
    fresh, unclear = [], []
    by_id = {fill.fill_id: fill for fill in fills}
    for fill in sorted(by_id.values(), key=_order_of_time):
        order = rows.find(fill.client_order_id, fill.broker_order_id)
        if order is None and _is_unclear(tx, account, fill):
            unclear.append(fill)
            continue
        order_id, trader_id = (order["id"], order["trader_id"]) if order else (None, None)
        row = _fill_row(account, order_id, trader_id, fill, source)
        if _insert_fill(tx, account, row):
            fresh.append((row, fill))
    if unclear or account.id in _unclaimed:
        tx.after_commit(lambda: _hold_back(account.id, tuple(unclear)))
    metrics.FILLS.labels(source).inc(len(fresh))
    return fresh


def _hold_back(account_id: int, unclear: tuple[BrokerFill, ...]) -> None:
    if unclear:
        _unclaimed[account_id] = unclear
    else:
        _unclaimed.pop(account_id, None)


def _recompute_totals(tx: Tx, rows: _Rows, fresh: list[tuple[dict[str, Any], BrokerFill]]) -> None:
    for order_id in {row["order_id"] for row, _ in fresh if row["order_id"] is not None}:
        filled, value = Decimal(0), Decimal(0)
        for fill in _FILLS_OF.rows(tx.conn, {"order": order_id}):
            filled += fill.quantity
            value += fill.quantity * fill.price
        row = rows.by_id[order_id]
        current = OrderStatus(row["status"])
        status = status_from_fills(current, row["quantity"], filled)
        if current in TERMINAL and status is not current:
            log.warning(
                "late fill of an order that had ended",
                extra={"order_id": order_id, "was": current.value},
            )
        row["filled_quantity"] = filled
        row["avg_fill_price"] = value / filled
        row["status"] = status.value
        if current is OrderStatus.UNKNOWN:
            row["reason"] = None


def _take_state(row: dict[str, Any], order: BrokerOrder) -> None:
    """Let our row say what the broker says, as far as that is newer."""
    row["broker_order_id"] = order.broker_order_id
    if row["reported_at"] is not None and order.at < row["reported_at"]:
        return
    row["reported_at"], row["reported_filled"] = order.at, order.filled_quantity
    if order.quantity > 0:
        row["quantity"] = order.quantity  # legs follow partial fills
    has_price = order.limit_price is not None or order.stop_price is not None
    if has_price or order.status not in TERMINAL:
        row["limit_price"] = order.limit_price
        row["stop_price"] = order.stop_price
    _take_status(row, order)
    if row["filled_quantity"] and row["filled_quantity"] >= row["quantity"]:
        row["status"] = OrderStatus.FILLED.value


def _take_status(row: dict[str, Any], order: BrokerOrder) -> None:
    current = OrderStatus(row["status"])
    if order.status is OrderStatus.FILLED and row["filled_quantity"] < order.quantity:
        return  # its fills are still to come, and they decide
    try:
        reach(current, order.status, proof=bool(order.filled_quantity))
    except IllegalTransition:
        return
    row["status"] = order.status.value
    ours = None if current is OrderStatus.UNKNOWN else row["reason"]
    row["reason"] = order.reason or ours


def _store_orders(
    tx: Tx, account: AccountRef, rows: _Rows, before: dict[int, dict[str, Any]]
) -> None:
    now = clock.now()
    changed = [row for row in rows.by_id.values() if row != before[row["id"]]]
    for row in changed:
        status = OrderStatus(row["status"])
        if row["acknowledged_at"] is None and status not in (
            OrderStatus.CREATED,
            OrderStatus.SUBMITTING,
            OrderStatus.INACTIVE,
        ):
            row["acknowledged_at"] = now
        if status in TERMINAL and row["finished_at"] is None:
            row["finished_at"] = now
        if {**before[row["id"]], **{name: row[name] for name in _REPORTED}} == row:
            continue
        tx.record(account.user_id, "order:update", payloads.order(row))
        if status is OrderStatus.REJECTED:
            journal.write(
                tx,
                account.user_id,
                "order_rejected",
                f"{_what(row)} was rejected: {row['reason']}",
                level="error",
                strategy_id=row["strategy_id"],
                account_id=account.id,
                order_id=row["id"],
            )
    if changed:
        for row in changed:
            _UPDATE_ORDER.run(tx.conn, _columns(row, now))


_REPORTED = ("reported_at", "reported_filled")
"""What is ours alone: a change of it is no news."""


def _columns(row: dict[str, Any], now: datetime) -> dict[str, Any]:
    return {
        "of_id": row["id"],
        "to_status": row["status"],
        "to_reason": row["reason"],
        "to_broker_id": row["broker_order_id"],
        "to_filled": row["filled_quantity"],
        "to_avg": row["avg_fill_price"],
        "to_quantity": row["quantity"],
        "to_limit": row["limit_price"],
        "to_stop": row["stop_price"],
        "to_acknowledged": row["acknowledged_at"],
        "to_finished": row["finished_at"],
        "to_reported": row["reported_at"],
        "to_reported_filled": row["reported_filled"],
        "at": now,
    }


def _what(row: dict[str, Any]) -> str:
    kind = row["order_type"].replace("_", " ")
    return (
        f"{row['side'].capitalize()} {payloads.number(row['quantity'])} {row['contract']} ({kind})"
    )


def _move_books(
    tx: Tx, account: AccountRef, rows: _Rows, fresh: list[tuple[dict[str, Any], BrokerFill]]
) -> None:
    """Let the books follow fills that are given oldest first. Where one is older than what its
    book has seen, the round trips since then are made anew."""
    by_book: dict[tuple[int | None, str], list[tuple[dict[str, Any], BrokerFill]]] = {}
    for stored, fill in fresh:
        by_book.setdefault((stored["trader_id"], fill.contract), []).append((stored, fill))
    for group in by_book.values():
        stored, fill = group[0]
        owner = _owner_of(rows.by_id.get(stored["order_id"]))
        book = _find_book(tx, account, owner, fill.contract)
        if book is not None and _is_late(tx, account, book, fill):
            held, position_id = rebuild.rebuild(tx, account, book, fill.at)
            for stored, fill in group:
                _tell(tx, account, owner, stored, fill, held.net_pos, position_id)
            continue
        for place, (stored, fill) in enumerate(group):
            if place:
                book = _find_book(tx, account, owner, fill.contract)
            order = rows.by_id.get(stored["order_id"])
            _move_book(tx, account, owner, order, stored, fill, book)


def _owner_of(order: dict[str, Any] | None) -> Owner:
    return Owner(None, None) if order is None else Owner(order["trader_id"], order["strategy_id"])


def _is_late(tx: Tx, account: AccountRef, book: dict[str, Any], fill: BrokerFill) -> bool:
    last = book["last_fill_at"]
    if last is None or fill.at > last:
        return False
    if fill.at < last:
        return True
    same = select(_FILLS.c.broker_fill_id).where(
        _FILLS.c.account_id == account.id,
        _FILLS.c.filled_at == fill.at,
        _FILLS.c.contract == fill.contract,
        _FILLS.c.trader_id.is_not_distinct_from(book["trader_id"]),
    )
    mine = _order_of_time(fill)[1:]
    return any((len(i), i) > mine for i in tx.conn.scalars(same))


def _move_book(
    tx: Tx,
    account: AccountRef,
    owner: Owner,
    order: dict[str, Any] | None,
    stored: dict[str, Any],
    fill: BrokerFill,
    row: dict[str, Any] | None,
) -> None:
    instrument = symbols.instrument_for(fill.contract)
    book = to_book(row) if row is not None else books.Book()
    applied = books.apply(book, fill, instrument.point_value)
    _store_book(tx, account, owner, fill.contract, row, applied.book, fill.at)
    reason = rebuild.exit_reason(order["role"], order["origin"]) if order else rebuild.EXTERNAL
    position_id = _follow_position(
        tx, account, owner, instrument.root, fill, applied, reason, stored["source"]
    )
    if applied.trade is not None:
        _store_trade(tx, account, owner, fill.contract, applied.trade, reason)
    _tell(tx, account, owner, stored, fill, applied.book.net_pos, position_id)


def _tell(
    tx: Tx,
    account: AccountRef,
    owner: Owner,
    stored: dict[str, Any],
    fill: BrokerFill,
    net_pos: Decimal,
    position_id: int | None,
) -> None:
    verb = "Bought" if fill.side is Side.BUY else "Sold"
    places = symbols.instrument_for(fill.contract).price_places
    journal.write(
        tx,
        account.user_id,
        "fill",
        f"{verb} {payloads.number(fill.quantity)} {fill.contract} at {fill.price:,.{places}f}",
        strategy_id=owner.strategy_id,
        account_id=account.id,
        order_id=stored["order_id"],
        position_id=position_id,
        data={"fill_id": stored["id"], "net_pos": payloads.number(net_pos)},
    )


def _find_book(tx: Tx, account: AccountRef, owner: Owner, contract: str) -> Any:
    if owner.trader_id is not None:
        of_trader = {"trader": owner.trader_id, "contract": contract}
        found = _BOOK_OF_TRADER.dicts(tx.conn, of_trader)
    else:
        found = _MANUAL_BOOK.dicts(tx.conn, {"account": account.id, "contract": contract})
    return found[0] if found else None


def _store_book(
    tx: Tx,
    account: AccountRef,
    owner: Owner,
    contract: str,
    row: Any,
    book: books.Book,
    last_fill_at: datetime,
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
    of_owner = {"account": account.id, "trader": owner.trader_id, "contract": fill.contract}
    found = next(iter(_OPEN_POSITION.dicts(tx.conn, of_owner)), None)
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
