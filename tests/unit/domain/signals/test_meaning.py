"""What positions, actions and quantities mean together."""

from __future__ import annotations

from decimal import Decimal

import pytest

from app.domain.signals import Action, Target
from tests.unit.domain.signals.alerts import fields, of, refused, signal

_ANY = [None, "long", "short", "flat"]


@pytest.mark.parametrize("action", ["buy", "sell"])
@pytest.mark.parametrize("previous", _ANY)
@pytest.mark.parametrize("quantity", [None, 2, "NaN", -1, 0, "abc"])
def test_a_flat_target_closes_everything(
    action: str, previous: str | None, quantity: object
) -> None:
    found = signal(
        action=action,
        market_position="flat",
        prev_market_position=previous,
        contracts=quantity,
    )

    assert (found.action, found.quantity, found.target) == (Action.CLOSE, None, Target.FLAT)
    assert not found.reduce_only


@pytest.mark.parametrize(("action", "target"), [("buy", "long"), ("sell", "short")])
@pytest.mark.parametrize("previous", _ANY)
def test_a_target_on_the_side_of_the_action_is_an_entry(
    action: str, target: str, previous: str | None
) -> None:
    found = signal(
        action=action, market_position=target, prev_market_position=previous, contracts=2
    )

    assert of(found, "action", "quantity", "target") == (action, 2, target)
    assert found.previous == previous
    assert not found.reduce_only


@pytest.mark.parametrize(("action", "target"), [("sell", "long"), ("buy", "short")])
@pytest.mark.parametrize("is_sent", [True, False])
def test_a_target_on_the_other_side_is_a_partial_exit(
    action: str, target: str, is_sent: bool
) -> None:
    previous = target if is_sent else None
    found = signal(
        action=action, market_position=target, prev_market_position=previous, contracts=1
    )

    assert of(found, "action", "quantity", "reduce_only") == (action, 1, True)


@pytest.mark.parametrize(
    ("action", "target", "previous"),
    [
        ("sell", "long", "flat"),
        ("sell", "long", "short"),
        ("buy", "short", "flat"),
        ("buy", "short", "long"),
    ],
)
def test_impossible_transitions_conflict(action: str, target: str, previous: str) -> None:
    error = refused(action=action, market_position=target, prev_market_position=previous)

    assert error.code == "conflicting_fields"


@pytest.mark.parametrize("previous", _ANY)
@pytest.mark.parametrize("target", ["long", "short"])
def test_a_close_with_another_target_closes_with_a_warning(
    target: str, previous: str | None
) -> None:
    decoded = fields(action="close", market_position=target, prev_market_position=previous)

    assert decoded.signals[0].action is Action.CLOSE
    assert target in decoded.warnings[0]


def test_a_close_with_a_flat_target_needs_no_warning() -> None:
    decoded = fields(action="close", market_position="flat")

    assert (decoded.signals[0].action, decoded.warnings) == (Action.CLOSE, ())


def test_without_an_action_a_flat_target_closes() -> None:
    found = signal(action=None, market_position="flat")

    assert (found.action, found.quantity) == (Action.CLOSE, None)


@pytest.mark.parametrize("target", ["long", "short", None])
def test_without_an_action_any_other_target_is_refused(target: str | None) -> None:
    assert refused(action=None, market_position=target).code == "missing_action"


@pytest.mark.parametrize(
    "word", ["flat", "flatten", "close_all", "closeall", "exit_all", "flatten_all"]
)
@pytest.mark.parametrize("quantity", [None, 1, "50%", "NaN"])
def test_words_that_always_mean_everything(word: str, quantity: object) -> None:
    found = signal(action=word, qty=quantity)

    assert (found.action, found.quantity) == (Action.CLOSE, None)


@pytest.mark.parametrize("word", ["close", "exit", "close_long", "close_short", "exit long"])
def test_words_that_honour_a_quantity(word: str) -> None:
    assert signal(action=word, qty=2).quantity == 2
    assert signal(action=word, qty=0).quantity is None
    assert signal(action=word).quantity is None


@pytest.mark.parametrize(
    ("quantity", "kind", "expected"),
    [
        (100, "percent_of_position", None),
        (150, "percent_of_position", None),
        ("100%", None, None),
        (50, "percent_of_position", 50),
        (100, "percent_of_equity", 100),
    ],
)
def test_the_whole_percentage_of_a_position_is_everything(
    quantity: object, kind: str | None, expected: int | None
) -> None:
    assert signal(action="close", qty=quantity, quantity_type=kind).quantity == expected


