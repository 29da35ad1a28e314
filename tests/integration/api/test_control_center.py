"""The control center through the API."""

from __future__ import annotations

from decimal import Decimal

import pytest

from app import clock
from app.models import Account, RecordedPosition, Strategy, StrategyLog, Trade
from tests import factories
from tests.integration.api.conftest import Caller, fields


@pytest.fixture
def strategy(owner: Caller) -> Strategy:
    return factories.strategy(owner.user)


@pytest.fixture
def account(owner: Caller) -> Account:
    return factories.account(owner.user)


def test_a_live_trader_shows_what_it_holds_and_made_today(
    owner: Caller, stranger: Caller, strategy: Strategy, account: Account
) -> None:
    trader = factories.trader(strategy, account)
    common = {
        "user_id": owner.user.id,
        "account_id": account.id,
        "strategy_id": strategy.id,
        "trader_id": trader.id,
        "contract": "MNQZ6",
        "side": "long",
        "quantity": Decimal(1),
        "entry_price": Decimal(21450),
        "opened_at": clock.now(),
    }
    factories.store(
        RecordedPosition(
            **common, symbol="MNQ", max_quantity=Decimal(1), unrealized_pnl=Decimal("12.5")
        ),
        Trade(
            **common,
            exit_price=Decimal(21460),
            gross=Decimal(20),
            fees=Decimal("1.24"),
            net=Decimal("18.76"),
            closed_at=clock.now(),
            exit_reason="signal",
        ),
    )

    live = owner.get("/api/control-center/live-traders/")["items"]

    assert [item["id"] for item in live] == [trader.id]
    assert (live[0]["open_pnl"], live[0]["pnl_today"]) == ("12.5", "18.76")
    assert live[0]["positions"][0]["contract"] == "MNQZ6"
    assert stranger.get("/api/control-center/live-traders/")["items"] == []


def test_the_switch_of_somebody_elses_trader_is_not_there(
    owner: Caller, stranger: Caller, strategy: Strategy, account: Account
) -> None:
    path = f"/api/control-center/trader/{factories.trader(strategy, account).id}"

    stranger.post(f"{path}/toggle/", None, 404)
    stranger.post(f"{path}/close/", None, 404)

    assert owner.post(f"{path}/toggle/")["enabled"] is False


def test_logs_can_be_narrowed(owner: Caller, stranger: Caller, strategy: Strategy) -> None:
    for level in ("info", "error"):
        factories.store(
            StrategyLog(
                created_at=clock.now(),
                user_id=owner.user.id,
                strategy_id=strategy.id,
                level=level,
                event="fill",
                message="Bought 1 MNQZ6",
                data={},
            )
        )

    everything = owner.get("/api/control-center/logs/")
    errors = owner.get("/api/control-center/logs/", level="error", strategy_id=strategy.id)
    wrong = owner.get("/api/control-center/logs/", 422, level="loud")

    assert [row["level"] for row in everything["items"]] == ["error", "info"]
    assert [row["level"] for row in errors["items"]] == ["error"]
    assert fields(wrong) == ["level"]
    assert stranger.get("/api/control-center/logs/")["items"] == []


def test_closing_a_flat_trader_does_nothing(
    owner: Caller, strategy: Strategy, account: Account
) -> None:
    trader = factories.trader(strategy, account)

    answer = owner.post(f"/api/control-center/trader/{trader.id}/close/")

    assert answer == {"ok": True}


def test_close_all_without_anything_open_is_fine(owner: Caller) -> None:
    assert owner.post("/api/control-center/close-all/") == {"ok": True}


def test_the_kill_switch_of_all_touches_ones_own_accounts_alone(
    owner: Caller, stranger: Caller, account: Account
) -> None:
    theirs = factories.account(stranger.user)

    switched = owner.post("/api/control-center/kill-switch/", {"on": True})

    assert [item["id"] for item in switched["items"]] == [account.id]
    assert switched["items"][0]["kill_switch"] is True
    assert stranger.get(f"/api/accounts/{theirs.id}/")["kill_switch"] is False
