"""Fixtures for everybody, and the account of which groups of tests ran.

A database is asked for by ``app`` (or ``config``): the test then runs on SQLite and on
PostgreSQL. ``@ONLY_SQLITE`` and ``@ONLY_POSTGRESQL`` of ``tests.databases`` keep it on one.
"""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic import command
from apiflask import APIFlask
from flask.testing import FlaskClient
from psycopg import sql
from sqlalchemy.engine import make_url

from app import create_app
from app.extensions import db
from app.migrate import alembic_config
from config import Config, load
from tests import services
from tests.apps import started

KEYS = {
    "SECRET_KEY": "tests-only-secret-key-0123456789abcdef",
    "CREDENTIALS_KEY": "tests-only-credentials-key-0123456789",
}
GROUPS = {
    "sqlite": "SQLite",
    "postgresql": "PostgreSQL",
    "redis": "Redis",
    "browser": "browser",
}


# The databases.


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty file; each test gets a copy."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    command.upgrade(alembic_config(f"sqlite:///{path}"), "head")
    with_journal = path.with_name(path.name + "-wal")
    assert not with_journal.exists(), "the copy would lack what is still in the journal"
    return path


@pytest.fixture(scope="session")
def postgres_server() -> str:
    url = services.running_postgres()
    if url is None:
        pytest.skip(services.missing("POSTGRES"))
    return url


@pytest.fixture(scope="session")
def postgres_database(postgres_server: str, worker_id: str) -> Iterator[str]:
    """The URL of a migrated database of this worker alone, dropped at the end of the run."""
    name = f"jt_test_{os.getpid()}_{worker_id}"
    with psycopg.connect(postgres_server, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        # A crash of the server loses at most a test.
        server.execute(
            sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(sql.Identifier(name))
        )
    url = make_url(postgres_server).set(database=name, drivername="postgresql+psycopg")
    text = url.render_as_string(hide_password=False)
    command.upgrade(alembic_config(text), "head")
    yield text
    with psycopg.connect(postgres_server, autocommit=True) as server:
        server.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """The name of the database that the test runs on."""
    name: str = request.param
    request.node.user_properties.append(("group", name))
    return name


@pytest.fixture
def database_url(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated, empty database of this test alone."""
    if database == "sqlite":
        path = tmp_path / "data" / "just_trades.db"
        path.parent.mkdir(mode=0o700)
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        return f"sqlite:///{path}"
    url: str = request.getfixturevalue("postgres_database")
    _empty(url)
    return url


def _empty(url: str) -> None:
    """Delete all rows. With few rows that is much faster than TRUNCATE."""
    plain = url.replace("postgresql+psycopg://", "postgresql://", 1)
    names = [table.name for table in reversed(db.metadata.sorted_tables)]
    statements = sql.SQL(";").join(
        sql.SQL("DELETE FROM {}").format(sql.Identifier(name)) for name in names
    )
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(statements)


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> str:
    request.node.user_properties.append(("group", "redis"))
    url = services.running_redis()
    if url is None:
        pytest.skip(services.missing("REDIS"))
    return url


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's path, for ``executable_path=``."""
    path = services.installed_chromium()
    if path is None:
        pytest.skip(services.missing("CHROMIUM"))
    return path


# The app.


@pytest.fixture
def config(database_url: str, tmp_path: Path) -> Config:
    return load(
        {
            **KEYS,
            "DATA_DIR": str(tmp_path / "data"),
            "DATABASE_URL": database_url,
            "BCRYPT_ROUNDS": "4",
            "DEBUG_PAGES": "1",
        }
    )


@pytest.fixture
def app(config: Config) -> Iterator[APIFlask]:
    """The app with everything that lives in it started."""
    app = create_app(config)
    app.testing = True
    with started(app):
        yield app


@pytest.fixture
def client(app: APIFlask) -> FlaskClient:
    return app.test_client()


# Which groups ran.


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("browser"):
        item.user_properties.append(("group", "browser"))
        if services.installed_chromium() is None:
            pytest.skip(services.missing("CHROMIUM"))


class Groups:
    """Counts, per group, the tests that ran and notes why others did not."""

    def __init__(self) -> None:
        self.ran: dict[str, int] = defaultdict(int)
        self.reasons: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, value in report.user_properties:
            if name != "group":
                continue
            if report.when == "call" and not report.skipped:
                self.ran[str(value)] += 1
            elif report.skipped and isinstance(report.longrepr, tuple):
                self.reasons[str(value)] = report.longrepr[2].removeprefix("Skipped: ")

    def state(self, group: str) -> str:
        if self.ran[group]:
            return f"ran ({self.ran[group]} tests)"
        return f"skipped: {self.reasons.get(group, 'no test of it was selected')}"

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        skipped = [group for group in GROUPS if not self.ran[group]]
        if skipped and os.environ.get("REQUIRE_ALL_GROUPS") == "1" and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("groups of tests")
        for group, title in GROUPS.items():
            terminalreporter.write_line(f"{title + ':':12}{self.state(group)}")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Groups())
