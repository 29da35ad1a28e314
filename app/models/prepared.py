"""A statement of the hot paths, compiled once per database and then run with plain values.

SQLAlchemy's Core builds the statement and its types read and write the values as ever; what is
saved is its work per execution, three times what the database does for one row.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Dialect, Select
from sqlalchemy.sql import Executable

from app.models import plain

_Convert = Callable[[Any], Any]
_NUMERIC = 1700
"""PostgreSQL's number for the type of every column that is a number to its driver."""


@dataclass(frozen=True, slots=True)
class _Ready:
    text: str
    order: tuple[str, ...] | None
    """The names in the order of their marks; None where the database takes names."""
    constants: dict[str, Any]
    writes: tuple[tuple[str, _Convert], ...]
    reads: tuple[tuple[int, _Convert], ...]
    names: tuple[str, ...]
    row: Callable[[Any], Any]


class Prepared:
    """``statement`` has a ``bindparam`` for each value that changes; no lists of values."""

    def __init__(self, statement: Executable) -> None:
        self._statement = statement
        self._ready: dict[str, _Ready] = {}

    def run(self, conn: Connection, values: Mapping[str, Any]) -> int:
        """Execute an insert, an update or a delete; the number of rows that it touched."""
        touched: int = self._execute(conn, values)[1].rowcount
        return touched

    def rows(self, conn: Connection, values: Mapping[str, Any]) -> list[Any]:
        """All rows of a select, with a field per column."""
        ready, result = self._execute(conn, values)
        return [ready.row(_read(ready, found)) for found in result]

    def dicts(self, conn: Connection, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """All rows of a select by column name, to be changed and written back."""
        ready, result = self._execute(conn, values)
        return [dict(zip(ready.names, _read(ready, found), strict=True)) for found in result]

    def first(self, conn: Connection, values: Mapping[str, Any]) -> Any:
        """The first row of a select, or None."""
        ready, result = self._execute(conn, values)
        found = result.fetchone()
        return None if found is None else ready.row(_read(ready, found))

    def _execute(self, conn: Connection, values: Mapping[str, Any]) -> tuple[_Ready, Any]:
        ready = self._ready.get(conn.dialect.name)
        if ready is None:
            ready = self._ready[conn.dialect.name] = _prepare(self._statement, conn.dialect)
        given = {**ready.constants, **values}
        for name, write in ready.writes:
            given[name] = write(given[name])
        if ready.order is None:
            return ready, plain.execute(conn, ready.text, given)
        return ready, plain.execute(conn, ready.text, [given[name] for name in ready.order])


def _prepare(statement: Executable, dialect: Dialect) -> _Ready:
    compiled: Any = statement.compile(dialect=dialect)  # type: ignore[attr-defined]
    required = {name: None for name, bound in compiled.binds.items() if bound.required}
    params = compiled.construct_params(required)
    writes = []
    for name in params:
        bound = compiled.binds.get(name)
        convert = (
            bound.type.dialect_impl(dialect).bind_processor(dialect) if bound is not None else None
        )
        if convert is not None:
            writes.append((name, convert))
    columns = list(statement.selected_columns) if isinstance(statement, Select) else []
    names = tuple(str(column.key) for column in columns)
    reads = []
    for place, column in enumerate(columns):
        convert = column.type.dialect_impl(dialect).result_processor(dialect, _NUMERIC)
        if convert is not None:
            reads.append((place, convert))
    kind: Any = namedtuple("Row", names)  # type: ignore[misc]
    return _Ready(
        text=str(compiled),
        order=tuple(compiled.positiontup) if compiled.positional else None,
        constants={name: value for name, value in params.items() if value is not None},
        writes=tuple(writes),
        reads=tuple(reads),
        names=names,
        row=kind._make,
    )


def _read(ready: _Ready, found: Any) -> list[Any]:
    values = list(found)
    for place, convert in ready.reads:
        values[place] = convert(values[place])
    return values
