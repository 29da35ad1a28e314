"""From a ticket to an order: the checks, in their order, and what happens at once.

A rejected order is recorded with the code of the first check that failed:

account_disabled, market_disabled, market_closed, unsupported_order_type, bad_expiry,
bad_quantity, bad_price, unsupported_currency, no_price, min_notional, max_notional, price_band,
stop_in_market, post_only_would_take, reduce_only_no_position, insufficient_funds.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from app.domain.matching.draft import Draft
from app.domain.matching.market import (
    conversion,
    far_side,
    fee_of,
    is_sane,
    margin_of,
    round_up_money,
    session_end,
)
from app.domain.matching.records import ZERO, PaperOrder
from app.domain.trading import (
    LegTicket,
    OrderRole,
    OrderStatus,
    OrderTicket,
    OrderType,
    Quote,
    Side,
    TimeInForce,
)

_TYPES = frozenset({OrderType.MARKET, OrderType.LIMIT, OrderType.STOP, OrderType.STOP_LIMIT})
_LIMITS = frozenset({OrderType.LIMIT, OrderType.STOP_LIMIT})
_STOPS = frozenset({OrderType.STOP, OrderType.STOP_LIMIT})
_AT_ONCE = frozenset({TimeInForce.IOC, TimeInForce.FOK})


class Rejection(Exception):
    """A check failed. ``code`` is the reason that the order keeps."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def accept(draft: Draft, ticket: OrderTicket, client_order_id: str, quote: Quote | None) -> None:
    """Check one ticket, then rest or fill its order; its legs wait for it.

    ``quote`` is the newest usable one, None where there is none.
    """
    entry = _order(draft, ticket, client_order_id)
    try:
        _check_legs(draft, ticket)
        checked, hold = check(draft, entry, quote)
    except Rejection as e:
        for order in (entry, *_legs(draft, ticket, entry)):
            draft.put(replace(order, status=OrderStatus.REJECTED, reason=e.code))
        return
    order = draft.put(checked)
    for leg in _legs(draft, ticket, checked):
        draft.put(leg)
    settle(draft, order, hold, quote)


def accept_oco(
    draft: Draft,
    tickets: tuple[OrderTicket, OrderTicket],
    client_order_ids: tuple[str, str],
    quote: Quote | None,
) -> None:
    """Check two exits of which one ends the other; where one is rejected, both are."""
    orders = [
        replace(
            _order(draft, replace(ticket, reduce_only=True), key),
            group=client_order_ids[0],
            role=OrderRole.STOP_LOSS if ticket.order_type in _STOPS else OrderRole.TAKE_PROFIT,
        )
        for ticket, key in zip(tickets, client_order_ids, strict=True)
    ]
    try:
        checked = [check(draft, order, quote) for order in orders]
    except Rejection as e:
        for order in orders:
            draft.put(replace(order, status=OrderStatus.REJECTED, reason=e.code))
        return
    for order, _ in checked:
        draft.put(order)
    for order, hold in checked:
        current = draft.open_order(order.client_order_id)
        if current is not None and draft.may_match(current):
            settle(draft, current, hold, quote)


def amend(
    draft: Draft,
    order: PaperOrder,
    quote: Quote | None,
    quantity: Decimal | None,
    limit_price: Decimal | None,
    stop_price: Decimal | None,
) -> None:
    """Change a resting order. Less quantity keeps its place; all else is a new acceptance.

    Raises:
        Rejection: a check failed; the draft is to be thrown away. Linked orders and legs keep
            their quantity (``linked_order``), since it follows from the orders they are linked to.
    """
    asked = order.quantity if quantity is None else quantity
    if asked != order.quantity and (order.group or order.parent or order.has_legs):
        raise Rejection("linked_order")
    if asked <= order.filled:
        raise Rejection("bad_quantity")
    changed = replace(
        order,
        quantity=asked,
        limit_price=order.limit_price if limit_price is None else limit_price,
        stop_price=order.stop_price if stop_price is None else stop_price,
    )
    if changed == replace(order, quantity=asked) and asked <= order.quantity:
        _lower(draft, order, asked)
        return
    changed = replace(changed, hold=ZERO, priority=draft.number(), active_at=draft.now)
    draft.release_hold(order)
    if order.status is OrderStatus.INACTIVE:
        _check_prices(draft, changed)
        draft.put(changed)
        return
    checked, hold = check(draft, changed, quote)
    settle(draft, draft.put(checked), hold, quote)


