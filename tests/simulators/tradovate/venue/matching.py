"""Who trades at which price: market at touch, limit, stop, touched and trailing orders."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from decimal import Decimal

from tests.simulators.tradovate.venue.lifecycle import Lifecycle
from tests.simulators.tradovate.venue.schema import TRAILING
from tests.simulators.tradovate.venue.world import AutoTrail, Group, LiveOrder, Quote, World

TOUCHED = frozenset({"MIT", "LimitIfTouched"})
PLAIN = frozenset({"Market", "Limit"})
TO_MARKET = frozenset({"Market", "Stop", "TrailingStop", "MIT"})
IMMEDIATE = frozenset({"IOC", "FOK"})


class Matcher:
    """Orders that rest, by contract, and a queue of those to look at.

    An order is queued when it becomes Working and when its contract has a new price; ``run``
    empties the queue. Nothing recurses: what a fill wakes up is queued behind it.
    """

    def __init__(self, world: World, lifecycle: Lifecycle) -> None:
        self._world = world
        self._lifecycle = lifecycle
        self._resting: dict[int, dict[int, LiveOrder]] = {}
        self._queue: deque[LiveOrder] = deque()
        self._running = False
        lifecycle.on_working.append(self._arrived)
        lifecycle.on_final.append(self._gone)

    def resting(self, contract_id: int) -> list[LiveOrder]:
        return list(self._resting.get(contract_id, {}).values())

    def price_changed(self, contract_id: int) -> None:
        """Move trailing stops, then look at every resting order of the contract."""
        quote = self._world.quotes[contract_id]
        for order in self.resting(contract_id):
            if not order.triggered:
                self._follow(order, quote)
            self._queue.append(order)
        self.run()

    def run(self) -> None:
        if self._running:
            return
        self._running = True
        try:
            while self._queue:
                order = self._queue.popleft()
                if order.is_resting:
                    self._look_at(order)
        finally:
            self._running = False

    def touch(self, order: LiveOrder) -> Decimal | None:
        """The price at which the order would trade at market now."""
        quote = self._world.quotes.get(order.contract.id)
        if quote is None:
            return None
        return quote.ask if order.sign > 0 else quote.bid

    def force(self, order: LiveOrder, qty: int | None, price: Decimal | None) -> None:
        """Fill an order whatever its terms say, at its own price unless one is given."""
        terms = order.terms
        candidates = (price, terms.price, terms.stop_price, self.touch(order))
        price = next((each for each in candidates if each is not None), None)
        if price is None:
            raise ValueError(f"order {order.id} has no price to fill at")
        self._lifecycle.fill(order, min(qty or order.remaining, order.remaining), price)

    def _arrived(self, order: LiveOrder) -> None:
        self._resting.setdefault(order.contract.id, {})[order.id] = order
        self._queue.append(order)

    def _gone(self, order: LiveOrder) -> None:
        self._resting.get(order.contract.id, {}).pop(order.id, None)

    def _look_at(self, order: LiveOrder) -> None:
        switches = self._world.switches
        held = switches.hold_fills or (
            order.terms.order_type == "Market" and not switches.fill_market_orders
        )
        if held or order.remaining <= 0:
            return
        price = self._price_for(order)
        order.rested = True
        qty = min(1, order.remaining) if switches.partial_fills_one_lot else order.remaining
        in_force = order.terms.time_in_force
        if price is not None and not (in_force == "FOK" and qty < order.remaining):
            self._lifecycle.fill(order, qty, price)
        if in_force in IMMEDIATE and not order.is_final:
            self._lifecycle.cancel(order)

    def _price_for(self, order: LiveOrder) -> Decimal | None:
        """What it fills at now, or None. A resting limit gets its price, a fresh one the touch."""
        quote, touch = self._world.quotes.get(order.contract.id), self.touch(order)
        if quote is None or touch is None:
            return None
        terms = order.terms
        if terms.order_type not in PLAIN and not order.triggered:
            order.triggered = _is_triggered(order, quote)
            if not order.triggered:
                return None
            order.rested = False
        if terms.order_type in TO_MARKET:
            return touch
        limit = terms.price
        if limit is None or (touch - limit) * order.sign > 0:
            return None
        return limit if order.rested else touch

    def _follow(self, order: LiveOrder, quote: Quote) -> None:
        if order.terms.order_type in TRAILING:
            self._trail(order, quote)
        elif order.terms.order_type == "Stop" and order.group is not None and order.group.trail:
            self._auto_trail(order, order.group, order.group.trail, quote)

    def _auto_trail(self, stop: LiveOrder, group: Group, trail: AutoTrail, quote: Quote) -> None:
        """Once the entry has earned ``trigger`` points, follow in whole steps of ``freq``."""
        entry, level = group.entry, stop.terms.stop_price
        if entry is None or level is None or not entry.filled:
            return
        market = quote.bid if entry.sign > 0 else quote.ask
        if (market - entry.value / entry.filled) * entry.sign < trail.trigger:
            return
        behind = (market - level) * entry.sign - trail.stop_loss
        steps = behind // trail.freq
        if steps > 0:
            moved = level + entry.sign * steps * trail.freq
            self._lifecycle.reversion(stop, replace(stop.terms, stop_price=moved))

    def _trail(self, order: LiveOrder, quote: Quote) -> None:
        """Keep the trigger at most ``peg`` away from the market, never further than it was."""
        terms = order.terms
        if terms.peg is None or terms.stop_price is None:
            return
        market = quote.bid if order.sign < 0 else quote.ask
        trigger = market + order.sign * terms.peg
        moved = (terms.stop_price - trigger) * order.sign
        if moved <= 0:
            return
        limit = None if terms.price is None else terms.price - order.sign * moved
        self._lifecycle.trail(order, replace(terms, stop_price=trigger, price=limit))


def _is_triggered(order: LiveOrder, quote: Quote) -> bool:
    """Stops trigger when the market is at or beyond them, touched orders when it comes to them."""
    terms = order.terms
    if terms.order_type in TOUCHED:
        touch = quote.ask if order.sign > 0 else quote.bid
        level = terms.touch_price or terms.stop_price
        return level is not None and (touch - level) * order.sign <= 0
    if terms.stop_price is None:
        return False
    market = max(quote.ask, quote.last) if order.sign > 0 else min(quote.bid, quote.last)
    return (market - terms.stop_price) * order.sign >= 0
