"""User data: what brokers tell by themselves is taken in here, and here it is decided whose
streams run in this process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import gevent
from sqlalchemy import exists, select

from app import clock, faults
from app.brokers import registry
from app.brokers.base import AccountRef
from app.brokers.logins import BudgetState, LoginBroker, LoginRef, StreamState, StreamStatus
from app.domain.errors import TradingError, Unavailable
from app.domain.trading import BrokerReport
from app.extensions import db, ownership, writer
from app.models import Account, BrokerLogin
from app.services import fills, journal, live, logins, payloads, stream_states
from app.services.executor import executor
from app.services.live_push import pusher
from app.services.owned import get, owned
from app.transactions import Tx

log = logging.getLogger(__name__)

AT_ONCE = 5
SPREAD_S = 30.0
"""So many streams are opened at once; the others one after the other within this time."""
HELD_BACK_S = 1.0
"""How soon to look again at what waits for the outcome of an order of ours."""
STOP_S = 5.0
LIVE = StreamStatus.LIVE.value
_WANTED = select(
    BrokerLogin.id,
    BrokerLogin.user_id,
    BrokerLogin.broker,
    BrokerLogin.environment,
    BrokerLogin.state,
).where(
    BrokerLogin.is_wanted,
    BrokerLogin.deleted_at.is_(None),
    exists().where(Account.login_id == BrokerLogin.id, Account.deleted_at.is_(None)),
)

Check = Callable[[AccountRef, BrokerReport], None]


@dataclass(frozen=True, slots=True)
class StreamOf:
    """How an account's user stream stands. ``reconnects`` and ``gaps_repaired`` count since the
    log-in was made; ``last_message_at`` and ``budget`` are None where another process has it."""

    account: Account
    state: str
    since: datetime | None
    reason: str | None
    is_wanted: bool
    reconnects: int
    gaps_repaired: int
    blocked_until: datetime | None
    last_message_at: datetime | None
    budget: BudgetState | None

    @property
    def last_message_age_s(self) -> float | None:
        if self.last_message_at is None:
            return None
        return max(0.0, (clock.now() - self.last_message_at).total_seconds())


# What brokers tell.


def take_in(account: AccountRef, report: BrokerReport, source: str = "stream") -> None:
    """What a broker tells by itself: stored like an answer, and whoever waits looks again.

    Raises:
        Unavailable: the database cannot be written; nothing of the report was taken in. The
            log-in's lists are read when it can be again.
    """

    def work(tx: Tx) -> None:
        fills.apply(tx, account, report, source=source)
        live.apply(tx, account, report)

    faults.point("told")
    try:
        writer.run(work)
    except Unavailable:
        streams.note_missed(account)
        raise
    faults.point("taken in")
    executor.notify(account.id)
    streams.check(account, report)
    if live.is_holding_back(account.id):
        streams.look_again(account)


def on_taken_in(check: Check) -> None:
    """Call ``check`` after each report that is taken in, outside the transaction."""
    streams.checks.append(check)


def attach(name: str, broker: LoginBroker) -> None:
    """Let a broker that is reached through log-ins serve accounts, and hear what it tells."""
    registry.register(name, broker)
    broker.subscribe(_take_told)
    broker.watch(streams.on_state)


def _take_told(account: AccountRef, report: BrokerReport) -> None:
    """A complete report is one of lists that were read; all else came by the stream."""
    take_in(account, report, source="poll" if report.is_complete else "stream")


# What people ask for.


def connect(user_id: int, account_id: int) -> StreamOf:
    """Keep the stream of the account's log-in running, with all accounts of that log-in.

    Idempotent; one that was refused or stopped is tried again. Paper needs no stream.

    Raises:
        NotFound: not the user's account.
    """
    login = writer.run(lambda tx: _want(tx, user_id, account_id))
    if login is not None:
        streams.connect(login)
    return stream_of(user_id, account_id)


def disconnect(user_id: int, account_id: int) -> StreamOf:
    """End the stream of the account's log-in, for all accounts of that log-in. Idempotent.

    Raises:
        NotFound: not the user's account.
    """
    login = writer.run(lambda tx: _unwant(tx, user_id, account_id))
    if login is not None:
        streams.disconnect(login)
    return stream_of(user_id, account_id)


def stream_of(user_id: int, account_id: int) -> StreamOf:
    """
    Raises:
        NotFound: not the user's account.
    """
    db.session.commit()  # what was read before may have changed meanwhile
    account = get(Account, account_id, user_id)
    db.session.refresh(account)
    return _standings([account])[0]


def status(user_id: int) -> list[StreamOf]:
    """How the streams of all of the user's accounts stand."""
    return _standings(db.session.scalars(owned(Account, user_id).order_by(Account.id)).all())


