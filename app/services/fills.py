"""What brokers report becomes our orders, books, trades and positions: idempotent, in any order.

Stream, answer, poll and reconcile all end here. A fill counts once (unique by account and the
broker's fill id); totals of an order are recomputed from its fills; a report that is older than
what we know changes nothing. What books make of fills is in ``bookkeeping``, whose a fill is that
no order of ours explains in ``attribution``, what is told anew of a known one in ``corrections``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from sqlalchemy import bindparam, select, update

from app import clock, metrics
from app.brokers.base import AccountRef
from app.domain.orders import TERMINAL, IllegalTransition, reach, status_from_fills
from app.domain.trading import BrokerFill, BrokerOrder, BrokerReport, OrderStatus, Side
from app.extensions import writer
from app.models import Fill, Order
from app.models.base import table
from app.models.bulk import BulkInsert
from app.models.engine import reserve_ids
from app.models.orders import IS_OPEN
from app.models.prepared import Prepared
from app.services import attribution, bookkeeping, corrections, journal, payloads, rebuild
from app.services.attribution import Holdings, Share
from app.services.bookkeeping import Entry, Owner
from app.transactions import Tx

__all__ = ["Owner", "adopt", "apply", "forget_held_back", "retry_held_back"]

log = logging.getLogger(__name__)

_ORDERS = table(Order)
_FILLS = table(Fill)

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
    select(_FILLS.c.broker_fill_id, _FILLS.c.fee, _FILLS.c.order_id).where(
        _FILLS.c.account_id == bindparam("account"), _FILLS.c.filled_at >= bindparam("since")
    )
)
_IS_STORED = Prepared(
    select(_FILLS.c.id).where(
        _FILLS.c.account_id == bindparam("account"),
        _FILLS.c.broker_fill_id == bindparam("fill"),
    )
)
_OURS_AT_BROKER = select(_ORDERS.c.broker_order_id).where(
    _ORDERS.c.account_id == bindparam("account"),
    _ORDERS.c.broker_order_id.in_(bindparam("ids", expanding=True)),
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

_ENTRY = Prepared(
    select(_ORDERS.c.status, _ORDERS.c.filled_quantity).where(_ORDERS.c.id == bindparam("id"))
)
_NEW_FILLS = BulkInsert(
    _FILLS,
    (
        "id",
        "user_id",
        "account_id",
        "order_id",
        "trader_id",
        "strategy_id",
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


def apply(tx: Tx, account: AccountRef, report: BrokerReport, *, source: str) -> None:
    """Take in what a broker said about an account, as part of ``tx``."""
    report = _with_held_back(account, _without_old_news(tx, account, report))
    rows = _our_orders(tx, account, report)
    before = {row["id"]: dict(row) for row in rows.by_id.values()}
    fresh, known = _store_fills(tx, account, rows, report.fills, source)
    if fresh:
        bookkeeping.move(tx, account, fresh)
    changed = {e.stored["order_id"] for e in fresh if e.stored["order_id"] is not None}
    if known:
        changed |= corrections.take_in(tx, account, known)
    _recompute_totals(tx, rows, changed)
    for order in report.orders:
        row = rows.find(order.client_order_id, order.broker_order_id)
        if row is not None:
            _take_state(tx, rows, row, order)
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
    row = bookkeeping.find_book(tx, account, owner, contract)
    difference = net_pos - (row["net_pos"] if row is not None else Decimal(0))
    if not difference:
        return
    side = Side.BUY if difference > 0 else Side.SELL
    now = clock.now()
    fill = BrokerFill(key, None, key, contract, side, abs(difference), price, Decimal(0), now)
    share = Share(owner, fill.quantity, Decimal(0))
    entries = _insert(tx, account, None, fill, [share], "reconcile")
    if entries:
        bookkeeping.move(tx, account, entries)


@dataclass(frozen=True, slots=True)
class _HeldBack:
    account: AccountRef
    fill: BrokerFill
    since: datetime


_FEW = 8
_held_back: dict[int, dict[str, _HeldBack]] = {}
"""Per account and by the broker's id, fills that name only the broker's order id and came before
it was known which of our orders that is. A crash loses them; the next poll tells them again."""
_LEG_PATIENCE = timedelta(seconds=30)
"""How long a fill may be one of a leg whose id at the broker nobody has told yet. An order that is
being sent or unknown is waited for until it is settled."""


def forget_held_back() -> None:
    """A new app begins."""
    _held_back.clear()


def retry_held_back() -> list[int]:
    """Look again whose the fills are that were held back: an order may have been settled without
    a report, or a leg's time be over. The accounts that were looked at."""
    waiting = [next(iter(of_account.values())).account for of_account in _held_back.values()]
    for account in waiting:
        writer.run(partial(_retry, account=account))
    return [account.id for account in waiting]


