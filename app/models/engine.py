"""What an engine needs to be told, per database. The only code that knows which one it is."""

from __future__ import annotations

import fcntl
import json
import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from threading import RLock
from typing import Any

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError, OperationalError

from app.models import plain

log = logging.getLogger(__name__)

_PRAGMAS = ("journal_mode=wal", "synchronous=full", "foreign_keys=on", "busy_timeout=5000")


def to_json(value: Any) -> str:
    """Compact JSON for a column; decimals as text, so that no digit is lost."""
    return _ENCODER.encode(value)


def options(url: str) -> dict[str, Any]:
    """``create_engine`` options; pools hold more than the greenlets that hold a session."""
    common: dict[str, Any] = {
        "json_serializer": to_json,
        "hide_parameters": True,  # errors are logged, and a row may hold what nobody may read
        "pool_size": 20,
        "max_overflow": 80,
        "query_cache_size": 2000,
    }
    if url.startswith("sqlite"):
        return {**common, "connect_args": {"check_same_thread": False, "timeout": 5}}
    return {**common, "pool_pre_ping": True}


def prepare(engine: Engine) -> None:
    """Make SQLite durable and its transactions real; PostgreSQL needs neither.

    Python's driver opens transactions by its own guess. Here it never does: ours begin with a
    statement, and those that write claim the write lock before their first read.
    """
    if engine.dialect.name != "sqlite":
        return

    @event.listens_for(engine, "connect")
    def _connect(dbapi: Any, _record: Any) -> None:
        dbapi.isolation_level = None
        for pragma in _PRAGMAS:
            dbapi.execute("pragma " + pragma)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def commit_blocks(engine: Engine) -> bool:
    """Whether a commit stops the calling thread until the disk has it. PostgreSQL's driver lets
    other greenlets run meanwhile."""
    return engine.dialect.name == "sqlite"


def reserve_ids(connection: Connection, table: str, count: int) -> list[int]:
    """Ids for rows that are about to be inserted, so that many go in with one plain statement
    and are known without being read back. For tables whose rows are never deleted."""
    if connection.dialect.name == "sqlite":
        # The write lock is ours, so nobody else can take the numbers that follow.
        found = plain.execute(connection, f"SELECT max(id) FROM {table}", ())  # noqa: S608
        highest = found.fetchone()[0] or 0
        return list(range(highest + 1, highest + 1 + count))
    sequence = f"SELECT nextval('{table}_id_seq') FROM generate_series(1, {count:d})"  # noqa: S608
    return [int(row[0]) for row in plain.execute(connection, sequence, ())]


class OwnershipTaken(RuntimeError):
    """Another process serves the same embedded database."""


