"""Who is connected to this process, and what each connection has been sent.

Every connection has a cursor: the number of the last durable event it was given. Whatever comes
(an event just committed, word from another process, a ``resume``), a connection is only ever
given the event after its cursor: one it had is dropped, and a hole is filled from the database
before anything newer goes out. So on one connection nothing is lost, doubled or out of order,
and what reaches the hub late, twice or never costs a query at most.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import gevent
from gevent.event import Event as Signal

from app import clock, events
from app.domain.errors import Unauthorized

log = logging.getLogger(__name__)

MOST_REPLAYED = 1000
"""A client that missed more is told to load its page anew."""
_PAGE = 250


class Stream(Protocol):
    """The stored events; both calls may yield."""

    def newest(self, user_id: int) -> int: ...
    def newest_of(self, user_ids: list[int]) -> dict[int, int]: ...
    def after(self, user_id: int, seq: int, limit: int) -> list[events.Published]: ...


Emit = Callable[[str, str, Any], None]
"""Sends (connection id, event name, JSON-ready data); it queues and never yields."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What a connection was let in with: a ``session`` or an ``api_key``, by its row's id."""

    user_id: int
    kind: str
    id: int


@dataclass(slots=True, eq=False)
class Client:
    """One connection. ``cursor``: last number sent; ``wanted``: newest number known to exist."""

    sid: str
    credential: Credential
    cursor: int = 0
    wanted: int = 0
    gone: bool = False
    idle: Signal = field(default_factory=Signal)
    """Clear while a greenlet reads from the database for it; live events then wait there."""

    @property
    def user_id(self) -> int:
        return self.credential.user_id


class Hub:
    def __init__(self, stream: Stream, emit: Emit) -> None:
        self._stream = stream
        self._emit = emit
        self._clients: dict[str, Client] = {}
        self._of_user: dict[int, dict[str, Client]] = defaultdict(dict)

    @property
    def clients(self) -> list[Client]:
        return list(self._clients.values())

    def client(self, sid: str) -> Client:
        """
        Raises:
            Unauthorized: the connection was not accepted, or is gone.
        """
        client = self._clients.get(sid)
        if client is None:
            raise Unauthorized("This connection has ended.")
        return client

    def user_ids(self) -> list[int]:
        """The users with at least one connection here."""
        return list(self._of_user)

    def add(self, sid: str, credential: Credential) -> Client:
        """Take an accepted connection in; its stream begins with the next event."""
        client = Client(sid, credential)
        self._clients[sid] = client
        self._of_user[client.user_id][sid] = client
        try:
            client.cursor = self._stream.newest(client.user_id)
        except BaseException:
            self.remove(sid)
            raise
        greeting = {
            "user_id": client.user_id,
            "last_seq": client.cursor,
            "server_time": events.timestamp(clock.now()),
        }
        self._send(client, "connected", greeting)
        self._catch_up(client)
        return client

    def remove(self, sid: str) -> None:
        client = self._clients.pop(sid, None)
        if client is None:
            return
        client.gone = True
        of_user = self._of_user[client.user_id]
        of_user.pop(sid, None)
        if not of_user:
            del self._of_user[client.user_id]

    def publish(self, batch: list[events.Published]) -> None:
        """Hand out what was committed in this process."""
        for event in batch:
            for client in self._connections(event.user_id):
                self._offer(client, event)

    def wake(self, user_id: int, newest: int) -> None:
        """The user's events up to ``newest`` are committed, wherever that happened."""
        for client in self._connections(user_id):
            client.wanted = max(client.wanted, newest)
            if client.idle.is_set() and client.cursor < client.wanted:
                client.idle.clear()
                gevent.spawn(self._catch_up_alone, client)

    def wake_all(self) -> None:
        """Look for events that no word reached us of."""
        user_ids = self.user_ids()
        if user_ids:
            for user_id, newest in self._stream.newest_of(user_ids).items():
                self.wake(user_id, newest)

    def resume(self, sid: str, last_seq: int | None) -> int:
        """Send again what follows ``last_seq``, go on from there; returns the last number sent.

        None for ``last_seq`` sends nothing again. Who missed too much, or names a number that
        does not exist (yet), gets ``resync`` instead.

        Raises:
            Unauthorized: the connection was not accepted, or is gone.
        """
        client = self.client(sid)
        if last_seq is None:
            return client.cursor
        while not client.idle.is_set():
            client.idle.wait()
        client.idle.clear()
        try:
            newest = self._stream.newest(client.user_id)
            client.wanted = max(client.wanted, newest)
            if 0 <= last_seq <= newest:
                client.cursor = last_seq
            else:
                self._resync(client, newest)
        finally:
            self._catch_up(client)
        return client.cursor

    def send(self, user_id: int, event: str, data: Any) -> None:
        """Send something without a number to every connection of a user."""
        for client in self._connections(user_id):
            self._send(client, event, data)

    def _connections(self, user_id: int) -> tuple[Client, ...]:
        # ``get``: a look-up must not make an entry in the defaultdict.
        return tuple(self._of_user.get(user_id, {}).values())

    def _offer(self, client: Client, event: events.Published) -> None:
        client.wanted = max(client.wanted, event.seq)
        if not client.idle.is_set():
            return
        if event.seq == client.cursor + 1:
            self._give(client, event)
        elif event.seq > client.cursor:
            self.wake(client.user_id, event.seq)

    def _catch_up_alone(self, client: Client) -> None:
        try:
            self._catch_up(client)
        except Exception:  # the greenlet's edge: the next event or look-around tries again
            log.exception("could not replay events", extra={"user_id": client.user_id})

    def _catch_up(self, client: Client) -> None:
        """Bring a connection whose ``idle`` the caller has cleared up to ``wanted``."""
        try:
            while client.cursor < client.wanted and not client.gone:
                self._replay(client)
        finally:
            client.idle.set()

    def _replay(self, client: Client) -> None:
        since = client.cursor
        if client.wanted - since <= MOST_REPLAYED:
            missed = self._stream.after(client.user_id, since, _PAGE)
            if missed and missed[0].seq == since + 1:
                for event in missed:
                    self._give(client, event)
                return
        self._start_anew(client)

    def _start_anew(self, client: Client) -> None:
        """For one who was away too long or slept through the deletion of old events. Only the
        database says how far the events go: a word from elsewhere may be wrong."""
        told = client.wanted
        newest = self._stream.newest(client.user_id)
        if client.wanted == told:
            client.wanted = newest
        if newest > client.cursor:
            self._resync(client, newest)

    def _resync(self, client: Client, seq: int) -> None:
        client.cursor = seq
        self._send(client, "resync", {"last_seq": seq})

    def _give(self, client: Client, event: events.Published) -> None:
        client.cursor = event.seq
        client.wanted = max(client.wanted, event.seq)
        self._send(client, event.type, event.envelope())

    def _send(self, client: Client, event: str, data: Any) -> None:
        if not client.gone:
            self._emit(client.sid, event, data)
