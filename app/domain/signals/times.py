"""When an alert fired."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_EPOCH = re.compile(r"[0-9]{9,13}(?:\.[0-9]{1,9})?")
_MILLISECONDS_FROM = 100_000_000_000  # as seconds this would be the year 5138
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)
_SHORTEST, _LONGEST = len("2026-04-14T13:45"), 40


def firing_time(value: object) -> datetime | None:
    """Read ISO 8601 (UTC where it names no zone) or an epoch in seconds or milliseconds.

    None for anything else, for years outside 2000 to 2199, and for a date without a time of
    day: read as midnight it would make every alert look hours old.
    """
    if not isinstance(value, str) or len(value) > _LONGEST:
        return None
    text = value.strip()
    moment = _from_epoch(text) if _EPOCH.fullmatch(text) else _from_iso(text)
    return moment if moment is not None and _EARLIEST <= moment < _LATEST else None


def _from_epoch(text: str) -> datetime:
    number = float(text)
    return datetime.fromtimestamp(number / 1000 if number >= _MILLISECONDS_FROM else number, UTC)


def _from_iso(text: str) -> datetime | None:
    # The shortest form with a time of day has no separators: 20260414T1345.
    if len(text) < _SHORTEST and "T" not in text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
