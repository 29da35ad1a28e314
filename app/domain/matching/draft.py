"""One step of one account in one contract, worked out beside the engine's state.

A draft reads the state, keeps its own copy of what it changes and ends as a ``Step``; the engine
takes that over only when its caller has stored it. Every change of money is a ledger entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal

from app.domain.matching.market import (
    MONEY_STEP,
    MarketRules,
    far_side,
    fee_of,
    margin_of,
    money_per_point,
    round_up_money,
)
from app.domain.matching.records import (
    ZERO,
    LedgerEntry,
    PaperAccount,
    PaperFill,
    PaperOrder,
    PaperPosition,
    Step,
)
from app.domain.trading import OrderRole, OrderStatus, Quote, Side

MAX_SLICES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What a fill would do. ``margin`` and ``released`` are changes of reserved money."""

    quantity: Decimal
    opening: Decimal
    price: Decimal
    liquidity: str
    position: PaperPosition
    realized: Decimal
    fee_exact: Decimal
    fee: Decimal
    released: Decimal
    margin: Decimal

    @property
    def available_change(self) -> Decimal:
        return self.released + self.realized - self.fee - self.margin


class Draft:
    def __init__(
        self,
        account: PaperAccount,
        position: PaperPosition,
        orders: Mapping[str, PaperOrder],
        rules: MarketRules,
        now: datetime,
    ) -> None:
        self.account = account
        self.position = position
        self.rules = rules
        self.now = now
        self._was_position = position
        self._orders = orders
        self._changed: dict[str, PaperOrder] = {}
        self._fills: list[PaperFill] = []
        self._ledger: list[LedgerEntry] = []
        self._filled_groups: set[str] = set()

    def step(self) -> Step:
        changed = self.position if self.position is not self._was_position else None
        orders = tuple(self._changed.values())
        return Step(self.account, changed, orders, tuple(self._fills), tuple(self._ledger))

    # Reading

    def open_order(self, client_order_id: str) -> PaperOrder | None:
        order = self._changed.get(client_order_id) or self._orders.get(client_order_id)
        return order if order is not None and order.is_open else None

    def open_orders(self) -> list[PaperOrder]:
        merged = {**self._orders, **self._changed}
        return [order for order in merged.values() if order.is_open]

    def may_match(self, order: PaperOrder) -> bool:
        """Once a group had its fill in this step, its other orders wait for the next quote."""
        return order.leaves > 0 and order.group not in self._filled_groups

    def closable(self, side: Side) -> Decimal:
        """How much of the position an order of ``side`` can close."""
        return max(ZERO, -side.sign * self.position.net_pos)

    # Orders

    def number(self) -> int:
        number = self.account.next_number
        self.account = replace(self.account, next_number=number + 1)
        return number

    def put(self, order: PaperOrder) -> PaperOrder:
        self._changed[order.client_order_id] = replace(order, updated_at=self.now)
        return self._changed[order.client_order_id]

    def end(
        self, order: PaperOrder, status: OrderStatus, reason: str | None, *, linked: str = "oco"
    ) -> None:
        """Finish an order: its hold is released, linked orders end with it for the reason
        ``linked``, and legs that still wait for it never come."""
        order = self.release_hold(order)
        self.put(replace(order, status=status, reason=reason))
        for other in self._linked(order):
            self.end(other, OrderStatus.CANCELLED, linked)
        self._settle_legs(order)

    def hold(self, order: PaperOrder, amount: Decimal) -> PaperOrder:
        """Reserve money for an order that rests."""
        if not amount:
            return order
        self._move("hold", -amount, amount, order.client_order_id)
        return self.put(replace(order, hold=order.hold + amount))

    def release_hold(self, order: PaperOrder) -> PaperOrder:
        return self.release(order, order.hold)

    # Fills

    def take(self, order: PaperOrder, quote: Quote) -> None:
        """Fill at the market: at the far side and slippage; what exceeds the displayed size goes
        one tick worse per further such size, and ends with ``no_liquidity`` after ten."""
        sign = order.side.sign
        base = far_side(quote, order.side) + sign * self.rules.slippage
        tick = self.rules.instrument.tick_size
        size = self._displayed(quote, order.side)
        current: PaperOrder | None = order
        while current is not None and current.leaves > 0:
            level, quantity = 0, current.leaves
            if size is not None:
                taken = self._taken(quote, order.side)
                level = int(taken // size) if size > 0 else MAX_SLICES
                if level >= MAX_SLICES:
                    self.end(current, OrderStatus.CANCELLED, "no_liquidity")
                    return
                quantity = min(quantity, size * (level + 1) - taken)
            price = max(tick, base + sign * level * tick)
            self._fill(current, quantity, price, quote, maker=False)
            current = self.open_order(order.client_order_id)

    def take_limit(self, order: PaperOrder, quote: Quote) -> None:
        """Fill a limit order that crosses as it comes: at the far side, never worse."""
        quantity = min(order.leaves, self.displayed_left(quote, order.side))
        if quantity > 0:
            self._fill(order, quantity, far_side(quote, order.side), quote, maker=False)

    def make(self, order: PaperOrder, quote: Quote) -> None:
        """Fill a resting limit order at its own price."""
        quantity = min(order.leaves, self.displayed_left(quote, order.side))
        if quantity > 0 and order.limit_price is not None:
            self._fill(order, quantity, order.limit_price, quote, maker=True)

    def displayed_left(self, quote: Quote, side: Side) -> Decimal:
        """What the quote still shows for this account; without sizes there is no end to it."""
        size = self._displayed(quote, side)
        if size is None:
            return Decimal("Infinity")
        return max(ZERO, size - self._taken(quote, side))

    def _displayed(self, quote: Quote, side: Side) -> Decimal | None:
        if not self.account.respect_size:
            return None
        return quote.ask_size if side is Side.BUY else quote.bid_size

    def _taken(self, quote: Quote, side: Side) -> Decimal:
        if self.position.quote_at != quote.at:
            return ZERO
        return self.position.taken_ask if side is Side.BUY else self.position.taken_bid

    def _fill(
        self, order: PaperOrder, quantity: Decimal, price: Decimal, quote: Quote, *, maker: bool
    ) -> None:
        """One execution with everything that follows from it. A fill that would open more than
        the account can carry does not happen: the order is cancelled instead."""
        if order.reduce_only:
            quantity = min(quantity, self.closable(order.side))
            if not quantity:
                self.end(order, OrderStatus.CANCELLED, "position_closed")
                return
        outcome = self._outcome(order, quantity, price, quote, maker=maker)
        if not self._can_pay(outcome):
            self.end(order, OrderStatus.CANCELLED, "insufficient_funds")
            return
        net_before = self.position.net_pos
        order = self._book(order, outcome)
        self._end_what_it_replaced(order, quantity, net_before, quote)
        if order.has_legs:
            self._grow_legs(order, outcome.opening, price, quote)
        remaining = self.open_order(order.client_order_id)
        if remaining is not None and remaining.reduce_only and not self.closable(order.side):
            self._drop_rest(remaining)

    def affords(self, order: PaperOrder, price: Decimal, quote: Quote) -> bool:
        """Whether the account could carry all of ``order`` at ``price``."""
        return self._can_pay(self._outcome(order, order.leaves, price, quote, maker=False))

    def _can_pay(self, outcome: _Outcome) -> bool:
        """Closing is always possible; opening must leave the available money at zero or more."""
        return not outcome.opening or self.account.available + outcome.available_change >= 0

    def _outcome(
        self, order: PaperOrder, quantity: Decimal, price: Decimal, quote: Quote, *, maker: bool
    ) -> _Outcome:
        closing = min(quantity, self.closable(order.side))
        position, realized = self._moved_position(order.side, quantity, closing, price, quote)
        currency = self.account.currency
        fee_exact = order.fee_exact + fee_of(
            self.rules.instrument, currency, quantity, price, maker=maker
        )
        return _Outcome(
            quantity=quantity,
            opening=quantity - closing,
            price=price,
            liquidity="maker" if maker else "taker",
            position=position,
            realized=realized,
            fee_exact=fee_exact,
            fee=round_up_money(fee_exact, currency) - order.fee,
            released=self._share_of_hold(order, quantity),
            margin=position.margin - self.position.margin,
        )

    def _book(self, order: PaperOrder, outcome: _Outcome) -> PaperOrder:
        """Record a fill: money, position, the fill itself, the order's totals."""
        number, key = self.number(), order.client_order_id
        order = self.release(order, outcome.released)
        self._move("fee", -outcome.fee, ZERO, key, number)
        self._move("realized", outcome.realized, ZERO, key, number)
        self._move("margin", -outcome.margin, outcome.margin, key, number)
        self.position = outcome.position
        self._fills.append(
            PaperFill(
                account_id=order.account_id,
                number=number,
                client_order_id=key,
                order_number=order.number,
                contract=order.contract,
                side=order.side,
                quantity=outcome.quantity,
                price=outcome.price,
                fee=outcome.fee,
                realized=outcome.realized,
                liquidity=outcome.liquidity,
                at=self.now,
            )
        )
        filled = order.filled + outcome.quantity
        is_done = filled == order.quantity
        return self.put(
            replace(
                order,
                filled=filled,
                value=order.value + outcome.quantity * outcome.price,
                fee_exact=outcome.fee_exact,
                fee=order.fee + outcome.fee,
                status=OrderStatus.FILLED if is_done else OrderStatus.PARTIALLY_FILLED,
            )
        )

    def _end_what_it_replaced(
        self, order: PaperOrder, quantity: Decimal, net_before: Decimal, quote: Quote
    ) -> None:
        if order.group is not None:
            self._filled_groups.add(order.group)
        for other in self._linked(order):
            self._reduce_linked(other, quantity, quote)
        if net_before and self.position.net_pos * net_before <= 0:
            self._cancel_exits(order.client_order_id)

    def _moved_position(
        self, side: Side, quantity: Decimal, closing: Decimal, price: Decimal, quote: Quote
    ) -> tuple[PaperPosition, Decimal]:
        """The position after a fill, and the P&L that the fill pays into cash.

        Adds are averaged, reductions leave the average alone, a reversal starts at the fill's
        price. What is paid is the rounded total since flat minus what was paid before, so that
        rounding never adds up.
        """
        old = self.position
        net = old.net_pos + side.sign * quantity
        realized, booked = old.realized, old.booked
        if closing and old.avg_price is not None:
            per_point = money_per_point(self.rules.instrument, self.account.currency, price)
            realized += (price - old.avg_price) * -side.sign * closing * per_point
            booked = realized.quantize(MONEY_STEP, ROUND_HALF_EVEN)
        if not net:
            avg = None
        elif closing == quantity:
            avg = old.avg_price
        elif closing or old.avg_price is None:
            avg = price
        else:
            avg = (abs(old.net_pos) * old.avg_price + quantity * price) / abs(net)
        same_trip = net * old.net_pos > 0
        is_same_quote = old.quote_at == quote.at
        taken_ask, taken_bid = (old.taken_ask, old.taken_bid) if is_same_quote else (ZERO, ZERO)
        after = replace(
            old,
            net_pos=net,
            avg_price=avg,
            margin=margin_of(self.rules.instrument, self.account.currency, net, avg),
            realized=realized if same_trip else ZERO,
            booked=booked if same_trip else ZERO,
            quote_at=quote.at,
            taken_ask=taken_ask + (quantity if side is Side.BUY else ZERO),
            taken_bid=taken_bid + (quantity if side is Side.SELL else ZERO),
        )
        return after, booked - old.booked

    # Linked orders

    def _linked(self, order: PaperOrder) -> list[PaperOrder]:
        if order.group is None:
            return []
        return [
            other
            for other in self.open_orders()
            if other.group == order.group and other.client_order_id != order.client_order_id
        ]

    def _legs(self, order: PaperOrder) -> list[PaperOrder]:
        if not order.has_legs:
            return []
        return [leg for leg in self.open_orders() if leg.parent == order.client_order_id]

    def _reduce_linked(self, other: PaperOrder, quantity: Decimal, quote: Quote) -> None:
        """One of two linked orders filled: the other loses the same quantity."""
        cut = min(quantity, other.leaves)
        if cut == other.quantity - other.filled:
            self.end(other, OrderStatus.CANCELLED, "oco")
            return
        active_at = max(other.active_at, quote.at)
        self.put(replace(other, quantity=other.quantity - cut, active_at=active_at))

    def _cancel_exits(self, filling: str) -> None:
        """The position was closed: nothing may be left behind that was meant to close it."""
        for order in self.open_orders():
            if order.client_order_id == filling or not order.reduce_only or order.leaves <= 0:
                continue
            if not self.closable(order.side):
                self._drop_rest(order)

    def _drop_rest(self, order: PaperOrder) -> None:
        """Take away what of an exit could fill now. A leg whose entry still works stays."""
        current = self.open_order(order.client_order_id)
        if current is None:
            return
        if current.held_back:
            self.put(replace(current, quantity=current.quantity - current.leaves))
        else:
            reason = "position_closed"
            self.end(current, OrderStatus.CANCELLED, reason, linked=reason)

    def _grow_legs(self, entry: PaperOrder, opening: Decimal, price: Decimal, quote: Quote) -> None:
        """Let the legs protect what the entry just opened, from the next quote on."""
        for leg in self._legs(entry) if opening else ():
            held_back = leg.held_back - min(opening, leg.held_back)
            status = OrderStatus.WORKING if leg.status is OrderStatus.INACTIVE else leg.status
            active_at = max(self.now, quote.at)
            leg = replace(leg, held_back=held_back, status=status, active_at=active_at)
            self.put(self._priced_leg(leg, entry.side, price))
        if not entry.is_open:
            self._settle_legs(entry)

    def _priced_leg(self, leg: PaperOrder, entry_side: Side, price: Decimal) -> PaperOrder:
        """Fix a relative leg at the entry's first fill: targets are rounded away from the entry,
        stops toward it."""
        if leg.offset is None or leg.limit_price is not None or leg.stop_price is not None:
            return leg
        instrument = self.rules.instrument
        is_target = leg.role is OrderRole.TAKE_PROFIT
        direction = entry_side.sign if is_target else -entry_side.sign
        exact = price + direction * leg.offset
        is_up = entry_side is Side.BUY
        rounded = instrument.round_up(exact) if is_up else instrument.round_down(exact)
        rounded = max(instrument.tick_size, rounded)
        if is_target:
            return replace(leg, limit_price=rounded)
        return replace(leg, stop_price=rounded)

    def _settle_legs(self, entry: PaperOrder) -> None:
        """The entry ended: its legs keep what it opened and no more."""
        for leg in self._legs(entry):
            if leg.held_back == leg.quantity - leg.filled and not leg.filled:
                self.put(replace(leg, status=OrderStatus.CANCELLED, reason="entry_ended"))
            elif leg.held_back:
                quantity = leg.quantity - leg.held_back
                status = OrderStatus.FILLED if leg.filled == quantity else leg.status
                self.put(replace(leg, quantity=quantity, held_back=ZERO, status=status))

    # Money

    def _share_of_hold(self, order: PaperOrder, quantity: Decimal) -> Decimal:
        if not order.hold:
            return ZERO
        if quantity >= order.leaves:
            return order.hold
        share = order.hold * quantity / order.leaves
        return min(order.hold, round_up_money(share, self.account.currency))

    def release(self, order: PaperOrder, amount: Decimal) -> PaperOrder:
        if not amount:
            return order
        self._move("release", amount, -amount, order.client_order_id)
        return self.put(replace(order, hold=order.hold - amount))

    def transfer(self, kind: str, amount: Decimal) -> None:
        self._move(kind, amount, ZERO, None)

    def _move(
        self,
        kind: str,
        available: Decimal,
        reserved: Decimal,
        client_order_id: str | None,
        fill_number: int | None = None,
    ) -> None:
        if not available and not reserved:
            return
        number = self.number()
        account = self.account = replace(
            self.account,
            cash=self.account.cash + available + reserved,
            reserved=self.account.reserved + reserved,
        )
        self._ledger.append(
            LedgerEntry(
                account_id=account.id,
                number=number,
                kind=kind,
                available_change=available,
                reserved_change=reserved,
                available=account.available,
                reserved=account.reserved,
                client_order_id=client_order_id,
                fill_number=fill_number,
                at=self.now,
            )
        )
