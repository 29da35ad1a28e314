"""A broker for tests that can do everything a real one does to hurt us, by script.

It is strict: a client order id that is sent twice fails the test, and so does a call that is made
while the caller holds a connection to the database.
"""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import Enum, auto
from itertools import count
from typing import Any

import gevent
from gevent.event import Event
from sqlalchemy import Engine, event

from app import clock
from app.brokers.base import AccountRef, Listener
from app.domain.errors import BrokerRateLimited, BrokerRefused, BrokerUnavailable
from app.domain.trading import (
    BrokerBalance,
    BrokerFill,
    BrokerOrder,
    BrokerPosition,
    BrokerReport,
    LegTicket,
    OrderRole,
    OrderStatus,
    OrderTicket,
    OrderType,
    Side,
    SoughtOrder,
)
from app.transactions import Writer

ZERO = Decimal(0)
_ENDED = (
    OrderStatus.FILLED,
    OrderStatus.CANCELLED,
    OrderStatus.REJECTED,
    OrderStatus.EXPIRED,
)
_RESTING = (OrderStatus.WORKING, OrderStatus.PARTIALLY_FILLED, OrderStatus.CANCEL_PENDING)


class Does(Enum):
    """What becomes of the next call that sends or cancels."""

    WELL = auto()
    LOSE_ANSWER = auto()
    """It is booked, and the answer never comes."""
    NEVER_ARRIVE = auto()
    """Nothing is booked, and no answer comes either."""
    REFUSE = auto()
    NOT_NOW = auto()
    """Nothing is booked; it may be asked for again in a moment."""
    REJECT = auto()
    """It answers with an order that it has rejected."""
    ANSWER_LATE = auto()
    """It is booked; the answer waits for ``release``."""
    PUSH_FIRST = auto()
    """What happened is pushed before the answer."""
    REST = auto()
    """A market order is taken and not filled: ``fill`` does that later."""
    BREAK = auto()
    """It is booked, and then our adapter breaks."""
    CANCEL_SLOWLY = auto()
    """The cancel is noted; ``end`` carries it out."""


@dataclass
class _Order:
    client_id: str
    broker_id: str
    ticket: OrderTicket
    role: OrderRole | None
    status: OrderStatus
    filled: Decimal = ZERO
    value: Decimal = ZERO
    parent: str | None = None
    partner: str | None = None
    offset: Decimal | None = None
    reason: str | None = None
    at: datetime = field(default_factory=clock.now)


