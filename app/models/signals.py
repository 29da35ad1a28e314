"""Alerts that arrived and what was to be done about them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Model, Stamped
from app.models.types import BigId

UNFINISHED = text("executions.status IN ('pending', 'running')")
"""To the letter as in the partial index, which is not used for a condition with parameters."""


class Signal(Stamped, Model):
    """One alert, good or bad. ``raw_body`` is what came in with every secret masked.

    ``status``: accepted, duplicate, ignored, rejected. ``repeats`` counts requests that were
    refused for their rate and share this row.
    """

    __tablename__ = "signals"

    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"))
    strategy_id: Mapped[int] = mapped_column(BigId, ForeignKey("strategies.id"))
    received_at: Mapped[datetime]
    status: Mapped[str] = mapped_column(String(10))
    reason: Mapped[str | None] = mapped_column(String(40))
    field: Mapped[str | None] = mapped_column(String(80))
    detail: Mapped[str | None] = mapped_column(String(500))
    answer: Mapped[int]
    """The HTTP status it was answered with."""
    raw_body: Mapped[str] = mapped_column(Text)
    content_type: Mapped[str | None] = mapped_column(String(120))
    source_address: Mapped[str | None] = mapped_column(String(45))
    request_id: Mapped[str | None] = mapped_column(String(64))
    parsed: Mapped[list[Any]] = mapped_column(JSON, default=list)
    warnings: Mapped[list[Any]] = mapped_column(JSON, default=list)
    fired_at: Mapped[datetime | None]
    decode_us: Mapped[int | None]
    """Our own time from the first byte read to the body understood, in microseconds."""
    duplicate_of: Mapped[int | None] = mapped_column(BigId, ForeignKey("signals.id"))
    repeats: Mapped[int] = mapped_column(default=1)

    __table_args__ = (
        Index("ix_signals_user_id_id", "user_id", "id"),
        Index("ix_signals_strategy_id_id", "strategy_id", "id"),
    )


class AlertKey(Model):
    """Claimed by the first of identical alerts; SHA-256 over webhook and raw body."""

    __tablename__ = "alert_keys"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    signal_id: Mapped[int] = mapped_column(BigId)
    claimed_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class Execution(Stamped, Model):
    """One entry of a signal for one trader. ``status``: pending, running, done, skipped,
    expired, failed, unknown. ``trace`` is the decision in words, step by step."""

    __tablename__ = "executions"

    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"))
    signal_id: Mapped[int] = mapped_column(BigId, ForeignKey("signals.id"))
    index: Mapped[int] = mapped_column("index_in_alert")
    strategy_id: Mapped[int] = mapped_column(BigId, ForeignKey("strategies.id"))
    trader_id: Mapped[int] = mapped_column(BigId, ForeignKey("traders.id"), index=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"))
    status: Mapped[str] = mapped_column(String(10), default="pending")
    reason: Mapped[str | None] = mapped_column(String(60))
    detail: Mapped[str | None] = mapped_column(String(500))
    received_at: Mapped[datetime]
    due_at: Mapped[datetime | None]
    """Not before: an entry that the settings delay waits in the queue."""
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    plan: Mapped[list[Any]] = mapped_column(JSON, default=list)
    """The steps decided on, so that a restart goes on where the work stopped."""
    step: Mapped[int] = mapped_column(default=0)
    trace: Mapped[list[Any]] = mapped_column(JSON, default=list)

    __table_args__ = (
        Index(
            "uq_executions_signal_id_index_in_alert_trader_id",
            "signal_id",
            "index_in_alert",
            "trader_id",
            unique=True,
        ),
        Index(
            "ix_executions_unfinished",
            "account_id",
            "id",
            sqlite_where=text("status IN ('pending', 'running')"),
            postgresql_where=text("status IN ('pending', 'running')"),
        ),
    )