def _retry(tx: Tx, account: AccountRef) -> None:
    apply(tx, account, BrokerReport(), source="stream")


def _with_held_back(account: AccountRef, report: BrokerReport) -> BrokerReport:
    held = _held_back.get(account.id)
    if not held:
        return report
    told = {fill.fill_id for fill in report.fills}
    waiting = (item.fill for fill_id, item in held.items() if fill_id not in told)
    return replace(report, fills=(*waiting, *report.fills))


def _without_old_news(tx: Tx, account: AccountRef, report: BrokerReport) -> BrokerReport:
    """A long list, as a poll or a reconcile brings it, is mostly old: what is stored as it is told
    is left out at once."""
    if len(report.fills) <= _FEW:
        return report
    since = min(fill.at for fill in report.fills)
    fees: dict[str, Decimal] = {}
    foreign = set()
    for row in _KNOWN_FILLS.rows(tx.conn, {"account": account.id, "since": since}):
        fill_id = corrections.whole_id(row.broker_fill_id)
        fees[fill_id] = fees.get(fill_id, Decimal(0)) + row.fee
        if row.order_id is None:
            foreign.add(fill_id)
    ours = _ours_at_broker(tx, account, [f for f in report.fills if f.fill_id in foreign])

    def is_news(fill: BrokerFill) -> bool:
        if fill.fill_id not in fees:
            return True
        may_be_ours = fill.client_order_id is not None or fill.broker_order_id in ours
        return (
            fill.is_busted
            or corrections.is_news(fill, fees[fill.fill_id])
            or (fill.fill_id in foreign and may_be_ours)
        )

    return replace(report, fills=tuple(fill for fill in report.fills if is_news(fill)))


def _ours_at_broker(tx: Tx, account: AccountRef, fills: list[BrokerFill]) -> set[str]:
    """Of the broker's order ids of these fills, those of our orders."""
    ids = sorted({fill.broker_order_id for fill in fills})
    if not ids:
        return set()
    found = tx.conn.scalars(_OURS_AT_BROKER, {"account": account.id, "ids": ids})
    return {broker_id for broker_id in found if broker_id is not None}


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


_NAMELESS = Prepared(
    select(_ORDERS.c.status)
    .where(
        _ORDERS.c.account_id == bindparam("account"),
        _ORDERS.c.contract == bindparam("contract"),
        _ORDERS.c.side == bindparam("side"),
        _ORDERS.c.broker_order_id.is_(None),
        IS_OPEN,
    )
    .distinct()
)
_BEING_SENT = frozenset({OrderStatus.SUBMITTING.value, OrderStatus.UNKNOWN.value})


def _is_unclear(tx: Tx, account: AccountRef, fill: BrokerFill) -> bool:
    """Whether a fill of an order that we do not know may be one of ours, of which nobody has told
    the broker's id yet."""
    if fill.client_order_id is not None:
        return False
    wanted = {"account": account.id, "contract": fill.contract, "side": fill.side.value}
    statuses = {row.status for row in _NAMELESS.rows(tx.conn, wanted)}
    statuses.discard(OrderStatus.CREATED.value)  # nothing of it was sent yet
    if statuses & _BEING_SENT:
        return True
    held = _held_back.get(account.id, {}).get(fill.fill_id)
    return bool(statuses) and (held is None or clock.now() - held.since < _LEG_PATIENCE)


