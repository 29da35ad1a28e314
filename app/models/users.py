"""People: users, their API keys, their sessions, and the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Model, Stamped
from app.models.types import BigId


class User(Stamped, Model):
    """A person. ``username_key`` and ``email_key`` are case-folded and unique."""

    __tablename__ = "users"

    username: Mapped[str] = mapped_column(String(40))
    username_key: Mapped[str] = mapped_column(String(40), unique=True)
    email: Mapped[str] = mapped_column(String(254))
    email_key: Mapped[str] = mapped_column(String(254), unique=True)
    password_hash: Mapped[str] = mapped_column(String(100))
    role: Mapped[str] = mapped_column(String(10), default="trader")
    zone: Mapped[str] = mapped_column(String(64), default="UTC")
    session_epoch: Mapped[int] = mapped_column(default=0)
    """Raising it ends all sessions of the user."""

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"


class ApiKey(Stamped, Model):
    """A key for programs, shown once; only its SHA-256 is kept. ``scopes``: read, trade, admin."""

    __tablename__ = "api_keys"

    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"), index=True)
    name: Mapped[str] = mapped_column(String(80))
    prefix: Mapped[str] = mapped_column(String(16))
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[Any]] = mapped_column(JSON)
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class UserSession(Stamped, Model):
    """One signed-in browser. The cookie holds a random token; here is its SHA-256."""

    __tablename__ = "user_sessions"

    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"), index=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    epoch: Mapped[int]
    user_agent: Mapped[str] = mapped_column(String(300), default="")
    address: Mapped[str] = mapped_column(String(45), default="")
    last_seen_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class AuditEntry(Stamped, Model):
    """Who did what to what, from where. Append-only; secrets never get here."""

    __tablename__ = "audit_log"

    user_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("users.id"), index=True)
    action: Mapped[str] = mapped_column(String(60))
    target: Mapped[str] = mapped_column(String(120), default="")
    address: Mapped[str] = mapped_column(String(45), default="")
    request_id: Mapped[str | None] = mapped_column(String(64))
    detail: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)


class IdempotencyKey(Stamped, Model):
    """The first answer to an unsafe call that named an ``Idempotency-Key``; kept 24 hours.

    ``status`` is empty while the first call is still running.
    """

    __tablename__ = "idempotency_keys"

    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"))
    key: Mapped[str] = mapped_column(String(200))
    request_hash: Mapped[str] = mapped_column(String(64))
    status: Mapped[int | None]
    response: Mapped[str | None] = mapped_column(Text)
    expires_at: Mapped[datetime] = mapped_column(index=True)

    __table_args__ = (Index("uq_idempotency_keys_user_id_key", "user_id", "key", unique=True),)
