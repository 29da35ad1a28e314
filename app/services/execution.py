"""One execution's way from the decision to its fills, step by step.

Every function here runs inside the writer's transaction and returns the calls that must be made
*after* its commit; the lane makes them and comes back with the answers. So the intent is durable
before the broker hears of it, and the outcome afterwards, in the same transaction as the next
step's intent. What a crash leaves between the two is settled by ``reconcile`` before ``resume``.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import bindparam, or_, select, update

from app import clock, metrics
from app.domain.decisions import decide
from app.domain.errors import BrokerRefused, TradingError
from app.domain.orders import TERMINAL
from app.domain.plans import (
    Decision,
    Enter,
    MoveStop,
    Net,
    Reprotect,
    Step,
    Verdict,
    step_from_json,
    step_to_json,
)
from app.domain.signals import Action
from app.domain.signals import Signal as DecodedSignal
from app.domain.trading import (
    BrokerReport,
    OrderStatus,
    OrderType,
    Origin,
)
from app.models import Account, Execution, Signal, Strategy, Trader
from app.models.base import table
from app.models.prepared import Prepared
from app.models.signals import UNFINISHED
from app.services import context as contexts
from app.services import fills, journal, payloads
from app.services.context import BrokerState, QuoteOf, Subject
from app.services.intents import mark_refused
from app.services.runs import Answer, Call, Cancel, Modify, Place, PlaceOco, Run, Wait
from app.services.signal_json import to_signal
from app.services.steps import (
    BY_CLIENT_ID,
    HANDLERS,
    take_rejection,
    until_filled,
)
from app.transactions import Tx

_EXECUTIONS = table(Execution)
_NEXT = Prepared(
    select(
        _EXECUTIONS.c.id,
        _EXECUTIONS.c.signal_id,
        _EXECUTIONS.c.index_in_alert,
        _EXECUTIONS.c.status,
        _EXECUTIONS.c.step,
        _EXECUTIONS.c.received_at,
        _EXECUTIONS.c.due_at,
        Signal.parsed,
        Signal.request_id,
        *contexts.WHO,
    )
    .join_from(_EXECUTIONS, Signal, Signal.id == _EXECUTIONS.c.signal_id)
    .join(Trader, Trader.id == _EXECUTIONS.c.trader_id)
    .join(Strategy, Strategy.id == Trader.strategy_id)
    .join(Account, Account.id == Trader.account_id)
    .where(
        _EXECUTIONS.c.account_id == bindparam("account"),
        UNFINISHED,
        or_(_EXECUTIONS.c.due_at.is_(None), _EXECUTIONS.c.due_at <= bindparam("now")),
    )
    .order_by(_EXECUTIONS.c.id)
    .limit(1)
)
_WAITING = select(
    _EXECUTIONS.c.id,
    _EXECUTIONS.c.signal_id,
    _EXECUTIONS.c.index_in_alert,
    _EXECUTIONS.c.trader_id,
    _EXECUTIONS.c.received_at,
    Signal.request_id,
).join_from(_EXECUTIONS, Signal, Signal.id == _EXECUTIONS.c.signal_id)
_FINISH = Prepared(
    update(_EXECUTIONS)
    .where(_EXECUTIONS.c.id == bindparam("of_id"))
    .values(
        status=bindparam("to_status"),
        reason=bindparam("to_reason"),
        detail=bindparam("to_detail"),
        finished_at=bindparam("at"),
        updated_at=bindparam("at"),
    )
)
_DECIDED = Prepared(
    update(_EXECUTIONS)
    .where(_EXECUTIONS.c.id == bindparam("of_id"))
    .values(
        status=bindparam("to_status"),
        reason=bindparam("to_reason"),
        detail=bindparam("to_detail"),
        plan=bindparam("to_plan"),
        trace=bindparam("to_trace"),
        attempts=1,
        started_at=bindparam("at"),
        finished_at=bindparam("to_finished"),
        updated_at=bindparam("at"),
    )
)
_DONE = Prepared(
    update(_EXECUTIONS)
    .where(_EXECUTIONS.c.id == bindparam("of_id"))
    .values(status=bindparam("to_status"), finished_at=bindparam("at"), updated_at=bindparam("at"))
)
_AT_STEP = Prepared(
    update(_EXECUTIONS)
    .where(_EXECUTIONS.c.id == bindparam("of_id"))
    .values(step=bindparam("to_step"), updated_at=bindparam("at"))
)


class OutOfStep(Exception):
    """The broker's positions differ from the books; nothing was decided yet. It may only be a
    fill that the broker has booked and we have not heard of."""


class EquityNeeded(Exception):
    """The next decision depends on the account's equity, which was not asked for."""


