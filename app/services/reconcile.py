"""Orders whose outcome nobody knows: asked for at the broker, never sent again on a guess."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import bindparam, func, or_, select, update

from app import clock, faults
from app.brokers.base import AccountRef, Broker
from app.domain.errors import BrokerUnavailable, TradingError, Unavailable
from app.domain.orders import TERMINAL
from app.domain.trading import BrokerReport, OrderStatus
from app.extensions import writer
from app.models import Fill, Order
from app.models.base import table
from app.services import fills, journal, payloads
from app.transactions import Tx

log = logging.getLogger(__name__)

PAUSE_S = 1.0
SETTLING = {"paper": timedelta(0)}
"""How long after the submit a broker may still bring up an order, so that its absence is no
proof before. Paper answers from the same database: what it does not know does not exist."""
_SETTLING_DEFAULT = timedelta(seconds=15)
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
    proven = [row for row in absent if _is_proof(account, row)]
    writer.run(lambda tx: _take_in(tx, account, report, proven))
    faults.point("reconciled")
    return len(proven) == len(absent) and not any(
        order.status is OrderStatus.CANCEL_PENDING for order in report.orders
    )


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
    for row in rows:
        found = broker.find_order(account, row["client_order_id"])
        if found is None:
            absent.append(row)
            continue
        orders.append(found)
        with writer.read() as connection:
            legs = connection.execute(_LEGS, {"parent": row["id"]}).all()
        for leg in legs:
            known = broker.find_order(account, leg.client_order_id)
            if known is not None:
                orders.append(known)
    since = min(row["created_at"] for row in rows) - _LOOK_BACK
    return BrokerReport(tuple(orders), tuple(broker.fills(account, since))), absent


def _is_proof(account: AccountRef, row: Any) -> bool:
    settling = SETTLING.get(account.broker, _SETTLING_DEFAULT)
    return bool(clock.now() - (row["submitted_at"] or row["created_at"]) >= settling)


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
            _set(tx, account, leg._mapping, OrderStatus.CANCELLED, "Its entry does not exist.")


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
