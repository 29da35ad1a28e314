"""The body of a request against its schema: what does not fit becomes ``violations``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from tests.simulators.tradovate.venue import schema
from tests.simulators.tradovate.venue.wire import Http, Row, Violated

SHORT = 64
MAX_QUANTITY = 2**31 - 1
MAX_NUMBER = 10**12
Check = Callable[[Any], str | None]


@dataclass(frozen=True, slots=True)
class Field:
    """``check`` answers None, or what is wrong with a value."""

    check: Check
    required: bool = False


def _integer(value: Any) -> str | None:
    return None if type(value) is int else "must be an integer"


def _positive(value: Any) -> str | None:
    fits = type(value) is int and 0 < value <= MAX_QUANTITY
    return None if fits else "must be a positive integer"


def _number(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return "must be a number"
    size = Decimal(value)
    fits = size.is_finite() and abs(size) < MAX_NUMBER
    return None if fits else "must be a finite number of sensible size"


def _boolean(value: Any) -> str | None:
    return None if isinstance(value, bool) else "must be a boolean"


def _text(limit: int) -> Check:
    def check(value: Any) -> str | None:
        if not isinstance(value, str):
            return "must be a string"
        return None if len(value) <= limit else f"must not be longer than {limit}"

    return check


def _one_of(values: frozenset[str]) -> Check:
    def check(value: Any) -> str | None:
        known = isinstance(value, str) and value in values
        return None if known else "must be one of " + ", ".join(sorted(values))

    return check


def _moment(value: Any) -> str | None:
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return "must be a timestamp"
    return None


def _object(value: Any) -> str | None:
    return None if isinstance(value, dict) else "must be an object"


def _objects(value: Any) -> str | None:
    fits = isinstance(value, list) and all(isinstance(v, dict) for v in value)
    return None if fits else "must be an array of objects"


def _integers(value: Any) -> str | None:
    fits = isinstance(value, list) and all(type(v) is int for v in value)
    return None if fits else "must be an array of integers"


def _strings(value: Any) -> str | None:
    fits = isinstance(value, list) and all(isinstance(v, str) for v in value)
    return None if fits else "must be an array of strings"


INTEGER = Field(_integer)
TEXT = Field(_text(SHORT))
NUMBER = Field(_number)
BOOLEAN = Field(_boolean)
MOMENT = Field(_moment)
PARAMS = Field(_text(8192))
COMMAND = Field(_text(1024))
OBJECT = Field(_object)
OBJECTS = Field(_objects)
INTEGERS = Field(_integers)
STRINGS = Field(_strings)
ACTION = Field(_one_of(schema.ACTIONS))
ORDER_TYPE = Field(_one_of(schema.ORDER_TYPES))
ORDER_TYPE_2026 = Field(_one_of(schema.ORDER_TYPES_2026))
TIME_IN_FORCE = Field(_one_of(schema.TIMES_IN_FORCE))
POSITIVE = Field(_positive)


def must(field: Field) -> Field:
    return Field(field.check, required=True)


def checked(body: Any, fields: Mapping[str, Field]) -> Row:
    """The body without its nulls. Unknown fields are ignored.

    Raises:
        Http: 400, it is not an object.
        Violated: it does not fit.
    """
    if body is None:
        body = {}
    if not isinstance(body, dict):
        raise Http(400, "Malformed request")
    given = {key: value for key, value in body.items() if value is not None}
    found = violations(given, fields)
    if found:
        raise Violated(found)
    return given


def violations(given: Row, fields: Mapping[str, Field], prefix: str = "") -> list[Row]:
    found = []
    for name, field in fields.items():
        if name not in given:
            if field.required:
                found.append(_violation("required", "", f"{prefix}{name} is required"))
            continue
        wrong = field.check(given[name])
        if wrong is not None:
            found.append(_violation("type", str(given[name])[:SHORT], f"{prefix}{name} {wrong}"))
    return found


def _violation(constraint: str, value: str, description: str) -> Row:
    return {"constraint": constraint, "value": value, "description": description}
