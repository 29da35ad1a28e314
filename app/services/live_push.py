"""Values in motion, for who looks at an account now: sent without a number, the newest wins."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import gevent

log = logging.getLogger(__name__)

GAP_S = 0.2
"""Between two messages about one account: five a second at most."""

Send = Callable[[str, str, Any], None]
"""Sends (room, event, data) to whoever is in the room."""


class Pusher:
    """Holds what is to be said of each account until it may be said. Of several words about one
    thing (``key``) in that time only the last is said."""

    def __init__(self) -> None:
        self._send: Send = lambda _room, _event, _data: None
        self._waiting: dict[int, dict[tuple[str, str], dict[str, Any]]] = {}
        self._talking: dict[int, gevent.Greenlet] = {}

    def clear(self) -> None:
        """Forget what waits: a new app begins."""
        gevent.killall(list(self._talking.values()))
        self._talking.clear()
        self._waiting.clear()

    def send_with(self, send: Send) -> None:
        self._send = send

    def offer(self, account_id: int, event: str, key: str, data: dict[str, Any]) -> None:
        """Never waits. ``data`` is ready for JSON."""
        waiting = self._waiting.get(account_id)
        if waiting is not None:
            waiting[event, key] = data
            return
        self._waiting[account_id] = {(event, key): data}
        self._talking[account_id] = gevent.spawn(self._say, account_id)

    def _say(self, account_id: int) -> None:
        """Send what waits, one message after the other, until none came in the last gap."""
        while self._waiting[account_id]:
            event, data = _next(self._waiting[account_id])
            self._send_safely(account_id, event, {"account_id": account_id, **data})
            gevent.sleep(GAP_S)
        del self._waiting[account_id], self._talking[account_id]

    def _send_safely(self, account_id: int, event: str, data: Any) -> None:
        try:
            self._send(f"account:{account_id}", event, data)
        except Exception:  # the loop's edge: the next value is newer anyway
            log.exception("could not push", extra={"account_id": account_id, "event": event})


_LISTED = {"account:positions": "positions"}
"""Events whose words about several things go out as one message, in a list of this name."""


def _next(waiting: dict[tuple[str, str], dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """Take the message out that waits longest."""
    event, key = next(iter(waiting))
    if event not in _LISTED:
        return event, waiting.pop((event, key))
    keys = [other for other in waiting if other[0] == event]
    return event, {_LISTED[event]: [waiting.pop(other) for other in keys]}


pusher = Pusher()
