from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.domain.brackets import LegPlan
from app.domain.decisions import decide
from app.domain.plans import (
    AccountState,
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
    Verdict,
    WorkingOrder,
    step_to_json,
)
from app.domain.settings import StrategySettings
from app.domain.signals.types import Action, Signal, Target
from app.domain.trading import OrderRole, OrderType, Quote, Side
from tests.unit.domain.facts import MNQ, OLD_MNQ, Instrument

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
LONG, SHORT, FLAT = Target.LONG, Target.SHORT, Target.FLAT
PROTECTED = {"stop_loss": {"distance": 20}, "take_profits": [{"distance": 40}]}
STOP_ORDER = WorkingOrder("stop", "MNQZ6", OrderRole.STOP_LOSS, Side.SELL, Decimal(3), Decimal(95))
TARGET_ORDER = WorkingOrder("target", "MNQZ6", OrderRole.TAKE_PROFIT, Side.SELL, Decimal(3))
ENTRY_ORDER = WorkingOrder("entry", "MNQZ6", OrderRole.ENTRY, Side.BUY, Decimal(2))
LEGS = (STOP_ORDER, TARGET_ORDER)


def alert(action: Action, quantity: object = None, **fields: Any) -> Signal:
    amount = None if quantity is None else Decimal(str(quantity))
    for name in ("target_size", "previous_size", "price", "limit_price", "take_profit"):
        if name in fields:
            fields[name] = Decimal(str(fields[name]))
    return Signal(action=action, symbol="MNQ1!", quantity=amount, **fields)


def seen(
    signal: Signal,
    net_pos: object = 0,
    settings: dict[str, Any] | None = None,
    *,
    holdings: tuple[Holding, ...] | None = None,
    **more: Any,
) -> Context:
    held = Decimal(str(net_pos))
    book = Holding(MNQ, held, Decimal(100) if held else None)
    facts: dict[str, Any] = {"now": NOON, "received_at": NOON, "instrument": MNQ} | more
    return Context(
        signal=signal,
        settings=StrategySettings.model_validate(settings or {}),
        holdings=(book,) if holdings is None else holdings,
        **facts,
    )


def shape(decision: Decision) -> list[str]:
    """A plan in short: ``close sell 3``, ``enter buy 1``."""
    return [_short(step) for step in decision.plan]


def _short(step: object) -> str:
    match step:
        case CancelOrders(ids=ids):
            return "cancel " + " ".join(ids)
        case Close(side=side, quantity=quantity, is_whole=is_whole):
            return f"close {side} {quantity}" + ("" if is_whole else " part")
        case Enter(side=side, quantity=quantity):
            return f"enter {side} {quantity}"
        case Net(side=side, quantity=quantity):
            return f"net {side} {quantity}"
        case MoveStop(price=price):
            return f"stop {price}"
        case Adopt(net_pos=net_pos):
            return f"adopt {net_pos}"
    return type(step).__name__


BUY, SELL = alert(Action.BUY), alert(Action.SELL)
CLOSE = alert(Action.CLOSE)
TRADE, SKIP, REFUSE = Verdict.TRADE, Verdict.SKIP, Verdict.REFUSE

