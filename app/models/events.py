"""The outbox: facts that happened, numbered per user without gaps."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Model
from app.models.types import BigId, UTCDateTime


class EventSeq(Model):
    """The last number given to a user's events; its row lock keeps numbers in commit order."""

    __tablename__ = "event_seqs"

    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigId, default=0)


class Event(Model):
    """One fact. ``published_at`` is empty until the dispatcher has handed it out."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"))
    seq: Mapped[int] = mapped_column(BigId)
    type: Mapped[str] = mapped_column(String(40))
    at: Mapped[datetime]
    request_id: Mapped[str | None] = mapped_column(String(64))
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    published_at: Mapped[datetime | None] = mapped_column(UTCDateTime)

    __table_args__ = (
        Index("uq_events_user_id_seq", "user_id", "seq", unique=True),
        Index(
            "ix_events_unpublished",
            "id",
            sqlite_where=text("published_at IS NULL"),
            postgresql_where=text("published_at IS NULL"),
        ),
    )
