"""The paper exchange in memory: accounts, positions and resting orders, and what may touch them.

Every verb works out a ``Step`` and changes nothing; ``apply`` takes a step over once its caller
has stored it. So a step that could not be stored never happened, and the state can be rebuilt at
any time from the stored records with ``restore``. The clock is an argument. Accounts are
independent of each other: one step concerns one account in one contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from app.domain.errors import BrokerRefused
from app.domain.matching import acceptance
from app.domain.matching.book import Book
from app.domain.matching.draft import Draft
from app.domain.matching.market import MAX_AGE, MarketRules, default_rules, far_side, is_usable
from app.domain.matching.records import (
    ZERO,
    PaperAccount,
    PaperOrder,
    PaperPosition,
    Step,
)
from app.domain.trading import OrderStatus, OrderTicket, Quote

_REMEMBERED = 1_000
"""Ended orders that an account keeps in memory, so that a repeated request finds its order."""


@dataclass(slots=True)
class _Desk:
    """One account in one contract. ``orders`` are the open ones by client id, oldest first."""

    position: PaperPosition
    orders: dict[str, PaperOrder] = field(default_factory=dict)


@dataclass(slots=True)
class _Room:
    """One account: its contracts, where its open orders are, and the last ones that ended."""

    account: PaperAccount
    desks: dict[str, _Desk] = field(default_factory=dict)
    contract_of: dict[str, str] = field(default_factory=dict)
    ended: dict[str, PaperOrder] = field(default_factory=dict)


class Engine:
    def __init__(
        self,
        rules: Callable[[str], MarketRules] = default_rules,
        *,
        max_age: timedelta = MAX_AGE,
    ) -> None:
        self._rules = rules
        self._max_age = max_age
        self._rooms: dict[int, _Room] = {}
        self._books: dict[str, Book] = {}

    # State

    def restore(
        self,
        account: PaperAccount,
        positions: Iterable[PaperPosition] = (),
        orders: Iterable[PaperOrder] = (),
    ) -> None:
        """Take over an account as it was stored, in place of what was known of it."""
        self.forget(account.id)
        room = self._rooms[account.id] = _Room(account)
        for position in positions:
            room.desks[position.contract] = _Desk(position)
        for order in sorted(orders, key=lambda order: order.number):
            self._put(room, order)

    def forget(self, account_id: int) -> None:
        room = self._rooms.pop(account_id, None)
        for contract, desk in room.desks.items() if room is not None else ():
            for order in desk.orders.values():
                self._book(contract).remove(order)

    def apply(self, step: Step) -> None:
        """Take over a step that was worked out on the present state and has been stored."""
        room = self._rooms[step.account.id]
        room.account = step.account
        if step.position is not None:
            self._desk(room, step.position.contract).position = step.position
        for order in step.orders:
            self._put(room, order)

    def knows(self, account_id: int) -> bool:
        return account_id in self._rooms

    def account(self, account_id: int) -> PaperAccount:
        return self._rooms[account_id].account

    def positions(self, account_id: int) -> list[PaperPosition]:
        """Positions that are not flat, by contract."""
        desks = sorted(self._rooms[account_id].desks.items())
        return [desk.position for _, desk in desks if desk.position.net_pos]

    def open_orders(self, account_id: int) -> list[PaperOrder]:
        """Oldest first."""
        room = self._rooms[account_id]
        orders = [order for desk in room.desks.values() for order in desk.orders.values()]
        return sorted(orders, key=lambda order: order.number)

    def find(self, account_id: int, client_order_id: str) -> PaperOrder | None:
        """An open order, or one that ended not long ago."""
        room = self._rooms[account_id]
        contract = room.contract_of.get(client_order_id)
        if contract is not None:
            return room.desks[contract].orders[client_order_id]
        return room.ended.get(client_order_id)

    def working_contracts(self) -> list[str]:
        """Contracts in which an order is open."""
        return [contract for contract, book in self._books.items() if book.orders]

    # Verbs

    def submit(
        self,
        account_id: int,
        ticket: OrderTicket,
        client_order_id: str,
        *,
        now: datetime,
        quote: Quote | None = None,
    ) -> Step:
        """Accept or reject one order, and fill what fills at once on ``quote``.

        A client order id that is known already changes nothing.
        """
        draft = self._draft(account_id, ticket.contract, now)
        if self.find(account_id, client_order_id) is None:
            acceptance.accept(draft, ticket, client_order_id, self._usable(ticket, quote, now))
        return draft.step()

    def submit_oco(
        self,
        account_id: int,
        first: OrderTicket,
        second: OrderTicket,
        client_order_ids: tuple[str, str],
        *,
        now: datetime,
        quote: Quote | None = None,
    ) -> Step:
        """Accept or reject two exits of which one ends the other."""
        draft = self._draft(account_id, first.contract, now)
        if self.find(account_id, client_order_ids[0]) is None:
            usable = self._usable(first, quote, now)
            acceptance.accept_oco(draft, (first, second), client_order_ids, usable)
        return draft.step()

    def cancel(
        self, account_id: int, client_order_id: str, *, now: datetime, reason: str = "cancelled"
    ) -> Step:
        """End an order; the one it is linked to ends too, legs keep what its entry opened.

        Raises:
            BrokerRefused: ``not_found`` or ``not_open``; nothing changed.
        """
        order = self._open(account_id, client_order_id)
        draft = self._draft(account_id, order.contract, now)
        draft.end(order, OrderStatus.CANCELLED, reason)
        return draft.step()

    def replace(
        self,
        account_id: int,
        client_order_id: str,
        *,
        now: datetime,
        quote: Quote | None = None,
        quantity: Decimal | None = None,
        limit_price: Decimal | None = None,
        stop_price: Decimal | None = None,
    ) -> Step:
        """Change a resting order, as if it were accepted anew; less quantity keeps its place.

        Raises:
            BrokerRefused: it is not open, or the code of the check that failed; nothing changed.
        """
        order = self._open(account_id, client_order_id)
        draft = self._draft(account_id, order.contract, now)
        usable = quote if quote is not None and self._is_live(order.contract, quote, now) else None
        try:
            acceptance.amend(draft, order, usable, quantity, limit_price, stop_price)
        except acceptance.Rejection as e:
            raise BrokerRefused(f"The order was not changed: {e.code}", code=e.code) from e
        return draft.step()

    def transfer(self, account_id: int, amount: Decimal, *, now: datetime) -> Step:
        """Pay money in, or out where ``amount`` is negative.

        Raises:
            BrokerRefused: ``insufficient_funds``; more than is available was to be paid out.
        """
        account = self._rooms[account_id].account
        if amount < 0 and account.available + amount < 0:
            raise BrokerRefused("More than is available", code="insufficient_funds")
        return transferred(account, amount, now)

    # Quotes

    def on_quote(self, quote: Quote, now: datetime) -> tuple[Step, ...]:
        """Match, and take over, everything that a quote touches. For callers without storage."""
        book = self._books.get(quote.symbol)
        if book is None or not book.is_touched(quote, now):
            return ()
        steps = []
        for account_id, keys in sorted(self.due(quote.symbol, quote, now).items()):
            step = self.match(account_id, quote.symbol, keys, quote, now)
            if step:
                self.apply(step)
                steps.append(step)
        return tuple(steps)

    def due(self, contract: str, quote: Quote | None, now: datetime) -> dict[int, list[str]]:
        """Client ids of orders that may fill, trigger or expire, by account."""
        book = self._books.get(contract)
        if book is None:
            return {}
        found: dict[int, list[str]] = {}
        for account_id, key in book.expired(now):
            found.setdefault(account_id, []).append(key)
        if quote is not None and book.is_touched(quote, now):
            for account_id, key in book.touched(quote):
                found.setdefault(account_id, []).append(key)
        return found

    def match(
        self, account_id: int, contract: str, keys: list[str], quote: Quote | None, now: datetime
    ) -> Step:
        """One step of one account: expire, then trigger and fill what the quote reaches.

        ``keys`` came from ``due``; each is looked at again. An order that was accepted after the
        quote waits for a newer one. The same quote again changes nothing.
        """
        draft = self._draft(account_id, contract, now)
        orders = [order for key in dict.fromkeys(keys) if (order := draft.open_order(key))]
        for order in orders:
            current = draft.open_order(order.client_order_id)
            if current and current.expire_at is not None and current.expire_at <= now:
                draft.end(current, OrderStatus.EXPIRED, "expired")
        if quote is None or not self._is_live(contract, quote, now):
            return draft.step()
        reached = [o for o in orders if quote.at > o.active_at and _is_reached(o, quote)]
        for order in sorted(reached, key=lambda order: _turn(order, quote)):
            current = draft.open_order(order.client_order_id)
            if current is not None and draft.may_match(current):
                _execute(draft, current, quote)
        return draft.step()

    # Parts

    def _draft(self, account_id: int, contract: str, now: datetime) -> Draft:
        room = self._rooms[account_id]
        desk = room.desks.get(contract)
        position = desk.position if desk is not None else _nothing_held(account_id, contract)
        orders = desk.orders if desk is not None else {}
        return Draft(room.account, position, orders, self._rules(contract), now)

    def _usable(self, ticket: OrderTicket, quote: Quote | None, now: datetime) -> Quote | None:
        return quote if quote is not None and self._is_live(ticket.contract, quote, now) else None

    def _is_live(self, contract: str, quote: Quote, now: datetime) -> bool:
        return is_usable(quote, now, self._max_age) and self._rules(contract).is_open

    def _open(self, account_id: int, client_order_id: str) -> PaperOrder:
        order = self.find(account_id, client_order_id)
        if order is None:
            raise BrokerRefused("No such order", code="not_found")
        if not order.is_open:
            raise BrokerRefused(f"The order is {order.status} already", code="not_open")
        return order

    def _put(self, room: _Room, order: PaperOrder) -> None:
        desk = self._desk(room, order.contract)
        key = order.client_order_id
        old = desk.orders.get(key)
        if old is not None:
            self._book(order.contract).remove(old)
        if order.is_open:
            desk.orders[key] = order
            room.contract_of[key] = order.contract
            self._book(order.contract).add(order)
            return
        desk.orders.pop(key, None)
        room.contract_of.pop(key, None)
        room.ended[key] = order
        if len(room.ended) > _REMEMBERED:
            del room.ended[next(iter(room.ended))]

    def _desk(self, room: _Room, contract: str) -> _Desk:
        desk = room.desks.get(contract)
        if desk is None:
            desk = room.desks[contract] = _Desk(_nothing_held(room.account.id, contract))
        return desk

    def _book(self, contract: str) -> Book:
        book = self._books.get(contract)
        if book is None:
            book = self._books[contract] = Book()
        return book


def transferred(account: PaperAccount, amount: Decimal, now: datetime) -> Step:
    """The step that pays ``amount`` into an account, or out of it where it is negative."""
    draft = Draft(account, _nothing_held(account.id), {}, default_rules(""), now)
    draft.transfer("deposit" if amount > 0 else "withdrawal", amount)
    return draft.step()


def _nothing_held(account_id: int, contract: str = "") -> PaperPosition:
    return PaperPosition(account_id=account_id, contract=contract)


def _is_reached(order: PaperOrder, quote: Quote) -> bool:
    sign, far = order.side.sign, far_side(quote, order.side)
    if order.stop_price is not None and not order.triggered:
        return sign * (far - order.stop_price) >= 0
    if order.limit_price is None:
        return False
    if sign * (order.limit_price - far) >= 0:
        return True
    return quote.last is not None and sign * (order.limit_price - quote.last) > 0


def _turn(order: PaperOrder, quote: Quote) -> tuple[int, Decimal, int]:
    """Stops before limits; what the quote reached furthest first; then by acceptance."""
    is_stop = order.rests_as_stop
    price = (order.stop_price if is_stop else order.limit_price) or ZERO
    beyond = order.side.sign * (far_side(quote, order.side) - price)
    return (0 if is_stop else 1, -beyond if is_stop else beyond, order.priority)


def _execute(draft: Draft, order: PaperOrder, quote: Quote) -> None:
    if not order.rests_as_stop:
        draft.make(order, quote)
    elif order.limit_price is None:
        draft.take(order, quote)
    else:
        active_at = max(draft.now, quote.at)
        triggered = replace(
            order, triggered=True, status=OrderStatus.TRIGGERED, active_at=active_at
        )
        order = draft.put(triggered)
        if acceptance.crosses(order, quote):
            draft.take_limit(order, quote)
