"""The simulated venue: positions, pairs, cash, sessions."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.simulators.venue_trader import MNQ, Trader

POINT = 2
FEE = 0.85
"""MNQ, USD per point and per contract and side."""


def traded(trader: Trader, *trades: tuple[str, int, str]) -> None:
    for action, qty, price in trades:
        trader.price(price)
        trader.place(action, qty)


@pytest.mark.parametrize(
    ("trades", "net", "by_average", "by_lots"),
    [
        ([("Buy", 2, "20000")], 2, 20000.0, 20000.0),
        ([("Sell", 2, "20000")], -2, 20000.0, 20000.0),
        ([("Buy", 1, "20000"), ("Buy", 1, "20010")], 2, 20005.0, 20005.0),
        ([("Buy", 1, "20000"), ("Buy", 1, "20010"), ("Sell", 1, "20020")], 1, 20005.0, 20010.0),
        ([("Sell", 1, "20000"), ("Sell", 3, "20004"), ("Buy", 2, "1")], -2, 20003.0, 20004.0),
        ([("Buy", 1, "20000"), ("Sell", 3, "20010")], -2, 20010.0, 20010.0),
        ([("Sell", 2, "20000"), ("Buy", 3, "19990")], 1, 19990.0, 19990.0),
        ([("Buy", 1, "20000"), ("Sell", 1, "20010")], 0, None, None),
        ([("Buy", 1, "1"), ("Sell", 1, "5"), ("Buy", 1, "9")], 1, 9.0, 9.0),
    ],
)
@pytest.mark.parametrize("average", ["fill_average", "fifo"])
def test_signed_positions_and_their_price(
    average: str, trades: Any, net: int, by_average: float | None, by_lots: float | None
) -> None:
    trader = Trader(average=average)

    traded(trader, *trades)

    position = trader.position()
    assert position["netPos"] == net
    assert position.get("netPrice") == (by_lots if average == "fifo" else by_average)
    assert position["bought"] - position["sold"] == net


def test_a_flat_row_stays_and_counts_in_points() -> None:
    trader = Trader()

    traded(trader, ("Buy", 2, "20000"), ("Sell", 2, "20010"))

    position = trader.position()
    assert "netPrice" not in position
    assert (position["boughtValue"], position["soldValue"]) == (40000.0, 40020.0)


def test_pairs_are_first_in_first_out_with_the_prices_of_their_fills() -> None:
    trader = Trader()
    traded(trader, ("Buy", 1, "20000"), ("Buy", 2, "20010"), ("Sell", 2, "20030"))

    pairs = trader.do("fillpair/deps", masterid=trader.position()["id"])
    fills = trader.do("fill/list")

    assert [(p["qty"], p["buyPrice"], p["sellPrice"]) for p in pairs] == [
        (1, 20000.0, 20030.0),
        (1, 20010.0, 20030.0),
    ]
    assert [f["finallyPaired"] for f in fills] == [1, 1, 2]


def test_a_short_is_paired_by_sides_not_by_time() -> None:
    trader = Trader()
    traded(trader, ("Sell", 1, "20000"), ("Buy", 1, "19990"))

    pair = trader.do("fillpair/list")[0]
    first, second = trader.do("fill/list")

    assert (pair["sellFillId"], pair["buyFillId"]) == (first["id"], second["id"])
    assert (pair["sellPrice"], pair["buyPrice"]) == (20000.0, 19990.0)
    assert trader.do("cashbalance/list")[0]["realizedPnL"] == 10 * POINT


def test_cash_is_deposits_plus_pairs_less_fees() -> None:
    trader = Trader()
    traded(trader, ("Buy", 2, "20000"), ("Sell", 1, "20010"))
    account = trader.account["id"]

    log = trader.do("cashbalancelog/deps", masterid=account)
    balance = trader.do("cashbalance/deps", masterid=account)[0]
    fees = trader.do("fillfee/list")

    assert balance["realizedPnL"] == 10 * POINT
    assert balance["amount"] == pytest.approx(100_000 + 10 * POINT - 3 * FEE)
    assert sum(line["delta"] for line in log) == pytest.approx(10 * POINT - 3 * FEE)
    assert log[-1]["amount"] == balance["amount"]
    assert {line["cashChangeType"] for line in log} == {
        "TradePaired",
        "ClearingFee",
        "ExchangeFee",
        "NfaFee",
        "Commission",
    }
    assert [fee["commission"] for fee in fees] == [0.78, 0.39]


def test_fees_can_be_off() -> None:
    trader = Trader()
    trader.switches.charge_fees = False

    traded(trader, ("Buy", 2, "20000"), ("Sell", 2, "20000"))

    assert trader.do("cashbalance/list")[0]["amount"] == 100_000


def test_the_snapshot_adds_up() -> None:
    trader = Trader()
    trader.switches.charge_fees = False
    traded(trader, ("Buy", 2, "20000"), ("Sell", 1, "20010"))
    trader.price("20025")
    body = {"accountId": trader.account["id"]}

    cash = trader.do("cashbalance/getcashbalancesnapshot", body)

    assert (cash["realizedPnL"], cash["openPnL"]) == (20.0, 50.0)
    assert cash["totalPnL"] == 70.0
    assert cash["netLiq"] == cash["totalCashValue"] + cash["openPnL"] == 100_070.0
    margin = trader.do("marginsnapshot/item", id=trader.account["id"])
    assert margin["initialMargin"] == cash["initialMargin"] == 2100.0


def test_snapshots_of_2024_are_shorter() -> None:
    trader = Trader(shapes="2024")
    trader.place()

    cash = trader.do("cashbalance/getcashbalancesnapshot", {"accountId": trader.account["id"]})

    assert "netLiqSOD" not in cash
    assert trader.do("account/list")[0]["active"] is True
    assert "fillFee" not in {entity for entity, _, _ in trader.events}


def test_the_demo_balance_changes_once_an_hour_up_to_a_limit() -> None:
    trader = Trader()
    account = trader.venue.add_account(trader.user, "DEMO2", cash="40000")["id"]
    path = "cashbalance/changedemobalance"

    over = trader.do(path, {"accountId": account, "cashChange": 10_001.0})
    done = trader.do(path, {"accountId": account, "cashChange": 10_000.0})
    again = trader.do(path, {"accountId": account, "cashChange": -1.0})

    assert list(over) == list(again) == ["errorText"]
    assert done["totalCashValue"] == 50_000.0
    trader.pass_time(hours=1)
    assert "errorText" not in trader.do(path, {"accountId": account, "cashChange": -1.0})


def test_the_roll_empties_the_lists_and_carries_the_position() -> None:
    trader = Trader()
    traded(trader, ("Buy", 2, "20000"), ("Sell", 1, "20010"))
    day = trader.place("Buy", 1, "Limit", price=19000.0)
    lasting = trader.place("Buy", 1, "Limit", price=19000.0, timeInForce="GTC")
    filled = trader.do("order/list")[0]["id"]

    trader.pass_time(days=1)
    trader.venue.session_roll()

    assert [row["id"] for row in trader.do("order/list")] == [lasting]
    assert [row["orderId"] for row in trader.do("command/list")] == [lasting]
    assert trader.do("fill/list") == trader.do("fillpair/list") == []
    position = trader.position()
    assert (position["netPos"], position["prevPos"], position["prevPrice"]) == (1, 1, 20000.0)
    assert "netPrice" not in position
    assert (position["bought"], position["tradeDate"]["day"]) == (0, 17)
    balance = trader.do("cashbalance/list")[0]
    assert (balance["realizedPnL"], balance["weekRealizedPnL"]) == (0, 20.0)
    assert trader.status(day) == "Expired"
    assert trader.status(filled) == "Filled", "the book remembers"


@pytest.mark.parametrize(("new_week", "left"), [(True, 0), (False, 20.0), (None, 20.0)])
def test_the_result_of_the_week_lasts_until_monday(new_week: bool | None, left: float) -> None:
    trader = Trader()
    traded(trader, ("Buy", 1, "20000"), ("Sell", 1, "20010"))

    trader.pass_time(days=1)
    trader.venue.session_roll(new_week=new_week)

    assert trader.do("cashbalance/list")[0]["weekRealizedPnL"] == left


def test_a_position_of_yesterday_closes_with_its_price() -> None:
    trader = Trader()
    trader.switches.charge_fees = False
    traded(trader, ("Buy", 1, "20000"))
    trader.venue.session_roll(new_week=True)

    traded(trader, ("Sell", 1, "20010"))

    assert trader.do("cashbalance/list")[0]["amount"] == 100_020
    assert trader.net() == 0
    trader.venue.session_roll()
    assert trader.do("position/list") == []


@pytest.mark.parametrize(
    ("hours", "day"),
    [(0, 16), (7.4, 16), (7.6, 17), (24 * 4, 20), (24 * 4 + 8, 23), (24 * 6, 23)],
)
def test_the_session_begins_the_evening_before(hours: float, day: int) -> None:
    trader = Trader()
    trader.pass_time(hours=hours)

    trader.place()

    assert trader.position()["tradeDate"] == {"year": 2026, "month": 2, "day": day}


def test_a_random_walk_is_the_same_for_the_same_seed() -> None:
    walks = []
    for _ in range(2):
        trader = Trader(seed=7)
        for _ in range(20):
            trader.venue.tick()
        walks.append(trader.venue.quote(MNQ))

    assert walks[0] == walks[1]
    assert walks[0] is not None
    assert walks[0]["ask"] - walks[0]["bid"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("name", "bid", "ask"), [("MNQ1!", "1", None), (MNQ, "1.1", None), (MNQ, "2", "1")]
)
def test_quotes_that_make_no_sense(name: str, bid: str, ask: str | None) -> None:
    with pytest.raises(ValueError, match="MNQ"):
        Trader().venue.set_price(name, bid, ask)
