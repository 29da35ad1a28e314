"""When the trading day and the trading week of the futures exchanges begin.

CME Globex opens its trading day at 17:00 Chicago time, the week on Sunday.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_CHICAGO = ZoneInfo("America/Chicago")
_OPENS_AT = 17
_SUNDAY = 6


def day_start(at: datetime) -> datetime:
    """The latest 17:00 in Chicago that is not after ``at``."""
    return _local_start(at).astimezone(UTC)


def week_start(at: datetime) -> datetime:
    """The latest Sunday 17:00 in Chicago that is not after ``at``."""
    start = _local_start(at)
    since_sunday = (start.weekday() - _SUNDAY) % 7
    return (start - timedelta(days=since_sunday)).astimezone(UTC)


def date_of(at: datetime) -> date:
    """The trading day that ``at`` belongs to, named after the day on which it ends."""
    return (at.astimezone(_CHICAGO) + timedelta(hours=24 - _OPENS_AT)).date()


def date_start(day: date) -> datetime:
    """When the trading day ``day`` begins: 17:00 in Chicago on the evening before."""
    evening = datetime.combine(day - timedelta(days=1), time(_OPENS_AT), tzinfo=_CHICAGO)
    return evening.astimezone(UTC)


def _local_start(at: datetime) -> datetime:
    local = at.astimezone(_CHICAGO)
    start = local.replace(hour=_OPENS_AT, minute=0, second=0, microsecond=0)
    return start if start <= local else start - timedelta(days=1)
