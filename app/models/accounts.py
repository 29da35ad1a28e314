"""Trading accounts and the lanes that keep each account's work in order."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Model, Stamped
from app.models.types import BigId


class Account(Stamped, Model):
    """One trading account of one user. ``status``: connecting, connected, degraded,
    disconnected, error, disabled. ``kill_switch`` blocks entries; protection stays."""

    __tablename__ = "accounts"

    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"), index=True)
    name: Mapped[str] = mapped_column(String(80))
    broker: Mapped[str] = mapped_column(String(40))
    environment: Mapped[str] = mapped_column(String(4))
    login_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("broker_logins.id"), index=True)
    """Whose session it is reached by; none on paper."""
    broker_account_id: Mapped[str | None] = mapped_column(String(80))
    currency: Mapped[str] = mapped_column(String(8), default="USD")
    status: Mapped[str] = mapped_column(String(12), default="connected")
    last_error: Mapped[str | None] = mapped_column(String(500))
    kill_switch: Mapped[bool] = mapped_column(default=False)
    out_of_sync_since: Mapped[datetime | None]
    sync_note: Mapped[str | None] = mapped_column(String(500))
    """What differs from the broker, in words, while out of sync."""
    deleted_at: Mapped[datetime | None]

    @property
    def badge(self) -> str:
        """What a page must say beside the account: paper, demo or live."""
        return "paper" if self.broker == "paper" else self.environment


class Lane(Model):
    """Who works on an account now. One execution at a time per account, whoever runs it."""

    __tablename__ = "lanes"

    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"), primary_key=True)
    owner: Mapped[int | None] = mapped_column(BigId)
    """Boot number of the process that holds the lane."""


class Boot(Stamped, Model):
    """One start of one process. Its id names the advisory lock that proves it lives."""

    __tablename__ = "boots"