class Ownership:
    """Proof that this process lives, in a form that dies with it.

    Embedded: a file lock, since one process serves one file. PostgreSQL: a session advisory
    lock named after the boot number, on a connection of its own. A paused process keeps both.
    """

    _CLASS = 20_7

    def __init__(self) -> None:
        self._file: Any = None
        self._connection: Connection | None = None
        self._in_use = RLock()
        """One connection for all who ask: one at a time, also while it is made."""
        self.boot: int = 0

    def bind(self, engine: Engine, lock_path: Path) -> None:
        self.release()
        self._engine = engine
        self._path = lock_path

    def claim_file(self) -> None:
        """Take the embedded database for this process.

        Raises:
            OwnershipTaken: another process has it.
        """
        if self._engine.dialect.name != "sqlite" or self._file is not None:
            return
        file = self._path.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            file.close()
            raise OwnershipTaken(f"another process uses {self._path.parent}") from e
        self._file = file

    def claim_boot(self, boot: int) -> None:
        self.boot = boot
        if self._engine.dialect.name != "postgresql":
            return
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        connection.detach()  # not the pool's any more: closing it ends the locks
        self._connection = connection
        connection.execute(_LOCK, {"class": self._CLASS, "id": boot})

    def lead(self, name: int) -> bool:
        """Whether this process holds the leader's lock ``name`` (taken now where it is free).

        A connection that was lost took its locks along; the next call takes them again.
        """
        if self._engine.dialect.name == "sqlite":
            return True
        if not self.boot:
            return False
        with self._in_use:
            try:
                return self._ask_lead(name)
            except DBAPIError:
                log.warning("lost the connection that holds the locks", exc_info=True)
                self._disconnect()
                return False

    def _ask_lead(self, name: int) -> bool:
        if self._connection is None:
            self.claim_boot(self.boot)
        asked = {"class": self._CLASS + 1, "id": name}
        return bool(self._connection and self._connection.scalar(_TRY_LEAD, asked))

    def hold(self, login_ids: Collection[int]) -> set[int]:
        """Which of these log-ins are this process's, taken now where they are free."""
        if self._engine.dialect.name == "sqlite":
            return set(login_ids)
        if not self.boot or not login_ids:
            return set()
        wanted = {"class": self._CLASS + 2, "ids": sorted(login_ids)}
        with self._in_use:
            for _ in range(2):  # the second time on a new connection
                try:
                    return self._ask_logins(wanted)
                except DBAPIError:
                    log.warning("lost the connection that holds the locks", exc_info=True)
                    self._disconnect()
        return set()

    def _ask_logins(self, wanted: dict[str, Any]) -> set[int]:
        if self._connection is None:
            self.claim_boot(self.boot)
        return set(self._connection.scalars(_TRY_LOGINS, wanted)) if self._connection else set()

    def let_go(self, login_id: int) -> None:
        """Leave a log-in to other processes."""
        with self._in_use:
            if self._connection is None:
                return
            try:
                self._connection.execute(_LEAVE, {"class": self._CLASS + 2, "id": login_id})
            except DBAPIError:  # the lock went with the connection
                self._disconnect()

    def is_dead(self, connection: Connection, boot: int) -> bool:
        """Whether no living process holds ``boot``; asked inside the taker's transaction."""
        if boot == self.boot:
            return False
        if self._engine.dialect.name == "sqlite":
            return True
        return bool(connection.scalar(_TRY_LOCK, {"class": self._CLASS, "id": boot}))

    def release(self) -> None:
        self._disconnect()
        self.boot = 0
        if self._file is not None:
            self._file.close()
            self._file = None

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


_LOCK = text("SELECT pg_advisory_lock(:class, :id)")
_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(:class, :id)")
_TRY_LEAD = text(
    "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = :class"
    " AND objid = :id AND pid = pg_backend_pid()) OR pg_try_advisory_lock(:class, :id)"
)


_TRY_LOGINS = text(
    "SELECT id FROM unnest(CAST(:ids AS integer[])) AS wanted (id) WHERE EXISTS"
    " (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = :class"
    " AND objid = CAST(wanted.id AS oid) AND pid = pg_backend_pid())"
    " OR pg_try_advisory_lock(:class, wanted.id)"
)
_LEAVE = text("SELECT pg_advisory_unlock(:class, :id)")


def _as_text(value: object) -> str:
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def serialize(connection: Connection, name: str) -> None:
    """Let one transaction at a time, of all processes, go on from here to its commit. Embedded,
    the write lock does that already."""
    if connection.dialect.name == "postgresql":
        connection.execute(_SERIALIZE, {"name": name})


_SERIALIZE = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")


class LockHeld(RuntimeError):
    """Another process held the lock for as long as was waited."""


@contextmanager
def exclusively(engine: Engine, name: str, wait_s: float) -> Iterator[None]:
    """Hold the lock ``name`` among all processes on this database, without a transaction, so
    that the network may be waited for meanwhile. Embedded there is no other process.

    Raises:
        LockHeld: nobody gave it up within ``wait_s`` seconds.
    """
    if engine.dialect.name != "postgresql":
        yield
        return
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    connection.detach()  # not the pool's any more: closing it ends the lock
    try:
        connection.execute(_LOCK_TIMEOUT, {"wait": f"{wait_s:.0f}s"})
        try:
            connection.execute(_LOCK_NAMED, {"name": name})
        except OperationalError as e:
            raise LockHeld(name) from e
        yield
    finally:
        connection.close()


_LOCK_TIMEOUT = text("SELECT set_config('lock_timeout', :wait, false)")
_LOCK_NAMED = text("SELECT pg_advisory_lock(hashtextextended(:name, 0))")


_ENCODER = json.JSONEncoder(separators=(",", ":"), default=_as_text)
