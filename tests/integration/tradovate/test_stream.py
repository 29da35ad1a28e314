"""The user stream over real sockets: against servers that misbehave byte by byte, and against the
simulator."""

from __future__ import annotations

import gc
import logging
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, Literal

import gevent
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app import clock
from app.brokers.logins import LoginRef, StreamState, StreamStatus
from app.brokers.tradovate import stream as stream_module
from app.brokers.tradovate.frames import ENTITY_TYPES, Change
from app.brokers.tradovate.stream import Limits, UserStream, pause_s
from app.domain.errors import BrokerError, BrokerRateLimited, BrokerRefused, BrokerUnavailable
from tests.integration.tradovate.scripted import (
    Gone,
    Peer,
    Script,
    Server,
    frame_of,
    header,
    props,
    serving,
    text_frame,
)
from tests.simulators.tradovate.control import Simulator, running

PATIENCE_S = 3.0
LIVE, DEGRADED = StreamStatus.LIVE, StreamStatus.DEGRADED
STOPPED, DISCONNECTED = StreamStatus.STOPPED, StreamStatus.DISCONNECTED
CONNECTING, SYNCING = StreamStatus.CONNECTING, StreamStatus.SYNCING
AUTHENTICATING = StreamStatus.AUTHENTICATING
SHORT = Limits(
    connecting_s=0.3,
    authenticating_s=0.3,
    syncing_s=1.0,
    beat_s=0.05,
    soft_silence_s=20.0,
    hard_silence_s=40.0,
    parts_gap_s=0.05,
    first_pause_s=0.02,
    longest_pause_s=0.05,
    shortest_pause_s=0.01,
)
"""Seconds that a test can wait for; silence is for the tests that are about it."""
LOGIN = LoginRef(id=7, user_id=3, broker="tradovate", environment="demo")
SECRET = "very-secret-token-0123456789"


def wait_until(condition: Callable[[], object], what: str = "condition") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {what}"
        gevent.sleep(0.005)


@dataclass
class FakeSession:
    """Hands out ``<secret>-1`` until it is told to forget it, then ``<secret>-2``."""

    trouble: list[BrokerError] = field(default_factory=list)
    asked: int = 0
    forgotten: int = 0
    hangs: bool = False

    def token(self) -> str:
        self.asked += 1
        if self.hangs:
            gevent.sleep(60)
        if self.trouble:
            raise self.trouble.pop(0)
        return f"{SECRET}-{self.forgotten + 1}"

    def user_id(self) -> int:
        return 90

    def forget(self, token: str | None = None) -> None:
        self.forgotten += 1


class Desk:
    """A stream, and all that it has said."""

    def __init__(self, url: str, session: Any, limits: Limits = SHORT, **options: Any) -> None:
        self.accounts = [33]
        self.states: list[StreamState] = []
        self.batches: list[list[Change]] = []
        self.snapshots: list[list[Any]] = []
        self.log: list[str] = []
        self.on_change: Callable[[list[Change]], None] = lambda changes: None
        self.on_sync: Callable[[list[Any]], int | None] = lambda parts: None
        self.on_state: Callable[[StreamState], None] = lambda state: None
        self.session = session
        self.stream = UserStream(
            LOGIN,
            session,
            url,
            accounts=lambda: self.accounts,
            on_change=self._change,
            on_sync=self._sync,
            on_state=self._say,
            limits=limits,
            **options,
        )

    def _change(self, changes: list[Change]) -> None:
        self.batches.append(changes)
        self.log.append("change")
        self.on_change(changes)

    def _sync(self, parts: list[Any]) -> int | None:
        self.snapshots.append(parts)
        self.log.append("sync")
        return self.on_sync(parts)

    def _say(self, state: StreamState) -> None:
        self.states.append(state)
        self.log.append(str(state.status))
        self.on_state(state)

    @property
    def changes(self) -> list[Change]:
        return [change for batch in self.batches for change in batch]

    @property
    def ids(self) -> list[int]:
        return [entity["id"] for _, _, entity in self.changes]

    @property
    def statuses(self) -> list[StreamStatus]:
        return [state.status for state in self.states]

    @property
    def state(self) -> StreamState:
        return self.stream.state

    def reason(self, status: StreamStatus) -> str:
        """Why it came to that, the first time."""
        return next(state.reason or "" for state in self.states if state.status is status)

    def wait_for(self, status: StreamStatus, times: int = 1) -> None:
        wait_until(lambda: self.statuses.count(status) >= times, f"{status} {times} times")

    def wait_for_ids(self, *ids: int) -> None:
        wait_until(lambda: self.ids == list(ids), f"{ids}")


def greenlets() -> list[gevent.Greenlet]:
    """Those of the stream that still live."""
    found = [thing for thing in gc.get_objects() if isinstance(thing, gevent.Greenlet)]
    return [
        greenlet
        for greenlet in found
        if not greenlet.dead and "brokers.tradovate" in getattr(greenlet, "_run", "").__module__
    ]


@contextmanager
def streaming(
    *scripts: Script,
    session: FakeSession | None = None,
    limits: Limits = SHORT,
    tls: ssl.SSLContext | None = None,
    **options: Any,
) -> Iterator[tuple[Server, Desk]]:
    """A started stream and the server it talks to; at the end nothing of it is left."""
    with serving(*scripts, tls=tls) as server:
        desk = Desk(server.url, session or FakeSession(), limits, **options)
        server.wait_until_live = lambda: wait_until(lambda: desk.state.status is LIVE, "live")
        desk.stream.start()
        try:
            yield server, desk
        finally:
            began = time.monotonic()
            desk.stream.stop()
            assert time.monotonic() - began < 2.0
            assert desk.state.status is STOPPED
            assert not greenlets()


def live(peer: Peer) -> None:
    peer.live()


def silent(peer: Peer) -> None:
    peer.read_until_gone()


# The ordinary path.


def test_from_the_first_byte_to_live() -> None:
    with streaming(live) as (_, desk):
        desk.wait_for(LIVE)

        assert desk.log == [
            *(str(status) for status in (CONNECTING, AUTHENTICATING, SYNCING)),
            "sync",
            "live",
        ]
        assert desk.snapshots == [[{"orders": []}]]
        state = desk.state
        assert (state.epoch, state.reconnects, state.reason) == (1, 0, None)
        assert state.last_message_at is not None
        assert clock.now() - state.last_message_at < timedelta(seconds=PATIENCE_S)


