"""The paper exchange's records in the words that every broker answers with."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.matching import PaperFill, PaperOrder, PaperPosition, Step
from app.domain.trading import BrokerFill, BrokerOrder, BrokerPosition, BrokerReport


def report_of(step: Step) -> BrokerReport:
    return report(step.orders, step.fills)


def report(orders: Iterable[PaperOrder], fills: Iterable[PaperFill]) -> BrokerReport:
    return BrokerReport(tuple(map(broker_order, orders)), tuple(map(broker_fill, fills)))


def broker_order(order: PaperOrder) -> BrokerOrder:
    return BrokerOrder(
        broker_order_id=_id(order.account_id, order.number),
        client_order_id=order.client_order_id,
        contract=order.contract,
        side=order.side,
        quantity=order.quantity,
        filled_quantity=order.filled,
        order_type=order.order_type,
        status=order.status,
        limit_price=order.limit_price,
        stop_price=order.stop_price,
        avg_fill_price=order.avg_fill_price,
        reason=order.reason,
        at=order.updated_at,
        role=order.role,
    )


def broker_fill(fill: PaperFill) -> BrokerFill:
    return BrokerFill(
        fill_id=_id(fill.account_id, fill.number),
        client_order_id=fill.client_order_id,
        broker_order_id=_id(fill.account_id, fill.order_number),
        contract=fill.contract,
        side=fill.side,
        quantity=fill.quantity,
        price=fill.price,
        fee=fill.fee,
        at=fill.at,
        liquidity=fill.liquidity,
    )


def broker_position(position: PaperPosition) -> BrokerPosition:
    return BrokerPosition(position.contract, position.net_pos, position.avg_price)


def _id(account_id: int, number: int) -> str:
    return f"{account_id}-{number}"