def snapshot(user_id: int, account_id: int) -> dict[str, Any]:
    """What a page that begins to follow the account is told first. Ready for JSON."""
    standing = stream_of(user_id, account_id)
    return {**live.snapshot(account_id), "stream": _said(standing)}


def _said(standing: StreamOf) -> dict[str, Any]:
    return {
        "state": standing.state,
        "since": payloads.instant(standing.since),
        "reason": standing.reason,
        "reconnects": standing.reconnects,
        "gaps_repaired": standing.gaps_repaired,
        "blocked_until": payloads.instant(standing.blocked_until),
    }


def _standings(accounts: Sequence[Account]) -> list[StreamOf]:
    login_ids = {account.login_id for account in accounts if account.login_id is not None}
    rows = db.session.scalars(select(BrokerLogin).where(BrokerLogin.id.in_(login_ids)))
    by_id = {row.id: row for row in rows.all()}
    return [_standing(account, by_id.get(account.login_id or 0)) for account in accounts]


def _standing(account: Account, login: BrokerLogin | None) -> StreamOf:
    if login is None:
        since = account.created_at
        return StreamOf(account, LIVE, since, None, True, 0, 0, None, None, None)
    broker = _broker_of(login.broker)
    state = broker.state(login.id) if broker is not None and is_here(login.id) else None
    return StreamOf(
        account=account,
        state=login.state if state is None else state.status.value,
        since=login.state_since if state is None else state.since,
        reason=login.state_reason if state is None else state.reason,
        is_wanted=login.is_wanted,
        reconnects=login.reconnects,
        gaps_repaired=login.gaps_repaired,
        blocked_until=login.blocked_until if state is None else state.blocked_until,
        last_message_at=None if state is None else state.last_message_at,
        budget=broker.budget(login.id) if broker is not None else None,
    )


def _login_of(tx: Tx, user_id: int, account_id: int) -> BrokerLogin | None:
    account = get(Account, account_id, user_id, session=tx.session)
    if account.login_id is None:
        return None
    return get(BrokerLogin, account.login_id, user_id, session=tx.session)


def _want(tx: Tx, user_id: int, account_id: int) -> LoginRef | None:
    row = _login_of(tx, user_id, account_id)
    if row is None:
        return None
    row.is_wanted = True
    if row.state == StreamStatus.STOPPED:
        _set_state(tx, row, StreamStatus.CONNECTING, "connecting")
    return logins.ref(row)


def _unwant(tx: Tx, user_id: int, account_id: int) -> LoginRef | None:
    row = _login_of(tx, user_id, account_id)
    if row is None:
        return None
    if row.is_wanted:
        row.is_wanted = False
        _set_state(tx, row, StreamStatus.STOPPED, "disconnected")
        words = f"Disconnected from {stream_states.name_of(logins.ref(row))}, as you asked."
        for account in stream_states.accounts_of(tx, row.id):
            journal.write(tx, user_id, "disconnected", words, account_id=account.id)
    return logins.ref(row)


def _set_state(tx: Tx, row: BrokerLogin, state: StreamStatus, account_status: str) -> None:
    row.state, row.state_since, row.state_reason = state.value, clock.now(), None
    for account in stream_states.accounts_of(tx, row.id):
        stream_states.set_status(tx, account, row, account_status)


def _broker_of(name: str) -> LoginBroker | None:
    return logins.broker_of(name) if name in registry.names() else None


# Whose streams run here.


def is_here(login_id: int) -> bool:
    """Whether this process has the log-in's stream."""
    return login_id in streams.here


def serves(account: AccountRef) -> bool:
    """Whether the account is traded by this process: by the one that has the log-in's session and
    budget, taken now where nobody has it."""
    return account.login_id is None or account.login_id in ownership.hold([account.login_id])


