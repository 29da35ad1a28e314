"""The same over real sockets: log-ins at the simulated Tradovate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from apiflask import APIFlask
from sqlalchemy import select

from app.extensions import db
from app.models import Fill, LivePosition
from app.services import broker_accounts
from app.services.broker_accounts import Choice
from config import Config, load
from tests.conftest import KEYS
from tests.databases import ONLY_SQLITE
from tests.integration.api.conftest import Caller
from tests.integration.pages.things import until
from tests.simulators.tradovate.control import Simulator, running

pytestmark = ONLY_SQLITE

CREDENTIALS = {"username": "jo", "password": "pass", "client_id": "1", "client_secret": "demo"}
BODY = {
    "name": "Jo",
    "broker": "tradovate",
    "environment": "demo",
    "credentials": CREDENTIALS,
}
CONTRACT = "MNQZ6"
LOGIN_PATH = "auth/accesstokenrequest"
BACK = "https://trades.example.com/oauth/tradovate/callback/"


@pytest.fixture(scope="module")
def process() -> Iterator[Simulator]:
    with running() as simulator:
        yield simulator


@pytest.fixture
def tradovate(process: Simulator) -> Simulator:
    process.reset()
    process.clear_rules()
    process.clear_requests()
    process.add_user("jo", "pass")
    process.add_account("jo", "JO1")
    return process


@pytest.fixture
def config(database_url: str, tmp_path: Path, tradovate: Simulator) -> Config:
    return load(
        {
            **KEYS,
            "DATA_DIR": str(tmp_path / "data"),
            "DATABASE_URL": database_url,
            "BCRYPT_ROUNDS": "4",
            "TRADOVATE_DEMO_URL": tradovate.url,
            "TRADOVATE_LIVE_URL": tradovate.live_url,
            "TRADOVATE_DEMO_WS_URL": tradovate.ws_url,
            "TRADOVATE_LIVE_WS_URL": tradovate.live_ws_url,
            "TRADOVATE_OAUTH_URL": tradovate.oauth_url,
            "TRADOVATE_CLIENT_ID": "1",
            "TRADOVATE_CLIENT_SECRET": "demo",
        }
    )


def _connected(owner: Caller, account_id: int) -> Any:
    def look() -> Any:
        shown = owner.get(f"/api/accounts/{account_id}/")
        return shown if shown["status"] == "connected" else None

    return until(look)


def test_an_account_is_opened_with_one_sign_in_and_comes_to_life(
    owner: Caller, tradovate: Simulator
) -> None:
    tried = owner.post("/api/accounts/test-connection/", _unnamed())
    made = owner.post("/api/accounts/", BODY, 201)
    _connected(owner, made["id"])

    balances = owner.get(f"/api/accounts/{made['id']}/balances/")["items"]
    assert [a["name"] for a in tried["accounts"]] == ["JO1"]
    assert balances[0]["cash"] == "100000"
    assert len(tradovate.requests(LOGIN_PATH, user="jo")) == 1


def test_several_accounts_are_listed_and_share_one_session(
    owner: Caller, tradovate: Simulator
) -> None:
    tradovate.add_account("jo", "JO2")

    listed = owner.post("/api/accounts/", BODY, 422)
    first = owner.post("/api/accounts/", {**BODY, "broker_account_id": "JO1"}, 201)
    _connected(owner, first["id"])
    more = {**_unnamed(), "name": "Two", "login_id": first["login_id"]}
    del more["credentials"]
    second = owner.post("/api/accounts/", {**more, "broker_account_id": "JO2"}, 201)
    _connected(owner, second["id"])

    def has_money() -> Any:
        return owner.get(f"/api/accounts/{second['id']}/balances/")["items"]

    assert [a["name"] for a in listed["accounts"]] == ["JO1", "JO2"]
    assert until(has_money)[0]["cash"] == "100000"
    assert len(tradovate.requests(LOGIN_PATH, user="jo")) == 1


def test_a_wrong_password_is_said_in_the_brokers_words(owner: Caller, tradovate: Simulator) -> None:
    body = {**BODY, "credentials": {**CREDENTIALS, "password": "wrong"}}

    problem = owner.post("/api/accounts/", body, 422)

    assert problem["code"] == "bad_credentials"
    assert "ncorrect" in problem["detail"]
    assert "wrong" not in problem["detail"]


def test_an_unknown_key_is_refused(owner: Caller, tradovate: Simulator) -> None:
    body = {**BODY, "credentials": {**CREDENTIALS, "client_id": "999"}}

    problem = owner.post("/api/accounts/", body, 422)

    assert problem["code"] == "bad_credentials"


def test_a_key_without_permission_is_said_to_be_one(owner: Caller, tradovate: Simulator) -> None:
    tradovate.add_user("shy", "pass", cid="77", sec="s77", permissions={"*": "none"})
    body = {
        **BODY,
        "credentials": {
            "username": "shy",
            "password": "pass",
            "client_id": "77",
            "client_secret": "s77",
        },
    }

    problem = owner.post("/api/accounts/", body, 422)

    assert problem["code"] == "no_permission"
    assert "permission" in problem["detail"]


def test_a_captcha_is_left_to_a_person(owner: Caller, tradovate: Simulator) -> None:
    tradovate.rule(LOGIN_PATH, "captcha")

    problem = owner.post("/api/accounts/", BODY, 503)

    assert problem["code"] == "captcha"
    assert "captcha" in problem["detail"]


def test_a_tradovate_that_is_away_is_said_to_be(owner: Caller, tradovate: Simulator) -> None:
    tradovate.rule(LOGIN_PATH, {"status": 500})

    problem = owner.post("/api/accounts/test-connection/", _unnamed(), 502)

    assert problem["code"] == "broker_unavailable"


def test_a_closed_account_is_listed_and_not_opened(owner: Caller, tradovate: Simulator) -> None:
    old = tradovate.add_account("jo", "OLD")
    tradovate.venue("close_account", account_id=old["id"])

    problem = owner.post("/api/accounts/", {**BODY, "broker_account_id": "OLD"}, 422)

    assert problem["code"] == "account_unusable"
    assert "closed at Tradovate" in problem["detail"]


def test_new_credentials_are_a_new_session(owner: Caller, tradovate: Simulator) -> None:
    made = owner.post("/api/accounts/", BODY, 201)
    _connected(owner, made["id"])
    tradovate.add_user("jo2", "other")
    path = f"/api/accounts/{made['id']}/"

    wrong = owner.put(path, {"credentials": {**CREDENTIALS, "password": "x"}}, 422)
    foreign = {**CREDENTIALS, "username": "jo2", "password": "other"}
    other = owner.put(path, {"credentials": foreign}, 422)

    assert (wrong["code"], other["code"]) == ("bad_credentials", "other_login")
    assert owner.get(path)["status"] == "connected"


def test_who_connects_over_and_over_does_not_use_up_the_sign_ins_of_all(
    owner: Caller, tradovate: Simulator
) -> None:
    made = owner.post("/api/accounts/", BODY, 201)
    path = f"/api/accounts/{made['id']}/"
    _connected(owner, made["id"])
    owner.post(path + "disconnect/")
    tradovate.revoke_tokens("jo", status=401)
    tradovate.add_user("jo", "changed")
    tradovate.clear_requests()

    def refused() -> Any:
        return owner.get(path)["status"] == "error"

    for _ in range(5):
        owner.post(path + "connect/")
        until(refused)
        owner.post(path + "disconnect/")
    owner.post(path + "connect/")
    until(refused)

    assert len(tradovate.requests(LOGIN_PATH)) == 2
    assert "not sent again before" in owner.get(path)["last_error"]


def test_the_last_account_ends_the_stream(owner: Caller, tradovate: Simulator) -> None:
    made = owner.post("/api/accounts/", BODY, 201)
    _connected(owner, made["id"])
    until(lambda: tradovate.sockets("jo"))

    owner.delete(f"/api/accounts/{made['id']}/")

    until(lambda: not tradovate.sockets("jo"))


def test_nothing_more_is_taken_in_of_an_account_that_was_deleted(
    app: APIFlask, owner: Caller, tradovate: Simulator
) -> None:
    other = tradovate.add_account("jo", "JO2")
    tradovate.set_price(CONTRACT, "20000", "20000.25", "20000")
    gone = owner.post("/api/accounts/", {**BODY, "broker_account_id": "JO1"}, 201)
    _connected(owner, gone["id"])
    more = {name: value for name, value in BODY.items() if name != "credentials"}
    more |= {"login_id": gone["login_id"], "broker_account_id": "JO2"}
    stays = owner.post("/api/accounts/", more, 201)
    _connected(owner, stays["id"])

    owner.delete(f"/api/accounts/{gone['id']}/")
    tradovate.manual_trade(int(gone["broker_account_id"]), CONTRACT, "Buy", 2)
    tradovate.manual_trade(int(other["id"]), CONTRACT, "Sell", 1)

    def of_accounts(kind: type[Fill | LivePosition]) -> set[int]:
        with app.app_context():
            return set(db.session.scalars(select(kind.account_id)))

    until(lambda: of_accounts(Fill) and of_accounts(LivePosition))
    assert of_accounts(Fill) == of_accounts(LivePosition) == {stays["id"]}


def test_an_account_with_a_trade_by_hand_is_deleted_only_flattened(
    owner: Caller, tradovate: Simulator
) -> None:
    tradovate.set_price(CONTRACT, "20000", "20000.25", "20000")
    made = owner.post("/api/accounts/", BODY, 201)
    account = _connected(owner, made["id"])
    path = f"/api/accounts/{made['id']}/"
    tradovate.manual_trade(int(account["broker_account_id"]), CONTRACT, "Buy", 2)
    until(lambda: owner.get(path + "positions/")["items"])

    kept = owner.delete(path, 409)
    owner.delete(path, flatten=1)

    assert "1 open position" in kept["detail"]
    assert not any(p["netPos"] for p in tradovate.book()["positions"])
    owner.get(path, 404)


def test_a_stream_is_ended_and_started(owner: Caller, tradovate: Simulator) -> None:
    made = owner.post("/api/accounts/", BODY, 201)
    _connected(owner, made["id"])

    owner.post(f"/api/accounts/{made['id']}/disconnect/")
    until(lambda: not tradovate.sockets("jo"))
    owner.post(f"/api/accounts/{made['id']}/connect/")
    _connected(owner, made["id"])

    assert len(tradovate.requests(LOGIN_PATH, user="jo")) == 1


def test_who_signed_in_at_tradovates_page_opens_an_account(
    app: APIFlask, owner: Caller, tradovate: Simulator
) -> None:
    tradovate.add_account("demo", "PAGE", world="live")
    asked = {"response_type": "code", "client_id": "1", "redirect_uri": BACK, "auto": "1"}
    answer = requests.get(tradovate.oauth_url, params=asked, allow_redirects=False, timeout=5)
    code = parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0]
    with app.app_context():
        given, found = broker_accounts.try_code(owner.user.id, "tradovate", "live", code, BACK)
        chosen = [Choice(found[-1].broker_account_id, "Mine")]
        [made] = broker_accounts.open_accounts(owner.user.id, "tradovate", "live", given, chosen)

    assert _connected(owner, made.id)["credentials"] == {"oauth": "set"}
    assert not tradovate.requests(LOGIN_PATH)


def _unnamed() -> dict[str, Any]:
    return {name: value for name, value in BODY.items() if name != "name"}
