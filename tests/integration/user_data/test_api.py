"""``/api/user-data/``."""

from __future__ import annotations

from typing import Any

import pytest
from apiflask import APIFlask

from app import clock
from app.brokers.logins import StreamStatus
from app.extensions import db
from app.models import User
from tests.databases import ONLY_SQLITE
from tests.integration.user_data.conftest import Desk, FakeStreams
from tests.people import Person, register

pytestmark = ONLY_SQLITE


@pytest.fixture
def owner(app: APIFlask) -> Person:
    return register(app)


@pytest.fixture
def desk(app: APIFlask, broker: FakeStreams, owner: Person) -> Desk:
    with app.app_context():
        user = db.session.get_one(User, owner.id)
    return Desk(app, broker, user)


def ask(person: Person, verb: str, body: Any) -> tuple[int, dict[str, Any]]:
    answer = person.post(f"/api/user-data/{verb}/", body)
    return answer.status_code, answer.get_json()


def test_connect_status_disconnect(desk: Desk, owner: Person) -> None:
    account = desk.account()

    for _ in range(2):
        code, body = ask(owner, "connect", {"account_id": account.id})
        assert (code, body["state"], body["status"]) == (200, "connecting", "connecting")
    desk.live(last_message_at=clock.now(), epoch=1)
    desk.lost(reason="cut", reconnects=0)
    desk.live(last_message_at=clock.now(), epoch=2, reconnects=1, repaired=4)
    listed = owner.get("/api/user-data/status/").get_json()
    code, ended = ask(owner, "disconnect", {"account_id": account.id})

    assert listed["total"] == 1
    [item] = listed["items"]
    assert item["account_id"] == account.id
    assert (item["state"], item["status"], item["is_wanted"]) == ("live", "connected", True)
    assert (item["reconnects"], item["gaps_repaired"]) == (1, 1)
    assert 0 <= item["last_message_age_s"] < 5
    assert item["since"].endswith("Z")
    assert item["budget"] == {
        "limit": 5000,
        "window_s": 3600,
        "left": 4990,
        "reserve": 1000,
        "wait_s": 0.0,
    }
    assert (code, ended["state"], ended["is_wanted"]) == (200, "stopped", False)
    assert ended["budget"] is None


def test_refusal_is_told_in_words(desk: Desk, owner: Person) -> None:
    account = desk.account()
    ask(owner, "connect", {"account_id": account.id})
    desk.broker.tell(desk.ref, StreamStatus.STOPPED, is_refused=True, reason="Wrong password.")

    [item] = owner.get("/api/user-data/status/").get_json()["items"]

    assert (item["state"], item["status"], item["reason"]) == (
        "stopped",
        "error",
        "Wrong password.",
    )


def test_paper_needs_no_stream(owner: Person) -> None:
    made = owner.post("/api/accounts/", {"name": "Paper", "broker": "paper"}).get_json()

    answers = [ask(owner, verb, {"account_id": made["id"]}) for verb in ("connect", "disconnect")]

    assert [(code, body["state"], body["budget"]) for code, body in answers] == [
        (200, "live", None)
    ] * 2


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, 422),
        ({"account_id": "x"}, 422),
        ({"account_id": 0}, 422),
        ({"account_id": 999}, 404),
        ({"account_id": 1, "now": True}, 422),
    ],
)
def test_nonsense_is_refused(owner: Person, body: Any, code: int) -> None:
    assert [ask(owner, verb, body)[0] for verb in ("connect", "disconnect")] == [code] * 2


def test_reading_key_may_look_and_not_act(desk: Desk, owner: Person) -> None:
    account, program = desk.account(), owner.key("read")

    assert program.get("/api/user-data/status/").status_code == 200
    refused = program.post("/api/user-data/connect/", {"account_id": account.id})
    assert refused.status_code == 403
    assert desk.broker.opened == []
