"""Which connections may stay: asked for all of them at once, every few seconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqlalchemy import Engine, Select, select
from sqlalchemy.orm import InstrumentedAttribute

from app import clock
from app.models import ApiKey, User, UserSession

_AT_ONCE = 500


class LiveAccess:
    """Reads with connections of its own, for it is asked outside of requests."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def sessions_in_force(self, ids: Iterable[int]) -> set[int]:
        """Those of the sessions that were not ended, did not expire and have the user's epoch."""
        statement = (
            select(UserSession.id)
            .join(User, User.id == UserSession.user_id)
            .where(
                UserSession.ended_at.is_(None),
                UserSession.expires_at > clock.now(),
                UserSession.epoch == User.session_epoch,
            )
        )
        return set(self._among(ids, statement, UserSession.id))

    def api_keys_in_force(self, ids: Iterable[int]) -> set[int]:
        """Those of the API keys that were not revoked and did not expire."""
        statement = select(ApiKey.id).where(
            ApiKey.revoked_at.is_(None),
            ApiKey.expires_at.is_(None) | (ApiKey.expires_at > clock.now()),
        )
        return set(self._among(ids, statement, ApiKey.id))

    def _among(
        self,
        ids: Iterable[int],
        statement: Select[int],
        column: InstrumentedAttribute[int],
    ) -> Iterator[int]:
        ordered = sorted(ids)
        with self._engine.connect() as connection:
            for start in range(0, len(ordered), _AT_ONCE):
                part = ordered[start : start + _AT_ONCE]
                yield from connection.scalars(statement.where(column.in_(part)))
