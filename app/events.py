"""Facts: recorded in the transaction that makes them true, published after its commit.

Numbers are per user, without gaps, in the order of commits. Delivery is at least once and, per
user, in order; a client drops what it has seen by its number and asks for what it missed.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import gevent
from gevent.event import Event as Signal
from sqlalchemy import Connection, bindparam, insert, select, update

from app import clock, faults
from app.models import plain
from app.models.base import table
from app.models.bulk import BulkInsert
from app.models.events import Event, EventSeq

log = logging.getLogger(__name__)

_RAISE = "UPDATE event_seqs SET seq = seq + %d WHERE user_id = %d RETURNING seq"
_EVENTS = BulkInsert(table(Event), ("user_id", "seq", "type", "at", "request_id", "data"))
_UNPUBLISHED = select(Event).where(Event.published_at.is_(None)).order_by(Event.id)
_MARK_INTERVAL_S = 0.2


@dataclass(frozen=True, slots=True)
class Pending:
    """A fact whose number comes with the commit."""

    user_id: int
    type: str
    data: dict[str, Any]
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Published:
    """A durable fact. ``data`` is ready for JSON: no decimals, no datetimes."""

    user_id: int
    seq: int
    type: str
    at: datetime
    request_id: str | None
    data: dict[str, Any]

    def envelope(self) -> dict[str, Any]:
        """What a client gets, live and on ``resume`` alike."""
        return {
            "seq": self.seq,
            "type": self.type,
            "at": timestamp(self.at),
            "request_id": self.request_id,
            "data": self.data,
        }


Subscriber = Callable[[list[Published]], None]


def timestamp(value: datetime) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"


def seal(conn: Connection, pending: list[Pending]) -> list[Published]:
    """Number and store facts: the last statements of a transaction, for the sequence's row is
    locked from here to the commit, which makes numbers visible in their order."""
    at = clock.now()
    numbers = {}
    for user_id, count in sorted(Counter(p.user_id for p in pending).items()):
        raised = plain.execute(conn, _RAISE % (count, user_id), ()).fetchone()
        last = raised[0] if raised else None
        if last is None:
            conn.execute(insert(EventSeq).values(user_id=user_id, seq=count))
            last = count
        numbers[user_id] = last - count
    sealed = []
    for p in pending:
        numbers[p.user_id] += 1
        sealed.append(Published(p.user_id, numbers[p.user_id], p.type, at, p.request_id, p.data))
    _EVENTS.execute(
        conn,
        [
            {
                "user_id": e.user_id,
                "seq": e.seq,
                "type": e.type,
                "at": e.at,
                "request_id": e.request_id,
                "data": e.data,
            }
            for e in sealed
        ],
    )
    return sealed


class Dispatcher:
    """Hands committed facts to subscribers and notes that it did.

    A crash between the two hands them out again after the restart.
    """

    def __init__(self) -> None:
        self._subscribers: list[Subscriber] = []
        self._queue: deque[list[Published]] = deque()
        self._handed: list[Published] = []
        self._wake = Signal()
        self._greenlet: gevent.Greenlet | None = None
        self._mark: Callable[[list[Published], datetime], None] = lambda _events, _at: None

    @property
    def lag(self) -> int:
        """How many batches wait to be handed out."""
        return len(self._queue)

    def reset(self) -> None:
        """Forget the subscribers and the events of an earlier app in this process."""
        if self._greenlet is not None:
            self._greenlet.kill()
            self._greenlet = None
        self._subscribers.clear()
        self._queue.clear()
        self._handed.clear()

    def subscribe(self, subscriber: Subscriber) -> None:
        """One that fails is logged and hurts nobody."""
        self._subscribers.append(subscriber)

    def push(self, events: list[Published]) -> None:
        if events:
            self._queue.append(events)
            self._wake.set()

    def start(self, unpublished: list[Published], mark: Callable[..., None]) -> None:
        """Hand out what a crash left behind, then what comes. ``mark(events, at)`` stores that
        they were published."""
        self._mark = mark
        if unpublished:
            self._queue.appendleft(unpublished)
            self._wake.set()
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        if self._greenlet is not None:
            self._deliver()
            self._greenlet.kill()
            self._greenlet = None
        self._note()

    def _run(self) -> None:
        while True:
            self._wake.wait(timeout=_MARK_INTERVAL_S if self._handed else None)
            if self._wake.is_set():
                self._deliver()
            else:
                self._note()

    def _deliver(self) -> None:
        self._wake.clear()
        while self._queue:
            batch = self._queue.popleft()
            faults.point("dispatch")
            for subscriber in self._subscribers:
                try:
                    subscriber(batch)
                except Exception:  # the loop's edge: the next subscriber gets its events
                    log.exception("event subscriber failed", extra={"events": len(batch)})
            self._handed += batch
            faults.point("dispatched")
            if len(self._handed) >= 500:
                self._note()

    def _note(self) -> None:
        if not self._handed:
            return
        handed, self._handed = self._handed, []
        try:
            self._mark(handed, clock.now())
        except Exception:  # the loop's edge: they are handed out again after a restart
            log.exception("could not mark events as published", extra={"events": len(handed)})


_MARK = (
    update(Event)
    .where(
        Event.user_id == bindparam("of_user"),
        Event.seq.between(bindparam("first"), bindparam("last")),
    )
    .values(published_at=bindparam("when"))
    .execution_options(synchronize_session=False)
)


def mark_published(conn: Connection, events: list[Published], at: datetime) -> None:
    """Note that these were handed out: one statement per run of numbers of a user."""
    for user_id, first, last in _runs(events):
        conn.execute(_MARK, {"of_user": user_id, "first": first, "last": last, "when": at})


def _runs(events: list[Published]) -> list[tuple[int, int, int]]:
    """(user, first, last) of the unbroken runs of numbers in ``events``."""
    runs: list[tuple[int, int, int]] = []
    for user_id, seq in sorted({(e.user_id, e.seq) for e in events}):
        if runs and runs[-1][0] == user_id and runs[-1][2] == seq - 1:
            runs[-1] = (user_id, runs[-1][1], seq)
        else:
            runs.append((user_id, seq, seq))
    return runs


def unpublished(conn: Connection) -> list[Published]:
    return [published(row) for row in conn.execute(_UNPUBLISHED)]


def published(row: Any) -> Published:
    return Published(row.user_id, row.seq, row.type, row.at, row.request_id, row.data)
