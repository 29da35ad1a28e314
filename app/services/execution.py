"""One execution's way from the decision to its fills, step by step.

Every function here runs inside the writer's transaction and returns the calls that must be made
*after* its commit; the lane makes them and comes back with the answers. So the intent is durable
before the broker hears of it, and the outcome afterwards, in the same transaction as the next
step's intent. What a crash leaves between the two is settled by ``reconcile`` before ``resume``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from sqlalchemy import bindparam, or_, select, update

from app import clock, metrics
from app.brokers.base import AccountRef
from app.domain import brackets
from app.domain.brackets import LegPlan
from app.domain.decisions import decide
from app.domain.errors import BrokerRefused, TradingError
from app.domain.orders import MOVES, TERMINAL
from app.domain.plans import (
    Adopt,
    AwaitFlat,
    CancelOrders,
    Close,
    CorrectLegs,
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
    LegTicket,
    OrderRole,
    OrderStatus,
    OrderTicket,
    OrderType,
    Origin,
    PositionSide,
    Side,
    TimeInForce,
)
from app.models import Account, Book, Execution, Order, Signal, Strategy, Trader
from app.models.base import table
from app.models.bulk import BulkInsert
from app.models.engine import reserve_ids
from app.models.orders import IS_OPEN
from app.models.prepared import Prepared
from app.models.signals import UNFINISHED
from app.models.types import canonical
from app.services import context as contexts
from app.services import fills, journal, payloads
from app.services.context import BrokerState, QuoteOf, Subject, facts_of
from app.services.signal_json import to_signal
from app.transactions import Tx

_EXECUTIONS = table(Execution)
_ORDERS = table(Order)
_BOOKS = table(Book)

FLAT_TIMEOUT = timedelta(seconds=10)
"""How long an exit may take before an entry that waits for it is given up; how long a market order
that the broker took may take to fill before the account's work goes on."""
_MOST_EXITS = 5
"""How many exits one step sends before it is given up."""

