from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.schemas.common import Body, DecimalStr, Instant, MoneyStr, Out, page_of


class _In(Body):
    price: DecimalStr | None = None
    amount: MoneyStr | None = None
    at: Instant | None = None


class _ThingOut(Out):
    price: DecimalStr
    at: Instant


@pytest.mark.parametrize("value", ["21450.25", "-0.5", "0", "100", 7, Decimal("1.50")])
def test_decimals_come_in_as_text_or_exact_numbers(value: Any) -> None:
    assert _In(price=value).price == Decimal(value)


@pytest.mark.parametrize(
    "value",
    ["", "-", ".5", "5.", "1e5", "1_000", "1,5", " 1", "NaN", "inf", "٣", 1.5, True, "9" * 19,
     Decimal("NaN"), Decimal("1E+30"), "0." + "1" * 65, None, [], {}],
)  # fmt: skip
def test_what_is_no_plain_decimal_is_refused(value: Any) -> None:
    if value is None:
        return
    with pytest.raises(ValidationError):
        _In(price=value)


@pytest.mark.parametrize("value", ["0.123456789", "90000000001", "-90000000001"])
def test_money_that_no_column_holds_is_refused(value: str) -> None:
    with pytest.raises(ValidationError):
        _In(amount=value)


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, places=9, min_value=-(10**15), max_value=10**15
    )
)
def test_a_decimal_goes_out_and_in_unchanged(value: Decimal) -> None:
    sent = _ThingOut(price=value, at=datetime.now(UTC)).model_dump(mode="json")["price"]

    assert isinstance(sent, str)
    assert _In(price=sent).price == value


def test_times_go_out_in_utc_with_milliseconds() -> None:
    thing = _ThingOut.model_validate({"price": "1.50", "at": "2026-11-20T15:03:07.1239+01:00"})

    assert thing.model_dump(mode="json") == {"price": "1.5", "at": "2026-11-20T14:03:07.123Z"}


@pytest.mark.parametrize("value", ["2026-11-20T14:03:07", "2026-11-20", 1763647387, "soon"])
def test_a_time_without_its_zone_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        _In(at=value)


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="quantiy"):
        _In.model_validate({"quantiy": "1"})


def test_the_shape_of_a_list_is_named_after_its_items() -> None:
    shape = page_of(_ThingOut)

    assert shape.__name__ == "_ThingList"
    assert page_of(_ThingOut) is shape
