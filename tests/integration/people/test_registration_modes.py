"""Who may register, by the setting ``REGISTRATION``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from flask import Flask

from app import create_app
from app.extensions import db, lifecycle
from config import Config
from tests.people import PASSWORD, log_in, register

Make = Callable[[str], Flask]


@pytest.fixture
def make(config: Config) -> Iterator[Make]:
    made = []

    def _make(registration: str) -> Flask:
        app = create_app(replace(config, registration=registration))
        with app.app_context():
            lifecycle.start()
        made.append(app)
        return app

    yield _make
    for app in made:
        with app.app_context():
            lifecycle.stop()
            db.session.remove()
            db.engine.dispose()


@pytest.mark.parametrize("mode", ["invite", "closed"])
def test_only_the_first_may_register(make: Make, mode: str) -> None:
    app = make(mode)
    register(app, "alice")
    body = {"username": "bob", "email": "bob@example.com", "password": PASSWORD}

    answer = app.test_client().post("/api/auth/register/", json=body)

    assert (answer.status_code, answer.get_json()["code"]) == (403, "registration_closed")
    assert "admin" in answer.get_json()["detail"]


def test_an_admin_makes_users_all_the_same(make: Make) -> None:
    app = make("closed")
    admin = register(app, "alice")
    body = {"username": "bob", "email": "bob@example.com", "password": PASSWORD}

    made = admin.post("/api/admin/users/", body)

    assert made.status_code == 201
    assert log_in(app, "bob").status_code == 200
    assert admin.get("/api/admin/users/").get_json()["total"] == 2


def test_the_page_says_that_registration_is_closed(make: Make) -> None:
    app = make("closed")
    register(app, "alice")

    page = app.test_client().get("/register")

    assert page.status_code == 200
    assert "Registration is closed" in page.text
    assert "<form" not in page.text
