"""The request budget of one log-in: how many requests it may send, and which go first.

Tradovate counts the requests of a user in rolling windows and answers too many with a lock of an
hour that every further request prolongs. The budget stays below that: polls stop first, a part is
kept for exits and cancels, and whoever waits is served by what it is for.
"""

from __future__ import annotations

import time
from bisect import insort
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import count

from gevent.event import Event

from app.brokers.logins import BudgetState
from app.domain.errors import BrokerRateLimited

HOURLY_LIMIT = 5000
HOUR_S = 3600
MINUTE_S = 60


class Purpose(IntEnum):
    """What a request is for, the most urgent last."""

    POLL = 0
    READ = 1
    ENTRY = 2
    EXIT = 3
    CANCEL = 4

    @property
    def is_urgent(self) -> bool:
        """Whether it is about orders rather than about knowing."""
        return self >= Purpose.ENTRY


_KEPT_FREE = {
    Purpose.POLL: 2.0,
    Purpose.READ: 1.0,
    Purpose.ENTRY: 1.0,
    Purpose.EXIT: 0.0,
    Purpose.CANCEL: 0.0,
}
"""How much must stay unused after the request, in reserves."""
_PATIENCE_S = {
    Purpose.POLL: 5.0,
    Purpose.READ: 10.0,
    Purpose.ENTRY: 5.0,
    Purpose.EXIT: 30.0,
    Purpose.CANCEL: 30.0,
}
_TICK_S = 0.001
"""Added to every wait, so that rounding does not wake a waiter just too early."""


class _Window:
    def __init__(self, limit: int, length_s: float, reserve: float) -> None:
        self.limit = limit
        self.length_s = length_s
        self.reserve = int(limit * reserve)
        self._taken: deque[float] = deque()

    def left(self, now: float) -> int:
        while self._taken and now - self._taken[0] >= self.length_s:
            self._taken.popleft()
        return self.limit - len(self._taken)

    def wait_s(self, purpose: Purpose, now: float) -> float:
        """For how long at least there is no room for a request of that purpose."""
        kept = int(self.reserve * _KEPT_FREE[purpose])
        missing = kept + 1 - self.left(now)
        if missing <= 0:
            return 0.0
        if missing > len(self._taken):
            return self.length_s
        return self._taken[missing - 1] + self.length_s - now + _TICK_S

    def take(self, now: float) -> None:
        self._taken.append(now)


@dataclass(order=True, slots=True)
class _Waiter:
    rank: int
    number: int
    purpose: Purpose = field(compare=False)
    served: Event = field(compare=False, default_factory=Event)


class Budget:
    """Rolling windows: ``limit`` requests in ``window_s`` and, where it is given, ``per_minute``.
    ``reserve`` is the part of each that only exits and cancels may use."""

    def __init__(
        self,
        limit: int = HOURLY_LIMIT,
        window_s: int = HOUR_S,
        per_minute: int | None = None,
        reserve: float = 0.2,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._main = _Window(limit, window_s, reserve)
        self._windows = [self._main]
        if per_minute is not None:
            self._windows.append(_Window(per_minute, MINUTE_S, reserve))
        self._now = now
        self._waiting: list[_Waiter] = []
        self._numbers = count()

    def take(self, purpose: Purpose) -> None:
        """Count one request, waiting for room where the wait is short.

        Raises:
            BrokerRateLimited: there will be no room soon enough; nothing was counted or sent.
        """
        waiter = _Waiter(-purpose, next(self._numbers), purpose)
        insort(self._waiting, waiter)
        try:
            self._serve()
            self._await(waiter)
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def state(self) -> BudgetState:
        """``wait_s`` is an entry's; a poll waits sooner."""
        return BudgetState(
            limit=self._main.limit,
            window_s=int(self._main.length_s),
            left=self._main.left(self._now()),
            reserve=self._main.reserve,
            wait_s=self._wait_s(Purpose.ENTRY),
        )

    def _await(self, waiter: _Waiter) -> None:
        deadline = self._now() + _PATIENCE_S[waiter.purpose]
        while not waiter.served.is_set():
            wait_s = self._wait_s(waiter.purpose)
            if self._now() + wait_s > deadline:
                raise BrokerRateLimited(
                    "The log-in's request budget is used up; nothing was sent",
                    retry_after_s=wait_s,
                )
            waiter.served.wait(wait_s or _TICK_S)
            self._serve()

    def _serve(self) -> None:
        """Let everybody go for whom there is room, the most urgent first."""
        while self._waiting and not self._wait_s(self._waiting[0].purpose):
            waiter = self._waiting.pop(0)
            for window in self._windows:
                window.take(self._now())
            waiter.served.set()

    def _wait_s(self, purpose: Purpose) -> float:
        return max(window.wait_s(purpose, self._now()) for window in self._windows)
