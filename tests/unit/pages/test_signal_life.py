"""How one alert's life is told: body, steps of a plan, rule by account."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.pages import signal_life
from app.pages.signal_life import Result
from app.services.signal_log import Tally

_RESULT = Result("ok", "Done", "")
_ACCOUNT: Any = SimpleNamespace(name="Paper", badge="paper")


def _text(tokens: list[tuple[str, str]]) -> str:
    return "".join(text for _, text in tokens)


def _line(rule: str, verdict: str, words: str) -> dict[str, Any]:
    return {"rule": rule, "verdict": verdict, "words": words, "inputs": {}}


@given(st.text())
def test_a_body_loses_no_character_but_space(raw: str) -> None:
    shown = _text(signal_life.body_tokens(raw, is_json=True))

    assert "".join(shown.split()) == "".join(raw.split())


def test_json_on_one_line_is_broken_into_lines() -> None:
    tokens = signal_life.body_tokens('{"a":1.10,"b":["x",{}]}', is_json=True)

    assert _text(tokens) == '{\n  "a": 1.10,\n  "b": [\n    "x",\n    {}\n  ]\n}'


def test_json_with_lines_stays_as_it_arrived() -> None:
    raw = '{ "a" :1,\n\n"b":2}'

    assert _text(signal_life.body_tokens(raw, is_json=True)) == raw


def test_names_texts_and_hidden_values_are_told_apart() -> None:
    tokens = signal_life.body_tokens('{"key": "***", "action": "buy"}', is_json=True)

    assert [token for token in tokens if token[0]] == [
        ("k", '"key"'),
        ("d", '"***"'),
        ("k", '"action"'),
        ("s", '"buy"'),
    ]


def test_rules_that_stop_share_the_row_of_the_rule_that_passes() -> None:
    passed = [_line("account", "pass", "takes entries")]
    stopped = [_line("kill_switch", "stopped", "no entries")]

    matrix = signal_life.matrix_of(
        [(_ACCOUNT, 0, passed, _RESULT), (_ACCOUNT, 0, stopped, _RESULT)]
    )

    [row] = matrix.rows
    assert [cell.kind for cell in row.cells] == ["pass", "stop"]
    assert not row.is_plain


def test_a_rule_after_the_one_that_stopped_was_not_reached() -> None:
    through = [_line("direction", "pass", "fine"), _line("bracket", "pass", "none")]
    stopped = [_line("direction", "stopped", "only short")]

    matrix = signal_life.matrix_of(
        [(_ACCOUNT, 0, through, _RESULT), (_ACCOUNT, 0, stopped, _RESULT)]
    )

    assert [row.label for row in matrix.rows] == ["Direction", "Bracket"]
    assert matrix.rows[1].cells[1].text == "not reached"
    assert matrix.rows[1].is_plain


def test_a_rule_that_spoke_twice_shows_its_worse_verdict() -> None:
    trace = [_line("out_of_sync", "changed", "entries wait"), _line("out_of_sync", "pass", "ok")]

    matrix = signal_life.matrix_of([(_ACCOUNT, 0, trace, _RESULT)])

    assert matrix.rows[0].cells == [signal_life.Cell("change", "entries wait; ok")]


def test_entries_of_one_alert_are_numbered_where_there_are_several() -> None:
    one = signal_life.matrix_of([(_ACCOUNT, 0, [], _RESULT)])
    two = signal_life.matrix_of([(_ACCOUNT, 0, [], _RESULT), (_ACCOUNT, 1, [], _RESULT)])

    assert [column.index for column in one.columns] == [None]
    assert [column.index for column in two.columns] == [0, 1]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (
            {
                "step": "Enter",
                "contract": "MNQZ6",
                "side": "buy",
                "quantity": "2",
                "order_type": "limit",
                "limit_price": "21442",
                "stop_price": None,
                "take_profit": {"offset": "20", "price": None},
                "stop_loss": {"offset": None, "price": "21400"},
            },
            "buy 2 MNQZ6, limit at 21442 with target 20 away and stop at 21400",
        ),
        (
            {"step": "Close", "contract": "MNQZ6", "quantity": "3"},
            "close 3 MNQZ6 at market",
        ),
        ({"step": "CancelOrders", "ids": ["a"]}, "cancel 1 working order"),
        ({"step": "AwaitFlat", "contracts": ["MNQZ6"]}, ""),
    ],
)
def test_a_step_of_a_plan_is_a_sentence(step: dict[str, Any], expected: str) -> None:
    assert signal_life.step_words(step) == expected


@pytest.mark.parametrize(
    ("executions", "expected"),
    [
        ([], "Accepted"),
        ([("done", True)], "Traded"),
        ([("done", True), ("skipped", False)], "Traded in part"),
        ([("done", True), ("running", False)], "Under way"),
        ([("unknown", False), ("failed", False)], "Unknown"),
        ([("failed", False), ("skipped", False)], "Failed"),
        ([("done", False)], "Done"),
        ([("expired", False), ("skipped", False)], "Expired"),
        ([("skipped", False)], "Skipped"),
    ],
)
def test_an_accepted_alert_shows_what_became_of_it(
    executions: list[tuple[str, bool]], expected: str
) -> None:
    tally = Tally()
    for status, has_traded in executions:
        tally.add(status, has_traded=has_traded)

    assert signal_life.outcome("accepted", tally)[1] == expected


def test_an_alert_that_was_not_accepted_keeps_its_word() -> None:
    assert signal_life.outcome("duplicate", Tally()) == ("duplicate", "Duplicate")
