"""The webhook log through the API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.models import Account, Execution, Fill, Order, Signal, Strategy, Trader
from tests import factories
from tests.integration.api.conftest import Caller

AT = datetime(2026, 11, 18, 20, 0, tzinfo=UTC)


@pytest.fixture
def strategy(owner: Caller) -> Strategy:
    return factories.strategy(owner.user)


@pytest.fixture
def account(owner: Caller) -> Account:
    return factories.account(owner.user)


def _traded(strategy: Strategy, account: Account) -> Signal:
    """A signal that became one filled order."""
    trader: Trader = factories.trader(strategy, account)
    signal = factories.signal(
        strategy,
        received_at=AT,
        created_at=AT + timedelta(milliseconds=2),
        decode_us=400,
        parsed=[{"action": "buy", "symbol": "MNQ1!", "quantity": "1"}],
    )
    execution = Execution(
        user_id=strategy.user_id,
        signal_id=signal.id,
        index=0,
        strategy_id=strategy.id,
        trader_id=trader.id,
        account_id=account.id,
        status="done",
        received_at=AT,
        started_at=AT + timedelta(milliseconds=4),
        finished_at=AT + timedelta(milliseconds=30),
        trace=[{"rule": "direction", "verdict": "pass", "inputs": {"direction": "both"}}],
    )
    factories.store(execution)
    order = Order(
        user_id=strategy.user_id,
        account_id=account.id,
        strategy_id=strategy.id,
        trader_id=trader.id,
        execution_id=execution.id,
        contract="MNQZ6",
        side="buy",
        role="entry",
        origin="signal",
        order_type="market",
        quantity=Decimal(1),
        client_order_id=f"c-{signal.id}",
        status="filled",
        filled_quantity=Decimal(1),
        avg_fill_price=Decimal("21450.25"),
        submitted_at=AT + timedelta(milliseconds=5),
        acknowledged_at=AT + timedelta(milliseconds=20),
    )
    factories.store(order)
    factories.store(
        Fill(
            user_id=strategy.user_id,
            account_id=account.id,
            order_id=order.id,
            broker_fill_id=f"f-{signal.id}",
            contract="MNQZ6",
            side="buy",
            quantity=Decimal(1),
            price=Decimal("21450.25"),
            fee=Decimal("0.62"),
            filled_at=AT + timedelta(milliseconds=19),
            created_at=AT + timedelta(milliseconds=21),
        )
    )
    return signal


def test_one_alert_shows_its_whole_life(
    owner: Caller, strategy: Strategy, account: Account
) -> None:
    signal = _traded(strategy, account)

    life = owner.get(f"/api/signals/{signal.id}/")

    assert life["status"] == "accepted"
    assert life["received_at"] == "2026-11-18T20:00:00.000Z"
    assert life["signals"] == [
        {
            "action": "buy",
            "symbol": "MNQ1!",
            "exchange": None,
            "quantity": "1",
            "target": None,
            "target_size": None,
        }
    ]
    execution = life["executions"][0]
    assert (execution["index"], execution["status"]) == (0, "done")
    order = execution["orders"][0]
    assert (order["client_order_id"], order["side"]) == (f"c-{signal.id}", "buy")
    assert (order["filled_quantity"], order["avg_fill_price"]) == ("1", "21450.25")
    assert [line["rule"] for line in life["trace"]] == ["intake", "direction"]
    assert life["trace"][1].keys() >= {"at", "rule", "verdict", "inputs"}


def test_the_time_line_says_how_long_each_step_took(
    owner: Caller, strategy: Strategy, account: Account
) -> None:
    signal = _traded(strategy, account)

    moments = owner.get(f"/api/signals/{signal.id}/")["timeline"]

    steps = [(m["label"].split(":")[0], float(m["after_ms"])) for m in moments]
    took = [m["took_ms"] for m in moments]
    assert steps == [
        ("received", 0),
        ("decoded", 0.4),
        ("stored", 2),
        ("decided", 4),
        ("submitted", 5),
        ("acknowledged", 20),
        ("filled", 19),
        ("recorded", 21),
        ("finished", 30),
    ]
    assert took[:3] == [None, Decimal("0.4"), Decimal("1.6")]


def test_neighbours_are_those_of_the_same_strategy(owner: Caller, strategy: Strategy) -> None:
    first, other, second = (
        factories.signal(strategy),
        factories.signal(factories.strategy(owner.user)),
        factories.signal(strategy),
    )

    shown = owner.get(f"/api/signals/{first.id}/")

    assert (shown["previous_id"], shown["next_id"]) == (None, second.id)
    assert other.id not in (shown["previous_id"], shown["next_id"])


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["rejected", "accepted"]),
        ({"status": "rejected"}, ["rejected"]),
        ({"from": "2026-11-18T20:30:00Z"}, ["rejected"]),
        ({"to": "2026-11-18T20:30:00Z"}, ["accepted"]),
    ],
)
def test_the_log_is_newest_first_and_can_be_narrowed(
    owner: Caller, strategy: Strategy, query: dict[str, Any], found: list[str]
) -> None:
    factories.signal(strategy, received_at=AT)
    factories.signal(strategy, received_at=AT + timedelta(hours=1), status="rejected", answer=400)

    listed = owner.get("/api/signals/", **query)

    assert [item["status"] for item in listed["items"]] == found


def test_a_signal_of_somebody_else_is_not_there(
    owner: Caller, stranger: Caller, strategy: Strategy
) -> None:
    signal = factories.signal(strategy)

    stranger.get(f"/api/signals/{signal.id}/", 404)

    assert stranger.get("/api/signals/")["items"] == []
    assert stranger.get("/api/signals/", strategy_id=strategy.id)["items"] == []
