"""What one user can do to others, and learn of others, by way of log-ins at brokers."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from apiflask import APIFlask
from flask import Flask
from sqlalchemy import select

from app.extensions import db
from app.models import BrokerLogin, IdempotencyKey
from app.services import logins, user_data
from tests.login_broker import FakeLoginBroker, found
from tests.people import Person, register

PASSWORD, SECRET = "correct horse battery", "f03741b6-f634-48d6-9308-c8fb871150c2"
CREDENTIALS = {
    "username": "jo",
    "password": PASSWORD,
    "client_id": "8",
    "client_secret": SECRET,
}
NAMED = {"broker": "tradovate", "environment": "demo"}
BODY = {"name": "Jo demo", **NAMED, "credentials": CREDENTIALS}
TEST = "/api/accounts/test-connection/"


@pytest.fixture
def broker(app: APIFlask) -> FakeLoginBroker:
    with app.app_context():
        broker = FakeLoginBroker(logins.Store(db.engine))
        user_data.attach("tradovate", broker)  # type: ignore[arg-type]
    broker.add("demo", "jo", PASSWORD, found("33"))
    return broker


@pytest.fixture
def alice(app: Flask, broker: FakeLoginBroker) -> Person:
    return register(app, "alice")


@pytest.fixture
def bob(app: Flask, broker: FakeLoginBroker) -> Person:
    return register(app, "bob")


def _guess(person: Person, guess: str, **more: str) -> Any:
    credentials = {**CREDENTIALS, "password": guess, **more}
    return person.post(TEST, {**NAMED, "credentials": credentials})


# What a stolen database tells.


def test_the_name_at_the_broker_cannot_be_looked_up_in_a_stolen_database(
    app: Flask, alice: Person
) -> None:
    assert alice.post("/api/accounts/", BODY).status_code == 201

    with app.app_context():
        kept = db.session.scalars(select(BrokerLogin.identity_hash)).one()
    assert kept != hashlib.sha256(b"jo").hexdigest()


def test_a_password_cannot_be_guessed_from_what_is_kept_of_a_request(
    app: Flask, alice: Person
) -> None:
    sent = json.dumps(BODY).encode()
    headers = {"X-CSRFToken": alice.csrf, "Idempotency-Key": "k1"}

    answer = alice.client.post(
        "/api/accounts/", data=sent, content_type="application/json", headers=headers
    )

    assert answer.status_code == 201
    with app.app_context():
        kept = db.session.scalars(select(IdempotencyKey.request_hash)).one()
    assert kept != hashlib.sha256(b"POST\n/api/accounts/?\n" + sent).hexdigest()


def test_one_user_finds_nothing_of_anothers_log_in_by_the_same_name(
    app: Flask, alice: Person, bob: Person
) -> None:
    made = alice.post("/api/accounts/", BODY).get_json()

    listed = bob.post(TEST, {**NAMED, "credentials": CREDENTIALS}).get_json()
    his = bob.post("/api/accounts/", BODY).get_json()

    assert listed["accounts"][0]["account_id"] is None
    assert his["login_id"] != made["login_id"]
    with app.app_context():
        rows = db.session.scalars(select(BrokerLogin)).all()
    assert len({row.device_id for row in rows}) == 2
