"""The simulated venue: the life of single orders."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulators.tradovate.venue import Http
from tests.unit.simulators.venue_trader import MNQ, Trader


def test_a_market_order_is_told_step_by_step() -> None:
    trader = Trader()

    trader.place("Buy", 1, clOrdId="mine")

    assert trader.heard() == [
        "command Created Pending",
        "order Created PendingNew",
        "orderVersion Created",
        "commandReport Created RiskPassed",
        "command Updated AtExecution",
        "executionReport Created New",
        "order Updated Working",
        "executionReport Created Trade",
        "fill Created",
        "position Created",
        "order Updated Filled",
        "fillFee Created",
        "cashBalance Updated",
        "marginSnapshot Updated",
    ]


def test_a_closing_trade_pairs_fills_after_the_order_is_filled() -> None:
    trader = Trader()
    trader.place("Buy", 1)
    trader.events.clear()

    trader.place("Sell", 1)

    told = trader.heard()
    assert told.index("order Updated Filled") < told.index("fillPair Created")
    assert told.index("fillPair Created") < told.index("cashBalance Updated")
    assert told.count("fill Updated") == 2, "both fills are finally paired"


def test_an_order_shows_neither_its_quantity_nor_its_price() -> None:
    trader = Trader()
    order_id = trader.place("Buy", 3, "Limit", price=19000.0, clOrdId="mine", text="why")

    order = trader.do("order/item", id=order_id)
    version = trader.do("orderversion/deps", masterid=order_id)[0]
    command = trader.do("command/deps", masterid=order_id)[0]

    assert set(order) == {
        "id",
        "accountId",
        "contractId",
        "timestamp",
        "action",
        "ordStatus",
        "executionProviderId",
        "admin",
    }
    assert (version["orderQty"], version["price"], version["text"]) == (3, 19000.0, "why")
    assert (command["clOrdId"], command["isAutomated"]) == ("mine", True)
    assert command["commandStatus"] == "AtExecution"


def test_a_fill_has_no_account_and_the_newest_report_sums_up() -> None:
    trader = Trader()
    trader.switches.partial_fills_one_lot = True
    order_id = trader.place("Buy", 2)
    trader.price("20001", "20001.25")

    fills = trader.do("fill/deps", masterid=order_id)
    command = trader.do("command/deps", masterid=order_id)[0]
    report = trader.do("executionreport/deps", masterid=command["id"])[-1]

    assert [(f["qty"], f["price"]) for f in fills] == [(1, 20000.25), (1, 20001.25)]
    assert all("accountId" not in fill for fill in fills)
    assert (report["cumQty"], report["avgPx"], report["lastPx"]) == (2, 20000.75, 20001.25)
    assert report["ordStatus"] == "Filled"


def test_a_repeated_client_id_is_a_second_order() -> None:
    trader = Trader()

    first = trader.place(clOrdId="twice")
    second = trader.place(clOrdId="twice")

    assert first != second
    assert trader.net() == 2


@pytest.mark.parametrize(
    ("ticket", "prices", "filled_at"),
    [
        (("Buy", 1, "Market", {}), [], 20000.25),
        (("Sell", 1, "Market", {}), [], 20000.0),
        (("Buy", 1, "Limit", {"price": 20001.0}), [], 20000.25),
        (("Buy", 1, "Limit", {"price": 19990.0}), ["19980"], 19990.0),
        (("Sell", 1, "Limit", {"price": 20010.0}), ["20010"], 20010.0),
        (("Sell", 1, "Limit", {"price": 20010.0}), ["20009.75"], None),
        (("Buy", 1, "Stop", {"stopPrice": 20010.0}), ["20009"], None),
        (("Buy", 1, "Stop", {"stopPrice": 20010.0}), ["20012"], 20012.0),
        (("Sell", 1, "Stop", {"stopPrice": 19990.0}), ["19985.25"], 19985.25),
        (("Sell", 1, "StopLimit", {"stopPrice": 19990.0, "price": 19989.0}), ["19980"], None),
        (
            ("Sell", 1, "StopLimit", {"stopPrice": 19990.0, "price": 19989.0}),
            ["19980", "19995"],
            19989.0,
        ),
        (("Buy", 1, "MIT", {"stopPrice": 19990.0}), ["19990"], 19990.0),
        (("Buy", 1, "MIT", {"price": 19990.0}), ["19991"], None),
        (
            ("Sell", 1, "LimitIfTouched", {"limitIfTouchedPrice": 20010.0, "price": 20009.0}),
            ["20011"],
            20011.0,
        ),
        (
            ("Sell", 1, "TrailingStop", {"stopPrice": 19990.0, "pegDifference": 10.0}),
            ["20020", "20011", "20009.75"],
            20009.75,
        ),
        (
            ("Buy", 1, "TrailingStop", {"stopPrice": 20010.25, "pegDifference": -10.0}),
            ["19980", "19989", "19990"],
            19990.0,
        ),
        (("Sell", 1, "TrailingStop", {"stopPrice": 19990.0}), ["20020", "20009.75"], 20009.75),
        (
            (
                "Sell",
                1,
                "TrailingStopLimit",
                {"stopPrice": 19990.0, "price": 19988.0, "pegDifference": 10.0},
            ),
            ["20020", "20000", "20008"],
            20008.0,
        ),
    ],
)
def test_what_fills_where(ticket: Any, prices: list[str], filled_at: float | None) -> None:
    trader = Trader()
    action, qty, kind, more = ticket

    order_id = trader.place(action, qty, kind, **more)
    for price in prices:
        trader.price(price)

    order = trader.order(order_id)
    assert order.get("avgPrice") == filled_at
    assert order["status"] == ("Filled" if filled_at else "Working")


@pytest.mark.parametrize("in_force", ["IOC", "FOK"])
def test_an_immediate_order_that_cannot_fill_is_cancelled(in_force: str) -> None:
    trader = Trader()

    order_id = trader.place("Buy", 2, "Limit", price=19000.0, timeInForce=in_force)

    assert trader.status(order_id) == "Canceled"


@pytest.mark.parametrize(("in_force", "filled"), [("IOC", 1), ("FOK", 0)])
def test_thin_liquidity_and_immediate_orders(in_force: str, filled: int) -> None:
    trader = Trader()
    trader.switches.partial_fills_one_lot = True

    order = trader.order(trader.place("Buy", 3, timeInForce=in_force))

    assert (order["status"], order["filled"]) == ("Canceled", filled)


def test_a_partly_filled_order_is_working() -> None:
    trader = Trader()
    trader.switches.partial_fills_one_lot = True

    order_id = trader.place("Buy", 3)

    assert (trader.status(order_id), trader.net()) == ("Working", 1)


def test_cancel_goes_through_pending_cancel() -> None:
    trader = Trader()
    order_id = trader.place("Buy", 1, "Limit", price=19000.0)
    trader.events.clear()

    answer = trader.do("order/cancelorder", {"orderId": order_id, "clOrdId": "c"})

    assert list(answer) == ["commandId"]
    assert trader.heard() == [
        "command Created Pending",
        "order Updated PendingCancel",
        "commandReport Created RiskPassed",
        "executionReport Created Canceled",
        "command Updated AtExecution",
        "order Updated Canceled",
    ]


def test_modify_replaces_all_terms_with_a_new_version() -> None:
    trader = Trader()
    order_id = trader.place("Buy", 2, "Limit", price=19000.0, text="old")

    body = {"orderId": order_id, "orderQty": 3, "orderType": "Limit", "price": 19001.0}
    answer = trader.do("order/modifyorder", body)

    versions = trader.do("orderversion/deps", masterid=order_id)
    assert list(answer) == ["commandId"]
    assert len(versions) == 2
    assert versions[-1]["id"] > versions[0]["id"]
    assert (versions[-1]["orderQty"], versions[-1]["price"]) == (3, 19001.0)
    assert "text" not in versions[-1]
    assert trader.status(order_id) == "Working"


def test_a_modified_limit_that_became_marketable_fills_at_the_touch() -> None:
    trader = Trader()
    order_id = trader.place("Buy", 1, "Limit", price=19000.0)

    body = {"orderId": order_id, "orderQty": 1, "orderType": "Limit", "price": 20005.0}
    trader.do("order/modifyorder", body)

    assert trader.order(order_id)["avgPrice"] == 20000.25


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"orderQty": 2}, None),
        ({"stopPrice": 19980.0}, "TrailingStopNonOrderQtyModify"),
        ({"orderType": "Stop"}, "TrailingStopNonOrderQtyModify"),
    ],
)
def test_only_the_quantity_of_a_trailing_stop_changes(change: Any, reason: str | None) -> None:
    trader = Trader()
    terms = {"stopPrice": 19990.0, "pegDifference": 10.0}
    order_id = trader.place("Sell", 1, "TrailingStop", **terms)

    body = {"orderId": order_id, "orderQty": 1, "orderType": "TrailingStop", **terms, **change}

    assert trader.do("order/modifyorder", body).get("failureReason") == reason


@pytest.mark.parametrize("verb", ["cancelorder", "modifyorder"])
def test_a_finished_order_takes_no_command(verb: str) -> None:
    trader = Trader()
    body = {"orderId": trader.place(), "orderQty": 2, "orderType": "Market"}

    assert trader.do(f"order/{verb}", body)["failureReason"] == "TooLate"

    trader.switches.too_late_is_401 = True
    with pytest.raises(Http) as refusal:
        trader.do(f"order/{verb}", body)
    assert (refusal.value.status, refusal.value.text) == (401, "Access is denied")


def test_held_fills_wait_for_their_release() -> None:
    trader = Trader()
    trader.switches.hold_fills = True
    order_id = trader.place()
    trader.price("20050")
    assert trader.status(order_id) == "Working"

    trader.venue.release_fills()

    assert (trader.status(order_id), trader.net()) == ("Filled", 1)


def test_market_orders_alone_can_be_held_and_filled_by_hand() -> None:
    trader = Trader()
    trader.switches.fill_market_orders = False
    held = trader.place("Buy", 2)
    limit = trader.place("Buy", 1, "Limit", price=20001.0)
    assert (trader.status(held), trader.status(limit)) == ("Working", "Filled")

    trader.venue.fill_order(held, 1, "20002")
    assert (trader.status(held), trader.order(held)["avgPrice"]) == ("Working", 20002.0)

    trader.venue.fill_order(held)
    assert trader.status(held) == "Filled"
    with pytest.raises(ValueError, match="is Filled"):
        trader.venue.fill_order(held)


@pytest.mark.parametrize("stage", ["RiskRejected", "ExecutionRejected"])
def test_an_accepted_order_can_be_rejected_later(stage: str) -> None:
    trader = Trader()
    trader.switches.assign(reject_after_accept=stage, reject_reason="MaxPosLimitReached")

    order_id = trader.place()

    command = trader.do("command/deps", masterid=order_id)[0]
    report = trader.do("commandreport/deps", masterid=command["id"])[-1]
    executions = trader.do("executionreport/deps", masterid=command["id"])
    assert trader.status(order_id) == "Rejected"
    assert command["commandStatus"] == report["commandStatus"] == stage
    assert report["rejectReason"] == "MaxPosLimitReached"
    assert len(executions) == (stage == "ExecutionRejected")
    assert trader.do("position/list") == []


def test_a_cancel_can_lose_the_race() -> None:
    trader = Trader()
    trader.switches.cancel_loses_race = True
    order_id = trader.place("Buy", 1, "Limit", price=19000.0)

    answer = trader.do("order/cancelorder", {"orderId": order_id})

    report = trader.do("commandreport/deps", masterid=answer["commandId"])[-1]
    assert (trader.status(order_id), trader.net()) == ("Filled", 1)
    assert (report["commandStatus"], report["rejectReason"]) == ("ExecutionRejected", "TooLate")


def test_a_slow_cancel_blocks_further_commands_until_released() -> None:
    trader = Trader()
    trader.switches.slow_cancel = True
    order_id = trader.place("Buy", 1, "Limit", price=19000.0)

    trader.do("order/cancelorder", {"orderId": order_id})
    again = trader.do("order/cancelorder", {"orderId": order_id})

    assert again["failureReason"] == "AnotherCommandPending"
    assert trader.status(order_id) == "PendingCancel"
    trader.venue.release_commands()
    assert trader.status(order_id) == "Canceled"


def test_an_order_fills_while_its_cancel_is_slow() -> None:
    trader = Trader()
    trader.switches.slow_cancel = True
    order_id = trader.place("Buy", 1, "Limit", price=19000.0)
    command_id = trader.do("order/cancelorder", {"orderId": order_id})["commandId"]

    trader.price("18999")
    trader.venue.release_commands()

    assert trader.status(order_id) == "Filled"
    assert trader.do("command/item", id=command_id)["commandStatus"] == "ExecutionRejected"


def test_a_slow_modify_changes_nothing_until_released() -> None:
    trader = Trader()
    trader.switches.slow_modify = True
    order_id = trader.place("Buy", 1, "Limit", price=19000.0)
    body = {"orderId": order_id, "orderQty": 2, "orderType": "Limit", "price": 19000.0}

    trader.do("order/modifyorder", body)
    assert (trader.status(order_id), trader.order(order_id)["orderQty"]) == ("PendingReplace", 1)

    trader.venue.release_commands()
    assert (trader.status(order_id), trader.order(order_id)["orderQty"]) == ("Working", 2)


def test_a_modify_can_be_accepted_and_never_applied() -> None:
    trader = Trader()
    trader.switches.modify_not_applied = True
    order_id = trader.place("Buy", 1, "Limit", price=19000.0)
    body = {"orderId": order_id, "orderQty": 2, "orderType": "Limit", "price": 19000.0}

    assert "commandId" in trader.do("order/modifyorder", body)

    assert (trader.status(order_id), trader.order(order_id)["orderQty"]) == ("Working", 1)
    assert len(trader.do("orderversion/deps", masterid=order_id)) == 1


def test_a_delayed_order_starts_when_its_time_has_come() -> None:
    trader = Trader()
    order_id = trader.place(activationTime="2026-02-16T16:00:00Z")
    trader.venue.tick()
    assert trader.status(order_id) == "PendingNew"

    trader.pass_time(minutes=30)
    trader.venue.tick()

    assert trader.status(order_id) == "Filled"


def test_a_scheduled_cancel_waits_for_its_time() -> None:
    trader = Trader()
    order_id = trader.place("Buy", 1, "Limit", price=15000.0)
    at = "2026-02-16T16:00:00Z"
    trader.do("order/cancelorder", {"orderId": order_id, "activationTime": at})
    assert trader.status(order_id) == "PendingCancel"

    trader.pass_time(minutes=30)
    trader.venue.tick()

    assert trader.status(order_id) == "Canceled"


def test_a_dated_order_expires() -> None:
    trader = Trader()
    order_id = trader.place(
        "Buy", 1, "Limit", price=15000.0, timeInForce="GTD", expireTime="2026-02-16T16:00Z"
    )

    trader.pass_time(hours=1)
    trader.venue.tick()

    assert trader.status(order_id) == "Expired"


@pytest.mark.parametrize(("held", "closing"), [("Buy", "Sell"), ("Sell", "Buy")])
def test_liquidation_cancels_what_works_and_closes(held: str, closing: str) -> None:
    trader = Trader()
    trader.place(held, 2)
    resting = trader.place("Buy", 1, "Limit", price=19000.0)
    contract_id = trader.do("contract/find", name=MNQ)["id"]

    answer = trader.do(
        "order/liquidateposition",
        {"accountId": trader.account["id"], "contractId": contract_id, "admin": False},
    )

    assert trader.order(answer["orderId"])["action"] == closing
    assert trader.status(resting) == "Canceled"
    assert trader.net() == 0


def test_liquidating_nothing_has_two_readings() -> None:
    trader = Trader()
    contract_id = trader.do("contract/find", name=MNQ)["id"]
    body = {"accountId": trader.account["id"], "contractId": contract_id, "admin": False}

    assert "failureReason" in trader.do("order/liquidateposition", body)
    trader.switches.liquidate_flat_refused = False
    assert trader.do("order/liquidateposition", body) == {}
    with pytest.raises(Http, match="404"):
        trader.do("order/liquidateposition", body | {"customTag50": "x"})


def test_several_positions_are_liquidated_by_their_ids() -> None:
    trader = Trader()
    trader.venue.set_price("ESH6", "5000")
    trader.place("Buy", 1)
    trader.place("Sell", 1, symbol="ESH6")
    ids = [row["id"] for row in trader.do("position/list")]

    answer = trader.do("order/liquidatepositions", {"positions": ids, "admin": False})

    assert answer == {"ok": True}
    assert [row["netPos"] for row in trader.do("position/list")] == [0, 0]


def test_another_terminal_leaves_no_client_id() -> None:
    trader = Trader()
    trader.switches.hold_fills = True

    order_id = trader.venue.manual_trade(trader.account["id"], MNQ, "Sell", 2)
    resting = trader.venue.manual_order(trader.account["id"], MNQ, "Buy", 1, price="19000")

    command = trader.do("command/deps", masterid=order_id)[0]
    assert "clOrdId" not in command
    assert command["senderId"] != trader.user.id
    assert trader.net() == -2
    trader.venue.manual_cancel(resting)
    assert trader.status(resting) == "Canceled"


def test_a_slow_modify_to_what_has_filled_meanwhile_is_too_late() -> None:
    trader = Trader()
    trader.switches.slow_modify = True
    order_id = trader.place("Buy", 3, "Limit", price=19000.0)
    body = {"orderId": order_id, "orderQty": 2, "orderType": "Limit", "price": 19000.0}
    command_id = trader.do("order/modifyorder", body)["commandId"]

    trader.venue.fill_order(order_id, 2)
    trader.venue.release_commands()

    assert (trader.status(order_id), trader.order(order_id)["orderQty"]) == ("Working", 3)
    report = trader.do("commandreport/deps", masterid=command_id)[-1]
    assert report["rejectReason"] == "TooLate"


@pytest.mark.parametrize(("qty", "reason"), [(2, "TooLate"), (1, "TooLate"), (3, None)])
def test_a_modify_below_what_has_filled_is_refused(qty: int, reason: str | None) -> None:
    trader = Trader()
    order_id = trader.place("Buy", 4, "Limit", price=19000.0)
    trader.venue.fill_order(order_id, 2)
    body = {"orderId": order_id, "orderQty": qty, "orderType": "Limit", "price": 19000.0}

    assert trader.do("order/modifyorder", body).get("failureReason") == reason


def test_a_dated_order_that_filled_stays_filled() -> None:
    trader = Trader()
    at = "2026-02-16T16:00Z"
    order_id = trader.place("Buy", 1, "Limit", price=20001.0, timeInForce="GTD", expireTime=at)

    trader.pass_time(hours=1)
    trader.venue.tick()

    assert trader.status(order_id) == "Filled"
