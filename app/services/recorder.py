"""The recorder's poll: every log-in that somebody trades on or records is read in its turn.

The user stream tells the same within milliseconds; what it lost comes here, through the same door.
One poll reads the lists of a whole log-in. Each log-in has its own greenlet, deadline, back-off and
breaker, so that one that hangs or fails never delays the others.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import gevent
from sqlalchemy import bindparam, exists, or_, select, update

from app import clock
from app.brokers import registry
from app.brokers.logins import BudgetState, LoginBroker, LoginRef
from app.domain.errors import BrokerError, BrokerRateLimited, TradingError
from app.extensions import db, writer
from app.models import Account, BrokerLogin, Strategy, Trader
from app.models.base import table
from app.services import journal, user_data
from app.services.owned import owned
from app.transactions import Tx

log = logging.getLogger(__name__)

EVERY_S = 1.0
"""How often the job looks which log-in is due."""
LONGEST_S = 300.0
DEADLINE_S = 20.0
REQUESTS_PER_POLL = 5
"""The lists of accounts, positions, orders, fills and cash balances."""
SHARE_OF_BUDGET = 0.25
MOST_BACK_OFF_S = 600.0
TRIES = 3
"""After so many failures one after the other the breaker opens and people are told."""
_LOOK_EVERY_S = 5.0
_GOLDEN = 0.6180339887
"""Multiples of it spread evenly over a circle, however many there are."""

_LOGINS = table(BrokerLogin)
_ACCOUNTS = table(Account)
_STRATEGIES = table(Strategy)
_TRADERS = table(Trader)
_IS_USED = or_(
    exists().where(
        _STRATEGIES.c.demo_account_id == _ACCOUNTS.c.id,
        _STRATEGIES.c.recording,
        _STRATEGIES.c.deleted_at.is_(None),
    ),
    exists().where(
        _TRADERS.c.account_id == _ACCOUNTS.c.id,
        _TRADERS.c.enabled,
        _TRADERS.c.deleted_at.is_(None),
    ),
)
_USED_LOGINS = select(
    _LOGINS.c.id, _LOGINS.c.user_id, _LOGINS.c.broker, _LOGINS.c.environment, _LOGINS.c.polled_at
).where(
    _LOGINS.c.is_wanted,
    _LOGINS.c.deleted_at.is_(None),
    or_(_LOGINS.c.blocked_until.is_(None), _LOGINS.c.blocked_until <= bindparam("now")),
    exists().where(
        _ACCOUNTS.c.login_id == _LOGINS.c.id, _ACCOUNTS.c.deleted_at.is_(None), _IS_USED
    ),
)


@dataclass(frozen=True, slots=True)
class Polling:
    """How a log-in is polled. ``trouble``: why it failed last, None while it works;
    ``is_paused``: its breaker is open until ``next_at``."""

    interval_s: float
    polled_at: datetime | None
    next_at: datetime | None = None
    failures: int = 0
    trouble: str | None = None

    @property
    def is_paused(self) -> bool:
        return self.failures >= TRIES


@dataclass(slots=True)
class _Line:
    """One log-in's turn."""

    login: LoginRef
    due: datetime
    polled_at: datetime | None
    failures: int = 0
    trouble: str | None = None
    greenlet: gevent.Greenlet | None = None

    @property
    def is_busy(self) -> bool:
        return self.greenlet is not None and not self.greenlet.dead


