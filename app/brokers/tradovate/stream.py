"""The user stream of one Tradovate log-in: kept up for as long as it can be, by one greenlet that
makes every call of ours (user-data streams reference, section 7)."""

from __future__ import annotations

import logging
import random
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, Protocol, TypeVar

import gevent
from gevent.event import Event as Signal

from app import clock
from app.brokers.logins import LoginRef, StreamState, StreamStatus
from app.brokers.tradovate import frames
from app.brokers.tradovate.errors import quoted, refusal
from app.brokers.tradovate.frames import Change, Message, Reply
from app.brokers.tradovate.link import Ended, Link, within
from app.brokers.tradovate.link import Limits as Limits
from app.domain.errors import BrokerError, BrokerRateLimited, BrokerRefused

log = logging.getLogger(__name__)

_AUTHORIZE, _SYNC = 0, 1
"""The numbers of the two requests that a connection makes."""
_NO_ACCESS = frozenset({401, 403})
_NO_SYNC = "the API key may have no permission for users; live updates need it"
_SESSION_LIMIT = 408
_FRESH_TOKENS = 3
"""So many refused new tokens, one after the other, are no coincidence."""
_TOO_MANY = 429
_FIRST_SERVER_FAULT = 500
_FINAL = frozenset({"bad_credentials", "captcha", "no_permission"})
"""Refusals that only a person can do something about."""
_STOP_S = 2.0
_GOODBYE_S = 0.4
"""Time to close a connection; what dials or is stuck is cut short after that."""
_FAULT = "An error of ours; it is in the log"
_QUOTAS = {
    "ConnectionQuotaReached": "Tradovate closed the connection: this user has too many",
    "IPQuotaReached": "Tradovate closed the connection: too many from this address",
}
_MAINTENANCE = "Tradovate closed the connection for maintenance"
_POLLING = "No live connection to Tradovate for {minutes:.0f} minutes: polling instead"
_random = random.SystemRandom()

_T = TypeVar("_T")


class TokenSource(Protocol):
    """What a stream needs of a session."""

    def token(self) -> str:
        """A token that is good now. May call the broker.

        Raises:
            BrokerError: there is none, for now or until a person acts.
        """
        ...

    def user_id(self) -> int: ...

    def forget(self, token: str | None = None) -> None:
        """This token is not accepted any more; another one that is in use by now stays."""
        ...


