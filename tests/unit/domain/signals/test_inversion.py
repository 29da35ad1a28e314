"""The opposite of a signal."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from app.domain.signals import Action, Signal, Target, invert
from tests.unit.domain.signals.alerts import of


@pytest.mark.parametrize(
    ("action", "opposite"),
    [
        (Action.BUY, Action.SELL),
        (Action.SELL, Action.BUY),
        (Action.CLOSE_LONG, Action.CLOSE_SHORT),
        (Action.CLOSE_SHORT, Action.CLOSE_LONG),
        (Action.CLOSE, Action.CLOSE),
        (Action.CANCEL, Action.CANCEL),
        (Action.ADD, Action.ADD),
        (Action.REVERSE, Action.REVERSE),
        (Action.BREAKEVEN, Action.BREAKEVEN),
    ],
)
def test_actions_are_swapped(action: Action, opposite: Action) -> None:
    found, warnings = invert(Signal(action=action, symbol="ES"))

    assert found == Signal(action=opposite, symbol="ES")
    assert warnings == ()


@pytest.mark.parametrize(
    ("target", "opposite"),
    [
        (Target.LONG, Target.SHORT),
        (Target.SHORT, Target.LONG),
        (Target.FLAT, Target.FLAT),
        (None, None),
    ],
)
def test_positions_and_side_are_swapped(target: Target | None, opposite: Target | None) -> None:
    signal = Signal(action=Action.REVERSE, symbol="ES", target=target, previous=target, side=target)

    found, _ = invert(signal)

    assert (found.target, found.previous, found.side) == (opposite, opposite, opposite)


_BUY_2_ES = Signal(action=Action.BUY, symbol="ES", quantity=Decimal(2))


@pytest.mark.parametrize(
    "signal",
    [replace(_BUY_2_ES, take_profit=Decimal(5)), replace(_BUY_2_ES, stop_loss=Decimal(5))],
)
def test_the_alerts_own_stop_and_target_are_dropped_with_a_warning(signal: Signal) -> None:
    found, warnings = invert(signal)

    assert found == Signal(action=Action.SELL, symbol="ES", quantity=Decimal(2))
    assert len(warnings) == 1


def test_sizes_and_partial_exits_stay() -> None:
    signal = Signal(
        action=Action.SELL,
        symbol="ES",
        target=Target.LONG,
        target_size=Decimal(2),
        previous_size=Decimal(3),
        reduce_only=True,
        price=Decimal(4500),
    )

    found, _ = invert(signal)

    assert of(found, "target_size", "previous_size", "price") == (2, 3, 4500)
    assert found.reduce_only
    assert invert(found)[0] == signal
