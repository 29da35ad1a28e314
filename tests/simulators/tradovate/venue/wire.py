"""What leaves the venue: JSON-ready rows, timestamps, and the shapes of a refusal."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

Row = dict[str, Any]


class Http(Exception):
    """Not a 200: the door answers ``status`` with ``text`` as a plain body (often empty)."""

    def __init__(self, status: int, text: str = "") -> None:
        super().__init__(f"{status} {text}")
        self.status = status
        self.text = text


class Refused(Exception):
    """A business refusal inside a 200: ``{"failureReason", "failureText"}``."""

    def __init__(self, reason: str, text: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.text = text or reason

    def as_row(self) -> Row:
        return {"failureReason": self.reason, "failureText": self.text}


class Violated(Exception):
    """The body does not fit the schema: ``{"violations": [...]}``."""

    def __init__(self, violations: list[Row]) -> None:
        super().__init__(str(violations))
        self.violations = violations

    def as_row(self) -> Row:
        return {"violations": self.violations}


ACCESS_DENIED = "Access is denied"


def iso(moment: datetime) -> str:
    """UTC with milliseconds and Z."""
    stamp = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return stamp.removesuffix("+00:00") + "Z"


def iso_minutes(moment: datetime) -> str:
    """UTC without seconds, as the service writes some of its dates."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")


def as_date(day: date) -> Row:
    return {"year": day.year, "month": day.month, "day": day.day}


def deep(value: Any) -> Any:
    """``wire`` for an answer with rows inside."""
    if isinstance(value, dict):
        return {key: deep(each) for key, each in value.items()}
    if isinstance(value, list):
        return [deep(each) for each in value]
    return float(value) if isinstance(value, Decimal) else value


def wire(row: Row) -> Row:
    """A copy of one row in which every Decimal has become a JSON double."""
    return {key: float(v) if type(v) is Decimal else v for key, v in row.items()}
