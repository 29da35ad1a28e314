"""Looks around every few seconds: whose right has ended, and what no word reached us of."""

from __future__ import annotations

import logging
from collections.abc import Callable

import gevent
from gevent.event import Event as Signal

from app import events
from app.realtime.hub import Hub
from app.services.live_access import LiveAccess

log = logging.getLogger(__name__)

LOOK_EVERY_S = 10.0
ENDED = "session:ended"
"""The event of a session or key that was ended; the look-around then happens at once."""


class Guard:
    def __init__(self, hub: Hub, access: LiveAccess, disconnect: Callable[[str], None]) -> None:
        self._hub = hub
        self._access = access
        self._disconnect = disconnect
        self._look_now = Signal()
        self._greenlet: gevent.Greenlet | None = None

    def publish(self, batch: list[events.Published]) -> None:
        if any(event.type == ENDED for event in batch):
            self._look_now.set()

    def start(self) -> None:
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill()
            self._greenlet = None

    def look(self) -> None:
        """Disconnect who lost the right to be here, then look for unheard events."""
        clients = self._hub.clients
        if not clients:
            return
        in_force = {
            "session": self._access.sessions_in_force(self._ids("session")),
            "api_key": self._access.api_keys_in_force(self._ids("api_key")),
        }
        for client in clients:
            if client.credential.id not in in_force[client.credential.kind]:
                log.info("connection ended", extra={"user_id": client.user_id})
                self._disconnect(client.sid)
        self._hub.wake_all()

    def _ids(self, kind: str) -> set[int]:
        credentials = (client.credential for client in self._hub.clients)
        return {credential.id for credential in credentials if credential.kind == kind}

    def _run(self) -> None:
        while True:
            self._look_now.wait(timeout=LOOK_EVERY_S)
            self._look_now.clear()
            try:
                self.look()
            except Exception:  # the loop's edge
                log.exception("could not look after connections")