# signal, position, settings, (verdict, reason, plan)
TABLE: list[tuple[Signal, int, dict[str, Any], tuple[Verdict, str | None, list[str]]]] = [
    # buy and sell
    (BUY, 0, {}, (TRADE, None, ["enter buy 1"])),
    (SELL, 0, {}, (TRADE, None, ["enter sell 1"])),
    (BUY, 2, {}, (SKIP, "same_side_ignored", [])),
    (SELL, -2, {}, (SKIP, "same_side_ignored", [])),
    (BUY, 2, {"on_same_side": "add", "add_quantity": 1}, (TRADE, None, ["enter buy 1"])),
    (SELL, -2, {"on_same_side": "add", "add_quantity": 1}, (TRADE, None, ["enter sell 1"])),
    (BUY, 2, {"on_same_side": "add"}, (REFUSE, "adds_off", [])),
    (
        BUY,
        2,
        {"on_same_side": "replace"},
        (TRADE, None, ["close sell 2", "AwaitFlat", "enter buy 1"]),
    ),
    (BUY, -2, {}, (TRADE, None, ["net buy 3"])),
    (SELL, 2, {}, (TRADE, None, ["net sell 3"])),
    (BUY, -2, {"on_opposite": "close_only"}, (TRADE, None, ["close buy 2"])),
    (BUY, -2, {"on_opposite": "refuse"}, (REFUSE, "opposite_refused", [])),
    # close, exit, flat
    (CLOSE, 0, {}, (SKIP, "noop_flat", [])),
    (CLOSE, 3, {}, (TRADE, None, ["close sell 3"])),
    (CLOSE, -3, {}, (TRADE, None, ["close buy 3"])),
    (alert(Action.CLOSE, 1), 3, {}, (TRADE, None, ["close sell 1 part"])),
    (alert(Action.CLOSE, 9), 3, {}, (TRADE, None, ["close sell 3"])),
    (
        alert(Action.CLOSE, 50, quantity_type="percent"),
        4,
        {},
        (TRADE, None, ["close sell 2 part"]),
    ),
    (
        alert(Action.CLOSE, 100, quantity_type="percent_of_position"),
        4,
        {},
        (TRADE, None, ["close sell 4"]),
    ),
    (alert(Action.CLOSE, 1, target=FLAT), 3, {}, (TRADE, None, ["close sell 3"])),
    (alert(Action.CLOSE, 1), 3, {"multiplier": 2}, (TRADE, None, ["close sell 2 part"])),
    (alert(Action.CLOSE_LONG), 3, {}, (TRADE, None, ["close sell 3"])),
    (alert(Action.CLOSE_LONG), -3, {}, (SKIP, "noop_other_side", [])),
    (alert(Action.CLOSE_LONG), 0, {}, (SKIP, "noop_flat", [])),
    (alert(Action.CLOSE_SHORT), -3, {}, (TRADE, None, ["close buy 3"])),
    (alert(Action.CLOSE_SHORT), 3, {}, (SKIP, "noop_other_side", [])),
    # reverse
    (alert(Action.REVERSE), 0, {}, (REFUSE, "reverse_flat", [])),
    (alert(Action.REVERSE), 2, {}, (TRADE, None, ["net sell 3"])),
    (alert(Action.REVERSE), -2, {}, (TRADE, None, ["net buy 3"])),
    (alert(Action.REVERSE, side=SHORT), 2, {}, (TRADE, None, ["net sell 3"])),
    (alert(Action.REVERSE, side=LONG), 2, {}, (REFUSE, "reverse_same_side", [])),
    # add
    (alert(Action.ADD), 0, {"add_quantity": 1}, (REFUSE, "add_flat", [])),
    (alert(Action.ADD), 2, {"add_quantity": 1}, (TRADE, None, ["enter buy 1"])),
    (alert(Action.ADD), -2, {"add_quantity": 1}, (TRADE, None, ["enter sell 1"])),
    (alert(Action.ADD), 2, {}, (REFUSE, "adds_off", [])),
    (alert(Action.ADD, side=SHORT), 2, {"add_quantity": 1}, (REFUSE, "add_opposite", [])),
    # cancel
    (alert(Action.CANCEL), 0, {}, (SKIP, "nothing_to_cancel", [])),
    # breakeven
    (alert(Action.BREAKEVEN), 0, {}, (REFUSE, "breakeven_flat", [])),
    (alert(Action.BREAKEVEN), 2, {}, (TRADE, None, ["stop 100"])),
]


@pytest.mark.parametrize(("signal", "net_pos", "settings", "expected"), TABLE)
def test_what_a_signal_does(
    signal: Signal,
    net_pos: int,
    settings: dict[str, Any],
    expected: tuple[Verdict, str | None, list[str]],
) -> None:
    decision = decide(seen(signal, net_pos, settings))

    assert (decision.verdict, decision.reason, shape(decision)) == expected
    assert decision.words
    assert decision.trace


