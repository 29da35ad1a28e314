"""The paper broker over its tables: restarts, failed commits, two processes, prices, the pump."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeVar, cast

import pytest
from apiflask import APIFlask
from gevent.event import Event
from sqlalchemy import func, select

from app import clock
from app.brokers.base import AccountRef
from app.brokers.paper import PaperBroker, storage
from app.domain.errors import BrokerRefused, BrokerUnavailable, Unavailable
from app.domain.trading import (
    BrokerReport,
    LegTicket,
    OrderStatus,
    OrderTicket,
    OrderType,
    Side,
    TimeInForce,
)
from app.extensions import writer
from app.models import PaperLedgerRow, PaperOrderRow
from app.transactions import Tx, Writer
from tests import factories
from tests.contract.brokers import CONTRACT, PaperRig, paper, ref

T = TypeVar("T")
Item = TypeVar("Item")


@pytest.fixture
def rig(app: APIFlask) -> Iterator[PaperRig]:
    rig = paper()
    yield rig
    rig.broker.stop()


def _buy(quantity: int, **terms: Any) -> OrderTicket:
    return _ticket(Side.BUY, quantity, **terms)


def _sell(quantity: int, **terms: Any) -> OrderTicket:
    return _ticket(Side.SELL, quantity, **terms)


def _ticket(side: Side, quantity: int, contract: str = CONTRACT, **terms: Any) -> OrderTicket:
    if "limit_price" in terms:
        terms = {"order_type": OrderType.LIMIT, **terms}
    return OrderTicket(contract, side, Decimal(quantity), **terms)


def _bracket(quantity: int, price: int) -> OrderTicket:
    return _buy(
        quantity,
        limit_price=Decimal(price),
        take_profit=LegTicket("tp", offset=Decimal(20)),
        stop_loss=LegTicket("sl", offset=Decimal(10)),
    )


def _stored(account: AccountRef) -> storage.State:
    with writer.read() as connection:
        state = storage.load(connection, account.id)
    assert state is not None
    return state


def _remembered(rig: PaperRig) -> tuple[Any, ...]:
    engine = rig.broker._engine
    return (
        engine.account(rig.account.id),
        engine.positions(rig.account.id),
        engine.open_orders(rig.account.id),
    )


def _assert_memory_is_the_database(rig: PaperRig) -> None:
    state = _stored(rig.account)
    held = [position for position in state.positions if position.net_pos]
    assert _remembered(rig) == (state.account, held, state.orders)


def _assert_ledger_adds_up(account: AccountRef) -> None:
    with writer.read() as connection:
        rows = connection.execute(
            select(PaperLedgerRow.available_change, PaperLedgerRow.reserved_change).where(
                PaperLedgerRow.account_id == account.id
            )
        ).all()
    state = _stored(account)
    reserved = sum((row.reserved_change for row in rows), Decimal(0))
    assert sum((row.available_change for row in rows), Decimal(0)) + reserved == state.account.cash
    bound = sum((o.hold for o in state.orders), Decimal(0))
    bound += sum((p.margin for p in state.positions), Decimal(0))
    assert reserved == state.account.reserved == bound


def test_what_is_in_memory_is_what_is_stored(rig: PaperRig) -> None:
    place = rig.broker.place_order
    place(rig.account, _bracket(3, 19990), client_order_id="entry")
    place(rig.account, _buy(1), client_order_id="market")
    place(rig.account, _sell(2, limit_price=Decimal(20050)), client_order_id="limit")

    rig.move("19989.75", "19990")

    _assert_memory_is_the_database(rig)
    _assert_ledger_adds_up(rig.account)
    assert len(rig.broker.working_orders(rig.account)) == 3


def test_everything_survives_a_restart(rig: PaperRig) -> None:
    rig.broker.place_order(rig.account, _bracket(3, 19990), client_order_id="entry")
    rig.move("19989.75", "19990")

    restarted = paper(rig.board, rig.account)
    restarted.move("20010", "20010.25")

    [told] = restarted.heard
    assert {order.client_order_id for order in told.orders} == {"tp", "sl"}
    assert restarted.broker.positions(rig.account) == []
    assert restarted.broker.find_order(rig.account, "tp") is not None
    _assert_memory_is_the_database(restarted)
    _assert_ledger_adds_up(rig.account)


class LameWriter:
    """Writes through to the real writer, except for the next ``failures`` works. With
    ``after_commit`` these are durable, and only the answer is lost."""

    def __init__(self) -> None:
        self.failures = 0
        self.after_commit = False
        self.runs = 0
        self.read = writer.read

    def run_batched(self, work: Callable[[Tx, list[Item]], list[T]], item: Item) -> T:
        self.runs += 1
        if not self.failures:
            return writer.run_batched(work, item)
        self.failures -= 1
        if self.after_commit:
            writer.run_batched(work, item)
        raise Unavailable("the database is away")


def _lame(rig: PaperRig) -> tuple[PaperRig, LameWriter]:
    lame = LameWriter()
    broker = PaperBroker(cast("Writer", lame), rig.board)
    return PaperRig(broker, rig.board, rig.account), lame


@pytest.mark.parametrize("after_commit", [False, True], ids=["not stored", "answer lost"])
def test_a_failed_commit_leaves_memory_equal_to_the_database(
    rig: PaperRig, after_commit: bool
) -> None:
    rig, lame = _lame(rig)
    rig.broker.place_order(rig.account, _bracket(2, 19990), client_order_id="entry")
    lame.failures, lame.after_commit = 1, after_commit

    with pytest.raises(BrokerUnavailable):
        rig.broker.place_order(rig.account, _buy(1), client_order_id="lost")

    found = rig.broker.find_order(rig.account, "lost")
    assert (found is not None) is after_commit
    rig.broker.place_order(rig.account, _buy(1), client_order_id="lost")
    _assert_memory_is_the_database(rig)
    _assert_ledger_adds_up(rig.account)
    [position] = rig.broker.positions(rig.account)
    assert position.net_pos == 1


def test_a_match_that_could_not_be_stored_happens_at_the_next_quote(rig: PaperRig) -> None:
    rig, lame = _lame(rig)
    rig.broker.place_order(rig.account, _bracket(2, 19990), client_order_id="entry")
    lame.failures = 1

    rig.move("19989.75", "19990")
    assert rig.broker.positions(rig.account) == []
    rig.broker._refreshed_at = None
    rig.move("19989.75", "19990")

    [position] = rig.broker.positions(rig.account)
    assert position.net_pos == 2
    _assert_memory_is_the_database(rig)


def test_two_processes_never_act_on_an_old_state(rig: PaperRig) -> None:
    other = paper(rig.board, rig.account)
    for number in range(6):
        broker = (rig, other)[number % 2].broker
        broker.place_order(rig.account, _buy(1), client_order_id=f"o{number}")

    other.broker.cancel_order(
        rig.account,
        rig.broker.place_order(rig.account, _bracket(1, 19990), client_order_id="entry")
        .orders[0]
        .client_order_id
        or "",
    )
    rig.move("19989.75", "19990")

    [position] = rig.broker.positions(rig.account)
    assert position.net_pos == 6
    assert len(rig.broker.fills(rig.account)) == 6
    _assert_memory_is_the_database(rig)
    _assert_ledger_adds_up(rig.account)


def test_a_round_that_changes_nothing_writes_nothing(rig: PaperRig) -> None:
    rig, lame = _lame(rig)
    rig.broker.place_order(rig.account, _bracket(2, 19990), client_order_id="entry")
    runs = lame.runs

    rig.move("19995", "19995.25")
    rig.move("19990.25", "19990.50")

    assert lame.runs == runs


def test_an_order_expires_although_no_quote_comes(
    rig: PaperRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    expire_at = clock.now() + timedelta(minutes=1)
    ticket = _buy(
        1, contract="HSI1!", limit_price=Decimal(10), tif=TimeInForce.GTD, expire_at=expire_at
    )
    rig.broker.place_order(rig.account, ticket, client_order_id="gtd")
    monkeypatch.setattr(clock, "now", lambda: expire_at)

    rig.broker.beat()

    assert [order.status for order in rig.heard[-1].orders] == [OrderStatus.EXPIRED]
    assert _stored(rig.account).account.reserved == 0


def test_what_nobody_prices_is_rejected(rig: PaperRig) -> None:
    report = rig.broker.place_order(rig.account, _buy(1, contract="HSI1!"), client_order_id="blind")

    assert [(o.status, o.reason) for o in report.orders] == [(OrderStatus.REJECTED, "no_price")]


def test_the_alerts_own_price_fills_where_no_feed_knows_the_symbol(rig: PaperRig) -> None:
    ticket = _buy(1, contract="HSI1!", reference_price=Decimal("200.50"))

    report = rig.broker.place_order(rig.account, ticket, client_order_id="alert")

    assert [fill.price for fill in report.fills] == [Decimal("200.51")]


@pytest.mark.parametrize("price", ["NaN", "0", "-5", "1E+40"])
def test_an_absurd_price_of_an_alert_is_no_price(rig: PaperRig, price: str) -> None:
    ticket = _buy(1, contract="HSI1!", reference_price=Decimal(price))

    report = rig.broker.place_order(rig.account, ticket, client_order_id="alert")

    assert report.orders[0].reason == "no_price"


def test_the_feeds_price_wins_over_the_alerts(rig: PaperRig) -> None:
    ticket = _buy(1, reference_price=Decimal(5))

    report = rig.broker.place_order(rig.account, ticket, client_order_id="alert")

    assert report.fills[0].price == Decimal("20000.50")


def test_what_an_alert_opened_can_be_closed_without_one(rig: PaperRig) -> None:
    opening = _buy(1, contract="HSI1!", reference_price=Decimal(200))
    rig.broker.place_order(rig.account, opening, client_order_id="in")

    report = rig.broker.place_order(
        rig.account, _sell(1, contract="HSI1!", reduce_only=True), client_order_id="out"
    )

    assert report.orders[0].status is OrderStatus.FILLED
    assert rig.broker.positions(rig.account) == []


def test_an_id_of_an_order_that_ended_long_ago_is_still_known(rig: PaperRig) -> None:
    first = rig.broker.place_order(rig.account, _buy(1), client_order_id="old")

    restarted = paper(rig.board, rig.account)
    again = restarted.broker.place_order(rig.account, _buy(9), client_order_id="old")

    assert again == first
    _assert_ledger_adds_up(rig.account)


def test_what_a_crash_left_untold_is_told_at_the_start(rig: PaperRig) -> None:
    rig.broker.place_order(rig.account, _bracket(2, 19990), client_order_id="entry")
    rig.broker._listeners.clear()
    rig.broker.subscribe(_crash)
    rig.move("19989.75", "19990")

    restarted = paper(rig.board, rig.account)
    heard = _started(restarted)

    assert {o.client_order_id: o.status for o in heard.orders}["entry"] is OrderStatus.FILLED
    assert [fill.quantity for fill in heard.fills] == [Decimal(2)]


def _crash(_account: AccountRef, _report: BrokerReport) -> None:
    raise RuntimeError("the listener cannot take it now")


def _started(rig: PaperRig) -> BrokerReport:
    """What the pump tells first."""
    told = Event()
    rig.broker.subscribe(lambda _account, _report: told.set())
    rig.broker.start()
    try:
        assert told.wait(timeout=5)
    finally:
        rig.broker.stop()
    return rig.heard[0]


def test_after_a_clean_stop_nothing_is_told_twice(rig: PaperRig) -> None:
    rig.broker.place_order(rig.account, _bracket(2, 19990), client_order_id="entry")
    rig.broker.start()
    rig.move("19989.75", "19990")
    rig.broker.stop()

    restarted = paper(rig.board, rig.account)
    restarted.broker.start()
    restarted.broker.stop()

    assert restarted.heard == []


def test_a_listener_that_failed_is_told_again_in_order(rig: PaperRig) -> None:
    failures = [RuntimeError("once")]
    told: list[BrokerReport] = []

    def listen(_account: AccountRef, report: BrokerReport) -> None:
        if failures:
            raise failures.pop()
        told.append(report)

    rig.broker._listeners[:] = [listen]
    rig.broker.place_order(rig.account, _bracket(2, 19990), client_order_id="entry")
    rig.move("19989.75", "19990")
    assert told == []

    rig.move("20010", "20010.25")

    assert [{o.client_order_id for o in r.orders} for r in told] == [
        {"entry", "tp", "sl"},
        {"tp", "sl"},
    ]


def test_the_pump_fills_resting_orders_by_itself(rig: PaperRig) -> None:
    rig.broker.place_order(rig.account, _bracket(2, 19990), client_order_id="entry")
    rig.board.show(CONTRACT, "19989.75", "19990")

    filled = Event()
    rig.broker.subscribe(lambda _account, report: filled.set() if report.fills else None)

    rig.broker.start()

    assert filled.wait(timeout=5)
    rig.broker.stop()
    assert [fill.client_order_id for fill in rig.heard[-1].fills] == ["entry"]


def test_another_process_that_does_not_lead_matches_nothing(rig: PaperRig) -> None:
    rig.broker.place_order(rig.account, _bracket(2, 19990), client_order_id="entry")
    follower = PaperBroker(writer, rig.board, leads=lambda: False)
    rig.board.show(CONTRACT, "19989.75", "19990")

    follower.beat()

    assert rig.broker.positions(rig.account) == []


def test_an_account_that_was_never_opened_is_refused(rig: PaperRig) -> None:
    stranger = ref(factories.account(factories.user()))

    with pytest.raises(BrokerRefused) as refused:
        rig.broker.place_order(stranger, _buy(1), client_order_id="x")

    assert refused.value.code == "not_found"


def test_money_is_paid_in_and_out(rig: PaperRig) -> None:
    rig.broker.transfer(rig.account, Decimal(500))
    rig.broker.transfer(rig.account, Decimal(-10_400))

    with pytest.raises(BrokerRefused):
        rig.broker.transfer(rig.account, Decimal(-101))

    assert rig.broker.balance(rig.account).cash == 100
    _assert_ledger_adds_up(rig.account)


def test_rejected_orders_are_kept_and_move_no_money(rig: PaperRig) -> None:
    rig.broker.place_order(rig.account, _buy(0), client_order_id="zero")

    with writer.read() as connection:
        kept = connection.scalar(select(func.count(PaperOrderRow.id)))
        moved = connection.scalar(select(func.count(PaperLedgerRow.id)))
    assert (kept, moved) == (1, 1)
