"""What one user can do to others, and learn of others, by way of log-ins at brokers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import gevent
import pytest
from apiflask import APIFlask
from flask import Flask
from gevent.event import Event
from sqlalchemy import select

from app.brokers.logins import FoundAccount
from app.domain.errors import TradingError
from app.extensions import db
from app.models import BrokerLogin, IdempotencyKey
from app.services import logins, user_data
from app.services.logins import Given
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


# What one user can use up. A broker counts refused sign-ins by address, which everybody shares.


def test_who_guesses_at_the_broker_is_stopped_before_the_broker_stops_everybody(
    alice: Person, broker: FakeLoginBroker
) -> None:
    answers = [_guess(alice, f"guess {number}") for number in range(6)]

    assert [a.status_code for a in answers] == [422, 422, 422, 429, 429, 429]
    assert int(answers[-1].headers["Retry-After"]) > 3000
    assert len(broker.tried) == 3
    assert _guess(alice, PASSWORD).status_code == 429


def test_each_way_to_try_credentials_counts(alice: Person, broker: FakeLoginBroker) -> None:
    account_id = alice.post("/api/accounts/", BODY).get_json()["id"]
    wrong = {**CREDENTIALS, "password": "a guess"}
    path = f"/api/accounts/{account_id}/"

    refused = [
        alice.post("/api/accounts/", {**BODY, "credentials": wrong}),
        alice.put(path, {"credentials": wrong}),
        alice.form("/accounts/log-in/", environment="demo", **wrong),
    ]
    stopped = [
        alice.post("/api/accounts/", {**BODY, "credentials": wrong}),
        alice.put(path, {"credentials": wrong}),
        alice.form("/accounts/log-in/", environment="demo", **wrong),
        _guess(alice, "a guess"),
    ]
    page = alice.form(f"/accounts/{account_id}/credentials/", **wrong)

    assert [a.status_code for a in refused] == [422] * 3
    assert [a.status_code for a in stopped] == [429] * 4
    assert "Too many tries" in page.text
    assert len(broker.tried) == 4


def test_one_who_mistypes_takes_nothing_from_the_others(
    alice: Person, bob: Person, broker: FakeLoginBroker
) -> None:
    for number in range(4):
        _guess(alice, f"guess {number}")

    assert _guess(bob, PASSWORD).status_code == 200
    assert _guess(bob, "mistyped").status_code == 422
    assert _guess(bob, PASSWORD).status_code == 429


def test_a_log_in_that_is_here_goes_on_when_no_new_one_may_be_tried(
    alice: Person, bob: Person, broker: FakeLoginBroker
) -> None:
    account_id = bob.post("/api/accounts/", BODY).get_json()["id"]
    for number in range(3):
        _guess(alice, f"guess {number}")
    _guess(bob, "mistyped")

    tested = bob.post(TEST, {"account_id": account_id})
    connected = bob.post(f"/api/accounts/{account_id}/connect/")

    assert (tested.status_code, connected.status_code) == (200, 200)


def test_guesses_at_the_same_time_are_counted_one_after_the_other(
    app: Flask, alice: Person, broker: FakeLoginBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way, let_go, most = [0], Event(), [0]
    try_credentials = broker.try_credentials

    def slow(environment: str, credentials: Mapping[str, Any]) -> list[FoundAccount]:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        let_go.wait(5)
        under_way[0] -= 1
        return try_credentials(environment, credentials)

    def guess(number: int) -> str:
        given = Given("tradovate", "demo", {**CREDENTIALS, "password": str(number)})
        with app.app_context():
            try:
                logins.sign_in(alice.id, given)
            except TradingError as e:
                return e.code
        return "signed in"

    monkeypatch.setattr(broker, "try_credentials", slow)
    greenlets = [gevent.spawn(guess, number) for number in range(8)]
    gevent.idle()
    let_go.set()
    gevent.joinall(greenlets, timeout=10)

    codes = sorted(str(greenlet.value) for greenlet in greenlets)
    assert codes == ["bad_credentials"] * 3 + ["rate_limited"] * 5
    assert most == [1]


def test_credentials_that_work_are_not_counted_as_guesses(
    alice: Person, broker: FakeLoginBroker
) -> None:
    answers = [_guess(alice, PASSWORD) for _ in range(31)]

    assert {a.status_code for a in answers[:30]} == {200}
    assert answers[30].status_code == 429


def test_a_sign_in_is_not_given_to_an_account_of_somebody_else_or_of_nobody(
    alice: Person, bob: Person, broker: FakeLoginBroker
) -> None:
    made = alice.post("/api/accounts/", BODY).get_json()
    page = bob.form("/accounts/log-in/", environment="demo", **CREDENTIALS).text
    sealed = page.split('name="sealed" value="')[1].partition('"')[0]

    for number in (str(made["id"]), "0", str(2**63), "9" * 5000):
        answer = bob.form("/accounts/choose/", sealed=sealed, replace=number)
        shown = bob.client.get("/accounts/").text

        assert answer.status_code in (303, 404), answer.text
        assert "The credentials were replaced. The stream" not in shown
    with alice.app.app_context():
        kept = broker.store.credentials(made["login_id"])
    assert kept["username"] == "jo"
    assert broker.opened == [made["login_id"]]
