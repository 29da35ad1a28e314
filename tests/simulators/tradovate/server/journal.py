"""What was asked of the simulator, for tests and benchmarks to look at. Without secrets."""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import Any

from tests.simulators.tradovate.server.calls import ORDER_CALLS, Call

_SECRET = frozenset(
    {
        "password",
        "sec",
        "client_secret",
        "code",
        "code_verifier",
        "refresh_token",
        "accesstoken",
        "access_token",
        "assertion",
    }
)
_KEPT = 200_000


class Journal:
    def __init__(self) -> None:
        self._entries: deque[dict[str, Any]] = deque(maxlen=_KEPT)

    def open(self, call: Call) -> dict[str, Any]:
        """Note an arrival; the caller adds the status."""
        entry: dict[str, Any] = {
            "time": call.arrived,
            "world": call.world.name,
            "door": call.door,
            "path": call.path,
            "user": call.session.person.name if call.session else call.fields.get("name"),
            "status": None,
            "query": dict(call.query),
            "body": _without_secrets(call.body),
            "ticket": call.ticket is not None,
            "fault": None,
        }
        self._entries.append(entry)
        return entry

    def entries(self, path: str | None = None, user: str | None = None) -> list[dict[str, Any]]:
        return [
            entry
            for entry in self._entries
            if path in (None, entry["path"]) and user in (None, entry["user"])
        ]

    def counts(self) -> dict[str, dict[str, int]]:
        """Requests per user: in the last minute and hour, and ever."""
        now = time.time()
        result: dict[str, Counter[str]] = {}
        for entry in self._entries:
            of_user = result.setdefault(entry["user"] or "", Counter(minute=0, hour=0, all=0))
            of_user["all"] += 1
            of_user["minute"] += entry["time"] > now - 60
            of_user["hour"] += entry["time"] > now - 3600
        return {user: dict(counts) for user, counts in result.items()}

    def first_bytes(self) -> list[dict[str, Any]]:
        """When each order request came in (Unix time), in order of arrival."""
        return [
            {
                "time": entry["time"],
                "path": entry["path"],
                "user": entry["user"],
                "door": entry["door"],
                "clOrdId": (entry["body"] or {}).get("clOrdId"),
            }
            for entry in self._entries
            if entry["path"] in ORDER_CALLS
        ]

    def clear(self) -> None:
        self._entries.clear()


def _without_secrets(body: Any) -> Any:
    if not isinstance(body, dict):
        return body
    return {key: value for key, value in body.items() if key.lower() not in _SECRET}
