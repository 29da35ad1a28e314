"""Log-ins at brokers: one session, one request budget and one user stream each."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Model, Stamped
from app.models.types import BigId, UTCDateTime


class BrokerLogin(Stamped, Model):
    """Credentials at a broker, of one user, with one or more accounts.

    ``credentials_cipher`` and ``token_cipher`` are JSON, encrypted for ``login:<id>`` and
    ``login-token:<id>``. ``state`` is the user stream's: stopped, disconnected, connecting,
    authenticating, syncing, live, degraded.
    """

    __tablename__ = "broker_logins"

    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"), index=True)
    broker: Mapped[str] = mapped_column(String(40))
    environment: Mapped[str] = mapped_column(String(4))
    identity_hash: Mapped[str] = mapped_column(String(64))
    """Of the name at the broker, under our key: the same log-in given twice stays one session."""
    kind: Mapped[str] = mapped_column(String(8), default="password")
    """How it signs in: ``password`` (with an API key) or ``oauth``."""
    credentials_cipher: Mapped[str] = mapped_column(Text)
    token_cipher: Mapped[str | None] = mapped_column(Text)
    device_id: Mapped[str] = mapped_column(String(64))
    """Constant for ever: live orders from an unknown device are refused."""
    is_wanted: Mapped[bool] = mapped_column(default=True)
    """Whether its stream is to run; a person's *disconnect* ends that."""
    state: Mapped[str] = mapped_column(String(16), default="stopped")
    state_reason: Mapped[str | None] = mapped_column(String(500))
    state_since: Mapped[datetime | None]
    blocked_until: Mapped[datetime | None]
    """No call before this: a captcha or a request lock of the broker."""
    reconnects: Mapped[int] = mapped_column(default=0)
    gaps_repaired: Mapped[int] = mapped_column(default=0)
    polled_at: Mapped[datetime | None]
    """When the recorder's job last read its lists."""
    deleted_at: Mapped[datetime | None] = mapped_column(UTCDateTime)

    __table_args__ = (
        Index(
            "uq_broker_logins_identity",
            "user_id",
            "broker",
            "environment",
            "identity_hash",
            unique=True,
            sqlite_where=text("deleted_at IS NULL"),
            postgresql_where=text("deleted_at IS NULL"),
        ),
    )
