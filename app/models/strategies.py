"""Strategies (recorders), the traders that assign them to accounts, and their logs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Model, Stamped
from app.models.types import BigId, UTCDateTime


class Strategy(Stamped, Model):
    """A named set of settings with its own webhook. ``enabled``: takes alerts; ``recording``:
    what happens on its demo account is recorded."""

    __tablename__ = "strategies"

    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"), index=True)
    name: Mapped[str] = mapped_column(String(80))
    slug: Mapped[str] = mapped_column(String(80))
    """For people; frozen at creation and never compared."""
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    token_cipher: Mapped[str] = mapped_column(String(200))
    symbol: Mapped[str | None] = mapped_column(String(40))
    demo_account_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("accounts.id"))
    enabled: Mapped[bool] = mapped_column(default=True)
    recording: Mapped[bool] = mapped_column(default=False)
    settings: Mapped[dict[str, Any]] = mapped_column(JSON)
    passphrase_cipher: Mapped[str | None] = mapped_column(Text)
    """The settings' passphrase, encrypted; the settings themselves only say that it is set."""
    settings_version: Mapped[int] = mapped_column(default=1)
    version: Mapped[int] = mapped_column(default=1)
    """Raised by every change; the intake verifies its cached copy against it."""
    deleted_at: Mapped[datetime | None]


class Trader(Stamped, Model):
    """The assignment of a strategy to an account, with its own sizing, on or off."""

    __tablename__ = "traders"

    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"), index=True)
    strategy_id: Mapped[int] = mapped_column(BigId, ForeignKey("strategies.id"), index=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"), index=True)
    enabled: Mapped[bool] = mapped_column(default=True)
    overrides: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    version: Mapped[int] = mapped_column(default=1)
    deleted_at: Mapped[datetime | None] = mapped_column(UTCDateTime)

    __table_args__ = (
        Index(
            "uq_traders_strategy_id_account_id",
            "strategy_id",
            "account_id",
            unique=True,
            sqlite_where=text("deleted_at IS NULL"),
            postgresql_where=text("deleted_at IS NULL"),
        ),
    )


class StrategyLog(Model):
    """What happened to a strategy, for people (``message``) and for machines (``data``)."""

    __tablename__ = "strategy_logs"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    created_at: Mapped[datetime]
    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"), index=True)
    strategy_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("strategies.id"), index=True)
    account_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("accounts.id"))
    level: Mapped[str] = mapped_column(String(8))
    event: Mapped[str] = mapped_column(String(40))
    message: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    signal_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("signals.id"))
    order_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("orders.id"))
    position_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("recorded_positions.id"))