# action, contracts, target, size after, previous, size before; position; sizing; plan
TRANSITIONS: list[tuple[tuple[Any, ...], int, str, list[str]]] = [
    (("buy", 1, "long", 1, "flat", 0), 0, "signal", ["enter buy 1"]),
    (("buy", 1, "long", 2, "long", 1), 1, "signal", ["enter buy 1"]),
    (("sell", 1, "long", 2, "long", 3), 3, "signal", ["close sell 1 part"]),
    (("sell", 2, "flat", 0, "long", 2), 2, "signal", ["close sell 2"]),
    (("sell", 2, "short", 1, "long", 1), 1, "signal", ["net sell 2"]),
    (("sell", 3, "short", 2, "long", 1), 1, "signal", ["net sell 3"]),
    # close and entry of a reversal in two alerts, in either order
    (("sell", 1, "flat", 0, "long", 1), 1, "signal", ["close sell 1"]),
    (("sell", 1, "short", 1, "flat", 0), 0, "signal", ["enter sell 1"]),
    (("sell", 1, "short", 1, "flat", 0), 1, "signal", ["net sell 2"]),
    # the same alert again changes nothing
    (("buy", 1, "long", 1, "flat", 0), 1, "signal", []),
    (("buy", 1, "long", 2, "long", 1), 2, "signal", []),
    (("sell", 2, "short", 1, "long", 1), -1, "signal", []),
    (("sell", 1, "long", 2, "long", 3), 2, "signal", []),
    (("sell", 2, "flat", 0, "long", 2), 0, "signal", []),
    # after a lost alert the target is still right
    (("buy", 1, "long", 3, "long", 2), 1, "signal", ["enter buy 2"]),
    (("buy", 1, "long", 2, "long", 1), 0, "signal", ["enter buy 2"]),
    (("sell", 1, "long", 1, "long", 2), 3, "signal", ["close sell 2 part"]),
    (("sell", 2, "short", 1, "long", 1), 0, "signal", ["enter sell 1"]),
    # traders of another size follow the transition, not the numbers
    (("sell", 2, "short", 1, "long", 1), 4, "fixed", ["net sell 5"]),
    (("sell", 1, "long", 2, "long", 3), 6, "fixed", ["close sell 2 part"]),
    (("sell", 1, "long", 2, None, None), 6, "fixed", ["close sell 2 part"]),
    (("buy", 5, "long", 5, "flat", 0), 0, "fixed", ["enter buy 1"]),
    (("buy", 1, "long", 2, "long", 1), 1, "fixed", ["enter buy 1"]),
    (("buy", 1, "long", 1, "flat", 0), 1, "fixed", []),
    # a partial exit touches its own side only
    (("sell", 1, "long", 2, "long", 3), 0, "fixed", []),
    (("sell", 1, "long", 2, "long", 3), -3, "fixed", []),
    # without a size after, the closing part is taken off the contracts
    (("sell", 3, "short", None, "long", 1), 1, "signal", ["net sell 3"]),
    (("sell", 3, "short", None, "long", None), 1, "signal", ["net sell 2"]),
]


@pytest.mark.parametrize(("fields", "net_pos", "sizing", "plan"), TRANSITIONS)
def test_the_target_decides(
    fields: tuple[Any, ...], net_pos: int, sizing: str, plan: list[str]
) -> None:
    signal = _strategy_alert(*fields)
    settings = {"sizing": sizing, "on_same_side": "add", "add_quantity": 1}

    assert shape(decide(seen(signal, net_pos, settings))) == plan


def _strategy_alert(
    word: str, contracts: int, target: str, after: object, previous: str | None, before: object
) -> Signal:
    """A strategy's alert as it is understood: a flat target is a close of everything, a target
    on the other side than the word a partial exit."""
    was = None if previous is None else Target(previous)
    if target == "flat":
        return alert(Action.CLOSE, target=FLAT, previous=was)
    sizes = {"target_size": after, "previous_size": before}
    return alert(
        Action(word),
        contracts,
        target=Target(target),
        previous=was,
        reduce_only=(word == "buy") != (target == "long"),
        **{name: size for name, size in sizes.items() if size is not None},
    )


def test_act_on_action_ignores_the_target() -> None:
    signal = alert(Action.BUY, 1, target=LONG, target_size=5, previous=FLAT)
    settings = {
        "act_on": "action",
        "sizing": "signal",
        "on_same_side": "add",
        "add_quantity": 1,
    }

    assert shape(decide(seen(signal, 1, settings))) == ["enter buy 1"]


