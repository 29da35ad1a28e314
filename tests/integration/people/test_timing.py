"""How long an answer takes tells nothing."""

from __future__ import annotations

import pytest
from flask import Flask

from app.services import users
from tests.people import log_in, register


def test_an_unknown_name_costs_one_comparison_like_a_known_one(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(app)
    log_in(app, "nobody", "wrong")
    compared: list[str] = []

    def matches(password: str, stored: str) -> bool:
        compared.append(stored)
        return False

    monkeypatch.setattr(users, "_matches", matches)

    log_in(app, "alice", "wrong")
    log_in(app, "nobody", "wrong")

    known, unknown = compared
    assert known != unknown
    assert known[:7] == unknown[:7], "the same cost"
