"""Recorders through the API."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import pytest
from apiflask import APIFlask

from app.extensions import db
from app.models import Book, Event, Strategy
from tests import factories
from tests.integration.api.conftest import Caller, caller, fields

BODY = {"name": "Opening range", "symbol": "mnq1!", "settings": {"entry_quantity": "2"}}
PATHS = [
    ("GET", "/api/recorders/{id}/"),
    ("PUT", "/api/recorders/{id}/"),
    ("DELETE", "/api/recorders/{id}/"),
    ("POST", "/api/recorders/{id}/start/"),
    ("POST", "/api/recorders/{id}/stop/"),
    ("POST", "/api/recorders/{id}/rotate-webhook/"),
    ("POST", "/api/recorders/{id}/clone/"),
    ("GET", "/api/recorders/{id}/export/"),
    ("POST", "/api/recorders/{id}/test-alert/"),
    ("GET", "/api/recorders/{id}/signals/"),
    ("GET", "/api/recorders/{id}/positions/"),
    ("GET", "/api/recorders/{id}/logs/"),
]


def test_a_new_recorder_has_every_setting_and_a_webhook_of_its_own(owner: Caller) -> None:
    made = owner.post("/api/recorders/", BODY, 201)

    assert made["symbol"] == "MNQ1!"
    assert made["status"] == "stopped"
    assert made["settings"]["entry_quantity"] == "2"
    assert made["settings"]["duplicate_window"] == 30
    assert re.fullmatch(r".*/webhook/opening-range-[a-z0-9]{26,}/", made["webhook_url"])
    assert owner.get(f"/api/recorders/{made['id']}/") == made


def test_the_list_shows_ones_own_recorders_alone(owner: Caller, stranger: Caller) -> None:
    made = owner.post("/api/recorders/", BODY, 201)

    mine, theirs = owner.get("/api/recorders/"), stranger.get("/api/recorders/")

    assert [item["id"] for item in mine["items"]] == [made["id"]]
    assert (mine["total"], mine["next"]) == (1, None)
    assert theirs["items"] == []


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_a_recorder_of_somebody_else_is_not_there(
    owner: Caller, stranger: Caller, method: str, path: str
) -> None:
    strategy = factories.strategy(owner.user)
    body = {"body": "buy"} if path.endswith("test-alert/") else {}

    path = path.format(id=strategy.id)
    calls = {
        "GET": lambda: stranger.get(path, 404),
        "PUT": lambda: stranger.put(path, {"name": "Mine"}, 404),
        "DELETE": lambda: stranger.delete(path, 404),
        "POST": lambda: stranger.post(path, body, 404),
    }
    problem = calls[method]()

    assert problem["code"] == "not_found"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x", "nmae": "y"}, "nmae"),
        ({"name": "x", "symbol": "MNQ;1"}, "symbol"),
        ({"name": "x", "settings": {"entry_quantity": "0"}}, "settings.entry_quantity"),
        ({"name": "x", "settings": {"sizng": "fixed"}}, "settings.sizng"),
        ({"name": "x", "settings": {"stop_loss": {"distance": "-1"}}}, "settings.stop_loss"),
    ],
)
def test_a_wrong_field_is_named(owner: Caller, body: dict[str, Any], field: str) -> None:
    problem = owner.post("/api/recorders/", body, 422)

    assert any(found.startswith(field) for found in fields(problem))


def test_the_demo_account_must_be_ones_own_and_not_live(owner: Caller, stranger: Caller) -> None:
    theirs = factories.account(stranger.user)
    live = factories.account(owner.user, broker="tradovate", environment="live")

    missing = owner.post("/api/recorders/", {**BODY, "demo_account_id": theirs.id}, 404)
    wrong = owner.post("/api/recorders/", {**BODY, "demo_account_id": live.id}, 422)

    assert missing["field"] == "demo_account_id"
    assert fields(wrong) == ["demo_account_id"]


def test_a_change_leaves_alone_what_it_does_not_name(owner: Caller) -> None:
    made = owner.post("/api/recorders/", BODY, 201)

    changed = owner.put(
        f"/api/recorders/{made['id']}/",
        {"settings": {"add_quantity": "1", "entry_quantity": None}, "symbol": None},
    )

    assert changed["name"] == made["name"]
    assert changed["symbol"] is None
    assert changed["settings"]["add_quantity"] == "1"
    assert changed["settings"]["entry_quantity"] == "1"
    assert changed["webhook_url"] == made["webhook_url"]
    assert changed["version"] == made["version"] + 1


def test_a_renamed_recorder_keeps_its_address(owner: Caller) -> None:
    made = owner.post("/api/recorders/", BODY, 201)

    changed = owner.put(f"/api/recorders/{made['id']}/", {"name": "Something else"})

    assert (changed["slug"], changed["webhook_url"]) == (made["slug"], made["webhook_url"])


def test_start_and_stop_are_told_to_the_owner(app: APIFlask, owner: Caller) -> None:
    made = owner.post("/api/recorders/", BODY, 201)

    started = owner.post(f"/api/recorders/{made['id']}/start/")
    stopped = owner.post(f"/api/recorders/{made['id']}/stop/")

    assert (started["status"], stopped["status"]) == ("recording", "stopped")
    with app.app_context():
        told = [e.data["status"] for e in db.session.query(Event).filter_by(type="strategy:status")]
    assert told == ["stopped", "recording", "stopped"]


def test_a_demo_account_that_is_not_there_is_refused_by_name(owner: Caller) -> None:
    made = owner.post("/api/recorders/", BODY, 201)

    problem = owner.put(f"/api/recorders/{made['id']}/", {"demo_account_id": 10**6}, 404)

    assert fields(problem) == ["demo_account_id"]


@pytest.mark.parametrize("number", [0, 2**63 - 1, 2**63, 10**30])
def test_a_number_that_no_row_has_is_not_there(owner: Caller, number: int) -> None:
    assert owner.get(f"/api/recorders/{number}/", 404)["code"] == "not_found"
    assert owner.delete(f"/api/auth/api-keys/{number}/", 404)["code"] == "not_found"


def test_a_passphrase_is_never_shown_again(owner: Caller) -> None:
    secret = "open sesame 42"

    made = owner.post("/api/recorders/", {"name": "x", "settings": {"passphrase": secret}}, 201)
    kept = owner.put(
        f"/api/recorders/{made['id']}/", {"settings": {"passphrase": "set", "inverse": True}}
    )
    exported = owner.get(f"/api/recorders/{made['id']}/export/")

    assert made["settings"]["passphrase"] == kept["settings"]["passphrase"] == "set"
    assert "passphrase" in json.loads(made["alert_template"])
    assert secret not in json.dumps([made, kept, exported])
    assert "passphrase" not in exported["settings"]


def test_a_passphrase_given_back_as_set_still_holds(owner: Caller) -> None:
    made = owner.post("/api/recorders/", {"name": "x", "settings": {"passphrase": "one"}}, 201)
    path = f"/api/recorders/{made['id']}/"

    owner.put(path, {"settings": {"passphrase": "set", "inverse": True}})
    kept = _answers(owner, made, "one", "set")
    owner.put(path, {"settings": {"passphrase": "two"}})
    changed = _answers(owner, made, "one", "two")
    owner.put(path, {"settings": {"passphrase": None}})
    removed = _answers(owner, made, "three")

    assert (kept, changed, removed) == ([200, 401], [401, 200], [200])


def test_a_copy_asks_for_the_same_passphrase(owner: Caller) -> None:
    made = owner.post("/api/recorders/", {"name": "x", "settings": {"passphrase": "one"}}, 201)

    copy = owner.post(f"/api/recorders/{made['id']}/clone/", {}, 201)

    assert _answers(owner, copy, "one", "two") == [200, 401]


def _answers(owner: Caller, recorder: dict[str, Any], *passphrases: str) -> list[int]:
    """What its webhook answers to an alert with each of the passphrases; it has no trader."""
    alerts = [{"action": "buy", "ticker": "MNQ1!", "passphrase": word} for word in passphrases]
    return [owner.client.post(recorder["webhook_url"], json=a).status_code for a in alerts]


def test_a_rotated_webhook_has_another_token(owner: Caller) -> None:
    made = owner.post("/api/recorders/", BODY, 201)

    rotated = owner.post(f"/api/recorders/{made['id']}/rotate-webhook/")

    assert rotated["webhook_url"] != made["webhook_url"]
    assert rotated["version"] == made["version"] + 1


def test_only_the_newest_address_takes_alerts(owner: Caller) -> None:
    made = owner.post("/api/recorders/", BODY, 201)
    alert = {"data": "buy MNQ1!", "content_type": "text/plain"}
    first = owner.client.post(made["webhook_url"], **alert)

    rotated = owner.post(f"/api/recorders/{made['id']}/rotate-webhook/")

    assert (first.status_code, (first.json or {})["reason"]) == (200, "no_trader")
    assert owner.client.post(made["webhook_url"], **alert).status_code == 404
    assert owner.client.post(rotated["webhook_url"], **alert).status_code == 200
    logged = owner.get(f"/api/recorders/{made['id']}/signals/")["items"]
    assert [(s["status"], s["signals"][0]["action"]) for s in logged] == [("ignored", "buy")] * 2
    assert owner.get(f"/api/recorders/{made['id']}/")["last_signal_at"] == logged[0]["received_at"]


def test_a_switched_off_recorder_ignores_alerts(owner: Caller) -> None:
    made = owner.post("/api/recorders/", BODY, 201)
    owner.client.post(made["webhook_url"], data="buy MNQ1!", content_type="text/plain")

    owner.put(f"/api/recorders/{made['id']}/", {"enabled": False})
    answer = owner.client.post(made["webhook_url"], data="sell MNQ1!", content_type="text/plain")

    assert (answer.json or {})["reason"] == "strategy_off"


def test_a_test_alert_is_understood_and_leaves_no_trace(owner: Caller) -> None:
    made = owner.post("/api/recorders/", BODY, 201)

    answer = owner.post(f"/api/recorders/{made['id']}/test-alert/", {"body": "buy MNQ1! q=2"})
    refused = owner.post(f"/api/recorders/{made['id']}/test-alert/", {"body": "hold MNQ1!"}, 400)

    assert (answer["signals"][0]["action"], answer["plans"]) == ("buy", [])
    assert refused["code"] != "error"
    assert owner.get("/api/signals/")["items"] == []


def test_the_template_to_paste_is_json_that_names_every_placeholder(owner: Caller) -> None:
    made = owner.post("/api/recorders/", BODY, 201)

    template = json.loads(made["alert_template"])

    assert template["action"] == "{{strategy.order.action}}"
    assert template["time"] == "{{timenow}}"
    assert "passphrase" not in template


def test_a_caller_who_may_only_read_is_not_shown_the_webhook(app: APIFlask, owner: Caller) -> None:
    made = owner.post("/api/recorders/", BODY, 201)
    reader = caller(app, "read", user=owner.user)

    shown = reader.get(f"/api/recorders/{made['id']}/")

    assert shown["webhook_url"] is None


def test_a_clone_has_the_settings_and_a_webhook_of_its_own(owner: Caller) -> None:
    made = owner.post("/api/recorders/", {**BODY, "recording_enabled": True}, 201)

    copy = owner.post(f"/api/recorders/{made['id']}/clone/", None, 201)

    assert copy["name"] == "Opening range copy"
    assert copy["settings"] == made["settings"]
    assert copy["status"] == "stopped"
    assert copy["webhook_url"].rsplit("-", 1)[1] != made["webhook_url"].rsplit("-", 1)[1]


def test_an_export_comes_back_as_the_same_settings(owner: Caller, stranger: Caller) -> None:
    made = owner.post("/api/recorders/", BODY, 201)

    document = owner.get(f"/api/recorders/{made['id']}/export/")
    copy = stranger.post("/api/recorders/import/", document, 201)

    assert copy["settings"] == made["settings"]
    assert (copy["name"], copy["symbol"]) == (made["name"], made["symbol"])
    assert "webhook" not in json.dumps(document)


def test_a_document_of_another_kind_is_refused(owner: Caller) -> None:
    problem = owner.post("/api/recorders/import/", {"format": "x", "version": 1, "name": "y"}, 422)

    assert fields(problem) == ["format"]


def test_deleting_ends_the_traders_and_keeps_the_history(app: APIFlask, owner: Caller) -> None:
    strategy = factories.strategy(owner.user)
    trader = factories.trader(strategy, factories.account(owner.user))

    owner.delete(f"/api/recorders/{strategy.id}/")

    owner.get(f"/api/recorders/{strategy.id}/", 404)
    owner.get(f"/api/traders/{trader.id}/", 404)
    with app.app_context():
        row = db.session.get_one(Strategy, strategy.id)
    assert (row.enabled, row.version) == (False, 2)


def test_a_recorder_with_an_open_position_is_not_deleted(owner: Caller) -> None:
    strategy = factories.strategy(owner.user)
    account = factories.account(owner.user)
    trader = factories.trader(strategy, account)
    factories.store(
        Book(
            user_id=owner.user.id,
            account_id=account.id,
            strategy_id=strategy.id,
            trader_id=trader.id,
            contract="MNQZ6",
            net_pos=Decimal(1),
        )
    )

    problem = owner.delete(f"/api/recorders/{strategy.id}/", 409)

    assert problem["code"] == "not_flat"
