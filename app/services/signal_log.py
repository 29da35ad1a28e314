"""The webhook log: every alert that arrived, and the whole life of one of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Select, func, select

from app.events import timestamp
from app.extensions import db
from app.models import Account, Execution, Fill, Order, Signal, Strategy
from app.services.owned import get, owned

ZERO = Decimal(0)
STATUSES = ("accepted", "duplicate", "ignored", "rejected")
_INTAKE_WORDS = {
    "accepted": "The alert was understood and handed to the traders.",
    "duplicate": "The same alert had come before; nothing was traded twice.",
    "ignored": "The alert was understood, but nobody trades it now.",
    "rejected": "The alert was refused.",
}


@dataclass(frozen=True, slots=True)
class Filters:
    """``since`` is inclusive, ``until`` exclusive."""

    strategy_id: int | None = None
    status: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """An order with its fills, oldest first."""

    order: Order
    fills: list[Fill]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one trader did about one entry of the alert."""

    execution: Execution
    account: Account
    sent: list[Sent]


@dataclass(frozen=True, slots=True)
class Moment:
    """One point of the time line. ``after_ms`` counts from the alert's arrival, ``took_ms`` from
    the moment before it on the same lane (None for the first). ``lane`` is an account's name."""

    label: str
    at: datetime
    after_ms: float
    took_ms: float | None
    lane: str | None = None


@dataclass(slots=True)
class Life:
    """One alert and everything that followed."""

    signal: Signal
    strategy: Strategy
    verdicts: list[Verdict] = field(default_factory=list)
    previous_id: int | None = None
    next_id: int | None = None

    @property
    def orders(self) -> list[Sent]:
        return [sent for verdict in self.verdicts for sent in verdict.sent]

    @property
    def trace(self) -> list[dict[str, Any]]:
        """Every rule that was asked, in the order asked: the intake's, then each trader's."""
        lines = [_intake_line(self.signal)]
        for verdict in self.verdicts:
            execution = verdict.execution
            decided = execution.started_at or execution.received_at
            about = {
                "at": timestamp(decided),
                "index": execution.index,
                "trader_id": execution.trader_id,
            }
            lines += [{**about, **line} for line in execution.trace]
        return lines

    @property
    def timeline(self) -> list[Moment]:
        start = self.signal.received_at
        lane = _Lane(start, None)
        lane.add("received", start)
        if self.signal.decode_us is not None:
            lane.add("decoded", start + timedelta(microseconds=self.signal.decode_us))
        lane.add("stored", self.signal.created_at)
        stored = lane.last
        moments = lane.moments
        for verdict in self.verdicts:
            lane = _Lane(start, verdict.account.name, stored)
            lane.add("decided", verdict.execution.started_at)
            for sent in verdict.sent:
                lane.add_order(sent)
            lane.add("finished", verdict.execution.finished_at)
            moments += lane.moments
        return moments


def listing(user_id: int, filters: Filters | None = None) -> Select[Signal]:
    """The user's signals, unordered."""
    chosen = filters or Filters()
    rows = owned(Signal, user_id)
    if chosen.strategy_id is not None:
        rows = rows.where(Signal.strategy_id == chosen.strategy_id)
    if chosen.status is not None:
        rows = rows.where(Signal.status == chosen.status)
    if chosen.since is not None:
        rows = rows.where(Signal.received_at >= chosen.since)
    if chosen.until is not None:
        rows = rows.where(Signal.received_at < chosen.until)
    return rows


def life(user_id: int, signal_id: int) -> Life:
    """
    Raises:
        NotFound: no such signal, or not the user's.
    """
    signal = get(Signal, signal_id, user_id)
    strategy = get(Strategy, signal.strategy_id, user_id, with_deleted=True)
    result = Life(signal, strategy)
    result.previous_id, result.next_id = neighbours(user_id, signal)
    executions = list(
        db.session.scalars(
            owned(Execution, user_id)
            .where(Execution.signal_id == signal_id)
            .order_by(Execution.index, Execution.id)
        )
    )
    sent = _orders_of(user_id, [execution.id for execution in executions])
    accounts = _accounts(user_id, {execution.account_id for execution in executions})
    result.verdicts = [
        Verdict(execution, accounts[execution.account_id], sent.get(execution.id, []))
        for execution in executions
    ]
    return result


