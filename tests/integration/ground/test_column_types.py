"""What is stored comes back the same, digit for digit and instant for instant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from apiflask import APIFlask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, Table, insert, select
from sqlalchemy.exc import StatementError

from app.extensions import writer
from app.models.types import Exact, Money, UTCDateTime, canonical
from app.transactions import Tx

SCRATCH = Table(
    "scratch",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("money", Money),
    Column("exact", Exact),
    Column("at", UTCDateTime),
    prefixes=["TEMPORARY"],
)
"""Lives on the writer's connection and goes with it."""

MONEY = st.decimals(
    min_value=Decimal("-9999999999.99999999"), max_value=Decimal("9999999999.99999999"), places=8
)
EXACT = st.builds(
    lambda digits, places: Decimal(digits).scaleb(-places),
    st.integers(-(10**27), 10**27),
    st.integers(-3, 20),
)
INSTANTS = st.datetimes(
    min_value=datetime(1970, 1, 2),  # noqa: DTZ001  (hypothesis adds the zone)
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.integers(-14 * 4, 14 * 4).map(lambda n: timezone(timedelta(minutes=15 * n))),
)

hold = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _there_and_back(name: str, value: Any) -> Any:
    column = SCRATCH.c[name]

    def work(tx: Tx) -> Any:
        SCRATCH.create(tx.conn, checkfirst=True)
        stored = insert(SCRATCH).values({name: value}).returning(SCRATCH.c.id)
        return tx.conn.scalar(select(column).where(SCRATCH.c.id == tx.conn.scalar(stored)))

    return writer.run(work)


@hold
@given(value=MONEY)
def test_money_keeps_every_digit(app: APIFlask, value: Decimal) -> None:
    assert _there_and_back("money", value) == value


@hold
@given(value=EXACT)
def test_prices_and_quantities_keep_every_digit(app: APIFlask, value: Decimal) -> None:
    assert _there_and_back("exact", value) == value


@hold
@given(value=INSTANTS)
def test_instants_come_back_in_utc(app: APIFlask, value: datetime) -> None:
    back = _there_and_back("at", value)

    assert back == value
    assert back.tzinfo is UTC or back.utcoffset() == timedelta(0)


@pytest.mark.parametrize("name", ["money", "exact", "at"])
def test_nothing_comes_back_as_nothing(app: APIFlask, name: str) -> None:
    assert _there_and_back(name, None) is None


@pytest.mark.parametrize("name", ["money", "exact"])
@pytest.mark.parametrize("value", [1.5, 1])
def test_only_a_decimal_is_taken_for_an_amount(app: APIFlask, name: str, value: Any) -> None:
    with pytest.raises(StatementError, match="expected Decimal"):
        _there_and_back(name, value)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "0.000000001"])
def test_an_amount_that_cannot_be_kept_is_refused(app: APIFlask, text: str) -> None:
    with pytest.raises(StatementError):
        _there_and_back("money", Decimal(text))


@pytest.mark.parametrize("text", ["NaN", "-Infinity"])
def test_a_price_that_is_no_number_is_refused(app: APIFlask, text: str) -> None:
    with pytest.raises(StatementError):
        _there_and_back("exact", Decimal(text))


def test_an_amount_too_large_for_the_column_is_refused(app: APIFlask) -> None:
    with pytest.raises(StatementError):
        _there_and_back("money", Decimal(10) ** 11)


def test_a_naive_datetime_is_refused(app: APIFlask) -> None:
    with pytest.raises(StatementError, match="naive"):
        _there_and_back("at", datetime(2026, 1, 1))  # noqa: DTZ001


@given(EXACT)
def test_there_is_one_spelling_of_a_decimal(value: Decimal) -> None:
    text = canonical(value)

    assert Decimal(text) == value
    assert text == canonical(value.normalize())
    assert "e" not in text.lower()
