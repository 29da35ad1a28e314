"""SQL text straight to the driver: what is left when SQLAlchemy's work per call is taken away."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError


def execute(conn: Connection, text: str, values: Any) -> Any:
    """Run one statement inside the connection's transaction and return the driver's cursor.

    Raises:
        DBAPIError: the driver's own error, wrapped as SQLAlchemy does it.
    """
    return _guarded(conn, conn.connection.driver_connection.execute, text, values)  # type: ignore[union-attr]


def execute_many(conn: Connection, text: str, rows: list[Any]) -> Any:
    """The same for many rows of values."""
    cursor = conn.connection.cursor()
    _guarded(conn, cursor.executemany, text, rows)
    return cursor


def _guarded(conn: Connection, call: Any, text: str, values: Any) -> Any:
    errors = conn.dialect.loaded_dbapi.Error
    try:
        return call(text, values)
    except errors as e:
        raise DBAPIError.instance(
            text, None, e, errors, hide_parameters=True, dialect=conn.dialect
        ) from e