def check(draft: Draft, order: PaperOrder, quote: Quote | None) -> tuple[PaperOrder, Decimal]:
    """The order as it is accepted, and the money that it holds while it rests.

    A reduce-only order may be cut down to the position.

    Raises:
        Rejection: with the code of the first check that failed.
    """
    _check_market(draft, order)
    _check_kind(draft, order)
    _check_quantity(draft, order)
    _check_prices(draft, order)
    if quote is None and is_immediate(order):
        raise Rejection("no_price")
    _check_notional(draft, order, quote)
    if quote is not None:
        _check_against(draft, order, quote)
    order = _cut_to_position(draft, order)
    return order, _check_funds(draft, order, quote)


def settle(draft: Draft, order: PaperOrder, hold: Decimal, quote: Quote | None) -> None:
    """Let an accepted order rest, or fill it as far as the quote goes."""
    order = draft.hold(order, hold)
    if quote is None or order.rests_as_stop:
        return
    if order.tif is TimeInForce.FOK and (
        not crosses(order, quote) or draft.displayed_left(quote, order.side) < order.leaves
    ):
        draft.end(order, OrderStatus.CANCELLED, "fok")
        return
    if order.order_type is OrderType.MARKET:
        draft.take(order, quote)
    elif crosses(order, quote):
        draft.take_limit(order, quote)
    rest = draft.open_order(order.client_order_id)
    if rest is not None and order.tif is TimeInForce.IOC:
        draft.end(rest, OrderStatus.CANCELLED, "ioc")


def crosses(order: PaperOrder, quote: Quote) -> bool:
    """Whether a limit order trades with this quote; market orders always do."""
    if order.limit_price is None:
        return True
    if order.side is Side.BUY:
        return quote.ask <= order.limit_price
    return quote.bid >= order.limit_price


def is_immediate(order: PaperOrder) -> bool:
    """Never rests: needs a price now."""
    return order.order_type is OrderType.MARKET or order.tif in _AT_ONCE


def _order(draft: Draft, ticket: OrderTicket, client_order_id: str) -> PaperOrder:
    number = draft.number()
    expire_at = ticket.expire_at if ticket.tif is TimeInForce.GTD else None
    if ticket.tif is TimeInForce.DAY:
        expire_at = session_end(draft.rules.instrument.kind, draft.now)
    has_legs = ticket.take_profit is not None or ticket.stop_loss is not None
    return PaperOrder(
        account_id=draft.account.id,
        number=number,
        client_order_id=client_order_id,
        contract=ticket.contract,
        side=ticket.side,
        quantity=ticket.quantity,
        order_type=ticket.order_type,
        tif=ticket.tif,
        status=OrderStatus.WORKING,
        priority=number,
        active_at=draft.now,
        created_at=draft.now,
        updated_at=draft.now,
        limit_price=ticket.limit_price if ticket.order_type in _LIMITS else None,
        stop_price=ticket.stop_price if ticket.order_type in _STOPS else None,
        expire_at=expire_at,
        reduce_only=ticket.reduce_only,
        post_only=ticket.post_only,
        origin=ticket.origin,
        role=OrderRole.ENTRY if has_legs else None,
        has_legs=has_legs,
    )