class Recorder:
    """``is_ours`` says which log-ins this process polls: those whose stream it has."""

    def __init__(
        self,
        *,
        is_ours: Callable[[int], bool] = user_data.is_here,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._is_ours = is_ours
        self._deadline_s = deadline_s
        self._interval_s = 60.0
        self._lines: dict[int, _Line] = {}
        self._looked_at: datetime | None = None

    def configure(self, interval_s: float) -> None:
        """A new app begins."""
        self.stop()
        self._interval_s = min(interval_s, LONGEST_S)

    def stop(self) -> None:
        running = [line.greenlet for line in self._lines.values() if line.greenlet is not None]
        gevent.killall(running, timeout=2)
        self._lines.clear()
        self._looked_at = None

    def tick(self) -> None:
        """Start the polls that are due; waits for none of them."""
        now = clock.now()
        if self._looked_at is None or now - self._looked_at >= timedelta(seconds=_LOOK_EVERY_S):
            self._look(now)
            self._looked_at = now
        for line in self._lines.values():
            if line.due > now or line.is_busy:
                continue
            if self._is_ours(line.login.id):
                line.greenlet = gevent.spawn(self._poll, line)
            else:
                line.due += timedelta(seconds=self.interval_s(line.login.id))

    def interval_s(self, login_id: int) -> float:
        """The time between two polls of a log-in: the configured one, or more where the log-in's
        request budget does not allow it."""
        line = self._lines.get(login_id)
        broker = _broker_of(line.login) if line is not None else None
        budget = broker.budget(login_id) if broker is not None else None
        return effective_interval_s(self._interval_s, budget)

    def state(self, login_id: int, polled_at: datetime | None = None) -> Polling:
        """``polled_at``: what is stored, for a log-in that another process polls."""
        interval_s = self.interval_s(login_id)
        line = self._lines.get(login_id)
        if line is None:
            return Polling(interval_s, polled_at)
        known = line.polled_at or polled_at
        return Polling(interval_s, known, line.due, line.failures, line.trouble)

    def _look(self, now: datetime) -> None:
        """Take in which log-ins are used; a new one gets a place of its own in the interval."""
        with writer.read() as connection:
            rows = connection.execute(_USED_LOGINS, {"now": now}).all()
        used = {row.id for row in rows}
        for login_id in self._lines.keys() - used:
            line = self._lines.pop(login_id)
            if line.greenlet is not None:
                line.greenlet.kill(block=False)
        for row in rows:
            if row.id not in self._lines:
                login = LoginRef(row.id, row.user_id, row.broker, row.environment)
                place = (row.id * _GOLDEN) % 1 * self._interval_s
                due = now + timedelta(seconds=place)
                self._lines[row.id] = _Line(login, due, row.polled_at)

    def _poll(self, line: _Line) -> None:
        """One poll and what comes of it; never raises."""
        began = clock.now()
        try:
            with gevent.Timeout(self._deadline_s):
                _read(line.login)
        except gevent.Timeout:
            self._note_failure(line, f"No answer within {self._deadline_s:g} seconds.")
        except BrokerRateLimited as e:
            self._wait(line, began, e.retry_after_s)
            line.trouble = e.detail
        except TradingError as e:
            self._note_failure(line, e.detail)
        except Exception:  # the greenlet's edge: an adapter's defect is one log-in's trouble
            log.exception("poll failed", extra={"login_id": line.login.id})
            self._note_failure(line, "The poll failed on our side.")
        else:
            self._note_success(line, began)

    def _wait(self, line: _Line, began: datetime, least_s: float = 0.0) -> None:
        """Its next turn keeps its place in the interval, as far as that is not over."""
        pause = timedelta(seconds=self.interval_s(line.login.id))
        line.due = max(line.due + pause, began + pause / 2, began + timedelta(seconds=least_s))

    def _note_success(self, line: _Line, began: datetime) -> None:
        was_paused = line.failures >= TRIES
        line.failures, line.trouble, line.polled_at = 0, None, clock.now()
        self._wait(line, began)
        _store(lambda tx: _store_success(tx, line, was_paused))

    def _note_failure(self, line: _Line, trouble: str) -> None:
        line.failures += 1
        line.trouble = trouble
        pause = back_off_s(self.interval_s(line.login.id), line.failures)
        line.due = clock.now() + timedelta(seconds=pause)
        extra = {"login_id": line.login.id, "failures": line.failures, "detail": trouble}
        log.warning("log-in not polled", extra=extra)
        if line.failures == TRIES:
            _store(lambda tx: _tell(tx, line, "recorder_paused", _paused_words(trouble), "warning"))


recorder = Recorder()


def effective_interval_s(configured_s: float, budget: BudgetState | None) -> float:
    """The configured interval, or as much more as the polls need to stay within their share of
    the budget."""
    if budget is None or budget.limit <= 0:
        return configured_s
    polls = budget.limit * SHARE_OF_BUDGET / REQUESTS_PER_POLL
    return max(configured_s, budget.window_s / polls)


def back_off_s(interval_s: float, failures: int) -> float:
    """Doubling with every failure up to ten minutes, and up to a quarter less by chance, so that
    those that failed together do not come back together."""
    longest = max(MOST_BACK_OFF_S, interval_s)
    pause = min(longest, interval_s * 2.0 ** min(failures - 1, 16))
    return pause * random.uniform(0.75, 1.0)  # noqa: S311  (it spreads load, nothing is secret)


def of_accounts(user_id: int, account_ids: Iterable[int]) -> dict[int, Polling]:
    """Account → how its log-in is polled; without those that have none."""
    wanted = set(account_ids)
    if not wanted:
        return {}
    rows = db.session.execute(
        owned(Account, user_id, with_deleted=True)
        .where(Account.id.in_(wanted))
        .join(BrokerLogin, BrokerLogin.id == Account.login_id)
        .with_only_columns(Account.id, BrokerLogin.id, BrokerLogin.polled_at)
    )
    return {
        account_id: recorder.state(login_id, polled_at) for account_id, login_id, polled_at in rows
    }


def said(polling: Polling | None) -> dict[str, Any]:
    """What JSON says of it beside an account or a recorder."""
    if polling is None:
        return dict.fromkeys(("poll_interval_s", "polled_at", "poll_trouble"))
    return {
        "poll_interval_s": round(polling.interval_s, 1),
        "polled_at": polling.polled_at,
        "poll_trouble": polling.trouble,
    }


def _read(login: LoginRef) -> None:
    """
    Raises:
        BrokerError: nothing was read.
    """
    broker = _broker_of(login)
    if broker is None:
        raise BrokerError(f"{login.broker} is not available here.")
    broker.poll(login)


def _broker_of(login: LoginRef) -> LoginBroker | None:
    if login.broker not in registry.names():
        return None
    return cast("LoginBroker", registry.get(login.broker))


def _store(work: Callable[[Tx], None]) -> None:
    try:
        writer.run(work)
    except TradingError as e:
        # What was read is taken in; only the note of it is late, and the next one tells it again.
        log.warning("poll not noted", extra={"detail": e.detail})


def _store_success(tx: Tx, line: _Line, was_paused: bool) -> None:
    values = {"polled_at": line.polled_at}
    tx.conn.execute(update(_LOGINS).where(_LOGINS.c.id == line.login.id).values(values))
    if was_paused:
        _tell(tx, line, "recorder_resumed", "The broker is read again; nothing is missing.", "info")


def _tell(tx: Tx, line: _Line, event: str, words: str, level: str) -> None:
    """One line for each account of the log-in."""
    accounts = select(_ACCOUNTS.c.id).where(
        _ACCOUNTS.c.login_id == line.login.id, _ACCOUNTS.c.deleted_at.is_(None)
    )
    for account_id in tx.conn.scalars(accounts).all():
        journal.write(tx, line.login.user_id, event, words, level=level, account_id=account_id)


def _paused_words(trouble: str) -> str:
    return (
        f"Reading this account failed {TRIES} times; it is tried again with growing pauses. "
        f"{trouble}"
    )