def test_act_on_target_refuses_an_entry_without_one_but_runs_exits() -> None:
    settings = {"act_on": "target"}

    entry = decide(seen(BUY, 0, settings))
    exit_ = decide(seen(CLOSE, 2, settings))

    assert (entry.verdict, entry.reason) == (REFUSE, "target_missing")
    assert shape(exit_) == ["close sell 2"]


def test_a_reversal_without_numbers_takes_the_entry_quantity() -> None:
    settings = {"sizing": "signal", "entry_quantity": 4}

    decision = decide(seen(alert(Action.SELL, 2), 1, settings))

    assert shape(decision) == ["net sell 5"]


def test_a_reversal_with_a_working_bracket_confirms_flat_before_it_enters() -> None:
    decision = decide(seen(SELL, 3, {**PROTECTED, "entry_quantity": 2}, orders=LEGS))

    assert shape(decision) == ["cancel stop target", "close sell 3", "AwaitFlat", "enter sell 2"]
    enter = decision.plan[-1]
    assert isinstance(enter, Enter)
    assert enter.stop_loss == LegPlan(offset=Decimal(5))
    assert enter.take_profit == LegPlan(offset=Decimal(10))
    assert decision.words == "reverse: long 3 → short 2"


def test_a_net_reversal_protects_the_new_position() -> None:
    decision = decide(seen(SELL, 3, PROTECTED))

    assert shape(decision) == ["net sell 4", "Reprotect"]
    net = decision.plan[0]
    assert isinstance(net, Net)
    assert (net.closes, net.opens) == (Decimal(3), Decimal(1))


@pytest.mark.parametrize(
    "settings",
    [
        {"max_contracts_per_order": 3},
        {"entry_order": "limit"},
        {"entry_delay": 5},
    ],
)
def test_a_reversal_is_split_where_one_order_would_break_a_setting(
    settings: dict[str, Any],
) -> None:
    decision = decide(seen(alert(Action.SELL, price=100), 3, settings))

    assert shape(decision) == ["close sell 3", "AwaitFlat", "enter sell 1"]


def test_close_cancels_the_bracket_first() -> None:
    decision = decide(seen(CLOSE, 3, PROTECTED, orders=LEGS))

    assert shape(decision) == ["cancel stop target", "close sell 3"]


def test_a_partial_exit_rebuilds_the_bracket() -> None:
    decision = decide(seen(alert(Action.CLOSE, 1), 3, PROTECTED, orders=LEGS))

    assert shape(decision) == ["cancel stop target", "close sell 1 part", "Reprotect"]


def test_an_add_has_no_legs_of_its_own_and_rebuilds_the_bracket() -> None:
    settings = {**PROTECTED, "on_same_side": "add", "add_quantity": 2}

    decision = decide(seen(BUY, 3, settings, orders=LEGS))

    assert shape(decision) == ["enter buy 2", "Reprotect"]
    enter = decision.plan[0]
    assert isinstance(enter, Enter)
    assert (enter.take_profit, enter.stop_loss) == (None, None)


def test_a_partial_exit_keeps_the_prices_that_an_alert_gave() -> None:
    settings = {"exits_from": "alert"}

    decision = decide(seen(alert(Action.CLOSE, 1), 3, settings, orders=LEGS))

    assert decision.plan[-1] == Reprotect("MNQZ6", take_profit=None, stop_loss=Decimal(95))


def test_an_unfilled_entry_is_not_doubled() -> None:
    decision = decide(seen(BUY, 0, orders=(ENTRY_ORDER,)))

    assert (decision.verdict, decision.reason) == (SKIP, "same_side_ignored")


def test_an_unfilled_entry_on_the_other_side_is_cancelled_before_the_new_one() -> None:
    decision = decide(seen(SELL, 0, orders=(ENTRY_ORDER,)))

    assert shape(decision) == ["cancel entry", "AwaitFlat", "enter sell 1"]


def test_a_close_while_flat_ends_a_waiting_entry() -> None:
    decision = decide(seen(CLOSE, 0, orders=(ENTRY_ORDER,)))

    assert (decision.verdict, shape(decision)) == (TRADE, ["cancel entry"])


