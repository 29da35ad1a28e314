"""Every write of the process: functions run one batch at a time, by one writer.

A caller hands over ``work(tx)`` and waits; whatever waits together shares one commit (and one
fsync), each work under its own savepoint, so that one that fails takes nobody along. Works run in
the writer's greenlet; only the commit leaves the event loop for a native thread, where the disk is
slow. (Running the statements there too would hand the interpreter over at each of them: measured,
four times slower.) So: no network, no sleeping, nothing of Flask inside a work; what it
returns is valid when the caller gets it, because it is committed by then.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TypeVar, cast

import gevent
from gevent.event import AsyncResult, Event
from gevent.threadpool import ThreadPool
from sqlalchemy import Connection, Engine, RootTransaction
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.orm import Session

from app import events, faults
from app.domain.errors import Unavailable
from app.log import current_request_id
from app.models.engine import commit_blocks

log = logging.getLogger(__name__)
T = TypeVar("T")
Item = TypeVar("Item")

_MAX_BATCH = 256
_QUICK_S = 0.0015
_WEIGHT = 0.2
"""How much the newest commit counts in the running mean of what commits take."""
_OUR_FAULT = (DataError, IntegrityError, ProgrammingError)
"""What a statement can do wrong. Any other error is the database's: away, full, damaged."""


class Tx:
    """What a work writes with: Core on ``conn``, rows on ``session``, facts by ``record``."""

    def __init__(self, conn: Connection, request_id: str | None) -> None:
        self.conn = conn
        self.request_id = request_id
        self.pending_events: list[events.Pending] = []
        self.hooks: list[Callable[[], None]] = []
        self._session: Session | None = None

    @property
    def session(self) -> Session:
        if self._session is None:
            # With a savepoint of its own: a flush that fails rolls back what the session can see,
            # and that must not be the transaction of the whole batch.
            self._session = Session(
                bind=self.conn, expire_on_commit=False, join_transaction_mode="create_savepoint"
            )
        return self._session

    def record(
        self, user_id: int, type: str, data: dict[str, Any], *, request_id: str | None = None
    ) -> None:
        """Add one fact to the user's sequence; it is published after the commit."""
        self.pending_events.append(
            events.Pending(user_id, type, data, request_id or self.request_id)
        )

    def after_commit(self, hook: Callable[[], None]) -> None:
        """Call ``hook`` in the event loop once this is durable, before the caller goes on."""
        self.hooks.append(hook)

    def flush(self) -> None:
        if self._session is not None:
            self._session.commit()

    def close(self) -> None:
        if self._session is not None:
            self._session.expunge_all()
            self._session.close()


@dataclass(slots=True, eq=False)
class _Job:
    """Works of one kind that were submitted by batch share one call with all their items."""

    work: Callable[..., Any]
    item: Any
    batched: bool
    request_id: str | None
    result: AsyncResult = field(default_factory=AsyncResult)


@dataclass(slots=True)
class _Outcome:
    """What one batch left behind; ``answers`` pairs each job with its value or its error."""

    answers: list[tuple[_Job, Any, BaseException | None]] = field(default_factory=list)
    events: list[events.Published] = field(default_factory=list)
    hooks: list[Callable[[], None]] = field(default_factory=list)


