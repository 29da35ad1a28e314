"""The simulated venue: what it refuses, and in which of the service's shapes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulators.tradovate.venue import Http
from tests.unit.simulators.venue_trader import MNQ, Trader


@pytest.mark.parametrize(
    ("change", "blamed"),
    [
        ({"accountId": None}, "accountId"),
        ({"accountSpec": None}, "accountSpec"),
        ({"action": "buy"}, "action"),
        ({"action": None}, "action"),
        ({"symbol": 7}, "symbol"),
        ({"symbol": "X" * 65}, "symbol"),
        ({"orderQty": 0}, "orderQty"),
        ({"orderQty": -1}, "orderQty"),
        ({"orderQty": 1.0}, "orderQty"),
        ({"orderQty": "1"}, "orderQty"),
        ({"orderQty": True}, "orderQty"),
        ({"orderType": "market"}, "orderType"),
        ({"price": "20000"}, "price"),
        ({"price": float("nan")}, "price"),
        ({"price": 1e300}, "price"),
        ({"timeInForce": "DAY"}, "timeInForce"),
        ({"timeInForce": "GTD"}, "expireTime"),
        ({"expireTime": "tomorrow"}, "expireTime"),
        ({"isAutomated": "true"}, "isAutomated"),
        ({"clOrdId": "x" * 65}, "clOrdId"),
        ({"accountId": "1"}, "accountId"),
    ],
)
def test_what_does_not_fit_the_schema_is_a_violation(change: Any, blamed: str) -> None:
    trader = Trader()

    answer = trader.do("order/placeorder", trader.ticket(**change))

    assert list(answer) == ["violations"]
    assert [set(each) for each in answer["violations"]] == [{"constraint", "value", "description"}]
    assert answer["violations"][0]["description"].startswith(blamed)
    assert trader.events == []


def test_every_misfit_is_named_and_nested_ones_with_their_place() -> None:
    trader = Trader()
    bracket = {"action": "Sell", "orderType": "limit"}

    empty = trader.do("order/placeorder")
    nested = trader.do("order/placeoso", trader.ticket(bracket1=bracket))

    assert len(empty["violations"]) == 6
    assert nested["violations"][0]["description"].startswith("bracket1.orderType")


def test_a_body_that_is_no_object_is_malformed() -> None:
    with pytest.raises(Http) as refusal:
        Trader().do("order/placeorder", [1])

    assert refusal.value.status == 400


def test_unknown_fields_are_ignored() -> None:
    trader = Trader()

    trader.place(invented=True)

    assert trader.net() == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"symbol": "MNQ1!"}, "InvalidContract"),
        ({"symbol": "MNQ"}, "InvalidContract"),
        ({"symbol": "MNQZ5"}, "InvalidContract"),
        ({"symbol": "ESH6"}, "NoQuote"),
        ({"orderType": "QTS"}, "Unsupported"),
        ({"orderType": "Limit"}, "InvalidPrice"),
        ({"orderType": "Limit", "price": 20000.1}, "InvalidPrice"),
        ({"orderType": "Stop", "price": 20010.0}, "InvalidPrice"),
        ({"orderType": "Stop", "stopPrice": 20010.1}, "InvalidPrice"),
        ({"orderType": "StopLimit", "stopPrice": 20010.0}, "InvalidPrice"),
        ({"orderType": "TrailingStop", "pegDifference": 5.0}, "InvalidPrice"),
        (
            {"orderType": "TrailingStop", "stopPrice": 20010.0, "pegDifference": 0.1},
            "InvalidPrice",
        ),
        ({"orderType": "LimitIfTouched", "price": 20000.0}, "InvalidPrice"),
    ],
)
def test_a_business_refusal_is_a_failure_reason_and_no_order(change: Any, reason: str) -> None:
    trader = Trader()

    answer = trader.do("order/placeorder", trader.ticket(**{"kind": "Market"} | change))

    assert answer["failureReason"] == reason
    assert answer["failureText"]
    assert "orderId" not in answer
    assert trader.do("order/list") == []


@pytest.mark.parametrize(
    ("symbol", "good", "bad"),
    [
        ("ZNH6", 110.015625, 110.01),
        ("6EH6", 1.08005, 1.08001),
        ("CLJ6", 70.01, 70.005),
        ("GCJ6", 2900.1, 2900.05),
        ("YMH6", 44000, 44000.5),
        ("HGH6", 4.5005, 4.5001),
    ],
)
def test_prices_lie_on_the_grid_of_their_product(symbol: str, good: float, bad: float) -> None:
    trader = Trader()

    on = trader.do("order/placeorder", trader.ticket(kind="Limit", symbol=symbol, price=good))
    off = trader.do("order/placeorder", trader.ticket(kind="Limit", symbol=symbol, price=bad))

    assert "orderId" in on
    assert off["failureReason"] == "InvalidPrice"


def test_leniency_lets_a_stop_carry_its_trigger_in_price() -> None:
    trader = Trader()
    trader.switches.lenient = True

    order_id = trader.place("Buy", 1, "Stop", price=20010.0, accountSpec=None)

    assert trader.order(order_id)["stopPrice"] == 20010.0


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda t: t.venue.close_account(t.account["id"]), "AccountClosed"),
        (lambda t: t.venue.set_risk(t.account["id"], "LockTradingImmediately"), "TradingLocked"),
        (
            lambda t: t.venue.set_risk(t.account["id"], "LiquidateOnlyModeImmediately"),
            "LiquidationOnly",
        ),
        (
            lambda t: t.venue.set_limits(t.account["id"], max_order_qty=1),
            "MaxOrderQtyLimitReached",
        ),
        (lambda t: t.venue.set_limits(t.account["id"], max_position=1), "MaxPosLimitReached"),
        (lambda t: t.switches.assign(market_closed=True), "SessionClosed"),
        (lambda t: t.switches.assign(reject_next="RiskCheckTimeout"), "RiskCheckTimeout"),
        (
            lambda t: t.switches.assign(contract_refusals={MNQ: "BackMonthProhibited"}),
            "BackMonthProhibited",
        ),
    ],
)
@pytest.mark.parametrize("verb", ["placeorder", "placeoso", "placeoco", "strategy"])
def test_the_state_of_account_and_market_refuses_every_entry(
    verb: str, prepare: Any, reason: str
) -> None:
    trader = Trader()
    leg = {"action": "Sell", "orderType": "Limit", "price": 20010.0}
    prepare(trader)

    if verb == "strategy":
        entry = {"orderQty": 2, "orderType": "Market"}
        answer = trader.strategy({"entryVersion": entry, "brackets": [{"qty": 2, "stopLoss": -5}]})
    else:
        answer = trader.do(f"order/{verb}", trader.ticket(qty=2, bracket1=leg, other=leg))

    assert answer["failureReason"] == reason
    assert trader.do("order/list") == []


def test_a_refusal_asked_for_once_comes_once() -> None:
    trader = Trader()
    trader.switches.reject_next = "RiskCheckTimeout"
    trader.do("order/placeorder", trader.ticket())

    trader.place()

    assert trader.net() == 1


def test_an_account_for_liquidation_may_reduce_but_not_flip() -> None:
    trader = Trader()
    trader.place("Buy", 2)
    trader.venue.set_risk(trader.account["id"], "LiquidateOnlyModeImmediately")

    more = trader.do("order/placeorder", trader.ticket("Buy", 1))
    flip = trader.do("order/placeorder", trader.ticket("Sell", 3))
    trader.place("Sell", 2)

    assert more["failureReason"] == flip["failureReason"] == "LiquidationOnly"
    assert trader.net() == 0


def test_the_risk_desk_liquidates_at_once_and_says_so() -> None:
    trader = Trader()
    trader.place("Buy", 2)
    resting = trader.place("Buy", 1, "Limit", price=19000.0)

    trader.venue.set_risk(trader.account["id"], "LiquidateImmediately")

    status = trader.do("accountriskstatus/item", id=trader.account["id"])
    assert (trader.net(), trader.status(resting)) == (0, "Canceled")
    assert status["adminAction"] == "LiquidateImmediately"
    assert "liquidateOnly" in status


def test_margin_is_checked_when_asked() -> None:
    trader = Trader()
    trader.switches.check_margin = True

    answer = trader.do("order/placeorder", trader.ticket("Buy", 1_000))

    assert answer == {"failureReason": "UnknownReason", "failureText": "Insufficient margin"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("order/placeorder", {}),
        ("order/placeoso", {}),
        ("order/placeoco", {}),
        ("orderstrategy/startorderstrategy", {}),
        ("order/liquidateposition", {"contractId": 1, "admin": False}),
        ("cashbalance/getcashbalancesnapshot", {}),
        ("cashbalance/changedemobalance", {"cashChange": 1.0}),
        ("order/dryrun", {"orders": []}),
    ],
)
def test_accounts_of_others_and_of_nobody(path: str, body: Any) -> None:
    trader = Trader()
    other = trader.venue.add_account(trader.venue.add_user("other", "secret"), "DEMO2")
    leg = {"action": "Sell", "orderType": "Limit", "price": 20010.0}
    full = {"orderStrategyTypeId": 2, "bracket1": leg, "other": leg, **trader.ticket(), **body}

    with pytest.raises(Http) as foreign:
        trader.do(path, full | {"accountId": other["id"], "accountSpec": "DEMO2"})
    with pytest.raises(Http) as unknown:
        trader.do(path, full | {"accountId": 999_999})

    assert (foreign.value.status, foreign.value.text) == (401, "Access is denied")
    assert (unknown.value.status, unknown.value.text) == (404, "")


def test_orders_of_others_and_of_nobody() -> None:
    trader = Trader()
    other = trader.venue.add_account(trader.venue.add_user("other", "secret"), "DEMO2")
    theirs = trader.venue.manual_order(other["id"], MNQ, "Buy", 1, price="19000")

    with pytest.raises(Http, match="401"):
        trader.do("order/cancelorder", {"orderId": theirs})
    with pytest.raises(Http, match="404"):
        trader.do("order/cancelorder", {"orderId": 999_999})


def test_the_name_of_another_account_is_denied() -> None:
    trader = Trader()

    with pytest.raises(Http, match="401"):
        trader.do("order/placeorder", trader.ticket(accountSpec="DEMO2"))


@pytest.mark.parametrize("path", ["order/dryrun", "order/liquidatepositions", "fillfee/list"])
def test_what_2026_added_is_not_there_in_2024(path: str) -> None:
    trader = Trader(shapes="2024")

    with pytest.raises(Http, match="404"):
        trader.do(path, {"accountId": trader.account["id"], "orders": []})


def test_order_type_of_2026_is_a_violation_in_2024() -> None:
    trader = Trader(shapes="2024")
    ticket = trader.ticket(kind="LimitIfTouched", price=1.0, limitIfTouchedPrice=1.0)

    assert "violations" in trader.do("order/placeorder", ticket)


def test_a_dry_run_places_nothing() -> None:
    trader = Trader()
    contract_id = trader.do("contract/find", name=MNQ)["id"]
    order = {"contractId": contract_id, "action": "Buy", "orderQty": 2, "orderType": "Market"}
    body = {"accountId": trader.account["id"], "orders": [order]}
    good = trader.do("order/dryrun", body)
    trader.switches.market_closed = True

    bad = trader.do("order/dryrun", body)

    assert good == {"fees": 1.7}
    assert bad["rejectReason"] == "SessionClosed"
    assert trader.do("order/list") == []
