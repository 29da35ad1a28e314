"""What one signal does to one trader's book: a pure function from a context to a plan.

A statement of the wanted position counts before the action word, so that a lost or repeated alert
heals at the next one and a reversal (whose quantity contains the closing part) is never doubled.
Exits always run, never open a position and never exceed what is held; entries pass the filters.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import NoReturn

from app.domain.brackets import leg_price, plans_for, round_down, round_up, stop_distance
from app.domain.filters import entry_filters
from app.domain.plans import (
    ZERO,
    Adopt,
    AwaitFlat,
    CancelOrders,
    Close,
    Context,
    Decision,
    Enter,
    Holding,
    MoveStop,
    Net,
    Outcome,
    Reprotect,
    Rule,
    Step,
    Verdict,
    WorkingOrder,
)
from app.domain.settings import (
    ActOn,
    EntryType,
    ExitsFrom,
    OnOpposite,
    OnOutOfSync,
    OnSameSide,
    Rounding,
    Sizing,
    StopLoss,
    canonical,
)
from app.domain.signals.types import Action, Target
from app.domain.sizing import Market, Sized, floor_to_step, size_add, size_entry
from app.domain.trading import InstrumentFacts, OrderRole, OrderType, PositionSide, Side

LONG, SHORT = PositionSide.LONG, PositionSide.SHORT
_HUNDRED = Decimal(100)
_SIDES = {Target.LONG: LONG, Target.SHORT: SHORT}
_ALERT_TYPES = {
    "limit": OrderType.LIMIT,
    "stop": OrderType.STOP,
    "stop_market": OrderType.STOP,
    "stop_limit": OrderType.STOP_LIMIT,
}


class _Stopped(Exception):
    """A rule ends the signal, or the entering half of it."""

    def __init__(self, verdict: Verdict, reason: str, words: str) -> None:
        super().__init__(words)
        self.verdict = verdict
        self.reason = reason
        self.words = words


@dataclass(frozen=True, slots=True)
class _Order:
    """How an entry is sent, and the price it is expected at (None: not known)."""

    order_type: OrderType
    limit_price: Decimal | None
    stop_price: Decimal | None
    expected: Decimal | None


def decide(context: Context) -> Decision:
    """The plan for one signal and one trader, with every rule's verdict in words.

    A plan that only runs the exit of a reversal has the verdict ``trade`` and the reason that
    stopped the entry. Without the verdict ``trade`` nothing is sent: such a plan is empty or only
    adopts the broker's position.
    """
    case = _Case(context)
    try:
        plan = case.run()
    except _Stopped as e:
        return Decision(e.verdict, e.reason, e.words, tuple(case.adopted), tuple(case.trace))
    return Decision(Verdict.TRADE, case.reason, case.words, tuple(plan), tuple(case.trace))


class _Case:
    """One decision while it is made: the context, what was found out, and the trace so far."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.signal = context.signal
        self.settings = context.settings
        self.holdings = context.holdings
        self.trace: list[Rule] = []
        self.reason: str | None = None
        self.words = ""
        self.adopted: list[Step] = []
        self.aim: Target | None = None
        self.is_blocked = False

    def run(self) -> list[Step]:
        self._read_target()
        self._compare_with_broker()
        plan = self._by_action()
        if not self.words:
            self.words = self.trace[-1].words
        return [*self.adopted, *plan]

    # What the signal wants, and what is held

    def _read_target(self) -> None:
        act_on, target = self.settings.act_on, self.signal.target
        self.aim = None if act_on is ActOn.ACTION else target
        inputs = {"act_on": act_on.value, "action": self.signal.action.value}
        if self.aim is not None:
            size = self.signal.target_size
            words = f"the alert wants to be {_position_words(self.aim.value, size)}"
            self._note("act_on", inputs | {"target": self.aim.value}, Outcome.PASS, words)
        elif act_on is ActOn.TARGET and self.signal.action in _NEEDS_TARGET:
            words = "the alert states no position, and only positions are acted on"
            self._stop(Verdict.REFUSE, "target_missing", words, inputs)
        else:
            self._note("act_on", inputs, Outcome.PASS, f"the alert says {self.signal.action}")

    def _compare_with_broker(self) -> None:
        apart = [holding for holding in self.holdings if not holding.is_in_sync]
        if not apart:
            words = f"the book is {_words_of(self.net_pos)}"
            self._note("position", {"net_pos": canonical(self.net_pos)}, Outcome.PASS, words)
            return
        policy = self.settings.on_out_of_sync
        inputs = {
            "on_out_of_sync": policy.value,
            "broker": ", ".join(f"{h.contract} {_words_of(h.broker_net or ZERO)}" for h in apart),
            "books": ", ".join(f"{h.contract} {_words_of(_books(h))}" for h in apart),
        }
        told = f"the broker holds {inputs['broker']}, the books {inputs['books']}"
        if policy is OnOutOfSync.IGNORE:
            self._note("out_of_sync", inputs, Outcome.PASS, f"{told}: ignored")
        elif policy is OnOutOfSync.ADOPT and self._adopt(apart):
            self._note("out_of_sync", inputs, Outcome.CHANGED, f"{told}: the book follows")
        else:
            self.is_blocked = True
            words = f"{told}: entries wait, exits at most what both hold"
            self._note("out_of_sync", inputs, Outcome.CHANGED, words)

    def _adopt(self, apart: list[Holding]) -> bool:
        """Take over what the broker holds. False: another book trades the contract too, or nobody
        knows a price for the difference."""
        prices = [self._adoption_price(holding) for holding in apart]
        adopted: list[Step] = [
            Adopt(h.contract, h.broker_net or ZERO, price)
            for h, price in zip(apart, prices, strict=True)
            if price is not None and h.books == 1
        ]
        if len(adopted) < len(apart):
            return False
        self.adopted = adopted
        self.holdings = tuple(h if h.is_in_sync else _as_adopted(h) for h in self.holdings)
        return True

    def _adoption_price(self, holding: Holding) -> Decimal | None:
        """What was added has the broker's average; what is gone went at the market."""
        quote = self.context.quote
        market = None
        if holding.contract == self.context.instrument.contract:
            market = _first(None if quote is None else quote.bid, self.signal.price)
        return _first(holding.broker_avg, market, holding.avg_price)

    @property
    def net_pos(self) -> Decimal:
        return sum((holding.net_pos for holding in self.holdings), ZERO)

    @property
    def held(self) -> list[Holding]:
        return [holding for holding in self.holdings if holding.net_pos]

    def _by_action(self) -> list[Step]:
        action = self.signal.action
        if action is Action.BUY or action is Action.SELL:
            return self._order(LONG if action is Action.BUY else SHORT)
        if action is Action.CLOSE:
            return self._close(None)
        if action is Action.CLOSE_LONG or action is Action.CLOSE_SHORT:
            return self._close(LONG if action is Action.CLOSE_LONG else SHORT)
        if action is Action.ADD:
            return self._explicit_add()
        if action is Action.REVERSE:
            return self._explicit_reverse()
        if action is Action.BREAKEVEN:
            return self._breakeven()
        return self._cancel()

    # Buy and sell

    def _order(self, side: PositionSide) -> list[Step]:
        if self.aim is Target.FLAT:
            return self._close(None)
        if self.signal.reduce_only or (self.aim is not None and _SIDES[self.aim] is not side):
            return self._reduce(side.opposite)
        held = PositionSide.of(self.net_pos)
        waiting = self._waiting_side()
        if held is None and waiting is None:
            return self._enter_flat(side)
        if (held or waiting) is side:
            return self._same_side(side)
        return self._opposite(side)

    def _waiting_side(self) -> PositionSide | None:
        """The side that unfilled entries of a flat book would open."""
        entry = next((o for o in self.context.orders if o.role is OrderRole.ENTRY), None)
        if entry is None:
            return None
        return LONG if entry.side is Side.BUY else SHORT

    def _enter_flat(self, side: PositionSide) -> list[Step]:
        self._note("on_flat", {}, Outcome.PASS, f"flat: enter {side}")
        enter = self._entry(side)
        self.words = f"flat → {_words_of(side.sign * enter.quantity)}"
        return [*self._cancel_all(), enter]

    def _same_side(self, side: PositionSide) -> list[Step]:
        policy = self.settings.on_same_side
        held = _words_of(self.net_pos) if self.net_pos else f"an unfilled entry {side}"
        inputs = {"on_same_side": policy.value, "held": held}
        if policy is OnSameSide.IGNORE:
            words = f"{held} already: a signal on the same side is ignored"
            self._stop(Verdict.SKIP, "same_side_ignored", words, inputs)
        if policy is OnSameSide.REPLACE:
            self._note("on_same_side", inputs, Outcome.CHANGED, f"replace {held}")
            return self._close_and_enter(side)
        if self.aim is not None and self.signal.previous in (Target.FLAT, _target(side.opposite)):
            words = f"{held} already: the alert only wanted to get {side}"
            self._stop(Verdict.SKIP, "already_at_target", words, inputs)
        self._note("on_same_side", inputs, Outcome.PASS, f"add to {held}")
        return self._add(side)

    def _opposite(self, side: PositionSide) -> list[Step]:
        policy = self.settings.on_opposite
        held = _words_of(self.net_pos) if self.net_pos else f"an unfilled entry {side.opposite}"
        inputs = {"on_opposite": policy.value, "held": held}
        if policy is OnOpposite.REFUSE:
            words = f"{held} is held: a signal on the other side is refused"
            self._stop(Verdict.REFUSE, "opposite_refused", words, inputs)
        if policy is OnOpposite.CLOSE_ONLY:
            self._note("on_opposite", inputs, Outcome.PASS, f"close {held}, open nothing")
            return self._close_everything()
        self._note("on_opposite", inputs, Outcome.PASS, f"reverse {held}")
        return self._reverse(side)

    # Closing

    def _close(self, only: PositionSide | None) -> list[Step]:
        holdings = [h for h in self.held if only is None or h.side is only]
        if not holdings:
            return self._nothing_to_close(only)
        if self._wants_everything():
            words = f"close {_words_of(sum((h.net_pos for h in holdings), ZERO))}"
            self._note("close", {}, Outcome.PASS, words)
            return self._close_whole(holdings)
        return self._close_part(holdings)

    def _reduce(self, side: PositionSide) -> list[Step]:
        holdings = [h for h in self.held if h.side is side]
        if not holdings:
            return self._nothing_to_close(side)
        return self._close_part(holdings)

    def _wants_everything(self) -> bool:
        signal = self.signal
        if signal.quantity is None or self.aim is Target.FLAT:
            return True
        return signal.quantity_type in _SHARES and signal.quantity >= _HUNDRED

    def _nothing_to_close(self, only: PositionSide | None) -> list[Step]:
        """Nothing is held on that side; an exit never opens, but an entry that waits is ended."""
        stale = [o for o in self.context.orders if self._is_stale(o, only)]
        flat = not self.net_pos
        words = "flat already" if flat else f"{_words_of(self.net_pos)} is not {only}"
        if not stale:
            self._stop(Verdict.SKIP, "noop_flat" if flat else "noop_other_side", words, {})
        self._note("close", {}, Outcome.PASS, f"{words}: cancel what is still working")
        return [_cancel(stale)]

    def _is_stale(self, order: WorkingOrder, only: PositionSide | None) -> bool:
        if order.role is OrderRole.ENTRY:
            return only is None or order.side is only.opening
        return not self.net_pos

    def _close_whole(self, holdings: list[Holding]) -> list[Step]:
        contracts = {holding.contract for holding in holdings}
        everything = len(holdings) == len(self.held)
        orders = [o for o in self.context.orders if everything or o.contract in contracts]
        steps: list[Step] = [_cancel(orders)] if orders else []
        steps += [step for h in holdings if (step := self._closing(h, h.size)) is not None]
        if not steps:
            words = "the broker holds nothing that this exit could close"
            self._stop(Verdict.SKIP, "out_of_sync", words, {})
        return steps

    def _close_everything(self) -> list[Step]:
        """All that is held and all that waits; used where the other side was signalled."""
        return self._close_whole(self.held) if self.held else self._cancel_all()

    def _close_part(self, holdings: list[Holding]) -> list[Step]:
        wanted = [(h, self._part_of(h)) for h in holdings]
        parts = [(h, part) for h, part in wanted if part]
        if not parts:
            words = "the part to close is below the smallest size"
            self._stop(Verdict.SKIP, "partial_below_one", words, {})
        if all(part >= h.size for h, part in wanted) and len(holdings) == len(self.held):
            return self._close_whole(holdings)
        steps: list[Step] = []
        for holding, part in parts:
            steps += self._close_part_of(holding, part)
        if not steps:
            words = "the broker holds nothing that this exit could close"
            self._stop(Verdict.SKIP, "out_of_sync", words, {})
        return steps

    def _close_part_of(self, holding: Holding, part: Decimal) -> list[Step]:
        closing = self._closing(holding, part)
        if closing is None:
            return []
        legs = [o for o in self._orders_of(holding) if o.role is not OrderRole.ENTRY]
        if not legs and not self._has_exits():
            return [closing]
        cancel: list[Step] = [_cancel(legs)] if legs else []
        return [*cancel, closing, self._reprotect(holding, kept=True)]

    def _closing(self, holding: Holding, quantity: Decimal) -> Close | None:
        """A close of at most the book and, while out of sync, at most what the broker holds."""
        assert holding.side is not None  # noqa: S101  (only held contracts are closed)
        most = holding.size
        if self.is_blocked and holding.broker_net is not None:
            most = min(most, max(holding.broker_net * holding.side.sign, ZERO))
        sent = min(quantity, most)
        if sent < quantity:
            words = f"close {_n(quantity)} cut to {_n(sent)}: the broker holds no more"
            inputs = {"contract": holding.contract, "wanted": _n(quantity), "sent": _n(sent)}
            self._note("out_of_sync", inputs, Outcome.CHANGED, words)
        if not sent:
            return None
        return Close(holding.contract, holding.side.closing, sent, is_whole=sent == holding.size)

    def _part_of(self, holding: Holding) -> Decimal:
        """How much of a holding a partial exit closes, rounded to the instrument's step."""
        wanted, how = self._wanted_part(holding)
        step = holding.instrument.lot_step
        part = floor_to_step(min(wanted, holding.size), step)
        if not part and wanted > 0 and self.settings.rounding is Rounding.AT_LEAST_ONE:
            part = min(step, holding.size)
        inputs = {"held": _n(holding.size), "wanted": _n(wanted), "part": _n(part)}
        words = f"close {_n(part)} of {_words_of(holding.net_pos)}: {how}"
        outcome = Outcome.PASS if part == wanted else Outcome.CHANGED
        self._note("partial_exit", inputs, outcome, words)
        return part

    def _wanted_part(self, holding: Holding) -> tuple[Decimal, str]:
        """The part before rounding: a stated share; down to the alert's target where its numbers
        are traded; else in proportion to what the alert says it held before."""
        held, left = holding.size, self._size_left(holding)
        if left is not None and self.settings.sizing is Sizing.SIGNAL:
            return self._down_to(left * self.settings.multiplier, held)
        quantity, before = self._alert_part(left)
        if quantity is None:
            words = "the alert does not say how much to close"
            self._stop(Verdict.REFUSE, "part_unknown", words, {})
        if self.signal.quantity_type in _SHARES:
            return held * quantity / _HUNDRED, f"{_n(quantity)} % of it"
        if self.signal.quantity_type != "fixed_quantity":
            words = f"a part cannot be stated as {self.signal.quantity_type}"
            self._stop(Verdict.REFUSE, "bad_quantity_type", words, {})
        if before:
            return held * quantity / before, f"the alert closes {_n(quantity)} of {_n(before)}"
        scaled = quantity * self.settings.multiplier
        return scaled, f"the alert closes {_n(quantity)} and does not say of how many"

    def _down_to(self, left: Decimal, held: Decimal) -> tuple[Decimal, str]:
        if left >= held:
            words = f"{_n(held)} held, and the alert wants {_n(left)}"
            self._stop(Verdict.SKIP, "already_at_target", words, {})
        return held - left, f"down to the alert's target {_n(left)}"

    def _size_left(self, holding: Holding) -> Decimal | None:
        """What the alert wants to keep of this side, where it states a size."""
        if self.aim is None or _SIDES.get(self.aim) is not holding.side:
            return None
        return self.signal.target_size

    def _alert_part(self, left: Decimal | None) -> tuple[Decimal | None, Decimal | None]:
        """(closed, held before) in the alert's own numbers, each as far as it can be told."""
        quantity, before = self.signal.quantity, self.signal.previous_size or None
        if quantity is None and before is not None and left is not None:
            quantity = max(before - left, ZERO)
        if before is None and left is not None and quantity is not None:
            before = left + quantity
        return quantity, before

    # Reversing and replacing

    def _explicit_reverse(self) -> list[Step]:
        held = PositionSide.of(self.net_pos)
        if held is None:
            self._stop(Verdict.REFUSE, "reverse_flat", "flat: there is nothing to reverse", {})
        if self._named_side() is held:
            words = f"{_words_of(self.net_pos)} is already on the side that the alert names"
            self._stop(Verdict.REFUSE, "reverse_same_side", words, {})
        self._note("reverse", {}, Outcome.PASS, f"reverse {_words_of(self.net_pos)}")
        return self._reverse(held.opposite)

    def _named_side(self) -> PositionSide | None:
        named = self.signal.side if self.signal.side is not None else self.aim
        return None if named is None else _SIDES.get(named)

    def _reverse(self, side: PositionSide) -> list[Step]:
        before = self.net_pos
        try:
            enter = self._entry(side)
        except _Stopped as e:
            self.reason = e.reason
            self.words = f"{_words_of(before)} → flat; no entry: {e.words}"
            return self._close_everything()
        self.words = f"reverse: {_words_of(before)} → {_words_of(side.sign * enter.quantity)}"
        self._note("reverse", {}, Outcome.PASS, self.words)
        if self._can_net(enter):
            return self._net(enter)
        return [*self._close_everything(), self._await_flat(), enter]

    def _close_and_enter(self, side: PositionSide) -> list[Step]:
        """Replace: where the new entry is stopped, the position stays as it is."""
        enter = self._entry(side)
        self.words = f"replace: {_words_of(self.net_pos)} → {_words_of(side.sign * enter.quantity)}"
        return [*self._close_everything(), self._await_flat(), enter]

    def _await_flat(self) -> AwaitFlat:
        contracts = [h.contract for h in self.held] or [self.context.instrument.contract]
        return AwaitFlat(tuple(contracts))

    def _can_net(self, enter: Enter) -> bool:
        """One order is enough where nothing works, nothing waits and no cap cuts it."""
        held = self.held
        most = self.settings.max_contracts_per_order
        return (
            len(held) == 1
            and held[0].contract == enter.contract
            and not self.context.orders
            and enter.order_type is OrderType.MARKET
            and not self.settings.entry_delay
            and (not most or held[0].size + enter.quantity <= most)
        )

    def _net(self, enter: Enter) -> list[Step]:
        (holding,) = self.held
        net = Net(
            contract=enter.contract,
            side=enter.side,
            quantity=holding.size + enter.quantity,
            closes=holding.size,
            opens=enter.quantity,
            deadline=enter.deadline,
            reference_price=enter.reference_price,
        )
        return [net, self._reprotect(holding, kept=False)] if self._has_exits() else [net]

    # Adding

    def _explicit_add(self) -> list[Step]:
        held = PositionSide.of(self.net_pos)
        if held is None:
            self._stop(Verdict.REFUSE, "add_flat", "flat: there is nothing to add to", {})
        if self._named_side() is held.opposite:
            words = f"{_words_of(self.net_pos)} is held: an add on the other side is refused"
            self._stop(Verdict.REFUSE, "add_opposite", words, {})
        self._note("add", {}, Outcome.PASS, f"add to {_words_of(self.net_pos)}")
        return self._add(held)

    def _add(self, side: PositionSide) -> list[Step]:
        self._filter(side)
        waiting = sum((o.quantity for o in self._entries(side)), ZERO)
        have = abs(self.net_pos) + waiting
        reach = self.signal.target_size if self.aim is not None else None
        holding = self.held[0] if self.held else Holding(self.context.instrument)
        sized = size_add(
            self.settings, self.signal, holding.instrument, held=have, reach=reach or None
        )
        self._take_size("add_quantity", sized)
        order = self._entry_order(side, holding.instrument)
        enter = self._enter_step(side, sized.quantity, order, holding.instrument)
        self.words = (
            f"{_words_of(side.sign * have)} → {_words_of(side.sign * (have + sized.quantity))}"
        )
        legs = [o for o in self._orders_of(holding) if o.role is not OrderRole.ENTRY]
        if legs or self._has_exits():
            return [enter, self._reprotect(holding, kept=True)]
        return [enter]

    def _entries(self, side: PositionSide) -> Iterable[WorkingOrder]:
        return (
            order
            for order in self.context.orders
            if order.role is OrderRole.ENTRY and order.side is side.opening
        )

    # The entering half

    def _entry(self, side: PositionSide) -> Enter:
        """A whole new position on ``side`` with its bracket.

        Raises:
            _Stopped: a filter, the size or the bracket says no.
        """
        self._filter(side)
        instrument = self.context.instrument
        order = self._entry_order(side, instrument)
        stop = stop_distance(side, order.expected, self.settings, instrument, self.signal)
        market = Market(order.expected, self.context.equity, stop)
        stated = self._stated_size(side)
        sized = size_entry(self.settings, self.signal, instrument, market, stated=stated)
        self._take_size("entry_quantity", sized)
        return self._protected(side, sized.quantity, order)

    def _protected(self, side: PositionSide, quantity: Decimal, order: _Order) -> Enter:
        instrument = self.context.instrument
        enter = self._enter_step(side, quantity, order, instrument)
        if not self._has_exits():
            return enter
        plans = plans_for(side, order.expected, quantity, self.settings, instrument, self.signal)
        if plans.fault is not None:
            self._stop(Verdict.REFUSE, *plans.fault, {})
        legs = {
            name: _n(value)
            for name, leg in (("take_profit", plans.take_profit), ("stop_loss", plans.stop_loss))
            if leg is not None and (value := leg.offset or leg.price) is not None
        }
        outcome = Outcome.CHANGED if plans.notes else Outcome.PASS
        said = " and ".join(f"{name.replace('_', ' ')} {value}" for name, value in legs.items())
        words = "; ".join([*plans.notes, f"bracket: {said}" if said else "no bracket"])
        self._note("bracket", legs, outcome, words)
        return replace(enter, take_profit=plans.take_profit, stop_loss=plans.stop_loss)

    def _filter(self, side: PositionSide) -> None:
        if self.is_blocked:
            words = "out of sync with the broker: no entries"
            self._stop(Verdict.SKIP, "out_of_sync", words, {})
        for rule in entry_filters(self.context, side):
            self.trace.append(rule)
            if rule.verdict is Outcome.STOPPED:
                is_late = rule.rule == "entry_deadline"
                verdict = Verdict.EXPIRED if is_late else Verdict.SKIP
                raise _Stopped(verdict, rule.rule, rule.words)

    def _stated_size(self, side: PositionSide) -> Decimal | None:
        """The size of the new position by the alert: its target size, else its quantity without
        the part that closes the other side. None where it cannot be told."""
        signal = self.signal
        if self.aim is not None and _SIDES.get(self.aim) is side and signal.target_size:
            return signal.target_size
        if signal.quantity is None:
            return None
        if signal.previous is None and signal.previous_size is None:
            return None if self.net_pos else signal.quantity
        if signal.previous is _target(side) or signal.previous is Target.FLAT:
            return signal.quantity
        if signal.previous_size is None:
            return None
        rest = signal.quantity - signal.previous_size
        return rest if rest > 0 else None

    def _take_size(self, rule: str, sized: Sized) -> None:
        inputs = {"sizing": self.settings.sizing.value, "quantity": _n(sized.quantity)}
        if sized.reason is not None:
            words = "; ".join(dict.fromkeys((*sized.notes, sized.words)))
            self._stop(
                _SIZE_VERDICTS.get(sized.reason, Verdict.REFUSE), sized.reason, words, inputs
            )
        outcome = Outcome.CHANGED if sized.notes else Outcome.PASS
        words = "; ".join(sized.notes) or f"size {_n(sized.quantity)}"
        self._note(rule, inputs, outcome, words)

    def _entry_order(self, side: PositionSide, instrument: InstrumentFacts) -> _Order:
        signal, wish = self.signal, self.settings.entry_order
        order_type = OrderType.MARKET
        if wish.type is EntryType.LIMIT:
            order_type = OrderType.LIMIT
        elif wish.type is EntryType.AS_ALERT:
            order_type = _ALERT_TYPES.get((signal.order_type or "").lower(), OrderType.MARKET)
        touch = self._touch(side)
        limit = stop = None
        if order_type in (OrderType.LIMIT, OrderType.STOP_LIMIT):
            limit = _first(signal.limit_price, signal.price, touch)
        if order_type in (OrderType.STOP, OrderType.STOP_LIMIT):
            stop = _first(signal.stop_price, signal.price)
        lacks_limit = order_type in (OrderType.LIMIT, OrderType.STOP_LIMIT) and limit is None
        lacks_stop = order_type in (OrderType.STOP, OrderType.STOP_LIMIT) and stop is None
        if lacks_limit or lacks_stop:
            words = f"a {order_type} entry needs a price, and none is known"
            self._stop(Verdict.REFUSE, "no_price", words, {"entry_order": wish.type.value})
        limit = _limit_price(side, limit, wish.offset_ticks, instrument.tick_size)
        stop = None if stop is None else leg_price(stop, side, instrument.tick_size)
        own = _first(limit, stop)
        expected = _first(own, touch, signal.price)
        self._note(
            "entry_order",
            {"type": order_type.value, "price": "" if expected is None else _n(expected)},
            Outcome.PASS,
            f"{order_type} order" + ("" if own is None else f" at {_n(own)}"),
        )
        return _Order(order_type, limit, stop, expected)

    def _touch(self, side: PositionSide) -> Decimal | None:
        quote = self.context.quote
        if quote is None:
            return None
        return quote.ask if side is LONG else quote.bid

    def _enter_step(
        self, side: PositionSide, quantity: Decimal, order: _Order, instrument: InstrumentFacts
    ) -> Enter:
        received = self.context.received_at
        return Enter(
            contract=instrument.contract,
            side=side.opening,
            quantity=quantity,
            order_type=order.order_type,
            limit_price=order.limit_price,
            stop_price=order.stop_price,
            take_profit=None,
            stop_loss=None,
            not_before=received + timedelta(seconds=self.settings.entry_delay),
            deadline=received + timedelta(seconds=self.settings.entry_deadline),
            reference_price=self.signal.price,
        )

    # Orders that work

    def _cancel(self) -> list[Step]:
        entries = [o for o in self.context.orders if o.role is OrderRole.ENTRY]
        if not entries:
            self._stop(Verdict.SKIP, "nothing_to_cancel", "no entry order is working", {})
        self._note("cancel", {}, Outcome.PASS, f"cancel {len(entries)} unfilled entry order(s)")
        return [_cancel(entries)]

    def _breakeven(self) -> list[Step]:
        if not self.net_pos:
            self._stop(Verdict.REFUSE, "breakeven_flat", "flat: there is no stop to move", {})
        steps: list[Step] = []
        for holding in self.held:
            steps.append(self._stop_to_entry(holding))
        return steps

    def _stop_to_entry(self, holding: Holding) -> MoveStop:
        side = holding.side
        if side is None or holding.avg_price is None:
            words = "the average price of the position is not known"
            self._stop(Verdict.REFUSE, "no_price", words, {})
        price = leg_price(holding.avg_price, side, holding.instrument.tick_size)
        inputs = {"price": _n(price), "average": _n(holding.avg_price)}
        market = self._touch(side.opposite)
        same = holding.contract == self.context.instrument.contract
        if same and market is not None and (market - price) * side.sign <= 0:
            words = f"the market at {_n(market)} is not beyond the entry {_n(price)}"
            self._stop(Verdict.REFUSE, "not_in_profit", words, inputs)
        stops = [o for o in self._orders_of(holding) if o.role is OrderRole.STOP_LOSS]
        if any(o.price is not None and (o.price - price) * side.sign >= 0 for o in stops):
            words = f"the stop is at {_n(price)} or better already"
            self._stop(Verdict.SKIP, "stop_already_there", words, inputs)
        self._note("breakeven", inputs, Outcome.PASS, f"stop to the entry at {_n(price)}")
        return MoveStop(holding.contract, price)

    def _orders_of(self, holding: Holding) -> list[WorkingOrder]:
        return [o for o in self.context.orders if o.contract == holding.contract]

    def _cancel_all(self) -> list[Step]:
        return [_cancel(self.context.orders)] if self.context.orders else []

    def _has_exits(self) -> bool:
        settings, signal = self.settings, self.signal
        if settings.take_profits or isinstance(settings.stop_loss, StopLoss):
            return True
        by_alert = settings.exits_from is ExitsFrom.ALERT
        return by_alert and (signal.take_profit is not None or signal.stop_loss is not None)

    def _reprotect(self, holding: Holding, *, kept: bool) -> Reprotect:
        """``kept``: legs at an alert's own prices stay there, unless this one gives new ones."""
        if self.settings.exits_from is not ExitsFrom.ALERT:
            return Reprotect(holding.contract)
        legs = {o.role: o.price for o in self._orders_of(holding)} if kept else {}
        return Reprotect(
            holding.contract,
            take_profit=_first(self.signal.take_profit, legs.get(OrderRole.TAKE_PROFIT)),
            stop_loss=_first(self.signal.stop_loss, legs.get(OrderRole.STOP_LOSS)),
        )

    # The trace

    def _note(self, rule: str, inputs: dict[str, str], outcome: Outcome, words: str) -> None:
        self.trace.append(Rule(rule, inputs, outcome, words))

    def _stop(self, verdict: Verdict, reason: str, words: str, inputs: dict[str, str]) -> NoReturn:
        self._note(reason, inputs, Outcome.STOPPED, words)
        raise _Stopped(verdict, reason, words)


