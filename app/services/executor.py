"""The lanes: one execution at a time per account, accounts in parallel.

A lane is a greenlet that holds its account's row in ``lanes`` while it lives, so that several
processes share the work and a dead one's lanes are taken over. It is woken in the process when an
execution becomes durable; a sweeper wakes what a crash or another process left behind.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from time import monotonic
from typing import TypeVar

import gevent
from gevent.event import AsyncResult, Event
from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from app import clock, faults, metrics
from app.brokers import registry
from app.brokers.base import AccountRef, Broker
from app.domain.errors import BrokerRefused, BrokerUnavailable, TradingError, Unavailable
from app.domain.plans import Step
from app.domain.trading import BrokerReport, Origin
from app.extensions import ownership, writer
from app.models import Account, Execution, Lane, Order
from app.models.base import table
from app.models.orders import IS_OPEN
from app.models.prepared import Prepared
from app.models.signals import UNFINISHED
from app.services import execution, reconcile
from app.services.context import BrokerState, QuoteOf, Subject
from app.services.runs import Answer, Call, Cancel, Modify, Place, PlaceOco, Run, Wait
from app.transactions import Tx

log = logging.getLogger(__name__)

T = TypeVar("T")

_IDLE_S = 10.0
_COMMAND_TIMEOUT_S = 30.0
_STORAGE_PAUSE_S = 0.5
_ELSEWHERE_PAUSE_S = 0.25
_LOOKED_AT_PAUSE_S = 0.01
_TELLING_S = 0.1
"""How long a stream may take to tell the position that belongs to a fill, before it is asked."""
_LOOKS = 3
"""How often to compare an account with its books before a difference is believed."""
_LANES = table(Lane)
_EXECUTIONS = table(Execution)
_ACCOUNT = Prepared(select(table(Account)).where(table(Account).c.id == bindparam("account")))
_TAKE_FREE = Prepared(
    update(_LANES)
    .where(_LANES.c.account_id == bindparam("account"), _LANES.c.owner.is_(None))
    .values(owner=bindparam("boot"))
)
_DUE = Prepared(
    select(_EXECUTIONS.c.due_at)
    .where(
        _EXECUTIONS.c.account_id == bindparam("account"),
        _EXECUTIONS.c.status == "pending",
        _EXECUTIONS.c.due_at.is_not(None),
    )
    .order_by(_EXECUTIONS.c.due_at)
    .limit(1)
)
_UNFINISHED = select(Execution.account_id).distinct().where(UNFINISHED)
_UNSETTLED = (
    select(Order.account_id)
    .distinct()
    .where(IS_OPEN, Order.status.in_(("submitting", "unknown", "cancel_pending")))
)


class Executor:
    def __init__(self) -> None:
        self._lanes: dict[int, _Lane] = {}
        self._quote_of: QuoteOf = lambda _account, _contract: None
        self._serves: Callable[[AccountRef], bool] = lambda _account: True
        self._stopping = False

    def price_with(self, quote_of: QuoteOf) -> None:
        self._quote_of = quote_of

    def serve_where(self, serves: Callable[[AccountRef], bool]) -> None:
        """``serves``: whether this process is the one that reaches the account's broker."""
        self._serves = serves

    def serves(self, account: AccountRef) -> bool:
        return self._serves(account)

    def start(self) -> None:
        """Pick up what an earlier process left; new work comes by ``wake``."""
        self._stopping = False
        self.sweep()

    def stop(self) -> None:
        """Let running broker calls finish for a moment; what does not is reconciled at start."""
        self._stopping = True
        greenlets = [lane.greenlet for lane in self._lanes.values()]
        for lane in list(self._lanes.values()):
            lane.changed.set()
        gevent.joinall(greenlets, timeout=5)
        gevent.killall([g for g in greenlets if not g.dead], timeout=1)
        self._lanes.clear()

    def wake(self, account_ids: Iterable[int]) -> None:
        for account_id in account_ids:
            lane = self._lanes.get(account_id)
            if lane is not None:
                lane.changed.set()
            elif not self._stopping:
                self._lanes[account_id] = _Lane(account_id, self)

    def notify(self, account_id: int) -> None:
        """Something changed on the account: a lane that waits for it looks again."""
        lane = self._lanes.get(account_id)
        if lane is not None:
            lane.changed.set()

    def doubt(self, account_id: int, client_order_ids: Iterable[str]) -> None:
        """Ask the broker what became of these orders, before anything else is done there."""
        self.wake([account_id])
        lane = self._lanes.get(account_id)
        if lane is not None:
            lane.doubtful.update(client_order_ids)
            lane.changed.set()

    def is_obeying(self, account_id: int) -> bool:
        """Whether what a person asked for is being carried out on the account."""
        lane = self._lanes.get(account_id)
        return lane is not None and lane.is_obeying

    def in_lane(
        self,
        account_id: int,
        asks: Callable[[Tx], list[Ask]],
        after: Callable[[Broker, AccountRef], None] | None = None,
    ) -> None:
        """Carry out what a person asked for, between two executions of the account, and wait.

        ``asks`` tells inside a transaction what to do; each is begun when the one before it ended.
        ``after`` follows outside of any, still before the account's next execution.

        Raises:
            Unavailable: it was not begun in time and will not be, or it is still being carried
                out, or the service is stopping.
            BrokerError: what ``after`` raised.
        """
        until = monotonic() + _COMMAND_TIMEOUT_S
        while True:
            command = _Command(asks, after)
            lane = self._enqueue(account_id, command)
            command.done.wait(timeout=max(0.0, until - monotonic()))
            if not command.done.ready():
                raise lane.withdraw(command)
            try:
                command.done.get()
                return
            except _WorkedElsewhere as e:
                if monotonic() + _ELSEWHERE_PAUSE_S >= until:
                    raise Unavailable("Another process works on this account; try again.") from e
            gevent.sleep(_ELSEWHERE_PAUSE_S)  # that lane is given up when it has nothing to do

    def _enqueue(self, account_id: int, command: _Command) -> _Lane:
        self.wake([account_id])
        lane = self._lanes.get(account_id)
        if lane is None or self._stopping:
            raise Unavailable("The service is stopping.")
        lane.commands.append(command)
        lane.changed.set()
        return lane

    def sweep(self) -> None:
        """Wake every account with work that nobody here does."""
        with writer.read() as connection:
            waiting = set(connection.scalars(_UNFINISHED)) | set(connection.scalars(_UNSETTLED))
        self.wake(waiting - self._lanes.keys())

    @property
    def is_stopping(self) -> bool:
        return self._stopping

    @property
    def quote_of(self) -> QuoteOf:
        return self._quote_of

    def account(self, account_id: int) -> Account | None:
        with writer.read() as connection:
            found = _ACCOUNT.dicts(connection, {"account": account_id})
        return Account(**found[0]) if found else None

    def forget(self, account_id: int) -> None:
        self._lanes.pop(account_id, None)
        metrics.LANES.set(len(self._lanes))


