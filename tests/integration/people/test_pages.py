"""The pages to sign in, register and change one's settings, without JavaScript."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.pages.settings import browser
from app.web.auth import local_path
from tests.people import PASSWORD, log_in, register


def _token(client: FlaskClient, path: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get(path).text)
    assert found is not None
    return found[1]


def _sign_in(client: FlaskClient, password: str = PASSWORD, query: str = "") -> tuple[int, str]:
    token = _token(client, "/login")
    answer = client.post(
        f"/login{query}", data={"csrf_token": token, "login": "alice", "password": password}
    )
    return answer.status_code, answer.location or answer.text


def test_one_registers_by_the_form_and_is_signed_in(app: Flask) -> None:
    client = app.test_client()
    fields = {"username": "alice", "email": "alice@example.com", "password": PASSWORD}

    token = _token(client, "/register")
    answer = client.post("/register", data={"csrf_token": token, **fields})

    assert (answer.status_code, answer.location) == (302, "/")
    assert client.get("/settings/").status_code == 200


def test_a_refused_form_keeps_what_was_typed_but_the_password(app: Flask) -> None:
    client = app.test_client()
    fields = {"username": "alice", "email": "nonsense", "password": "secret-typed-here"}

    token = _token(client, "/register")
    answer = client.post("/register", data={"csrf_token": token, **fields})

    assert answer.status_code == 422
    assert 'value="alice"' in answer.text
    assert "no e-mail address" in answer.text
    assert "secret-typed-here" not in answer.text


def test_a_wrong_password_is_said_on_the_page(app: Flask) -> None:
    register(app)

    status, text = _sign_in(app.test_client(), "wrong")

    assert status == 401
    assert "do not match" in text


def test_a_form_without_its_token_is_refused(app: Flask) -> None:
    register(app)

    answer = app.test_client().post("/login", data={"login": "alice", "password": PASSWORD})

    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("query", "target"),
    [
        ("", "/"),
        ("?next=%2Fsettings%2F%3Ftab%3Dkeys", "/settings/?tab=keys"),
        ("?next=https%3A%2F%2Fevil.example%2F", "/"),
        ("?next=%2F%2Fevil.example", "/"),
        ("?next=%2F%5Cevil.example", "/"),
    ],
)
def test_after_signing_in_one_is_led_to_pages_of_ours_only(
    app: Flask, query: str, target: str
) -> None:
    register(app)

    assert _sign_in(app.test_client(), query=query) == (302, target)


@pytest.mark.parametrize(
    "target",
    ["//evil", "/\\evil", "http:/x", "https://x", "javascript:x", "x", "", "/\tx", None],
)
def test_only_paths_are_local(target: str | None) -> None:
    assert local_path(target) == "/"


def test_a_page_leads_who_is_not_signed_in_to_the_form(app: Flask) -> None:
    answer = app.test_client().get("/settings/?a=1")

    assert (answer.status_code, answer.location) == (302, "/login?next=%2Fsettings%2F%3Fa%3D1")


def test_signing_out_by_the_form(app: Flask) -> None:
    alice = register(app)

    answer = alice.form("/logout")

    assert (answer.status_code, answer.location) == (302, "/login")
    assert alice.client.get("/settings/").status_code == 302


def test_the_password_is_changed_and_other_sessions_end(app: Flask) -> None:
    alice = register(app)
    other = app.test_client()
    other.post("/api/auth/login/", json={"login": "alice", "password": PASSWORD})

    answer = alice.form(
        "/settings/password/", current_password=PASSWORD, new_password="seven green kettles"
    )

    assert answer.status_code == 302
    assert alice.client.get("/settings/").status_code == 200
    assert other.get("/settings/").status_code == 302
    assert log_in(app, password="seven green kettles").status_code == 200
    assert log_in(app).status_code == 401


@pytest.mark.parametrize(
    ("current", "new", "words"),
    [
        ("wrong", "seven green kettles", "not your current password"),
        (PASSWORD, "short", "Too short"),
        (PASSWORD, "password123!", "most common"),
    ],
)
def test_a_password_that_cannot_be_changed_says_why(
    app: Flask, current: str, new: str, words: str
) -> None:
    alice = register(app)

    answer = alice.form("/settings/password/", current_password=current, new_password=new)

    assert answer.status_code == 422
    assert words in answer.text


def test_the_profile_is_saved(app: Flask) -> None:
    alice = register(app)

    alice.form("/settings/profile/", email="new@example.com", zone="America/Chicago")

    user = alice.get("/api/settings/").get_json()
    assert (user["email"], user["zone"]) == ("new@example.com", "America/Chicago")


def test_a_zone_that_does_not_exist_is_refused(app: Flask) -> None:
    answer = register(app).form("/settings/profile/", email="a@example.com", zone="Mars/Base")

    assert answer.status_code == 422
    assert "no time zone" in answer.text


def test_an_api_key_is_made_shown_once_and_revoked(app: Flask) -> None:
    alice = register(app)

    made = alice.form("/settings/api-keys/", name="my <script>", scopes="read")
    key = re.search(r"jt_[a-z0-9]{34}", made.text)
    later = alice.client.get("/settings/")
    revoke = re.search(r'action="(/settings/api-keys/\d+/revoke/)"', later.text)

    assert key is not None
    assert revoke is not None
    assert key[0] not in later.text
    assert "my &lt;script&gt;" in later.text
    assert alice.form(revoke[1]).status_code == 302
    headers = {"Authorization": f"Bearer {key[0]}"}
    assert app.test_client().get("/api/auth/me/", headers=headers).status_code == 401


def test_another_session_is_ended(app: Flask) -> None:
    alice = register(app)
    other = app.test_client()
    other.post("/api/auth/login/", json={"login": "alice", "password": PASSWORD})

    end = re.search(r'action="(/settings/sessions/\d+/end/)"', alice.client.get("/settings/").text)
    assert end is not None
    alice.form(end[1])

    assert other.get("/settings/").status_code == 302
    assert alice.client.get("/settings/").status_code == 200


@pytest.mark.parametrize(
    ("user_agent", "words"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/142.0 Safari/537.36 Edg/142.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; like Mac OS X) Mobile Safari/604.1", "Safari on iPhone"),
        ("curl/8.5.0", "curl"),
        ("", "Unknown program"),
    ],
)  # fmt: skip
def test_a_browser_is_called_as_people_call_it(user_agent: str, words: str) -> None:
    assert browser(user_agent) == words