class FakeBroker:
    """``price``: what every market order fills at. ``script``: for the next calls of
    ``place_order``, ``place_oco`` and ``cancel_order``; when it is empty all goes well."""

    def __init__(self, engine: Engine) -> None:
        self.price = Decimal(20000)
        self.fee = Decimal("0.50")
        self.script: deque[Does] = deque()
        self.is_down = False
        self.unknown_for = 0
        """How many times ``find_order`` denies an order that it has."""
        self.not_now_s = 0.01
        self.is_mute = False
        """Whether ``find_order`` gets no answer."""
        self.names_fills = True
        """Whether fills carry our client order id, or only the broker's own."""
        self.counts_from_asked = False
        """Whether legs count from the price that a limit entry asked for."""
        self.sent: list[str] = []
        self.cancels: list[str] = []
        self.modified: list[tuple[str, Decimal, Decimal | None]] = []
        self.sought: dict[str, SoughtOrder] = {}
        self.calls: Counter[str] = Counter()
        self.release = Event()
        self.before_cancel: Callable[[], object] | None = None
        """Happens once, when the next cancel is on its way."""
        self._listeners: list[Listener] = []
        self._orders: dict[int, dict[str, _Order]] = {}
        self._fills: dict[int, list[BrokerFill]] = {}
        self._extra: dict[int, dict[str, Decimal]] = {}
        self._refs: dict[int, AccountRef] = {}
        self._numbers = count(1)
        self._fill_numbers = count(100)
        self._borrowed: dict[int, Any] = {}
        event.listen(engine, "checkout", self._lend)
        event.listen(engine, "checkin", self._take_back)

    # Broker

    def place_order(
        self, account: AccountRef, ticket: OrderTicket, *, client_order_id: str
    ) -> BrokerReport:
        self._enter("place_order", account)
        self._note(client_order_id)
        does = self._next()
        if does is Does.NEVER_ARRIVE:
            raise BrokerUnavailable("timed out")
        if does is Does.REFUSE:
            raise BrokerRefused("not enough money", code="insufficient_funds")
        if does is Does.NOT_NOW:
            raise BrokerRateLimited("signing in", retry_after_s=self.not_now_s)
        order = self._take(account, ticket, client_order_id, None)
        if does is Does.REJECT:
            order.status, order.reason = OrderStatus.REJECTED, "rejected_by_risk"
            return self._report(account, [order])
        orders = [order, *self._take_legs(account, order)]
        fills: list[BrokerFill] = []
        if ticket.order_type is OrderType.MARKET and does is not Does.REST:
            fills = self._execute(account, order, ticket.quantity, self.price)
        return self._answer(account, does, orders, fills)

    def place_oco(
        self, account: AccountRef, first: OrderTicket, second: OrderTicket, *, ids: tuple[str, str]
    ) -> BrokerReport:
        self._enter("place_oco", account)
        for client_id in ids:
            self._note(client_id)
        does = self._next()
        if does is Does.NEVER_ARRIVE:
            raise BrokerUnavailable("timed out")
        if does is Does.REFUSE:
            raise BrokerRefused("no brackets today")
        orders = [
            self._take(account, ticket, client_id, None)
            for ticket, client_id in zip((first, second), ids, strict=True)
        ]
        orders[0].partner, orders[1].partner = ids[1], ids[0]
        if does is Does.REJECT:
            for order in orders:
                order.status, order.reason = OrderStatus.REJECTED, "stop_in_market"
        return self._answer(account, does, orders, [])

    def cancel_order(
        self, account: AccountRef, client_order_id: str, *, broker_order_id: str | None = None
    ) -> BrokerReport:
        self._enter("cancel_order", account)
        self.cancels.append(client_order_id)
        if self.before_cancel is not None:
            happens, self.before_cancel = self.before_cancel, None
            happens()
        order = self._orders.get(account.id, {}).get(client_order_id)
        if order is None:
            raise BrokerRefused("no such order", code="not_found")
        if order.status in _ENDED:
            raise BrokerRefused("it has ended", code="not_open")
        does = self._next()
        if does is Does.NEVER_ARRIVE:
            raise BrokerUnavailable("timed out")
        if does is Does.CANCEL_SLOWLY:
            order.status, order.at = OrderStatus.CANCEL_PENDING, clock.now()
            return self._report(account, [order])
        return self._answer(account, does, self._cancel(account, order), [])

    def modify_order(
        self,
        account: AccountRef,
        client_order_id: str,
        *,
        quantity: Decimal,
        limit_price: Decimal | None = None,
        stop_price: Decimal | None = None,
        broker_order_id: str | None = None,
    ) -> BrokerReport:
        self._enter("modify_order", account)
        self.modified.append((client_order_id, quantity, limit_price or stop_price))
        order = self._orders.get(account.id, {}).get(client_order_id)
        if order is None:
            raise BrokerRefused("no such order", code="not_found")
        if order.status in _ENDED:
            raise BrokerRefused("it has ended", code="not_open")
        does = self._next()
        if does is Does.NEVER_ARRIVE:
            raise BrokerUnavailable("timed out")
        if does is Does.REFUSE:
            raise BrokerRefused("not changed", code="modify_refused")
        order.ticket = replace(
            order.ticket, quantity=quantity, limit_price=limit_price, stop_price=stop_price
        )
        order.at = clock.now()
        return self._answer(account, does, [order], [])

    def snapshot(self, account: AccountRef) -> BrokerReport:
        self._enter("snapshot", account)
        if self.is_mute:
            raise BrokerUnavailable("timed out")
        held = {c: n for c, n in self.held(account.id).items() if n}
        return BrokerReport(
            orders=tuple(
                self._state(o)
                for o in self._orders.get(account.id, {}).values()
                if o.status not in _ENDED
            ),
            positions=tuple(BrokerPosition(c, n, self.price, clock.now()) for c, n in held.items()),
            balance=BrokerBalance("USD", Decimal(10_000), ZERO, Decimal(10_000)),
            is_complete=True,
        )

    def flatten(self, account: AccountRef) -> None:
        self._enter("flatten", account)
        if self.is_mute:
            raise BrokerUnavailable("timed out")
        for order in list(self._orders.get(account.id, {}).values()):
            if order.status not in _ENDED:
                self._cancel(account, order)
        for contract, net in self.held(account.id).items():
            if net:
                side = Side.SELL if net > 0 else Side.BUY
                self.trade_by_hand(account, contract, side, int(abs(net)))

    def find_order(
        self, account: AccountRef, client_order_id: str, *, sought: SoughtOrder | None = None
    ) -> BrokerOrder | None:
        self._enter("find_order", account)
        if sought is not None:
            self.sought[client_order_id] = sought
        if self.is_mute:
            raise BrokerUnavailable("timed out")
        if self.unknown_for:
            self.unknown_for -= 1
            return None
        order = self._orders.get(account.id, {}).get(client_order_id)
        return None if order is None else self._state(order)

    def working_orders(self, account: AccountRef) -> list[BrokerOrder]:
        self._enter("working_orders", account)
        orders = self._orders.get(account.id, {}).values()
        return [self._state(o) for o in orders if o.status in _RESTING]

    def fills(self, account: AccountRef, since: datetime | None = None) -> list[BrokerFill]:
        self._enter("fills", account)
        fills = self._fills.get(account.id, [])
        return [f for f in fills if since is None or f.at >= since]

    def positions(self, account: AccountRef) -> list[BrokerPosition]:
        self._enter("positions", account)
        held = self.held(account.id)
        return [BrokerPosition(c, net, self.price) for c, net in held.items() if net]

    def balance(self, account: AccountRef) -> BrokerBalance:
        self._enter("balance", account)
        return BrokerBalance("USD", Decimal(10_000), ZERO, Decimal(10_000))

    def subscribe(self, listener: Listener) -> None:
        self._listeners.append(listener)

    # What the test does to it

    def held(self, account_id: int) -> dict[str, Decimal]:
        held: dict[str, Decimal] = dict(self._extra.get(account_id, {}))
        for fill in self._fills.get(account_id, []):
            held[fill.contract] = held.get(fill.contract, ZERO) + fill.side.sign * fill.quantity
        return held

    def hold(self, account_id: int, contract: str, quantity: int) -> None:
        """Add to the position without any fill that explains it."""
        extra = self._extra.setdefault(account_id, {})
        extra[contract] = extra.get(contract, ZERO) + quantity

    def order(self, account_id: int, client_id: str) -> BrokerOrder:
        return self._state(self._orders[account_id][client_id])

    def fill(
        self,
        account_id: int,
        client_id: str,
        quantity: int | None = None,
        price: str | None = None,
        *,
        tell: bool = True,
    ) -> BrokerReport:
        """Fill (a part of) an order that rests, and push that where ``tell``."""
        ref, order = self._refs[account_id], self._orders[account_id][client_id]
        left = order.ticket.quantity - order.filled
        own = order.ticket.limit_price or order.ticket.stop_price or self.price
        touched = [order]
        fills = self._execute(
            ref,
            order,
            left if quantity is None else Decimal(quantity),
            own if price is None else Decimal(price),
            touched,
        )
        report = self._report(ref, touched, fills)
        if tell:
            self.push(ref, report)
        return report

    def trade_by_hand(self, account: AccountRef, contract: str, side: Side, quantity: int) -> None:
        """Somebody trades on the account without us; nothing is pushed."""
        ticket = OrderTicket(contract, side, Decimal(quantity))
        order = self._take(account, ticket, f"hand{next(self._numbers)}", None)
        self._execute(account, order, Decimal(quantity), self.price)
        del self._orders[account.id][order.client_id]

    def end(self, account_id: int, client_id: str, *, tell: bool = True) -> None:
        """Carry out a slow cancel, or end an order unasked, and push that where ``tell``."""
        ref = self._refs[account_id]
        touched = self._cancel(ref, self._orders[account_id][client_id])
        if tell:
            self.push(ref, self._report(ref, touched))

    def unlink(self, account_id: int, client_id: str) -> None:
        """Forget that the order ends with another one."""
        orders = self._orders[account_id]
        partner = orders[client_id].partner
        if partner is not None:
            orders[partner].partner = orders[client_id].partner = None

    def push(self, account: AccountRef, report: BrokerReport, times: int = 1) -> None:
        for _ in range(times):
            for listener in self._listeners:
                listener(account, report)

    def open_ids(self, account_id: int, role: OrderRole | None = None) -> list[str]:
        """Orders that rest, legs that wait for their entry included."""
        return [
            order.client_id
            for order in self._orders.get(account_id, {}).values()
            if order.status not in _ENDED and (role is None or order.role is role)
        ]

    # Inside

    def _enter(self, name: str, account: AccountRef) -> None:
        self.calls[name] += 1
        self._refs[account.id] = account
        me = id(gevent.getcurrent())
        assert me not in self._borrowed.values(), f"{name} with a connection in hand"
        frame = sys._getframe()
        while frame is not None:
            assert frame.f_code is not _ATTEMPT, f"{name} inside a transaction"
            frame = frame.f_back  # type: ignore[assignment]
        if self.is_down:
            raise BrokerUnavailable("the broker is down")

    def _lend(self, _dbapi: Any, record: Any, _proxy: Any) -> None:
        self._borrowed[id(record)] = id(gevent.getcurrent())

    def _take_back(self, _dbapi: Any, record: Any) -> None:
        self._borrowed.pop(id(record), None)

    def _note(self, client_id: str) -> None:
        assert client_id not in self.sent, "an order was sent twice"
        self.sent.append(client_id)

    def _next(self) -> Does:
        return self.script.popleft() if self.script else Does.WELL

    def _answer(
        self, account: AccountRef, does: Does, orders: list[_Order], fills: list[BrokerFill]
    ) -> BrokerReport:
        report = self._report(account, orders, fills)
        if does is Does.LOSE_ANSWER:
            raise BrokerUnavailable("timed out")
        if does is Does.BREAK:
            raise KeyError("orderId")
        if does is Does.PUSH_FIRST:
            self.push(account, report)
        if does is Does.ANSWER_LATE:
            self.release.wait(timeout=10)
        return report

    def _take(
        self, account: AccountRef, ticket: OrderTicket, client_id: str, role: OrderRole | None
    ) -> _Order:
        number = next(self._numbers)
        order = _Order(client_id, f"B{number}", ticket, role, OrderStatus.WORKING)
        self._orders.setdefault(account.id, {})[client_id] = order
        self._refs[account.id] = account
        return order

    def _take_legs(self, account: AccountRef, entry: _Order) -> list[_Order]:
        legs = []
        for leg, role in (
            (entry.ticket.take_profit, OrderRole.TAKE_PROFIT),
            (entry.ticket.stop_loss, OrderRole.STOP_LOSS),
        ):
            if leg is not None:
                legs.append(self._take_leg(account, entry, leg, role))
        if len(legs) == 2:
            legs[0].partner, legs[1].partner = legs[1].client_id, legs[0].client_id
        return legs

    def _take_leg(
        self, account: AccountRef, entry: _Order, leg: LegTicket, role: OrderRole
    ) -> _Order:
        is_target = role is OrderRole.TAKE_PROFIT
        ticket = OrderTicket(
            entry.ticket.contract,
            entry.ticket.side.opposite,
            entry.ticket.quantity,
            OrderType.LIMIT if is_target else OrderType.STOP,
            limit_price=leg.price if is_target else None,
            stop_price=None if is_target else leg.price,
            reduce_only=True,
        )
        order = self._take(account, ticket, leg.client_order_id, role)
        order.status, order.parent, order.offset = (
            OrderStatus.INACTIVE,
            entry.client_id,
            leg.offset,
        )
        return order

    def _execute(
        self,
        account: AccountRef,
        order: _Order,
        quantity: Decimal,
        price: Decimal,
        touched: list[_Order] | None = None,
    ) -> list[BrokerFill]:
        at = clock.now()
        order.filled += quantity
        order.value += quantity * price
        is_done = order.filled >= order.ticket.quantity
        order.status = OrderStatus.FILLED if is_done else OrderStatus.PARTIALLY_FILLED
        order.at = at
        fill = BrokerFill(
            fill_id=f"F{next(self._fill_numbers)}",
            client_order_id=order.client_id if self.names_fills else None,
            broker_order_id=order.broker_id,
            contract=order.ticket.contract,
            side=order.ticket.side,
            quantity=quantity,
            price=price,
            fee=self.fee * quantity,
            at=at,
        )
        self._fills.setdefault(account.id, []).append(fill)
        others = self._follow(account, order)
        if touched is not None:
            touched += others
        return [fill]

    def _follow(self, account: AccountRef, order: _Order) -> list[_Order]:
        """Legs wake with their entry and grow with its fills; of two partners one ends the
        other."""
        orders = self._orders[account.id]
        touched = []
        for leg in orders.values():
            if leg.parent == order.client_id and leg.status not in _ENDED:
                self._wake(leg, order)
                touched.append(leg)
        if order.partner is not None and order.status is OrderStatus.FILLED:
            partner = orders[order.partner]
            if partner.status not in _ENDED:
                partner.status, partner.at = OrderStatus.CANCELLED, clock.now()
                touched.append(partner)
        return touched

    def _wake(self, leg: _Order, entry: _Order) -> None:
        average = entry.value / entry.filled
        if self.counts_from_asked and entry.ticket.limit_price is not None:
            average = entry.ticket.limit_price
        changes: dict[str, Any] = {"quantity": entry.filled}
        if leg.offset is not None:
            away = entry.ticket.side.sign * leg.offset
            if leg.role is OrderRole.TAKE_PROFIT:
                changes["limit_price"] = average + away
            else:
                changes["stop_price"] = average - away
        leg.ticket = replace(leg.ticket, **changes)
        leg.status, leg.at = OrderStatus.WORKING, clock.now()

    def _cancel(self, account: AccountRef, order: _Order) -> list[_Order]:
        orders = self._orders[account.id]
        gone = [order]
        if order.partner is not None:
            gone.append(orders[order.partner])
        if not order.filled:
            gone += [o for o in orders.values() if o.parent == order.client_id]
        ended = [o for o in gone if o.status not in _ENDED]
        for each in ended:
            each.status, each.at = OrderStatus.CANCELLED, clock.now()
        return ended

    def _report(
        self, account: AccountRef, orders: list[_Order], fills: list[BrokerFill] | None = None
    ) -> BrokerReport:
        known = self._orders.get(account.id, {})
        legs = [o for o in known.values() if o.parent in {order.client_id for order in orders}]
        named = {o.client_id: o for o in (*orders, *legs)}
        return BrokerReport(tuple(map(self._state, named.values())), tuple(fills or ()))

    def _state(self, order: _Order) -> BrokerOrder:
        ticket = order.ticket
        return BrokerOrder(
            broker_order_id=order.broker_id,
            client_order_id=order.client_id,
            contract=ticket.contract,
            side=ticket.side,
            quantity=ticket.quantity,
            filled_quantity=order.filled,
            order_type=ticket.order_type,
            status=order.status,
            limit_price=ticket.limit_price,
            stop_price=ticket.stop_price,
            avg_fill_price=order.value / order.filled if order.filled else None,
            reason=order.reason,
            at=order.at,
            role=order.role,
        )


_ATTEMPT = Writer._attempt.__code__
