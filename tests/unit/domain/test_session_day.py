"""When trading days and weeks begin."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from app.domain.session_day import day_start, week_start


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "start"),
    [
        ("2026-11-18T22:59:59.999999", "2026-11-17T23:00"),
        ("2026-11-18T23:00", "2026-11-18T23:00"),
        ("2026-07-01T22:00", "2026-07-01T22:00"),
        ("2026-07-01T21:59", "2026-06-30T22:00"),
        # Clocks go back on Sunday, 1 November: the day before has 25 hours.
        ("2026-11-01T22:30", "2026-10-31T22:00"),
        ("2026-11-01T23:00", "2026-11-01T23:00"),
    ],
)
def test_a_day_begins_at_five_in_chicago(at: str, start: str) -> None:
    assert day_start(_utc(at)) == _utc(start)


@pytest.mark.parametrize(
    ("at", "start"),
    [
        ("2026-11-18T20:00", "2026-11-15T23:00"),
        ("2026-11-15T22:59", "2026-11-08T23:00"),
        ("2026-11-15T23:00", "2026-11-15T23:00"),
        # The week of the clock change began an hour earlier by UTC.
        ("2026-03-08T21:00", "2026-03-01T23:00"),
        ("2026-03-08T22:00", "2026-03-08T22:00"),
    ],
)
def test_a_week_begins_on_sunday(at: str, start: str) -> None:
    assert week_start(_utc(at)) == _utc(start)