_NEW_ORDERS = BulkInsert(
    _ORDERS,
    (
        "id",
        "user_id",
        "account_id",
        "strategy_id",
        "trader_id",
        "execution_id",
        "parent_id",
        "step",
        "contract",
        "side",
        "role",
        "origin",
        "order_type",
        "tif",
        "quantity",
        "limit_price",
        "stop_price",
        "ticket",
        "client_order_id",
        "status",
        "filled_quantity",
        "submitted_at",
        "created_at",
        "updated_at",
    ),
)
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
_OPEN_OF_TRADER = Prepared(
    select(_ORDERS).where(
        _ORDERS.c.account_id == bindparam("account"),
        _ORDERS.c.trader_id == bindparam("trader"),
        IS_OPEN,
    )
)
_OF_STEP = Prepared(
    select(_ORDERS)
    .where(
        _ORDERS.c.execution_id == bindparam("execution"),
        _ORDERS.c.step == bindparam("step"),
        _ORDERS.c.parent_id.is_(None),
    )
    .order_by(_ORDERS.c.id)
)
_OPEN_MANUAL = Prepared(
    select(_ORDERS).where(
        _ORDERS.c.account_id == bindparam("account"), _ORDERS.c.trader_id.is_(None), IS_OPEN
    )
)
_SENT = Prepared(select(_ORDERS).where(_ORDERS.c.client_order_id == bindparam("id")))
_IN_CONTRACT = Prepared(
    select(_BOOKS.c.trader_id, _BOOKS.c.net_pos, _BOOKS.c.avg_price).where(
        _BOOKS.c.account_id == bindparam("account"), _BOOKS.c.contract == bindparam("contract")
    )
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


@dataclass(frozen=True, slots=True)
class Place:
    """Send one order (its row is ``submitting``)."""

    client_order_id: str
    ticket: OrderTicket


@dataclass(frozen=True, slots=True)
class PlaceOco:
    """Send two orders of which one ends the other."""

    ids: tuple[str, str]
    first: OrderTicket
    second: OrderTicket


@dataclass(frozen=True, slots=True)
class Cancel:
    client_order_id: str
    broker_order_id: str | None = None


@dataclass(frozen=True, slots=True)
class Modify:
    """Give a resting order these terms, all of them."""

    client_order_id: str
    broker_order_id: str | None
    quantity: Decimal
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to send: look again when something changed, at the latest at ``until``. What the
    broker does not tell by itself about the orders ``about`` is asked for."""

    until: datetime
    about: tuple[str, ...] = ()


Call = Place | PlaceOco | Cancel | Modify | Wait


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a call: a report, a refusal, or no clear answer (``is_unknown``)."""

    call: Call
    report: BrokerReport | None = None
    error: TradingError | None = None
    is_unknown: bool = False


@dataclass(slots=True)
class Run:
    """One execution under way. ``calls`` empty: it has ended."""

    id: int
    signal_id: int
    index: int
    subject: Subject
    request_id: str | None
    received_at: datetime
    plan: tuple[Step, ...] = ()
    step: int = 0
    origin: Origin = Origin.SIGNAL
    calls: list[Call] = field(default_factory=list)
    is_resumed: bool = False
    stored_step: int = 0
    sent_step: int = -1
    """The step whose order this run has sent already."""
    sent: list[str] = field(default_factory=list)
    """The client order ids of what it sent in that step."""
    is_in_doubt: bool = False
    """An answer of this step was not clear: what the broker has of it is read from its orders."""
    awaited: str | None = None
    """A market order that the broker took and has not filled yet."""
    asked: set[str] = field(default_factory=set)
    """Orders that this run has asked to cancel."""
    waiting_until: datetime | None = None
    deferred_until: datetime | None = None
    """Set when the entry must wait: the lane goes on with what came later."""
    alert: Any = None
    failure: tuple[str, str] | None = None

    @property
    def account(self) -> AccountRef:
        return self.subject.account


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


# Deciding


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


# Steps


def _advance(tx: Tx, run: Run) -> None:
    """Do steps until one needs the broker; its intent is part of this transaction.

    After a failure only what guards a position is still done: protection, and the exit that an
    entry on the other side contained.
    """
    while run.step < len(run.plan):
        step = run.plan[run.step]
        calls: list[Call] = []
        if run.failure is None or isinstance(step, Reprotect | MoveStop | Net):
            calls = _HANDLERS[type(step)](tx, run, step) or _until_filled(tx, run)
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


_CANCELLABLE = frozenset(
    status.value for status, moves in MOVES.items() if OrderStatus.CANCEL_PENDING in moves
)


def _cancel(tx: Tx, run: Run, step: CancelOrders) -> list[Call]:
    open_ids = {row["client_order_id"]: row for row in _open_orders(tx, run)}
    wanted = [open_ids[i] for i in step.ids if i in open_ids]
    if wanted:
        return _cancel_rows(tx, run, wanted)
    return _await_last_fills(tx, run, step.ids)


def _await_last_fills(tx: Tx, run: Run, ids: tuple[str, ...]) -> list[Call]:
    """An order that ended may have filled more than we have heard of; the book counts only when
    that is here."""
    asked = [i for i in ids if i in run.asked]
    rows = [row for i in asked for row in _SENT.rows(tx.conn, {"id": i})]
    lacking = tuple(
        row.client_order_id
        for row in rows
        if row.reported_filled is not None and row.reported_filled > row.filled_quantity
    )
    return _until_told(run, lacking) if lacking else []


def _cancel_rows(tx: Tx, run: Run, rows: list[Any]) -> list[Call]:
    """Ask for what is not yet asked for; then wait until each is confirmed as ended."""
    fresh = [row for row in rows if row["client_order_id"] not in run.asked]
    if fresh:
        now = clock.now()
        for row in fresh:
            run.asked.add(row["client_order_id"])
            if row["status"] in _CANCELLABLE:
                _set_status(tx, row, OrderStatus.CANCEL_PENDING, now)
        return [Cancel(row["client_order_id"], row["broker_order_id"]) for row in fresh]
    if not rows:
        return []
    ids = tuple(row["client_order_id"] for row in rows)
    return _wait(run, "not_cancelled", "An order could not be cancelled in time.", ids)


def _close(tx: Tx, run: Run, step: Close) -> list[Call]:
    if _sent(tx, run).is_there:
        return []
    held = _held(tx, run, step.contract)
    if held.side is None or held.side is not _reduced_by(step.side):
        return []
    quantity = held.size if step.is_whole else min(step.quantity, held.size)
    return [_exit_call(tx, run, step.contract, held, quantity)]


def _await_flat(tx: Tx, run: Run, step: AwaitFlat) -> list[Call]:
    for contract in step.contracts:
        held = _held(tx, run, contract)
        if held.side is None:
            continue
        exits = [
            row
            for row in _open_orders(tx, run)
            if row["role"] == OrderRole.EXIT.value and row["contract"] == contract
        ]
        if exits:
            words = f"{contract} was not flat in time; nothing was entered."
            ids = tuple(row["client_order_id"] for row in exits)
            return _wait(run, "not_flat", words, ids)
        if run.waiting_until is None:
            run.waiting_until = clock.now() + FLAT_TIMEOUT
        is_tried = run.sent_step == run.step and len(run.sent) >= _MOST_EXITS
        if is_tried or clock.now() > run.waiting_until:
            return _fail(run, "not_flat", f"{contract} could not be closed; nothing was entered.")
        return [_exit_call(tx, run, contract, held, held.size)]
    return []


def _enter(tx: Tx, run: Run, step: Enter) -> list[Call]:
    now = clock.now()
    sent = _sent(tx, run)
    if sent.is_there:
        return []
    if sent.lost > 1:
        return _fail(run, "order_lost", _LOST_TWICE)
    if now < step.not_before:
        run.deferred_until = step.not_before
        return []
    if now > step.deadline:
        return _fail(run, "entry_deadline", _TOO_LATE)
    client_order_id = uuid4().hex
    ticket = OrderTicket(
        contract=step.contract,
        side=step.side,
        quantity=step.quantity,
        order_type=step.order_type,
        limit_price=step.limit_price,
        stop_price=step.stop_price,
        take_profit=_leg(client_order_id, "tp", step.take_profit),
        stop_loss=_leg(client_order_id, "sl", step.stop_loss),
        reference_price=step.reference_price,
    )
    return [_place(tx, run, ticket, OrderRole.ENTRY, client_order_id)]


_TOO_LATE = "The entry could not be sent before its deadline."
_LOST_TWICE = "The entry did not reach the broker, twice; it was not sent again."


def _net(tx: Tx, run: Run, step: Net) -> list[Call]:
    """Close and open by one order. Where its entering half may not be or was not taken, the exit
    still runs."""
    sent = _sent(tx, run)
    if run.failure is None and not sent.is_there:
        if sent.lost > 1:
            _fail(run, "order_lost", _LOST_TWICE)
        elif clock.now() > step.deadline:
            _fail(run, "entry_deadline", _TOO_LATE)
    if run.failure is not None:
        return _close_half(tx, run, step)
    if sent.is_there:
        return []
    held = _held(tx, run, step.contract)
    closes = held.size if held.side is _reduced_by(step.side) else Decimal(0)
    ticket = OrderTicket(
        contract=step.contract,
        side=step.side,
        quantity=closes + step.opens,
        reference_price=step.reference_price,
    )
    return [_place(tx, run, ticket, OrderRole.ENTRY)]


def _close_half(tx: Tx, run: Run, step: Net) -> list[Call]:
    held = _held(tx, run, step.contract)
    is_tried = any(
        row.role == OrderRole.EXIT.value and row.status != OrderStatus.NOT_FOUND.value
        for row in _rows_of_step(tx, run)
    )
    if is_tried or held.side is not _reduced_by(step.side):
        return []
    return [_exit_call(tx, run, step.contract, held, held.size)]


def _adopt(tx: Tx, run: Run, step: Adopt) -> list[Call]:
    owner = fills.Owner(run.subject.trader_id, run.subject.strategy_id)
    key = f"adopt-{run.id}-{run.step}"
    fills.adopt(tx, run.account, owner, step.contract, step.net_pos, step.price, key)
    return []


def _reprotect(tx: Tx, run: Run, step: Reprotect) -> list[Call]:
    if _sent(tx, run).is_there:
        return []
    legs = _protective(tx, run, step.contract)
    if legs:
        return _cancel_rows(tx, run, legs)
    return _await_last_fills(tx, run, tuple(run.asked)) or _protect(
        tx, run, step.contract, step.take_profit, step.stop_loss
    )


def _move_stop(tx: Tx, run: Run, step: MoveStop) -> list[Call]:
    if _sent(tx, run).is_there:
        return []
    legs = _protective(tx, run, step.contract)
    if legs:
        return _cancel_rows(tx, run, legs)
    return _await_last_fills(tx, run, tuple(run.asked)) or _protect(
        tx, run, step.contract, None, step.price
    )


def _correct_legs(tx: Tx, run: Run, step: CorrectLegs) -> list[Call]:
    if run.sent_step == run.step:
        return []
    run.sent_step = run.step
    legs = _protective(tx, run, step.contract)
    return [call for leg in legs if (call := _correction(tx, leg)) is not None]


_ENTRY_OF = Prepared(
    select(_ORDERS.c.avg_fill_price, _ORDERS.c.side, _ORDERS.c.order_type).where(
        _ORDERS.c.id == bindparam("entry")
    )
)


def misplaced_to(leg: Any, entry: Any) -> Decimal | None:
    """Where a leg should be, counted from its entry's fill price; None: it is there, or nobody
    can say, or the broker counts itself, as it does behind a market order. ``leg`` is an order's
    row as a mapping, ``entry`` has its entry's price, side and type."""
    offset = (leg["ticket"] or {}).get("offset")
    if offset is None or entry is None or entry.avg_fill_price is None:
        return None
    if entry.order_type == OrderType.MARKET.value:
        return None
    side = PositionSide.LONG if entry.side == Side.BUY.value else PositionSide.SHORT
    is_target = leg["role"] == OrderRole.TAKE_PROFIT.value
    price_of = brackets.target_price if is_target else brackets.stop_price
    tick = facts_of(leg["contract"]).tick_size
    wanted = price_of(side, entry.avg_fill_price, Decimal(offset), tick)
    return None if wanted == leg["limit_price" if is_target else "stop_price"] else wanted


def _correction(tx: Tx, leg: Any) -> Modify | None:
    if leg["parent_id"] is None or leg["status"] not in _RESTING:
        return None
    wanted = misplaced_to(leg, _ENTRY_OF.first(tx.conn, {"entry": leg["parent_id"]}))
    if wanted is None:
        return None
    is_target = leg["role"] == OrderRole.TAKE_PROFIT.value
    return Modify(
        leg["client_order_id"],
        leg["broker_order_id"],
        leg["quantity"],
        limit_price=wanted if is_target else None,
        stop_price=None if is_target else wanted,
    )


_RESTING = (OrderStatus.WORKING.value, OrderStatus.PARTIALLY_FILLED.value)

_HANDLERS: dict[type, Any] = {
    Adopt: _adopt,
    CancelOrders: _cancel,
    Close: _close,
    AwaitFlat: _await_flat,
    Enter: _enter,
    Net: _net,
    Reprotect: _reprotect,
    MoveStop: _move_stop,
    CorrectLegs: _correct_legs,
}


def _protect(
    tx: Tx, run: Run, contract: str, target: Decimal | None, stop: Decimal | None
) -> list[Call]:
    """A bracket for the whole book as it is now."""
    book = _held(tx, run, contract)
    side = book.side
    if side is None or book.avg_price is None:
        return []
    settings = run.subject.effective.values
    legs = brackets.legs_for(
        side, book.avg_price, book.size, settings, facts_of(contract), run.alert
    )
    target_price = target or (legs.take_profit.price if legs.take_profit else None)
    stop_price = stop or (legs.stop_loss.price if legs.stop_loss else None)
    closing = side.opening.opposite
    tickets: list[tuple[OrderTicket, OrderRole]] = []
    if target_price is not None:
        tickets.append(
            (
                _protective_ticket(contract, closing, book.size, limit=target_price),
                OrderRole.TAKE_PROFIT,
            )
        )
    if stop_price is not None:
        tickets.append(
            (
                _protective_ticket(contract, closing, book.size, stop=stop_price),
                OrderRole.STOP_LOSS,
            )
        )
    placed = [_place(tx, run, ticket, role) for ticket, role in tickets]
    if len(placed) == 2:
        first, second = placed
        ids = (first.client_order_id, second.client_order_id)
        return [PlaceOco(ids, first.ticket, second.ticket)]
    return list(placed)


def _protective_ticket(
    contract: str,
    side: Side,
    quantity: Decimal,
    *,
    limit: Decimal | None = None,
    stop: Decimal | None = None,
) -> OrderTicket:
    return OrderTicket(
        contract=contract,
        side=side,
        quantity=quantity,
        order_type=OrderType.LIMIT if limit is not None else OrderType.STOP,
        limit_price=limit,
        stop_price=stop,
        reduce_only=True,
        origin=Origin.BRACKET,
    )


# Orders


def _exit_call(tx: Tx, run: Run, contract: str, held: _Held, quantity: Decimal) -> Place:
    """Reduce-only where the account as a whole holds that much on this side. With books on both
    sides it holds less, or the other side, and the exit of one must still go through."""
    assert held.side is not None  # noqa: S101  (only what is held is closed)
    ticket = OrderTicket(
        contract=contract,
        side=held.side.closing,
        quantity=quantity,
        reduce_only=held.of_account * held.side.sign >= quantity,
        origin=run.origin,
        reference_price=run.alert.price if run.alert is not None else None,
    )
    return _place(tx, run, ticket, OrderRole.EXIT)


def _place(
    tx: Tx, run: Run, ticket: OrderTicket, role: OrderRole, client_order_id: str | None = None
) -> Place:
    """Write the intent: the order as ``submitting``, its legs as ``inactive``."""
    client_order_id = client_order_id or uuid4().hex
    if run.sent_step != run.step:
        run.sent_step, run.sent = run.step, []
    run.sent.append(client_order_id)
    run.is_in_doubt = False
    row = _order_row(run, ticket, role, client_order_id, OrderStatus.SUBMITTING)
    _insert(tx, row)
    legs = (
        (ticket.take_profit, OrderRole.TAKE_PROFIT, OrderType.LIMIT),
        (ticket.stop_loss, OrderRole.STOP_LOSS, OrderType.STOP),
    )
    for leg, leg_role, order_type in legs:
        if leg is not None:
            _add_leg(tx, run, ticket, leg, leg_role, order_type, row["id"])
    metrics.ALERT_TO_ORDER_SECONDS.observe((clock.now() - run.received_at).total_seconds())
    return Place(client_order_id, ticket)


def _add_leg(
    tx: Tx,
    run: Run,
    entry: OrderTicket,
    leg: LegTicket,
    role: OrderRole,
    order_type: OrderType,
    parent_id: int,
) -> None:
    is_limit = order_type is OrderType.LIMIT
    ticket = OrderTicket(
        contract=entry.contract,
        side=entry.side.opposite,
        quantity=entry.quantity,
        order_type=order_type,
        limit_price=leg.price if is_limit else None,
        stop_price=None if is_limit else leg.price,
        reduce_only=True,
        origin=Origin.BRACKET,
    )
    row = _order_row(run, ticket, role, leg.client_order_id, OrderStatus.INACTIVE)
    row["parent_id"] = parent_id
    if leg.offset is not None:
        row["ticket"] = {"offset": canonical(leg.offset)}
    _insert(tx, row)


def _insert(tx: Tx, row: dict[str, Any]) -> None:
    [row["id"]] = reserve_ids(tx.conn, "orders", 1)
    _NEW_ORDERS.execute(tx.conn, [row])
    tx.record(row["user_id"], "order:update", payloads.order(row))


def _order_row(
    run: Run, ticket: OrderTicket, role: OrderRole, client_order_id: str, status: OrderStatus
) -> dict[str, Any]:
    now = clock.now()
    return {
        "user_id": run.account.user_id,
        "account_id": run.account.id,
        "strategy_id": run.subject.strategy_id,
        "trader_id": run.subject.trader_id,
        "execution_id": run.id or None,
        "parent_id": None,
        "step": run.step,
        "contract": ticket.contract,
        "side": ticket.side.value,
        "role": role.value,
        "origin": ticket.origin.value,
        "order_type": ticket.order_type.value,
        "tif": ticket.tif.value,
        "quantity": ticket.quantity,
        "limit_price": ticket.limit_price,
        "stop_price": ticket.stop_price,
        "ticket": {},
        "client_order_id": client_order_id,
        "broker_order_id": None,
        "status": status.value,
        "reason": None,
        "filled_quantity": Decimal(0),
        "avg_fill_price": None,
        "submitted_at": now if status is OrderStatus.SUBMITTING else None,
        "created_at": now,
        "updated_at": now,
    }


def _leg(entry_id: str, suffix: str, plan: LegPlan | None) -> LegTicket | None:
    """The leg's client order id follows from its entry's: a broker that makes the legs itself
    knows only the entry's."""
    if plan is None:
        return None
    return LegTicket(f"{entry_id}-{suffix}", offset=plan.offset, price=plan.price)


@dataclass(frozen=True, slots=True)
class _Sent:
    """What the broker has of a step's orders. ``lost``: how many were proven not to exist."""

    is_there: bool
    lost: int = 0


def _sent(tx: Tx, run: Run) -> _Sent:
    """Whether this step's order was sent, by this run or by one that a crash ended.

    An order that was proven not to exist does not count: it is planned again, an entry once, an
    exit as often as it takes, from the book as it then is.
    """
    is_ours = run.sent_step == run.step
    if is_ours and not run.is_in_doubt:
        return _Sent(is_there=True)
    if not is_ours and not run.is_resumed:
        return _Sent(is_there=False)
    rows = _rows_of_step(tx, run)
    newest = {row.role: row for row in rows}
    lost = sum(row.status == OrderStatus.NOT_FOUND.value for row in rows)
    if not newest or any(r.status == OrderStatus.NOT_FOUND.value for r in newest.values()):
        return _Sent(is_there=False, lost=lost)
    if not is_ours:
        run.sent_step, run.sent = run.step, [row.client_order_id for row in rows]
    run.is_in_doubt = False
    for row in newest.values():
        if row.order_type == OrderType.MARKET.value and OrderStatus(row.status) not in TERMINAL:
            run.awaited = row.client_order_id
        if row.status == OrderStatus.REJECTED.value:
            _take_rejection(tx, run, row.contract, Side(row.side), row.role, row.reason)
    return _Sent(is_there=True, lost=lost)


def _rows_of_step(tx: Tx, run: Run) -> list[Any]:
    """The step's orders without the legs of an entry, oldest first."""
    if run.id:
        return _OF_STEP.rows(tx.conn, {"execution": run.id, "step": run.step})
    return [row for i in run.sent for row in _SENT.rows(tx.conn, {"id": i})]


def _until_filled(tx: Tx, run: Run) -> list[Call]:
    """A market order fills at once, but not every broker says so in its answer: what follows is
    decided from the book, so it waits."""
    if run.awaited is None:
        return []
    if not any(row["client_order_id"] == run.awaited for row in _open_orders(tx, run)):
        return []
    return _until_told(run, (run.awaited,))


def _until_told(run: Run, about: tuple[str, ...]) -> list[Call]:
    """Wait, but not for ever: what follows is then done with the book as it is."""
    now = clock.now()
    if run.waiting_until is None:
        run.waiting_until = now + FLAT_TIMEOUT
    return [Wait(run.waiting_until, about)] if now < run.waiting_until else []


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


def _open_orders(tx: Tx, run: Run) -> list[Any]:
    trader_id = run.subject.trader_id
    if trader_id is None:
        return _OPEN_MANUAL.dicts(tx.conn, {"account": run.account.id})
    return _OPEN_OF_TRADER.dicts(tx.conn, {"account": run.account.id, "trader": trader_id})


def _protective(tx: Tx, run: Run, contract: str) -> list[Any]:
    roles = (OrderRole.TAKE_PROFIT.value, OrderRole.STOP_LOSS.value)
    return [
        row for row in _open_orders(tx, run) if row["role"] in roles and row["contract"] == contract
    ]


@dataclass(frozen=True, slots=True)
class _Held:
    """The book in one contract. ``of_account``: the sum of all the account's books in it."""

    net_pos: Decimal = Decimal(0)
    avg_price: Decimal | None = None
    of_account: Decimal = Decimal(0)

    @property
    def side(self) -> PositionSide | None:
        return PositionSide.of(self.net_pos)

    @property
    def size(self) -> Decimal:
        return abs(self.net_pos)


def _held(tx: Tx, run: Run, contract: str) -> _Held:
    rows = _IN_CONTRACT.rows(tx.conn, {"account": run.account.id, "contract": contract})
    whole = sum((row.net_pos for row in rows), Decimal(0))
    for row in rows:
        if row.trader_id == run.subject.trader_id:
            return _Held(row.net_pos, row.avg_price, whole)
    return _Held(of_account=whole)


def _reduced_by(side: Side) -> PositionSide:
    return PositionSide.LONG if side is Side.SELL else PositionSide.SHORT


def _set_status(tx: Tx, row: Any, status: OrderStatus, now: datetime) -> None:
    tx.conn.execute(
        update(_ORDERS)
        .where(_ORDERS.c.id == row["id"], _ORDERS.c.status == row["status"])
        .values(status=status.value, updated_at=now)
    )
    tx.record(row["user_id"], "order:update", payloads.order({**row, "status": status.value}))


def _wait(run: Run, code: str, words: str, about: tuple[str, ...]) -> list[Call]:
    now = clock.now()
    if run.waiting_until is None:
        run.waiting_until = now + FLAT_TIMEOUT
    if now >= run.waiting_until:
        return _fail(run, code, words)
    return [Wait(run.waiting_until, about)]


# Outcomes


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
    for client_order_id in _ids(answer.call):
        mark_refused(tx, run.account, client_order_id, answer.error)
    if _is_essential(answer.call):
        run.failure = (answer.error.code, answer.error.detail)


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
        row = _SENT.first(tx.conn, {"id": order.client_order_id})
        _take_rejection(tx, run, order.contract, order.side, row.role, order.reason)


def _take_rejection(
    tx: Tx, run: Run, contract: str, side: Side, role: str, reason: str | None
) -> None:
    opens = role == OrderRole.ENTRY.value
    if opens or _held(tx, run, contract).side is _reduced_by(side):
        run.failure = ("order_rejected", reason or "The broker rejected the order.")


def mark_refused(tx: Tx, account: AccountRef, client_order_id: str, error: TradingError) -> None:
    """The broker said no: nothing works there under this id, nor under its legs."""
    row = tx.conn.execute(
        select(_ORDERS).where(_ORDERS.c.client_order_id == client_order_id)
    ).first()
    if row is None or OrderStatus(row.status) in TERMINAL:
        return
    now = clock.now()
    reason = f"{error.code}: {error.detail}"[:500]
    rows = [row, *tx.conn.execute(select(_ORDERS).where(_ORDERS.c.parent_id == row.id))]
    for each in rows:
        is_leg = each.id != row.id
        status = OrderStatus.CANCELLED if is_leg else OrderStatus.REJECTED
        values: dict[str, Any] = {
            "status": status.value,
            "reason": reason,
            "finished_at": now,
            "updated_at": now,
        }
        tx.conn.execute(update(_ORDERS).where(_ORDERS.c.id == each.id).values(**values))
        tx.record(account.user_id, "order:update", payloads.order({**each._mapping, **values}))
    journal.write(
        tx,
        account.user_id,
        "order_rejected",
        f"{row.side.capitalize()} {canonical(row.quantity)} {row.contract} was refused: {reason}",
        level="error",
        strategy_id=row.strategy_id,
        account_id=account.id,
        order_id=row.id,
    )


def _ids(call: Call) -> tuple[str, ...]:
    if isinstance(call, Place):
        return (call.client_order_id,)
    return call.ids if isinstance(call, PlaceOco) else ()


def _is_essential(call: Call) -> bool:
    return isinstance(call, Place | PlaceOco)


def _fail(run: Run, code: str, words: str) -> list[Call]:
    run.failure = (code, words)
    return []


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


__all__ = [
    "Answer",
    "BrokerRefused",
    "Call",
    "Cancel",
    "Place",
    "PlaceOco",
    "Run",
    "TimeInForce",
    "Wait",
    "begin",
    "is_settled",
    "mark_refused",
    "proceed",
    "trace_to_json",
]