@pytest.mark.parametrize(
    ("situation", "body", "action", "reduce_only"),
    [
        ("open long 1", ("buy", 1, "long", 1, "flat", 0), Action.BUY, False),
        ("add 1", ("buy", 1, "long", 2, "long", 1), Action.BUY, False),
        ("partial exit 1 of 3", ("sell", 1, "long", 2, "long", 3), Action.SELL, True),
        ("full exit of 2", ("sell", 2, "flat", 0, "long", 2), Action.CLOSE, False),
        ("reverse long 1 to short 1", ("sell", 2, "short", 1, "long", 1), Action.SELL, False),
        ("close of close + entry", ("sell", 1, "flat", 0, "long", 1), Action.CLOSE, False),
        ("entry of close + entry", ("sell", 1, "short", 1, "flat", 0), Action.SELL, False),
    ],
)
def test_fills_of_a_tradingview_strategy(
    situation: str,
    body: tuple[str, int, str, int, str, int],
    action: Action,
    reduce_only: bool,
) -> None:
    side, contracts, target, size, previous, previous_size = body

    found = signal(
        action=side,
        contracts=str(contracts),
        market_position=target,
        market_position_size=str(size),
        prev_market_position=previous,
        prev_market_position_size=str(previous_size),
    )

    assert (found.action, found.reduce_only) == (action, reduce_only), situation
    assert of(found, "target", "target_size") == (target, size)
    assert of(found, "previous", "previous_size") == (previous, previous_size)
    assert found.quantity == (None if action is Action.CLOSE else contracts)


@pytest.mark.parametrize(
    ("action", "size", "result", "target"),
    [
        ("buy", "2", Action.BUY, "long"),
        ("sell", "-2", Action.SELL, "short"),
        ("sell", "0", Action.CLOSE, "flat"),
        ("sell", "2", Action.SELL, "long"),
        ("close", "2", Action.CLOSE, None),
    ],
)
def test_the_sign_of_position_size_supplies_the_target(
    action: str, size: str, result: Action, target: str | None
) -> None:
    found = signal(action=action, position_size=size)

    assert (found.action, found.target) == (result, target)
    assert found.target_size == abs(Decimal(size))


def test_a_size_without_sign_tells_no_side() -> None:
    found = signal(action="sell", market_position_size="2")

    assert (found.action, found.target, found.reduce_only) == (Action.SELL, None, False)


def test_a_target_field_wins_over_the_sign() -> None:
    assert signal(market_position="long", position_size="2").target is Target.LONG
    assert refused(market_position="long", position_size="-2").code == "conflicting_fields"


@pytest.mark.parametrize(("target", "size"), [("flat", 2), ("long", 0)])
def test_a_size_that_denies_the_target_is_ignored_with_a_warning(target: str, size: int) -> None:
    decoded = fields(market_position=target, market_position_size=size)

    assert decoded.signals[0].target_size is None
    assert "market_position_size" in decoded.warnings[0]


def test_reverse_carries_the_new_side() -> None:
    assert signal(action="reverse").side is None
    assert signal(action="flip", side="long").side is Target.LONG
    assert signal(action="reverse", market_position="short").side is Target.SHORT
    assert signal(action="reverse", side="buy", prev_position="short").side is Target.LONG


@pytest.mark.parametrize(
    "values",
    [
        {"side": "long", "prev_market_position": "long"},
        {"side": "long", "market_position": "short"},
        {"market_position": "flat"},
        {"market_position": "long", "prev_market_position": "long"},
    ],
)
def test_a_reverse_that_names_no_new_side_conflicts(values: dict[str, str]) -> None:
    assert refused(action="reverse", **values).code == "conflicting_fields"


def test_add_names_the_side_that_is_held() -> None:
    assert signal(action="add", side="long", prev_position="long").side is Target.LONG
    assert refused(action="add", side="long", prev_position="short").code == "conflicting_fields"
    assert refused(action="add", market_position="flat").code == "conflicting_fields"


@pytest.mark.parametrize("word", ["cancel", "breakeven"])
def test_actions_that_change_no_position_ignore_the_target(word: str) -> None:
    decoded = fields(action=word, market_position="flat", qty=0)

    assert (decoded.signals[0].action, decoded.signals[0].target) == (word, None)
    assert decoded.signals[0].quantity is None
    assert "flat" in decoded.warnings[0]
