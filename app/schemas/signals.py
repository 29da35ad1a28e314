"""The webhook log in JSON, and the whole life of one alert."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Literal

from pydantic import Field

from app.schemas.common import DecimalStr, Instant, ListQuery, Out
from app.schemas.fields import Id
from app.services.signal_log import Filters

_FILTERS = tuple(f.name for f in fields(Filters))


class SignalQuery(ListQuery):
    """``from`` is inclusive, ``to`` exclusive."""

    strategy_id: Id | None = None
    status: Literal["accepted", "duplicate", "ignored", "rejected"] | None = None
    since: Instant | None = Field(None, alias="from")
    until: Instant | None = Field(None, alias="to")

    def filters(self) -> Filters:
        return Filters(**{name: getattr(self, name) for name in _FILTERS})


class SignalOut(Out):
    """One row of the webhook log. ``signals`` is what was understood, entry by entry."""

    id: int
    strategy_id: int
    received_at: Instant
    status: str
    reason: str | None
    field: str | None
    detail: str | None
    answer: int
    repeats: int
    duplicate_of: int | None
    source_address: str | None
    request_id: str | None
    signals: list[dict[str, Any]]
    warnings: list[Any]


class SignalOrderOut(Out):
    id: int
    client_order_id: str
    contract: str
    side: str
    role: str
    order_type: str
    quantity: DecimalStr
    limit_price: DecimalStr | None
    stop_price: DecimalStr | None
    status: str
    reason: str | None
    filled_quantity: DecimalStr
    avg_fill_price: DecimalStr | None
    submitted_at: Instant | None
    acknowledged_at: Instant | None
    fills: list[SignalFillOut]


class SignalFillOut(Out):
    id: int
    quantity: DecimalStr
    price: DecimalStr
    fee: DecimalStr
    filled_at: Instant
    created_at: Instant


class ExecutionOut(Out):
    id: int
    index: int
    trader_id: int
    account_id: int
    account_name: str
    status: str
    reason: str | None
    detail: str | None
    started_at: Instant | None
    finished_at: Instant | None
    orders: list[SignalOrderOut]


class MomentOut(Out):
    label: str
    at: Instant
    after_ms: float
    took_ms: float | None
    lane: str | None


class LifeOut(SignalOut):
    raw_body: str
    content_type: str | None
    fired_at: Instant | None
    executions: list[ExecutionOut]
    trace: list[dict[str, Any]]
    timeline: list[MomentOut]
    previous_id: int | None
    next_id: int | None


_UNDERSTOOD = ("symbol", "exchange", "quantity", "target", "target_size")


def signal_row(signal: Any) -> dict[str, Any]:
    """A signal's columns, with what was understood under ``signals``; absent is null there."""
    columns = {name: getattr(signal, name) for name in SignalOut.model_fields if name != "signals"}
    return columns | {
        "signals": [{**dict.fromkeys(_UNDERSTOOD), **entry} for entry in signal.parsed]
    }


def life_row(life: Any) -> dict[str, Any]:
    signal = life.signal
    return signal_row(signal) | {
        "raw_body": signal.raw_body,
        "content_type": signal.content_type,
        "fired_at": signal.fired_at,
        "executions": [_execution_row(verdict) for verdict in life.verdicts],
        "trace": life.trace,
        "timeline": life.timeline,
        "previous_id": life.previous_id,
        "next_id": life.next_id,
    }


def _execution_row(verdict: Any) -> dict[str, Any]:
    named = ("id", "index", "trader_id", "account_id", "status", "reason", "detail")
    execution = verdict.execution
    columns = {name: getattr(execution, name) for name in (*named, "started_at", "finished_at")}
    return columns | {
        "account_name": verdict.account.name,
        "orders": [_order_row(sent) for sent in verdict.sent],
    }


def _order_row(sent: Any) -> dict[str, Any]:
    names = (name for name in SignalOrderOut.model_fields if name != "fills")
    return {name: getattr(sent.order, name) for name in names} | {"fills": sent.fills}
