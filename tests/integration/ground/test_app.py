"""Several apps one after another in one process, each with all that belongs to it."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from werkzeug.test import TestResponse

from app.extensions import db, lifecycle, writer
from app.jobs.scheduler import scheduler
from app.models import User
from tests import factories


def test_a_started_app_is_ready(client: FlaskClient) -> None:
    answer = client.get("/readyz")

    assert answer.status_code == 200
    assert answer.get_json() == {
        "status": "ok",
        "parts": dict.fromkeys(("database", "intake", "outbox", "scheduler", "migrations"), "ok"),
    }


def test_a_schema_that_is_behind_is_not_ready_and_named(app: APIFlask) -> None:
    update = "UPDATE alembic_version SET version_num = %s"
    before = "'old-' || version_num"
    writer.run(lambda tx: tx.conn.execute(text(update % before)))

    answer = app.test_client().get("/readyz")
    again = "substr(version_num, 5)"
    writer.run(lambda tx: tx.conn.execute(text(update % again)))

    assert _failing(answer) == ["migrations"]
    assert "at old-" in answer.text


def test_a_stopped_scheduler_is_not_ready_and_named(app: APIFlask) -> None:
    scheduler.stop()

    assert _failing(app.test_client().get("/readyz")) == ["scheduler"]


def test_a_process_that_stops_is_not_ready_and_named(app: APIFlask) -> None:
    lifecycle.accepting = False

    assert _failing(app.test_client().get("/readyz")) == ["intake"]


def test_a_database_that_does_not_answer_is_named(
    app: APIFlask, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = OperationalError("SELECT 1", None, ConnectionError("planted"))
    monkeypatch.setattr(db.session, "execute", Mock(side_effect=gone))

    answer = app.test_client().get("/readyz")

    assert _failing(answer) == ["database"]
    assert "planted" not in answer.text


def test_rows_written_through_the_writer_are_read_by_requests(app: APIFlask) -> None:
    stored = factories.user(username="Ada")

    with app.app_context():
        read = db.session.get_one(User, stored.id)

    assert read.username == "Ada"


def test_each_test_starts_with_an_empty_database(app: APIFlask) -> None:
    with app.app_context():
        assert db.session.query(User).count() == 0


def test_factories_fill_what_the_schema_demands(app: APIFlask) -> None:
    owner = factories.user()
    account = factories.account(owner)
    strategy = factories.strategy(owner, demo_account_id=account.id)

    trader = factories.trader(strategy, account)
    signal = factories.signal(strategy)

    assert trader.enabled
    assert signal.user_id == owner.id


def _failing(answer: TestResponse) -> list[str]:
    assert answer.status_code == 503
    parts = (answer.get_json() or {})["parts"]
    return [name for name, state in parts.items() if state != "ok"]