class Streams:
    """The streams of this process. A log-in's stream runs in one process only, whoever claimed it
    first; its owner's end is noticed by the next ``supervise`` of another."""

    def __init__(self) -> None:
        self.checks: list[Check] = []
        self.here: dict[int, LoginRef] = {}
        self._lines = stream_states.Lines()
        self._counts = stream_states.Counts()
        self._opening: dict[int, gevent.Greenlet] = {}
        self._looking: set[int] = set()
        self._missed: dict[int, LoginRef] = {}
        self._is_running = False

    def reset(self) -> None:
        """Forget what an earlier app of this process was asked."""
        self.checks.clear()
        self._missed.clear()
        self._looking.clear()
        live.clear()
        pusher.clear()

    def start(self) -> None:
        self._is_running = True
        self.supervise()

    def stop(self) -> None:
        """End every stream of this process; what is wanted starts again with the next process."""
        self._is_running = False
        gevent.killall(list(self._opening.values()))
        self._opening.clear()
        closing = [gevent.spawn(self._close, login) for login in self.here.values()]
        gevent.joinall(closing, timeout=STOP_S)
        self._lines.clear()
        self.here.clear()

    def supervise(self) -> None:
        """Open what is wanted and free, close what is not (or no more) ours, catch up on what
        could not be taken in."""
        if not self._is_running:
            return
        wanted = self._wanted()
        ours = ownership.hold(wanted.keys())
        for login_id in self.here.keys() - ours:
            self._leave(self.here[login_id])
        new = [wanted[id_] for id_ in sorted(ours) if self._is_to_open(wanted[id_])]
        for place, row in enumerate(new):
            late = max(0, place - AT_ONCE + 1) * SPREAD_S / max(len(new), 1)
            login = LoginRef(row.id, row.user_id, row.broker, row.environment)
            self._opening[row.id] = gevent.spawn_later(late, self._open, login)
        self._catch_up()

    def connect(self, login: LoginRef) -> None:
        """Open it now, or leave that to the process that has it."""
        if not self._is_running or login.id not in ownership.hold([login.id]):
            return
        self._lines.forget(login.id)  # who asks is told at once
        self._open(login)

    def disconnect(self, login: LoginRef) -> None:
        opening = self._opening.pop(login.id, None)
        if opening is not None:
            opening.kill()
        if login.id in self.here:
            self._leave(login)

    def check(self, account: AccountRef, report: BrokerReport) -> None:
        for check in self.checks:
            try:
                check(account, report)
            except Exception:  # the loop's edge: the report is stored, and the next check goes on
                log.exception("check failed", extra={"account_id": account.id})

    def look_again(self, account: AccountRef) -> None:
        """Settle soon what ``live`` holds back: the answer to an order of ours says whose it is."""
        if account.id not in self._looking and self._is_running:
            self._looking.add(account.id)
            gevent.spawn_later(HELD_BACK_S, self._look, account)

    def note_missed(self, account: AccountRef) -> None:
        login = self.here.get(account.login_id or 0)
        if login is not None:
            self._missed[login.id] = login

    def on_state(self, login: LoginRef, state: StreamState) -> None:
        """What a stream tells of itself (``LoginListener``)."""
        if not self._is_running or login.id not in self.here:
            return
        writer.run(lambda tx: stream_states.store(tx, login, state, self._counts))
        self._lines.note(login, state)

    def _wanted(self) -> dict[int, Any]:
        """The rows (``_WANTED``) of the log-ins whose streams are to run somewhere."""
        with writer.read() as connection:
            rows = connection.execute(_WANTED).all()
        return {row.id: row for row in rows if _broker_of(row.broker) is not None}

    def _is_to_open(self, row: Any) -> bool:
        """Whether it does not run; one that was refused waits for a person."""
        if row.id in self._opening:
            return False
        broker = _broker_of(row.broker)
        state = broker.state(row.id) if broker is not None else None
        if state is None or row.id not in self.here:
            return state is None or not state.is_refused
        if state.status is not StreamStatus.STOPPED:
            return False
        return not state.is_refused or row.state != StreamStatus.STOPPED

    def _open(self, login: LoginRef) -> None:
        self._opening.pop(login.id, None)
        broker = _broker_of(login.broker)
        if broker is None:
            return
        state = broker.state(login.id)
        if state is not None and state.status is StreamStatus.STOPPED:
            self.here.pop(login.id, None)  # its end is no news
            self._close(login)
        self.here[login.id] = login
        try:
            broker.open(login)
        except Exception:  # the greenlet's edge: the next look tries again
            log.exception("stream not opened", extra={"login_id": login.id})
            self.here.pop(login.id, None)

    def _leave(self, login: LoginRef) -> None:
        self.here.pop(login.id, None)
        self._lines.forget(login.id)
        self._close(login)
        ownership.let_go(login.id)

    def _close(self, login: LoginRef) -> None:
        broker = _broker_of(login.broker)
        try:
            if broker is not None:
                broker.close(login.id)
        except Exception:  # the loop's edge: the others are closed all the same
            log.exception("stream not closed", extra={"login_id": login.id})
        self._counts.forget(login.id)

    def _catch_up(self) -> None:
        for login in list(self._missed.values()):
            broker = _broker_of(login.broker)
            try:
                if broker is not None and login.id in self.here:
                    broker.poll(login)
                del self._missed[login.id]
            except TradingError as e:
                log.warning("not caught up", extra={"login_id": login.id, "reason": e.detail})

    def _look(self, account: AccountRef) -> None:
        self._looking.discard(account.id)
        if not self._is_running:
            return
        try:
            take_in(account, BrokerReport())
        except Unavailable:
            self.look_again(account)


streams = Streams()
