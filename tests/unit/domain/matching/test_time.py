"""Time in force, order of fills, changed orders, and quotes that must not count."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from app.domain.errors import BrokerRefused
from app.domain.instruments import InstrumentKind, all_instruments
from app.domain.matching.market import quote_from_last, session_end
from app.domain.trading import OrderStatus, Quote, TimeInForce

from .exchange import PLAIN, Exchange, d, fok, ioc


@pytest.fixture
def market() -> Exchange:
    exchange = Exchange()
    exchange.show(100, "100.25")
    return exchange


def test_a_day_order_ends_with_the_session_before_anything_fills() -> None:
    exchange = Exchange(all_instruments()["BTCUSDT"])
    exchange.now = datetime(2026, 10, 15, 23, 59, 58, tzinfo=UTC)
    exchange.show(59000, 59001)
    exchange.later(0.9)
    order = exchange.buy("0.01", limit_price=58000, tif=TimeInForce.DAY)
    assert order.expire_at == datetime(2026, 10, 16, tzinfo=UTC)
    exchange.now = order.expire_at - timedelta(seconds=1)

    assert exchange.show(57999, 58000) == []

    assert exchange.orders[order.client_order_id].status is OrderStatus.EXPIRED
    assert exchange.account.reserved == 0


@pytest.mark.parametrize(
    ("kind", "zone", "hour"),
    [
        (InstrumentKind.CRYPTO, "UTC", 0),
        (InstrumentKind.FOREX, "America/New_York", 17),
        (InstrumentKind.FUTURES, "America/Chicago", 17),
        (InstrumentKind.UNKNOWN, "America/Chicago", 17),
    ],
)
@pytest.mark.parametrize("month", [1, 3, 7, 11])
def test_sessions_end_at_local_times_all_year(
    kind: InstrumentKind, zone: str, hour: int, month: int
) -> None:
    for hours in range(0, 24 * 14, 5):
        at = datetime(2026, month, 1, tzinfo=UTC) + timedelta(hours=hours)

        end = session_end(kind, at)

        local = end.astimezone(ZoneInfo(zone))
        assert (local.hour, local.minute) == (hour, 0)
        assert at < end <= at + timedelta(hours=25)


def test_an_order_good_till_a_date_ends_then(market: Exchange) -> None:
    order = market.buy(
        1, limit_price=99, tif=TimeInForce.GTD, expire_at=market.now + timedelta(seconds=5)
    )
    market.later(4)

    assert market.show("98.75", 99) == []
    assert market.orders[order.client_order_id].status is OrderStatus.EXPIRED


def test_an_order_expires_without_any_quote(market: Exchange) -> None:
    expire_at = market.now + timedelta(seconds=5)
    market.buy(1, limit_price=99, tif=TimeInForce.GTD, expire_at=expire_at)

    before = market.engine.due(market.contract, None, expire_at - timedelta(milliseconds=1))
    due = market.engine.due(market.contract, None, expire_at)
    step = market.engine.match(1, market.contract, due[1], None, expire_at)

    assert before == {}
    assert [order.status for order in step.orders] == [OrderStatus.EXPIRED]


def test_ioc_and_fok_count_the_displayed_size() -> None:
    exchange = Exchange()
    exchange.show("99.75", 100, 3, 3)

    killed = exchange.buy(5, limit_price=100, **fok())
    partial = exchange.buy(5, limit_price=100, **ioc())

    assert (killed.status, killed.filled) == (OrderStatus.CANCELLED, d(0))
    assert (partial.status, partial.filled) == (OrderStatus.CANCELLED, d(3))


def test_an_ioc_that_does_not_cross_is_cancelled(market: Exchange) -> None:
    assert market.buy(1, limit_price=99, **ioc()).reason == "ioc"
    assert market.buy(1, limit_price=99, **fok()).reason == "fok"


def test_a_fok_that_can_fill_fills(market: Exchange) -> None:
    assert market.buy(3, **fok()).status is OrderStatus.FILLED
    assert market.buy(3, limit_price=101, **fok()).status is OrderStatus.FILLED


def test_our_own_orders_share_the_size_of_one_quote(market: Exchange) -> None:
    market.show(100, "100.25", 5, 5)
    market.buy(4)

    market.buy(4)

    assert market.told() == [
        "buy 4 @ 100.25 taker",
        "buy 1 @ 100.25 taker",
        "buy 3 @ 100.50 taker",
    ]
    market.show(100, "100.25", 5, 5)
    market.buy(4)
    assert market.told()[-1] == "buy 4 @ 100.25 taker"


def test_a_market_order_gives_up_after_ten_slices(market: Exchange) -> None:
    market.show(100, "100.25", 1, 1)

    order = market.buy(12)

    assert (order.filled, order.reason) == (d(10), "no_liquidity")
    assert order.status is OrderStatus.CANCELLED
    assert market.fills[-1].price == d("102.50")


def test_an_account_may_ignore_sizes(market: Exchange) -> None:
    market.engine.restore(replace(market.account, respect_size=False))
    market.show(100, "100.25", 1, 1)

    market.buy(12)

    assert market.told() == ["buy 12 @ 100.25 taker"]


def test_a_quote_as_old_as_the_order_does_not_fill_it(market: Exchange) -> None:
    market.buy(1, limit_price=99)
    assert market.quote is not None

    same_time = Quote(market.contract, bid=d(98), ask=d("98.25"), at=market.now)

    assert market.engine.on_quote(same_time, market.now) == ()


@pytest.mark.parametrize(("bid", "ask"), [(99, 98), (0, 98)], ids=["crossed", "no bid"])
def test_a_quote_that_cannot_be_changes_nothing(market: Exchange, bid: int, ask: int) -> None:
    market.buy(1, limit_price=99)

    assert market.show(bid, ask) == []


def test_an_old_quote_changes_nothing(market: Exchange) -> None:
    market.buy(1, limit_price=99)
    market.later()
    old = Quote(market.contract, bid=d(98), ask=d("98.25"), at=market.now)

    assert market.engine.on_quote(old, market.now + timedelta(seconds=11)) == ()


def test_a_trade_through_the_price_fills_a_resting_limit(market: Exchange) -> None:
    market.buy(1, limit_price=99)

    assert market.show("99.50", "99.75", last=99) == []
    assert market.show("99.50", "99.75", last="98.75") == ["buy 1 @ 99 maker"]


def test_orders_fill_stops_first_then_by_price_then_by_age(market: Exchange) -> None:
    market.sell(1, limit_price=102)
    market.sell(2, limit_price=101)
    market.sell(3, limit_price=102)
    market.buy(4, stop_price=103)
    market.buy(5, stop_price="102.50")

    fills = market.show(103, "103.25")

    assert fills == [
        "buy 5 @ 103.25 taker",
        "buy 4 @ 103.25 taker",
        "sell 2 @ 101 maker",
        "sell 1 @ 102 maker",
        "sell 3 @ 102 maker",
    ]


def test_a_changed_order_loses_its_place_unless_it_only_shrinks(market: Exchange) -> None:
    first = market.buy(3, limit_price=99)
    second = market.buy(3, limit_price=99)
    market.later()

    market.replace(first.client_order_id, quantity=2)
    assert market.orders[first.client_order_id].priority == first.priority

    moved = market.replace(first.client_order_id, quantity=4)
    assert moved.priority > second.priority
    assert moved.active_at == market.now


def test_a_changed_order_that_crosses_fills_at_once(market: Exchange) -> None:
    order = market.buy(1, limit_price=99)

    market.replace(order.client_order_id, limit_price=101)

    assert market.told() == ["buy 1 @ 100.25 taker"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"limit_price": "99.10"}, "bad_price"),
        ({"quantity": 0}, "bad_quantity"),
        ({"quantity": "1.5"}, "bad_quantity"),
        ({"limit_price": 200}, "price_band"),
        ({"quantity": 9000}, "insufficient_funds"),
    ],
)
def test_a_bad_change_leaves_the_order_as_it_was(change: dict[str, object], code: str) -> None:
    exchange = Exchange(replace(PLAIN, initial_margin=d(100)))
    exchange.show(100, "100.25")
    order = exchange.buy(2, limit_price=99)

    with pytest.raises(BrokerRefused) as refused:
        exchange.replace(order.client_order_id, **change)

    assert refused.value.code == code
    assert exchange.engine.find(1, order.client_order_id) == order
    assert exchange.account.reserved == order.hold == d("200.00")


def test_a_lone_price_becomes_a_quote_around_it() -> None:
    at = datetime(2026, 10, 15, tzinfo=UTC)

    on_tick = quote_from_last(PLAIN, "X", d(100), at)
    off_tick = quote_from_last(PLAIN, "X", d("100.10"), at)

    assert (on_tick.bid, on_tick.ask) == (d("99.75"), d("100.25"))
    assert (off_tick.bid, off_tick.ask) == (d("99.75"), d("100.25"))
