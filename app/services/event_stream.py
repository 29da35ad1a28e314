"""A user's durable events as stored: what a live connection missed is read from here."""

from __future__ import annotations

from sqlalchemy import Engine, select

from app import events
from app.models import Event, EventSeq


class EventStream:
    """Reads with connections of its own, for it is asked outside of requests."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def newest(self, user_id: int) -> int:
        """The number of the user's last event, 0 before the first."""
        return self.newest_of([user_id]).get(user_id, 0)

    def newest_of(self, user_ids: list[int]) -> dict[int, int]:
        """The last number of each user who has events."""
        statement = select(EventSeq.user_id, EventSeq.seq).where(EventSeq.user_id.in_(user_ids))
        with self._engine.connect() as connection:
            return {row.user_id: row.seq for row in connection.execute(statement)}

    def after(self, user_id: int, seq: int, limit: int) -> list[events.Published]:
        """The user's events that follow ``seq``, oldest first."""
        statement = (
            select(Event)
            .where(Event.user_id == user_id, Event.seq > seq)
            .order_by(Event.seq)
            .limit(limit)
        )
        with self._engine.connect() as connection:
            return [events.published(row) for row in connection.execute(statement)]