def begin(
    tx: Tx, account_id: int, broker: BrokerState, quote_of: QuoteOf, *, is_certain: bool = True
) -> Run | None:
    """Take the account's next execution: decide on a new one, resume one that a crash left.

    None: nothing waits.

    Raises:
        OutOfStep: ``broker`` differs from the books and is not ``is_certain``; nothing was done.
    """
    row = _NEXT.first(tx.conn, {"account": account_id, "now": clock.now()})
    if row is None:
        return None
    tx.request_id = row.request_id
    signal = to_signal(row.parsed[row.index_in_alert])
    subject = contexts.subject_of(tx.conn, row)
    run = Run(
        id=row.id,
        signal_id=row.signal_id,
        index=row.index_in_alert,
        subject=subject,
        request_id=row.request_id,
        received_at=row.received_at,
        step=row.step,
        alert=signal,
    )
    if row.status == "running":
        run.is_resumed = True
        run.plan, run.stored_step = _stored_plan(tx, run), run.step
        _advance(tx, run)
        return run
    if not subject.is_active:
        _finish(tx, run, "skipped", "trader_off", "The trader was switched off meanwhile.")
        return run
    if row.due_at is not None and _is_superseded(tx, run):
        _finish(tx, run, "skipped", "superseded", "A newer signal came while the entry waited.")
        return run
    if not broker.is_equity_asked and subject.effective.values.sizing in contexts.NEED_EQUITY:
        raise EquityNeeded
    found = contexts.build(
        tx.conn,
        subject,
        signal,
        received_at=row.received_at,
        now=clock.now(),
        broker=broker,
        quote_of=quote_of,
    )
    if not is_certain and not all(holding.is_in_sync for holding in found.holdings):
        raise OutOfStep
    _take(tx, run, decide(found))
    return run


def give_up(tx: Tx, account_id: int, execution_id: int | None = None) -> None:
    """End an execution (the account's next one, where none is named) that our own code could not
    carry out. What it has sent is settled by ``reconcile``."""
    if execution_id is None:
        row = _NEXT.first(tx.conn, {"account": account_id, "now": clock.now()})
        if row is None:
            return
        execution_id = row.id
    words = "An unexpected error; nothing more was sent. Check the position."
    for run in _read_runs(tx, _WAITING.where(_EXECUTIONS.c.id == execution_id)):
        _finish(tx, run, "failed", "internal_error", words)


def drop_waiting(tx: Tx, account_id: int, trader_id: int | None = None) -> None:
    """End the entries that wait for their delay (of one trader, or all of the account): the
    position is being closed by hand, and nothing opens it again before the next signal."""
    waiting = _WAITING.where(
        _EXECUTIONS.c.account_id == account_id,
        _EXECUTIONS.c.status == "pending",
        _EXECUTIONS.c.due_at.is_not(None),
    )
    if trader_id is not None:
        waiting = waiting.where(_EXECUTIONS.c.trader_id == trader_id)
    for run in _read_runs(tx, waiting):
        _finish(tx, run, "skipped", "closed_by_hand", "Closed by hand while the entry waited.")


def _read_runs(tx: Tx, statement: Any) -> list[Run]:
    """Executions to be ended; their settings are not looked at."""
    return [
        Run(
            id=row.id,
            signal_id=row.signal_id,
            index=row.index_in_alert,
            subject=contexts.read_subject_without_settings(tx.conn, row.trader_id),
            request_id=row.request_id,
            received_at=row.received_at,
        )
        for row in tx.conn.execute(statement).all()
    ]


def carry_out(tx: Tx, subject: Subject, plan: tuple[Step, ...], origin: Origin) -> Run:
    """Begin a plan that no signal asked for, such as a person's *close*."""
    run = Run(0, 0, 0, subject, tx.request_id, clock.now(), plan, origin=origin)
    _advance(tx, run)
    return run


def _stored_plan(tx: Tx, run: Run) -> tuple[Step, ...]:
    """What was decided before a crash; this is one more attempt to carry it out."""
    resumed = (
        update(_EXECUTIONS)
        .where(_EXECUTIONS.c.id == run.id)
        .values(attempts=_EXECUTIONS.c.attempts + 1)
        .returning(_EXECUTIONS.c.plan)
    )
    return tuple(step_from_json(step) for step in tx.conn.scalar(resumed) or [])


_SAYS_FLAT = ("noop_flat", "nothing_to_cancel")