def test_it_asks_for_its_accounts_once_and_then_beats() -> None:
    asked: list[Any] = []

    def script(peer: Peer) -> None:
        asked.append(peer.authorize())
        asked.append(peer.read_sync())
        peer.reply(1, d={})
        peer.read_until_gone()

    with streaming(script) as (server, desk):
        desk.wait_for(LIVE)
        wait_until(lambda: server.peers[0].heard.count("[]") > 2, "beats")

    token, body = asked
    assert token == f"{SECRET}-1"
    assert body == {
        "splitResponses": True,
        "accounts": [33],
        "entityTypes": list(ENTITY_TYPES),
    }
    assert len([text for text in server.peers[0].heard if text != "[]"]) == 2
    assert "sec-websocket-extensions" not in server.peers[0].headers
    assert "cookie" not in server.peers[0].headers


def test_without_accounts_it_asks_for_its_user() -> None:
    bodies: list[Any] = []

    with streaming(lambda peer: bodies.append(peer.live())) as (_, desk):
        desk.accounts = []
        desk.wait_for(LIVE)

    assert bodies == [{"users": [90]}]


def test_events_arrive_in_their_order_with_entities_alone_or_in_an_array() -> None:
    def script(peer: Peer) -> None:
        peer.until_live()
        peer.tell(props("order", {"id": 1}), props("fill", [{"id": 2}, {"id": 3}]))
        peer.tell(props("novelty", {"id": 4, "price": 1.5}, "Merged"))

    with streaming(script) as (_, desk):
        desk.wait_for_ids(1, 2, 3, 4)

        assert desk.changes[-1] == ("novelty", "Merged", {"id": 4, "price": Decimal("1.5")})


def test_what_comes_in_one_frame_is_one_call() -> None:
    def script(peer: Peer) -> None:
        peer.until_live()
        peer.tell(*(props("order", {"id": number}) for number in range(50)))

    with streaming(script) as (_, desk):
        desk.wait_for_ids(*range(50))

        assert len(desk.batches) == 1


def test_events_while_synchronising_are_delivered_after_the_snapshot_and_before_live() -> None:
    def script(peer: Peer) -> None:
        peer.authorize()
        peer.read_sync()
        peer.tell(props("order", {"id": 1}))
        peer.tell(props("order", {"id": 2}), {"i": 1, "s": 200, "d": {"orders": [{"id": 1}]}})
        peer.tell(props("order", {"id": 3}))

    with streaming(script) as (_, desk):
        desk.on_sync = lambda parts: gevent.sleep(0.05)
        desk.wait_for(LIVE)

        assert desk.log[-3:] == ["sync", "change", "live"]
        assert desk.ids == [1, 2, 3]


def test_a_snapshot_in_parts_is_one_snapshot_and_a_late_part_is_a_change() -> None:
    late = gevent.event.Event()

    def script(peer: Peer) -> None:
        peer.authorize()
        peer.read_sync()
        peer.reply(1, d={"accounts": [{"id": 33}]})
        peer.tell(props("order", {"id": 1}))
        peer.reply(1, d={"orders": [{"id": 1}]})
        late.wait()
        peer.reply(1, d={"fills": [{"id": 2}]})

    with streaming(script) as (_, desk):
        desk.wait_for(LIVE)
        late.set()
        desk.wait_for_ids(1, 2)

        assert desk.snapshots == [[{"accounts": [{"id": 33}]}, {"orders": [{"id": 1}]}]]
        assert desk.changes[-1] == ("fill", "Updated", {"id": 2})


def test_what_a_synchronisation_repaired_is_in_the_state() -> None:
    with streaming(live) as (_, desk):
        desk.on_sync = lambda parts: 3
        desk.wait_for(LIVE)

        assert desk.state.repaired == 3


def test_a_reconnect_synchronises_again_and_counts() -> None:
    def cut(peer: Peer) -> None:
        peer.until_live()
        peer.reset()

    with streaming(cut, live) as (_, desk):
        desk.wait_for(LIVE, times=2)

        assert (desk.state.epoch, desk.state.reconnects) == (2, 1)
        assert len(desk.snapshots) == 2
        assert desk.reason(DISCONNECTED) == "The connection to Tradovate was lost"


def test_resync_asks_for_the_accounts_that_there_are_now() -> None:
    bodies: list[Any] = []

    with streaming(lambda peer: bodies.append(peer.live())) as (_, desk):
        desk.wait_for(LIVE)
        desk.accounts = [33, 34]
        desk.stream.resync()
        desk.wait_for(LIVE, times=2)

        assert [body["accounts"] for body in bodies] == [[33], [33, 34]]


def test_a_process_that_starts_does_not_dial_at_once() -> None:
    with streaming(live, first_delay_s=30.0) as (server, desk):
        gevent.sleep(0.05)

        assert not server.peers
        assert desk.session.asked == 0


@pytest.mark.parametrize("status", [CONNECTING, AUTHENTICATING])
def test_accounts_that_change_before_they_were_named_need_no_reconnect(
    status: StreamStatus,
) -> None:
    bodies: list[Any] = []

    def change(state: StreamState) -> None:
        if state.status is status:
            desk.accounts = [33, 34]
            desk.stream.resync()

    with streaming(lambda peer: bodies.append(peer.live()), first_delay_s=0.01) as (_, desk):
        desk.on_state = change
        desk.wait_for(LIVE)

        assert [body["accounts"] for body in bodies] == [[33, 34]]
        assert desk.state.reconnects == 0


# Speed and size.


def test_a_burst_of_ten_thousand_events_is_complete_in_few_calls() -> None:
    count = 10_000

    def script(peer: Peer) -> None:
        peer.until_live()
        frames = (frame_of(props("fill", {"id": n, "qty": 1})) for n in range(count))
        peer.raw(b"".join(map(text_frame, frames)))

    with streaming(script) as (_, desk):
        desk.on_change = lambda changes: gevent.sleep(0.01)
        wait_until(lambda: len(desk.changes) == count, "all events")

        assert desk.ids == list(range(count))
        assert len(desk.batches) < 100


