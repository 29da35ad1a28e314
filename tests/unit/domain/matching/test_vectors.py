"""What other simulators printed for the same quotes, where our rules are the same as theirs."""

from __future__ import annotations

from decimal import Decimal

import pytest

from app.domain.trading import LegTicket, OrderStatus

from .exchange import Exchange, d, fok, ioc


@pytest.fixture
def market() -> Exchange:
    """ES-like, multiplier 1, quoted 5000.00 x 5000.25 with 100 on each side."""
    exchange = Exchange()
    exchange.show(5000, "5000.25", 100, 100)
    return exchange


def test_a_market_order_takes_the_ask(market: Exchange) -> None:
    market.buy(1)

    assert market.told() == ["buy 1 @ 5000.25 taker"]


def test_a_market_order_beyond_the_displayed_size_pays_one_tick_more(market: Exchange) -> None:
    market.buy(150)

    assert market.told() == ["buy 100 @ 5000.25 taker", "buy 50 @ 5000.50 taker"]


def test_a_crossing_limit_gets_the_better_price(market: Exchange) -> None:
    market.buy(1, limit_price=5001)

    assert market.told() == ["buy 1 @ 5000.25 taker"]


def test_a_resting_limit_fills_on_touch(market: Exchange) -> None:
    market.buy(1, limit_price=4999)

    assert market.show("4998.75", 4999) == ["buy 1 @ 4999 maker"]


def test_a_resting_limit_fills_at_its_price_as_far_as_sizes_go(market: Exchange) -> None:
    market.buy(100, limit_price=4999)

    assert market.show(4998, "4998.50", 30, 30) == ["buy 30 @ 4999 maker"]
    assert market.show(4997, "4997.50", 200, 200) == ["buy 70 @ 4999 maker"]


def test_a_post_only_order_that_would_take_is_rejected(market: Exchange) -> None:
    order = market.buy(1, limit_price=5001, post_only=True)

    assert (order.status, order.reason) == (OrderStatus.REJECTED, "post_only_would_take")


def test_an_ioc_takes_what_is_there_and_cancels_the_rest(market: Exchange) -> None:
    order = market.buy(150, limit_price="5000.25", **ioc())

    assert market.told() == ["buy 100 @ 5000.25 taker"]
    assert (order.status, order.filled, order.reason) == (OrderStatus.CANCELLED, d(100), "ioc")


def test_a_fok_that_cannot_fill_whole_does_not_fill_at_all(market: Exchange) -> None:
    order = market.buy(150, limit_price="5000.25", **fok())

    assert market.told() == []
    assert (order.status, order.reason) == (OrderStatus.CANCELLED, "fok")


def test_a_stop_pays_the_gap(market: Exchange) -> None:
    market.sell(1, stop_price=4990)

    assert market.show(4980, "4980.25") == ["sell 1 @ 4980 taker"]


def test_a_stop_triggers_on_touch(market: Exchange) -> None:
    market.sell(1, stop_price=4990)

    assert market.show(4990, "4990.25") == ["sell 1 @ 4990 taker"]


def test_a_buy_stop_below_the_market_is_rejected(market: Exchange) -> None:
    order = market.buy(1, stop_price=4990)

    assert (order.status, order.reason) == (OrderStatus.REJECTED, "stop_in_market")


def test_a_stop_limit_rests_as_a_limit_once_it_triggered(market: Exchange) -> None:
    """Others fill it at 4989; with us a resting limit fills at its own price."""
    order = market.sell(1, stop_price=4990, limit_price=4988)

    assert market.show(4980, "4980.25") == []
    assert market.orders[order.client_order_id].status is OrderStatus.TRIGGERED
    assert market.show(4989, "4989.25") == ["sell 1 @ 4988 maker"]


def test_a_stop_limit_takes_on_its_trigger_quote_within_its_limit(market: Exchange) -> None:
    market.sell(1, stop_price=4990, limit_price=4988)

    assert market.show("4989.50", "4989.75") == ["sell 1 @ 4989.50 taker"]


@pytest.mark.parametrize(
    ("bid", "ask", "fill", "realized"),
    [
        (5010, "5010.25", "sell 2 @ 5010 maker", "19.50"),
        (4985, "4985.25", "sell 2 @ 4985 taker", "-30.50"),
    ],
)
def test_a_bracket_ends_at_its_target_or_its_stop(
    market: Exchange, bid: int, ask: str, fill: str, realized: str
) -> None:
    market.buy(
        2,
        take_profit=LegTicket("tp", price=d(5010)),
        stop_loss=LegTicket("sl", price=d(4990)),
    )

    assert market.show(bid, ask) == [fill]
    assert market.account.cash - 100_000 == Decimal(realized)
    assert market.net_pos == 0
    assert sorted(market.orders[key].status for key in ("tp", "sl")) == ["cancelled", "filled"]


def test_a_reduce_only_order_without_a_position_is_rejected(market: Exchange) -> None:
    order = market.sell(1, reduce_only=True)

    assert (order.status, order.reason) == (OrderStatus.REJECTED, "reduce_only_no_position")