def _is_superseded(tx: Tx, run: Run) -> bool:
    """Whether a newer signal in the same symbol counts instead of an entry that waited: one that
    was acted on, or one that found nothing to close or to cancel because of the waiting."""
    newer = (
        select(
            _EXECUTIONS.c.status, _EXECUTIONS.c.reason, _EXECUTIONS.c.index_in_alert, Signal.parsed
        )
        .join_from(_EXECUTIONS, Signal, Signal.id == _EXECUTIONS.c.signal_id)
        .where(
            _EXECUTIONS.c.trader_id == run.subject.trader_id,
            _EXECUTIONS.c.id > run.id,
            _EXECUTIONS.c.status != "expired",
        )
    )
    for row in tx.conn.execute(newer):
        signal = to_signal(row.parsed[row.index_in_alert])
        if signal.symbol != run.alert.symbol:
            continue
        if row.status != "skipped":
            return True
        if row.reason in _SAYS_FLAT and not _concerns_other_side(signal, run.alert):
            return True
    return False


def _concerns_other_side(later: DecodedSignal, entry: DecodedSignal) -> bool:
    spared = {Action.CLOSE_LONG: Action.SELL, Action.CLOSE_SHORT: Action.BUY}
    return spared.get(later.action) is entry.action


def proceed(tx: Tx, run: Run, answers: list[Answer]) -> Run:
    """Record what became of the calls and go on with the plan."""
    tx.request_id = run.request_id
    run.calls = []
    for answer in answers:
        _take_answer(tx, run, answer)
    _advance(tx, run)
    return run


def is_settled(answers: list[Answer]) -> bool:
    """Whether every call has a clear outcome; otherwise the broker must be asked first."""
    return not any(answer.is_unknown for answer in answers)


def trace_to_json(decision: Decision, at: datetime) -> list[dict[str, Any]]:
    stamp = payloads.instant(at)
    return [
        {
            "at": stamp,
            "rule": rule.rule,
            "verdict": rule.verdict.value,
            "inputs": dict(rule.inputs),
            "words": rule.words,
        }
        for rule in decision.trace
    ]


def _take(tx: Tx, run: Run, decision: Decision) -> None:
    now = clock.now()
    run.plan = decision.plan
    status = "running" if decision.plan else _STATUS[decision.verdict]
    _DECIDED.run(
        tx.conn,
        {
            "of_id": run.id,
            "to_status": status,
            "to_reason": decision.reason,
            "to_detail": decision.words[:500],
            "to_plan": [step_to_json(step) for step in decision.plan],
            "to_trace": trace_to_json(decision, now),
            "to_finished": None if decision.plan else now,
            "at": now,
        },
    )
    if decision.plan:
        _advance(tx, run)
        return
    _tell(tx, run, status, decision.reason, decision.words)


_STATUS = {
    Verdict.TRADE: "done",
    Verdict.SKIP: "skipped",
    Verdict.REFUSE: "skipped",
    Verdict.EXPIRED: "expired",
}


def _advance(tx: Tx, run: Run) -> None:
    """Do steps until one needs the broker; its intent is part of this transaction.

    After a failure only what guards a position is still done: protection, and the exit that an
    entry on the other side contained.
    """
    if _is_held(run):
        return
    while run.step < len(run.plan):
        step = run.plan[run.step]
        calls: list[Call] = []
        if run.failure is None or isinstance(step, Reprotect | MoveStop | Net):
            calls = HANDLERS[type(step)](tx, run, step) or until_filled(tx, run)
        run.is_resumed = False
        if run.deferred_until is not None:
            _defer(tx, run)
            return
        if calls:
            run.calls = calls
            if run.step != run.stored_step:
                run.stored_step = run.step
                at = clock.now()
                _AT_STEP.run(tx.conn, {"of_id": run.id, "to_step": run.step, "at": at})
            return
        run.step += 1
        run.waiting_until = run.awaited = None
        run.is_in_doubt = False
    if run.failure is not None:
        _finish(tx, run, "failed", *run.failure)
        return
    _finish(tx, run, "done", None, None)


def _defer(tx: Tx, run: Run) -> None:
    """Back to the queue until the entry is due; then it is decided anew, from the book as it is."""
    run.calls = []
    values: dict[str, Any] = {
        "status": "pending",
        "due_at": run.deferred_until,
        "plan": [],
        "step": 0,
        "updated_at": clock.now(),
    }
    tx.conn.execute(update(_EXECUTIONS).where(_EXECUTIONS.c.id == run.id).values(**values))