def test_what_nobody_takes_waits_at_the_broker_and_not_in_memory() -> None:
    released = gevent.event.Event()
    sent: list[int] = []

    def script(peer: Peer) -> None:
        peer.until_live()
        filler = "x" * 1000
        for number in range(20_000):
            peer.tell(props("fill", {"id": number, "text": filler}))
            sent.append(number)

    limits = replace(SHORT, backlog_chars=100_000)
    with streaming(script, limits=limits) as (_, desk):
        desk.on_change = lambda changes: released.wait() and None
        wait_until(lambda: desk.batches, "the first call")
        stuck_at = 0
        while stuck_at != len(sent):
            stuck_at = len(sent)
            gevent.sleep(0.05)
        assert stuck_at < 20_000

        released.set()
        wait_until(lambda: len(desk.changes) == 20_000, "all events")
        largest = max(map(len, desk.batches))
        assert largest < 1000
        assert desk.ids == list(range(20_000))


def test_a_frame_of_several_megabytes_in_pieces() -> None:
    rows = [{"id": number, "text": "é" * 200} for number in range(5000)]

    def script(peer: Peer) -> None:
        peer.authorize()
        peer.read_sync()
        payload = frame_of({"i": 1, "s": 200, "d": {"orders": rows}}).encode()
        assert len(payload) > 1 << 20
        third = len(payload) // 3
        peer.raw(header(third, fin=False) + payload[:third])
        peer.raw(header(third, 0x0, fin=False) + payload[third : 2 * third])
        rest = payload[2 * third :]
        peer.raw(header(len(rest), 0x0) + rest)

    limits = replace(SHORT, syncing_s=PATIENCE_S)
    with streaming(script, limits=limits) as (_, desk):
        desk.wait_for(LIVE)

        assert desk.snapshots == [[{"orders": rows}]]


def test_a_frame_that_arrives_byte_by_byte() -> None:
    def script(peer: Peer) -> None:
        peer.until_live()
        for byte in text_frame(frame_of(props("order", {"id": 1, "name": "é"}))):
            peer.raw(bytes([byte]))
            gevent.sleep(0)

    with streaming(script) as (_, desk):
        desk.wait_for_ids(1)


# Servers that fail.


def _closing_frame(peer: Peer) -> None:
    peer.send('c[3000,"Go away!"]')


def _closing_handshake(peer: Peer) -> None:
    peer.raw(header(2, 0x8) + (1001).to_bytes(2, "big"))


def _half_a_frame(peer: Peer) -> None:
    data = text_frame(frame_of(props("order", {"id": 1})))
    peer.raw(data[: len(data) // 2])
    peer.close()


NOT_UNDERSTOOD = "Tradovate sent something that could not be understood"
LOST = "The connection to Tradovate was lost"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_closing_frame, "Tradovate closed the connection: Go away!"),
        (_closing_handshake, "Tradovate closed the connection"),
        (_half_a_frame, LOST),
        (lambda peer: peer.send('a[{"e":"props","d":{"entityT'), NOT_UNDERSTOOD),
        (lambda peer: peer.send(b'a["\xff\xfe"]'), NOT_UNDERSTOOD),
        (lambda peer: peer.send("<html>busy</html>"), NOT_UNDERSTOOD),
        (lambda peer: peer.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9), NOT_UNDERSTOOD),
        (lambda peer: peer.raw(bytes([0xC1, 3]) + b"a[]"), NOT_UNDERSTOOD),
        (lambda peer: peer.reset(), LOST),
    ],
    ids=[
        "close frame",
        "closing handshake",
        "half a frame",
        "cut off JSON",
        "invalid UTF-8",
        "HTML",
        "no WebSocket any more",
        "compressed",
        "reset",
    ],
)
def test_after_whatever_ends_it_the_stream_comes_back(
    spoil: Callable[[Peer], None], reason: str
) -> None:
    def script(peer: Peer) -> None:
        peer.until_live()
        spoil(peer)

    with streaming(script, live) as (_, desk):
        desk.wait_for(LIVE, times=2)

        assert desk.reason(DISCONNECTED) == reason
        assert desk.state.epoch == 2


def test_what_came_before_the_end_is_delivered() -> None:
    def script(peer: Peer) -> None:
        peer.until_live()
        peer.raw(text_frame(frame_of(props("order", {"id": 1}))) + text_frame('c[3000,"x"]'))

    with streaming(script, live) as (_, desk):
        desk.wait_for(LIVE, times=2)

        assert desk.ids == [1]


@pytest.mark.parametrize("status", ["401 Unauthorized", "404 Not Found", "503 Busy", "200 OK"])
def test_an_upgrade_that_is_refused_is_tried_again(status: str) -> None:
    with streaming(lambda peer: peer.answer(status, "<html>no</html>"), live) as (_, desk):
        desk.wait_for(LIVE)

        assert desk.reason(DISCONNECTED) == (
            f"Tradovate answered {status[:3]} where a connection was asked for"
        )
        assert desk.session.forgotten == 0


@pytest.mark.parametrize("answer", [("503 Busy", "", "Retry-After: 60"), ("429 Too Many", "")])
def test_a_time_to_stay_away_is_kept(answer: tuple[str, ...]) -> None:
    with streaming(lambda peer: peer.answer(*answer)) as (server, desk):
        desk.wait_for(DISCONNECTED)

        assert desk.state.blocked_until is not None
        assert timedelta(seconds=50) < desk.state.blocked_until - clock.now()
        assert len(server.peers) == 1


def test_a_redirect_is_not_followed() -> None:
    with serving(live) as elsewhere:
        there = f"Location: {elsewhere.url}"
        with streaming(lambda peer: peer.answer("302 Found", "", there), live) as (_, desk):
            desk.wait_for(LIVE)

        assert not elsewhere.peers


def test_a_cookie_of_one_connection_does_not_travel_on_another() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade("Set-Cookie: who=somebody; Domain=localhost")
        peer.close()

    with streaming(script, live) as (server, desk):
        desk.wait_for(LIVE)

        assert "cookie" not in server.peers[1].headers


@pytest.mark.parametrize(
    "script",
    [
        silent,
        lambda peer: (peer.raw("HTTP/1.1 101 Switching"), peer.read_until_gone()),
        lambda peer: (peer.upgrade(), peer.read_until_gone()),
    ],
    ids=["accepts and says nothing", "half an upgrade", "never opens"],
)
def test_a_server_that_does_not_answer_is_left_in_time(script: Script) -> None:
    with streaming(script, live) as (_, desk):
        desk.wait_for(LIVE)

        assert desk.statuses[:3] == [CONNECTING, DISCONNECTED, CONNECTING]
        assert desk.reason(DISCONNECTED) == "Tradovate did not answer the connection in time"


