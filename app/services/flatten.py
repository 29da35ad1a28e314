"""A person's *close*: cancel what works, close what is held, wait until it is flat."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import select

from app.domain.plans import AwaitFlat, CancelOrders, Close, Step
from app.domain.trading import OrderRole, Origin, Side
from app.models import Book, Order
from app.models.orders import OPEN_STATUSES
from app.services import context, execution, journal
from app.services.execution import Run
from app.services.executor import executor
from app.transactions import Tx


def flatten_account(account_id: int) -> None:
    """Cancel every order and close every book of the account; returns when that was carried out.

    Raises:
        Unavailable: the service is stopping or the database does not answer.
    """

    def plans(tx: Tx) -> list[Run]:
        return [_plan(tx, trader_id) for trader_id in _traders(tx, account_id)]

    executor.in_lane(account_id, plans)


def close_trader(trader_id: int, account_id: int) -> None:
    """The same for one trader's books and orders; other traders of the account are not touched."""
    executor.in_lane(account_id, lambda tx: [_plan(tx, trader_id)])


def _traders(tx: Tx, account_id: int) -> list[int]:
    """The traders of the account that hold something or have an order that may fill."""
    held = select(Book.trader_id).where(
        Book.account_id == account_id, Book.net_pos != Decimal(0), Book.trader_id.is_not(None)
    )
    working = select(Order.trader_id).where(
        Order.account_id == account_id,
        Order.status.in_(OPEN_STATUSES),
        Order.trader_id.is_not(None),
    )
    return sorted({t for t in tx.conn.scalars(held.union(working)) if t is not None})


def _plan(tx: Tx, trader_id: int) -> Run:
    subject = context.read_subject(tx.conn, trader_id)
    orders = tx.conn.execute(
        select(Order.client_order_id, Order.role).where(
            Order.trader_id == trader_id, Order.status.in_(OPEN_STATUSES)
        )
    ).all()
    books = tx.conn.execute(
        select(Book.contract, Book.net_pos).where(
            Book.trader_id == trader_id, Book.net_pos != Decimal(0)
        )
    ).all()
    steps: list[Step] = []
    if orders:
        roles = tuple(OrderRole(o.role) for o in orders)
        steps.append(CancelOrders(tuple(o.client_order_id for o in orders), roles))
    for book in books:
        side = Side.SELL if book.net_pos > 0 else Side.BUY
        steps.append(Close(book.contract, side, abs(book.net_pos), is_whole=True))
    if books:
        steps.append(AwaitFlat(tuple(b.contract for b in books)))
        journal.write(
            tx,
            subject.account.user_id,
            "closed_by_hand",
            f"{subject.account_name}: {subject.strategy_name} is being closed by hand.",
            strategy_id=subject.strategy_id,
            account_id=subject.account.id,
        )
    return execution.carry_out(tx, subject, tuple(steps), Origin.MANUAL)
