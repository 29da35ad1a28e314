"""The time of the simulation: the wall clock, moved ahead by what a test asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class Clock:
    def __init__(self) -> None:
        self._ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def seconds(self) -> float:
        """``now`` as a Unix time, for windows and deadlines."""
        return self.now().timestamp()

    def advance(self, seconds: float) -> None:
        self._ahead += timedelta(seconds=seconds)


def iso(at: datetime) -> str:
    """As the service writes instants: UTC, milliseconds, ``Z``."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"
