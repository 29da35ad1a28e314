"""The writer: shared commits, nobody taken along, clear answers when the database is away."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import gevent
import pytest
from apiflask import APIFlask
from sqlalchemy import event, func, select, text
from sqlalchemy.exc import DataError, IntegrityError

from app.domain.errors import Unavailable
from app.events import Published
from app.extensions import db, dispatcher, writer
from app.models import User
from app.transactions import Tx
from tests import factories
from tests.databases import ONLY_POSTGRESQL, ONLY_SQLITE

ROOT = Path(__file__).resolve().parents[3]


def _user(name: str) -> User:
    return User(
        username=name,
        username_key=name,
        email=f"{name}@example.com",
        email_key=f"{name}@example.com",
        password_hash="!",
    )


def _add(name: str, *, before: Any = None) -> None:
    def work(tx: Tx) -> None:
        tx.session.add(_user(name))
        tx.session.flush()
        if before is not None:
            before()

    writer.run(work)


def _names(app: APIFlask) -> set[str]:
    with app.app_context():
        return set(db.session.scalars(select(User.username)))


def _together(*calls: Any) -> list[gevent.Greenlet]:
    """Run the calls so that they wait for the writer at the same time."""
    greenlets = [gevent.spawn(call) for call in calls]
    gevent.joinall(greenlets, timeout=20)
    return greenlets


def test_works_that_wait_together_share_one_commit(app: APIFlask) -> None:
    commits: list[object] = []
    with app.app_context():
        event.listen(db.engine, "commit", commits.append)

    _together(*(lambda n=n: _add(f"u{n}") for n in range(40)))

    assert len(_names(app)) == 40
    assert len(commits) == 1


@pytest.mark.parametrize("through", ["session", "core"])
def test_a_work_that_violates_a_constraint_takes_nobody_along(app: APIFlask, through: str) -> None:
    _add("taken")

    def violate() -> None:
        if through == "session":
            _add("taken")
        else:
            writer.run(lambda tx: tx.conn.execute(text("INSERT INTO lanes VALUES (NULL, 1)")))

    first, bad, last = _together(lambda: _add("a"), violate, lambda: _add("b"))

    assert isinstance(bad.exception, IntegrityError)
    assert first.successful()
    assert last.successful()
    assert _names(app) == {"taken", "a", "b"}


@ONLY_POSTGRESQL
def test_a_value_that_the_column_cannot_hold_takes_nobody_along(app: APIFlask) -> None:
    first, bad, last = _together(lambda: _add("a"), lambda: _add("x" * 41), lambda: _add("b"))

    assert isinstance(bad.exception, DataError)
    assert first.successful()
    assert last.successful()
    assert _names(app) == {"a", "b"}


def test_nothing_remains_of_a_work_that_raises(app: APIFlask) -> None:
    owner = factories.user(username="owner")
    hooks: list[str] = []
    published: list[Published] = []
    dispatcher.subscribe(published.extend)

    def fail(tx: Tx) -> None:
        tx.session.add(_user("half"))
        tx.session.flush()
        tx.record(owner.id, "user.added", {})
        tx.after_commit(lambda: hooks.append("ran"))
        raise LookupError("changed its mind")

    _, failed, _ = _together(lambda: _add("a"), lambda: writer.run(fail), lambda: _add("b"))

    assert isinstance(failed.exception, LookupError)
    assert _names(app) == {"owner", "a", "b"}
    assert hooks == []
    assert published == []


def test_an_error_at_the_flush_of_the_session_is_the_works_own(app: APIFlask) -> None:
    _add("taken")

    def work(tx: Tx) -> None:
        tx.session.add(_user("taken"))

    bad, good = _together(lambda: writer.run(work), lambda: _add("a"))

    assert isinstance(bad.exception, IntegrityError)
    assert good.successful()
    assert _names(app) == {"taken", "a"}


def test_batched_items_share_one_call_and_answer_in_their_order(app: APIFlask) -> None:
    calls = []

    def store(tx: Tx, names: list[str]) -> list[str]:
        calls.append(names)
        tx.session.add_all([_user(name) for name in names])
        return [name.upper() for name in names]

    greenlets = _together(*(lambda n=n: writer.run_batched(store, f"u{n}") for n in range(30)))

    assert [g.value for g in greenlets] == [f"U{n}" for n in range(30)]
    assert len(calls) == 1
    assert len(_names(app)) == 30


def test_a_batched_item_that_fails_fails_alone(app: APIFlask) -> None:
    _add("u1")

    def store(tx: Tx, names: list[str]) -> list[str]:
        tx.session.add_all([_user(name) for name in names])
        return names

    good, bad, last = _together(*(lambda n=n: writer.run_batched(store, f"u{n}") for n in range(3)))

    assert good.value == "u0"
    assert isinstance(bad.exception, IntegrityError)
    assert last.value == "u2"
    assert _names(app) == {"u0", "u1", "u2"}


def test_a_killed_caller_leaves_the_others_served(app: APIFlask) -> None:
    callers = [gevent.spawn(_add, f"u{n}") for n in range(3)]
    gevent.sleep(0)  # lets them submit

    callers[0].kill()
    gevent.joinall(callers[1:], timeout=10)

    assert all(caller.successful() for caller in callers[1:])
    assert {"u1", "u2"} <= _names(app)
    _add("later")


def test_hooks_run_in_the_event_loop_before_the_caller_goes_on(app: APIFlask) -> None:
    seen: list[object] = []
    hub = gevent.get_hub()

    writer.run(lambda tx: tx.after_commit(lambda: seen.append(gevent.get_hub())))

    assert seen == [hub]


def test_a_hook_that_fails_hurts_neither_its_caller_nor_the_next(app: APIFlask) -> None:
    def fail() -> None:
        raise RuntimeError("broken hook")

    def work(tx: Tx) -> str:
        tx.after_commit(fail)
        return "stored"

    with gevent.Timeout(10):
        first = writer.run(work)
        second = writer.run(work)

    assert (first, second) == ("stored", "stored")


def test_rows_come_back_loaded(app: APIFlask) -> None:
    row = factories.user(username="Ada", zone="Europe/Paris")

    assert (row.username, row.zone, row.is_admin) == ("Ada", "Europe/Paris", False)
    assert row.created_at.tzinfo is not None


@ONLY_POSTGRESQL
def test_a_terminated_backend_is_unavailable_once_and_then_recovers(app: APIFlask) -> None:
    def commit_suicide(tx: Tx) -> None:
        tx.session.add(_user("lost"))
        tx.session.flush()
        tx.conn.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(Unavailable):
        writer.run(commit_suicide)
    _add("after")

    assert _names(app) == {"after"}


@ONLY_POSTGRESQL
def test_a_backend_terminated_between_works_is_noticed(app: APIFlask) -> None:
    pid = writer.run(lambda tx: tx.conn.scalar(text("SELECT pg_backend_pid()")))
    with app.app_context(), db.engine.connect() as other:
        other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})

    outcomes = [gevent.spawn(_add, f"u{n}") for n in range(2)]
    gevent.joinall(outcomes, timeout=10)
    _add("after")

    assert all(o.successful() or isinstance(o.exception, Unavailable) for o in outcomes)
    assert "after" in _names(app)


@ONLY_SQLITE
def test_a_file_locked_by_another_process_is_unavailable_and_recovers(
    app: APIFlask, tmp_path: Path
) -> None:
    with app.app_context(), db.engine.connect().execution_options(write=True) as holder:
        writer.run(lambda tx: tx.conn.exec_driver_sql("PRAGMA busy_timeout = 100"))
        holder.execute(text("SELECT 1"))

        with pytest.raises(Unavailable):
            _add("blocked")
        holder.rollback()

    _add("after")
    assert _names(app) == {"after"}


_FULL_DISK = """
import resource, sys
import tests.gevent_first
from app import create_app
from app.domain.errors import Unavailable
from app.extensions import db, lifecycle, writer
from app.migrate import prepare_schema
from app.models import User
from sqlalchemy import text
from config import load
from tests import factories
import signal

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit fails, as on a full disk
config = load()
app = create_app(config)
prepare_schema(app, config)
with app.app_context():
    lifecycle.start()
    factories.user(username="before")
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    refused = 0
    for n in range(3):
        try:
            factories.user(username=f"full{n}")
        except Unavailable:
            refused += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    factories.user(username="after")
    names = sorted(db.session.scalars(db.select(User.username)))
    db.session.remove()
    check = db.session.scalar(text("PRAGMA integrity_check"))
    lifecycle.stop()
sys.stdout.write(f"{refused} {names} {check}")
"""


def test_a_full_disk_is_unavailable_and_recovers(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK],
        cwd=ROOT,
        env={"DATA_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stdout == "3 ['after', 'before'] ok", done.stderr[-2000:]


def test_count_of_rows_equals_count_of_answers_under_load(app: APIFlask) -> None:
    _add("u0")

    greenlets = _together(*(lambda n=n: _add(f"u{n % 150}") for n in range(300)))

    answered = sum(g.successful() for g in greenlets)
    with app.app_context():
        stored = db.session.scalar(select(func.count()).select_from(User))
    assert stored == 150
    assert answered == 149