def _legs(draft: Draft, ticket: OrderTicket, entry: PaperOrder) -> list[PaperOrder]:
    wanted = (
        (ticket.stop_loss, OrderRole.STOP_LOSS, OrderType.STOP),
        (ticket.take_profit, OrderRole.TAKE_PROFIT, OrderType.LIMIT),
    )
    return [
        _leg(draft, entry, leg, role, order_type)
        for leg, role, order_type in wanted
        if leg is not None
    ]


def _leg(
    draft: Draft, entry: PaperOrder, leg: LegTicket, role: OrderRole, order_type: OrderType
) -> PaperOrder:
    number = draft.number()
    return PaperOrder(
        account_id=entry.account_id,
        number=number,
        client_order_id=leg.client_order_id,
        contract=entry.contract,
        side=entry.side.opposite,
        quantity=entry.quantity,
        held_back=entry.quantity,
        order_type=order_type,
        tif=TimeInForce.GTC,
        status=OrderStatus.INACTIVE,
        priority=number,
        active_at=draft.now,
        created_at=draft.now,
        updated_at=draft.now,
        limit_price=leg.price if order_type is OrderType.LIMIT else None,
        stop_price=leg.price if order_type is OrderType.STOP else None,
        offset=leg.offset,
        reduce_only=True,
        origin=entry.origin,
        role=role,
        parent=entry.client_order_id,
        group=entry.client_order_id,
    )


def _check_market(draft: Draft, order: PaperOrder) -> None:
    if not draft.account.enabled:
        raise Rejection("account_disabled")
    if not draft.rules.enabled:
        raise Rejection("market_disabled")
    if not draft.rules.is_open and is_immediate(order):
        raise Rejection("market_closed")


def _check_kind(draft: Draft, order: PaperOrder) -> None:
    is_limit = order.order_type is OrderType.LIMIT
    if (
        order.order_type not in _TYPES
        or (order.tif in _AT_ONCE and order.order_type in _STOPS)
        or (order.post_only and (not is_limit or order.tif in _AT_ONCE))
    ):
        raise Rejection("unsupported_order_type")
    if order.tif is TimeInForce.GTD and (order.expire_at is None or order.expire_at <= draft.now):
        raise Rejection("bad_expiry")


def _check_quantity(draft: Draft, order: PaperOrder) -> None:
    instrument = draft.rules.instrument
    quantity = order.quantity
    if (
        not quantity.is_finite()
        or not instrument.min_quantity <= quantity <= instrument.max_quantity
        or quantity % instrument.lot_step
    ):
        raise Rejection("bad_quantity")


def _check_prices(draft: Draft, order: PaperOrder) -> None:
    if order.order_type in _LIMITS:
        _check_price(draft, order.limit_price)
    if order.order_type in _STOPS:
        _check_price(draft, order.stop_price)
    instrument = draft.rules.instrument
    if conversion(instrument, draft.account.currency, Decimal(1)) is None:
        raise Rejection("unsupported_currency")


def _check_price(draft: Draft, price: Decimal | None) -> None:
    instrument = draft.rules.instrument
    if price is None or not is_sane(price):
        raise Rejection("bad_price")
    if instrument.known and not instrument.on_tick(price):
        raise Rejection("bad_price")


def _check_legs(draft: Draft, ticket: OrderTicket) -> None:
    for leg in (ticket.take_profit, ticket.stop_loss):
        if leg is None:
            continue
        if (leg.offset is None) == (leg.price is None):
            raise Rejection("bad_price")
        if leg.price is not None:
            _check_price(draft, leg.price)
        elif leg.offset is not None and not is_sane(leg.offset):
            raise Rejection("bad_price")


def _check_notional(draft: Draft, order: PaperOrder, quote: Quote | None) -> None:
    price = _working_price(order, quote)
    if price is None:
        return
    instrument = draft.rules.instrument
    notional = order.quantity * price * instrument.point_value
    if notional < instrument.min_notional and not order.reduce_only:
        raise Rejection("min_notional")
    if instrument.max_notional is not None and notional > instrument.max_notional:
        raise Rejection("max_notional")


