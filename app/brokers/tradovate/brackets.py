"""How an order is sent: alone, with its exits as an order strategy or an OSO, or in a pair.

A market entry has no price of its own, so its exits go as offsets, which Tradovate counts from the
fill (an order strategy). Other entries carry their exits as prices, counted from the entry's own
price (an OSO); after the fill the engine corrects them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal

from app.brokers.tradovate import wire
from app.brokers.tradovate.wire import Entity
from app.domain import brackets
from app.domain.errors import BrokerRefused
from app.domain.trading import (
    LegTicket,
    OrderTicket,
    OrderType,
    Origin,
    PositionSide,
    TimeInForce,
)

MULTI_BRACKET = 2
"""The only kind of order strategy that Tradovate offers."""


@dataclass(frozen=True, slots=True)
class Request:
    """``path`` of the call and its body."""

    path: str
    body: Entity

    @property
    def is_strategy(self) -> bool:
        return "orderStrategyTypeId" in self.body


def has_legs(ticket: OrderTicket) -> bool:
    return ticket.take_profit is not None or ticket.stop_loss is not None


def entry(
    account: Entity,
    ticket: OrderTicket,
    client_order_id: str,
    *,
    tick_size: Decimal,
    reference: Decimal | None,
) -> Request:
    """The call that sends a ticket. ``account``: accountId and accountSpec. ``reference``: about
    where a market order will fill; None: nobody knows.

    Raises:
        BrokerRefused: it cannot be sent like that; nothing was sent.
    """
    if not has_legs(ticket):
        return Request("order/placeorder", _order(account, ticket, client_order_id))
    if ticket.order_type is OrderType.MARKET:
        offsets = _offsets(ticket, tick_size, reference)
        if offsets is not None:
            return _strategy(account, ticket, client_order_id, offsets)
    return _oso(account, ticket, client_order_id, tick_size, reference)


def pair(account: Entity, first: OrderTicket, second: OrderTicket, ids: tuple[str, str]) -> Request:
    """Two orders of which one ends the other; both have the first's quantity."""
    body = _order(account, first, ids[0])
    body["other"] = {
        "action": wire.ACTIONS[second.side],
        "clOrdId": ids[1],
        "text": ids[1],
        **wire.terms(second),
    }
    return Request("order/placeoco", body)


def is_automated(ticket: OrderTicket) -> bool:
    """The exchange wants to know which orders no person has typed in."""
    return ticket.origin is not Origin.MANUAL


def _order(account: Entity, ticket: OrderTicket, client_order_id: str) -> Entity:
    return {
        **account,
        "action": wire.ACTIONS[ticket.side],
        "symbol": ticket.contract,
        "orderQty": wire.quantity(ticket.quantity),
        **wire.terms(ticket),
        "clOrdId": client_order_id,
        "text": client_order_id,
        "isAutomated": is_automated(ticket),
    }


def _strategy(
    account: Entity,
    ticket: OrderTicket,
    client_order_id: str,
    offsets: tuple[Decimal | None, Decimal | None],
) -> Request:
    """Offsets are signed points: for a buy the target is above and the stop below."""
    quantity = wire.quantity(ticket.quantity)
    target, stop = offsets
    bracket: Entity = {"qty": quantity, "trailingStop": False}
    if target is not None:
        bracket["profitTarget"] = wire.number(target * ticket.side.sign)
    if stop is not None:
        bracket["stopLoss"] = wire.number(-stop * ticket.side.sign)
    params = {
        "entryVersion": {"orderQty": quantity, **wire.terms(ticket, lasts=True)},
        "brackets": [bracket],
    }
    return Request(
        "orderStrategy/startorderstrategy",
        {
            **account,
            "symbol": ticket.contract,
            "orderStrategyTypeId": MULTI_BRACKET,
            "action": wire.ACTIONS[ticket.side],
            "params": json.dumps(params),
            "uuid": client_order_id,
            "isAutomated": is_automated(ticket),
        },
    )


def _offsets(
    ticket: OrderTicket, tick_size: Decimal, reference: Decimal | None
) -> tuple[Decimal | None, Decimal | None] | None:
    """Points from the fill to the target and to the stop, both positive. None: a leg has a price
    that cannot be turned into such a distance."""
    found: list[Decimal | None] = []
    for leg, sign in ((ticket.take_profit, 1), (ticket.stop_loss, -1)):
        if leg is None or leg.price is None:
            found.append(leg.offset if leg is not None else None)
            continue
        if reference is None:
            return None
        distance = (leg.price - reference) * ticket.side.sign * sign
        if distance <= 0:
            return None
        found.append(brackets.round_up(distance, tick_size))
    return found[0], found[1]


def _oso(
    account: Entity,
    ticket: OrderTicket,
    client_order_id: str,
    tick_size: Decimal,
    reference: Decimal | None,
) -> Request:
    body = _order(account, ticket, client_order_id)
    price = ticket.limit_price if ticket.order_type is OrderType.LIMIT else ticket.stop_price
    legs = (
        (ticket.take_profit, OrderType.LIMIT, "price"),
        (ticket.stop_loss, OrderType.STOP, "stopPrice"),
    )
    sent = [
        {
            "action": wire.ACTIONS[ticket.side.opposite],
            "orderType": wire.ORDER_TYPES[order_type],
            field: wire.number(_price(ticket, leg, order_type, price or reference, tick_size)),
            "timeInForce": wire.TIMES_IN_FORCE[TimeInForce.GTC],
            "clOrdId": leg.client_order_id,
            "text": leg.client_order_id,
        }
        for leg, order_type, field in legs
        if leg is not None
    ]
    body |= {f"bracket{place}": leg for place, leg in enumerate(sent, start=1)}
    return Request("order/placeoso", body)


def _price(
    ticket: OrderTicket,
    leg: LegTicket,
    order_type: OrderType,
    entry_price: Decimal | None,
    tick_size: Decimal,
) -> Decimal:
    side = PositionSide.LONG if ticket.side.sign > 0 else PositionSide.SHORT
    if leg.price is not None:
        return brackets.leg_price(leg.price, side, tick_size)
    if entry_price is None or leg.offset is None:
        raise BrokerRefused(
            "The exits need a price to count from, and none is known.", code="no_price"
        )
    if order_type is OrderType.LIMIT:
        return brackets.target_price(side, entry_price, leg.offset, tick_size)
    return brackets.stop_price(side, entry_price, leg.offset, tick_size)