class _Refused(Exception):
    """No retry until a person acts."""

    def __init__(self, reason: str, *, block_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.block_s = block_s


def pause_s(failures: int, limits: Limits) -> float:
    """Full jitter: between the shortest pause and twice as much with every failure so far."""
    longest = min(limits.longest_pause_s, limits.first_pause_s * 2 ** min(failures, 32))
    return max(limits.shortest_pause_s, _random.uniform(0, longest))


class UserStream:
    """``start`` and ``stop`` as often as you like; both are idempotent.

    Callbacks come from one greenlet, one at a time. ``on_sync`` gets the parts of a snapshot (at
    least one; a part may be None) before the state is live and may say how much it repaired;
    ``on_change`` gets everything that has arrived since, in order; ``on_state`` every change of the
    state. If ``accounts``, ``on_sync`` or ``on_change`` raises, the stream connects and
    synchronises again; if ``on_state`` does, that is only logged.
    """

    def __init__(
        self,
        login: LoginRef,
        session: TokenSource,
        ws_url: str,
        *,
        accounts: Callable[[], list[int]],
        on_change: Callable[[list[Change]], None],
        on_sync: Callable[[list[Any]], int | None],
        on_state: Callable[[StreamState], None],
        limits: Limits | None = None,
        first_delay_s: float = 0.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._login = login
        self._session = session
        self._url = ws_url
        self._accounts = accounts
        self._on_change = on_change
        self._on_sync = on_sync
        self._on_state = on_state
        self._limits = limits or Limits()
        self._first_delay_s = first_delay_s
        self._tls = tls
        self._state = StreamState(StreamStatus.STOPPED, since=clock.now())
        self._driver: gevent.Greenlet | None = None
        self._stopping = Signal()
        self._link: Link | None = None
        self._last_message_at: datetime | None = None
        self._is_in_call = False
        self._wants_resync = False
        self._dials = 0
        self._failures = 0
        self._live_since = self._not_live_since = monotonic()
        self._is_polling = False
        self._lost_tokens = 0
        self._uses_old_form = False
        self._has_tried_old_form = False
        self._ticket: str | None = None

    @property
    def state(self) -> StreamState:
        heard = self._link.last_frame_at if self._link is not None else None
        return replace(self._state, last_message_at=heard or self._last_message_at)

    def start(self) -> None:
        """Returns at once. The first start waits for ``first_delay_s``, so that a process that
        begins with many log-ins does not dial them all at the same moment."""
        driver = self._driver
        if driver is not None and not driver.dead:
            if driver is gevent.getcurrent():
                self._stopping.clear()
                return
            if not self._stopping.is_set():
                return
            self.stop()
        self._stopping.clear()
        self._not_live_since = monotonic()
        self._is_polling = False
        self._lost_tokens = 0
        self._failures = 0
        self._driver = gevent.spawn(self._run)

    def stop(self) -> None:
        """Returns within two seconds, with every greenlet of the stream ended. From a callback it
        only asks for it."""
        driver = self._driver
        self._stopping.set()
        if self._link is not None:
            self._link.wake()
        if driver is None or driver is gevent.getcurrent():
            return
        until = monotonic() + _STOP_S
        driver.join(self._limits.stop_grace_s if self._is_in_call else _GOODBYE_S)
        driver.kill(timeout=max(0.0, until - monotonic()))

    def resync(self) -> None:
        """Connect again for the accounts that there are now; there is one synchronisation per
        connection. Nothing to do where none is up: the next one asks ``accounts`` anyway."""
        self._wants_resync = True
        if self._link is not None:
            self._link.wake()

    # One connection after the other.

    def _run(self) -> None:
        try:
            delay_s, self._first_delay_s = self._first_delay_s, 0.0
            self._stopping.wait(delay_s)
            while not self._stopping.is_set():
                self._rest(self._connect())
            self._become(StreamStatus.STOPPED)
        except _Refused as e:
            log.warning("user stream refused", extra=self._ids | {"reason": e.reason})
            self._become(
                StreamStatus.STOPPED, e.reason, is_refused=True, blocked_until=_in(e.block_s)
            )
        except gevent.GreenletExit:
            self._become(StreamStatus.STOPPED)

    def _connect(self) -> Ended:
        """From asking for a token to the end of the connection, and why it came to that.

        Raises:
            _Refused: there is no use in trying again.
        """
        ended = Ended(_FAULT)
        try:
            self._hold_one()
        except Ended as e:
            ended = e
        except BrokerError as e:
            ended = self._denied(e)
        except _Refused:
            raise
        except (Exception, gevent.Timeout):  # the loop's edge
            log.exception("user stream failed", extra=self._ids)
        return ended

    def _hold_one(self) -> None:
        with self._guarded():
            token = self._session.token()
        self._dials += 1
        self._become(StreamStatus.CONNECTING)
        with self._linked() as link:
            self._authorize(link, token)
            self._synchronise(link)
            self._stay(link)

    @contextmanager
    def _linked(self) -> Iterator[Link]:
        link = Link(self._url, self._limits, self._tls)
        self._link = link
        try:
            link.open()
            yield link
        finally:
            self._last_message_at = link.last_frame_at or self._last_message_at
            self._link = None
            link.close()

    def _denied(self, error: BrokerError) -> Ended:
        is_limited = isinstance(error, BrokerRateLimited)
        block_s = error.retry_after_s if isinstance(error, BrokerRateLimited) else None
        if isinstance(error, BrokerRefused) and error.code in _FINAL:
            if error.code == "captcha" and block_s is None:
                block_s = self._limits.lock_s
            raise _Refused(error.detail, block_s=block_s)
        return Ended(error.detail, wait_s=block_s, is_block=is_limited)

    def _rest(self, ended: Ended) -> None:
        """Stay away for as long as it takes."""
        if self._stopping.is_set():
            return
        if self._state.status is StreamStatus.LIVE:
            self._leave_live()
        pause = self._pause_after(ended)
        log.log(
            logging.INFO if ended.is_planned else logging.WARNING,
            "user stream ended",
            extra=self._ids | {"reason": ended.reason, "pause_s": round(pause, 2)},
        )
        until = monotonic() + pause
        blocked_until = _in(pause) if ended.is_block else None
        self._become(StreamStatus.DISCONNECTED, ended.reason, blocked_until=blocked_until)
        while (left := until - monotonic()) > 0 and not self._stopping.is_set():
            due = self._not_live_since + self._limits.polling_after_s - monotonic()
            if due <= 0 and not self._is_polling:
                self._is_polling = True
                words = _POLLING.format(minutes=self._limits.polling_after_s / 60)
                self._become(StreamStatus.DEGRADED, words, blocked_until=blocked_until)
            self._stopping.wait(min(left, due) if due > 0 else left)

    def _pause_after(self, ended: Ended) -> float:
        limits = self._limits
        if ended.is_planned:
            return _random.uniform(limits.shortest_pause_s, 2 * limits.shortest_pause_s)
        pause = pause_s(self._failures, limits)
        self._failures += 1
        if ended.wait_s is None:
            return pause
        spread = min(ended.wait_s, limits.longest_pause_s)
        return max(pause, ended.wait_s + _random.uniform(0, spread))

    # The steps of one connection.

    def _authorize(self, link: Link, token: str) -> None:
        self._become(StreamStatus.AUTHENTICATING)
        late = "Tradovate did not answer the authorisation in time"
        with within(self._limits.authenticating_s, late):
            link.send(frames.request(frames.AUTHORIZE, _AUTHORIZE, body=token))
            reply, _ = self._reply_to(_AUTHORIZE, link)
        self._raise_limits(reply)
        if reply.status in _NO_ACCESS:
            self._lose_token(token)
        if reply.status == _SESSION_LIMIT:
            self._session.forget(token)
        if not reply.is_good:
            raise Ended(f"Tradovate answered {reply.status} to the authorisation")
        self._lost_tokens = 0
        link.beat()

    def _lose_token(self, token: str) -> None:
        """Try with fresh tokens, the first at once; if several are refused, it is not the token.
        One may have been ended by somebody else's signing in, just as the one before it."""
        self._session.forget(token)
        self._lost_tokens += 1
        if self._lost_tokens > _FRESH_TOKENS:
            raise _Refused("Tradovate refuses this log-in's sessions, also new ones")
        is_first = self._lost_tokens == 1
        raise Ended("Tradovate did not accept the session", is_planned=is_first)

    def _synchronise(self, link: Link) -> None:
        self._become(StreamStatus.SYNCING)
        late = "Synchronising with Tradovate took too long"
        with within(self._limits.syncing_s, late):
            body = self._sync_body()
            link.send(frames.request(frames.SYNC, _SYNC, body=body))
            reply, arrived = self._reply_to(_SYNC, link)
            self._check_sync(reply, is_old_form="users" in body)
            further, held = self._further_parts(link, arrived)
            parts = [reply.data, *further]
            self._look_at(parts, is_old_form="users" in body)
            repaired = self._call(self._on_sync, parts) or 0
            self._deliver(held + link.take(0))
            link.check()
            self._check_wishes()
        self._is_polling = False
        self._become(StreamStatus.LIVE, epoch=self._state.epoch + 1, repaired=repaired)

    def _sync_body(self) -> dict[str, Any]:
        self._wants_resync = False
        accounts = self._call(lambda _: self._accounts(), None)
        ticket, self._ticket = self._ticket, None
        if accounts and not self._uses_old_form:
            return frames.sync_body(accounts, ticket=ticket)
        with self._guarded():
            return frames.old_sync_body(self._session.user_id(), ticket=ticket)

    def _check_sync(self, reply: Reply, *, is_old_form: bool) -> None:
        self._raise_limits(reply)
        refused = refusal(reply.data) if reply.is_good else None
        if reply.is_good and refused is None:
            return
        words = f"({refused.detail})" if refused else f"with {reply.status}"
        reason = f"Tradovate refused to synchronise {words}"
        if reply.status in _NO_ACCESS:
            raise Ended(f"{reason}: {_NO_SYNC}")
        if reply.status >= _FIRST_SERVER_FAULT:
            raise Ended(reason)  # this is not about the form either
        # There is one try per connection: the other form needs another one.
        self._uses_old_form = not is_old_form
        is_first = not is_old_form and not self._has_tried_old_form
        self._has_tried_old_form = True
        raise Ended(reason, is_planned=is_first)

    def _look_at(self, parts: list[Any], *, is_old_form: bool) -> None:
        if any(frames.has_wanted_arrays(part) for part in parts):
            return
        log.warning("user stream's snapshot is empty", extra=self._ids)
        if is_old_form:
            # The server is of 2026 and sends nothing that is not named.
            self._uses_old_form = False

    def _further_parts(self, link: Link, arrived: list[Message]) -> tuple[list[Any], list[Message]]:
        """What else belongs to the snapshot, and what does not. A part that comes later than this
        waits for it is a change like any other."""
        parts: list[Any] = []
        others: list[Message] = []
        until = monotonic() + self._limits.parts_gap_s
        while True:
            found = [message.data for message in arrived if _is_part(message)]
            others += [message for message in arrived if not _is_part(message)]
            if found:
                parts += found
                until = monotonic() + self._limits.parts_gap_s
            left = until - monotonic()
            if left <= 0:
                return parts, others
            arrived = link.take(left)
            self._check_wishes()

    def _stay(self, link: Link) -> None:
        """Deliver until the connection ends."""
        soft_s, hard_s = self._limits.soft_silence_s, self._limits.hard_silence_s
        quiet_since = monotonic()
        while True:
            self._check_wishes()
            is_live = self._state.status is StreamStatus.LIVE
            silent_s = monotonic() - max(link.heard_at, quiet_since)
            messages = link.take((soft_s if is_live else hard_s) - silent_s)
            if messages:
                self._deliver(messages)
                # What we did not listen to meanwhile is no silence of theirs.
                quiet_since = monotonic()
            self._mind_silence(link, monotonic() - max(link.heard_at, quiet_since))

    def _mind_silence(self, link: Link, silent_s: float) -> None:
        limits = self._limits
        if silent_s >= limits.hard_silence_s:
            raise Ended(f"Nothing was heard of Tradovate for {limits.hard_silence_s:g} seconds")
        if silent_s < limits.soft_silence_s:
            if self._state.status is StreamStatus.DEGRADED:
                self._become(StreamStatus.LIVE)
        elif self._state.status is StreamStatus.LIVE:
            words = f"Nothing was heard of Tradovate for {limits.soft_silence_s:g} seconds"
            self._become(StreamStatus.DEGRADED, words)
            link.send(frames.BEAT)

    def _deliver(self, messages: list[Message]) -> None:
        """One call for all of it. A notice of shutdown ends the connection after that."""
        changes: list[Change] = []
        ended: Ended | None = None
        for message in messages:
            if isinstance(message, Reply):
                changes += frames.entities(message.data) if _is_part(message) else ()
            elif message.name == "props":
                changes += frames.changes(message.data)
            elif message.name == "shutdown":
                ended = ended or self._shutdown(message.data)
        if changes:
            self._call(self._on_change, changes)
        if ended is not None:
            raise ended

    def _shutdown(self, data: Any) -> Ended:
        told = data if isinstance(data, dict) else {}
        code = told.get("reasonCode")
        if code in _QUOTAS:
            return Ended(_QUOTAS[code], wait_s=self._limits.quota_s, is_block=True)
        if code == "Maintenance":
            return Ended(_MAINTENANCE, wait_s=self._limits.maintenance_s, is_block=True)
        words = quoted(told.get("reason")) or quoted(code)
        return Ended(f"Tradovate closed the connection{f': {words}' if words else ''}")

    def _reply_to(self, number: int, link: Link) -> tuple[Reply, list[Message]]:
        """The answer, and everything else that came before and with it."""
        others: list[Message] = []
        while True:
            messages = link.take(self._limits.hard_silence_s)
            self._check_stop()
            for place, message in enumerate(messages):
                if isinstance(message, Reply) and message.id == number:
                    return message, others + messages[place + 1 :]
                others.append(message)

    def _raise_limits(self, reply: Reply) -> None:
        """Nothing, for an answer that is about the request.

        Raises:
            Ended: the broker wants us to stay away.
            _Refused: ... until a person has shown to be one.
        """
        if reply.status == _TOO_MANY:
            words = "Tradovate has locked this log-in for about an hour: too many requests"
            raise Ended(words, wait_s=self._limits.lock_s, is_block=True)
        if not isinstance(reply.data, dict) or "p-ticket" not in reply.data:
            return
        if reply.data.get("p-captcha"):
            words = "Tradovate asks for a captcha: sign in there in a browser"
            raise _Refused(words, block_s=self._limits.lock_s)
        self._ticket = str(reply.data["p-ticket"])
        raise Ended(
            "Tradovate asks to slow down", wait_s=_seconds(reply.data.get("p-time")), is_block=True
        )

    def _check_stop(self) -> None:
        if self._stopping.is_set():
            raise Ended("Stopped", is_planned=True)

    def _check_wishes(self) -> None:
        """Once the accounts were named, others need another connection."""
        self._check_stop()
        if self._wants_resync:
            raise Ended("The accounts have changed", is_planned=True)

    # Calls of ours, and states.

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """A token is renewed or something is stored: ``stop`` gives it time to end."""
        self._is_in_call = True
        try:
            yield
        finally:
            self._is_in_call = False

    def _call(self, callback: Callable[[Any], _T], argument: Any) -> _T:
        try:
            with self._guarded():
                return callback(argument)
        except (BrokerError, Ended):
            raise
        except Exception as e:
            log.exception("a callback of the user stream failed", extra=self._ids)
            raise Ended(_FAULT) from e

    def _become(self, status: StreamStatus, reason: str | None = None, **more: Any) -> None:
        if self._state.status is StreamStatus.LIVE:
            self._leave_live()
        if status is StreamStatus.LIVE:
            self._live_since = monotonic()
        blank = {"is_refused": False, "blocked_until": None, "reconnects": max(0, self._dials - 1)}
        self._state = replace(
            self.state, status=status, since=clock.now(), reason=reason, **blank | more
        )
        try:
            with self._guarded():
                self._on_state(self._state)
        except (Exception, gevent.Timeout):  # what is not shown does not stop what is traded
            log.exception("a listener to a stream's state failed", extra=self._ids)

    def _leave_live(self) -> None:
        self._not_live_since = monotonic()
        if self._not_live_since - self._live_since >= self._limits.stable_s:
            self._failures = 0

    @property
    def _ids(self) -> dict[str, int]:
        return {"login_id": self._login.id}


def _is_part(message: Message) -> bool:
    return isinstance(message, Reply) and message.id == _SYNC and message.is_good


def _in(seconds: float | None) -> datetime | None:
    return None if seconds is None else clock.now() + timedelta(seconds=seconds)


def _seconds(value: Any) -> float:
    try:
        return max(1.0, float(value))
    except (TypeError, ValueError):
        return 60.0