def test_cancel_leaves_protection_alone() -> None:
    decision = decide(seen(alert(Action.CANCEL), 3, orders=(*LEGS, ENTRY_ORDER)))

    assert shape(decision) == ["cancel entry"]


def test_a_partly_filled_entry_closes_as_a_whole() -> None:
    decision = decide(seen(CLOSE, 2, orders=(ENTRY_ORDER, *LEGS)))

    assert shape(decision) == ["cancel entry stop target", "close sell 2"]


LATE: dict[str, Any] = {"now": NOON + timedelta(seconds=61)}
OLD = NOON - timedelta(minutes=6)
FILTERS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"account": AccountState(kill_switch=True)}, "kill_switch"),
    ({}, {"account": AccountState(is_locked=True)}, "account_locked"),
    ({}, {"account": AccountState(is_enabled=False)}, "account_disabled"),
    ({"max_signal_age": 300}, {}, "max_signal_age"),
    ({"direction": "short"}, {}, "direction"),
    ({"allowed_symbols": ["ES", "NQ"]}, {}, "allowed_symbols"),
    ({"multiplier": "0.5"}, {}, "below_minimum"),
]


@pytest.mark.parametrize(("settings", "facts", "reason"), FILTERS)
def test_a_filter_stops_an_entry(
    settings: dict[str, Any], facts: dict[str, Any], reason: str
) -> None:
    decision = decide(seen(alert(Action.BUY, fired_at=OLD), 0, settings, **facts))

    assert (decision.verdict, decision.reason, decision.plan) == (SKIP, reason, ())
    assert decision.trace[-1].verdict is Outcome.STOPPED


@pytest.mark.parametrize(("settings", "facts", "reason"), FILTERS)
def test_a_filter_stops_the_entering_half_of_a_reversal_only(
    settings: dict[str, Any], facts: dict[str, Any], reason: str
) -> None:
    decision = decide(seen(alert(Action.BUY, fired_at=OLD), -2, settings, **facts))

    assert (decision.verdict, decision.reason) == (TRADE, reason)
    assert shape(decision) == ["close buy 2"]


@pytest.mark.parametrize(("settings", "facts", "reason"), FILTERS)
def test_no_filter_stops_an_exit(
    settings: dict[str, Any], facts: dict[str, Any], reason: str
) -> None:
    late = facts | LATE

    decision = decide(seen(alert(Action.CLOSE, fired_at=OLD), 2, settings, **late))

    assert (decision.reason, shape(decision)) == (None, ["close sell 2"])


@pytest.mark.parametrize(("settings", "facts", "reason"), FILTERS)
def test_a_stopped_replacement_keeps_the_position(
    settings: dict[str, Any], facts: dict[str, Any], reason: str
) -> None:
    replace = settings | {"on_same_side": "replace"}

    decision = decide(seen(alert(Action.BUY, fired_at=OLD), 2, replace, **facts))

    assert (decision.reason, decision.plan) == (reason, ())


def test_an_entry_after_its_deadline_expires_and_its_exit_runs() -> None:
    entry = decide(seen(BUY, 0, **LATE))
    reversal = decide(seen(BUY, -2, **LATE))

    assert (entry.verdict, entry.reason) == (Verdict.EXPIRED, "entry_deadline")
    assert (reversal.verdict, shape(reversal)) == (TRADE, ["close buy 2"])


def test_an_entry_carries_its_delay_and_deadline() -> None:
    decision = decide(seen(BUY, 0, {"entry_delay": 5, "entry_deadline": 20}))

    (enter,) = decision.plan
    assert isinstance(enter, Enter)
    assert enter.not_before == NOON + timedelta(seconds=5)
    assert enter.deadline == NOON + timedelta(seconds=20)


def test_an_allowed_symbol_is_known_by_its_root() -> None:
    decision = decide(seen(BUY, 0, {"allowed_symbols": ["MNQZ2026"]}))

    assert decision.verdict is TRADE


APART = (Holding(MNQ, Decimal(3), Decimal(100), broker_net=Decimal(1)),)


