"""Brackets, orders that cancel each other, and exits that may only reduce."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.domain.trading import LegTicket, OrderStatus, Side

from .exchange import PLAIN, Exchange, d

TARGET = LegTicket("tp", offset=d(10))
STOP = LegTicket("sl", offset=d(5))


@pytest.fixture
def market() -> Exchange:
    exchange = Exchange()
    exchange.show(100, "100.25")
    return exchange


def _leg(market: Exchange, key: str) -> tuple[Any, ...]:
    order = market.orders[key]
    return order.status, order.leaves


def test_legs_wait_for_their_entry(market: Exchange) -> None:
    market.buy(2, limit_price=99, take_profit=TARGET, stop_loss=STOP)

    assert market.show(109, "109.25") == []
    assert _leg(market, "tp") == _leg(market, "sl") == (OrderStatus.INACTIVE, 0)


def test_relative_legs_are_measured_from_the_first_fill(market: Exchange) -> None:
    market.buy(2, take_profit=TARGET, stop_loss=STOP)

    assert market.orders["tp"].limit_price == d("110.25")
    assert market.orders["sl"].stop_price == d("95.25")


@pytest.mark.parametrize(
    ("side", "target", "stop"), [(Side.BUY, "110.50", "95.25"), (Side.SELL, "89.75", "104.75")]
)
def test_targets_are_rounded_away_from_the_entry_and_stops_toward_it(
    market: Exchange, side: Side, target: str, stop: str
) -> None:
    market.send(
        market.ticket(
            side,
            1,
            take_profit=LegTicket("tp", offset=d("10.10")),
            stop_loss=LegTicket("sl", offset=d("5.10") if side is Side.BUY else d("4.90")),
        )
    )

    assert market.orders["tp"].limit_price == d(target)
    assert market.orders["sl"].stop_price == d(stop)


def test_legs_follow_partial_fills_of_their_entry(market: Exchange) -> None:
    market.buy(5, limit_price=99, take_profit=TARGET, stop_loss=STOP)

    market.show("98.75", 99, 2, 2)
    assert _leg(market, "tp") == _leg(market, "sl") == (OrderStatus.WORKING, 2)

    market.show("98.50", "98.75", 2, 2)
    assert _leg(market, "sl") == (OrderStatus.WORKING, 4)
    assert market.orders["sl"].stop_price == 94


def test_a_stop_that_hits_a_half_filled_entry_leaves_the_rest_protected(market: Exchange) -> None:
    market.buy(5, limit_price=99, take_profit=TARGET, stop_loss=STOP)
    market.show("98.75", 99, 2, 2)

    assert market.show("93.50", "93.75", 3, 3) == ["sell 2 @ 93.50 taker", "buy 3 @ 99 maker"]

    assert market.net_pos == 3
    assert _leg(market, "sl") == (OrderStatus.PARTIALLY_FILLED, 3)
    assert _leg(market, "tp") == (OrderStatus.WORKING, 3)
    assert market.show(93, "93.25", 9, 9) == ["sell 3 @ 93 taker"]
    assert market.orders["sl"].status is OrderStatus.FILLED
    assert market.orders["tp"].status is OrderStatus.CANCELLED


def test_a_cancelled_entry_leaves_legs_for_what_it_filled(market: Exchange) -> None:
    entry = market.buy(5, limit_price=99, take_profit=TARGET, stop_loss=STOP)
    market.show("98.75", 99, 2, 2)

    market.cancel(entry.client_order_id)

    assert market.orders["sl"].quantity == market.orders["tp"].quantity == 2
    assert market.show(93, "93.25") == ["sell 2 @ 93 taker"]


def test_an_entry_that_never_filled_takes_its_legs_along(market: Exchange) -> None:
    entry = market.buy(5, limit_price=99, take_profit=TARGET, stop_loss=STOP)

    market.cancel(entry.client_order_id)

    assert {o.status for o in market.orders.values()} == {OrderStatus.CANCELLED}
    assert market.orders["sl"].reason == "entry_ended"
    assert market.engine.open_orders(1) == []


def test_an_exit_never_fills_on_the_quote_that_filled_its_entry(market: Exchange) -> None:
    market.buy(1, limit_price=99, stop_loss=LegTicket("sl", price=d("98.50")))

    assert market.show("98.25", "98.50") == ["buy 1 @ 99 maker"]
    assert market.repeat() == []
    assert market.show("98.25", "98.50") == ["sell 1 @ 98.25 taker"]


def test_one_exit_filling_in_part_reduces_the_other(market: Exchange) -> None:
    market.buy(4)
    target, stop = market.oco(
        market.ticket(Side.SELL, 4, limit_price=110), market.ticket(Side.SELL, 4, stop_price=95)
    )

    assert market.show(110, "110.25", 1, 1) == ["sell 1 @ 110 maker"]
    assert market.orders[stop.client_order_id].leaves == 3
    assert market.show(95, "95.25", 9, 9) == ["sell 3 @ 95 taker"]
    assert market.orders[target.client_order_id].status is OrderStatus.CANCELLED
    assert market.orders[target.client_order_id].reason == "oco"


def test_cancelling_one_of_two_linked_orders_cancels_both(market: Exchange) -> None:
    market.buy(4)
    target, stop = market.oco(
        market.ticket(Side.SELL, 4, limit_price=110), market.ticket(Side.SELL, 4, stop_price=95)
    )

    market.cancel(stop.client_order_id)

    assert market.orders[target.client_order_id].status is OrderStatus.CANCELLED


def test_rejecting_one_of_two_linked_orders_rejects_both(market: Exchange) -> None:
    market.buy(4)

    target, stop = market.oco(
        market.ticket(Side.SELL, 4, limit_price=110), market.ticket(Side.SELL, 4, stop_price=101)
    )

    assert target.status is stop.status is OrderStatus.REJECTED
    assert target.reason == "stop_in_market"


def test_the_stop_is_looked_at_before_the_target(market: Exchange) -> None:
    market.buy(2)
    target, stop = market.oco(
        market.ticket(Side.SELL, 2, limit_price=101), market.ticket(Side.SELL, 2, stop_price=95)
    )

    fills = market.show(94, 95, last=102)  # a trade through the target, and a bid at the stop

    assert fills == ["sell 2 @ 94 taker"]
    assert market.orders[target.client_order_id].status is OrderStatus.CANCELLED
    assert market.orders[stop.client_order_id].status is OrderStatus.FILLED


def test_after_one_fill_of_a_group_the_other_waits_for_the_next_quote(market: Exchange) -> None:
    market.buy(4)
    market.oco(
        market.ticket(Side.SELL, 4, stop_price=95), market.ticket(Side.SELL, 4, limit_price=101)
    )

    assert market.show(94, 95, 1, 1, last=102) == [
        "sell 1 @ 94 taker",
        "sell 1 @ 93.75 taker",
        "sell 1 @ 93.50 taker",
        "sell 1 @ 93.25 taker",
    ]
    assert market.repeat() == []
    assert market.net_pos == 0


def test_closing_the_position_otherwise_cancels_its_exits(market: Exchange) -> None:
    market.buy(2, take_profit=TARGET, stop_loss=STOP)

    market.sell(2)

    for key in ("tp", "sl"):
        assert market.orders[key].status is OrderStatus.CANCELLED
        assert market.orders[key].reason == "position_closed"


def test_a_reversal_replaces_the_old_exits_by_new_ones_for_the_new_size(market: Exchange) -> None:
    market.buy(2, take_profit=TARGET, stop_loss=STOP)

    market.sell(5, stop_loss=LegTicket("sl2", offset=d(5)))

    assert market.net_pos == -3
    assert market.orders["sl"].reason == "position_closed"
    assert market.orders["sl2"].quantity == 3
    assert market.orders["sl2"].stop_price == 105


def test_a_resting_exit_is_cut_to_what_is_not_promised_yet(market: Exchange) -> None:
    market.buy(5)
    first = market.sell(3, limit_price=110, reduce_only=True)
    second = market.sell(3, limit_price=111, reduce_only=True)
    third = market.sell(1, limit_price=112, reduce_only=True)

    assert (first.quantity, second.quantity) == (d(3), d(2))
    assert third.reason == "reduce_only_no_position"


def test_linked_exits_promise_the_position_once(market: Exchange) -> None:
    market.buy(5, take_profit=TARGET, stop_loss=STOP)

    more = market.sell(1, limit_price=111, reduce_only=True)

    assert more.reason == "reduce_only_no_position"


def test_an_exit_at_the_market_may_close_all_although_a_bracket_works(market: Exchange) -> None:
    market.buy(5, take_profit=TARGET, stop_loss=STOP)

    market.sell(9, reduce_only=True)

    assert market.net_pos == 0
    assert market.fills[-1].quantity == 5


def test_an_exit_never_opens_when_the_position_shrank_meanwhile(market: Exchange) -> None:
    market.buy(5)
    market.sell(5, stop_price=95, reduce_only=True)
    market.sell(3)

    assert market.show(95, "95.25") == ["sell 2 @ 95 taker"]
    assert market.net_pos == 0
    assert market.engine.open_orders(1) == []


def test_a_bracket_on_an_order_that_only_closes_never_gets_active() -> None:
    exchange = Exchange(replace(PLAIN, initial_margin=d(10)))
    exchange.show(100, "100.25")
    exchange.buy(3)

    exchange.sell(2, stop_loss=STOP)

    assert exchange.net_pos == 1
    assert exchange.orders["sl"].reason == "entry_ended"


def test_the_quantity_of_a_leg_follows_from_its_entry(market: Exchange) -> None:
    market.buy(3, take_profit=TARGET, stop_loss=STOP)

    moved = market.replace("sl", stop_price=97)

    assert (moved.stop_price, moved.quantity) == (d(97), d(3))
    with pytest.raises(Exception, match="linked_order"):
        market.replace("sl", quantity=1)