def test_an_authorisation_without_an_answer_is_left_in_time() -> None:
    with streaming(lambda peer: peer.open(), live) as (_, desk):
        desk.wait_for(LIVE)

        assert "authorisation in time" in desk.reason(DISCONNECTED)


def test_a_synchronisation_without_an_answer_is_left_in_time() -> None:
    limits = replace(SHORT, syncing_s=0.2)
    with streaming(lambda peer: peer.authorize(), live, limits=limits) as (_, desk):
        desk.wait_for(LIVE)

        assert "took too long" in desk.reason(DISCONNECTED)
        assert desk.state.epoch == 1


def test_a_comparison_that_hangs_does_not_become_live() -> None:
    limits = replace(SHORT, syncing_s=0.2)

    with streaming(live, limits=limits) as (_, desk):
        desk.on_sync = lambda parts: gevent.sleep(60) if len(desk.snapshots) == 1 else None
        desk.wait_for(LIVE)

        assert desk.statuses.index(DISCONNECTED) < desk.statuses.index(LIVE)
        assert desk.state.epoch == 1


def test_a_connection_lost_while_comparing_does_not_become_live() -> None:
    lost = gevent.event.Event()

    def script(peer: Peer) -> None:
        peer.live()
        wait_until(lambda: desk.snapshots, "the comparison")
        peer.tell(props("order", {"id": 1}))
        peer.close()
        lost.set()

    def compare(parts: list[Any]) -> None:
        lost.wait(PATIENCE_S)
        gevent.sleep(0.05)

    with streaming(script, live) as (_, desk):
        desk.on_sync = compare
        desk.wait_for(LIVE)

        assert desk.log.index("change") < desk.log.index("disconnected") < desk.log.index("live")


def test_nobody_listens() -> None:
    with serving(live) as server:
        url = server.url
    desk = Desk(url, FakeSession())
    desk.stream.start()

    desk.wait_for(DISCONNECTED, times=3)
    desk.stream.stop()

    assert desk.reason(DISCONNECTED) == "Tradovate could not be reached"
    assert desk.state.reconnects >= 2


# Silence.


def test_silence_first_degrades_and_then_reconnects() -> None:
    limits = replace(SHORT, soft_silence_s=0.1, hard_silence_s=0.3, beat_s=30.0)
    with streaming(live, live, limits=limits) as (server, desk):
        desk.wait_for(LIVE)
        wait_until(lambda: len(server.peers[0].heard) > 0)
        desk.wait_for(LIVE, times=2)

        first, second = desk.statuses.index(DEGRADED), desk.statuses.index(DISCONNECTED)
        assert first < second
        assert "0.1 seconds" in desk.reason(DEGRADED)
        assert "0.3 seconds" in desk.reason(DISCONNECTED)
        # One beat when it began, one when silence was noticed.
        assert server.peers[0].heard.count("[]") == 2


def test_one_heartbeat_is_enough_to_be_live_again() -> None:
    def script(peer: Peer) -> None:
        peer.until_live()
        desk.wait_for(DEGRADED)
        peer.send("h")

    limits = replace(SHORT, soft_silence_s=0.2, hard_silence_s=PATIENCE_S)
    with streaming(script, limits=limits) as (_, desk):
        desk.wait_for(LIVE, times=2)

        assert desk.statuses[-2:] == [DEGRADED, LIVE]
        assert (desk.state.epoch, desk.state.reconnects) == (1, 0)


def test_heartbeats_alone_keep_a_quiet_market_live() -> None:
    done = gevent.event.Event()

    def script(peer: Peer) -> None:
        peer.until_live()
        for _ in range(20):
            peer.send("h")
            gevent.sleep(0.02)
        done.set()

    limits = replace(SHORT, soft_silence_s=0.3, hard_silence_s=0.6)
    with streaming(script, limits=limits) as (_, desk):
        done.wait(PATIENCE_S)

        assert desk.statuses[-1] is LIVE
        assert DEGRADED not in desk.statuses


def test_a_slow_callback_is_not_taken_for_silence() -> None:
    returned: list[bool] = []

    def script(peer: Peer) -> None:
        peer.until_live()
        peer.tell(props("order", {"id": 1}))
        wait_until(lambda: returned, "the callback")
        gevent.sleep(0.05)
        peer.tell(props("order", {"id": 2}))

    def store(changes: list[Change]) -> None:
        gevent.sleep(0.5)
        returned.append(True)

    limits = replace(SHORT, soft_silence_s=0.3, hard_silence_s=0.4)
    with streaming(script, limits=limits) as (_, desk):
        desk.on_change = store
        desk.wait_for_ids(1, 2)

        assert desk.statuses[-1] is LIVE
        assert DISCONNECTED not in desk.statuses


# Refusals.


@pytest.mark.parametrize("code", ["bad_credentials", "no_permission"])
def test_refused_credentials_stop_it_after_one_try(code: str) -> None:
    session = FakeSession(trouble=[BrokerRefused("Wrong password", code=code)])

    with streaming(live, session=session) as (server, desk):
        desk.wait_for(STOPPED)

        state = desk.state
        assert (state.is_refused, state.reason) == (True, "Wrong password")
        assert session.asked == 1
        assert not server.peers
        assert not greenlets()


def test_a_captcha_stops_it_and_says_for_how_long() -> None:
    session = FakeSession(trouble=[BrokerRefused("Solve a captcha", code="captcha")])

    with streaming(live, session=session) as (_, desk):
        desk.wait_for(STOPPED)

        assert desk.state.is_refused
        assert desk.state.blocked_until is not None
        assert desk.state.blocked_until - clock.now() > timedelta(minutes=59)


def test_a_person_who_acted_can_start_it_again() -> None:
    session = FakeSession(trouble=[BrokerRefused("Wrong password", code="bad_credentials")])

    with streaming(live, session=session) as (_, desk):
        desk.wait_for(STOPPED)
        wait_until(lambda: not greenlets())
        desk.stream.start()
        desk.wait_for(LIVE)

        assert not desk.state.is_refused


@pytest.mark.parametrize(
    "trouble", [BrokerUnavailable("No answer"), BrokerRefused("Nothing was sent", code="not_sent")]
)
def test_a_session_that_cannot_be_had_now_is_asked_for_again(trouble: BrokerError) -> None:
    with streaming(live, session=FakeSession(trouble=[trouble])) as (_, desk):
        desk.wait_for(LIVE)

        assert desk.reason(DISCONNECTED) == trouble.detail


