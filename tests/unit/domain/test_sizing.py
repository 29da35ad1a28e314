from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.settings import StrategySettings
from app.domain.signals.types import Action, Signal
from app.domain.sizing import Market, Sized, size_add, size_entry
from tests.unit.domain.facts import BTC, MNQ, Instrument

KNOWN = Market(price=Decimal(100), equity=Decimal(10_000), stop_points=Decimal(5))


def alert(quantity: object = None, kind: str = "fixed_quantity") -> Signal:
    amount = None if quantity is None else Decimal(str(quantity))
    return Signal(action=Action.BUY, symbol="MNQ1!", quantity=amount, quantity_type=kind)


def settings(**fields: Any) -> StrategySettings:
    return StrategySettings.model_validate(fields)


def entry(
    signal: Signal, instrument: Instrument = MNQ, market: Market = KNOWN, **fields: Any
) -> Sized:
    stated = signal.quantity if signal.quantity_type == "fixed_quantity" else None
    return size_entry(settings(**fields), signal, instrument, market, stated=stated)


@pytest.mark.parametrize(
    ("fields", "signal", "quantity"),
    [
        ({}, alert(), 1),
        ({"entry_quantity": 3}, alert(7), 3),
        ({"entry_quantity": 3, "multiplier": "1.5"}, alert(), 4),
        ({"sizing": "signal"}, alert(7), 7),
        ({"sizing": "signal", "multiplier": 2}, alert(7), 14),
        ({"sizing": "signal", "entry_quantity": 3}, alert(), 3),
        ({"sizing": "risk", "sizing_value": 105}, alert(), 10),
        ({"sizing": "equity_percent", "sizing_value": 10}, alert(), 5),
        ({"sizing": "notional", "sizing_value": 1000}, alert(), 5),
        ({"sizing": "signal"}, alert(10, "percent"), 5),
        ({"sizing": "signal"}, alert(10, "percent_of_equity"), 5),
        ({"sizing": "signal"}, alert(1000, "dollar_amount"), 5),
        ({"sizing": "signal"}, alert(100, "risk_dollar_amount"), 10),
        ({"sizing": "signal"}, alert(1, "risk_percent"), 10),
    ],
)
def test_an_entry_is_sized_by_its_kind(
    fields: dict[str, Any], signal: Signal, quantity: int
) -> None:
    assert entry(signal, **fields).quantity == quantity


def test_a_fixed_size_says_that_the_alerts_quantity_is_not_used() -> None:
    assert entry(alert(7)).notes == ("the alert's quantity 7 is not used: sizing fixed",)


@pytest.mark.parametrize(
    ("fields", "signal", "market", "reason"),
    [
        ({"sizing": "risk", "sizing_value": 5}, alert(), Market(), "no_stop"),
        ({"sizing": "risk"}, alert(), KNOWN, "no_sizing_value"),
        ({"sizing": "notional", "sizing_value": 5}, alert(), Market(), "no_price"),
        ({"sizing": "equity_percent", "sizing_value": 5}, alert(), Market(), "no_equity"),
        ({"sizing": "signal"}, alert(50, "percent_of_position"), KNOWN, "bad_quantity_type"),
        ({"multiplier": "0.5"}, alert(), KNOWN, "below_minimum"),
        ({"sizing": "risk", "sizing_value": 9}, alert(), KNOWN, "below_minimum"),
    ],
)
def test_a_size_that_cannot_be_is_refused_with_its_reason(
    fields: dict[str, Any], signal: Signal, market: Market, reason: str
) -> None:
    sized = entry(signal, market=market, **fields)

    assert (int(sized.quantity), sized.reason) == (0, reason)
    assert sized.words


def test_at_least_one_raises_a_small_size_to_the_smallest() -> None:
    sized = entry(alert(), multiplier="0.5", rounding="at_least_one")

    assert sized.quantity == 1
    assert sized.notes == ("0.5 raised to 1: rounding at_least_one",)


def test_fractions_follow_the_instruments_step() -> None:
    assert entry(alert("0.12345"), BTC, sizing="signal").quantity == Decimal("0.123")


def test_caps_cut_and_say_so() -> None:
    sized = entry(alert(), entry_quantity=9, max_contracts_per_order=5, max_position=3)

    assert sized.quantity == 3
    assert sized.notes == (
        "9 cut to 5: max_contracts_per_order",
        "5 cut to 3: max_position",
    )


def test_an_add_has_the_room_that_the_position_leaves() -> None:
    limits = settings(add_quantity=3, max_position=4)

    some = size_add(limits, alert(), MNQ, held=Decimal(2))
    none = size_add(limits, alert(), MNQ, held=Decimal(4))

    assert int(some.quantity) == 2
    assert some.notes == ("3 cut to 2: max_position",)
    assert (int(none.quantity), none.reason) == (0, "max_position")


def test_adds_are_off_by_default() -> None:
    assert size_add(settings(), alert(5), MNQ, held=Decimal(1)).reason == "adds_off"


def test_a_sized_add_only_fills_up_to_the_target() -> None:
    sized = settings(add_quantity=1, sizing="signal", multiplier=2)

    missing = size_add(sized, alert(1), MNQ, held=Decimal(2), reach=Decimal(3))
    reached = size_add(sized, alert(1), MNQ, held=Decimal(6), reach=Decimal(3))

    assert missing.quantity == 4
    assert (int(reached.quantity), reached.reason) == (0, "already_at_target")


@given(
    quantity=st.decimals("0.001", "1000", places=3),
    multiplier=st.decimals("0.01", "20", places=2),
    per_order=st.integers(0, 20),
    largest=st.integers(0, 20),
    held=st.integers(0, 30),
    rounding=st.sampled_from(["floor", "at_least_one"]),
)
def test_caps_hold_whatever_the_rounding(
    quantity: Decimal, multiplier: Decimal, per_order: int, largest: int, held: int, rounding: str
) -> None:
    limits = settings(
        add_quantity=quantity,
        multiplier=multiplier,
        max_contracts_per_order=per_order,
        max_position=largest,
        rounding=rounding,
    )

    sized = size_add(limits, alert(), MNQ, held=Decimal(held))

    assert sized.quantity >= 0
    assert sized.quantity % MNQ.lot_step == 0
    assert (sized.reason is None) == (sized.quantity > 0)
    assert not per_order or sized.quantity <= per_order
    assert not largest or sized.quantity <= max(largest - held, 0)
