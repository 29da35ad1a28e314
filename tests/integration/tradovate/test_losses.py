"""What is told once is not lost, whatever breaks off in the middle of telling it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import count

import gevent
import pytest
import time_machine

from app import clock
from app.brokers.base import AccountRef
from app.domain.errors import BrokerUnavailable
from app.domain.trading import BrokerReport, LegTicket, OrderTicket, OrderType, Side, SoughtOrder
from tests.simulators.tradovate.control import Simulator, running
from tests.tradovate import CONTRACT, LOGIN, TradovateDesk

STRATEGY = "orderstrategy/startorderstrategy"
_ids = count(1)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running() as simulator:
        yield simulator


@pytest.fixture
def desk(simulator: Simulator) -> Iterator[TradovateDesk]:
    desk = TradovateDesk(simulator)
    yield desk
    desk.stop()


@pytest.fixture
def streamless(simulator: Simulator) -> Iterator[TradovateDesk]:
    desk = TradovateDesk(simulator, has_stream=False)
    desk.broker.poll(LOGIN)
    yield desk
    desk.stop()


def _round_trip(desk: TradovateDesk) -> set[str]:
    """Somebody buys and sells again at another terminal: nothing is held before and after."""
    before = {f["id"] for f in desk.simulator.book()["fills"]}
    for action in ("Buy", "Sell"):
        desk.simulator.manual_trade(desk.number, CONTRACT, action, 1)
    return {str(f["id"]) for f in desk.simulator.book()["fills"] if f["id"] not in before}


def _heard(desk: TradovateDesk) -> set[str]:
    return {fill.fill_id for report in desk.heard for fill in report.fills}


def test_what_a_broken_poll_has_read_is_told_by_it_or_the_next(streamless: TradovateDesk) -> None:
    streamless.simulator.set(charge_fees=False)  # a fee that comes later would tell it again
    _round_trip(streamless)  # ... and so would the name of the contract
    streamless.broker.poll(LOGIN)
    fills = _round_trip(streamless)
    streamless.simulator.rule("fillfee/list", {"status": 500}, times=None)

    with pytest.raises(BrokerUnavailable):
        streamless.broker.poll(LOGIN)
    streamless.simulator.clear_rules()
    streamless.broker.poll(LOGIN)

    assert _heard(streamless) >= fills


def test_what_a_broken_synchronisation_has_read_is_told_by_the_next(desk: TradovateDesk) -> None:
    desk.simulator.post("cut_sockets")
    fills = _round_trip(desk)
    desk.simulator.rule("order/list", {"status": 500}, times=3)

    desk.until(lambda: not desk.is_live())
    desk.until(desk.is_live)

    assert _heard(desk) >= fills


def test_a_poll_that_is_cut_short_while_it_tells_tells_the_rest_later(
    streamless: TradovateDesk,
) -> None:
    first = streamless.account
    row = streamless.simulator.add_account(cash="10000")
    second = replace(first, id=2, broker_account_id=str(row["id"]))
    streamless.store.refs = (first, second)
    streamless.broker.poll(LOGIN)
    fills = _round_trip(streamless)
    is_cut: list[bool] = []

    def hang(_account: AccountRef, _report: BrokerReport) -> None:
        if not is_cut:
            is_cut.append(True)
            gevent.sleep(5)

    streamless.broker._listeners.insert(0, hang)
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.5):
        streamless.broker.poll(LOGIN)
    streamless.until(lambda: _heard(streamless) >= fills)


def test_what_others_do_while_a_strategy_is_refused_is_told(desk: TradovateDesk) -> None:
    leg = LegTicket("e-sl", offset=Decimal(10))
    ticket = OrderTicket(CONTRACT, Side.BUY, Decimal(1), stop_loss=leg)
    desk.simulator.rule(STRATEGY, "hang")
    sending = gevent.spawn(desk.broker.place_order, desk.account, ticket, client_order_id="e")
    desk.until(lambda: bool(desk.simulator.requests(STRATEGY)))

    fills = _round_trip(desk)
    desk.simulator.clear_rules()
    with pytest.raises(BrokerUnavailable):
        sending.get(timeout=10)

    desk.until(lambda: _heard(desk) >= fills)


def test_what_is_told_of_an_accepted_order_is_news_even_where_our_clock_is_ahead(
    streamless: TradovateDesk,
) -> None:
    ticket = OrderTicket(CONTRACT, Side.BUY, Decimal(1), OrderType.LIMIT, Decimal(19990))
    streamless.simulator.rule("order/items", {"status": 500}, times=None)

    with time_machine.travel(clock.now() + timedelta(minutes=2)):
        accepted = streamless.broker.place_order(streamless.account, ticket, client_order_id="a")
        streamless.simulator.clear_rules()
        told = streamless.broker.find_order(streamless.account, "a")

    assert told is not None
    assert told.at >= accepted.orders[0].at


@pytest.mark.parametrize("minutes", [-2, 2])
def test_where_no_id_comes_back_an_order_is_found_whatever_our_clock_says(
    streamless: TradovateDesk, minutes: int
) -> None:
    buy, price = OrderType.LIMIT, Decimal(19000)
    with time_machine.travel(clock.now() + timedelta(minutes=minutes)):
        sent_at = clock.now()
        sought = SoughtOrder(
            "lost", None, CONTRACT, Side.BUY, Decimal(2), buy, price, None, sent_at
        )
        streamless.simulator.manual_order(
            account_id=streamless.number,
            contract=CONTRACT,
            action="Buy",
            qty=2,
            order_type="Limit",
            price="19000",
        )
        later = replace(sought, client_order_id="other", sent_at=sent_at + timedelta(minutes=1))
        of_later = streamless.broker.find_order(streamless.account, "other", sought=later)
        found = streamless.broker.find_order(streamless.account, "lost", sought=sought)

    assert found is not None
    assert of_later is None


@pytest.mark.parametrize(
    "lost", [("orderStrategy",), ("orderStrategyLink",), ("orderStrategy", "orderStrategyLink")]
)
def test_a_strategy_of_which_nobody_told_is_found_by_its_id(
    desk: TradovateDesk, lost: tuple[str, ...]
) -> None:
    """Otherwise its entry would be proven not to exist, and be sent again."""
    client_order_id = f"lost{next(_ids)}"
    legs = [LegTicket(f"{client_order_id}-{leg}", offset=Decimal(500)) for leg in ("tp", "sl")]
    ticket = OrderTicket(CONTRACT, Side.BUY, Decimal(1), take_profit=legs[0], stop_loss=legs[1])
    desk.simulator.disturb_events("lose", None, entity_types=lost)
    desk.simulator.rule(STRATEGY, {"status_after": 500})

    with pytest.raises(BrokerUnavailable):
        desk.broker.place_order(desk.account, ticket, client_order_id=client_order_id)
    found = desk.broker.find_order(desk.account, client_order_id)

    assert found is not None
    assert found.client_order_id == client_order_id
    assert found.filled_quantity == 1
