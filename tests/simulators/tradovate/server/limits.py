"""How often somebody may call, and what happens above it."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict, deque
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

HOUR_S = 3600
_CAPTCHA_TIME_S = HOUR_S


@dataclass
class Window:
    """Calls of the last ``seconds``."""

    seconds: float
    _times: deque[float] = field(default_factory=deque)

    def add(self, at: float) -> None:
        self._times.append(at)

    def count(self, at: float) -> int:
        while self._times and self._times[0] <= at - self.seconds:
            self._times.popleft()
        return len(self._times)


@dataclass
class Budget:
    """The calls of one user. Above the limit the user is locked out, and each call prolongs it."""

    limit: int
    window_s: float
    lock_s: float
    locked_until: float = 0

    def __post_init__(self) -> None:
        self._calls = Window(self.window_s)

    def take(self, at: float) -> bool:
        """Count one call; false if it has to be refused."""
        if at < self.locked_until or self._calls.count(at) >= self.limit:
            self.locked_until = at + self.lock_s
            return False
        self._calls.add(at)
        return True

    def used(self, at: float) -> int:
        return self._calls.count(at)


class EndpointLimits:
    """Calls, or failed calls, per endpoint and /24 subnet in an hour."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, str], Window] = defaultdict(lambda: Window(HOUR_S))

    def add(self, path: str, ip: str, at: float) -> None:
        self._windows[path, subnet(ip)].add(at)

    def count(self, path: str, ip: str, at: float) -> int:
        return self._windows[path, subnet(ip)].count(at)

    def forget(self, path: str | None = None) -> None:
        for key in [key for key in self._windows if path in (None, key[0])]:
            del self._windows[key]


def subnet(ip: str) -> str:
    return ip.rpartition(".")[0] or ip


@dataclass
class _Ticket:
    request: str
    not_before: float
    seconds: float
    captcha: bool


class Penalties:
    """Tickets: "wait, then send the identical request again, with this"."""

    def __init__(self) -> None:
        self._open: dict[str, _Ticket] = {}

    def issue(
        self, path: str, body: Any, *, at: float, seconds: float, captcha: bool
    ) -> dict[str, Any]:
        """The answer that carries a new ticket for this request."""
        name = token_hex(16)
        wait_s = _CAPTCHA_TIME_S if captcha and not seconds else seconds
        self._open[name] = _Ticket(_fingerprint(path, body), at + wait_s, wait_s, captcha)
        answer: dict[str, Any] = {"p-ticket": name, "p-time": wait_s}
        if captcha:
            answer["p-captcha"] = True
        return answer

    def redeem(self, name: str, path: str, body: Any, at: float) -> bool:
        """Whether the ticket lets this request pass; it does so once."""
        ticket = self._open.get(name)
        if ticket is None or ticket.captcha or at < ticket.not_before:
            return False
        if ticket.request != _fingerprint(path, body):
            return False
        del self._open[name]
        return True

    def seconds_of(self, name: str) -> float | None:
        ticket = self._open.get(name)
        return None if ticket is None else ticket.seconds

    def is_captcha(self, name: str) -> bool:
        ticket = self._open.get(name)
        return ticket is not None and ticket.captcha


def _fingerprint(path: str, body: Any) -> str:
    text = json.dumps([path, body], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
