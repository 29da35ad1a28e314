"""From an alert to a position and back to flat, as a program sees it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.api.conftest import Caller

PATIENCE_S = 10.0


@pytest.fixture
def account(owner: Caller) -> dict[str, Any]:
    body = {"name": "P", "broker": "paper", "environment": "demo", "starting_balance": "100000"}
    made: dict[str, Any] = owner.post("/api/accounts/", body, 201)
    return made


def _recorder(owner: Caller, account: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """A strategy that trades on the account; ``trader_id`` is added to its body."""
    made: dict[str, Any] = owner.post(
        "/api/recorders/",
        {"name": "Opening range", "demo_account_id": account["id"], "settings": settings},
        201,
    )
    pair = {"strategy_id": made["id"], "account_id": account["id"]}
    return {**made, "trader_id": owner.post("/api/traders/", pair, 201)["id"]}


def _alert(owner: Caller, recorder: dict[str, Any], text: str) -> dict[str, Any]:
    """Send an alert; its life once every execution has ended."""
    answer = owner.client.post(recorder["webhook_url"], data=text, content_type="text/plain")
    assert answer.status_code == 202, answer.get_data(as_text=True)
    path = f"/api/signals/{(answer.json or {})['signal_id']}/"

    def ended() -> dict[str, Any] | None:
        life: dict[str, Any] = owner.get(path)
        under_way = [e for e in life["executions"] if e["status"] in ("pending", "running")]
        return None if under_way else life

    return _wait_for(ended)


def _wait_for(found: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_S
    while (value := found()) is None:
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.02)
    return value


def test_an_alert_becomes_a_position_that_is_shown_everywhere(
    owner: Caller, account: dict[str, Any]
) -> None:
    stop = {"distance": "200", "unit": "ticks"}
    recorder = _recorder(owner, account, entry_quantity="2", stop_loss=stop)

    life = _alert(owner, recorder, "buy MNQ1!")

    entry, leg = life["executions"][0]["orders"]
    assert (entry["status"], entry["filled_quantity"]) == ("filled", "2")
    assert (leg["role"], leg["status"]) == ("stop_loss", "working")
    position = owner.get("/api/dashboard/positions/")["items"][0]
    assert (position["side"], position["quantity"]) == ("long", "2")
    assert position["entry_price"] == entry["avg_fill_price"]
    held = owner.get(f"/api/accounts/{account['id']}/positions/")["items"][0]
    assert (held["net_pos"], held["books"], held["in_sync"]) == ("2", "2", True)
    assert owner.get(f"/api/accounts/{account['id']}/orders/", open=1)["total"] == 1
    assert owner.get(f"/api/accounts/{account['id']}/fills/")["total"] == 1
    live = owner.get("/api/control-center/live-traders/")["items"][0]
    assert (live["id"], live["working_orders"]) == (recorder["trader_id"], 1)


def test_a_person_closes_a_trader_and_the_trade_is_booked(
    owner: Caller, account: dict[str, Any]
) -> None:
    recorder = _recorder(owner, account, stop_loss={"distance": "200", "unit": "ticks"})
    _alert(owner, recorder, "sell MNQ1!")

    owner.post(f"/api/control-center/trader/{recorder['trader_id']}/close/")

    assert owner.get("/api/dashboard/positions/")["total"] == 0
    assert owner.get(f"/api/accounts/{account['id']}/orders/", open=1)["total"] == 0
    trade = owner.get("/api/dashboard/trade-history/")["items"][0]
    assert (trade["side"], trade["exit_reason"]) == ("short", "manual")
    assert owner.get("/api/dashboard/summary/")["pnl_today"] == trade["net"]


def test_what_holds_a_position_is_deleted_only_after_it_was_flattened(
    owner: Caller, account: dict[str, Any]
) -> None:
    recorder = _recorder(owner, account)
    _alert(owner, recorder, "buy MNQ1!")
    path = f"/api/accounts/{account['id']}/"

    refused = [
        owner.delete(path, 409)["code"],
        owner.delete(f"/api/traders/{recorder['trader_id']}/", 409)["code"],
        owner.delete(f"/api/recorders/{recorder['id']}/", 409)["code"],
    ]
    owner.delete(path, flatten=1)

    assert set(refused) == {"not_flat"}
    owner.get(path, 404)
    assert owner.get("/api/dashboard/trade-history/")["total"] == 1


def test_the_kill_switch_ends_unfilled_entries_and_keeps_protection(
    owner: Caller, account: dict[str, Any]
) -> None:
    held = _recorder(owner, account, stop_loss={"distance": "200", "unit": "ticks"})
    far_below = {"type": "limit", "offset_ticks": -4000}
    waiting = _recorder(owner, account, entry_order=far_below, entry_quantity="3")
    _alert(owner, held, "buy MNQ1!")
    _alert(owner, waiting, "buy MES1!")
    orders = f"/api/accounts/{account['id']}/orders/"
    before = {o["role"] for o in owner.get(orders, open=1)["items"]}

    owner.post(f"/api/accounts/{account['id']}/kill-switch/", {"on": True})

    assert before == {"entry", "stop_loss"}
    assert [o["role"] for o in owner.get(orders, open=1)["items"]] == ["stop_loss"]
    skipped = _alert(owner, waiting, "buy MES1! tag=2")["executions"][0]
    assert skipped["status"] == "skipped"


def test_flattening_leaves_nothing_working(owner: Caller, account: dict[str, Any]) -> None:
    recorder = _recorder(owner, account, stop_loss={"distance": "200", "unit": "ticks"})
    _alert(owner, recorder, "buy MNQ1!")

    left = owner.post(f"/api/accounts/{account['id']}/flatten/")

    assert left == {"open_positions": 0, "working_orders": 0}
    assert owner.get(f"/api/accounts/{account['id']}/positions/")["items"] == []


def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(
    owner: Caller, account: dict[str, Any]
) -> None:
    recorder = _recorder(owner, account, entry_quantity="2")

    dry = owner.post(f"/api/recorders/{recorder['id']}/test-alert/", {"body": "buy MNQ1!"})

    plan = dry["plans"][0]
    assert plan["trader_id"] == recorder["trader_id"]
    assert [(s["step"], s["quantity"]) for s in plan["steps"]] == [("Enter", "2")]
    assert plan["verdicts"]
    assert owner.get(f"/api/accounts/{account['id']}/orders/")["total"] == 0
