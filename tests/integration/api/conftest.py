"""Callers of the JSON API: an owner of things and somebody else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.models import User
from app.services import api_keys
from tests import factories


@dataclass(frozen=True)
class Caller:
    """A user with an API key; every call states the status it expects."""

    user: User
    client: FlaskClient
    key: str

    def get(self, path: str, expect: int = 200, **query: Any) -> Any:
        return self._call("GET", path, expect, query_string=query)

    def post(self, path: str, body: Any = None, expect: int = 200) -> Any:
        return self._call("POST", path, expect, json=body)

    def put(self, path: str, body: Any, expect: int = 200) -> Any:
        return self._call("PUT", path, expect, json=body)

    def delete(self, path: str, expect: int = 200, **query: Any) -> Any:
        return self._call("DELETE", path, expect, query_string=query)

    def _call(self, method: str, path: str, expect: int, **options: Any) -> Any:
        if options.get("json", ...) is None:
            del options["json"]
        response: TestResponse = self.client.open(
            path, method=method, headers={"Authorization": f"Bearer {self.key}"}, **options
        )
        assert response.status_code == expect, response.get_data(as_text=True)
        return response.json


def caller(app: APIFlask, *scopes: str, user: User | None = None) -> Caller:
    user = user or factories.user()
    with app.app_context():
        _, key = api_keys.create(user.id, "tests", scopes, grantable=frozenset({"read", "trade"}))
    return Caller(user, app.test_client(), key)


@pytest.fixture
def owner(app: APIFlask) -> Caller:
    return caller(app, "read", "trade")


@pytest.fixture
def stranger(app: APIFlask) -> Caller:
    return caller(app, "read", "trade")


def fields(problem: dict[str, Any]) -> list[str]:
    """The fields that a problem names."""
    return [error["field"] for error in problem.get("errors", [])] or [problem.get("field", "")]
