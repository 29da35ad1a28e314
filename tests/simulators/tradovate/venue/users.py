"""People who may log in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class User:
    """One Tradovate login of one world. The doors read it; the books need only the id.

    ``api_keys`` maps a cid to its secret and its permissions (domain -> level).
    """

    id: int
    name: str
    password: str
    api_keys: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    organisation_admin: bool = False
    organisation: str | None = None
    email: str = ""
    status: str = "Active"
    known_devices: set[str] = field(default_factory=set)
    extra: dict[str, Any] = field(default_factory=dict)