def test_a_limit_on_signing_in_is_waited_for() -> None:
    session = FakeSession(trouble=[BrokerRateLimited("Too many", retry_after_s=600)])

    with streaming(live, session=session) as (_, desk):
        desk.wait_for(DISCONNECTED)
        gevent.sleep(0.05)

        assert session.asked == 1
        assert desk.state.blocked_until is not None
        assert desk.state.blocked_until - clock.now() > timedelta(seconds=590)


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_refused_is_replaced_once(status: int) -> None:
    tokens: list[str] = []

    def refuse(peer: Peer) -> None:
        tokens.append(peer.open())
        peer.reply(0, status, d="Access is denied")

    def accept(peer: Peer) -> None:
        tokens.append(peer.authorize())
        peer.read_sync()
        peer.reply(1, d={})

    with streaming(refuse, accept) as (_, desk):
        desk.wait_for(LIVE)

        assert tokens == [f"{SECRET}-1", f"{SECRET}-2"]


def test_fresh_tokens_that_are_refused_stop_it() -> None:
    def refuse(peer: Peer) -> None:
        peer.open()
        peer.reply(0, 401, d="Access is denied")

    with streaming(refuse) as (server, desk):
        desk.wait_for(STOPPED)

        assert desk.state.is_refused
        assert len(server.peers) == 4
        assert desk.session.forgotten == 4


def test_a_session_that_is_ended_again_and_again_is_replaced_each_time() -> None:
    def refuse(peer: Peer) -> None:
        peer.open()
        peer.reply(0, 401)

    def cut(peer: Peer) -> None:
        peer.until_live()
        peer.close()

    with streaming(refuse, cut, refuse, live) as (_, desk):
        desk.wait_for(LIVE, times=2)

        assert desk.session.forgotten == 2


def test_a_token_of_a_closed_session_is_not_used_again() -> None:
    def refuse(peer: Peer) -> None:
        peer.open()
        peer.reply(0, 408)

    with streaming(refuse, live) as (_, desk):
        desk.wait_for(LIVE)

        assert desk.session.forgotten == 1


@pytest.mark.parametrize("number", [0, 1], ids=["authorize", "sync"])
def test_a_lock_is_not_prolonged(number: int) -> None:
    def script(peer: Peer) -> None:
        if number == 0:
            peer.open()
        else:
            peer.authorize()
            peer.read_sync()
        peer.reply(number, 429)

    with streaming(script) as (server, desk):
        desk.wait_for(DISCONNECTED)
        gevent.sleep(0.05)

        assert desk.state.blocked_until is not None
        assert desk.state.blocked_until - clock.now() > timedelta(minutes=59)
        assert len(server.peers) == 1
        assert desk.session.forgotten == 0


def test_a_penalty_is_served_and_its_ticket_shown() -> None:
    bodies: list[Any] = []

    def penalise(peer: Peer) -> None:
        peer.authorize()
        bodies.append(peer.read_sync())
        peer.reply(1, d={"p-ticket": "abc", "p-time": 1})

    limits = replace(SHORT, longest_pause_s=0.01)
    with streaming(penalise, lambda peer: bodies.append(peer.live()), limits=limits) as (_, desk):
        desk.wait_for(DISCONNECTED)
        assert desk.state.blocked_until is not None
        desk.wait_for(LIVE)

    assert "p-ticket" not in bodies[0]
    assert bodies[1] == bodies[0] | {"p-ticket": "abc"}


def test_a_penalty_that_only_a_person_can_end_stops_it() -> None:
    def penalise(peer: Peer) -> None:
        peer.open()
        peer.reply(0, d={"p-ticket": "abc", "p-time": 1, "p-captcha": True})

    with streaming(penalise) as (_, desk):
        desk.wait_for(STOPPED)

        assert desk.state.is_refused
        assert desk.state.blocked_until is not None


# The two forms of the request for a snapshot.


@pytest.mark.parametrize(
    "answer",
    [
        {"s": 400, "d": "Unknown field"},
        {"s": 404},
        {"s": 200, "d": {"errorText": "Invalid or missed parameters"}},
        {"s": 200, "d": {"violations": [{"description": "unknown"}]}},
    ],
)
def test_a_server_of_2024_is_asked_its_way_from_then_on(answer: dict[str, Any]) -> None:
    bodies: list[Any] = []

    def server_of_2024(peer: Peer) -> None:
        peer.authorize()
        bodies.append(peer.read_sync())
        if "users" in bodies[-1]:
            peer.reply(1, d={"orders": []})
            if len(bodies) == 2:
                peer.wait_until_live()
                peer.close()
        else:
            peer.tell({"i": 1, **answer})

    with streaming(server_of_2024) as (_, desk):
        desk.wait_for(LIVE, times=2)

    assert [set(body) == {"users"} for body in bodies] == [False, True, True]


def test_the_other_form_is_tried_at_once() -> None:
    def refuse(peer: Peer) -> None:
        peer.authorize()
        peer.read_sync()
        peer.reply(1, 400)

    patient = replace(SHORT, first_pause_s=1e6, longest_pause_s=1e6)
    with streaming(refuse, live, limits=patient) as (_, desk):
        desk.wait_for(LIVE)


def test_a_server_that_refuses_both_forms_is_asked_with_pauses() -> None:
    forms: list[bool] = []

    def refuse(peer: Peer) -> None:
        peer.authorize()
        forms.append("users" in peer.read_sync())
        peer.reply(1, 400)

    with streaming(refuse) as (_, desk):
        wait_until(lambda: len(forms) >= 4)

        assert forms[:4] == [False, True, False, True]
        assert not desk.state.is_refused


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_a_fault_of_the_server_does_not_change_the_form(status: int) -> None:
    bodies: list[Any] = []

    def fail(peer: Peer) -> None:
        peer.authorize()
        bodies.append(peer.read_sync())
        peer.reply(1, status, d="Internal error")

    with streaming(fail, lambda peer: bodies.append(peer.live())) as (_, desk):
        desk.wait_for(LIVE)

    assert bodies[0] == bodies[1]


