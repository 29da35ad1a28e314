"""One WebSocket connection to Tradovate: it reads ahead, beats, and tells why it ended."""

from __future__ import annotations

import logging
import socket
import ssl
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import count
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import gevent
import websocket
from gevent.event import Event as Signal
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from websocket._handshake import CookieJar

from app import clock
from app.brokers.tradovate import frames
from app.brokers.tradovate.errors import quoted
from app.brokers.tradovate.frames import Frame, Kind, Message

log = logging.getLogger(__name__)

LOST = "The connection to Tradovate was lost"
_FAREWELL_S = 0.2
_TURN = 250
"""After so many frames the others have a turn, however many more are waiting."""
_LONGEST_RETRY_AFTER_S = 3600.0
_TOO_MANY = 429


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a stream waits for what, in seconds (user-data streams reference, section 7)."""

    connecting_s: float = 10.0
    authenticating_s: float = 10.0
    syncing_s: float = 30.0
    beat_s: float = 2.5
    soft_silence_s: float = 5.0
    """Nothing was heard for so long: degraded."""
    hard_silence_s: float = 10.0
    """... for so long: reconnect."""
    parts_gap_s: float = 0.25
    """A snapshot in parts has no end mark: it is over when no part came for so long."""
    first_pause_s: float = 1.0
    longest_pause_s: float = 60.0
    shortest_pause_s: float = 0.5
    stable_s: float = 60.0
    """Only a stream that was live for so long starts again with short pauses."""
    polling_after_s: float = 600.0
    maintenance_s: float = 60.0
    quota_s: float = 300.0
    lock_s: float = 3600.0
    """After a 429, which every further call would prolong, and after a captcha."""
    stop_grace_s: float = 1.5
    """A callback or a renewal that is under way may take so long to end."""
    backlog_chars: int = 2_000_000
    """What arrived and was not taken yet; the broker's side waits when it is more."""


