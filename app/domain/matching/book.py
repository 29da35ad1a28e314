"""The resting orders of one contract, sorted so that a quote that reaches none costs nothing.

Sorted lists keep the order that fills first at the end; a quote is compared with the four best
prices and the next expiry, however many orders rest.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal

from app.domain.matching.records import PaperOrder
from app.domain.trading import Quote, Side

_NEVER = datetime.max.replace(tzinfo=UTC)
_NOTHING = Decimal(0)
_EVERYTHING = Decimal("Infinity")

OrderKey = tuple[int, str]
"""Account id and client order id."""


class Ladder:
    """Orders of one kind and side. ``lowest_first``: the lowest price is reached first."""

    def __init__(self, *, lowest_first: bool) -> None:
        self._sign = -1 if lowest_first else 1
        self._empty = _EVERYTHING if lowest_first else _NOTHING
        self._entries: list[tuple[Decimal, int, OrderKey]] = []
        self.best = self._empty
        """The price that is reached first; one that no quote reaches where the ladder is empty."""

    def add(self, price: Decimal, priority: int, key: OrderKey) -> None:
        insort(self._entries, (self._sign * price, -priority, key))
        self._update_best()

    def remove(self, price: Decimal, priority: int, key: OrderKey) -> None:
        entry = (self._sign * price, -priority, key)
        place = bisect_left(self._entries, entry)
        if place < len(self._entries) and self._entries[place] == entry:
            del self._entries[place]
            self._update_best()

    def reached(self, is_reached: Callable[[Decimal], bool]) -> Iterator[OrderKey]:
        for rank, _, key in reversed(self._entries):
            if not is_reached(self._sign * rank):
                return
            yield key

    def _update_best(self) -> None:
        self.best = self._sign * self._entries[-1][0] if self._entries else self._empty


class Book:
    __slots__ = (
        "_expiries",
        "buy_limits",
        "buy_stops",
        "next_expiry",
        "orders",
        "sell_limits",
        "sell_stops",
    )

    def __init__(self) -> None:
        self.buy_limits = Ladder(lowest_first=False)
        self.sell_limits = Ladder(lowest_first=True)
        self.buy_stops = Ladder(lowest_first=True)
        self.sell_stops = Ladder(lowest_first=False)
        self._expiries: list[tuple[datetime, OrderKey]] = []
        self.next_expiry = _NEVER
        self.orders = 0
        """How many open orders there are, resting or inactive."""

    def is_touched(self, quote: Quote, now: datetime) -> bool:
        """Whether any order may fill, trigger or expire."""
        bid, ask = quote.bid, quote.ask
        if (
            ask <= self.buy_limits.best
            or bid >= self.sell_limits.best
            or ask >= self.buy_stops.best
            or bid <= self.sell_stops.best
            or now >= self.next_expiry
        ):
            return True
        last = quote.last
        return last is not None and (last < self.buy_limits.best or last > self.sell_limits.best)

    def touched(self, quote: Quote) -> Iterator[OrderKey]:
        """Orders that the quote reaches: a limit by the far side, or by a trade through it."""
        bid, ask = quote.bid, quote.ask
        last = quote.last
        yield from self.buy_stops.reached(lambda price: price <= ask)
        yield from self.sell_stops.reached(lambda price: price >= bid)
        yield from self.buy_limits.reached(
            lambda price: price >= ask or (last is not None and last < price)
        )
        yield from self.sell_limits.reached(
            lambda price: price <= bid or (last is not None and last > price)
        )

    def expired(self, now: datetime) -> Iterator[OrderKey]:
        for expire_at, key in self._expiries:
            if expire_at > now:
                return
            yield key

    def add(self, order: PaperOrder) -> None:
        """Index an open order."""
        self.orders += 1
        if place := self._place(order):
            ladder, price = place
            ladder.add(price, order.priority, _key(order))
        if order.expire_at is not None:
            insort(self._expiries, (order.expire_at, _key(order)))
            self._update_expiry()

    def remove(self, order: PaperOrder) -> None:
        """Forget an order in exactly the state in which it was added."""
        self.orders -= 1
        if place := self._place(order):
            ladder, price = place
            ladder.remove(price, order.priority, _key(order))
        if order.expire_at is not None:
            del self._expiries[bisect_left(self._expiries, (order.expire_at, _key(order)))]
            self._update_expiry()

    def _place(self, order: PaperOrder) -> tuple[Ladder, Decimal] | None:
        if order.leaves <= 0:
            return None
        is_buy = order.side is Side.BUY
        if order.stop_price is not None and not order.triggered:
            return (self.buy_stops if is_buy else self.sell_stops), order.stop_price
        if order.limit_price is not None:
            return (self.buy_limits if is_buy else self.sell_limits), order.limit_price
        return None

    def _update_expiry(self) -> None:
        self.next_expiry = self._expiries[0][0] if self._expiries else _NEVER


def _key(order: PaperOrder) -> OrderKey:
    return (order.account_id, order.client_order_id)
