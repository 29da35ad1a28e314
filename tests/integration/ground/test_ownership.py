"""One process per embedded file; on PostgreSQL a lock that dies with its process."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from apiflask import APIFlask
from sqlalchemy import text

from app.extensions import db, ownership
from app.models.engine import Ownership, OwnershipTaken
from tests.databases import ONLY_POSTGRESQL, ONLY_SQLITE

_HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
sys.stdout.write("held")
sys.stdout.flush()
sys.stdin.read()
"""


@pytest.fixture
def another(app: APIFlask, tmp_path: Path) -> Iterator[Ownership]:
    """The ownership of a second process on the same database."""
    own = Ownership()
    with app.app_context():
        own.bind(db.engine, ownership._path)
        yield own
        own.release()


@ONLY_SQLITE
def test_a_file_in_use_is_refused_by_name(another: Ownership) -> None:
    with pytest.raises(OwnershipTaken, match=str(ownership._path.parent)):
        another.claim_file()


@ONLY_SQLITE
def test_a_refused_claim_can_be_made_again_when_the_file_is_free(another: Ownership) -> None:
    with pytest.raises(OwnershipTaken):
        another.claim_file()

    ownership.release()

    another.claim_file()


@ONLY_SQLITE
def test_the_claim_of_another_process_counts_until_it_dies(
    another: Ownership, tmp_path: Path
) -> None:
    ownership.release()
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(ownership._path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.read(4) == b"held"

        with pytest.raises(OwnershipTaken):
            another.claim_file()
        holder.kill()
        holder.wait(timeout=10)

        another.claim_file()


@ONLY_SQLITE
def test_the_lock_file_is_not_emptied_by_a_refused_claim(another: Ownership) -> None:
    with ownership._path.open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@ONLY_POSTGRESQL
def test_a_boot_is_dead_only_when_its_lock_is_free(app: APIFlask, another: Ownership) -> None:
    another.claim_boot(ownership.boot + 1)

    with db.engine.begin() as connection:
        sees_own = another.is_dead(connection, another.boot)
        sees_living = another.is_dead(connection, ownership.boot)
        sees_never_started = another.is_dead(connection, 2**30)

    assert (sees_own, sees_living, sees_never_started) == (False, False, True)


@ONLY_POSTGRESQL
def test_a_boot_dies_with_its_connection(app: APIFlask, another: Ownership) -> None:
    assert ownership._connection is not None
    pid = ownership._connection.scalar(text("SELECT pg_backend_pid()"))

    with db.engine.begin() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})

    with db.engine.begin() as connection:
        assert another.is_dead(connection, ownership.boot)


@ONLY_POSTGRESQL
def test_there_is_one_leader_at_a_time(app: APIFlask, another: Ownership) -> None:
    another.claim_boot(ownership.boot + 1)

    first = [ownership.lead(1), another.lead(1), ownership.lead(1)]
    ownership.release()

    assert first == [True, False, True]
    with gevent.Timeout(10):  # the server notices a closed connection a little later
        while not another.lead(1):
            gevent.sleep(0.02)


@ONLY_POSTGRESQL
def test_a_terminated_connection_is_not_a_leader_and_recovers(
    app: APIFlask, another: Ownership
) -> None:
    assert ownership.lead(1)
    assert ownership._connection is not None
    pid = ownership._connection.scalar(text("SELECT pg_backend_pid()"))

    with db.engine.begin() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})

    lost, regained = ownership.lead(1), ownership.lead(1)
    assert (lost, regained) == (False, True)
    with db.engine.begin() as connection:
        held = connection.scalar(
            text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = :boot"),
            {"boot": ownership.boot},
        )
    assert held


@ONLY_SQLITE
def test_an_embedded_process_leads_alone(app: APIFlask) -> None:
    assert ownership.lead(1)