class Ended(Exception):
    """The connection has ended, or must. The reason is for people.

    ``wait_s``: how long to stay away at least; None: as the back-off says. ``is_block``: it was
    the broker who asked for that. ``is_planned``: nothing failed; connect again at once.
    """

    def __init__(
        self,
        reason: str,
        *,
        wait_s: float | None = None,
        is_block: bool = False,
        is_planned: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_s = wait_s
        self.is_block = is_block
        self.is_planned = is_planned


@contextmanager
def within(seconds: float, late: str) -> Iterator[None]:
    """End what takes longer; ``late`` says so. No ``except Exception`` inside can swallow it.

    Raises:
        Ended: it took longer.
    """
    timer = gevent.Timeout(seconds)
    timer.start()
    try:
        yield
    except gevent.Timeout as e:
        if e is not timer:
            raise
        raise Ended(late) from None
    finally:
        timer.close()


class Link:
    """Opened once, closed once. One greenlet reads, one beats; whoever owns the link takes."""

    def __init__(self, url: str, limits: Limits, tls: ssl.SSLContext | None = None) -> None:
        self.heard_at = monotonic()
        self.last_frame_at: datetime | None = None
        self._url = url
        self._limits = limits
        self._tls = tls
        self._plain: socket.socket | None = None
        self._socket: Any = websocket.WebSocket(skip_utf8_validation=True)
        self._greenlets: list[gevent.Greenlet] = []
        self._inbox: deque[Message] = deque()
        self._chars = 0
        self._is_open = False
        self._ended: Ended | None = None
        self._news = Signal()
        self._room = Signal()

    def open(self) -> None:
        """Dial, upgrade, and wait for the frame after which requests may be sent.

        Raises:
            Ended: it did not come to that.
        """
        with within(self._limits.connecting_s, "Tradovate did not answer the connection in time"):
            try:
                self._dial()
            except websocket.WebSocketBadStatusException as e:
                raise _refused_upgrade(e, self._limits.quota_s) from e
            except (websocket.WebSocketException, OSError, ValueError) as e:
                raise _ended(e) from e
            self._greenlets.append(gevent.spawn(self._read))
            while not self._is_open:
                self.check()
                self._news.wait()
                self._news.clear()

    def close(self) -> None:
        """Leaves no greenlet and no socket. Never raises."""
        try:
            gevent.killall(self._greenlets)
            with gevent.Timeout(_FAREWELL_S, False), suppress(Exception):
                self._socket.send_close()
        finally:
            if self._plain is not None:
                self._plain.close()

    def beat(self) -> None:
        """From now on, whatever the broker sends or does not send."""
        self._greenlets.append(gevent.spawn(self._beat))

    def send(self, text: str) -> None:
        """One frame.

        Raises:
            Ended: it could not be sent.
        """
        try:
            self._socket.send(text)
        except (websocket.WebSocketException, OSError) as e:
            raise _ended(e) from e

    def take(self, timeout_s: float) -> list[Message]:
        """All that has arrived, in order. Where nothing has, waits for the next frame or ``wake``
        and may return nothing all the same.

        Raises:
            Ended: the link has ended and everything before the end was taken.
        """
        if not self._inbox:
            self.check()
            if timeout_s > 0:
                self._news.wait(timeout_s)
        self._news.clear()
        if not self._inbox:
            self.check()
        taken = list(self._inbox)
        self._inbox.clear()
        self._chars = 0
        self._room.set()
        return taken

    def check(self) -> None:
        """Nothing, while the link is up.

        Raises:
            Ended: it is not; something may still be there to be taken.
        """
        if self._ended is not None:
            raise self._ended

    def wake(self) -> None:
        """Let ``take`` return."""
        self._news.set()

    def silence_s(self) -> float:
        return monotonic() - self.heard_at

    def _dial(self) -> None:
        address = urlsplit(self._url)
        is_secure = address.scheme == "wss"
        host = address.hostname or ""
        port = address.port or (443 if is_secure else 80)
        # Silence is judged by whoever takes; this ends what even they do not see.
        patience_s = max(self._limits.syncing_s, self._limits.hard_silence_s)
        self._plain = socket.create_connection((host, port), patience_s)
        self._plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if is_secure:
            self._plain = (self._tls or _tls()).wrap_socket(self._plain, server_hostname=host)
        # The library keeps the cookies of all connections in one jar; another log-in's must not
        # travel on this one. Nothing runs between this and the writing of the headers.
        CookieJar.jar.clear()
        # No extension is offered, so nothing arrives compressed; a redirect is not followed.
        self._socket.connect(self._url, socket=self._plain, redirect_limit=0, suppress_origin=True)

    def _read(self) -> None:
        try:
            for number in count(1):
                self._take_in()
                if number % _TURN == 0:
                    gevent.sleep(0)
        except Ended as e:
            self._end(e)
        except (websocket.WebSocketException, OSError, ValueError) as e:
            self._end(_ended(e))
        except Exception:  # the loop's edge
            log.exception("reading the user stream failed")
            self._end(Ended(_NOT_UNDERSTOOD))

    def _take_in(self) -> None:
        operation, received = self._socket.recv_data_frame()
        if operation == websocket.ABNF.OPCODE_CLOSE:
            raise Ended("Tradovate closed the connection")
        text = bytes(received.data).decode()
        frame = frames.parse(text)
        self.heard_at = monotonic()
        self.last_frame_at = clock.now()
        self._put(frame, len(text))
        if self._chars > self._limits.backlog_chars:
            self._room.clear()
            self._room.wait()

    def _put(self, frame: Frame, chars: int) -> None:
        if frame.kind is Kind.CLOSE:
            words = quoted(frame.reason)
            raise Ended(f"Tradovate closed the connection{f': {words}' if words else ''}")
        if frame.kind is Kind.OPEN:
            self._is_open = True
        elif frame.messages:
            self._inbox.extend(frame.messages)
            self._chars += chars
        self._news.set()

    def _beat(self) -> None:
        try:
            while True:
                self.send(frames.BEAT)
                gevent.sleep(self._limits.beat_s)
        except Ended as e:
            self._end(e)

    def _end(self, ended: Ended) -> None:
        if self._ended is None:
            self._ended = ended
        self._news.set()


_NOT_UNDERSTOOD = "Tradovate sent something that could not be understood"


@cache
def _tls() -> ssl.SSLContext:
    """The same authorities as for REST."""
    return ssl.create_default_context(cafile=DEFAULT_CA_BUNDLE_PATH)


def _ended(error: Exception) -> Ended:
    """In our words: the library's contain what was received."""
    for kinds, words in _TROUBLE:
        if isinstance(error, kinds):
            return Ended(words)
    return Ended(LOST)


_TROUBLE: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((socket.gaierror,), "Tradovate's address could not be looked up"),
    ((ConnectionRefusedError,), "Tradovate could not be reached"),
    ((ssl.SSLCertVerificationError,), "Tradovate's certificate is not trusted"),
    ((TimeoutError, websocket.WebSocketTimeoutException), "Tradovate fell silent"),
    ((websocket.WebSocketConnectionClosedException,), LOST),
    ((websocket.WebSocketException, ValueError), _NOT_UNDERSTOOD),
)


def _refused_upgrade(error: websocket.WebSocketBadStatusException, quota_s: float) -> Ended:
    status = error.status_code
    wait_s = _retry_after_s(error.resp_headers)
    if wait_s is None and status == _TOO_MANY:
        wait_s = quota_s
    words = f"Tradovate answered {status} where a connection was asked for"
    return Ended(words, wait_s=wait_s, is_block=wait_s is not None)


def _retry_after_s(headers: Any) -> float | None:
    told = str((headers or {}).get("retry-after", ""))
    return min(float(told), _LONGEST_RETRY_AFTER_S) if told.isascii() and told.isdigit() else None