def test_an_empty_snapshot_is_logged_and_left_to_the_comparison(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def script(peer: Peer) -> None:
        peer.authorize()
        peer.read_sync()
        peer.reply(1, d={"users": [{"id": 90}]})

    with streaming(script) as (_, desk):
        desk.accounts = []
        desk.wait_for(LIVE)

        assert desk.snapshots == [[{"users": [{"id": 90}]}]]
        assert "user stream's snapshot is empty" in caplog.messages


# Notices of the broker.


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("Maintenance", "maintenance"),
        ("ConnectionQuotaReached", "too many"),
        ("IPQuotaReached", "too many from this address"),
    ],
)
def test_a_notice_of_shutdown_keeps_it_away(code: str, words: str) -> None:
    def script(peer: Peer) -> None:
        peer.until_live()
        peer.tell(props("order", {"id": 1}), {"e": "shutdown", "d": {"reasonCode": code}})

    with streaming(script) as (server, desk):
        desk.wait_for(DISCONNECTED)

        assert words in desk.reason(DISCONNECTED)
        assert desk.ids == [1]
        assert desk.state.blocked_until is not None
        assert desk.state.blocked_until - clock.now() >= timedelta(seconds=59)
        assert len(server.peers) == 1


def test_after_maintenance_it_comes_back() -> None:
    def script(peer: Peer) -> None:
        peer.until_live()
        peer.tell({"e": "shutdown", "d": {"reasonCode": "Maintenance"}})

    limits = replace(SHORT, maintenance_s=0.1)
    with streaming(script, live, limits=limits) as (_, desk):
        desk.wait_for(LIVE, times=2)

        gone, back = (
            next(s.since for s in desk.states if s.status is DISCONNECTED),
            desk.states[-1].since,
        )
        assert back - gone >= timedelta(seconds=0.1)


@pytest.mark.parametrize("data", [{"reasonCode": "Mystery"}, {}, None, "text"])
def test_an_unknown_notice_is_an_ordinary_end(data: Any) -> None:
    def script(peer: Peer) -> None:
        peer.until_live()
        peer.tell({"e": "shutdown", "d": data})

    with streaming(script, live) as (_, desk):
        desk.wait_for(LIVE, times=2)

        assert desk.reason(DISCONNECTED).startswith("Tradovate closed the connection")


# Pauses.


def test_pauses_grow_with_failures_up_to_a_minute() -> None:
    limits = Limits()

    for failures in (0, 1, 3, 6, 40, 100_000):
        pauses = [pause_s(failures, limits) for _ in range(300)]
        longest = min(60.0, 2.0 ** min(failures, 10))
        assert all(0.5 <= pause <= longest for pause in pauses)
        assert max(pauses) > longest * 0.8


def test_only_a_stream_that_stayed_live_starts_again_with_short_pauses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failures: list[int] = []

    def note(count: int, limits: Limits) -> float:
        failures.append(count)
        return 0.0

    monkeypatch.setattr(stream_module, "pause_s", note)

    def cut(peer: Peer) -> None:
        peer.until_live()
        peer.reset()

    def cut_late(peer: Peer) -> None:
        peer.until_live()
        desk.wait_for(LIVE, times=len(server.peers))
        gevent.sleep(0.25)
        peer.reset()

    limits = replace(SHORT, stable_s=0.2)
    with streaming(cut, cut, cut, cut_late, live, limits=limits) as (server, desk):
        wait_until(lambda: len(server.peers) == 5)

        assert failures[:4] == [0, 1, 2, 0]


def test_ten_minutes_without_live_are_said_once() -> None:
    limits = replace(SHORT, polling_after_s=0.15)
    with streaming(lambda peer: peer.close(), limits=limits) as (server, desk):
        desk.wait_for(DEGRADED)
        seen = len(server.peers)
        wait_until(lambda: len(server.peers) > seen + 2, "more tries")

        assert desk.statuses.count(DEGRADED) == 1
        assert "polling instead" in desk.reason(DEGRADED)


def test_the_next_outage_is_said_again() -> None:
    def script(peer: Peer) -> None:
        if DEGRADED in desk.statuses and LIVE not in desk.statuses:
            peer.until_live()
        peer.close()

    limits = replace(SHORT, polling_after_s=0.05, longest_pause_s=0.1)
    with streaming(script, limits=limits) as (_, desk):
        desk.wait_for(DEGRADED, times=2)

        first, live_at = desk.statuses.index(DEGRADED), desk.statuses.index(LIVE)
        assert first < live_at
        assert desk.statuses[live_at:].count(DEGRADED) == 1


# Callbacks of ours.


@pytest.mark.parametrize("which", ["on_change", "on_sync"])
def test_a_callback_that_fails_is_logged_and_everything_read_again(
    which: str, caplog: pytest.LogCaptureFixture
) -> None:
    def script(peer: Peer) -> None:
        peer.until_live()
        peer.tell(props("order", {"id": 1}))

    failed: list[bool] = []

    def fail_once(_: Any) -> None:
        if not failed:
            failed.append(True)
            raise RuntimeError("a fault of ours")

    with streaming(script) as (_, desk):
        setattr(desk, which, fail_once)
        wait_until(lambda: desk.state.reconnects == 1 and desk.state.status is LIVE)

        assert failed
    (record,) = [r for r in caplog.records if r.exc_info and r.exc_info[0] is RuntimeError]
    assert record.levelno == logging.ERROR


def test_a_timeout_that_a_callback_lets_out_does_not_end_the_stream() -> None:
    def time_out(_: Any) -> None:
        if len(desk.snapshots) == 1:
            raise gevent.Timeout(1)

    with streaming(live) as (_, desk):
        desk.on_sync = time_out
        desk.wait_for(LIVE)


def test_a_listener_to_states_that_fails_stops_nothing() -> None:
    with serving(live) as server:
        heard: list[StreamStatus] = []

        def fail(state: StreamState) -> None:
            heard.append(state.status)
            raise RuntimeError("a fault of ours")

        stream = UserStream(
            LOGIN,
            FakeSession(),
            server.url,
            accounts=lambda: [33],
            on_change=lambda changes: None,
            on_sync=lambda parts: None,
            on_state=fail,
            limits=SHORT,
        )
        stream.start()
        wait_until(lambda: stream.state.status is LIVE)
        stream.stop()

        assert heard == [CONNECTING, AUTHENTICATING, SYNCING, LIVE, STOPPED]


def test_no_secret_is_logged_or_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    def echo(peer: Peer) -> None:
        token = peer.open()
        peer.reply(0, 400, d=f"token {token} is bad")

    def garble(peer: Peer) -> None:
        peer.send(f"x{peer.open()}")

    with streaming(echo, garble, live) as (_, desk):
        desk.wait_for(LIVE)

        told = " ".join(state.reason or "" for state in desk.states)
    assert SECRET not in caplog.text + told


