"""Many rows into one table with one plain statement: the insert of the hot paths.

The types write their values as ever; what is saved is SQLAlchemy's work per row and per call,
which costs several times what the database does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Dialect, Table

from app.models import plain

_Write = Callable[[Any], Any]


class BulkInsert:
    """Inserts rows given as mappings that name every one of ``columns``; the model's defaults do
    not apply. ``ending`` is added to the statement."""

    def __init__(self, table: Table, columns: Sequence[str], ending: str = "") -> None:
        self._table = table
        self._columns = tuple(columns)
        self._ending = ending
        self._read = itemgetter(*self._columns)
        self._prepared: dict[str, tuple[str, tuple[tuple[int, _Write], ...]]] = {}

    def execute(self, conn: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
        """Returns how many rows went in, which tells where an ``ON CONFLICT`` left one out."""
        if not rows:
            return 0
        found = self._prepared.get(conn.dialect.name)
        if found is None:
            found = self._prepared[conn.dialect.name] = self._prepare(conn.dialect)
        text, writes = found
        values = []
        for row in rows:
            written = list(self._read(row))
            for place, write in writes:
                written[place] = write(written[place])
            values.append(tuple(written))
        if len(values) == 1:
            inserted: int = plain.execute(conn, text, values[0]).rowcount
        else:
            inserted = plain.execute_many(conn, text, values).rowcount
        return inserted

    def _prepare(self, dialect: Dialect) -> tuple[str, tuple[tuple[int, _Write], ...]]:
        quote = dialect.identifier_preparer.quote
        mark = "?" if dialect.paramstyle == "qmark" else "%s"
        names = ", ".join(quote(name) for name in self._columns)
        marks = ", ".join(mark for _ in self._columns)
        text = f"INSERT INTO {self._table.name} ({names}) VALUES ({marks}) {self._ending}"  # noqa: S608
        writes = []
        for place, name in enumerate(self._columns):
            write = self._table.c[name].type.dialect_impl(dialect).bind_processor(dialect)
            if write is not None:
                writes.append((place, write))
        return text, tuple(writes)