@dataclass(frozen=True, slots=True)
class Ask:
    """Steps that no signal asked for, and on whose behalf."""

    subject: Subject
    plan: tuple[Step, ...]
    origin: Origin


@dataclass(slots=True, eq=False)
class _Command:
    asks: Callable[[Tx], list[Ask]]
    after: Callable[[Broker, AccountRef], None] | None = None
    done: AsyncResult = field(default_factory=AsyncResult)


class _WorkedElsewhere(Unavailable):
    """The account's lane belongs to another living process; nothing was begun."""


class _LaneLost(Exception):
    """Another process took the lane over: it had reason to think that we are dead, as when the
    connection that proves our life was cut. What is durable is its to go on with."""


class _LookedAt(Exception):
    """Another process asks in this moment whether the lane is free."""


class _Lane:
    """The work on one account, in order."""

    def __init__(self, account_id: int, executor: Executor) -> None:
        self._account_id = account_id
        self._executor = executor
        self._is_settled = False
        self._under_way: _Command | None = None
        self.changed = Event()
        self.doubtful: set[str] = set()
        self.commands: deque[_Command] = deque()
        self.greenlet = gevent.spawn(self._live)

    @property
    def is_obeying(self) -> bool:
        return self._under_way is not None or bool(self.commands)

    def withdraw(self, command: _Command) -> Unavailable:
        """Take back what has not been begun; the words for who waited in vain."""
        if command in self.commands:
            self.commands.remove(command)
            return Unavailable("The account is busy; nothing was done. Try again.")
        words = "It takes longer than expected and is still being carried out."
        return Unavailable(words, code="still_running")

    def _live(self) -> None:
        reason = Unavailable("The account's work was interrupted; look at what is open.")
        try:
            if not self._serve():
                reason = _WorkedElsewhere("Another process works on this account.")
        except Exception:  # the lane's edge: the sweeper opens it again
            log.exception("lane failed", extra={"account_id": self._account_id})
        finally:
            self._executor.forget(self._account_id)
            self._answer_all(reason)

    def _answer_all(self, reason: Unavailable) -> None:
        """Nobody waits for a lane that has ended."""
        left = [self._under_way] if self._under_way is not None else []
        for command in (*left, *self.commands):
            command.done.set_exception(reason)
        self.commands.clear()

    def _serve(self) -> bool:
        """Work until there is nothing to do. False: the lane is not ours."""
        account = self._executor.account(self._account_id)
        if account is None:
            return True
        broker, ref = registry.for_account(account)
        if not (self._executor.serves(ref) and _claim(self._account_id)):
            return False
        metrics.LANES.inc()
        faults.point("lane")
        while not self._executor.is_stopping:
            self.changed.clear()
            try:
                self._work(broker, ref)
                if not self.changed.wait(timeout=self._patience()) and self._is_released():
                    return True
            except Unavailable:
                # Nothing was done; what is durable stays as it is until the database answers.
                self._is_settled = False
                gevent.sleep(_STORAGE_PAUSE_S)
            except _LaneLost:
                log.warning("lane lost", extra={"account_id": self._account_id})
                return False
        return True

    def _work(self, broker: Broker, ref: AccountRef) -> None:
        """Everything that waits now, each only when the outcome of all before it is known."""
        while not self._executor.is_stopping:
            if not self._is_settled or self.doubtful:
                doubtful = sorted(self.doubtful)
                self._settle(broker, ref, doubtful)
                self.doubtful.difference_update(doubtful)
                self._is_settled = True
            if not (self._obey(broker, ref) or self._run_next(broker, ref)):
                return

    def _is_released(self) -> bool:
        """Give the lane up unless work arrived; what arrives in that moment takes it back."""
        if not writer.run(lambda tx: _release(tx, self._account_id)):
            return False
        is_wanted = bool(self.commands) or bool(self.doubtful) or self.changed.is_set()
        return not (is_wanted and _claim(self._account_id))

    def _patience(self) -> float:
        """How long to stay idle: until the next delayed entry is due, at most the usual time."""
        with writer.read() as connection:
            due = _next_due(connection, self._account_id)
        if due is None:
            return _IDLE_S
        seconds = (due - clock.now()).total_seconds()
        if seconds < _IDLE_S:
            gevent.spawn_later(max(0.0, seconds), self.changed.set)
        return _IDLE_S

    def _settle(self, broker: Broker, ref: AccountRef, also: Sequence[str] = ()) -> None:
        """Ask the broker about every order whose outcome is not known, until all are."""
        looks = 1
        while not self._executor.is_stopping and not reconcile.settle(broker, ref, also):
            looks += 1
            self.changed.wait(timeout=reconcile.pause_after(looks))
            self.changed.clear()

    def _obey(self, broker: Broker, ref: AccountRef) -> bool:
        """Carry out the oldest command of a person, if there is one."""
        if not self.commands:
            return False
        command = self._under_way = self.commands.popleft()
        try:
            for ask in self._write(command.asks):
                begin = partial(
                    execution.carry_out, subject=ask.subject, plan=ask.plan, origin=ask.origin
                )
                self._carry_out(broker, ref, self._write(begin))
            if command.after is not None:
                command.after(broker, ref)
            command.done.set(None)
        except _LaneLost:
            raise
        except TradingError as e:  # said to the asker in words
            log.warning("command failed", extra={"account_id": ref.id, "detail": e.detail})
            self._is_settled = False
            command.done.set_exception(e)
        except Exception as e:  # it is the asker's to handle
            log.exception("command failed", extra={"account_id": ref.id})
            self._is_settled = False
            command.done.set_exception(e)
        self._under_way = None
        return True

    def _run_next(self, broker: Broker, ref: AccountRef) -> bool:
        """Carry out the account's next execution. One that breaks us ends, and the account's
        others go on."""
        run: Run | None = None
        try:
            run = self._begin(broker, ref)
            if run is None:
                return False
            self._carry_out(broker, ref, run)
        except (Unavailable, _LaneLost):
            raise
        except Exception:  # the loop's edge
            log.exception("execution failed", extra={"account_id": ref.id})
            self._is_settled = False
            of_id = run.id if run is not None else None
            self._write(lambda tx: execution.give_up(tx, ref.id, of_id))
        return True

    def _write(self, work: Callable[[Tx], T]) -> T:
        """Let ``work`` decide on what is sent next, unless the lane is not ours any more.

        Raises:
            _LaneLost: it is not; nothing was done.
        """

        def as_owner(tx: Tx) -> T:
            _be_owner(tx, self._account_id)
            return work(tx)

        while True:
            try:
                return writer.run(as_owner)
            except _LookedAt:
                gevent.sleep(_LOOKED_AT_PAUSE_S)

    def _begin(self, broker: Broker, ref: AccountRef) -> Run | None:
        """Decide on what is next. A broker books a fill before it tells of it, so a position that
        differs from the books is believed only after its fills were asked for."""
        with_equity, looks = False, 1
        while True:
            work = partial(
                execution.begin,
                account_id=ref.id,
                broker=_state(broker, ref, with_equity=with_equity),
                quote_of=self._executor.quote_of,
                is_certain=looks == _LOOKS,
            )
            try:
                return self._write(work)
            except execution.EquityNeeded:
                with_equity = True
            except execution.OutOfStep:
                looks += 1
                is_told = looks == 2 and self.changed.wait(timeout=_TELLING_S)
                self.changed.clear()
                if not is_told:
                    _catch_up(broker, ref)

    def _carry_out(self, broker: Broker, ref: AccountRef, run: Run) -> None:
        """
        Raises:
            Unavailable: the service is stopping; what is durable is gone on with after the start.
        """
        while run.calls:
            answers = self._make(broker, ref, run.calls)
            if not execution.is_settled(answers):
                self._settle(broker, ref, _note_unknown(ref, answers))
                self._stop_here()
                run.is_in_doubt = True
                answers = [a for a in answers if not a.is_unknown]
            run = self._proceed(run, answers)

    def _stop_here(self) -> None:
        if self._executor.is_stopping:
            raise Unavailable("The service is stopping.")

    def _proceed(self, run: Run, answers: list[Answer]) -> Run:
        """Store the outcome; while the database is away the answers are kept and tried again."""
        while True:
            attempt = replace(run, calls=list(run.calls), asked=dict(run.asked))
            try:
                done = self._write(partial(execution.proceed, run=attempt, answers=answers))
                faults.point("outcome stored")
                return done
            except Unavailable:
                self._stop_here()
                gevent.sleep(_STORAGE_PAUSE_S)

    def _make(self, broker: Broker, ref: AccountRef, calls: list[Call]) -> list[Answer]:
        answers = []
        for call in calls:
            if isinstance(call, Wait):
                self._wait(broker, ref, call)
            else:
                answers.append(_send(broker, ref, call))
        return answers

    def _wait(self, broker: Broker, ref: AccountRef, call: Wait) -> None:
        """Until something is told, or it is time to ask."""
        seconds = (call.until - clock.now()).total_seconds()
        is_told = self.changed.wait(timeout=max(0.0, min(seconds, reconcile.PAUSE_S)))
        self._stop_here()
        self.changed.clear()
        if call.about and not is_told:
            reconcile.settle(broker, ref, call.about)


