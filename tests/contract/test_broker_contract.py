"""What every broker must do, whoever it is. A new broker adds its rig to ``rig`` and passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from decimal import Decimal
from functools import partial
from itertools import count
from typing import Any

import pytest
from apiflask import APIFlask

from app import clock
from app.domain.errors import BrokerRefused
from app.domain.trading import (
    BrokerOrder,
    BrokerReport,
    LegTicket,
    OrderStatus,
    OrderTicket,
    OrderType,
    Side,
)
from tests.simulators.tradovate.control import Simulator, running
from tests.tradovate import CONTRACT

from .brokers import Rig, on_paper, on_tradovate

RIGS: dict[str, Callable[[Simulator], AbstractContextManager[Rig]]] = {
    "paper": on_paper,
    "tradovate": on_tradovate,
    "tradovate without its stream": partial(on_tradovate, has_stream=False),
}
_ids = count(1)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running() as simulator:
        yield simulator


@pytest.fixture(params=list(RIGS))
def rig(request: pytest.FixtureRequest, app: APIFlask, simulator: Simulator) -> Iterator[Rig]:
    with RIGS[request.param](simulator) as rig:
        yield rig


def _id() -> str:
    return f"contract{next(_ids)}"


def _ticket(side: Side, quantity: int, **terms: Any) -> OrderTicket:
    prices = {key: Decimal(terms.pop(key)) for key in ("limit", "stop") if key in terms}
    kind = OrderType.MARKET
    if prices:
        kind = OrderType.LIMIT if "limit" in prices else OrderType.STOP
    return OrderTicket(
        CONTRACT,
        side,
        Decimal(quantity),
        kind,
        prices.get("limit"),
        prices.get("stop"),
        **terms,
    )


def _place(rig: Rig, ticket: OrderTicket, key: str | None = None) -> tuple[str, BrokerReport]:
    key = key or _id()
    return key, rig.broker.place_order(rig.account, ticket, client_order_id=key)


def _state(report: BrokerReport, key: str) -> BrokerOrder:
    return next(order for order in report.orders if order.client_order_id == key)


def _found(rig: Rig, key: str) -> BrokerOrder:
    order = rig.broker.find_order(rig.account, key)
    assert order is not None
    return order


def _net_pos(rig: Rig) -> Decimal:
    held = {p.contract: p.net_pos for p in rig.broker.positions(rig.account)}
    return held.get(CONTRACT, Decimal(0))


def test_a_market_order_fills_and_is_reported_with_its_fills(rig: Rig) -> None:
    key, report = _place(rig, _ticket(Side.BUY, 2))

    order = _state(report, key)
    assert order.status is OrderStatus.FILLED
    assert order.filled_quantity == sum(fill.quantity for fill in report.fills) == 2
    assert {fill.client_order_id for fill in report.fills} == {key}
    assert {fill.broker_order_id for fill in report.fills} == {order.broker_order_id}
    assert all(fill.fee >= 0 for fill in report.fills)
    assert order.avg_fill_price is not None
    assert order.avg_fill_price >= Decimal("20000.25")


def test_a_position_is_signed_and_has_its_average_price(rig: Rig) -> None:
    _, report = _place(rig, _ticket(Side.SELL, 3))

    [position] = [p for p in rig.broker.positions(rig.account) if p.net_pos]

    assert (position.contract, position.net_pos) == (CONTRACT, Decimal(-3))
    assert position.avg_price == report.fills[0].price


def test_the_same_client_id_again_returns_the_first_order(rig: Rig) -> None:
    key, first = _place(rig, _ticket(Side.BUY, 1))

    _, again = _place(rig, _ticket(Side.SELL, 5), key)

    assert _state(again, key) == _state(first, key)
    assert again.fills == first.fills
    assert _net_pos(rig) == 1


def test_a_resting_order_is_listed_until_it_is_cancelled(rig: Rig) -> None:
    key, report = _place(rig, _ticket(Side.BUY, 1, limit="19000"))
    assert _state(report, key).status is OrderStatus.WORKING
    assert [o.client_order_id for o in rig.broker.working_orders(rig.account)] == [key]

    cancelled = rig.broker.cancel_order(rig.account, key)

    assert _state(cancelled, key).status is OrderStatus.CANCELLED
    assert rig.broker.working_orders(rig.account) == []
    assert _found(rig, key).status is OrderStatus.CANCELLED


def test_what_is_not_open_cannot_be_cancelled(rig: Rig) -> None:
    key, _ = _place(rig, _ticket(Side.BUY, 1))

    with pytest.raises(BrokerRefused) as ended:
        rig.broker.cancel_order(rig.account, key)
    with pytest.raises(BrokerRefused) as unknown:
        rig.broker.cancel_order(rig.account, _id())

    assert (ended.value.code, unknown.value.code) == ("not_open", "not_found")


def test_an_order_that_was_never_placed_is_not_found(rig: Rig) -> None:
    assert rig.broker.find_order(rig.account, _id()) is None


@pytest.mark.parametrize("quantity", [0, -1])
def test_nothing_works_after_a_refusal(rig: Rig, quantity: int) -> None:
    key = _id()
    try:
        report = rig.broker.place_order(
            rig.account, _ticket(Side.BUY, quantity), client_order_id=key
        )
    except BrokerRefused:
        pass
    else:
        order = _state(report, key)
        assert order.status is OrderStatus.REJECTED
        assert order.reason

    assert rig.broker.working_orders(rig.account) == []
    assert _net_pos(rig) == 0


def test_what_happens_by_itself_is_told_to_listeners(rig: Rig) -> None:
    key, _ = _place(rig, _ticket(Side.BUY, 1, limit="19990"))

    rig.move("19989.75", "19990")

    told = {(o.client_order_id, o.status) for report in rig.heard for o in report.orders}
    assert told == {(key, OrderStatus.FILLED)}
    fills = {fill.fill_id: fill for report in rig.heard for fill in report.fills}
    assert [fill.client_order_id for fill in fills.values()] == [key]
    assert _found(rig, key).avg_fill_price == Decimal(19990)


def test_a_price_that_reaches_nothing_tells_nothing(rig: Rig) -> None:
    _place(rig, _ticket(Side.BUY, 1, limit="19990"))

    rig.move("19995", "19995.25")

    assert [report for report in rig.heard if report.fills or not report.is_complete] == []


def test_the_legs_of_a_bracket_wait_for_the_entry_and_end_each_other(rig: Rig) -> None:
    target, stop = _id(), _id()
    ticket = _ticket(
        Side.BUY,
        2,
        limit="19990",
        take_profit=LegTicket(target, offset=Decimal(20)),
        stop_loss=LegTicket(stop, offset=Decimal(10)),
    )
    _, report = _place(rig, ticket)
    assert {_state(report, k).status for k in (target, stop)} == {OrderStatus.INACTIVE}

    rig.move("19989.75", "19990")
    assert _found(rig, target).limit_price == Decimal(20010)
    assert _found(rig, stop).stop_price == Decimal(19980)
    assert _found(rig, stop).status is OrderStatus.WORKING

    rig.move("20010", "20010.25")
    assert _found(rig, target).status is OrderStatus.FILLED
    assert _found(rig, stop).status is OrderStatus.CANCELLED
    assert _net_pos(rig) == 0


def test_a_cancelled_entry_takes_its_legs_along(rig: Rig) -> None:
    stop = _id()
    ticket = _ticket(Side.BUY, 1, limit="19990", stop_loss=LegTicket(stop, price=Decimal(19980)))
    key, _ = _place(rig, ticket)

    rig.broker.cancel_order(rig.account, key)

    assert _found(rig, stop).status is OrderStatus.CANCELLED
    assert rig.broker.working_orders(rig.account) == []


def test_of_two_linked_orders_one_ends_the_other(rig: Rig) -> None:
    _place(rig, _ticket(Side.BUY, 2))
    ids = (_id(), _id())
    rig.broker.place_oco(
        rig.account,
        _ticket(Side.SELL, 2, limit="20010", reduce_only=True),
        _ticket(Side.SELL, 2, stop="19980", reduce_only=True),
        ids=ids,
    )
    assert {o.client_order_id for o in rig.broker.working_orders(rig.account)} == set(ids)

    rig.move("19979", "19979.25")

    assert [_found(rig, key).status for key in ids] == [OrderStatus.CANCELLED, OrderStatus.FILLED]
    assert _net_pos(rig) == 0


def test_an_exit_never_opens_a_position(rig: Rig) -> None:
    _place(rig, _ticket(Side.BUY, 1))

    _place(rig, _ticket(Side.SELL, 5, reduce_only=True))

    assert _net_pos(rig) == 0


def test_fills_are_listed_oldest_first_from_a_time_on(rig: Rig) -> None:
    _, first = _place(rig, _ticket(Side.BUY, 1))
    _, second = _place(rig, _ticket(Side.BUY, 2))
    began = first.fills[0].at

    fills = rig.broker.fills(rig.account)

    assert fills == [*first.fills, *second.fills]
    assert len({fill.fill_id for fill in fills}) == len(fills)
    assert rig.broker.fills(rig.account, began) == fills
    assert rig.broker.fills(rig.account, clock.now() + timedelta(minutes=1)) == []


def test_the_balance_counts_fees_and_open_profit(rig: Rig) -> None:
    before = rig.broker.balance(rig.account)
    _, report = _place(rig, _ticket(Side.BUY, 1))
    [fill] = report.fills

    rig.move("20020", "20020.25")
    after = rig.broker.balance(rig.account)

    assert (before.currency, before.cash, before.equity) == ("USD", Decimal(10_000), before.cash)
    assert after.cash == before.cash - fill.fee
    assert after.equity == after.cash + (Decimal(20020) - fill.price) * 2
    assert after.reserved >= 0


def test_a_resting_order_takes_new_terms(rig: Rig) -> None:
    key, _ = _place(rig, _ticket(Side.BUY, 1, limit="19000"))

    report = rig.broker.modify_order(
        rig.account, key, quantity=Decimal(2), limit_price=Decimal("19990")
    )

    for order in (_state(report, key), _found(rig, key)):
        assert (order.status, order.quantity) == (OrderStatus.WORKING, Decimal(2))
        assert order.limit_price == Decimal(19990)
    rig.move("19989.75", "19990")
    assert _found(rig, key).status is OrderStatus.FILLED
    assert _net_pos(rig) == 2


def test_a_leg_takes_a_new_price(rig: Rig) -> None:
    stop = _id()
    ticket = _ticket(Side.BUY, 1, stop_loss=LegTicket(stop, offset=Decimal(10)))
    _place(rig, ticket)

    rig.broker.modify_order(rig.account, stop, quantity=Decimal(1), stop_price=Decimal("19985.5"))

    assert _found(rig, stop).stop_price == Decimal("19985.5")
    rig.move("19985.25", "19985.5")
    assert _found(rig, stop).status is OrderStatus.FILLED
    assert _net_pos(rig) == 0


def test_what_is_not_open_takes_no_new_terms(rig: Rig) -> None:
    key, _ = _place(rig, _ticket(Side.BUY, 1))

    with pytest.raises(BrokerRefused) as ended:
        rig.broker.modify_order(rig.account, key, quantity=Decimal(2))
    with pytest.raises(BrokerRefused) as unknown:
        rig.broker.modify_order(rig.account, _id(), quantity=Decimal(2))

    assert (ended.value.code, unknown.value.code) == ("not_open", "not_found")


def test_a_snapshot_has_everything_that_is_open(rig: Rig) -> None:
    _place(rig, _ticket(Side.BUY, 2))
    key, _ = _place(rig, _ticket(Side.BUY, 1, limit="19000"))

    report = rig.broker.snapshot(rig.account)

    assert report.is_complete
    assert [order.client_order_id for order in report.orders] == [key]
    assert [(p.contract, p.net_pos) for p in report.positions] == [(CONTRACT, Decimal(2))]
    assert report.balance is not None
    assert report.balance.cash == rig.broker.balance(rig.account).cash


def test_flattening_leaves_nothing_open(rig: Rig) -> None:
    _place(rig, _ticket(Side.BUY, 2, stop_loss=LegTicket(_id(), offset=Decimal(10))))
    _place(rig, _ticket(Side.BUY, 1, limit="19000"))

    rig.broker.flatten(rig.account)

    assert rig.broker.working_orders(rig.account) == []
    assert _net_pos(rig) == 0
    rig.broker.flatten(rig.account)
    assert _net_pos(rig) == 0
