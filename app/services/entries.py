"""Unfilled entry orders, ended without touching what protects a position."""

from __future__ import annotations

from sqlalchemy import select

from app.domain.plans import CancelOrders
from app.domain.trading import OrderRole, Origin
from app.models import Order
from app.models.orders import OPEN_STATUSES
from app.services import context, execution
from app.services.execution import Run
from app.services.executor import executor
from app.transactions import Tx


def cancel_entries(account_id: int) -> None:
    """Cancel the entries of every trader of the account; returns when that was carried out.

    Raises:
        Unavailable: the service is stopping or the database does not answer.
    """
    executor.in_lane(account_id, lambda tx: _plans(tx, account_id))


def _plans(tx: Tx, account_id: int) -> list[Run]:
    unfilled = select(Order.trader_id, Order.client_order_id).where(
        Order.account_id == account_id,
        Order.role == OrderRole.ENTRY.value,
        Order.status.in_(OPEN_STATUSES),
    )
    by_trader: dict[int, list[str]] = {}
    for trader_id, client_order_id in tx.conn.execute(unfilled):
        if trader_id is not None:
            by_trader.setdefault(trader_id, []).append(client_order_id)
    return [_plan(tx, trader_id, ids) for trader_id, ids in sorted(by_trader.items())]


def _plan(tx: Tx, trader_id: int, ids: list[str]) -> Run:
    step = CancelOrders(tuple(ids), (OrderRole.ENTRY,) * len(ids))
    subject = context.read_subject(tx.conn, trader_id)
    return execution.carry_out(tx, subject, (step,), Origin.RISK)
