"""Registering, signing in and out."""

from __future__ import annotations

from datetime import timedelta

import gevent
import pytest
import time_machine
from flask import Flask
from sqlalchemy import select

from app import clock
from app.extensions import db
from app.models import AuditEntry, EventSeq, User
from tests.people import PASSWORD, log_in, register


def test_the_first_user_is_admin_and_the_second_is_not(app: Flask) -> None:
    first, second = register(app, "alice"), register(app, "bob")

    roles = [p.get("/api/auth/me/").get_json()["user"]["role"] for p in (first, second)]

    assert roles == ["admin", "trader"]


def test_of_many_who_register_at_once_one_is_admin(app: Flask) -> None:
    names = [f"racer{n}" for n in range(6)]

    gevent.joinall([gevent.spawn(register, app, name) for name in names], raise_error=True)

    with app.app_context():
        roles = list(db.session.scalars(select(User.role)))
    assert sorted(roles) == ["admin"] + ["trader"] * 5


def test_a_user_comes_with_an_event_sequence(app: Flask) -> None:
    alice = register(app)

    with app.app_context():
        assert db.session.get_one(EventSeq, alice.id).seq == 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"username": "ALICE"}, "username"),
        ({"email": "Alice@Example.COM"}, "email"),
    ],
)
def test_a_name_or_address_is_taken_whatever_its_capitals(
    app: Flask, change: dict[str, str], field: str
) -> None:
    register(app)
    body = {"username": "bob", "email": "bob@example.com", "password": PASSWORD, **change}

    answer = app.test_client().post("/api/auth/register/", json=body)

    assert (answer.status_code, answer.get_json()["code"], answer.get_json()["field"]) == (
        409,
        "taken",
        field,
    )


@pytest.mark.parametrize("password", ["short", "password123!", "1234567890", "alicealice1"])
def test_a_weak_password_is_refused_with_the_reason(app: Flask, password: str) -> None:
    body = {"username": "alice", "email": "alice@example.com", "password": password}

    answer = app.test_client().post("/api/auth/register/", json=body)

    assert answer.status_code == 422
    assert answer.get_json()["code"] == "weak_password"
    assert answer.get_json()["errors"][0]["field"] == "password"
    assert len(answer.get_json()["detail"]) > 20


@pytest.mark.parametrize("login", ["alice", "ALICE", "alice@example.com", " Alice@Example.com "])
def test_one_signs_in_by_name_or_address_whatever_the_capitals(app: Flask, login: str) -> None:
    register(app)

    answer = log_in(app, login)

    assert answer.status_code == 200
    assert answer.get_json()["user"]["username"] == "alice"
    assert answer.get_json()["csrf_token"]


def test_a_long_password_counts_to_its_last_character(app: Flask) -> None:
    long = "many words " * 15
    register(app, password=long)

    assert log_in(app, password=long).status_code == 200
    assert log_in(app, password=long[:-1] + "x").status_code == 401


def test_a_wrong_password_and_an_unknown_name_are_answered_alike(app: Flask) -> None:
    register(app)

    wrong, unknown = log_in(app, password="wrong"), log_in(app, "nobody", "wrong")

    assert wrong.status_code == unknown.status_code == 401
    assert wrong.get_json()["detail"] == unknown.get_json()["detail"]
    assert wrong.get_json()["code"] == unknown.get_json()["code"] == "wrong_credentials"


def test_too_many_tries_are_stopped_and_may_go_on_later(app: Flask) -> None:
    register(app)
    with time_machine.travel(clock.now(), tick=False) as time:
        answers = [log_in(app, password="wrong") for _ in range(11)]

        assert [a.status_code for a in answers] == [401] * 10 + [429]
        assert int(answers[-1].headers["Retry-After"]) > 0
        assert log_in(app).status_code == 429
        time.shift(timedelta(minutes=16))
        assert log_in(app).status_code == 200


def test_many_failures_of_one_address_are_stopped_whatever_the_name(app: Flask) -> None:
    answers = [log_in(app, f"name{n}", "wrong").status_code for n in range(61)]

    assert answers == [401] * 60 + [429]


def test_signing_out_ends_the_session_itself(app: Flask) -> None:
    alice = register(app)
    cookie = alice.client.get_cookie("jt_session")
    assert cookie is not None

    assert alice.post("/api/auth/logout/").status_code == 200

    thief = app.test_client()
    thief.set_cookie("jt_session", cookie.value)
    assert thief.get("/api/auth/me/").status_code == 401


def test_signing_out_everywhere_ends_all_sessions_of_that_user_alone(app: Flask) -> None:
    alice, bob = register(app, "alice"), register(app, "bob")
    other = app.test_client()
    other.post("/api/auth/login/", json={"login": "alice", "password": PASSWORD})

    alice.post("/api/auth/logout/?all=1")

    assert other.get("/api/auth/me/").status_code == 401
    assert bob.get("/api/auth/me/").status_code == 200


def test_a_session_expires_unless_it_is_used_or_remembered(app: Flask) -> None:
    with time_machine.travel(clock.now(), tick=False) as time:
        used, unused, remembered = (register(app, n) for n in ("used", "unused", "remembered"))
        remembered.client.post(
            "/api/auth/login/",
            json={"login": "remembered", "password": PASSWORD, "remember": True},
        )

        time.shift(timedelta(hours=20))
        used.get("/api/auth/me/")
        time.shift(timedelta(hours=20))

        assert used.get("/api/auth/me/").status_code == 200
        assert unused.get("/api/auth/me/").status_code == 401
        assert remembered.get("/api/auth/me/").status_code == 200


def test_a_log_in_forgets_what_the_cookie_held_before(app: Flask) -> None:
    alice = register(app)
    before = alice.csrf

    answer = alice.client.post("/api/auth/login/", json={"login": "alice", "password": PASSWORD})

    assert answer.get_json()["csrf_token"] != before
    assert alice.post("/api/auth/ws-ticket/").status_code == 403


def test_a_log_in_from_another_site_is_refused(app: Flask) -> None:
    register(app)
    body = {"login": "alice", "password": PASSWORD}

    by_origin = app.test_client().post(
        "/api/auth/login/", json=body, headers={"Origin": "https://evil.example"}
    )
    as_text = app.test_client().post(
        "/api/auth/login/", data='{"login": "alice"}', content_type="text/plain"
    )

    assert (by_origin.status_code, as_text.status_code) == (403, 415)


def test_sign_ins_are_in_the_audit_log_without_secrets(app: Flask) -> None:
    alice = register(app)
    log_in(app, password="wrong-password")
    alice.post("/api/auth/logout/")

    with app.app_context():
        rows = list(db.session.scalars(select(AuditEntry).order_by(AuditEntry.id)))
    assert [r.action for r in rows] == ["user_created", "login", "login_failed", "logout"]
    assert all(r.user_id == alice.id and r.address and r.request_id for r in rows)
    assert "wrong-password" not in str([(r.target, r.detail) for r in rows])
