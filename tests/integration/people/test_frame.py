"""What holds for every JSON endpoint."""

from __future__ import annotations

import re
from typing import Any

import gevent
import pytest
from flask import Flask
from sqlalchemy import func, select

from app.extensions import db
from app.models import ApiKey, IdempotencyKey
from app.services import api_keys
from tests.people import PASSWORD, Person, register

JSON = {"content_type": "application/json"}
HALF_PAIR = '{"login": "\\ud800", "password": "x"}'
NEW_KEY = {"name": "bot", "scopes": ["read"]}


def _keys(app: Flask) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(ApiKey)) or 0


@pytest.mark.parametrize("path", ["/api/auth/login/", "/api/auth/login"])
def test_the_final_slash_may_be_left_out(app: Flask, path: str) -> None:
    register(app)

    answer = app.test_client().post(path, json={"login": "alice", "password": PASSWORD})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "sent", "status", "code"),
    [
        ("GET", "/api/nothing/", {}, 404, "not_found"),
        ("PATCH", "/api/auth/login/", {}, 405, "method_not_allowed"),
        ("GET", "/api/auth/me/", {}, 401, "unauthorized"),
        ("POST", "/api/auth/login/", {"data": "{", **JSON}, 400, None),
        ("POST", "/api/auth/login/", {"json": {"login": "x"}}, 422, "invalid"),
        ("POST", "/api/auth/login/", {"json": []}, 422, "invalid"),
        ("POST", "/api/auth/login/", {"json": {"login": "\x00", "password": "x"}}, 400, None),
        ("POST", "/api/auth/login/", {"data": HALF_PAIR, **JSON}, 400, None),
        ("POST", "/api/auth/login/", {"data": "a=b"}, 415, None),
    ],
)  # fmt: skip
def test_every_refusal_is_a_problem(
    app: Flask, method: str, path: str, sent: dict[str, Any], status: int, code: str | None
) -> None:
    answer = app.test_client().open(path, method=method, **sent)

    body = answer.get_json()
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
    assert {"type", "title", "status", "code", "detail", "request_id"} <= set(body)
    assert code in (None, body["code"])
    assert body["request_id"] == answer.headers["X-Request-ID"]


def test_an_invalid_body_names_each_field(app: Flask) -> None:
    body = {"username": "a", "email": "nonsense", "password": PASSWORD}

    answer = app.test_client().post("/api/auth/register/", json=body)

    assert {e["field"] for e in answer.get_json()["errors"]} == {"username", "email"}
    assert all(e["message"] for e in answer.get_json()["errors"])


def test_an_unsafe_call_by_cookie_needs_the_csrf_token(app: Flask) -> None:
    alice = register(app)

    without = alice.client.post("/api/auth/api-keys/", json=NEW_KEY)

    assert (without.status_code, without.get_json()["code"]) == (403, "csrf")
    assert _keys(app) == 0


def test_the_same_idempotency_key_does_nothing_twice(app: Flask) -> None:
    alice = register(app)

    first = alice.post("/api/auth/api-keys/", NEW_KEY, Idempotency_Key="k-1")
    again = alice.post("/api/auth/api-keys/", NEW_KEY, Idempotency_Key="k-1")

    assert (first.status_code, again.status_code) == (201, 201)
    assert first.get_json() == again.get_json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert _keys(app) == 1


def test_a_kept_answer_is_not_readable_in_the_database(app: Flask) -> None:
    alice = register(app)

    made = alice.post("/api/auth/api-keys/", NEW_KEY, Idempotency_Key="k-1").get_json()

    with app.app_context():
        row = db.session.scalars(select(IdempotencyKey)).one()
    assert made["key"] not in (row.response or "")


def test_an_idempotency_key_belongs_to_one_body_of_one_user(app: Flask) -> None:
    alice, bob = register(app, "alice"), register(app, "bob")
    alice.post("/api/auth/api-keys/", NEW_KEY, Idempotency_Key="k-1")

    other_body = alice.post(
        "/api/auth/api-keys/", {**NEW_KEY, "name": "other"}, Idempotency_Key="k-1"
    )
    other_user = bob.post("/api/auth/api-keys/", NEW_KEY, Idempotency_Key="k-1")

    assert (other_body.status_code, other_body.get_json()["code"]) == (422, "key_reused")
    assert other_user.status_code == 201


