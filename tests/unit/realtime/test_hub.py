"""What a connection is given, whatever comes first: commits, words, replays, broken lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import cycle
from typing import Any

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.events import Published
from app.realtime import hub as hubs
from app.realtime.hub import Credential, Hub

OWNER = 7
_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def event(seq: int, user_id: int = OWNER) -> Published:
    return Published(user_id, seq, "log", _AT, None, {"n": seq})


@dataclass
class Stored:
    """Committed events. Each read goes off and comes back after turns of other greenlets, with
    what was committed in between."""

    committed: list[Published] = field(default_factory=list)
    turns: Iterator[int] = field(default_factory=lambda: cycle([0]))
    pruned: int = 0

    def newest(self, user_id: int) -> int:
        return self.newest_of([user_id]).get(user_id, 0)

    def newest_of(self, user_ids: list[int]) -> dict[int, int]:
        self._travel()
        newest = {e.user_id: e.seq for e in self.committed if e.user_id in user_ids}
        self._travel()
        return newest

    def after(self, user_id: int, seq: int, limit: int) -> list[Published]:
        self._travel()
        rows = [e for e in self.committed if e.user_id == user_id and e.seq > max(seq, self.pruned)]
        self._travel()
        return rows[:limit]

    def commit(self, count: int) -> list[Published]:
        first = len(self.committed) + 1
        batch = [event(seq) for seq in range(first, first + count)]
        self.committed += batch
        return batch

    def _travel(self) -> None:
        for _ in range(next(self.turns)):
            gevent.sleep(0)


@dataclass
class Line:
    """One connection as the client has it."""

    sid: str
    raw: list[int] = field(default_factory=list)
    resumed: list[int] = field(default_factory=list)
    closed: bool = False

    def jumps(self, greeted: int) -> list[int]:
        """Where its numbers did not go on from the one before."""
        before = [greeted, *self.raw]
        return [seq - 1 for last, seq in zip(before, self.raw, strict=False) if seq != last + 1]


@dataclass
class Browser:
    """Drops what it knows, holds what came early, and asks for the rest on each connection."""

    hub: Hub
    lines: list[Line] = field(default_factory=list)
    greeted: dict[str, int] = field(default_factory=dict)
    seen: list[int] = field(default_factory=list)
    early: set[int] = field(default_factory=set)
    last: int = 0
    resyncs: int = 0
    work: list[gevent.Greenlet] = field(default_factory=list)

    def emit(self, sid: str, name: str, body: Any) -> None:
        if name == "connected":
            self.greeted[sid] = body["last_seq"]
        assert not self.lines[-1].closed
        assert self.lines[-1].sid == sid
        if name == "resync":
            self.resyncs += 1
            self.last = max(self.last, body["last_seq"])
            self.early = {seq for seq in self.early if seq > self.last}
        elif name != "connected":
            self.lines[-1].raw.append(body["seq"])
            if body["seq"] > self.last:
                self.early.add(body["seq"])
        while self.last + 1 in self.early:
            self.last += 1
            self.early.discard(self.last)
            self.seen.append(self.last)

    def connect(self) -> None:
        self.disconnect()
        self.lines.append(Line(f"line{len(self.lines)}"))
        self.work.append(gevent.spawn(self._connect, self.lines[-1]))

    def disconnect(self) -> None:
        if self.lines:
            self.lines[-1].closed = True
            self.hub.remove(self.lines[-1].sid)

    def resume(self) -> None:
        if self.lines and self.lines[-1].sid in self.greeted:
            self.work.append(gevent.spawn(self._resume, self.lines[-1]))

    def settle(self) -> None:
        gevent.joinall(self.work, raise_error=True)
        self.work.clear()
        for _ in range(20):
            gevent.sleep(0)

    def _connect(self, line: Line) -> None:
        if not line.closed:
            self.hub.add(line.sid, Credential(OWNER, "session", 1))

    def _resume(self, line: Line) -> None:
        if not line.closed:
            line.resumed.append(self.last)
            self.hub.resume(line.sid, self.last)


STEP = st.sampled_from(
    [
        *("connect", "disconnect", "resume", "turn", "turn", "turns"),
        *("publish", "lose", "word", "look", "event", "event", 1, 3),
    ]
)
STEPS = st.lists(STEP, min_size=25, max_size=60)
TURNS = st.lists(st.integers(0, 3), min_size=1, max_size=6)


def play(steps: list[str | int], turns: list[int]) -> tuple[Stored, Browser]:
    """A number commits so many events; they reach the hub with a ``publish``, or never."""
    stored = Stored(turns=cycle(turns))
    hub = Hub(stored, lambda sid, name, body: browser.emit(sid, name, body))
    browser = Browser(hub)
    unpublished: list[list[Published]] = []
    for step in steps:
        if isinstance(step, int):
            unpublished.append(stored.commit(step))
        elif step == "event":
            hub.publish(stored.commit(1))
        elif step == "publish" and unpublished:
            hub.publish(unpublished.pop(0))
        elif step == "lose" and unpublished:
            unpublished.pop(0)
        elif step == "word":
            hub.wake(OWNER, len(stored.committed))
        elif step == "look":
            browser.work.append(gevent.spawn(hub.wake_all))
        elif step in ("turn", "turns"):
            for _ in range(1 if step == "turn" else 8):
                gevent.sleep(0)
        elif step in ("connect", "disconnect", "resume"):
            getattr(browser, step)()
    if not browser.lines or browser.lines[-1].closed:
        browser.connect()
    browser.settle()
    hub.wake_all()
    browser.settle()
    assert [client.cursor for client in hub.clients] == [len(stored.committed)]
    browser.resume()
    browser.settle()
    return stored, browser


@settings(max_examples=300, deadline=None)
@given(STEPS, TURNS)
def test_sequence_and_resume_give_every_event_once_and_in_order(
    steps: list[str | int], turns: list[int]
) -> None:
    stored, browser = play(steps, turns)

    assert browser.seen == list(range(1, len(stored.committed) + 1))
    assert browser.resyncs == 0
    for line in browser.lines:
        # A connection's numbers go back only where it asked for that, and once for each time.
        asked = list(line.resumed)
        for start in line.jumps(browser.greeted.get(line.sid, 0)):
            assert start in asked
            asked.remove(start)


@settings(deadline=None)
@given(STEPS, TURNS)
def test_client_that_is_told_to_resync_sees_nothing_twice(
    steps: list[str | int], turns: list[int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hubs, "MOST_REPLAYED", 3)
        patch.setattr(hubs, "_PAGE", 2)

        stored, browser = play(steps, turns)

    assert browser.last == len(stored.committed)
    assert browser.seen == sorted(set(browser.seen))


def test_more_than_a_thousand_missed_is_not_replayed() -> None:
    stored = Stored()
    sent: list[tuple[str, Any]] = []
    hub = Hub(stored, lambda _sid, name, body: sent.append((name, body)))
    stored.commit(1001)
    hub.add("line", Credential(OWNER, "session", 1))
    sent.clear()

    far = hub.resume("line", 0)
    near = hub.resume("line", 1)

    assert (far, near) == (1001, 1001)
    assert sent[0] == ("resync", {"last_seq": 1001})
    assert [body["seq"] for _, body in sent[1:]] == list(range(2, 1002))


@pytest.mark.parametrize("last_seq", [-1, 4, 10**9])
def test_number_that_does_not_exist_is_answered_with_resync(last_seq: int) -> None:
    stored = Stored()
    sent: list[tuple[str, Any]] = []
    hub = Hub(stored, lambda _sid, name, body: sent.append((name, body)))
    stored.commit(3)
    hub.add("line", Credential(OWNER, "session", 1))
    sent.clear()

    hub.resume("line", last_seq)
    hub.publish(stored.commit(1))

    assert [name for name, _ in sent] == ["resync", "log"]
    assert sent[1][1]["seq"] == 4


def test_deleted_past_is_answered_with_resync() -> None:
    stored = Stored(pruned=2)
    sent: list[tuple[str, Any]] = []
    hub = Hub(stored, lambda _sid, name, body: sent.append((name, body)))
    stored.commit(3)
    hub.add("line", Credential(OWNER, "session", 1))
    sent.clear()

    hub.resume("line", 1)

    assert sent == [("resync", {"last_seq": 3})]


def test_word_of_what_is_not_there_changes_nothing() -> None:
    stored = Stored()
    sent: list[str] = []
    hub = Hub(stored, lambda _sid, name, _body: sent.append(name))
    hub.add("line", Credential(OWNER, "session", 1))

    for newest in (3, 5000):
        hub.wake(OWNER, newest)
        gevent.sleep(0)
    hub.publish(stored.commit(1))

    assert sent == ["connected", "log"]


def test_nobody_else_is_given_an_event() -> None:
    sent: list[str] = []
    hub = Hub(Stored(), lambda sid, _name, _body: sent.append(sid))
    hub.add("mine", Credential(OWNER, "session", 1))
    hub.add("other", Credential(8, "session", 2))
    sent.clear()

    hub.publish([event(1)])
    hub.send(OWNER, "marks", {})

    assert sent == ["mine", "mine"]


def test_database_that_fails_leaves_the_hole_to_the_next_event() -> None:
    class Failing(Stored):
        def after(self, user_id: int, seq: int, limit: int) -> list[Published]:
            if self.pruned < 0:
                self.pruned += 1
                raise OSError("gone")
            return super().after(user_id, seq, limit)

    stored = Failing(pruned=-1)
    sent: list[Any] = []
    hub = Hub(stored, lambda _sid, _name, body: sent.append(body))
    hub.add("line", Credential(OWNER, "session", 1))
    sent.clear()
    first = stored.commit(2)

    hub.publish(first[1:])
    gevent.sleep(0)
    assert sent == []
    hub.publish(stored.commit(1))
    gevent.sleep(0)

    assert [body["seq"] for body in sent] == [1, 2, 3]
