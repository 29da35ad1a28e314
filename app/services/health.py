"""Whether each part of the process does its work."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.extensions import db, dispatcher, lifecycle

OK = "ok"
_MAX_LAG = 1000
_checks: dict[str, Callable[[], str]] = {}


def watch(name: str, check: Callable[[], str]) -> None:
    """Add a part that services know nothing of; ``check`` says ``OK`` or what is wrong."""
    _checks[name] = check


def parts() -> dict[str, str]:
    """Each part with ``OK`` or what is wrong with it."""
    checks = {"database": _database, "intake": _intake, "outbox": _outbox, **_checks}
    return {name: _answer(check) for name, check in checks.items()}


def _answer(check: Callable[[], str]) -> str:
    try:
        return check()
    except DBAPIError as e:
        return f"no answer: {type(e.orig).__name__}"
    finally:
        db.session.remove()


def _database() -> str:
    db.session.execute(text("SELECT 1"))
    return OK


def _intake() -> str:
    return OK if lifecycle.accepting else "not accepting alerts"


def _outbox() -> str:
    return OK if dispatcher.lag < _MAX_LAG else f"{dispatcher.lag} batches behind"