def _take_answer(tx: Tx, run: Run, answer: Answer) -> None:
    if answer.report is not None:
        fills.apply(tx, run.account, answer.report, source="answer")
        _notice_rejection(tx, run, answer, answer.report)
        if isinstance(answer.call, Place):
            is_over = _is_over(answer.call, answer.report)
            run.awaited = None if is_over else answer.call.client_order_id
        return
    if answer.error is None:
        return
    if isinstance(answer.call, Cancel | Modify):
        return  # the order's own state, which reconcile has brought up to date, decides
    until = _hold_until(run, answer.error)
    for client_order_id in _ids(answer.call):
        mark_refused(tx, run.account, client_order_id, answer.error, was_sent=until is None)
    if until is not None:
        run.held_until, run.is_in_doubt = until, True
        run.holds += 1
    elif _is_essential(answer.call):
        run.failure = (answer.error.code, answer.error.detail)


MOST_HELD = timedelta(seconds=60)
"""For so long what a broker cannot take at the moment is planned again."""
FIRST_PAUSE_S = 1.0
_MOST_HOLDS = 6


def _hold_until(run: Run, error: TradingError) -> datetime | None:
    """When to try again what was not sent; None: it is given up. An exit that met a broken
    connection or a session that had ended must not leave its position open."""
    pause_s = error.retry_after_s if isinstance(error, BrokerRefused) else None
    if pause_s is None or run.holds >= _MOST_HOLDS:
        return None
    now = clock.now()
    run.held_since = run.held_since or now
    until = now + timedelta(seconds=max(pause_s, FIRST_PAUSE_S * 2.0**run.holds))
    last = run.held_since + MOST_HELD
    step = run.plan[run.step]
    if isinstance(step, Enter | Net):
        last = min(last, step.deadline)
    return until if until <= last else None


def _is_held(run: Run) -> bool:
    """Whether the run waits until it may send again."""
    if run.held_until is None:
        return False
    if clock.now() < run.held_until:
        run.calls = [Wait(run.held_until)]
        return True
    run.held_until = run.waiting_until = None
    return False


def _is_over(call: Place, report: BrokerReport) -> bool:
    """Whether nothing more is to come of the order soon: it rests, or it has ended and its fills
    are all here."""
    if call.ticket.order_type is not OrderType.MARKET:
        return True
    for order in report.orders:
        if order.client_order_id == call.client_order_id and order.status in TERMINAL:
            told = sum(
                (f.quantity for f in report.fills if f.broker_order_id == order.broker_order_id),
                Decimal(0),
            )
            return told >= order.filled_quantity
    return False


def _notice_rejection(tx: Tx, run: Run, answer: Answer, report: BrokerReport) -> None:
    """A broker that answers with a rejected order has refused it, whatever the form. An order that
    only closes is not missed where nothing is held any more."""
    ids = _ids(answer.call)
    for order in report.orders:
        if order.client_order_id not in ids or order.status is not OrderStatus.REJECTED:
            continue
        row = BY_CLIENT_ID.first(tx.conn, {"id": order.client_order_id})
        take_rejection(tx, run, order.contract, order.side, row.role, order.reason)


def _ids(call: Call) -> tuple[str, ...]:
    if isinstance(call, Place):
        return (call.client_order_id,)
    return call.ids if isinstance(call, PlaceOco) else ()


def _is_essential(call: Call) -> bool:
    return isinstance(call, Place | PlaceOco)


def _finish(tx: Tx, run: Run, status: str, reason: str | None, detail: str | None) -> None:
    now = clock.now()
    run.calls = []
    if reason == "entry_deadline":
        status = "expired"
    ended = {"of_id": run.id, "to_status": status, "at": now}
    if reason is None:
        _DONE.run(tx.conn, ended)
    else:
        why = {"to_reason": reason[:60], "to_detail": (detail or "")[:500]}
        _FINISH.run(tx.conn, {**ended, **why})
    _tell(tx, run, status, reason, detail)


def _tell(tx: Tx, run: Run, status: str, reason: str | None, words: str | None) -> None:
    if not run.id:
        return
    metrics.EXECUTIONS.labels(status).inc()
    tx.record(
        run.account.user_id,
        "signal",
        {
            "id": run.signal_id,
            "strategy_id": run.subject.strategy_id,
            "status": "accepted",
            "execution": {
                "id": run.id,
                "index": run.index,
                "trader_id": run.subject.trader_id,
                "account_id": run.account.id,
                "status": status,
                "reason": reason,
                "detail": words,
            },
        },
    )
    if status == "done":
        return
    journal.write(
        tx,
        run.account.user_id,
        "execution_" + status,
        f"{run.subject.account_name}: {words or reason or status}",
        level="info" if status == "skipped" else "warning" if status == "expired" else "error",
        strategy_id=run.subject.strategy_id,
        account_id=run.account.id,
        signal_id=run.signal_id,
        data={"execution_id": run.id, "reason": reason},
    )