def _check_against(draft: Draft, order: PaperOrder, quote: Quote) -> None:
    far = far_side(quote, order.side)
    sign = order.side.sign
    if order.limit_price is not None:
        beyond = sign * (order.limit_price - far)
        if beyond > far * draft.rules.price_band:
            raise Rejection("price_band")
    if order.rests_as_stop and order.stop_price is not None:
        if sign * (order.stop_price - far) <= 0:
            raise Rejection("stop_in_market")
    elif order.post_only and crosses(order, quote):
        raise Rejection("post_only_would_take")


def _cut_to_position(draft: Draft, order: PaperOrder) -> PaperOrder:
    """A reduce-only order never asks for more than there is to close. One that rests leaves out
    what other resting ones close already (linked orders count once); one that fills at once may
    take it all, and the others are cancelled with the position."""
    if not order.reduce_only:
        return order
    room = draft.closable(order.side)
    if not is_immediate(order):
        room -= _promised(draft, order)
    room = min(order.leaves, room)
    if room <= 0:
        raise Rejection("reduce_only_no_position")
    return replace(order, quantity=order.filled + order.held_back + room)


def _promised(draft: Draft, order: PaperOrder) -> Decimal:
    by_group: dict[str, Decimal] = {}
    for other in draft.open_orders():
        if not other.reduce_only or other.side is not order.side:
            continue
        if other.client_order_id == order.client_order_id:
            continue
        if order.group is not None and other.group == order.group:
            continue
        group = other.group or other.client_order_id
        by_group[group] = max(by_group.get(group, ZERO), other.leaves)
    return sum(by_group.values(), ZERO)


def _check_funds(draft: Draft, order: PaperOrder, quote: Quote | None) -> Decimal:
    if is_immediate(order):
        if quote is not None and not draft.affords(order, _taker_price(draft, order, quote), quote):
            raise Rejection("insufficient_funds")
        return ZERO
    hold = _hold_of(draft, order)
    if hold > max(ZERO, draft.account.available):
        raise Rejection("insufficient_funds")
    return hold


def _taker_price(draft: Draft, order: PaperOrder, quote: Quote) -> Decimal:
    far = far_side(quote, order.side)
    if order.limit_price is not None:
        return far
    return max(draft.rules.instrument.tick_size, far + order.side.sign * draft.rules.slippage)


def _hold_of(draft: Draft, order: PaperOrder) -> Decimal:
    """Initial margin for what the order adds to the position in the worst case, and its fee."""
    price = _working_price(order, None)
    if order.reduce_only or price is None:
        return ZERO
    increase = _increase(draft, order)
    if not increase:
        return ZERO
    instrument, currency = draft.rules.instrument, draft.account.currency
    fee = fee_of(instrument, currency, order.leaves, price, maker=False)
    return margin_of(instrument, currency, increase, price) + round_up_money(fee, currency)


def _increase(draft: Draft, order: PaperOrder) -> Decimal:
    """By how much the order makes the position larger if everything on its side fills."""
    sign, net = order.side.sign, draft.position.net_pos
    waiting = sum(
        (
            other.leaves
            for other in draft.open_orders()
            if other.side is order.side
            and not other.reduce_only
            and other.client_order_id != order.client_order_id
        ),
        ZERO,
    )
    without = max(abs(net), abs(net + sign * waiting))
    return max(ZERO, abs(net + sign * (waiting + order.leaves)) - without)


def _working_price(order: PaperOrder, quote: Quote | None) -> Decimal | None:
    if order.limit_price is not None:
        return order.limit_price
    if order.stop_price is not None:
        return order.stop_price
    return far_side(quote, order.side) if quote is not None else None


def _lower(draft: Draft, order: PaperOrder, quantity: Decimal) -> None:
    if quantity == order.quantity:
        return
    lowered = replace(order, quantity=quantity)
    _check_quantity(draft, lowered)
    released = order.hold - min(order.hold, _hold_of(draft, lowered))
    draft.put(replace(draft.release(order, released), quantity=quantity))
