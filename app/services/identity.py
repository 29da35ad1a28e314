"""Who asks, and by what right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

SCOPES = ("read", "trade", "admin")


@dataclass(frozen=True, slots=True)
class Identity:
    """A signed-in browser or an API key. No row, so it stays valid whatever becomes of the
    database session. ``scopes`` are those in force now."""

    id: int
    """The user's."""
    username: str
    email: str
    role: str
    zone: str
    scopes: frozenset[str]
    session_id: int | None = None
    api_key_id: int | None = None

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def is_active(self) -> bool:
        return True

    @property
    def is_anonymous(self) -> bool:
        return False

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"

    def get_id(self) -> str:
        return str(self.id)


def allowed_scopes(role: str) -> frozenset[str]:
    """What a user of that role may do at most."""
    return frozenset(SCOPES if role == "admin" else SCOPES[:2])


def identity(
    user: Any,
    scopes: Iterable[str] = SCOPES,
    *,
    session_id: int | None = None,
    api_key_id: int | None = None,
) -> Identity:
    """``user``: anything with a user's columns. A key made by an admin who is none any more
    loses that scope."""
    return Identity(
        id=user.id,
        username=user.username,
        email=user.email,
        role=user.role,
        zone=user.zone,
        scopes=allowed_scopes(user.role).intersection(scopes),
        session_id=session_id,
        api_key_id=api_key_id,
    )
