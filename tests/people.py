"""People for tests: registered, signed in, each with a client of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

PASSWORD = "nine purple anvils"


@dataclass
class Person:
    """A signed-in browser. ``call`` speaks JSON and brings the CSRF token along."""

    client: FlaskClient
    id: int
    username: str
    csrf: str
    app: Flask

    def call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> TestResponse:
        sent = {"X-CSRFToken": self.csrf, **(headers or {})}
        return self.client.open(path, method=method, json=body, headers=sent)

    def get(self, path: str) -> TestResponse:
        return self.call("GET", path)

    def post(self, path: str, body: Any = None, **headers: str) -> TestResponse:
        return self.call("POST", path, body, {k.replace("_", "-"): v for k, v in headers.items()})

    def put(self, path: str, body: Any = None) -> TestResponse:
        return self.call("PUT", path, body)

    def delete(self, path: str) -> TestResponse:
        return self.call("DELETE", path)

    def form(self, path: str, **fields: str) -> TestResponse:
        """Post a page's form."""
        return self.client.post(path, data={"csrf_token": self.csrf, **fields})

    def key(self, *scopes: str) -> Program:
        """A program with an API key of this person."""
        answer = self.post("/api/auth/api-keys/", {"name": "test", "scopes": list(scopes)})
        assert answer.status_code == 201, answer.text
        return Program(
            self.app.test_client(use_cookies=False),
            answer.get_json()["key"],
            answer.get_json()["id"],
        )


@dataclass
class Program:
    """A caller with an API key and without cookies."""

    client: FlaskClient
    key: str
    id: int

    def call(self, method: str, path: str, body: Any = None) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.key}"}
        return self.client.open(path, method=method, json=body, headers=headers)

    def get(self, path: str) -> TestResponse:
        return self.call("GET", path)

    def post(self, path: str, body: Any = None) -> TestResponse:
        return self.call("POST", path, body)


def register(app: Flask, username: str = "alice", password: str = PASSWORD) -> Person:
    """Register ``username`` (e-mail ``username@example.com``) and sign in. The first one on an
    empty database is the admin."""
    client = app.test_client()
    body = {"username": username, "email": f"{username}@example.com", "password": password}
    answer = client.post("/api/auth/register/", json=body)
    assert answer.status_code == 201, answer.text
    user = answer.get_json()["user"]
    return Person(client, user["id"], user["username"], answer.get_json()["csrf_token"], app)


def log_in(app: Flask, login: str = "alice", password: str = PASSWORD, **more: Any) -> TestResponse:
    return app.test_client().post(
        "/api/auth/login/", json={"login": login, "password": password, **more}
    )
