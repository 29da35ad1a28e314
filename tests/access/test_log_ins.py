"""What one user can do to others, and learn of others, by way of log-ins at brokers."""

from __future__ import annotations

import hashlib
import json

import pytest
from apiflask import APIFlask
from flask import Flask
from sqlalchemy import select

from app.extensions import db
from app.models import IdempotencyKey
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


# What a stolen database tells.


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