# The end.


def _accepts_and_holds(peer: Peer) -> None:
    peer.read_until_gone()


def _opens_and_holds(peer: Peer) -> None:
    peer.open()


def _authorizes_and_holds(peer: Peer) -> None:
    peer.authorize()


def _refuses(peer: Peer) -> None:
    peer.close()


@pytest.mark.parametrize(
    ("script", "status"),
    [
        (_accepts_and_holds, CONNECTING),
        (_opens_and_holds, AUTHENTICATING),
        (_authorizes_and_holds, SYNCING),
        (live, LIVE),
        (_refuses, DISCONNECTED),
    ],
)
def test_stop_ends_it_from_any_state(script: Script, status: StreamStatus) -> None:
    patient = replace(Limits(), first_pause_s=1000.0, shortest_pause_s=30.0)
    with streaming(script, limits=patient) as (_, desk):
        desk.wait_for(status)

        began = time.monotonic()
        desk.stream.stop()

        assert time.monotonic() - began < 1.0
        assert desk.states[-1].status is STOPPED
        assert not desk.states[-1].is_refused
        assert not greenlets()


def test_stop_ends_a_sign_in_that_hangs() -> None:
    with streaming(live, session=FakeSession(hangs=True)) as (_, desk):
        wait_until(lambda: desk.session.asked)


@pytest.mark.parametrize("which", ["on_change", "on_sync"])
def test_stop_ends_a_callback_that_hangs(which: str) -> None:
    def script(peer: Peer) -> None:
        peer.until_live()
        peer.tell(props("order", {"id": 1}))

    entered = gevent.event.Event()

    def hang(_: Any) -> None:
        entered.set()
        gevent.sleep(60)

    with streaming(script, limits=replace(SHORT, syncing_s=60)) as (_, desk):
        setattr(desk, which, hang)
        assert entered.wait(PATIENCE_S)


def test_stop_lets_a_callback_finish() -> None:
    def script(peer: Peer) -> None:
        peer.until_live()
        peer.tell(props("order", {"id": 1}))

    finished: list[bool] = []
    entered = gevent.event.Event()

    def store(_: list[Change]) -> None:
        entered.set()
        gevent.sleep(0.1)
        finished.append(True)

    with streaming(script) as (_, desk):
        desk.on_change = store
        assert entered.wait(PATIENCE_S)
        desk.stream.stop()

        assert finished


def test_a_callback_may_stop_it() -> None:
    with streaming(live) as (_, desk):
        desk.on_sync = lambda parts: desk.stream.stop()
        desk.wait_for(STOPPED)

        assert LIVE not in desk.statuses


def test_start_and_stop_can_be_repeated() -> None:
    with streaming(live) as (server, desk):
        desk.stream.start()
        desk.wait_for(LIVE)
        desk.stream.stop()
        desk.stream.stop()
        desk.stream.start()
        desk.wait_for(LIVE, times=2)

        assert len(server.peers) == 2
        assert desk.statuses.count(STOPPED) == 1


def test_it_says_goodbye() -> None:
    ends: list[str] = []

    def script(peer: Peer) -> None:
        peer.live()
        try:
            peer.read()
        except Gone as e:
            ends.append(str(e))

    with streaming(script) as (_, desk):
        desk.wait_for(LIVE)
        desk.stream.stop()
        wait_until(lambda: ends)

        assert ends == ["said goodbye"]


# Encrypted.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The files of a certificate for localhost, and of its key, that nobody trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = clock.now()
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    directory = tmp_path_factory.mktemp("certificate")
    certificate_path, key_path = directory / "certificate.pem", directory / "key.pem"
    certificate_path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(certificate_path), str(key_path)