def test_out_of_sync_blocks_entries() -> None:
    flat_book = (Holding(MNQ, broker_net=Decimal(2)),)

    decision = decide(seen(BUY, holdings=flat_book))

    assert (decision.verdict, decision.reason, decision.plan) == (SKIP, "out_of_sync", ())


@pytest.mark.parametrize(
    ("broker", "plan"),
    [
        (1, ["cancel stop target", "close sell 1 part"]),
        (5, ["cancel stop target", "close sell 3"]),
        (0, ["cancel stop target"]),
        (-2, ["cancel stop target"]),
    ],
)
def test_out_of_sync_exits_are_at_most_the_book_and_what_the_broker_holds(
    broker: int, plan: list[str]
) -> None:
    holding = Holding(MNQ, Decimal(3), Decimal(100), broker_net=Decimal(broker))

    closing = decide(seen(CLOSE, holdings=(holding,), orders=LEGS))
    reversal = decide(seen(SELL, holdings=(holding,), orders=LEGS))

    assert shape(closing) == plan
    assert (reversal.reason, shape(reversal)) == ("out_of_sync", plan)


def test_out_of_sync_can_adopt_the_brokers_position() -> None:
    settings = {"on_out_of_sync": "adopt"}

    decision = decide(seen(CLOSE, settings=settings, holdings=APART))

    assert shape(decision) == ["adopt 1", "close sell 1"]


def test_several_books_are_never_adopted() -> None:
    shared = (Holding(MNQ, Decimal(3), Decimal(100), Decimal(1), Decimal(4), books=2),)

    decision = decide(seen(BUY, settings={"on_out_of_sync": "adopt"}, holdings=shared))

    assert not [step for step in decision.plan if isinstance(step, Adopt)]


def test_out_of_sync_can_be_ignored() -> None:
    settings = {"on_out_of_sync": "ignore"}

    assert shape(decide(seen(SELL, settings=settings, holdings=APART))) == ["net sell 4"]


def test_other_books_of_the_account_are_not_a_difference() -> None:
    shared = (Holding(MNQ, Decimal(3), Decimal(100), Decimal(5), Decimal(5), books=2),)

    assert shape(decide(seen(CLOSE, holdings=shared))) == ["close sell 3"]


def test_an_exit_closes_the_contract_that_is_held() -> None:
    rolled = (Holding(OLD_MNQ, Decimal(2), Decimal(100)), Holding(MNQ))

    decision = decide(seen(CLOSE, holdings=rolled))

    assert decision.plan == (Close("MNQU6", Side.SELL, Decimal(2), is_whole=True),)


def test_a_reversal_out_of_an_old_contract_enters_the_new_one() -> None:
    rolled = (Holding(OLD_MNQ, Decimal(2), Decimal(100)),)

    decision = decide(seen(SELL, holdings=rolled))

    close, wait, enter = decision.plan
    assert close == Close("MNQU6", Side.SELL, Decimal(2), is_whole=True)
    assert wait == AwaitFlat(("MNQU6",))
    assert isinstance(enter, Enter)
    assert enter.contract == "MNQZ6"


def quote(bid: object, ask: object) -> Quote:
    return Quote("MNQZ6", Decimal(str(bid)), Decimal(str(ask)), NOON)


@pytest.mark.parametrize(
    ("signal", "settings", "expected"),
    [
        (BUY, {}, (OrderType.MARKET, None)),
        (
            alert(Action.BUY, price="100.30"),
            {"entry_order": "limit"},
            (OrderType.LIMIT, Decimal("100.25")),
        ),
        (BUY, {"entry_order": "limit"}, (OrderType.LIMIT, Decimal(102))),
        (SELL, {"entry_order": "limit"}, (OrderType.LIMIT, Decimal(101))),
        (
            BUY,
            {"entry_order": {"type": "limit", "offset_ticks": -4}},
            (OrderType.LIMIT, Decimal(101)),
        ),
        (
            alert(Action.BUY, order_type="limit", limit_price=99),
            {"entry_order": "as_alert"},
            (OrderType.LIMIT, Decimal(99)),
        ),
        (alert(Action.BUY, price=99), {"entry_order": "as_alert"}, (OrderType.MARKET, None)),
    ],
)
def test_an_entry_is_sent_as_set(
    signal: Signal, settings: dict[str, Any], expected: tuple[OrderType, Decimal | None]
) -> None:
    (enter,) = decide(seen(signal, 0, settings, quote=quote(101, 102))).plan

    assert isinstance(enter, Enter)
    assert (enter.order_type, enter.limit_price) == expected


