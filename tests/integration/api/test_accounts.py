"""Accounts through the API."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from apiflask import APIFlask

from app.extensions import db
from app.models import Account, Book, Lane, Strategy, Trader
from tests import factories
from tests.integration.api.conftest import Caller, fields

BODY = {
    "name": "Paper",
    "broker": "paper",
    "environment": "demo",
    "currency": "USD",
    "starting_balance": "100000",
}


def _hold(account_id: int, user_id: int) -> None:
    factories.store(
        Book(user_id=user_id, account_id=account_id, contract="MNQZ6", net_pos=Decimal(-1))
    )


def test_a_paper_account_opens_with_its_balance(app: APIFlask, owner: Caller) -> None:
    made = owner.post("/api/accounts/", BODY, 201)

    balances = owner.get(f"/api/accounts/{made['id']}/balances/")

    assert (made["name"], made["broker"], made["environment"]) == ("Paper", "paper", "demo")
    assert (made["status"], made["badge"]) == ("connected", "paper")
    assert balances["items"][0]["currency"] == "USD"
    assert (balances["items"][0]["cash"], balances["items"][0]["equity"]) == ("100000", "100000")
    with app.app_context():
        assert db.session.get(Lane, made["id"]) is not None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": " "}, "name"),
        ({"broker": "PAPER!"}, "broker"),
        ({"environment": "live"}, "environment"),
        ({"currency": "dollars and cents"}, "currency"),
        ({"starting_balance": "-5"}, "starting_balance"),
        ({"starting_balance": True}, "starting_balance"),
        ({"starting_balance": "1e5"}, "starting_balance"),
        ({"balance": "5"}, "balance"),
    ],
)
def test_a_wrong_field_is_named(owner: Caller, change: dict[str, Any], field: str) -> None:
    problem = owner.post("/api/accounts/", {**BODY, **change}, 422)

    assert fields(problem) == [field]


def test_a_broker_that_is_not_here_is_said_to_be(owner: Caller) -> None:
    body = {"name": "T", "broker": "ccxt:nowhere", "environment": "demo"}

    problem = owner.post("/api/accounts/", body, 422)

    assert problem["code"] == "broker_unavailable"
    assert "paper" in problem["detail"]


def test_an_account_of_somebody_else_is_not_there(owner: Caller, stranger: Caller) -> None:
    path = f"/api/accounts/{factories.account(owner.user).id}/"

    stranger.get(path, 404)
    stranger.put(path, {"name": "Mine"}, 404)
    stranger.delete(path, 404)
    stranger.post(path + "flatten/", None, 404)
    stranger.post(path + "kill-switch/", {"on": True}, 404)
    for part in ("balances", "positions", "orders", "fills"):
        stranger.get(f"{path}{part}/", 404)

    assert stranger.get("/api/accounts/")["items"] == []
    assert owner.get(path)["kill_switch"] is False


def test_an_account_is_renamed(owner: Caller) -> None:
    account = factories.account(owner.user)

    renamed = owner.put(f"/api/accounts/{account.id}/", {"name": "Savings"})

    assert renamed["name"] == owner.get(f"/api/accounts/{account.id}/")["name"] == "Savings"


def test_deleting_ends_its_traders_and_its_recording(app: APIFlask, owner: Caller) -> None:
    account = factories.account(owner.user)
    strategy = factories.strategy(owner.user, demo_account_id=account.id, recording=True)
    trader = factories.trader(strategy, account)

    owner.delete(f"/api/accounts/{account.id}/")

    owner.get(f"/api/accounts/{account.id}/", 404)
    with app.app_context():
        row = db.session.get_one(Strategy, strategy.id)
        assert db.session.get_one(Trader, trader.id).deleted_at is not None
        assert db.session.get_one(Account, account.id).deleted_at is not None
    assert (row.demo_account_id, row.recording) == (None, False)
    assert row.version > strategy.version


def test_an_account_with_an_open_position_is_not_deleted(owner: Caller) -> None:
    account = factories.account(owner.user)
    _hold(account.id, owner.user.id)

    problem = owner.delete(f"/api/accounts/{account.id}/", 409)

    assert problem["code"] == "not_flat"
    assert "1 open position" in problem["detail"]


def test_the_kill_switch_stays_on_until_it_is_switched_off(owner: Caller) -> None:
    account_id = owner.post("/api/accounts/", BODY, 201)["id"]

    on = owner.post(f"/api/accounts/{account_id}/kill-switch/", {"on": True})
    shown = owner.get(f"/api/accounts/{account_id}/")
    off = owner.post(f"/api/accounts/{account_id}/kill-switch/", {"on": False})

    assert (on["kill_switch"], shown["kill_switch"], off["kill_switch"]) == (True, True, False)


def test_positions_stand_beside_the_books(owner: Caller) -> None:
    account_id = owner.post("/api/accounts/", BODY, 201)["id"]
    _hold(account_id, owner.user.id)

    held = owner.get(f"/api/accounts/{account_id}/positions/")["items"]

    assert held == [
        {"contract": "MNQZ6", "net_pos": "0", "avg_price": None, "books": "-1", "in_sync": False}
    ]


def test_the_saved_connection_is_tried(owner: Caller, stranger: Caller) -> None:
    account_id = owner.post("/api/accounts/", BODY, 201)["id"]

    tried = owner.post("/api/accounts/test-connection/", {"account_id": account_id})
    unnamed = owner.post("/api/accounts/test-connection/", {}, 422)

    assert tried["ok"] is True
    assert fields(unnamed) == ["broker"]
    stranger.post("/api/accounts/test-connection/", {"account_id": account_id}, 404)


def test_flattening_a_flat_account_leaves_nothing(owner: Caller) -> None:
    account_id = owner.post("/api/accounts/", BODY, 201)["id"]

    left = owner.post(f"/api/accounts/{account_id}/flatten/")

    assert left == {"open_positions": 0, "working_orders": 0}
