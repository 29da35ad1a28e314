"""Accounts that a log-in at Tradovate has, through the API."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from apiflask import APIFlask
from sqlalchemy import select

from app import clock
from app.domain.errors import BrokerRateLimited, BrokerRefused, BrokerUnavailable
from app.extensions import db
from app.models import Account, AuditEntry, BrokerLogin, LivePosition
from app.services import logins, secrets, user_data
from tests import factories
from tests.integration.api.conftest import Caller, fields
from tests.login_broker import FakeLoginBroker, found

PASSWORD, SECRET = "correct horse battery", "f03741b6-f634-48d6-9308-c8fb871150c2"
CREDENTIALS = {
    "username": "jo",
    "password": PASSWORD,
    "client_id": "8",
    "client_secret": SECRET,
}
BODY = {
    "name": "Jo demo",
    "broker": "tradovate",
    "environment": "demo",
    "credentials": CREDENTIALS,
}
SET = dict.fromkeys(("username", "password", "client_id", "client_secret"), "set")


@pytest.fixture
def broker(app: APIFlask) -> FakeLoginBroker:
    with app.app_context():
        broker = FakeLoginBroker(logins.Store(db.engine))
        user_data.attach("tradovate", broker)  # type: ignore[arg-type]
    broker.add("demo", "jo", PASSWORD, found("33"))
    broker.add("live", "jo", PASSWORD, found("71", "LIVE71"))
    broker.add("demo", "many", PASSWORD, found("41"), found("42"), found("43", note="closed"))
    return broker


def _with(**changes: Any) -> dict[str, Any]:
    return {**BODY, "credentials": {**CREDENTIALS, **changes}}


def _login(app: APIFlask, account_id: int) -> BrokerLogin:
    with app.app_context():
        account = db.session.get_one(Account, account_id)
        return db.session.get_one(BrokerLogin, account.login_id)


# Opening.


def test_a_log_in_with_one_account_opens_it_and_starts_its_stream(
    owner: Caller, broker: FakeLoginBroker
) -> None:
    made = owner.post("/api/accounts/", BODY, 201)

    shown = owner.get(f"/api/accounts/{made['id']}/")
    assert (made["name"], made["broker"], made["environment"]) == ("Jo demo", "tradovate", "demo")
    assert (shown["badge"], shown["broker_account_id"]) == ("demo", "33")
    assert shown["credentials"] == made["credentials"] == SET
    assert shown["status"] == "connected"
    assert broker.opened == [shown["login_id"]]


def test_no_secret_comes_back_or_lies_about_in_the_clear(
    app: APIFlask, owner: Caller, broker: FakeLoginBroker
) -> None:
    made = owner.post("/api/accounts/", BODY, 201)

    seen = [made, owner.get("/api/accounts/"), owner.get("/api/control-center/logs/")]
    said = json.dumps(seen, default=str)
    login = _login(app, made["id"])
    with app.app_context():
        noted = list(db.session.scalars(select(AuditEntry).where(AuditEntry.target != "")))
    assert PASSWORD not in said
    assert SECRET not in said
    assert PASSWORD not in login.credentials_cipher
    assert [n.action for n in noted if n.action.startswith("login")] == ["login_added"]
    assert SECRET not in str([n.detail for n in noted])


def test_several_accounts_and_none_named_are_listed(
    app: APIFlask, owner: Caller, broker: FakeLoginBroker
) -> None:
    problem = owner.post("/api/accounts/", _with(username="many"), 422)

    assert fields(problem) == ["broker_account_id"]
    assert "41 (DEMO41)" in problem["detail"]
    assert [a["broker_account_id"] for a in problem["accounts"]] == ["41", "42", "43"]
    assert problem["accounts"][2] == {
        "broker_account_id": "43",
        "name": "DEMO43",
        "currency": "USD",
        "is_usable": False,
        "note": "closed",
        "account_id": None,
    }
    with app.app_context():
        assert db.session.scalar(select(BrokerLogin)) is None


def test_several_accounts_of_one_log_in_share_it(owner: Caller, broker: FakeLoginBroker) -> None:
    first = owner.post("/api/accounts/", {**_with(username="many"), "broker_account_id": "41"}, 201)
    by_login = {k: v for k, v in BODY.items() if k != "credentials"} | {
        "login_id": first["login_id"],
        "broker_account_id": "DEMO42",
    }
    second = owner.post("/api/accounts/", by_login, 201)

    assert second["login_id"] == first["login_id"]
    assert second["broker_account_id"] == "42"
    assert broker.resynced == [first["login_id"]]
    listed = owner.post("/api/accounts/test-connection/", {"login_id": first["login_id"]})
    assert [a["account_id"] for a in listed["accounts"]] == [first["id"], second["id"], None]


@pytest.mark.parametrize(
    ("wanted", "code", "words"),
    [
        ("99", "invalid", "is none of this log-in's"),
        ("43", "account_unusable", "DEMO43 cannot be traded: closed"),
    ],
)
def test_an_account_that_cannot_be_used_is_refused(
    owner: Caller, broker: FakeLoginBroker, wanted: str, code: str, words: str
) -> None:
    body = {**_with(username="many"), "broker_account_id": wanted}

    problem = owner.post("/api/accounts/", body, 422)

    assert problem["code"] == code
    assert words in problem["detail"]
    assert fields(problem) == ["broker_account_id"]


def test_an_account_that_is_open_here_is_a_conflict(owner: Caller, broker: FakeLoginBroker) -> None:
    owner.post("/api/accounts/", BODY, 201)

    problem = owner.post("/api/accounts/", {**BODY, "name": "Again"}, 409)

    assert problem["code"] == "account_exists"
    assert "“Jo demo”" in problem["detail"]
    assert owner.get("/api/accounts/")["total"] == 1


def test_the_same_name_is_the_same_log_in_with_the_newest_credentials(
    app: APIFlask, owner: Caller, broker: FakeLoginBroker
) -> None:
    many = _with(username="many")
    first = owner.post("/api/accounts/", {**many, "broker_account_id": "41"}, 201)
    broker.add("demo", "many", "changed", found("41"), found("42"))
    broker.users["demo", "Many"] = broker.users["demo", "many"]

    second = owner.post(
        "/api/accounts/",
        {**_with(username="Many", password="changed"), "broker_account_id": "42"},
        201,
    )

    assert second["login_id"] == first["login_id"]
    with app.app_context():
        kept = broker.store.credentials(first["login_id"])
    assert kept["password"] == "changed"
    assert len({tried["device_id"] for tried in broker.tried}) == 1


def test_demo_and_live_are_two_log_ins(owner: Caller, broker: FakeLoginBroker) -> None:
    demo = owner.post("/api/accounts/", BODY, 201)
    live = owner.post("/api/accounts/", {**BODY, "environment": "live"}, 201)

    assert live["login_id"] != demo["login_id"]
    assert live["badge"] == "live"
    wrong = {**BODY, "login_id": live["login_id"]}
    del wrong["credentials"]
    assert fields(owner.post("/api/accounts/", wrong, 422)) == ["login_id"]


def test_a_log_in_of_somebody_else_is_not_there(
    owner: Caller, stranger: Caller, broker: FakeLoginBroker
) -> None:
    login_id = owner.post("/api/accounts/", BODY, 201)["login_id"]
    body = {**BODY, "login_id": login_id}
    del body["credentials"]

    stranger.post("/api/accounts/", body, 404)
    stranger.post("/api/accounts/test-connection/", {"login_id": login_id}, 404)


# At the door.


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"username": ""}, "credentials.username"),
        ({"username": "x" * 65}, "credentials.username"),
        ({"password": "p" * 65}, "credentials.password"),
        ({"password": None}, "credentials.password"),
        ({"client_id": True}, "credentials.client_id"),
        ({"client_secret": "s" * 8193}, "credentials.client_secret"),
        ({"pin": "1234"}, "credentials.pin"),
    ],
)
def test_wrong_credentials_are_named_without_being_repeated(
    owner: Caller, broker: FakeLoginBroker, change: dict[str, Any], field: str
) -> None:
    problem = owner.post("/api/accounts/", _with(**change), 422)

    assert fields(problem) == [field]
    said = json.dumps(problem)
    assert not any(secret in said for secret in (PASSWORD, SECRET, "p" * 65, "1234"))
    assert broker.tried == []


def test_an_api_keys_id_may_be_a_number(owner: Caller, broker: FakeLoginBroker) -> None:
    owner.post("/api/accounts/", _with(client_id=8), 201)

    assert broker.tried[0]["client_id"] == "8"


def test_tradovate_needs_credentials_and_paper_takes_none(
    owner: Caller, broker: FakeLoginBroker
) -> None:
    without = {k: v for k, v in BODY.items() if k != "credentials"}

    assert fields(owner.post("/api/accounts/", without, 422)) == ["credentials"]
    assert fields(owner.post("/api/accounts/", {**BODY, "broker": "paper"}, 422)) == ["credentials"]
    assert fields(owner.post("/api/accounts/", {**BODY, "login_id": 1}, 422)) == ["login_id"]
    assert fields(owner.post("/api/accounts/", {**BODY, "environment": "real"}, 422)) == [
        "environment"
    ]


# What the broker says.


def test_wrong_words_are_refused_with_the_brokers_own(
    owner: Caller, broker: FakeLoginBroker
) -> None:
    problem = owner.post("/api/accounts/", _with(password="wrong"), 422)

    assert problem["code"] == "bad_credentials"
    assert "Incorrect username or password" in problem["detail"]
    assert owner.get("/api/accounts/")["total"] == 0


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BrokerRefused("no permission for accounts", code="no_permission"), 422),
        (BrokerRateLimited("asks for a captcha", retry_after_s=3600), 503),
        (BrokerUnavailable("timed out"), 502),
    ],
)
@pytest.mark.parametrize("path", ["/api/accounts/", "/api/accounts/test-connection/"])
def test_a_broker_that_fails_leaves_nothing_behind(
    app: APIFlask,
    owner: Caller,
    broker: FakeLoginBroker,
    error: Any,
    status: int,
    path: str,
) -> None:
    broker.fails = error
    body = {k: v for k, v in BODY.items() if k != "name" or "test" not in path}

    problem = owner.post(path, body, status)

    assert error.detail in problem["detail"]
    with app.app_context():
        assert db.session.scalar(select(BrokerLogin)) is None


# Trying.


def test_trying_saves_nothing_and_lists_the_accounts(
    app: APIFlask, owner: Caller, broker: FakeLoginBroker
) -> None:
    body = {k: v for k, v in _with(username="many").items() if k != "name"}

    tried = owner.post("/api/accounts/test-connection/", body)

    assert [(a["broker_account_id"], a["is_usable"]) for a in tried["accounts"]] == [
        ("41", True),
        ("42", True),
        ("43", False),
    ]
    with app.app_context():
        assert db.session.scalar(select(BrokerLogin)) is None
    assert broker.opened == []


def test_the_saved_credentials_are_tried(owner: Caller, broker: FakeLoginBroker) -> None:
    account_id = owner.post("/api/accounts/", BODY, 201)["id"]

    tried = owner.post("/api/accounts/test-connection/", {"account_id": account_id})
    broker.add("demo", "jo", "changed at the broker", found("33"))
    refused = owner.post("/api/accounts/test-connection/", {"account_id": account_id}, 422)

    assert tried["accounts"][0]["account_id"] == account_id
    assert refused["code"] == "bad_credentials"


# Other credentials.


def test_credentials_are_tried_before_they_replace_the_saved_ones(
    app: APIFlask, owner: Caller, broker: FakeLoginBroker
) -> None:
    made = owner.post("/api/accounts/", BODY, 201)
    path = f"/api/accounts/{made['id']}/"

    owner.put(path, {"credentials": {**CREDENTIALS, "password": "wrong"}}, 422)
    with app.app_context():
        assert broker.store.credentials(made["login_id"])["password"] == PASSWORD
        before = broker.store.credentials(made["login_id"])["device_id"]
        broker.store.save_token(made["login_id"], {"access_token": "old"})
    broker.add("demo", "jo", "new", found("33"))
    changed = owner.put(path, {"credentials": {**CREDENTIALS, "password": "new"}})

    assert changed["credentials"] == SET
    with app.app_context():
        kept = broker.store.credentials(made["login_id"])
        assert (kept["password"], kept["device_id"]) == ("new", before)
        assert broker.store.token(made["login_id"]) is None
        actions = db.session.scalars(select(AuditEntry.action)).all()
    assert "login_credentials_changed" in actions
    assert broker.closed[-1] == broker.opened[-1] == made["login_id"]


def test_credentials_of_a_log_in_without_the_account_are_refused(
    owner: Caller, broker: FakeLoginBroker
) -> None:
    made = owner.post("/api/accounts/", BODY, 201)
    other = {"credentials": {**CREDENTIALS, "username": "many"}}

    problem = owner.put(f"/api/accounts/{made['id']}/", other, 422)

    assert problem["code"] == "other_login"
    assert "“Jo demo”" in problem["detail"]


def test_a_lost_key_asks_for_the_credentials_again(
    app: APIFlask, owner: Caller, broker: FakeLoginBroker
) -> None:
    made = owner.post("/api/accounts/", BODY, 201)
    path = f"/api/accounts/{made['id']}/"
    secrets.bind("another key, as after a restore without it")

    problem = owner.post("/api/accounts/test-connection/", {"account_id": made["id"]}, 422)
    shown = owner.get(path)
    owner.put(path, {"credentials": CREDENTIALS})
    mended = owner.get(path)

    assert problem["code"] == "credentials_unreadable"
    assert "enter the credentials again" in problem["detail"]
    assert (shown["status"], shown["last_error"]) == ("error", problem["detail"])
    assert (mended["status"], mended["last_error"]) == ("connected", None)


# Connecting.


def test_a_stream_is_ended_and_started_again(owner: Caller, broker: FakeLoginBroker) -> None:
    made = owner.post("/api/accounts/", BODY, 201)
    path = f"/api/accounts/{made['id']}/"

    ended = owner.post(path + "disconnect/")
    again = owner.post(path + "connect/")

    assert ended["status"] == "disconnected"
    assert again["status"] == "connected"
    assert broker.closed[-1] == made["login_id"]


def test_paper_has_no_stream(owner: Caller, stranger: Caller, broker: FakeLoginBroker) -> None:
    paper = factories.account(owner.user)

    problem = owner.post(f"/api/accounts/{paper.id}/connect/", None, 409)

    assert problem["code"] == "no_stream"
    stranger.post(f"/api/accounts/{paper.id}/connect/", None, 404)
    stranger.post(f"/api/accounts/{paper.id}/disconnect/", None, 404)


# Deleting.


def test_the_last_account_takes_its_log_in_along(
    app: APIFlask, owner: Caller, broker: FakeLoginBroker
) -> None:
    many = _with(username="many")
    first = owner.post("/api/accounts/", {**many, "broker_account_id": "41"}, 201)
    second = owner.post("/api/accounts/", {**many, "broker_account_id": "42"}, 201)
    login_id = first["login_id"]

    owner.delete(f"/api/accounts/{first['id']}/")
    kept = _login(app, first["id"])
    owner.delete(f"/api/accounts/{second['id']}/")
    gone = _login(app, first["id"])

    assert kept.deleted_at is None
    assert gone.deleted_at is not None
    assert (gone.credentials_cipher, gone.token_cipher, gone.is_wanted) == ("", None, False)
    assert broker.closed[-1] == login_id
    assert broker.state(login_id) is None
    again = owner.post("/api/accounts/", {**many, "broker_account_id": "41"}, 201)
    assert again["login_id"] != login_id


def test_a_position_that_only_the_broker_knows_keeps_the_account(
    owner: Caller, broker: FakeLoginBroker
) -> None:
    made = owner.post("/api/accounts/", BODY, 201)
    factories.store(
        LivePosition(
            user_id=owner.user.id,
            account_id=made["id"],
            contract="MNQZ6",
            net_pos=Decimal(2),
            as_of=clock.now(),
        )
    )

    problem = owner.delete(f"/api/accounts/{made['id']}/", 409)

    assert problem["code"] == "not_flat"
