"""What every JSON shape is made of.

Decimals travel as strings, times as RFC 3339 in UTC with milliseconds. ``Body`` is for what comes
in (an unknown field is refused: a misspelt ``quantity`` must not pass unseen), ``Out`` for what
goes out (made from rows or dicts), ``page_of`` for lists.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
    create_model,
)

from app.events import timestamp
from app.models.types import canonical

_DECIMAL_PATTERN = r"^-?[0-9]{1,18}(\.[0-9]{1,64})?$"
_MAX_PLACES = 64
"""An average price has as many as the division gave it."""
_MAX_MONEY = Decimal(9) * 10**10
_MONEY_PLACES = 8


def _decimal_text(value: Any) -> Any:
    """Only text, whole numbers and exact decimals: a binary float has lost digits already."""
    if isinstance(value, bool | float):
        raise ValueError('expected a decimal as text, for example "21450.25"')
    if isinstance(value, str) and not _is_plain(value):
        raise ValueError('expected plain digits with a point, for example "21450.25"')
    return value


def _is_plain(text: str) -> bool:
    digits = text.removeprefix("-").replace(".", "", 1)
    return digits.isascii() and digits.isdigit() and text[-1] != "." and text.strip("-")[0] != "."


def _bounded(value: Decimal) -> Decimal:
    if not value.is_finite() or abs(value) >= 10**18:
        raise ValueError("is out of range")
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -_MAX_PLACES:
        raise ValueError(f"has more than {_MAX_PLACES} decimal places")
    return value


def _amount(value: Decimal) -> Decimal:
    if abs(value) > _MAX_MONEY:
        raise ValueError("is out of range")
    if value != round(value, _MONEY_PLACES):
        raise ValueError(f"has more than {_MONEY_PLACES} decimal places")
    return value


def _instant_text(value: Any) -> Any:
    if not isinstance(value, str | datetime):
        raise ValueError('expected an RFC 3339 time, for example "2026-11-20T14:03:07.123Z"')
    return value


_DECIMAL_SCHEMA = {"type": "string", "pattern": _DECIMAL_PATTERN, "examples": ["21450.25"]}

DecimalStr = Annotated[
    Decimal,
    BeforeValidator(_decimal_text),
    AfterValidator(_bounded),
    PlainSerializer(canonical, return_type=str),
    WithJsonSchema({"anyOf": [_DECIMAL_SCHEMA, {"type": "number"}]}, mode="validation"),
    WithJsonSchema(_DECIMAL_SCHEMA, mode="serialization"),
]
"""A price, a quantity or a ratio; exact."""

MoneyStr = Annotated[DecimalStr, AfterValidator(_amount)]
"""An amount of money: 8 places at most."""

Instant = Annotated[
    AwareDatetime,
    BeforeValidator(_instant_text),
    AfterValidator(lambda value: value.astimezone(UTC)),
    PlainSerializer(timestamp, return_type=str),
    WithJsonSchema(
        {"type": "string", "format": "date-time", "examples": ["2026-11-20T14:03:07.123Z"]}
    ),
]
"""A point in time. Comes in with any offset, goes out in UTC."""


Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]
"""What people call their things."""


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Out(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As it is sent, not as it could be read back: a decimal is text alone."""
        kwargs["mode"] = "serialization"
        return super().model_json_schema(*args, **kwargs)


class ListQuery(BaseModel):
    """How a list is asked for. Filters are added by subclassing."""

    limit: int = Field(default=50, ge=1, le=500, description="How many items at most.")
    cursor: str | None = Field(
        default=None, max_length=500, description="`next` of the answer before."
    )
    sort: str | None = Field(
        default=None, max_length=60, description="A field; a minus before it turns the order."
    )


class Problem(Out):
    """RFC 9457: what went wrong. ``code`` is stable and for programs."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str | None
    errors: list[FieldError] | None = None


class FieldError(Out):
    field: str
    message: str


class Done(Out):
    """Nothing to tell but that it was done."""

    ok: bool = True


@cache
def page_of(item: type[BaseModel]) -> type[BaseModel]:
    """The shape of a list of ``item``: ``items``, ``next`` (a cursor or null) and ``total``."""
    name = f"{item.__name__.removesuffix('Out')}List"
    return create_model(
        name,
        __base__=Out,
        items=(list[item], ...),  # type: ignore[valid-type]
        next=(str | None, None),
        total=(int, ...),
    )


Problem.model_rebuild()
