"""Unfilled entry orders, ended without touching what protects a position."""

from __future__ import annotations

from sqlalchemy import select

from app.domain.plans import CancelOrders
from app.domain.trading import OrderRole, Origin
from app.models import Order
from app.models.orders import OPEN_STATUSES
from app.services import context
from app.services.executor import Ask, executor
from app.transactions import Tx


def cancel_entries(account_id: int) -> None:
    """Cancel the entries of every trader of the account; returns when that was carried out.

    Raises:
        Unavailable: the service is stopping or the database does not answer.
    """
    executor.in_lane(account_id, lambda tx: _asks(tx, account_id))


def _asks(tx: Tx, account_id: int) -> list[Ask]:
    unfilled = select(Order.trader_id, Order.client_order_id).where(
        Order.account_id == account_id,
        Order.role == OrderRole.ENTRY.value,
        Order.status.in_(OPEN_STATUSES),
    )
    by_trader: dict[int | None, list[str]] = {}
    for trader_id, client_order_id in tx.conn.execute(unfilled):
        by_trader.setdefault(trader_id, []).append(client_order_id)
    return [_ask(tx, account_id, trader_id, ids) for trader_id, ids in by_trader.items()]


def _ask(tx: Tx, account_id: int, trader_id: int | None, ids: list[str]) -> Ask:
    step = CancelOrders(tuple(ids), (OrderRole.ENTRY,) * len(ids))
    return Ask(context.read_owner(tx.conn, trader_id, account_id), (step,), Origin.RISK)
