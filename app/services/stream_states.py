"""What becomes of a stream's states: the log-in's row, the status of its accounts, events, and a
line in the log where a person would want one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic

import gevent
from sqlalchemy import select

from app.brokers.logins import LoginRef, StreamState, StreamStatus
from app.extensions import writer
from app.models import Account, BrokerLogin
from app.services import account_status, journal, payloads
from app.services.live_push import pusher
from app.transactions import Tx

log = logging.getLogger(__name__)

FLAP_S = 10.0
"""What comes and goes faster than this is one line in the log."""
_REASON_LENGTH = 500

_STATUS = {
    StreamStatus.LIVE: "connected",
    StreamStatus.DEGRADED: "degraded",
    StreamStatus.CONNECTING: "connecting",
    StreamStatus.AUTHENTICATING: "connecting",
    StreamStatus.SYNCING: "connecting",
    StreamStatus.DISCONNECTED: "disconnected",
    StreamStatus.STOPPED: "disconnected",
}
_BROKERS = {"tradovate": "Tradovate"}


def store(tx: Tx, login: LoginRef, state: StreamState, counts: Counts) -> None:
    """Write a state to the log-in and its accounts, as part of ``tx``. What comes after a
    person's *disconnect* changes nothing."""
    row = tx.session.get(BrokerLogin, login.id)
    if row is None or row.deleted_at is not None or not row.is_wanted:
        return
    row.state, row.state_since = state.status.value, state.since
    row.state_reason = _cut(state.reason)
    row.blocked_until = state.blocked_until
    counts.add(row, state)
    trouble = _trouble(login, state)
    status = "error" if state.is_refused else _STATUS[state.status]
    for account in accounts_of(tx, login.id):
        set_status(tx, account, row, status, trouble)


def set_status(
    tx: Tx, account: Account, login: BrokerLogin, status: str, trouble: str | None = None
) -> None:
    """Give an account the status that its stream's state means, and tell who looks."""
    message = {"account_id": account.id, **payloads.stream(login)}
    tx.after_commit(lambda: pusher.offer(account.id, "account:stream", "", message))
    if account.status == "disabled" or (account.status, account.last_error) == (status, trouble):
        return
    account.status, account.last_error = status, trouble
    tx.record(
        account.user_id,
        "account:status",
        {**account_status.event(account), "stream": payloads.stream(login)},
    )


def accounts_of(tx: Tx, login_id: int) -> Sequence[Account]:
    query = select(Account).where(Account.login_id == login_id, Account.deleted_at.is_(None))
    return tx.session.scalars(query.order_by(Account.id)).all()


def name_of(login: LoginRef) -> str:
    """What people call it: ``Tradovate demo``."""
    return f"{_BROKERS.get(login.broker, login.broker)} {login.environment}"


def _trouble(login: LoginRef, state: StreamState) -> str | None:
    """What a person must know or do, in words; None where waiting is enough."""
    if state.is_refused:
        return _cut(state.reason or f"{name_of(login)} refused the log-in.")
    if state.blocked_until is not None and state.status is StreamStatus.DISCONNECTED:
        until = _time(state.blocked_until)
        return _cut(f"{name_of(login)} asks to wait until {until}. {state.reason or ''}".rstrip())
    return None


def _cut(text: str | None) -> str | None:
    return None if text is None else text[:_REASON_LENGTH]


def _time(at: datetime) -> str:
    return f"{at:%H:%M:%S} UTC"


