"""A person's *close*: cancel what works, close what is held, wait until it is flat."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import select

from app.brokers.base import AccountRef, Broker
from app.domain.plans import AwaitFlat, CancelOrders, Close, Step
from app.domain.trading import OrderRole, Origin, Side
from app.models import Book, Order
from app.models.orders import OPEN_STATUSES
from app.services import context, execution, journal
from app.services.executor import Ask, executor
from app.transactions import Tx


def flatten_account(account_id: int) -> None:
    """Cancel every order and close every book of the account, the manual one too, and whatever
    else the broker has there; returns when that was carried out.

    Raises:
        Unavailable: it was not begun in time, or is still under way, or the service is stopping.
        BrokerUnavailable: it could not be shown that nothing is left at the broker.
    """

    def asks(tx: Tx) -> list[Ask]:
        execution.drop_waiting(tx, account_id)
        return [_ask(tx, account_id, trader_id) for trader_id in _holders(tx, account_id)]

    executor.in_lane(account_id, asks, _leave_nothing)


def _leave_nothing(broker: Broker, account: AccountRef) -> None:
    """What others traded on the account is in none of our books. On paper there are no others."""
    if account.login_id is not None:
        broker.flatten(account)


def close_trader(trader_id: int, account_id: int) -> None:
    """The same for one trader's books and orders; other traders of the account are not touched."""

    def asks(tx: Tx) -> list[Ask]:
        execution.drop_waiting(tx, account_id, trader_id)
        return [_ask(tx, account_id, trader_id)]

    executor.in_lane(account_id, asks)


def _holders(tx: Tx, account_id: int) -> list[int | None]:
    """The traders of the account that hold something or have an order that may fill; None for
    what no trader has."""
    held = select(Book.trader_id).where(Book.account_id == account_id, Book.net_pos != Decimal(0))
    working = select(Order.trader_id).where(
        Order.account_id == account_id, Order.status.in_(OPEN_STATUSES)
    )
    return sorted(tx.conn.scalars(held.union(working)), key=lambda trader_id: trader_id or 0)


def _ask(tx: Tx, account_id: int, trader_id: int | None) -> Ask:
    subject = context.read_owner(tx.conn, trader_id, account_id)
    orders = tx.conn.execute(
        select(Order.client_order_id, Order.role)
        .where(
            Order.account_id == account_id,
            Order.trader_id.is_not_distinct_from(trader_id),
            Order.status.in_(OPEN_STATUSES),
        )
        .order_by(Order.id)
    ).all()
    books = tx.conn.execute(
        select(Book.contract, Book.net_pos).where(
            Book.account_id == account_id,
            Book.trader_id.is_not_distinct_from(trader_id),
            Book.net_pos != Decimal(0),
        )
    ).all()
    steps: list[Step] = []
    if orders:
        roles = tuple(OrderRole(o.role) for o in orders)
        steps.append(CancelOrders(tuple(o.client_order_id for o in orders), roles))
    held: dict[str, Decimal] = {}
    for book in books:  # without a trader, several recorders may share a contract
        held[book.contract] = held.get(book.contract, Decimal(0)) + book.net_pos
    for contract, net_pos in held.items():
        side = Side.SELL if net_pos > 0 else Side.BUY
        if net_pos:
            steps.append(Close(contract, side, abs(net_pos), is_whole=True))
    if held:
        steps.append(AwaitFlat(tuple(held)))
        journal.write(
            tx,
            subject.account.user_id,
            "closed_by_hand",
            f"{subject.account_name}: {subject.strategy_name} is being closed by hand.",
            strategy_id=subject.strategy_id,
            account_id=subject.account.id,
        )
    return Ask(subject, tuple(steps), Origin.MANUAL)
