"""Whether each part of the process does its work."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.extensions import db, dispatcher, lifecycle

_MAX_LAG = 1000


def parts() -> dict[str, str]:
    """Each part with ``ok`` or what is wrong with it."""
    return {
        "database": _database(),
        "intake": "ok" if lifecycle.accepting else "not accepting alerts",
        "outbox": "ok" if dispatcher.lag < _MAX_LAG else f"{dispatcher.lag} batches behind",
    }


def _database() -> str:
    try:
        db.session.execute(text("SELECT 1"))
    except DBAPIError as e:
        return f"no answer: {type(e.orig).__name__}"
    finally:
        db.session.remove()
    return "ok"
