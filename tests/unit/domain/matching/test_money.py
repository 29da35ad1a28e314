"""Worked examples, to the cent."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.instruments import all_instruments
from app.domain.trading import OrderStatus

from .exchange import ACCOUNT, Exchange, d

MNQ = all_instruments()["MNQ"]
BTC = all_instruments()["BTCUSDT"]


@pytest.fixture
def mnq() -> Exchange:
    exchange = Exchange(MNQ, cash=10_000)
    exchange.show(21500, "21500.25")
    return exchange


def test_a_futures_account_pays_fees_margin_and_losses_to_the_cent(mnq: Exchange) -> None:
    mnq.buy(2)
    assert mnq.told() == ["buy 2 @ 21500.50 taker"]
    assert (mnq.account.cash, mnq.account.reserved) == (d("9998.76"), d(200))

    mnq.buy(1, limit_price=21490)
    assert mnq.show("21489.75", 21490) == ["buy 1 @ 21490 maker"]
    assert mnq.position.avg_price == 21497
    assert (mnq.account.cash, mnq.account.reserved) == (d("9998.14"), d(300))

    mnq.sell(3, stop_price=21480)
    assert mnq.show(21470, "21470.25") == ["sell 3 @ 21469.75 taker"]
    assert mnq.fills[-1].realized == d("-163.50")
    assert mnq.fills[-1].fee == d("1.86")
    assert (mnq.account.cash, mnq.account.reserved) == (d("9832.78"), d(0))


def test_the_ledger_adds_up_to_the_balances(mnq: Exchange) -> None:
    mnq.buy(2)
    mnq.buy(1, limit_price=21490)
    mnq.show("21489.75", 21490)
    mnq.sell(3, stop_price=21480)
    mnq.show(21470, "21470.25")

    cash = sum(e.available_change + e.reserved_change for e in mnq.ledger)

    assert cash == mnq.account.cash == d("9832.78")
    assert sum(e.reserved_change for e in mnq.ledger) == mnq.account.reserved
    assert mnq.ledger[-1].available == mnq.account.available


def test_a_reversal_closes_all_and_opens_the_rest_at_the_fill(mnq: Exchange) -> None:
    mnq.buy(2)
    mnq.show(21520, "21520.25")

    mnq.sell(5)

    fill = mnq.fills[-1]
    assert (fill.price, fill.realized, fill.fee) == (d("21519.75"), d("77.00"), d("3.10"))
    assert (mnq.net_pos, mnq.position.avg_price) == (d(-3), d("21519.75"))
    assert mnq.account.reserved == 300


def test_a_resting_order_holds_margin_and_fee_until_it_ends(mnq: Exchange) -> None:
    order = mnq.buy(2, limit_price=21400)
    assert mnq.account.reserved == d("201.24")

    mnq.cancel(order.client_order_id)

    assert mnq.account.reserved == 0
    assert [e.kind for e in mnq.ledger] == ["deposit", "hold", "release"]


def test_an_order_that_only_closes_holds_nothing(mnq: Exchange) -> None:
    mnq.buy(2)

    mnq.sell(2, limit_price=21600)

    assert mnq.account.reserved == 200


def test_money_that_is_held_cannot_be_used_again() -> None:
    exchange = Exchange(MNQ, cash=350)
    exchange.show(21500, "21500.25")
    exchange.buy(2, limit_price=21400)

    refused = exchange.buy(2)

    assert (refused.status, refused.reason) == (OrderStatus.REJECTED, "insufficient_funds")
    assert exchange.buy(1).status is OrderStatus.FILLED


def test_a_position_can_always_be_closed() -> None:
    exchange = Exchange(MNQ, cash=102)
    exchange.show(21500, "21500.25")
    exchange.buy(1)
    exchange.show(21400, "21400.25")

    exchange.sell(1)

    assert exchange.net_pos == 0
    assert exchange.account.cash < 0


def test_a_fill_that_cannot_be_paid_any_more_cancels_its_order() -> None:
    exchange = Exchange(MNQ, cash=300)
    exchange.show(21500, "21500.25")
    exchange.buy(1)
    closing = exchange.sell(1, limit_price=21600)  # holds nothing while it only closes
    exchange.sell(1)
    exchange.buy(2, limit_price=21400)

    exchange.show(21600, "21600.25")

    ended = exchange.orders[closing.client_order_id]
    assert (ended.status, ended.reason) == (OrderStatus.CANCELLED, "insufficient_funds")


def test_fees_of_many_small_fills_are_rounded_once() -> None:
    exchange = Exchange(replace(BTC, slippage_ticks=0), cash=1_000)
    exchange.show("58999.99", 59000)
    exchange.buy("0.01", limit_price="58990")

    for _ in range(10):
        exchange.show("58989.99", "58990", "0.001", "0.001")

    assert len(exchange.fills) == 10
    assert sum(f.fee for f in exchange.fills) == d("0.59")  # 589.90 x 0.1 % = 0.5899
    assert exchange.account.cash == d("999.41")


def test_a_pair_quoted_in_another_currency_pays_in_account_money() -> None:
    exchange = Exchange(all_instruments()["USDJPY"], cash=10_000)
    exchange.show("150.000", "150.001")
    exchange.buy(10_000)

    exchange.show("151.000", "151.001")
    exchange.sell(10_000)

    assert exchange.fills[-1].realized == d("66.15894040")  # 0.999 x 10,000 / 151
    assert exchange.fills[0].price == d("150.001")


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(20_000, 22_000)), min_size=2, max_size=8))
def test_a_round_trip_pays_exactly_the_difference_of_its_values(
    buys: list[tuple[int, int]],
) -> None:
    exchange = Exchange(replace(MNQ, fee_per_contract=Decimal(0), slippage_ticks=0), cash=10**6)
    for quantity, price in buys:
        exchange.show(price, price)
        exchange.buy(quantity)
    held = int(exchange.net_pos)

    for _ in range(held):
        exchange.sell(1)

    spent = sum(quantity * price for quantity, price in buys)
    received = held * buys[-1][1]
    assert exchange.account.cash == 10**6 + 2 * (received - spent)
    assert exchange.engine.positions(ACCOUNT) == []
