"""The broker's words in ours: numbers, instants, statuses, the fields of an order."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from app.brokers.tradovate import wire
from app.domain.errors import BrokerRefused
from app.domain.trading import OrderStatus, OrderTicket, OrderType, Side, TimeInForce


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2021-04-13T04:59:06.588Z", datetime(2021, 4, 13, 4, 59, 6, 588000, UTC)),
        ("2017-12-15T22:29Z", datetime(2017, 12, 15, 22, 29, tzinfo=UTC)),
        ("2017-12-15T22:29:01Z", datetime(2017, 12, 15, 22, 29, 1, tzinfo=UTC)),
        ("2017-12-15T22:29:01.123456789Z", datetime(2017, 12, 15, 22, 29, 1, 123456, UTC)),
        ("2017-12-15T16:29:01-06:00", datetime(2017, 12, 15, 22, 29, 1, tzinfo=UTC)),
        ("2017-12-15", datetime(2017, 12, 15, tzinfo=UTC)),
    ],
)
def test_instants_are_read_with_and_without_seconds(text: str, expected: datetime) -> None:
    assert wire.instant(text) == expected


@pytest.mark.parametrize("text", [None, "", "soon", "2017-13-15T22:29Z", 7, {}])
def test_what_is_no_instant_is_none(text: Any) -> None:
    assert wire.instant(text) is None


@pytest.mark.parametrize("text", ["20000.25", "0.0000005", "110.00390625", "6000", "-37.63"])
def test_a_price_goes_out_as_the_number_that_it_is(text: str) -> None:
    sent = json.dumps(wire.number(Decimal(text)))

    assert Decimal(sent) == Decimal(text)


@pytest.mark.parametrize("value", [None, True, "NaN", "x", [], float("inf")])
def test_what_is_no_number_is_none(value: Any) -> None:
    assert wire.decimal(value) is None


@pytest.mark.parametrize("quantity", ["0", "-1", "1.5"])
def test_only_whole_contracts_are_sent(quantity: str) -> None:
    with pytest.raises(BrokerRefused) as refused:
        wire.quantity(Decimal(quantity))

    assert refused.value.code == "invalid_quantity"


@pytest.mark.parametrize(
    ("name", "filled", "expected"),
    [
        ("PendingNew", 0, OrderStatus.WORKING),
        ("Working", 0, OrderStatus.WORKING),
        ("Working", 1, OrderStatus.PARTIALLY_FILLED),
        ("Working", 2, OrderStatus.FILLED),
        ("PendingReplace", 1, OrderStatus.PARTIALLY_FILLED),
        ("PendingCancel", 1, OrderStatus.CANCEL_PENDING),
        ("Suspended", 0, OrderStatus.INACTIVE),
        ("Filled", 0, OrderStatus.FILLED),
        ("Canceled", 1, OrderStatus.CANCELLED),
        ("Rejected", 0, OrderStatus.REJECTED),
        ("Expired", 0, OrderStatus.EXPIRED),
        ("Completed", 2, OrderStatus.FILLED),
        ("Completed", 1, OrderStatus.CANCELLED),
        ("Unknown", 0, OrderStatus.WORKING),
        ("Unknown", 2, OrderStatus.FILLED),
        ("Quantum", 1, OrderStatus.PARTIALLY_FILLED),
    ],
)
def test_statuses_become_ours(name: str, filled: int, expected: OrderStatus) -> None:
    assert wire.status_of(name, Decimal(2), Decimal(filled)) is expected


def test_a_leg_that_may_grow_is_filled_when_the_broker_says_so() -> None:
    two = Decimal(2)

    assert wire.status_of("Working", two, two, may_grow=True) is OrderStatus.PARTIALLY_FILLED
    assert wire.status_of("Filled", two, two, may_grow=True) is OrderStatus.FILLED


def _terms(kind: OrderType, **more: Any) -> dict[str, Any]:
    return wire.terms(OrderTicket("MNQZ6", Side.BUY, Decimal(1), kind, **more))


def test_every_order_says_its_time_in_force() -> None:
    assert _terms(OrderType.MARKET)["timeInForce"] == "Day"
    assert _terms(OrderType.LIMIT, limit_price=Decimal(1))["timeInForce"] == "GTC"
    until = datetime(2026, 11, 20, 21, tzinfo=UTC)
    fields = _terms(OrderType.LIMIT, limit_price=Decimal(1), tif=TimeInForce.GTD, expire_at=until)
    assert (fields["timeInForce"], fields["expireTime"]) == ("GTD", "2026-11-20T21:00:00.000Z")


def test_the_trigger_of_a_stop_goes_into_its_own_field() -> None:
    stop = _terms(OrderType.STOP, stop_price=Decimal("19980.5"))
    both = _terms(OrderType.STOP_LIMIT, stop_price=Decimal(2), limit_price=Decimal(3))

    assert (stop["orderType"], stop["stopPrice"], "price" in stop) == ("Stop", 19980.5, False)
    assert (both["orderType"], both["stopPrice"], both["price"]) == ("StopLimit", 2, 3)


@pytest.mark.parametrize(
    "ticket",
    [
        OrderTicket("MNQZ6", Side.BUY, Decimal(1), OrderType.TRAILING_STOP),
        OrderTicket("MNQZ6", Side.BUY, Decimal(1), OrderType.LIMIT, Decimal(1), post_only=True),
    ],
)
def test_what_tradovate_does_not_offer_is_not_sent(ticket: OrderTicket) -> None:
    with pytest.raises(BrokerRefused) as refused:
        wire.terms(ticket)

    assert refused.value.code == "unsupported"
