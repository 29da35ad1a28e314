"""Traders through the API."""

from __future__ import annotations

from decimal import Decimal

import pytest
from apiflask import APIFlask

from app.extensions import db
from app.models import Account, Book, Strategy
from tests import factories
from tests.integration.api.conftest import Caller, fields


@pytest.fixture
def strategy(owner: Caller) -> Strategy:
    return factories.strategy(owner.user)


@pytest.fixture
def account(owner: Caller) -> Account:
    return factories.account(owner.user)


def _version(app: APIFlask, strategy: Strategy) -> int:
    with app.app_context():
        return db.session.get_one(Strategy, strategy.id).version


def test_a_trader_shows_what_it_joins_and_where_each_setting_comes_from(
    app: APIFlask, owner: Caller, strategy: Strategy, account: Account
) -> None:
    body = {
        "strategy_id": strategy.id,
        "account_id": account.id,
        "overrides": {"multiplier": "3"},
    }

    made = owner.post("/api/traders/", body, 201)

    assert made["strategy"]["name"] == strategy.name
    assert made["account"]["badge"] == "paper"
    assert made["overrides"]["multiplier"] == "3"
    assert made["effective"]["multiplier"] == {"value": "3", "source": "trader"}
    assert made["effective"]["entry_quantity"] == {"value": "1", "source": "default"}
    assert owner.get(f"/api/traders/{made['id']}/") == made
    assert _version(app, strategy) == 2


def test_a_pair_is_assigned_once(owner: Caller, strategy: Strategy, account: Account) -> None:
    factories.trader(strategy, account)

    problem = owner.post(
        "/api/traders/", {"strategy_id": strategy.id, "account_id": account.id}, 409
    )

    assert problem["code"] == "already_assigned"


def test_both_ends_must_be_ones_own(
    owner: Caller, stranger: Caller, strategy: Strategy, account: Account
) -> None:
    theirs = factories.strategy(stranger.user)
    their_account = factories.account(stranger.user)

    one = owner.post("/api/traders/", {"strategy_id": theirs.id, "account_id": account.id}, 404)
    other = owner.post(
        "/api/traders/", {"strategy_id": strategy.id, "account_id": their_account.id}, 404
    )

    assert (one["field"], other["field"]) == ("strategy_id", "account_id")


def test_a_wrong_override_is_named(owner: Caller, strategy: Strategy, account: Account) -> None:
    body = {"strategy_id": strategy.id, "account_id": account.id}

    unknown = owner.post("/api/traders/", {**body, "overrides": {"multiplyer": "2"}}, 422)
    strategys = owner.post("/api/traders/", {**body, "overrides": {"duplicate_window": 5}}, 422)

    assert fields(unknown) == ["overrides.multiplyer"]
    assert fields(strategys) == ["overrides.duplicate_window"]


def test_an_override_of_null_inherits_again(
    owner: Caller, strategy: Strategy, account: Account
) -> None:
    trader = factories.trader(strategy, account, overrides={"multiplier": "3", "direction": "long"})

    changed = owner.put(f"/api/traders/{trader.id}/", {"overrides": {"multiplier": None}})

    assert changed["effective"]["multiplier"]["source"] == "default"
    assert changed["effective"]["direction"] == {"value": "long", "source": "trader"}


def test_the_switch_is_set_or_flipped(
    app: APIFlask, owner: Caller, strategy: Strategy, account: Account
) -> None:
    path = f"/api/traders/{factories.trader(strategy, account).id}/toggle/"

    flipped, again, set_on = owner.post(path), owner.post(path), owner.post(path, {"enabled": True})

    assert [t["enabled"] for t in (flipped, again, set_on)] == [False, True, True]
    assert _version(app, strategy) == 4


def test_a_broken_body_does_not_flip_the_switch(
    owner: Caller, strategy: Strategy, account: Account
) -> None:
    trader = factories.trader(strategy, account)

    response = owner.client.post(
        f"/api/traders/{trader.id}/toggle/",
        data='{"enabled": fal',
        content_type="application/json",
        headers={"Authorization": f"Bearer {owner.key}"},
    )

    assert response.status_code == 400
    assert owner.get(f"/api/traders/{trader.id}/")["enabled"] is True


def test_a_deleted_trader_is_gone_and_the_pair_free_again(
    owner: Caller, strategy: Strategy, account: Account
) -> None:
    trader = factories.trader(strategy, account)

    owner.delete(f"/api/traders/{trader.id}/")

    owner.get(f"/api/traders/{trader.id}/", 404)
    owner.post("/api/traders/", {"strategy_id": strategy.id, "account_id": account.id}, 201)


def test_a_trader_that_holds_something_is_not_deleted(
    owner: Caller, strategy: Strategy, account: Account
) -> None:
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

    problem = owner.delete(f"/api/traders/{trader.id}/", 409)

    assert problem["code"] == "not_flat"


def test_a_trader_of_somebody_else_is_not_there(
    owner: Caller, stranger: Caller, strategy: Strategy, account: Account
) -> None:
    path = f"/api/traders/{factories.trader(strategy, account).id}/"

    stranger.get(path, 404)
    stranger.put(path, {"enabled": False}, 404)
    stranger.delete(path, 404)
    stranger.post(path + "toggle/", None, 404)

    assert owner.get(path)["enabled"] is True


def test_the_list_narrows_to_a_strategy(owner: Caller, strategy: Strategy) -> None:
    mine = factories.trader(strategy, factories.account(owner.user))
    factories.trader(factories.strategy(owner.user), factories.account(owner.user))

    everything = owner.get("/api/traders/")
    narrowed = owner.get("/api/traders/", strategy_id=strategy.id)

    assert everything["total"] == 2
    assert [item["id"] for item in narrowed["items"]] == [mine.id]
