"""The connections as Socket.IO manages them, with word of each acceptance."""

from __future__ import annotations

from collections.abc import Callable

import socketio

from app.realtime.hub import Credential


class Clients(socketio.Manager):  # type: ignore[misc]
    """Calls ``accepted`` as soon as the answer to a handshake is queued, so that the first event
    follows the answer and cannot overtake it."""

    def __init__(self) -> None:
        super().__init__()
        self.accepted: Callable[[str, Credential], None] = lambda _sid, _credential: None
        self._expected: dict[str, Credential] = {}

    def expect(self, sid: str, credential: Credential) -> None:
        self._expected[sid] = credential

    def forget(self, sid: str) -> None:
        self._expected.pop(sid, None)

    def connect(self, sid: str, namespace: str) -> str:
        sid = super().connect(sid, namespace)
        credential = self._expected.pop(sid, None)
        if credential is not None:
            self.accepted(sid, credential)
        return sid