@dataclass(slots=True)
class Tally:
    """What came of one alert: executions, those that traded, those not finished, those that did
    what they were asked (some of which without a fill), those that failed."""

    executions: int = 0
    traded: int = 0
    under_way: int = 0
    done: int = 0
    failed: int = 0
    unknown: int = 0
    """Of those that failed: what became of their orders is not known."""
    expired: int = 0

    def add(self, status: str, *, has_traded: bool) -> None:
        self.executions += 1
        self.traded += has_traded
        self.under_way += status in ("pending", "running")
        self.done += status == "done"
        self.failed += status in ("failed", "unknown")
        self.unknown += status == "unknown"
        self.expired += status == "expired"


def tallies(user_id: int, signal_ids: list[int]) -> dict[int, Tally]:
    """Signal → what came of it, of those that have executions."""
    traded = (
        select(Order.id)
        .where(Order.execution_id == Execution.id, Order.filled_quantity != ZERO)
        .exists()
    )
    rows = db.session.execute(
        select(Execution.signal_id, Execution.status, traded).where(
            Execution.user_id == user_id, Execution.signal_id.in_(signal_ids)
        )
    )
    found: dict[int, Tally] = {}
    for signal_id, status, has_traded in rows:
        found.setdefault(signal_id, Tally()).add(status, has_traded=bool(has_traded))
    return found


def neighbours(user_id: int, signal: Signal) -> tuple[int | None, int | None]:
    """The signals of the same strategy before and after this one."""
    of_strategy = (Signal.user_id == user_id, Signal.strategy_id == signal.strategy_id)
    before = select(func.max(Signal.id)).where(*of_strategy, Signal.id < signal.id)
    after = select(func.min(Signal.id)).where(*of_strategy, Signal.id > signal.id)
    return db.session.scalar(before), db.session.scalar(after)


def _orders_of(user_id: int, execution_ids: list[int]) -> dict[int, list[Sent]]:
    orders = owned(Order, user_id).where(Order.execution_id.in_(execution_ids)).order_by(Order.id)
    rows = list(db.session.scalars(orders))
    by_order: dict[int, list[Fill]] = {row.id: [] for row in rows}
    fills = owned(Fill, user_id).where(Fill.order_id.in_(by_order)).order_by(Fill.id)
    for fill in db.session.scalars(fills):
        if fill.order_id is not None:
            by_order[fill.order_id].append(fill)
    sent: dict[int, list[Sent]] = {}
    for row in rows:
        if row.execution_id is not None:
            sent.setdefault(row.execution_id, []).append(Sent(row, by_order[row.id]))
    return sent


def _accounts(user_id: int, ids: set[int]) -> dict[int, Account]:
    rows = owned(Account, user_id, with_deleted=True).where(Account.id.in_(ids))
    return {row.id: row for row in db.session.scalars(rows)}


def _intake_line(signal: Signal) -> dict[str, Any]:
    inputs = {"answer": str(signal.answer), "source": signal.source_address or ""}
    if signal.reason:
        inputs["reason"] = signal.reason
    if signal.duplicate_of is not None:
        inputs["duplicate_of"] = str(signal.duplicate_of)
    return {
        "at": timestamp(signal.received_at),
        "rule": "intake",
        "verdict": signal.status,
        "inputs": inputs,
        "words": signal.detail or _INTAKE_WORDS.get(signal.status, ""),
        "index": None,
        "trader_id": None,
    }


class _Lane:
    """Collects the moments of one lane, each with its distance to the one before."""

    def __init__(self, start: datetime, name: str | None, last: datetime | None = None) -> None:
        self._start = start
        self._name = name
        self.last = last
        self.moments: list[Moment] = []

    def add(self, label: str, at: datetime | None) -> None:
        if at is None:
            return
        took = _ms(at - self.last) if self.last is not None else None
        self.moments.append(Moment(label, at, _ms(at - self._start), took, self._name))
        self.last = at

    def add_order(self, sent: Sent) -> None:
        what = f"{sent.order.role} {sent.order.client_order_id}"
        self.add(f"submitted: {what}", sent.order.submitted_at)
        self.add(f"acknowledged: {what}", sent.order.acknowledged_at)
        for fill in sent.fills:
            self.add(f"filled: {what}", fill.filled_at)
            self.add(f"recorded: {what}", fill.created_at)


def _ms(span: timedelta) -> float:
    return span / timedelta(milliseconds=1)
