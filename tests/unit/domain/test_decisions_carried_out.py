"""Plans are carried out by a tiny broker; what comes out is compared with the rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from app.domain.decisions import decide
from app.domain.plans import (
    AwaitFlat,
    CancelOrders,
    Close,
    Context,
    Enter,
    Holding,
    Net,
    Reprotect,
    Step,
    WorkingOrder,
)
from app.domain.settings import ActOn, OnSameSide, Sizing, StopLoss, StrategySettings
from app.domain.signals.types import Action, Signal, Target
from app.domain.trading import OrderRole, PositionSide, Side
from tests.unit.domain.facts import MNQ

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
LEGS = (OrderRole.STOP_LOSS, OrderRole.TAKE_PROFIT)


@dataclass
class TinyBroker:
    """One book at one broker. ``late`` of a waiting entry fills while it is being cancelled."""

    net_pos: Decimal
    orders: list[WorkingOrder]
    is_protected: bool
    late: Decimal = Decimal(0)
    opened: list[Decimal] = field(default_factory=list)

    def carry_out(self, plan: tuple[Step, ...]) -> None:
        for step in plan:
            match step:
                case CancelOrders():
                    self.cancel(step)
                case Close():
                    quantity = abs(self.net_pos) if step.is_whole else step.quantity
                    assert step.side is self.side.closing
                    self.close(quantity)
                case AwaitFlat():
                    self.close(abs(self.net_pos))
                    assert not self.orders
                case Enter():
                    self.open(step.side, step.quantity)
                    self.add_legs(step)
                case Net():
                    assert not self.orders
                    assert step.closes == abs(self.net_pos)
                    assert step.quantity == step.closes + step.opens
                    self.net_pos = step.side.sign * step.opens
                    self.opened.append(self.net_pos)
                case Reprotect():
                    self.protect(abs(self.net_pos))

    @property
    def side(self) -> PositionSide:
        side = PositionSide.of(self.net_pos)
        assert side is not None, "an exit while flat would open"
        return side

    def cancel(self, step: CancelOrders) -> None:
        for order in [o for o in self.orders if o.client_order_id in step.ids]:
            self.orders = [o for o in self.orders if o.client_order_id != order.client_order_id]
            if order.role is OrderRole.ENTRY:
                self.fill_late(order)

    def fill_late(self, entry: WorkingOrder) -> None:
        self.net_pos += entry.side.sign * self.late
        if any(order.role in LEGS for order in self.orders):
            self.protect(abs(self.net_pos))  # legs follow the fills of their entry

    def close(self, quantity: Decimal) -> None:
        assert quantity <= abs(self.net_pos)
        if quantity:
            self.net_pos += self.side.closing.sign * quantity

    def open(self, side: Side, quantity: Decimal) -> None:
        assert quantity > 0
        assert self.net_pos * side.sign >= 0, "an entry would close"
        self.net_pos += side.sign * quantity
        self.opened.append(self.net_pos)

    def add_legs(self, step: Enter) -> None:
        if step.stop_loss is not None:
            self.protect(step.quantity)

    def protect(self, quantity: Decimal) -> None:
        self.orders = [o for o in self.orders if o.role not in LEGS]
        if self.is_protected:
            self.orders += legs(self.side, quantity)


def legs(side: PositionSide, quantity: Decimal) -> list[WorkingOrder]:
    return [WorkingOrder(role.value, "MNQZ6", role, side.closing, quantity) for role in LEGS]


@dataclass(frozen=True)
class Case:
    """A book (with the unfilled rest of its last entry), settings and a signal."""

    net_pos: Decimal
    waiting: Decimal
    late: Decimal
    settings: StrategySettings
    signal: Signal

    @property
    def is_protected(self) -> bool:
        return isinstance(self.settings.stop_loss, StopLoss)

    @property
    def orders(self) -> list[WorkingOrder]:
        side = PositionSide.of(self.net_pos)
        if side is None:
            return []
        protected = legs(side, abs(self.net_pos)) if self.is_protected else []
        if not self.waiting:
            return protected
        entry = WorkingOrder("entry", "MNQZ6", OrderRole.ENTRY, side.opening, self.waiting)
        return [entry, *protected]

    def context(self, broker_net: Decimal | None = None) -> Context:
        net = self.net_pos if broker_net is None else broker_net
        avg = Decimal(100) if self.net_pos else None
        return Context(
            signal=self.signal,
            settings=self.settings,
            instrument=MNQ,
            now=NOON,
            received_at=NOON,
            holdings=(Holding(MNQ, self.net_pos, avg, net),),
            orders=tuple(self.orders),
        )

    def broker(self) -> TinyBroker:
        return TinyBroker(self.net_pos, self.orders, self.is_protected, self.late)


whole = st.integers(0, 5).map(Decimal)
positive = st.integers(1, 5).map(Decimal)
EXITS: tuple[dict[str, Any], ...] = (
    {},
    {"stop_loss": {"distance": 8}, "take_profits": [{"distance": 8}]},
)


@st.composite
def settings(draw: st.DrawFn) -> StrategySettings:
    values: dict[str, Any] = {
        "entry_quantity": draw(positive),
        "add_quantity": draw(whole),
        "sizing": draw(st.sampled_from(["fixed", "signal"])),
        "multiplier": draw(st.sampled_from(["0.5", "1", "2"])),
        "rounding": draw(st.sampled_from(["floor", "at_least_one"])),
        "max_position": draw(whole),
        "max_contracts_per_order": draw(whole),
        "on_same_side": draw(st.sampled_from(["ignore", "add", "replace"])),
        "on_opposite": draw(st.sampled_from(["reverse", "close_only", "refuse"])),
        "act_on": draw(st.sampled_from(["target_if_present", "action", "target"])),
        "direction": draw(st.sampled_from(["both", "long", "short"])),
        **draw(st.sampled_from(EXITS)),
    }
    return StrategySettings.model_validate(values)


@st.composite
def signals(draw: st.DrawFn) -> Signal:
    """Signals as the decoder makes them: a flat target is a close, a target on the other side
    than the word a partial exit."""
    action = draw(st.sampled_from(list(Action)))
    quantity = draw(st.none() | positive)
    if action not in (Action.BUY, Action.SELL):
        return Signal(action=action, symbol="MNQ1!", quantity=quantity, price=Decimal(100))
    target = draw(st.sampled_from([None, Target.LONG, Target.SHORT]))
    own_side = Target.LONG if action is Action.BUY else Target.SHORT
    return Signal(
        action=action,
        symbol="MNQ1!",
        quantity=quantity,
        price=Decimal(100),
        target=target,
        target_size=draw(st.none() | positive) if target else None,
        previous=draw(st.none() | st.sampled_from(list(Target))),
        previous_size=draw(st.none() | whole),
        reduce_only=target is not None and target is not own_side,
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    net_pos = Decimal(draw(st.integers(-5, 5)))
    waiting = draw(whole)
    late = draw(st.integers(0, int(waiting))) if waiting else 0
    return Case(net_pos, waiting, Decimal(late), draw(settings()), draw(signals()))


@given(case=cases())
def test_whatever_is_asked_the_book_ends_sound(case: Case) -> None:
    broker = case.broker()

    broker.carry_out(decide(case.context()).plan)

    assert broker.net_pos or not broker.orders, "flat with an order left behind"
    most = case.settings.max_position
    waiting = sum((o.quantity for o in broker.orders if o.role is OrderRole.ENTRY), Decimal(0))
    assert not most or all(abs(reached) + waiting <= most for reached in broker.opened)
    for order in broker.orders:
        if order.role in LEGS:
            assert order.side is broker.side.closing
            assert order.quantity <= abs(broker.net_pos)
    stops = [o.quantity for o in broker.orders if o.role is OrderRole.STOP_LOSS]
    if case.is_protected and broker.net_pos:
        assert stops == [abs(broker.net_pos)]


@given(case=cases())
def test_the_same_signal_again_never_grows_a_position_that_has_a_target(case: Case) -> None:
    """Where the alert states how much to hold and its numbers are traded, once is enough."""
    signal = case.signal
    sized = case.settings.model_copy(
        update={"sizing": Sizing.SIGNAL, "act_on": ActOn.TARGET_IF_PRESENT}
    )
    if signal.target_size is None or sized.on_same_side is OnSameSide.REPLACE:
        return
    once = Case(case.net_pos, Decimal(0), Decimal(0), sized, signal)
    broker = once.broker()
    broker.carry_out(decide(once.context()).plan)
    first = broker.net_pos

    again = Case(first, Decimal(0), Decimal(0), sized, signal)
    broker = again.broker()
    broker.carry_out(decide(again.context()).plan)

    if PositionSide.of(first) is PositionSide(signal.target or "long"):
        reach = max(signal.target_size * sized.multiplier, abs(first), Decimal(1))
        assert abs(broker.net_pos) <= reach


@given(case=cases(), broker_net=st.integers(-7, 7).map(Decimal))
def test_out_of_sync_nothing_opens_and_no_exit_exceeds_either_side(
    case: Case, broker_net: Decimal
) -> None:
    if broker_net == case.net_pos:
        return

    plan = decide(case.context(broker_net)).plan

    assert not [step for step in plan if isinstance(step, Enter | Net)]
    for step in plan:
        if isinstance(step, Close):
            assert step.side.sign * broker_net < 0
            assert step.quantity <= min(abs(case.net_pos), abs(broker_net))


@given(
    net_pos=st.integers(-5, 5).map(Decimal),
    action=st.sampled_from([Action.BUY, Action.SELL]),
    entry=positive,
    add=whole,
    most=whole,
    same=st.sampled_from(["ignore", "add", "replace"]),
    opposite=st.sampled_from(["reverse", "close_only", "refuse"]),
    direction=st.sampled_from(["both", "long", "short"]),
    exits=st.sampled_from(EXITS),
)
@example(
    Decimal(3), Action.SELL, Decimal(2), Decimal(0), Decimal(0), "ignore", "reverse", "long", {}
)
def test_the_position_afterwards_is_the_one_asked_for(
    net_pos: Decimal,
    action: Action,
    entry: Decimal,
    add: Decimal,
    most: Decimal,
    same: str,
    opposite: str,
    direction: str,
    exits: dict[str, Any],
) -> None:
    values = {
        "entry_quantity": entry,
        "add_quantity": add,
        "max_position": most,
        "on_same_side": same,
        "on_opposite": opposite,
        "direction": direction,
        **exits,
    }
    signal = Signal(action=action, symbol="MNQ1!", quantity=Decimal(7))
    case = Case(net_pos, Decimal(0), Decimal(0), StrategySettings.model_validate(values), signal)
    broker = case.broker()

    broker.carry_out(decide(case.context()).plan)

    sign = 1 if action is Action.BUY else -1
    allowed = direction in ("both", "long" if sign > 0 else "short")
    new = sign * (min(entry, most) if most else entry) if allowed else None
    held = net_pos * sign
    if held == 0:
        expected = new or Decimal(0)
    elif held > 0:
        room = max(most - held, Decimal(0)) if most else add
        grown = net_pos + sign * min(add, room) if allowed else net_pos
        expected = {"ignore": net_pos, "add": grown, "replace": new or net_pos}[same]
    else:
        after = {"reverse": new or Decimal(0), "close_only": Decimal(0), "refuse": net_pos}
        expected = after[opposite]
    assert broker.net_pos == expected
