"""Days as the filters of lists name them: ``2026-11-20`` in the user's zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo


def day_text(given: str | None) -> str:
    """The day in its one spelling; empty for what is none."""
    try:
        return date.fromisoformat(given or "").isoformat()
    except ValueError:
        return ""


def span(first: str, last: str, zone: str) -> tuple[datetime | None, datetime | None]:
    """From the beginning of ``first`` to the end of ``last``, both in full; empty is open."""
    since = _start(first, zone) if first else None
    until = _start(last, zone, after=timedelta(days=1)) if last else None
    return since, until


def _start(text: str, zone: str, after: timedelta = timedelta(0)) -> datetime | None:
    try:
        day = date.fromisoformat(text) + after
        return datetime.combine(day, time(0), tzinfo=ZoneInfo(zone)).astimezone(UTC)
    except OverflowError:
        return None