def _send(broker: Broker, ref: AccountRef, call: Place | PlaceOco | Cancel | Modify) -> Answer:
    """Make one call and sort what came of it by what may exist at the broker."""
    outcome = "accepted"
    faults.point("intent stored")
    try:
        return Answer(call, report=_call(broker, ref, call))
    except BrokerRefused as e:
        outcome = "refused"
        # A change that was refused says that our picture of the order is old.
        return Answer(call, error=e, is_unknown=isinstance(call, Cancel | Modify))
    except (BrokerUnavailable, Unavailable) as e:
        outcome = "unknown"
        log.warning("no clear answer", extra={"account_id": ref.id, "detail": e.detail})
        return Answer(call, error=e, is_unknown=True)
    except TradingError as e:
        outcome = "refused"
        return Answer(call, error=e)
    except Exception as e:  # the edge: an adapter's defect must not decide that nothing exists
        outcome = "unknown"
        log.exception("broker adapter failed", extra={"account_id": ref.id})
        return Answer(call, error=BrokerUnavailable(str(e)), is_unknown=True)
    finally:
        faults.point("broker answered")
        metrics.ORDERS.labels(ref.broker, outcome).inc()


def _call(
    broker: Broker, ref: AccountRef, call: Place | PlaceOco | Cancel | Modify
) -> BrokerReport:
    if isinstance(call, Place):
        return broker.place_order(ref, call.ticket, client_order_id=call.client_order_id)
    if isinstance(call, PlaceOco):
        return broker.place_oco(ref, call.first, call.second, ids=call.ids)
    if isinstance(call, Cancel):
        return broker.cancel_order(ref, call.client_order_id, broker_order_id=call.broker_order_id)
    return broker.modify_order(
        ref,
        call.client_order_id,
        quantity=call.quantity,
        limit_price=call.limit_price,
        stop_price=call.stop_price,
        broker_order_id=call.broker_order_id,
    )