def test_of_calls_at_once_with_one_idempotency_key_one_is_done(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = register(app)
    begun, goes_on = gevent.event.Event(), gevent.event.Event()
    create = api_keys.create

    def slow(*args: Any, **kwargs: Any) -> Any:
        begun.set()
        goes_on.wait(timeout=10)
        return create(*args, **kwargs)

    monkeypatch.setattr(api_keys, "create", slow)

    first = gevent.spawn(alice.post, "/api/auth/api-keys/", NEW_KEY, Idempotency_Key="k-1")
    begun.wait(timeout=10)
    second = _second_browser(alice).post("/api/auth/api-keys/", NEW_KEY, Idempotency_Key="k-1")
    goes_on.set()

    assert (second.status_code, second.get_json()["code"]) == (409, "in_progress")
    assert first.get(timeout=10).status_code == 201
    assert _keys(app) == 1


def _second_browser(person: Person) -> Person:
    client = person.app.test_client()
    answer = client.post("/api/auth/login/", json={"login": person.username, "password": PASSWORD})
    return Person(client, person.id, person.username, answer.get_json()["csrf_token"], person.app)


def test_a_refusal_that_did_nothing_does_not_use_up_the_key(app: Flask) -> None:
    alice = register(app)
    missing = alice.client.post(
        "/api/auth/api-keys/", json=NEW_KEY, headers={"Idempotency-Key": "k-1"}
    )

    then = alice.post("/api/auth/api-keys/", NEW_KEY, Idempotency_Key="k-1")

    assert (missing.status_code, then.status_code) == (403, 201)


def test_a_list_is_paged_without_gaps_while_rows_arrive(app: Flask) -> None:
    admin = register(app, "user00")
    for n in range(1, 5):
        register(app, f"user{n:02}")

    seen, cursor = [], ""
    for _ in range(3):
        path = f"/api/admin/users/?limit=2&sort=-username{cursor}"
        page = admin.get(path).get_json()
        seen += [u["username"] for u in page["items"]]
        cursor = f"&cursor={page['next']}"
        register(app, f"zz-later-{len(seen)}")

    assert seen == ["user04", "user03", "user02", "user01", "user00"]
    assert page["next"] is None


@pytest.mark.parametrize("sort", ["created_at", "-created_at", "username", "id", "-id"])
def test_a_list_sorts_both_ways(app: Flask, sort: str) -> None:
    admin = register(app, "user0")
    for n in range(1, 4):
        register(app, f"user{n}")

    first = admin.get(f"/api/admin/users/?limit=3&sort={sort}").get_json()
    rest = admin.get(f"/api/admin/users/?limit=3&sort={sort}&cursor={first['next']}").get_json()

    names = [u["username"] for u in first["items"] + rest["items"]]
    expected = [f"user{n}" for n in range(4)]
    assert names == (expected[::-1] if sort.startswith("-") else expected)
    assert first["total"] == 4


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=0", 422),
        ("limit=501", 422),
        ("sort=password_hash", 422),
        ("cursor=nonsense", 400),
        ("cursor=WyItaWQiLCJ4IiwxXQ", 400),
    ],
)
def test_a_list_refuses_what_it_does_not_know(app: Flask, query: str, status: int) -> None:
    admin = register(app)

    assert admin.get(f"/api/admin/users/?{query}").status_code == status


def test_the_document_is_whole(app: Flask) -> None:
    answer = app.test_client().get("/api/openapi.json")

    document, text = answer.get_json(), answer.text
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    operations = [o for path in document["paths"].values() for o in path.values()]
    assert document["openapi"].startswith("3.1")
    assert references == set(document["components"]["schemas"])
    assert len({o["operationId"] for o in operations}) == len(operations)
    assert all(
        {"400", "401", "403", "404", "422", "429"} <= set(o["responses"]) for o in operations
    )
    assert all(p.startswith("/api/") for p in document["paths"])


def test_the_document_can_be_read_as_a_page(app: Flask) -> None:
    page = app.test_client().get("/api/docs/")

    assert page.status_code == 200
    assert "/api/auth/login/" in page.text
    assert not re.search(r"<script(?![^>]*\bsrc=)", page.text)
