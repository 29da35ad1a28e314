"""Column types that keep decimals exact and instants aware on both databases."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, Numeric, String
from sqlalchemy.types import TypeDecorator, TypeEngine

_MONEY_PLACES = 8
_MONEY_SCALE = Decimal(10) ** _MONEY_PLACES
_MONEY_STEP = 1 / _MONEY_SCALE
_MONEY_MAX = Decimal(2**63 - 1) / _MONEY_SCALE

BigId = BigInteger().with_variant(Integer(), "sqlite")
"""A primary key: SQLite numbers rows only for INTEGER."""


def canonical(value: Decimal) -> str:
    """The one spelling of a decimal: plain notation without trailing zeros."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


class Money(TypeDecorator[Decimal]):
    """An amount, 8 places, below 92 thousand million on both databases: SQLite has no decimals,
    there it is a scaled 64-bit integer."""

    impl = Numeric(28, _MONEY_PLACES)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(BigInteger())
        return dialect.type_descriptor(Numeric(28, _MONEY_PLACES))

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        _refuse_others(value)
        if abs(value) > _MONEY_MAX:
            raise ValueError(f"{value} is more than an amount may be")
        amount = value.quantize(_MONEY_STEP)
        if amount != value:
            raise ValueError(f"{value} has more than {_MONEY_PLACES} places: round it by a rule")
        return int(amount * _MONEY_SCALE) if dialect.name == "sqlite" else amount

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        if value is None:
            return None
        return Decimal(value) / _MONEY_SCALE if dialect.name == "sqlite" else Decimal(value)


class Exact(TypeDecorator[Decimal]):
    """A price or a quantity, with every digit. On SQLite canonical text, so never sort by it."""

    impl = Numeric()
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String())
        return dialect.type_descriptor(Numeric())

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        _refuse_others(value)
        return canonical(value) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


class UTCDateTime(TypeDecorator[datetime]):
    """An instant. SQLite forgets zones, so a naive value is refused on the way in."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime: use clock.now()")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _refuse_others(value: object) -> None:
    if not isinstance(value, Decimal):
        raise TypeError(f"{value!r} is {type(value).__name__}: expected Decimal")
    if not value.is_finite():
        raise ValueError(f"{value} is no number")