def test_a_limit_without_any_price_is_refused() -> None:
    assert decide(seen(BUY, 0, {"entry_order": "limit"})).reason == "no_price"


def test_an_entry_that_cannot_have_its_stop_is_refused() -> None:
    settings = {"exits_from": "alert"}
    signal = alert(Action.BUY, price=100, stop_loss=Decimal(105))

    assert decide(seen(signal, 0, settings)).reason == "bad_stop"


def test_a_capped_entry_says_so() -> None:
    decision = decide(seen(BUY, 0, {"entry_quantity": 3, "max_position": 2}))

    assert shape(decision) == ["enter buy 2"]
    assert "3 cut to 2: max_position" in [rule.words for rule in decision.trace]


@pytest.mark.parametrize(
    ("net_pos", "bid", "orders", "reason"),
    [
        (2, 105, (), None),
        (2, 99, (), "not_in_profit"),
        (-2, 99, (), "not_in_profit"),
    ],
)
def test_breakeven_needs_a_market_beyond_the_entry(
    net_pos: int, bid: int, orders: tuple[WorkingOrder, ...], reason: str | None
) -> None:
    ask = bid + 2

    decision = decide(seen(alert(Action.BREAKEVEN), net_pos, quote=quote(bid, ask)))

    assert decision.reason == reason


def test_breakeven_never_moves_a_stop_back() -> None:
    ahead = WorkingOrder(
        "stop", "MNQZ6", OrderRole.STOP_LOSS, Side.SELL, Decimal(2), Decimal("100.5")
    )

    decision = decide(seen(alert(Action.BREAKEVEN), 2, orders=(ahead,)))

    assert (decision.verdict, decision.reason) == (SKIP, "stop_already_there")


def test_a_part_below_the_smallest_size_is_skipped_or_raised() -> None:
    signal = alert(Action.SELL, 1, target=LONG, previous=LONG, previous_size=3, reduce_only=True)

    floored = decide(seen(signal, 2))
    raised = decide(seen(signal, 2, {"rounding": "at_least_one"}))

    assert floored.reason == "partial_below_one"
    assert shape(raised) == ["close sell 1 part"]


def test_a_partial_exit_of_unknown_size_is_refused() -> None:
    signal = alert(Action.SELL, target=LONG, reduce_only=True)

    assert decide(seen(signal, 3)).reason == "part_unknown"


def test_the_trace_tells_the_story_in_order() -> None:
    settings = {**PROTECTED, "entry_quantity": 2, "direction": "long", "max_signal_age": 60}
    signal = alert(Action.BUY, 5, target=LONG, target_size=2, price=100)

    decision = decide(seen(signal, -3, settings, orders=LEGS))

    assert [rule.rule for rule in decision.trace] == [
        "act_on",
        "position",
        "on_opposite",
        "account",
        "entry_deadline",
        "max_signal_age",
        "direction",
        "entry_order",
        "entry_quantity",
        "bracket",
        "reverse",
    ]
    assert decision.trace[-1].words == "reverse: short 3 → long 2"


def test_steps_are_shown_as_json() -> None:
    (enter,) = decide(seen(alert(Action.BUY, price=100), 0, PROTECTED)).plan

    shown = step_to_json(enter)

    assert (shown["step"], shown["quantity"]) == ("Enter", "1")
    assert shown["stop_loss"] == {"offset": "5", "price": None}
    assert shown["deadline"] == "2026-03-02T12:01:00.000Z"


def test_fractions_close_to_the_last_step() -> None:
    coin = Instrument("BTCUSDT", Decimal("0.1"), Decimal(1), Decimal("0.001"))
    held = (Holding(coin, Decimal("0.005"), Decimal(100)),)

    half = decide(
        seen(
            alert(Action.CLOSE, 50, quantity_type="percent"),
            holdings=held,
            instrument=coin,
        )
    )

    assert shape(half) == ["close sell 0.002 part"]
