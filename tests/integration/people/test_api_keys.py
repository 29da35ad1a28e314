"""API keys: what they open, and when no more."""

from __future__ import annotations

from datetime import timedelta

import time_machine
from flask import Flask
from sqlalchemy import select

from app import clock
from app.events import timestamp
from app.extensions import db
from app.models import ApiKey, AuditEntry
from tests.people import register


def test_a_key_is_shown_once_and_kept_as_a_hash(app: Flask) -> None:
    alice = register(app)

    made = alice.post("/api/auth/api-keys/", {"name": "bot", "scopes": ["read"]}).get_json()

    assert made["key"].startswith("jt_")
    assert made["key"].startswith(made["prefix"])
    assert made["key"] not in alice.get("/api/auth/api-keys/").text
    with app.app_context():
        row = db.session.scalars(select(ApiKey)).one()
    assert made["key"] not in (row.key_hash, row.prefix)


def test_a_key_needs_no_csrf_token_and_no_cookie(app: Flask) -> None:
    program = register(app).key("read", "trade")

    answer = program.call("PUT", "/api/settings/", {"zone": "Europe/Berlin"})

    assert (answer.status_code, answer.get_json()["zone"]) == (200, "Europe/Berlin")
    assert "Set-Cookie" not in answer.headers


def test_a_read_key_reads_and_changes_nothing(app: Flask) -> None:
    program = register(app).key("read")

    read, change = program.get("/api/auth/me/"), program.call("PUT", "/api/settings/", {})

    assert (read.status_code, change.status_code) == (200, 403)
    assert change.get_json()["code"] == "scope"
    assert read.get_json()["csrf_token"] is None


def test_a_trade_key_without_read_reads_nothing(app: Flask) -> None:
    program = register(app).key("trade")

    assert program.get("/api/auth/me/").status_code == 403


def test_admin_endpoints_need_the_scope_and_the_role(app: Flask) -> None:
    admin, bob = register(app, "alice"), register(app, "bob")

    asked = [
        admin.get("/api/admin/users/").status_code,
        admin.key("admin").get("/api/admin/users/").status_code,
        admin.key("read", "trade").get("/api/admin/users/").status_code,
        bob.get("/api/admin/users/").status_code,
        bob.post("/api/auth/api-keys/", {"name": "x", "scopes": ["admin"]}).status_code,
    ]

    assert asked == [200, 200, 403, 403, 403]


def test_a_key_gives_no_more_than_it_has(app: Flask) -> None:
    program = register(app).key("trade")

    answer = program.post("/api/auth/api-keys/", {"name": "more", "scopes": ["read", "trade"]})

    assert answer.status_code == 403


def test_a_wrong_key_decides_even_beside_a_good_cookie(app: Flask) -> None:
    alice = register(app)

    answer = alice.call("GET", "/api/auth/me/", headers={"Authorization": "Bearer jt_wrong"})

    assert answer.status_code == 401


def test_a_revoked_key_is_refused_at_once(app: Flask) -> None:
    alice = register(app)
    program = alice.key("read")

    alice.delete(f"/api/auth/api-keys/{program.id}/")

    assert program.get("/api/auth/me/").status_code == 401
    assert alice.get("/api/auth/api-keys/").get_json()["total"] == 0
    with app.app_context():
        actions = list(db.session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)))
    assert actions[-2:] == ["api_key_created", "api_key_revoked"]


def test_an_expired_key_is_refused(app: Flask) -> None:
    alice = register(app)
    with time_machine.travel(clock.now(), tick=False) as time:
        body = {
            "name": "short",
            "scopes": ["read"],
            "expires_at": timestamp(clock.now() + timedelta(hours=1)),
        }
        key = alice.post("/api/auth/api-keys/", body).get_json()["key"]
        headers = {"Authorization": f"Bearer {key}"}

        before = app.test_client().get("/api/auth/me/", headers=headers)
        time.shift(timedelta(hours=1))
        after = app.test_client().get("/api/auth/me/", headers=headers)

    assert (before.status_code, after.status_code) == (200, 401)


def test_a_key_opens_no_page(app: Flask) -> None:
    program = register(app).key("read", "trade", "admin")

    answer = program.get("/settings/")

    assert (answer.status_code, answer.location) == (302, "/login?next=%2Fsettings%2F")


def test_last_use_is_noted_once_a_minute(app: Flask) -> None:
    alice = register(app)
    with time_machine.travel(clock.now(), tick=False) as time:
        start = clock.now()
        program = alice.key("read")
        noted = []
        for seconds in (0, 30, 31):
            time.shift(timedelta(seconds=seconds))
            program.get("/api/auth/me/")
            with app.app_context():
                noted.append(db.session.scalars(select(ApiKey.last_used_at)).one())

    assert noted == [start, start, start + timedelta(seconds=61)]