def _state(broker: Broker, ref: AccountRef, *, with_equity: bool = False) -> BrokerState:
    try:
        positions = tuple(broker.positions(ref))
        equity = broker.balance(ref).equity if with_equity else None
        return BrokerState(positions, equity, with_equity)
    except Unavailable:
        raise  # it is our own database that is away; the lane waits for it
    except TradingError as e:
        log.warning("positions unknown", extra={"account_id": ref.id, "detail": e.detail})
    except Exception:  # the edge: an adapter's defect must not stop an exit
        log.exception("broker adapter failed", extra={"account_id": ref.id})
    return BrokerState(is_equity_asked=with_equity)


def _catch_up(broker: Broker, ref: AccountRef) -> None:
    try:
        reconcile.catch_up(broker, ref)
    except (BrokerRefused, BrokerUnavailable) as e:
        log.warning("fills unknown", extra={"account_id": ref.id, "detail": e.detail})
    except reconcile.AdapterFailed:
        log.exception("broker adapter failed", extra={"account_id": ref.id})


def _note_unknown(ref: AccountRef, answers: list[Answer]) -> list[str]:
    """Mark what may or may not exist; all orders that the broker must be asked about."""
    ids = [i for a in answers if a.is_unknown for i in _order_ids(a.call)]
    writer.run(lambda tx: reconcile.mark_unknown(tx, ref, ids))
    return ids