def _order_of_time(fill: BrokerFill) -> tuple[datetime, int, str]:
    return fill.at, *rebuild.place_of(fill.fill_id)


def _store_fills(
    tx: Tx, account: AccountRef, rows: _Rows, fills: tuple[BrokerFill, ...], source: str
) -> tuple[list[Entry], list[corrections.Known]]:
    """Insert what is new: those, oldest first, and what was stored before."""
    fresh: list[Entry] = []
    known: list[corrections.Known] = []
    held = Holdings(tx.conn, account)
    by_id = {fill.fill_id: fill for fill in fills}
    for fill in sorted(by_id.values(), key=_order_of_time):
        order = rows.find(fill.client_order_id, fill.broker_order_id)
        entries = [] if fill.is_busted else _store_fill(tx, account, order, fill, held, source)
        if entries is None:
            _hold_back(account, fill)
            continue
        if fill.fill_id in _held_back.get(account.id, ()):
            tx.after_commit(partial(_let_go, account.id, fill.fill_id))
        if not entries:
            known.append((fill, order))
        for entry in entries:
            held.note(entry.owner, fill.contract, fill.side, entry.fill.quantity)
        fresh += entries
    metrics.FILLS.labels(source).inc(len(fresh))
    return fresh, known


def _store_fill(
    tx: Tx,
    account: AccountRef,
    order: dict[str, Any] | None,
    fill: BrokerFill,
    held: Holdings,
    source: str,
) -> list[Entry] | None:
    """What was inserted: nothing where it was stored before; None where it cannot be told yet
    whose it is."""
    if order is not None and order["trader_id"] is not None:
        owner = Owner(order["trader_id"], order["strategy_id"])
        share = Share(owner, fill.quantity, Decimal(0))
        return _insert(tx, account, order, fill, [share], source)
    if _IS_STORED.first(tx.conn, {"account": account.id, "fill": fill.fill_id}) is not None:
        return []
    if order is None and _is_unclear(tx, account, fill):
        return None
    holdings = held.of(fill.contract)
    if order is not None:
        shares = attribution.of_own(order, fill, holdings)
    else:
        shares = attribution.of_foreign(tx.conn, account, fill, holdings)
    entries = _insert(tx, account, order, fill, shares, source)
    if order is None and entries:
        _tell_closed_by_hand(tx, account, fill, shares)
    return entries


def _insert(
    tx: Tx,
    account: AccountRef,
    order: dict[str, Any] | None,
    fill: BrokerFill,
    shares: list[Share],
    source: str,
) -> list[Entry]:
    """Store a fill, in parts where it moves several books; nothing if it was stored before."""
    entries: list[Entry] = []
    parts = [fill] if len(shares) == 1 else corrections.parts_of(fill, shares)
    for share, part in zip(shares, parts, strict=True):
        row = _fill_row(account, order, share.owner, part, source)
        [row["id"]] = reserve_ids(tx.conn, "fills", 1)
        if not _NEW_FILLS.execute(tx.conn, [row]):
            return entries
        tx.record(account.user_id, "fill", payloads.fill(row))
        entries.append(Entry(row, part, share.owner, order))
    return entries


def _fill_row(
    account: AccountRef,
    order: dict[str, Any] | None,
    owner: Owner,
    fill: BrokerFill,
    source: str,
) -> dict[str, Any]:
    now = clock.now()
    return {
        "user_id": account.user_id,
        "account_id": account.id,
        "order_id": order["id"] if order is not None else None,
        "trader_id": owner.trader_id,
        "strategy_id": owner.strategy_id,
        "broker_fill_id": fill.fill_id,
        "contract": fill.contract,
        "side": fill.side.value,
        "quantity": fill.quantity,
        "price": fill.price,
        "fee": fill.fee.quantize(corrections.FEE_STEP),
        "liquidity": fill.liquidity,
        "source": source,
        "filled_at": fill.at,
        "created_at": now,
        "updated_at": now,
    }


