"""The filters write what ``tests/data/formats.json`` says, and never guess."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, render_template_string
from hypothesis import given
from hypothesis import strategies as st

from app.pages import filters

_CASES = Path(__file__).parents[2] / "data" / "formats.json"
_INSTANTS = {"clock", "when"}


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _shared_cases() -> Iterator[Any]:
    for name, cases in json.loads(_CASES.read_text(encoding="utf-8")).items():
        for case in cases:
            yield pytest.param(name, case, id=f"{name}-{case['value']}-{case.get('args', '')}")


@pytest.mark.parametrize(("name", "case"), list(_shared_cases()))
def test_shared_case_reads_as_written(name: str, case: dict[str, Any]) -> None:
    args = dict(case.get("args", {}))
    if "now" in args:
        args["now"] = _instant(args["now"])
    value = _instant(case["value"]) if name in _INSTANTS else case["value"]

    text = getattr(filters, name)(value, **args)

    assert text == case["text"]


@given(st.decimals(min_value=-(10**12), max_value=10**12, places=6))
def test_signed_says_the_sign_of_what_it_shows(value: Decimal) -> None:
    text = filters.signed(value)

    shown = Decimal(text.replace("$", "").replace(",", "").replace(filters.MINUS, "-"))
    assert abs(shown - value) <= Decimal("0.005")
    assert text.startswith("+") == (shown > 0)
    assert text.startswith(filters.MINUS) == (shown < 0)


def test_age_of_an_instant_counts_to_now() -> None:
    now = datetime(2026, 11, 20, 16, 14, tzinfo=UTC)

    assert filters.age(now - timedelta(minutes=68), now=now) == "1 h 08 m"


def test_latency_takes_a_timedelta() -> None:
    assert filters.latency(timedelta(microseconds=8200)) == "8.2 ms"


def test_a_time_element_carries_the_utc() -> None:
    at = datetime(2026, 11, 20, 16, 14, 22, 123456, tzinfo=UTC)

    assert filters.iso(at) == "2026-11-20T16:14:22.123Z"
    assert filters.utc(at) == "2026-11-20 16:14:22 UTC"


@pytest.mark.parametrize(
    ("value", "name"), [(Decimal("0.01"), "jt-pos"), ("-3", "jt-neg"), (0, ""), (None, "")]
)
def test_zero_and_unknown_are_not_coloured(value: filters.Number | None, name: str) -> None:
    assert filters.sign_class(value) == name


def test_templates_know_the_filters_after_register() -> None:
    app = Flask(__name__)

    filters.register(app)

    with app.app_context():
        assert render_template_string("{{ '-50'|signed }}") == "−$50.00"