@pytest.fixture
def server_side(certificate: tuple[str, str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def test_an_encrypted_stream_delivers(
    certificate: tuple[str, str], server_side: ssl.SSLContext
) -> None:
    def script(peer: Peer) -> None:
        peer.until_live()
        peer.tell(*(props("order", {"id": number, "text": "x" * 500}) for number in range(500)))

    trusting = ssl.create_default_context(cafile=certificate[0])
    limits = replace(SHORT, connecting_s=PATIENCE_S)
    with serving(script, tls=server_side) as server:
        desk = Desk(server.url, FakeSession(), limits, tls=trusting)
        server.wait_until_live = lambda: desk.wait_for(LIVE)
        desk.stream.start()
        desk.wait_for_ids(*range(500))
        desk.stream.stop()

        assert not greenlets()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_certificate_that_nobody_trusts_is_refused(
    server_side: ssl.SSLContext, capfd: pytest.CaptureFixture[str]
) -> None:
    limits = replace(SHORT, connecting_s=PATIENCE_S)
    with serving(live, tls=server_side) as server:
        desk = Desk(server.url, FakeSession(), limits)
        desk.stream.start()
        desk.wait_for(DISCONNECTED)
        desk.stream.stop()

        assert desk.reason(DISCONNECTED) == "Tradovate's certificate is not trusted"
        assert not server.peers


# Against the simulator.


class SimulatedSession:
    """Signs in at the simulator when there is no token."""

    def __init__(self, simulator: Simulator) -> None:
        self._base = simulator.url
        self._answer: dict[str, Any] | None = None
        self.sign_ins = 0

    def _session(self) -> dict[str, Any]:
        if self._answer is None:
            body = {"name": "demo", "password": "demo", "cid": "1", "sec": "demo"}
            body |= {"appId": "tests", "appVersion": "1", "deviceId": "device"}
            answer = requests.post(
                f"{self._base}/auth/accesstokenrequest", json=body, timeout=PATIENCE_S
            ).json()
            if "accessToken" not in answer:
                raise BrokerUnavailable("No answer")
            self.sign_ins += 1
            self._answer = answer
        return self._answer

    def token(self) -> str:
        return str(self._session()["accessToken"])

    def user_id(self) -> int:
        return int(self._session()["userId"])

    def forget(self, token: str | None = None) -> None:
        self._answer = None

    def get(self, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self.token()}"}
        return requests.get(f"{self._base}/{path}", headers=headers, timeout=PATIENCE_S).json()


ORDINARY = replace(SHORT, connecting_s=2.0, authenticating_s=2.0, syncing_s=5.0)


@pytest.fixture(scope="module")
def process() -> Iterator[Simulator]:
    with running() as simulator:
        yield simulator


@pytest.fixture
def simulator(process: Simulator) -> Simulator:
    process.reset()
    process.set(heartbeat_s=0.05, silence_s=1.0)
    return process


class Trader:
    """A desk at the simulator, live, and somebody else who trades on the same account."""

    def __init__(self, simulator: Simulator, limits: Limits = ORDINARY) -> None:
        self._simulator = simulator
        self.session = SimulatedSession(simulator)
        self.account: int = self.session.get("account/list")[0]["id"]
        self.contract: str = self.session.get("contract/suggest?t=MES&l=1")[0]["name"]
        simulator.set_price(self.contract, "5000", "5000.25")
        self.desk = Desk(simulator.ws_url, self.session, limits)
        self.desk.accounts = [self.account]
        self.desk.stream.start()
        self.desk.wait_for(LIVE)

    def trade(self) -> None:
        """... and the stream tells it."""
        seen = len(self.desk.changes)
        self._simulator.manual_trade(self.account, self.contract, "Buy", 1)
        wait_until(lambda: self.net_pos(seen) is not None, "the position")
        kinds = {kind for kind, _, _ in self.desk.changes[seen:]}
        assert {"order", "command", "executionReport", "fill", "position"} <= kinds

    def net_pos(self, since: int = 0) -> int | None:
        rows = [row["netPos"] for kind, _, row in self.desk.changes[since:] if kind == "position"]
        return rows[-1] if rows else None


@contextmanager
def trading(simulator: Simulator, limits: Limits = ORDINARY) -> Iterator[Trader]:
    trader = Trader(simulator, limits)
    try:
        yield trader
    finally:
        trader.desk.stream.stop()
        assert not greenlets()


def test_what_is_done_at_another_terminal_is_told(simulator: Simulator) -> None:
    with trading(simulator) as trader:
        trader.trade()
        trader.trade()

        assert trader.net_pos() == 2
        assert trader.session.sign_ins == 1


def test_a_snapshot_in_many_parts(simulator: Simulator) -> None:
    with trading(simulator) as trader:
        trader.trade()
        simulator.set(split_size=1)
        simulator.cut_sockets()
        trader.desk.wait_for(LIVE, times=2)

        parts = trader.desk.snapshots[1]
        assert len(parts) > 5
        assert [row["netPos"] for part in parts for row in part.get("positions", [])] == [1]


def test_entities_in_arrays(simulator: Simulator) -> None:
    simulator.set(array_entities=True)

    with trading(simulator) as trader:
        trader.trade()


def test_beats_keep_it_connected(simulator: Simulator) -> None:
    simulator.set(silence_s=0.3)

    with trading(simulator) as trader:
        gevent.sleep(0.8)
        trader.trade()

        assert trader.desk.state.reconnects == 0


@pytest.mark.parametrize("how", ["abrupt", "clean"])
def test_after_a_cut_it_comes_back_with_the_same_session(
    simulator: Simulator, how: Literal["abrupt", "clean"]
) -> None:
    with trading(simulator) as trader:
        simulator.cut_sockets(how)
        trader.desk.wait_for(LIVE, times=2)
        trader.trade()

        assert trader.session.sign_ins == 1


def test_a_shutdown_for_maintenance_and_the_time_after(simulator: Simulator) -> None:
    limits = replace(ORDINARY, maintenance_s=0.2)

    with trading(simulator, limits) as trader:
        simulator.cut_sockets("shutdown", reason_code="Maintenance")
        trader.desk.wait_for(DISCONNECTED)
        assert trader.desk.state.blocked_until is not None
        trader.desk.wait_for(LIVE, times=2)
        trader.trade()


def test_maintenance_is_waited_for(simulator: Simulator) -> None:
    with trading(simulator, replace(ORDINARY, maintenance_s=0.05)) as trader:
        simulator.maintenance()
        simulator.cut_sockets()
        trader.desk.wait_for(DISCONNECTED, times=3)
        simulator.maintenance(on=False)
        trader.desk.wait_for(LIVE, times=2)
        trader.trade()


def test_a_frame_that_ends_in_the_middle(simulator: Simulator) -> None:
    with trading(simulator) as trader:
        simulator.truncate_frame()
        simulator.manual_trade(trader.account, trader.contract, "Buy", 1)
        trader.desk.wait_for(LIVE, times=2)

        parts = trader.desk.snapshots[1]
        assert [row["netPos"] for part in parts for row in part.get("positions", [])] == [1]


def test_a_frame_of_garbage(simulator: Simulator) -> None:
    with trading(simulator) as trader:
        simulator.garbage_frame("a[{]")
        trader.desk.wait_for(LIVE, times=2)
        trader.trade()


def test_a_server_that_falls_silent_degrades_and_is_left(simulator: Simulator) -> None:
    limits = replace(ORDINARY, soft_silence_s=0.3, hard_silence_s=0.6)

    with trading(simulator, limits) as trader:
        simulator.stop_heartbeats()
        trader.desk.wait_for(DEGRADED)
        trader.desk.wait_for(LIVE, times=2)
        trader.trade()

        assert trader.desk.state.epoch == 2


def test_a_server_that_speaks_again_in_time_is_kept(simulator: Simulator) -> None:
    limits = replace(ORDINARY, soft_silence_s=0.3)

    with trading(simulator, limits) as trader:
        simulator.stop_heartbeats()
        trader.desk.wait_for(DEGRADED)
        simulator.stop_heartbeats(on=False)
        trader.desk.wait_for(LIVE, times=2)
        trader.trade()

        assert trader.desk.state.epoch == 1


def test_a_revoked_token_is_replaced(simulator: Simulator) -> None:
    with trading(simulator) as trader:
        simulator.revoke_tokens()
        trader.desk.wait_for(LIVE, times=2)
        trader.trade()

        assert trader.session.sign_ins == 2


def test_an_expired_token_does_not_end_a_stream(simulator: Simulator) -> None:
    with trading(simulator) as trader:
        simulator.expire_tokens()
        simulator.manual_trade(trader.account, trader.contract, "Buy", 1)
        wait_until(lambda: trader.net_pos() == 1)

        assert trader.desk.state.reconnects == 0


def test_a_simulator_of_2024_tells_as_much() -> None:
    with running(shapes="2024") as simulator:
        simulator.set(heartbeat_s=0.05)
        with trading(simulator) as trader:
            trader.trade()
