"""Orders as they are written before the broker hears of them, and when it wants none of them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import uuid4

from sqlalchemy import select, update

from app import clock, metrics
from app.brokers.base import AccountRef
from app.domain.brackets import LegPlan
from app.domain.errors import TradingError
from app.domain.orders import TERMINAL
from app.domain.trading import (
    LegTicket,
    OrderRole,
    OrderStatus,
    OrderTicket,
    OrderType,
    Origin,
)
from app.models import Order
from app.models.base import table
from app.models.bulk import BulkInsert
from app.models.engine import reserve_ids
from app.models.types import canonical
from app.services import journal, payloads
from app.services.runs import Place, Run
from app.transactions import Tx

_ORDERS = table(Order)
_NEW_ORDERS = BulkInsert(
    _ORDERS,
    (
        "id",
        "user_id",
        "account_id",
        "strategy_id",
        "trader_id",
        "execution_id",
        "parent_id",
        "step",
        "contract",
        "side",
        "role",
        "origin",
        "order_type",
        "tif",
        "quantity",
        "limit_price",
        "stop_price",
        "ticket",
        "client_order_id",
        "status",
        "filled_quantity",
        "submitted_at",
        "created_at",
        "updated_at",
    ),
)


def place(
    tx: Tx, run: Run, ticket: OrderTicket, role: OrderRole, client_order_id: str | None = None
) -> Place:
    """Write the intent: the order as ``submitting``, its legs as ``inactive``."""
    client_order_id = client_order_id or uuid4().hex
    if run.sent_step != run.step:
        run.sent_step, run.sent = run.step, []
    run.sent.append(client_order_id)
    run.is_in_doubt = False
    row = _order_row(run, ticket, role, client_order_id, OrderStatus.SUBMITTING)
    _insert(tx, row)
    legs = (
        (ticket.take_profit, OrderRole.TAKE_PROFIT, OrderType.LIMIT),
        (ticket.stop_loss, OrderRole.STOP_LOSS, OrderType.STOP),
    )
    for leg, leg_role, order_type in legs:
        if leg is not None:
            _add_leg(tx, run, ticket, leg, leg_role, order_type, row["id"])
    metrics.ALERT_TO_ORDER_SECONDS.observe((clock.now() - run.received_at).total_seconds())
    return Place(client_order_id, ticket)


def _add_leg(
    tx: Tx,
    run: Run,
    entry: OrderTicket,
    leg: LegTicket,
    role: OrderRole,
    order_type: OrderType,
    parent_id: int,
) -> None:
    is_limit = order_type is OrderType.LIMIT
    ticket = OrderTicket(
        contract=entry.contract,
        side=entry.side.opposite,
        quantity=entry.quantity,
        order_type=order_type,
        limit_price=leg.price if is_limit else None,
        stop_price=None if is_limit else leg.price,
        reduce_only=True,
        origin=Origin.BRACKET,
    )
    row = _order_row(run, ticket, role, leg.client_order_id, OrderStatus.INACTIVE)
    row["parent_id"] = parent_id
    if leg.offset is not None:
        row["ticket"] = {"offset": canonical(leg.offset)}
    _insert(tx, row)


def _insert(tx: Tx, row: dict[str, Any]) -> None:
    [row["id"]] = reserve_ids(tx.conn, "orders", 1)
    _NEW_ORDERS.execute(tx.conn, [row])
    tx.record(row["user_id"], "order:update", payloads.order(row))


def _order_row(
    run: Run, ticket: OrderTicket, role: OrderRole, client_order_id: str, status: OrderStatus
) -> dict[str, Any]:
    now = clock.now()
    return {
        "user_id": run.account.user_id,
        "account_id": run.account.id,
        "strategy_id": run.subject.strategy_id,
        "trader_id": run.subject.trader_id,
        "execution_id": run.id or None,
        "parent_id": None,
        "step": run.step,
        "contract": ticket.contract,
        "side": ticket.side.value,
        "role": role.value,
        "origin": ticket.origin.value,
        "order_type": ticket.order_type.value,
        "tif": ticket.tif.value,
        "quantity": ticket.quantity,
        "limit_price": ticket.limit_price,
        "stop_price": ticket.stop_price,
        "ticket": {},
        "client_order_id": client_order_id,
        "broker_order_id": None,
        "status": status.value,
        "reason": None,
        "filled_quantity": Decimal(0),
        "avg_fill_price": None,
        "submitted_at": now if status is OrderStatus.SUBMITTING else None,
        "created_at": now,
        "updated_at": now,
    }


def leg_ticket(entry_id: str, suffix: str, plan: LegPlan | None) -> LegTicket | None:
    """The leg's client order id follows from its entry's: a broker that makes the legs itself
    knows only the entry's."""
    if plan is None:
        return None
    return LegTicket(f"{entry_id}-{suffix}", offset=plan.offset, price=plan.price)


def mark_refused(
    tx: Tx,
    account: AccountRef,
    client_order_id: str,
    error: TradingError,
    *,
    was_sent: bool = True,
) -> None:
    """The broker said no: nothing works there under this id, nor under its legs. What was not
    even ``was_sent`` is not found there, and has no time of submission."""
    row = tx.conn.execute(
        select(_ORDERS).where(_ORDERS.c.client_order_id == client_order_id)
    ).first()
    if row is None or OrderStatus(row.status) in TERMINAL:
        return
    now = clock.now()
    reason = f"{error.code}: {error.detail}"[:500]
    rows = [row, *tx.conn.execute(select(_ORDERS).where(_ORDERS.c.parent_id == row.id))]
    for each in rows:
        is_leg = each.id != row.id
        refused = OrderStatus.REJECTED if was_sent else OrderStatus.NOT_FOUND
        status = OrderStatus.CANCELLED if is_leg else refused
        values: dict[str, Any] = {
            "status": status.value,
            "reason": reason,
            "submitted_at": each.submitted_at if was_sent else None,
            "finished_at": now,
            "updated_at": now,
        }
        tx.conn.execute(update(_ORDERS).where(_ORDERS.c.id == each.id).values(**values))
        tx.record(account.user_id, "order:update", payloads.order({**each._mapping, **values}))
    journal.write(
        tx,
        account.user_id,
        "order_rejected" if was_sent else "order_not_sent",
        f"{row.side.capitalize()} {canonical(row.quantity)} {row.contract} "
        + (f"was refused: {reason}" if was_sent else f"could not be sent, again soon: {reason}"),
        level="error" if was_sent else "warning",
        strategy_id=row.strategy_id,
        account_id=account.id,
        order_id=row.id,
    )
