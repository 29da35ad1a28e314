"""The simulated venue: orders that depend on others."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulators.tradovate.venue import Http
from tests.unit.simulators.venue_trader import Trader

ONE = {
    "entryVersion": {"orderQty": 2, "orderType": "Market", "timeInForce": "Day"},
    "brackets": [{"qty": 2, "profitTarget": 30, "stopLoss": -15}],
}
TWO = {
    "entryVersion": {"orderQty": 3, "orderType": "Market", "timeInForce": "Day"},
    "brackets": [
        {"qty": 1, "profitTarget": 30, "stopLoss": -15, "trailingStop": False},
        {"qty": 2, "profitTarget": 60, "stopLoss": -15, "trailingStop": True},
    ],
}


def statuses(trader: Trader, *order_ids: int) -> list[str]:
    return [trader.status(each) for each in order_ids]


def test_legs_sleep_until_the_entry_fills() -> None:
    trader = Trader()

    entry, target, stop = trader.bracketed(2, "Limit", price=19999.0)
    assert statuses(trader, entry, target, stop) == ["Working", "Suspended", "Suspended"]

    trader.price("19999")
    assert statuses(trader, entry, target, stop) == ["Filled", "Working", "Working"]


def test_legs_name_their_entry_and_each_other() -> None:
    trader = Trader()

    entry, target, stop = trader.bracketed()

    rows = {row["id"]: row for row in trader.do("order/list")}
    assert rows[target]["parentId"] == rows[stop]["parentId"] == entry
    assert (rows[target]["ocoId"], rows[stop]["ocoId"]) == (stop, target)


def test_a_leg_carries_its_own_client_id() -> None:
    trader = Trader()
    leg = {"action": "Sell", "orderType": "Limit", "price": 20010.0, "clOrdId": "leg"}

    answer = trader.do("order/placeoso", trader.ticket(clOrdId="entry", bracket1=leg))

    assert list(answer) == ["orderId", "oso1Id"]
    assert trader.order(answer["oso1Id"])["clOrdId"] == "leg"


@pytest.mark.parametrize(
    ("price", "ended"), [("20010", ["Filled", "Canceled"]), ("19990", ["Canceled", "Filled"])]
)
def test_one_leg_fills_and_the_other_is_cancelled(price: str, ended: list[str]) -> None:
    trader = Trader()
    _, target, stop = trader.bracketed()

    trader.price(price)

    assert statuses(trader, target, stop) == ended
    assert trader.net() == 0


def test_cancelling_one_leg_cancels_its_partner() -> None:
    trader = Trader()
    _, target, stop = trader.bracketed()

    trader.do("order/cancelorder", {"orderId": target})

    assert statuses(trader, target, stop) == ["Canceled", "Canceled"]


def test_legs_follow_a_partial_fill_with_new_versions() -> None:
    trader = Trader()
    trader.switches.partial_fills_one_lot = True

    _, target, stop = trader.bracketed(3)
    assert [trader.order(each)["orderQty"] for each in (target, stop)] == [1, 1]
    assert statuses(trader, target, stop) == ["Working", "Working"]

    trader.price("20000")
    trader.price("20000")
    versions = trader.do("orderversion/deps", masterid=target)
    assert [row["orderQty"] for row in versions] == [3, 1, 2, 3]


def test_a_cancelled_rest_leaves_legs_for_what_has_filled() -> None:
    trader = Trader()
    trader.switches.partial_fills_one_lot = True
    entry, target, stop = trader.bracketed(3)

    trader.do("order/cancelorder", {"orderId": entry})

    assert statuses(trader, entry, target, stop) == ["Canceled", "Working", "Working"]
    trader.price("20010")
    assert (statuses(trader, target, stop), trader.net()) == (["Filled", "Canceled"], 0)


def test_a_leg_that_used_up_its_part_sleeps_until_the_entry_goes_on() -> None:
    trader = Trader()
    trader.switches.hold_fills = True
    entry, target, stop = trader.bracketed(2, "Limit", price=19999.0)

    trader.venue.fill_order(entry, 1)
    trader.venue.fill_order(target, 1)
    assert statuses(trader, target, stop) == ["Suspended", "Suspended"]

    trader.venue.fill_order(entry, 1)
    assert statuses(trader, target, stop) == ["Working", "Working"]
    trader.venue.fill_order(target)
    assert (statuses(trader, target, stop), trader.net()) == (["Filled", "Canceled"], 0)


def test_a_used_up_leg_is_filled_when_the_entry_is_cancelled() -> None:
    trader = Trader()
    trader.switches.hold_fills = True
    entry, target, stop = trader.bracketed(2, "Limit", price=19999.0)
    trader.venue.fill_order(entry, 1)
    trader.venue.fill_order(target, 1)

    trader.do("order/cancelorder", {"orderId": entry})

    assert statuses(trader, target, stop) == ["Filled", "Canceled"]


@pytest.mark.parametrize(("follows", "left"), [(True, 2), (False, 3)])
def test_a_partial_fill_of_a_leg_and_its_partner(follows: bool, left: int) -> None:
    trader = Trader()
    trader.switches.oco_follows_partial_fills = follows
    _, target, stop = trader.bracketed(3)

    trader.venue.fill_order(target, 1)

    assert trader.order(stop)["orderQty"] == left


def test_an_entry_that_ends_unfilled_takes_its_legs_along() -> None:
    trader = Trader()
    entry, target, stop = trader.bracketed(1, "Limit", price=19000.0)

    trader.do("order/cancelorder", {"orderId": entry})

    assert statuses(trader, target, stop) == ["Canceled", "Canceled"]


def test_a_rejected_entry_rejects_its_legs() -> None:
    trader = Trader()
    trader.switches.reject_after_accept = "RiskRejected"

    ids = trader.bracketed()

    assert statuses(trader, *ids) == ["Rejected"] * 3
    command = trader.do("command/deps", masterid=ids[1])[0]
    report = trader.do("commandreport/deps", masterid=command["id"])[-1]
    assert report["rejectReason"] == "ParentRejected"


def test_an_off_tick_leg_refuses_the_whole_order() -> None:
    trader = Trader()
    leg = {"action": "Sell", "orderType": "Limit", "price": 20010.1}

    for verb, name in (("placeoso", "bracket1"), ("placeoco", "other")):
        answer = trader.do(f"order/{verb}", trader.ticket() | {name: leg})
        assert answer["failureReason"] == "InvalidPrice"
    assert trader.do("order/list") == []


def place_oco(trader: Trader, qty: int = 2) -> tuple[int, int]:
    stop = {"action": "Sell", "orderType": "Stop", "stopPrice": 19990.0, "clOrdId": "stop"}
    body = trader.ticket("Sell", qty, "Limit", price=20010.0, other=stop)
    answer = trader.do("order/placeoco", body)
    return answer["orderId"], answer["ocoId"]


@pytest.mark.parametrize(
    ("price", "ended"), [("20010", ["Filled", "Canceled"]), ("19990", ["Canceled", "Filled"])]
)
def test_oco_protects_a_position(price: str, ended: list[str]) -> None:
    trader = Trader()
    trader.place("Buy", 2)
    ids = place_oco(trader)
    assert statuses(trader, *ids) == ["Working", "Working"]

    trader.price(price)

    assert statuses(trader, *ids) == ended
    assert trader.net() == 0


def test_a_partly_filled_oco_order_shrinks_its_partner() -> None:
    trader = Trader()
    trader.place("Buy", 2)
    limit, stop = place_oco(trader)

    trader.venue.fill_order(limit, 1)
    trader.price("19990")

    assert statuses(trader, limit, stop) == ["Canceled", "Filled"]
    assert trader.net() == 0


def test_a_strategy_is_three_kinds_of_rows() -> None:
    trader = Trader()

    answer = trader.strategy(ONE, customTag50="tag")

    row = answer["orderStrategy"]
    links = trader.do("orderstrategylink/deps", masterid=row["id"])
    assert (row["uuid"], row["customTag50"], row["status"]) == ("my-uuid", "tag", "ActiveStrategy")
    assert isinstance(row["params"], str)
    assert [link["label"] for link in links] == ["Entry", "ProfitTarget1", "StopLoss1"]
    entry, target, stop = [trader.order(link["orderId"]) for link in links]
    assert (entry["status"], entry["avgPrice"]) == ("Filled", 20000.25)
    assert (target["status"], target["price"]) == ("Working", 20030.25)
    assert (stop["status"], stop["stopPrice"]) == ("Working", 19985.25)


def test_offsets_of_a_short_have_the_other_signs() -> None:
    trader = Trader()

    answer = trader.strategy(
        ONE | {"brackets": [{"qty": 2, "profitTarget": -30, "stopLoss": 15}]}, "Sell"
    )

    assert answer["orderStrategy"]["action"] == "Sell"
    _, target, stop = trader.venue.book()["orders"]
    assert (target["price"], stop["stopPrice"]) == (19970.0, 20015.0)
    assert (target["action"], stop["action"]) == ("Buy", "Buy")


def test_brackets_share_the_entry_and_end_one_by_one() -> None:
    trader = Trader()
    strategy = trader.strategy(TWO)["orderStrategy"]["id"]
    _, target_1, stop_1, target_2, trail_2 = [o["id"] for o in trader.venue.book()["orders"]]

    trader.price("20030.25")
    assert statuses(trader, target_1, stop_1, target_2) == ["Filled", "Canceled", "Working"]
    assert trader.order(trail_2)["stopPrice"] == 20015.25, "it trailed by 15 points"

    trader.price("20015.25")
    assert statuses(trader, target_2, trail_2) == ["Canceled", "Filled"]
    assert trader.net() == 0
    status = trader.do("orderstrategy/item", id=strategy)["status"]
    assert status == "ExecutionFinished"


def test_partial_fills_are_given_to_the_brackets_in_their_order() -> None:
    trader = Trader()
    trader.switches.partial_fills_one_lot = True
    trader.strategy(TWO)
    ids = [o["id"] for o in trader.venue.book()["orders"]]
    assert statuses(trader, *ids[1:]) == ["Working", "Working", "Suspended", "Suspended"]

    trader.price("20000")

    assert statuses(trader, *ids[1:]) == ["Working"] * 4
    assert [trader.order(each)["orderQty"] for each in ids[1:]] == [1, 1, 1, 1]


def test_a_limit_entry_prices_its_legs_at_once() -> None:
    trader = Trader()

    trader.strategy(ONE | {"entryVersion": {"orderQty": 2, "orderType": "Limit", "price": 19000}})

    entry, target, stop = trader.venue.book()["orders"]
    assert (entry["status"], target["status"]) == ("Working", "Suspended")
    assert (target["price"], stop["stopPrice"]) == (19030.0, 18985.0)


def test_an_automatic_trail_starts_after_its_trigger_and_steps() -> None:
    trader = Trader()
    trail = {"stopLoss": 5, "trigger": 10, "freq": 2}
    trader.strategy(ONE | {"brackets": [{"qty": 2, "stopLoss": -15, "autoTrail": trail}]})
    stop = trader.venue.book()["orders"][1]["id"]

    trader.price("20009")
    assert trader.order(stop)["stopPrice"] == 19985.25

    trader.price("20011")
    assert trader.order(stop)["stopPrice"] == 20005.25, "by steps of 2, at least 5 behind"


@pytest.mark.parametrize(
    "params",
    [
        "",
        "no json",
        "[]",
        "{}",
        {"entryVersion": {"orderQty": 2, "orderType": "Market"}},
        ONE | {"brackets": []},
        ONE | {"brackets": [{"qty": 1, "stopLoss": -15}]},
        ONE | {"brackets": [{"qty": 2, "stopLoss": 15}]},
        ONE | {"brackets": [{"qty": 2, "profitTarget": -30}]},
        ONE | {"brackets": [{"qty": 2}]},
        ONE | {"brackets": [{"qty": 2, "profitTarget": 30, "trailingStop": True}]},
        ONE | {"brackets": [{"qty": 2, "stopLoss": -15, "breakeven": 5}]},
        ONE | {"brackets": [{"qty": 2, "stopLoss": -15, "autoTrail": {"stopLoss": 5}}]},
        ONE | {"brackets": [{"qty": 2, "stopLoss": "-15"}]},
        ONE | {"entryVersion": {"orderQty": 2, "orderType": "market"}},
        ONE | {"entryVersion": {"orderQty": 2, "orderType": "Limit"}},
        ONE | {"brackets": [{"qty": 2, "stopLoss": -15.1}]},
    ],
)
def test_parameters_that_are_refused(params: Any) -> None:
    trader = Trader()

    answer = trader.strategy(params)

    assert set(answer) == {"errorText", "failureReason"}
    assert trader.do("orderstrategy/list") == trader.do("order/list") == []


def test_parameters_must_be_a_string() -> None:
    trader = Trader()

    assert "violations" in trader.strategy("", params=ONE)


def test_a_strategy_of_2024_fails_with_a_text_only() -> None:
    assert set(Trader(shapes="2024").strategy("{}")) == {"errorText"}


def test_interrupting_cancels_the_legs() -> None:
    trader = Trader()
    strategy = trader.strategy(ONE)["orderStrategy"]["id"]

    answer = trader.do("orderstrategy/interruptorderstrategy", {"orderStrategyId": strategy})
    again = trader.do("orderstrategy/interruptorderstrategy", {"orderStrategyId": strategy})

    assert answer["orderStrategy"]["status"] == "ExecutionInterrupted"
    assert [o["status"] for o in trader.venue.book()["orders"][1:]] == ["Canceled"] * 2
    assert trader.net() == 2, "the position stays"
    assert "errorText" in again


def test_interrupting_may_leave_the_legs() -> None:
    trader = Trader()
    trader.switches.interrupt_leaves_legs = True
    strategy = trader.strategy(ONE)["orderStrategy"]["id"]

    trader.do("orderstrategy/interruptorderstrategy", {"orderStrategyId": strategy})

    assert [o["status"] for o in trader.venue.book()["orders"][1:]] == ["Working"] * 2


def test_strategies_of_others_and_of_nobody() -> None:
    trader = Trader()
    strategy = trader.strategy(ONE)["orderStrategy"]["id"]
    other = trader.venue.add_user("other", "secret")
    path = "orderstrategy/interruptorderstrategy"

    with pytest.raises(Http, match="401"):
        trader.venue.call(other.id, path, {}, {"orderStrategyId": strategy})
    with pytest.raises(Http, match="404"):
        trader.do(path, {"orderStrategyId": 999_999})


@pytest.mark.parametrize(
    ("prepare", "status"),
    [
        (lambda t: None, "ExecutionInterrupted"),
        (lambda t: t.switches.assign(reject_after_accept="RiskRejected"), "ExecutionFailed"),
    ],
)
def test_a_strategy_without_an_entry_ends(prepare: Any, status: str) -> None:
    trader = Trader()
    prepare(trader)
    limit = {"orderQty": 2, "orderType": "Limit", "price": 19000}
    strategy = trader.strategy(ONE | {"entryVersion": limit})["orderStrategy"]["id"]

    entry = trader.venue.book()["orders"][0]["id"]
    trader.do("order/cancelorder", {"orderId": entry})

    assert trader.do("orderstrategy/item", id=strategy)["status"] == status


def test_legs_outlive_a_position_closed_by_hand() -> None:
    trader = Trader()
    _, target, stop = trader.bracketed()

    trader.place("Sell", 1)

    assert trader.net() == 0
    assert statuses(trader, target, stop) == ["Working", "Working"]


def test_legs_follow_an_entry_that_was_made_larger() -> None:
    trader = Trader()
    entry, target, stop = trader.bracketed(1, "Limit", price=19000.0)
    body = {"orderId": entry, "orderQty": 3, "orderType": "Limit", "price": 20001.0}

    trader.do("order/modifyorder", body)

    assert statuses(trader, entry, target, stop) == ["Filled", "Working", "Working"]
    assert [trader.order(each)["orderQty"] for each in (target, stop)] == [3, 3]


def test_a_sleeping_leg_can_be_modified_and_still_sleeps() -> None:
    trader = Trader()
    entry, target, _ = trader.bracketed(1, "Limit", price=19000.0)
    body = {"orderId": target, "orderQty": 1, "orderType": "Limit", "price": 20020.0}

    trader.do("order/modifyorder", body)
    assert (trader.status(target), trader.order(target)["price"]) == ("Suspended", 20020.0)

    trader.venue.fill_order(entry)
    assert trader.status(target) == "Working"


def test_liquidation_ends_a_strategy_and_its_legs() -> None:
    trader = Trader()
    strategy = trader.strategy(TWO)["orderStrategy"]
    body = {"accountId": trader.account["id"], "contractId": strategy["contractId"]}

    trader.do("order/liquidateposition", body | {"admin": False})

    assert trader.net() == 0
    assert trader.venue.book()["working"][trader.account["id"]] == []
    row = trader.do("orderstrategy/item", id=strategy["id"])
    assert row["status"] == "ExecutionFinished"


def test_an_oco_whose_first_order_is_marketable_never_works_twice() -> None:
    trader = Trader()
    other = {"action": "Sell", "orderType": "Limit", "price": 19999.0}

    answer = trader.do(
        "order/placeoco", trader.ticket("Sell", 1, "Limit", price=19999.5, other=other)
    )

    assert statuses(trader, answer["orderId"], answer["ocoId"]) == ["Filled", "Canceled"]
    assert trader.net() == -1


def test_legs_of_a_market_entry_are_priced_by_its_first_fill() -> None:
    trader = Trader()
    trader.switches.fill_market_orders = False
    trader.strategy(ONE)
    entry, target, stop = [o["id"] for o in trader.venue.book()["orders"]]
    assert trader.order(target)["price"] == 20030.25, "a guess"

    trader.venue.fill_order(entry, 1, "20005")
    trader.venue.fill_order(entry, 1, "20006")

    assert trader.order(target)["price"] == 20035.0
    assert trader.order(stop)["stopPrice"] == 19990.0