def _tell_closed_by_hand(
    tx: Tx, account: AccountRef, fill: BrokerFill, shares: list[Share]
) -> None:
    for share in shares:
        if share.owner.trader_id is None or not share.closes:
            continue
        closed = bookkeeping.in_words(replace(fill, quantity=share.closes))
        journal.write(
            tx,
            account.user_id,
            "closed_by_hand",
            f"{closed}: closed by hand at the broker.",
            level="warning",
            strategy_id=share.owner.strategy_id,
            account_id=account.id,
        )


def _hold_back(account: AccountRef, fill: BrokerFill) -> None:
    # At once, not after the commit: it is what the broker said, whatever becomes of this
    # transaction, and the next one of the same batch may be the answer that explains it.
    of_account = _held_back.setdefault(account.id, {})
    since = of_account[fill.fill_id].since if fill.fill_id in of_account else clock.now()
    of_account[fill.fill_id] = _HeldBack(account, fill, since)


def _let_go(account_id: int, fill_id: str) -> None:
    of_account = _held_back.get(account_id, {})
    of_account.pop(fill_id, None)
    if not of_account:
        _held_back.pop(account_id, None)


def _recompute_totals(tx: Tx, rows: _Rows, order_ids: set[int]) -> None:
    for order_id in sorted(order_ids & rows.by_id.keys()):  # entries before their legs
        filled, value = Decimal(0), Decimal(0)
        for fill in _FILLS_OF.rows(tx.conn, {"order": order_id}):
            filled += fill.quantity
            value += fill.quantity * fill.price
        row = rows.by_id[order_id]
        current = OrderStatus(row["status"])
        row["filled_quantity"] = filled
        whole = row["quantity"] if _is_used_up(tx, rows, row) else filled + 1
        status = status_from_fills(current, max(row["quantity"], whole), filled)
        if current is OrderStatus.FILLED:
            status = current  # a trade that the broker cancelled leaves no order to be filled
        elif current in TERMINAL and status is not current:
            log.warning(
                "late fill of an order that had ended",
                extra={"order_id": order_id, "was": current.value},
            )
        row["avg_fill_price"] = value / filled if filled else None
        row["status"] = status.value
        if current is OrderStatus.UNKNOWN:
            row["reason"] = None


def _is_used_up(tx: Tx, rows: _Rows, row: dict[str, Any]) -> bool:
    """Whether its fills alone prove that nothing of it is left. A leg is as large as what its
    entry has filled so far: one that did less may grow, and the broker says when it is over."""
    filled = row["filled_quantity"]
    if not filled or filled < row["quantity"] or row["parent_id"] is None:
        return bool(filled and filled >= row["quantity"])
    entry = rows.by_id.get(row["parent_id"])
    if entry is None:
        entry = dict(_ENTRY.dicts(tx.conn, {"id": row["parent_id"]})[0])
    is_over = OrderStatus(entry["status"]) in TERMINAL
    return is_over and bool(filled >= entry["filled_quantity"])


def _take_state(tx: Tx, rows: _Rows, row: dict[str, Any], order: BrokerOrder) -> None:
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
    if _is_used_up(tx, rows, row):
        row["status"] = OrderStatus.FILLED.value


def _take_status(row: dict[str, Any], order: BrokerOrder) -> None:
    current = OrderStatus(row["status"])
    if order.status is OrderStatus.FILLED and row["filled_quantity"] < order.quantity:
        return  # its fills are still to come, and they decide
    is_absent = current is OrderStatus.NOT_FOUND
    try:
        reach(current, order.status, proof=is_absent or bool(order.filled_quantity))
    except IllegalTransition:
        return
    if is_absent and order.status not in TERMINAL:
        row["finished_at"] = row["reason"] = None
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
        if before[row["id"]]["status"] == OrderStatus.NOT_FOUND and status not in TERMINAL:
            journal.write(
                tx,
                account.user_id,
                "order_turned_up",
                f"{_what(row)} had not been found at the broker and is there after all.",
                level="error",
                strategy_id=row["strategy_id"],
                account_id=account.id,
                order_id=row["id"],
            )
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
