"""The simulated venue: what holds after any sequence of orders and prices."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.simulators.venue_trader import MNQ, Trader

POINT = Decimal(2)
START = Decimal(100_000)
TICKS = st.integers(-60, 60)
ACTIONS = st.sampled_from(["Buy", "Sell"])
QUANTITIES = st.integers(1, 4)


def level(ticks: int) -> float:
    return 20000 + ticks * 0.25


STEPS = st.one_of(
    st.tuples(st.just("price"), TICKS, st.integers(0, 2)),
    st.tuples(st.just("market"), ACTIONS, QUANTITIES),
    st.tuples(st.just("limit"), ACTIONS, QUANTITIES, TICKS),
    st.tuples(st.just("stop"), ACTIONS, QUANTITIES, TICKS),
    st.tuples(st.just("oso"), ACTIONS, QUANTITIES, TICKS, st.booleans()),
    st.tuples(st.just("oco"), QUANTITIES, st.integers(1, 30), st.integers(1, 30)),
    st.tuples(st.just("strategy"), ACTIONS, st.integers(1, 3), st.integers(1, 3), st.booleans()),
    st.tuples(st.just("cancel"), st.integers(0, 40)),
    st.tuples(st.just("modify"), st.integers(0, 40), QUANTITIES, TICKS),
    st.tuples(st.just("liquidate")),
    st.tuples(st.just("one_lot"), st.booleans()),
    st.tuples(st.just("follows"), st.booleans()),
    st.tuples(st.just("slow"), st.booleans()),
    st.tuples(st.just("release")),
)


class Walk:
    """Applies steps; a refusal of one is fine."""

    def __init__(self, average: str) -> None:
        self.trader = Trader(average=average)

    def take(self, step: Any) -> None:
        kind, *arguments = step
        getattr(self, kind)(*arguments)

    def price(self, ticks: int, spread: int) -> None:
        self.trader.venue.set_price(MNQ, level(ticks), level(ticks + spread))

    def market(self, action: str, qty: int) -> None:
        self.trader.do("order/placeorder", self.trader.ticket(action, qty))

    def limit(self, action: str, qty: int, ticks: int) -> None:
        ticket = self.trader.ticket(action, qty, "Limit", price=level(ticks))
        self.trader.do("order/placeorder", ticket)

    def stop(self, action: str, qty: int, ticks: int) -> None:
        ticket = self.trader.ticket(action, qty, "Stop", stopPrice=level(ticks))
        self.trader.do("order/placeorder", ticket)

    def oso(self, action: str, qty: int, ticks: int, trails: bool) -> None:
        sign, exit_ = (1, "Sell") if action == "Buy" else (-1, "Buy")
        target = {"action": exit_, "orderType": "Limit", "price": level(ticks + 8 * sign)}
        stop = {"action": exit_, "orderType": "Stop", "stopPrice": level(ticks - 8 * sign)}
        if trails:
            stop |= {"orderType": "TrailingStop", "pegDifference": 2.0}
        ticket = self.trader.ticket(
            action, qty, "Limit", price=level(ticks), bracket1=target, bracket2=stop
        )
        self.trader.do("order/placeoso", ticket)

    def oco(self, qty: int, above: int, below: int) -> None:
        stop = {"action": "Sell", "orderType": "Stop", "stopPrice": level(-below)}
        ticket = self.trader.ticket("Sell", qty, "Limit", price=level(above), other=stop)
        self.trader.do("order/placeoco", ticket)

    def strategy(self, action: str, first: int, second: int, trails: bool) -> None:
        sign = 1 if action == "Buy" else -1
        self.trader.strategy(
            {
                "entryVersion": {"orderQty": first + second, "orderType": "Market"},
                "brackets": [
                    {"qty": first, "profitTarget": 3 * sign, "stopLoss": -2 * sign},
                    {"qty": second, "stopLoss": -4 * sign, "trailingStop": trails},
                ],
            },
            action,
        )

    def cancel(self, which: int) -> None:
        order = self._order(which)
        if order:
            self.trader.do("order/cancelorder", {"orderId": order["id"]})

    def modify(self, which: int, qty: int, ticks: int) -> None:
        order = self._order(which)
        if order:
            body = {"orderId": order["id"], "orderQty": qty, "orderType": order["orderType"]}
            prices = {"price": level(ticks), "stopPrice": level(ticks)}
            self.trader.do("order/modifyorder", body | prices)

    def liquidate(self) -> None:
        contract = self.trader.do("contract/find", name=MNQ)["id"]
        body = {"accountId": self.trader.account["id"], "contractId": contract, "admin": False}
        self.trader.do("order/liquidateposition", body)

    def one_lot(self, on: bool) -> None:
        self.trader.switches.partial_fills_one_lot = on

    def follows(self, on: bool) -> None:
        self.trader.switches.oco_follows_partial_fills = on

    def slow(self, on: bool) -> None:
        self.trader.switches.assign(slow_cancel=on, slow_modify=on)

    def release(self) -> None:
        self.trader.venue.release_commands()

    def _order(self, which: int) -> Any:
        orders = self.trader.venue.book()["orders"]
        return orders[which % len(orders)] if orders else None


def exact(value: float) -> Decimal:
    return Decimal(str(value))


def check(trader: Trader) -> None:
    book = trader.venue.book()
    orders = {order["id"]: order for order in book["orders"]}
    fills, pairs = trader.do("fill/list"), trader.do("fillpair/list")
    signed = [f["qty"] if f["action"] == "Buy" else -f["qty"] for f in fills]
    net = sum(p["netPos"] for p in trader.do("position/list"))
    assert net == sum(signed)

    for order in orders.values():
        done = sum(f["qty"] for f in fills if f["orderId"] == order["id"])
        assert order["filled"] == done <= order["orderQty"]
        assert order["status"] != "Filled" or done > 0
        partner = orders.get(order["ocoId"] or 0)
        if partner and partner["status"] in {"Filled", "Canceled"}:
            assert order["status"] in {"Filled", "Canceled"}
        if order["status"] == "Working":
            assert done < order["orderQty"]
            parent = orders.get(order["parentId"] or 0)
            assert parent is None or parent["filled"] >= 1

    gains = sum((exact(p["sellPrice"]) - exact(p["buyPrice"])) * p["qty"] * POINT for p in pairs)
    fees = sum(
        exact(fee[name])
        for fee in trader.do("fillfee/list")
        for name in ("clearingFee", "exchangeFee", "nfaFee", "commission")
    )
    cash = book["cash"][trader.account["id"]]
    assert exact(cash["amount"]) == START + gains - fees
    paired = sum(p["qty"] for p in pairs)
    bought = sum(qty for qty in signed if qty > 0)
    sold = -sum(qty for qty in signed if qty < 0)
    assert paired == min(bought, sold), "FIFO leaves one side open only"
    check_equity(trader, fills)


def check_equity(trader: Trader, fills: list[Any]) -> None:
    """What the account is worth is what its fills cost, at the last price."""
    quote = trader.venue.quote(MNQ)
    assert quote is not None
    worth = sum(
        (quote["last"] - exact(f["price"])) * (f["qty"] if f["action"] == "Buy" else -f["qty"])
        for f in fills
    )
    body = {"accountId": trader.account["id"]}
    cash = trader.do("cashbalance/getcashbalancesnapshot", body)
    fees = exact(trader.venue.book()["cash"][trader.account["id"]]["fees"])
    assert exact(cash["netLiq"]) == pytest.approx(START + worth * POINT - fees)


def check_stream(trader: Trader) -> None:
    """Upserting the events gives the lists."""
    rows: dict[str, dict[int, Any]] = {}
    for entity, _, row in trader.events:
        rows.setdefault(entity, {})[row["id"]] = row
    for entity in ("order", "orderVersion", "command", "fill", "position", "orderStrategy"):
        listed = {row["id"]: row for row in trader.do(f"{entity}/list")}
        assert rows.get(entity, {}) == listed


@given(st.lists(STEPS, max_size=30), st.sampled_from(["fill_average", "fifo"]))
@settings(max_examples=150, deadline=None)
def test_books_agree_after_any_sequence(steps: list[Any], average: str) -> None:
    walk = Walk(average)

    for step in steps:
        walk.take(step)
        check(walk.trader)
    check_stream(walk.trader)