class Counts:
    """Adds up what streams count from their own start."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, int]] = {}

    def add(self, row: BrokerLogin, state: StreamState) -> None:
        """A synchronisation counts as a repaired gap once, if it brought what was missed."""
        reconnects, epoch = self._seen.get(row.id, (0, 0))
        row.reconnects += max(0, state.reconnects - reconnects)
        if state.status is StreamStatus.LIVE and state.epoch != epoch:
            row.gaps_repaired += bool(state.repaired)
            epoch = state.epoch
        self._seen[row.id] = (state.reconnects, epoch)

    def forget(self, login_id: int) -> None:
        """Its next stream counts anew."""
        self._seen.pop(login_id, None)


# Lines in the log.


@dataclass(slots=True)
class _Told:
    """The newest line about a log-in (``kind``), and what has happened since."""

    kind: str
    at: float
    epoch: int = 0
    lost_at: datetime | None = None
    losses: int = 0
    repaired: int = 0
    newest: StreamState | None = None
    timer: gevent.Greenlet | None = field(default=None, repr=False)


class Lines:
    """Says what a person cares about: connected, lost, refused. The first of a flapping is said
    at once; how it ended, when ``FLAP_S`` have passed."""

    def __init__(self) -> None:
        self._told: dict[int, _Told] = {}

    def note(self, login: LoginRef, state: StreamState) -> None:
        kind = _kind(state)
        if kind is None:
            return
        told = self._told.setdefault(login.id, _Told("", -FLAP_S))
        self._gather(told, kind, state)
        told.newest = state
        left = told.at + FLAP_S - monotonic()
        if left <= 0 or kind == "refused":
            self._say(login, told)
        elif told.timer is None:
            told.timer = gevent.spawn_later(left, self._say, login, told)

    def forget(self, login_id: int) -> None:
        told = self._told.pop(login_id, None)
        if told is not None and told.timer is not None:
            told.timer.kill(block=False)

    def clear(self) -> None:
        for login_id in list(self._told):
            self.forget(login_id)

    def _gather(self, told: _Told, kind: str, state: StreamState) -> None:
        if kind == "lost" and told.lost_at is None:
            told.lost_at, told.losses = state.since, told.losses + 1
        if kind == "live" and state.epoch != told.epoch:
            told.repaired, told.epoch = told.repaired + state.repaired, state.epoch

    def _say(self, login: LoginRef, told: _Told) -> None:
        told.timer = None
        state = told.newest
        kind = None if state is None else _kind(state)
        if state is None or kind is None:
            return
        is_news = kind != told.kind or (kind == "live" and (told.losses or told.repaired))
        if is_news:
            _write(login, kind, _words(login, kind, state, told))
            told.kind, told.at = kind, monotonic()
        if kind == "live":
            told.lost_at, told.losses, told.repaired = None, 0, 0
        told.newest = None


def _kind(state: StreamState) -> str | None:
    if state.is_refused:
        return "refused"
    return {StreamStatus.LIVE: "live", StreamStatus.DISCONNECTED: "lost"}.get(state.status)


def _words(login: LoginRef, kind: str, state: StreamState, told: _Told) -> str:
    reason = (state.reason or "").rstrip(".")
    if kind == "refused":
        trouble = reason or "the log-in was refused"
        return f"{name_of(login)}: {trouble}. It is not tried again before you connect it."
    if kind == "lost":
        wait = f" Not before {_time(state.blocked_until)}." if state.blocked_until else ""
        verb = "was lost" if told.kind == "live" else "could not be made"
        why = f": {reason}" if reason else ""
        return f"The connection to {name_of(login)} {verb}{why}. Trying again.{wait}"
    words = f"Connected to {name_of(login)}."
    if told.lost_at is not None and told.kind:
        seconds = max(0.0, (state.since - told.lost_at).total_seconds())
        words = f"Connected to {name_of(login)} again after {seconds:.0f} s."
    if told.repaired:
        changes = "1 change" if told.repaired == 1 else f"{told.repaired} changes"
        words += f" Took in {changes} that had been missed."
    return words


_EVENTS = {
    "live": ("connected", "info"),
    "lost": ("connection_lost", "warning"),
    "refused": ("login_refused", "error"),
}


def _write(login: LoginRef, kind: str, words: str) -> None:
    event, level = _EVENTS[kind]

    def work(tx: Tx) -> None:
        for account in accounts_of(tx, login.id):
            data = {"login_id": login.id}
            journal.write(
                tx, login.user_id, event, words, level=level, account_id=account.id, data=data
            )

    try:
        writer.run(work)
    except Exception:  # the edge of a greenlet: a line is lost, the state is not
        log.exception("could not note a connection", extra={"login_id": login.id})