def _order_ids(call: Call) -> tuple[str, ...]:
    if isinstance(call, Place | Cancel | Modify):
        return (call.client_order_id,)
    return call.ids if isinstance(call, PlaceOco) else ()


def _claim(account_id: int) -> bool:
    """Hold the lane, also one whose owner is dead. False: a living process works on it."""

    def work(tx: Tx) -> bool:
        if _TAKE_FREE.run(tx.conn, {"account": account_id, "boot": ownership.boot}):
            return True
        owner = tx.conn.scalar(
            select(_LANES.c.owner).where(_LANES.c.account_id == account_id).with_for_update()
        )
        if owner is not None and owner != ownership.boot:
            if not ownership.is_dead(tx.conn, owner):
                return False
            log.info("lane taken over", extra={"account_id": account_id, "from_boot": owner})
        dialect = sqlite if tx.conn.dialect.name == "sqlite" else postgresql
        claim = dialect.insert(_LANES).values(account_id=account_id, owner=ownership.boot)
        claim = claim.on_conflict_do_update(
            index_elements=["account_id"],
            set_={"owner": ownership.boot},
            where=_LANES.c.owner.is_not_distinct_from(owner),
        )
        # PostgreSQL's driver does not count the rows of an insert.
        return tx.conn.scalar(claim.returning(_LANES.c.account_id)) is not None

    return writer.run(work)


def _be_owner(tx: Tx, account_id: int) -> None:
    """Let nobody take the lane over before this transaction has ended. Embedded there is nobody
    else.

    Raises:
        _LookedAt: somebody is looking at the lane in this moment. With several lanes in one
            transaction here and there, each would wait for the other.
        _LaneLost: it is another's.
    """
    if tx.conn.dialect.name == "sqlite":
        return
    owner = tx.conn.execute(_OWNER, {"account": account_id}).first()
    if owner is None:
        raise _LookedAt
    if owner.owner != ownership.boot:
        raise _LaneLost


_OWNER = (
    select(_LANES.c.owner)
    .where(_LANES.c.account_id == bindparam("account"))
    .with_for_update(read=True, skip_locked=True)
)


def _release(tx: Tx, account_id: int) -> bool:
    unfinished = (
        select(_EXECUTIONS.c.id)
        .where(
            _EXECUTIONS.c.account_id == account_id,
            UNFINISHED,
        )
        .exists()
    )
    released = (
        update(_LANES)
        .where(_LANES.c.account_id == account_id, _LANES.c.owner == ownership.boot, ~unfinished)
        .values(owner=None)
    )
    return tx.conn.execute(released).rowcount == 1


def _next_due(conn: Connection, account_id: int) -> datetime | None:
    row = _DUE.first(conn, {"account": account_id})
    return None if row is None else row.due_at


executor = Executor()
