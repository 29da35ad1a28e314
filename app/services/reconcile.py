"""Orders whose outcome nobody knows: asked for at the broker, never sent again on a guess."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from time import monotonic
from typing import Any

from sqlalchemy import bindparam, func, or_, select, update

from app import clock, faults
from app.brokers.base import AccountRef, Broker
from app.domain.errors import BrokerUnavailable, TradingError, Unavailable
from app.domain.orders import TERMINAL
from app.domain.trading import BrokerReport, OrderStatus, OrderType, Side, SoughtOrder
from app.extensions import writer
from app.models import Fill, Order
from app.models.base import table
from app.models.orders import IS_OPEN
from app.services import fills, journal, payloads
from app.transactions import Tx

log = logging.getLogger(__name__)

PAUSE_S = 1.0
_LONGEST_PAUSE_S = 5.0
SETTLING = {"paper": timedelta(0)}
"""How long after the submit a broker may still bring up an order, so that its absence is no
proof before. Paper answers from the same database: what it does not know does not exist."""
_SETTLING_DEFAULT = timedelta(seconds=15)
_FIRST_LOOK_SHARE = 3
"""An order that the broker has never shown must be missing at two looks, so large a part of the
settling time apart; one that it has shown, the whole of it. One look may be at a list that lags."""
_LOOK_BACK = timedelta(minutes=5)

_ORDERS = table(Order)
_UNSETTLED = select(_ORDERS).where(
    _ORDERS.c.account_id == bindparam("account"),
    or_(
        _ORDERS.c.status.in_(("submitting", "unknown", "cancel_pending")),
        _ORDERS.c.client_order_id.in_(bindparam("also", expanding=True)),
    ),
)
_LAST_FILL = select(func.max(table(Fill).c.filled_at)).where(
    table(Fill).c.account_id == bindparam("account")
)
_LEGS = select(_ORDERS).where(_ORDERS.c.parent_id == bindparam("parent"))
_TAKEN = select(_ORDERS.c.broker_order_id).where(
    _ORDERS.c.account_id == bindparam("account"),
    _ORDERS.c.broker_order_id.is_not(None),
    _ORDERS.c.created_at >= bindparam("since"),
)
_IDS = select(_ORDERS.c.id, _ORDERS.c.client_order_id).where(
    _ORDERS.c.id.in_(bindparam("ids", expanding=True))
)
_OPEN_AT_BROKER = select(_ORDERS.c.client_order_id, _ORDERS.c.broker_order_id).where(
    _ORDERS.c.account_id == bindparam("account"),
    IS_OPEN,
    _ORDERS.c.broker_order_id.is_not(None),
)


class AdapterFailed(BrokerUnavailable):
    """Our own code for this broker broke while it asked: nothing is known."""


def settle(broker: Broker, account: AccountRef, also: Sequence[str] = ()) -> bool:
    """Ask the broker about every unsettled order of the account, and about those named by client
    order id in ``also``, and take in what it says.

    True when none is left. False: it did not answer, or an order's absence is no proof yet.
    """
    with writer.read() as connection:
        found = connection.execute(_UNSETTLED, {"account": account.id, "also": list(also)})
        rows = [row._mapping for row in found]
    if not rows:
        return True
    try:
        report, absent = _ask(broker, account, rows)
    except Unavailable:
        raise
    except TradingError as e:
        log.warning("broker not reachable", extra={"account_id": account.id, "detail": e.detail})
        return False
    except Exception:  # the edge: an adapter's defect is no proof of anything
        log.exception("broker adapter failed", extra={"account_id": account.id})
        return False
    faults.point("reconcile asked")
    proven = _proven(account, rows, absent)
    writer.run(lambda tx: _take_in(tx, account, report, proven))
    faults.point("reconciled")
    return len(proven) == len(absent) and not any(
        order.status is OrderStatus.CANCEL_PENDING for order in report.orders
    )


def pause_after(looks: int) -> float:
    """Seconds between two looks at a broker that has not made an outcome clear: each costs
    requests, and the first moments are the likeliest."""
    return min(PAUSE_S * 2.0 ** max(0, looks - 2), _LONGEST_PAUSE_S)


def gone(account: AccountRef, report: BrokerReport) -> list[str]:
    """Client order ids that are open with us and missing from a complete report: the broker is to
    be asked about each, since an order that ended is not listed, nor one that is just being
    made."""
    listed = {order.broker_order_id for order in report.orders}
    with writer.read() as connection:
        rows = connection.execute(_OPEN_AT_BROKER, {"account": account.id}).all()
    return [row.client_order_id for row in rows if row.broker_order_id not in listed]


def catch_up(broker: Broker, account: AccountRef) -> None:
    """Take in the fills that the broker has booked since the last one we know of.

    Raises:
        BrokerError: the broker does not answer; nothing was changed.
    """
    with writer.read() as connection:
        last = connection.scalar(_LAST_FILL, {"account": account.id})
    since = last - _LOOK_BACK if last is not None else None
    try:
        report = BrokerReport((), tuple(broker.fills(account, since)))
    except TradingError:
        raise
    except Exception as e:  # the edge: an adapter's defect must not end the execution
        raise AdapterFailed(str(e)) from e
    writer.run(lambda tx: fills.apply(tx, account, report, source="reconcile"))


def mark_unknown(tx: Tx, account: AccountRef, client_order_ids: list[str]) -> None:
    """Note that a call about these orders had no clear answer."""
    rows = tx.conn.execute(
        select(_ORDERS).where(
            _ORDERS.c.client_order_id.in_(client_order_ids),
            _ORDERS.c.status == OrderStatus.SUBMITTING.value,
        )
    ).all()
    for row in rows:
        _set(tx, account, row._mapping, OrderStatus.UNKNOWN, "No clear answer; asking the broker.")


def _ask(broker: Broker, account: AccountRef, rows: list[Any]) -> tuple[BrokerReport, list[Any]]:
    """What the broker knows of these orders and their legs, all fills since; and what not."""
    orders, absent = [], []
    taken, parents = _known_ids(account, rows)
    for row in rows:
        sought = _sought(row, taken, parents)
        found = broker.find_order(account, row["client_order_id"], sought=sought)
        if found is None:
            absent.append(row)
            continue
        orders.append(found)
        with writer.read() as connection:
            legs = [leg._mapping for leg in connection.execute(_LEGS, {"parent": row["id"]})]
        for leg in legs:
            sought = _sought(leg, taken, {row["id"]: row["client_order_id"]})
            known = broker.find_order(account, leg["client_order_id"], sought=sought)
            if known is not None:
                orders.append(known)
    since = min(row["created_at"] for row in rows) - _LOOK_BACK
    return BrokerReport(tuple(orders), tuple(broker.fills(account, since))), absent


def _known_ids(account: AccountRef, rows: list[Any]) -> tuple[frozenset[str], dict[int, str]]:
    """The broker's ids of the account's orders since then, and the client order ids of entries."""
    since = min(row["created_at"] for row in rows) - _LOOK_BACK
    entries = {row["parent_id"] for row in rows if row["parent_id"] is not None}
    with writer.read() as connection:
        taken = connection.scalars(_TAKEN, {"account": account.id, "since": since})
        known = frozenset(broker_id for broker_id in taken if broker_id is not None)
        parents = connection.execute(_IDS, {"ids": list(entries)}).all()
    return known, {row.id: row.client_order_id for row in parents}


def _sought(row: Any, taken: frozenset[str], parents: dict[int, str]) -> SoughtOrder:
    return SoughtOrder(
        client_order_id=row["client_order_id"],
        broker_order_id=row["broker_order_id"],
        contract=row["contract"],
        side=Side(row["side"]),
        quantity=row["quantity"],
        order_type=OrderType(row["order_type"]),
        limit_price=row["limit_price"],
        stop_price=row["stop_price"],
        sent_at=row["submitted_at"] or row["created_at"],
        parent_client_order_id=parents.get(row["parent_id"]),
        taken=taken - {row["broker_order_id"]},
    )


_missing_since: dict[int, float] = {}
"""By our id of the order, when (monotonic) it was missing first. A start looks anew."""


def _proven(account: AccountRef, rows: list[Any], absent: list[Any]) -> list[Any]:
    """Those of the ``absent`` that have been missing for long enough."""
    missing = {row["id"] for row in absent}
    for row in rows:
        if row["id"] not in missing:
            _missing_since.pop(row["id"], None)
    proven = [row for row in absent if _is_proof(account, row)]
    for row in proven:
        _missing_since.pop(row["id"], None)
    return proven


def _is_proof(account: AccountRef, row: Any) -> bool:
    if OrderStatus(row["status"]) in TERMINAL:
        return True
    settling = SETTLING.get(account.broker, _SETTLING_DEFAULT)
    was_shown = row["broker_order_id"] is not None
    apart = settling if was_shown else settling / _FIRST_LOOK_SHARE
    missing_since = _missing_since.setdefault(row["id"], monotonic())
    missing_s = monotonic() - missing_since
    is_settled = clock.now() - (row["submitted_at"] or row["created_at"]) >= settling
    return bool(is_settled and missing_s >= apart.total_seconds())


def _take_in(tx: Tx, account: AccountRef, report: BrokerReport, absent: list[Any]) -> None:
    fills.apply(tx, account, report, source="reconcile")
    for row in absent:
        _take_absence(tx, account, row)
    if absent:
        journal.write(
            tx,
            account.user_id,
            "reconciled",
            f"Asked the broker about {len(report.orders) + len(absent)} orders: "
            f"{len(report.orders)} found, {len(absent)} never arrived.",
            account_id=account.id,
        )


def _take_absence(tx: Tx, account: AccountRef, row: Any) -> None:
    """An order that the broker does not have never arrived; one that it has had is over.

    What a report has changed since the broker was asked stays as the report says.
    """
    current = OrderStatus(row["status"])
    if current in TERMINAL:
        return
    if current not in (OrderStatus.SUBMITTING, OrderStatus.UNKNOWN):
        _set(tx, account, row, OrderStatus.CANCELLED, "The broker does not have it any more.")
        return
    if not _set(tx, account, row, OrderStatus.NOT_FOUND, "The broker has no such order."):
        return
    for leg in tx.conn.execute(_LEGS, {"parent": row["id"]}).all():
        if leg.status == OrderStatus.INACTIVE.value:
            _set(tx, account, leg._mapping, OrderStatus.NOT_FOUND, "Its entry does not exist.")


def _set(tx: Tx, account: AccountRef, row: Any, status: OrderStatus, reason: str) -> bool:
    """False: the order is not any more as it was read; nothing was changed."""
    now = clock.now()
    values = {"status": status.value, "reason": reason, "updated_at": now}
    if status in (OrderStatus.NOT_FOUND, OrderStatus.CANCELLED):
        values["finished_at"] = now
    changed = tx.conn.execute(
        update(_ORDERS)
        .where(_ORDERS.c.id == row["id"], _ORDERS.c.status == row["status"])
        .values(**values)
    )
    if changed.rowcount:
        tx.record(account.user_id, "order:update", payloads.order({**row, **values}))
    return bool(changed.rowcount)
