from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.domain.errors import BrokerRefused
from app.domain.instruments import all_instruments
from app.domain.matching import PaperAccount
from app.domain.trading import LegTicket, OrderStatus, OrderType, Side, TimeInForce

from .exchange import ACCOUNT, PLAIN, START, Exchange, d, fok, ioc

CRYPTO = all_instruments()["BTCUSDT"]


def _market(**rules: Any) -> Exchange:
    exchange = Exchange(rules.pop("instrument", PLAIN), cash=rules.pop("cash", 100_000), **rules)
    exchange.show(5000, "5000.25")
    return exchange


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"quantity": 0}, "bad_quantity"),
        ({"quantity": -1}, "bad_quantity"),
        ({"quantity": "1.5"}, "bad_quantity"),
        ({"quantity": "NaN"}, "bad_quantity"),
        ({"quantity": 10_001}, "bad_quantity"),
        ({"quantity": "1E+1000"}, "bad_quantity"),
        ({"limit_price": "1E+1000"}, "bad_price"),
        ({"stop_loss": LegTicket("sl", offset=d("1E+30"))}, "bad_price"),
        ({"limit_price": "4999.10"}, "bad_price"),
        ({"limit_price": 0}, "bad_price"),
        ({"limit_price": -1}, "bad_price"),
        ({"stop_price": "NaN"}, "bad_price"),
        ({"order_type": OrderType.LIMIT}, "bad_price"),
        ({"order_type": OrderType.STOP}, "bad_price"),
        ({"stop_loss": LegTicket("sl", price=d("4999.10"))}, "bad_price"),
        ({"stop_loss": LegTicket("sl", offset=d(0))}, "bad_price"),
        ({"take_profit": LegTicket("tp")}, "bad_price"),
        ({"take_profit": LegTicket("tp", offset=d(1), price=d(5010))}, "bad_price"),
        ({"limit_price": "5500.50"}, "price_band"),
        ({"stop_price": "5000.25"}, "stop_in_market"),
        ({"stop_price": 4990, "limit_price": 4991}, "stop_in_market"),
        ({"limit_price": 5001, "post_only": True}, "post_only_would_take"),
        ({"reduce_only": True}, "reduce_only_no_position"),
        ({"order_type": OrderType.TRAILING_STOP}, "unsupported_order_type"),
        ({"post_only": True}, "unsupported_order_type"),
        ({"limit_price": 4990, "post_only": True, **ioc()}, "unsupported_order_type"),
        ({"stop_price": 5010, **fok()}, "unsupported_order_type"),
        ({"limit_price": 4990, "tif": TimeInForce.GTD}, "bad_expiry"),
        ({"limit_price": 4990, "tif": TimeInForce.GTD, "expire_at": START}, "bad_expiry"),
    ],
)
def test_a_bad_order_is_rejected_with_its_code(terms: dict[str, Any], code: str) -> None:
    exchange = _market()
    terms = {"quantity": 1, **terms}

    order = exchange.buy(**terms)

    assert (order.status, order.reason) == (OrderStatus.REJECTED, code)
    assert exchange.told() == []
    assert exchange.account.reserved == 0


def test_a_disabled_account_takes_no_orders() -> None:
    exchange = _market()
    exchange.engine.restore(PaperAccount(id=ACCOUNT, cash=d(1000), enabled=False))

    assert exchange.buy(1).reason == "account_disabled"


def test_a_disabled_market_takes_no_orders() -> None:
    assert _market(enabled=False).buy(1).reason == "market_disabled"


def test_a_closed_market_takes_orders_that_can_wait() -> None:
    exchange = _market(is_open=False)

    assert exchange.buy(1).reason == "market_closed"
    assert exchange.buy(1, limit_price=5001, **ioc()).reason == "market_closed"
    assert exchange.buy(1, limit_price=5001).status is OrderStatus.WORKING
    assert exchange.show(4990, 4991) == []


def test_the_size_of_a_deal_has_bounds() -> None:
    instrument = replace(CRYPTO, max_notional=Decimal(1000))
    exchange = _market(instrument=instrument)

    assert exchange.buy("0.0009").reason == "min_notional"
    assert exchange.buy("0.3").reason == "max_notional"
    assert exchange.buy("0.1").status is OrderStatus.FILLED


def test_a_currency_without_a_rate_is_refused() -> None:
    instrument = replace(PLAIN, currency="EUR")

    assert _market(instrument=instrument).buy(1).reason == "unsupported_currency"


def test_what_cannot_be_paid_is_rejected() -> None:
    exchange = _market(instrument=replace(PLAIN, initial_margin=Decimal(600)), cash=1000)

    assert exchange.buy(2).reason == "insufficient_funds"
    assert exchange.buy(2, limit_price=4990).reason == "insufficient_funds"
    assert exchange.buy(2, stop_price=5010).reason == "insufficient_funds"
    assert exchange.buy(1).status is OrderStatus.FILLED


@pytest.mark.parametrize(
    "quote", [None, (5000, 4999), (0, 1), "old"], ids=["none", "crossed", "empty", "old"]
)
def test_a_market_order_without_a_usable_price_is_rejected(quote: Any) -> None:
    exchange = Exchange()
    if quote == "old":
        exchange.show(5000, "5000.25")
        exchange.later(11)
    elif quote:
        exchange.show(*quote)

    assert exchange.buy(1).reason == "no_price"
    assert exchange.buy(1, limit_price=5000, **ioc()).reason == "no_price"
    assert exchange.buy(1, limit_price=5000).status is OrderStatus.WORKING


def test_the_first_failed_check_gives_the_code() -> None:
    exchange = _market(enabled=False, is_open=False)

    assert exchange.buy(0, limit_price=-1).reason == "market_disabled"


def test_a_rejected_bracket_rejects_its_legs() -> None:
    exchange = _market()

    exchange.buy(0, stop_loss=LegTicket("sl", offset=d(5)))

    assert exchange.orders["sl"].status is OrderStatus.REJECTED
    assert exchange.orders["sl"].reason == "bad_quantity"


def test_the_same_client_id_again_creates_nothing() -> None:
    exchange = _market()
    exchange.send(exchange.ticket(Side.BUY, 1), key="same")

    step = exchange.engine.submit(
        ACCOUNT, exchange.ticket(Side.BUY, 5), "same", now=exchange.now, quote=exchange.quote
    )

    assert not step
    assert exchange.told() == ["buy 1 @ 5000.25 taker"]


def test_an_order_that_ended_cannot_be_cancelled() -> None:
    exchange = _market()
    order = exchange.buy(1)

    with pytest.raises(BrokerRefused) as ended:
        exchange.cancel(order.client_order_id)
    with pytest.raises(BrokerRefused) as missing:
        exchange.cancel("nothing")

    assert (ended.value.code, missing.value.code) == ("not_open", "not_found")


def test_more_than_is_available_cannot_be_paid_out() -> None:
    exchange = _market(cash=100)

    with pytest.raises(BrokerRefused):
        exchange.engine.transfer(ACCOUNT, d(-101), now=exchange.now)


def test_an_order_id_is_remembered_after_the_order_ended() -> None:
    exchange = _market()
    order = exchange.buy(1)
    exchange.later(timedelta(hours=1).total_seconds())

    found = exchange.engine.find(ACCOUNT, order.client_order_id)

    assert found is not None
    assert found.status is OrderStatus.FILLED