_NEEDS_TARGET = (Action.BUY, Action.SELL, Action.ADD, Action.REVERSE)
_SHARES = ("percent", "percent_of_position")
_SIZE_VERDICTS = {
    "below_minimum": Verdict.SKIP,
    "max_position": Verdict.SKIP,
    "max_contracts_per_order": Verdict.SKIP,
    "already_at_target": Verdict.SKIP,
}


def _cancel(orders: Iterable[WorkingOrder]) -> CancelOrders:
    chosen = tuple(orders)
    return CancelOrders(
        ids=tuple(order.client_order_id for order in chosen),
        roles=tuple(order.role for order in chosen),
    )


def _limit_price(
    side: PositionSide, price: Decimal | None, offset_ticks: int, tick_size: Decimal
) -> Decimal | None:
    """The limit with its offset, at a valid tick that is never worse than asked for."""
    if price is None:
        return None
    moved = price + side.sign * offset_ticks * tick_size
    return round_down(moved, tick_size) if side is LONG else round_up(moved, tick_size)


def _target(side: PositionSide) -> Target:
    return Target.LONG if side is LONG else Target.SHORT


def _as_adopted(holding: Holding) -> Holding:
    average = _first(holding.broker_avg, holding.avg_price)
    net_pos = holding.broker_net or ZERO
    return replace(holding, net_pos=net_pos, avg_price=average, books_sum=None)


def _books(holding: Holding) -> Decimal:
    return holding.net_pos if holding.books_sum is None else holding.books_sum


def _first(*values: Decimal | None) -> Decimal | None:
    return next((value for value in values if value is not None), None)


def _words_of(net_pos: Decimal) -> str:
    side = PositionSide.of(net_pos)
    return "flat" if side is None else f"{side.value} {_n(abs(net_pos))}"


def _position_words(target: str, size: Decimal | None) -> str:
    return target if size is None or target == "flat" else f"{target} {_n(size)}"


def _n(value: Decimal) -> str:
    text = canonical(value)
    return text if len(text) <= 12 else canonical(round(value, 4))
