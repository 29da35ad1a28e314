"""Several apps one after another in one process, each with all that belongs to it."""

from __future__ import annotations

from apiflask import APIFlask
from flask.testing import FlaskClient

from app.extensions import db
from app.models import User
from tests import factories


def test_a_started_app_is_ready(client: FlaskClient) -> None:
    answer = client.get("/readyz")

    assert answer.status_code == 200
    assert answer.get_json()["status"] == "ok"


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