class Writer:
    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        self._jobs: deque[_Job] = deque()
        self._idle = Event()
        self._idle.set()
        self._pool: ThreadPool | None = None
        self._commit_s = 0.0
        self._publish: Callable[[list[events.Published]], None] = lambda _events: None

    def bind(self, engine: Engine, publish: Callable[[list[events.Published]], None]) -> None:
        """``publish`` is called in the event loop with each batch's events, in commit order."""
        self.close()
        self._engine = engine
        self._publish = publish

    def run(self, work: Callable[[Tx], T]) -> T:
        """Run ``work`` in a write transaction and return what it returned, durably.

        Raises:
            Unavailable: the database cannot be written; nothing was done.
            Whatever ``work`` raised; then nothing of it remains.
        """
        return cast("T", self._submit(_Job(work, None, False, current_request_id())))

    def run_batched(self, work: Callable[[Tx, list[Item]], list[T]], item: Item) -> T:
        """Like ``run`` for a work that stores many items at once and answers in their order."""
        return cast("T", self._submit(_Job(work, item, True, current_request_id())))

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading outside of requests, where Flask's session is not at hand.

        Raises:
            Unavailable: the database does not answer.
        """
        if self._engine is None:
            raise RuntimeError("the writer is not bound to a database")
        try:
            with self._engine.connect() as connection:
                yield connection
        except DBAPIError as e:
            if isinstance(e, _OUR_FAULT):
                raise
            raise Unavailable("The database does not answer.") from e

    def close(self) -> None:
        """Wait for what is under way, then let go of the connection."""
        self._idle.wait(timeout=10)
        self._disconnect()
        if self._pool is not None:
            self._pool.kill()
            self._pool = None

    def _submit(self, job: _Job) -> Any:
        self._jobs.append(job)
        if self._idle.is_set():
            # A greenlet of its own: a caller that is killed while it waits takes nobody along.
            self._idle.clear()
            gevent.spawn(self._drain)
        return job.result.get()

    def _drain(self) -> None:
        while self._jobs:
            self._step()
        self._idle.set()

    def _step(self) -> None:
        jobs = [self._jobs.popleft() for _ in range(min(len(self._jobs), _MAX_BATCH))]
        try:
            outcome = self._commit(jobs)
        except Exception as e:  # a defect of ours must reach those who wait, not hang them
            log.exception("writer failed", extra={"jobs": len(jobs)})
            for job in jobs:
                job.result.set_exception(e)
            return
        self._announce(outcome)
        for job, value, error in outcome.answers:
            if error is None:
                job.result.set(value)
            else:
                job.result.set_exception(error)

    def _announce(self, outcome: _Outcome) -> None:
        """All of it is durable by now, so a hook that fails is nobody's failure."""
        self._publish(outcome.events)
        for hook in outcome.hooks:
            try:
                hook()
            except Exception:  # the loop's edge: the next hook and the callers go on
                log.exception("hook after a commit failed")

    def _commit(self, jobs: list[_Job]) -> _Outcome:
        try:
            return self._attempt(jobs)
        except DBAPIError as e:
            # A work is never run a second time on a guess: each caller knows what to do.
            self._disconnect()
            log.exception("write batch failed", extra={"jobs": len(jobs)})
            return _Outcome([(job, None, _unavailable(e)) for job in jobs])
        except Exception:
            self._disconnect()
            raise

    def _attempt(self, jobs: list[_Job]) -> _Outcome:
        conn = self._connect()
        outcome = _Outcome()
        pending: list[events.Pending] = []
        transaction = conn.begin()
        try:
            if len(jobs) == 1:
                pending = self._perform_alone(conn, jobs[0], outcome)
            else:
                for group in _groups(jobs):
                    pending += self._perform(conn, group, outcome)
            if pending:
                outcome.events = events.seal(conn, pending)
            self._make_durable(transaction)
        except _Refused as e:
            transaction.rollback()
            outcome.answers = [(jobs[0], None, _own(e.error))]
        except BaseException:
            if not conn.closed:
                transaction.rollback()
            raise
        return outcome

    def _perform_alone(
        self, conn: Connection, job: _Job, outcome: _Outcome
    ) -> list[events.Pending]:
        """Run the only work of a transaction: it needs no savepoint, all of it can be undone."""
        tx = Tx(conn, job.request_id)
        try:
            [value] = _call(tx, [job])
        except Exception as e:
            if conn.invalidated:
                raise
            raise _Refused(e) from e
        finally:
            tx.close()
        outcome.hooks += tx.hooks
        outcome.answers.append((job, value, None))
        return tx.pending_events

    def _make_durable(self, transaction: RootTransaction) -> None:
        """Commit. While the disk is quick it is waited for in place: a thread takes longer to
        hand over to than the disk takes. A slow one must not stop the event loop."""
        faults.point("commit")
        if not commit_blocks(transaction.connection.engine):
            transaction.commit()
            faults.point("committed")
        elif self._commit_s < _QUICK_S:
            self._commit_timed(transaction)
        else:
            if self._pool is None:
                self._pool = ThreadPool(1)
            self._pool.apply(self._commit_timed, (transaction,))

    def _commit_timed(self, transaction: RootTransaction) -> None:
        began = perf_counter()
        transaction.commit()
        faults.point("committed")
        self._commit_s += (perf_counter() - began - self._commit_s) * _WEIGHT

    def _perform(
        self, conn: Connection, group: list[_Job], outcome: _Outcome
    ) -> list[events.Pending]:
        """Run one group under a savepoint; a group of many that fails is tried one by one."""
        tx = Tx(conn, group[0].request_id)
        conn.exec_driver_sql("SAVEPOINT work")
        try:
            values = _call(tx, group)
        except Exception as e:  # it is the caller's to handle; the others of the batch go on
            tx.close()
            if conn.invalidated:
                raise
            # Fails, and the batch with it, where the database gave up the whole transaction.
            conn.exec_driver_sql("ROLLBACK TO SAVEPOINT work")
            if len(group) > 1:
                return [p for job in group for p in self._perform(conn, [job], outcome)]
            outcome.answers.append((group[0], None, _own(e)))
            return []
        tx.close()
        conn.exec_driver_sql("RELEASE SAVEPOINT work")
        outcome.hooks += tx.hooks
        outcome.answers += [(job, value, None) for job, value in zip(group, values, strict=True)]
        return tx.pending_events

    def _connect(self) -> Connection:
        if self._connection is None:
            if self._engine is None:
                raise RuntimeError("the writer is not bound to a database")
            self._connection = self._engine.connect().execution_options(write=True)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Refused(Exception):
    """Carries a lone work's own error past its transaction, which is rolled back on the way."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def _call(tx: Tx, group: list[_Job]) -> list[Any]:
    first = group[0]
    values = first.work(tx, [j.item for j in group]) if first.batched else [first.work(tx)]
    tx.flush()
    return list(values)


def _groups(jobs: list[_Job]) -> list[list[_Job]]:
    """Neighbours that share a batched work become one group; order is kept."""
    by_work = itertools.groupby(jobs, key=lambda job: job.work if job.batched else job)
    return [list(group) for _, group in by_work]


def _own(error: Exception) -> Exception:
    """What a caller gets for what its own work did."""
    if isinstance(error, DBAPIError) and not isinstance(error, _OUR_FAULT):
        return _unavailable(error)
    return error


def _unavailable(error: DBAPIError) -> Unavailable:
    wrapped = Unavailable("The database cannot be written now; nothing was done.")
    wrapped.__cause__ = error
    return wrapped
