"""Fills that no order of ours explains: whose they are, what they close, what is told of them
later, and those of which it is not known yet whether they are ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
import time_machine

from app import clock
from app.brokers import registry
from app.brokers.base import AccountRef
from app.domain.trading import BrokerFill, BrokerOrder, BrokerReport, OrderStatus, OrderType, Side
from app.extensions import writer
from app.models import (
    Account,
    Book,
    Event,
    Fill,
    Order,
    RecordedPosition,
    Strategy,
    StrategyLog,
    Trade,
)
from app.services import fills
from app.transactions import Tx
from tests import factories
from tests.brokers import Does, FakeBroker
from tests.integration.trading.desk import Desk, Setup, contract_of, wait_until

CONTRACT = "MNQZ6"
_numbers = count(1)


class Floor:
    """A demo account at a broker, with what records and trades there."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.account: Account = desk.account("fake")
        self.ref: AccountRef = registry.ref(self.account)
        self.now = clock.now().replace(microsecond=0) - timedelta(minutes=10)

    def recorder(self, symbol: str | None = "MNQ1!", **columns: Any) -> Strategy:
        columns = {"recording": True, "demo_account_id": self.account.id, **columns}
        return factories.strategy(self.desk.user, symbol=symbol, **columns)

    def trader(self) -> Setup:
        return self.desk.setup(account=self.account)

    def fill(
        self,
        side: Side,
        quantity: int,
        *,
        at: int = 0,
        price: int = 20000,
        fee: str = "0",
        contract: str = CONTRACT,
        order: str | None = None,
        broker_order: str | None = None,
    ) -> BrokerFill:
        number = next(_numbers)
        return BrokerFill(
            fill_id=f"x{number}",
            client_order_id=order,
            broker_order_id=broker_order or f"B{number}",
            contract=contract,
            side=side,
            quantity=Decimal(quantity),
            price=Decimal(price),
            fee=Decimal(fee),
            at=self.now + timedelta(seconds=at),
        )

    def tell(self, *told: BrokerFill | BrokerOrder, source: str = "stream") -> None:
        report = BrokerReport(
            orders=tuple(t for t in told if isinstance(t, BrokerOrder)),
            fills=tuple(t for t in told if isinstance(t, BrokerFill)),
        )
        writer.run(lambda tx: fills.apply(tx, self.ref, report, source=source))

    def enter(self, setup: Setup, side: Side, quantity: int, *, at: int = 0) -> None:
        """A fill of an order of ours."""
        key = self.order(setup, side, quantity)
        self.tell(self.fill(side, quantity, at=at, order=key))

    def order(
        self, setup: Setup, side: Side, quantity: int, status: str = "submitting", **more: Any
    ) -> str:
        key = f"key{next(_numbers)}"
        columns: dict[str, Any] = {"role": "entry", "origin": "signal", **more}
        factories.store(
            Order(
                user_id=setup.account.user_id,
                account_id=setup.account.id,
                strategy_id=setup.strategy.id,
                trader_id=setup.trader.id,
                contract=CONTRACT,
                side=side.value,
                order_type="market",
                quantity=Decimal(quantity),
                client_order_id=key,
                status=status,
                **columns,
            )
        )
        return key

    def books(self) -> dict[tuple[int | None, int | None], int]:
        """(trader, strategy) → what is held, where that is not flat."""
        rows = self.desk.rows(Book, account_id=self.account.id)
        return {(r.trader_id, r.strategy_id): int(r.net_pos) for r in rows if r.net_pos}

    def rows(self, model: Any) -> list[Any]:
        return self.desk.rows(model, account_id=self.account.id)

    def log(self, event: str) -> list[str]:
        return [line.message for line in self.rows(StrategyLog) if line.event == event]


@pytest.fixture
def floor(desk: Desk) -> Floor:
    return Floor(desk)


# Whose it is.


def test_what_is_traded_on_the_demo_account_is_the_recorders(floor: Floor) -> None:
    recorder = floor.recorder()

    floor.tell(floor.fill(Side.BUY, 2))
    floor.tell(floor.fill(Side.SELL, 2, at=5, price=20010))

    [trade] = floor.rows(Trade)
    [position] = floor.rows(RecordedPosition)
    assert (trade.strategy_id, trade.trader_id, trade.net) == (recorder.id, None, 40)
    assert (position.strategy_id, position.exit_reason) == (recorder.id, "external")
    assert {f.strategy_id for f in floor.rows(Fill)} == {recorder.id}


@pytest.mark.parametrize(
    "columns",
    [
        {"recording": False},
        {"symbol": "ES1!"},
        {"demo_account_id": None},
        {"deleted_at": datetime.fromisoformat("2026-01-01T00:00:00+00:00")},
    ],
)
def test_a_recorder_that_does_not_watch_gets_nothing(floor: Floor, columns: dict[str, Any]) -> None:
    floor.recorder(**columns)

    floor.tell(floor.fill(Side.BUY, 1))

    assert floor.books() == {(None, None): 1}
    assert [p.strategy_id for p in floor.rows(RecordedPosition)] == [None]


def test_a_recorder_without_a_symbol_watches_every_product(floor: Floor) -> None:
    recorder = floor.recorder(symbol=None)

    floor.tell(floor.fill(Side.BUY, 1, contract="ESZ6"))

    assert floor.books() == {(None, recorder.id): 1}


def test_the_recorders_trader_on_that_account_has_it(floor: Floor) -> None:
    recorder = floor.recorder()
    trader = factories.trader(recorder, floor.account)

    floor.tell(floor.fill(Side.BUY, 1))

    assert floor.books() == {(trader.id, recorder.id): 1}


@pytest.mark.parametrize(
    ("age_s", "is_found"), [(0, True), (119, True), (121, False), (-60, False)]
)
def test_of_several_recorders_the_one_with_the_last_signal_has_it(
    floor: Floor, age_s: int, is_found: bool
) -> None:
    recorders = [floor.recorder() for _ in range(3)]
    parsed = [{"action": "buy", "symbol": "MNQ1!"}]
    fill = floor.fill(Side.BUY, 1)
    at = fill.at - timedelta(seconds=age_s)
    factories.signal(recorders[1], received_at=at, parsed=parsed, status="ignored")
    factories.signal(recorders[0], received_at=at - timedelta(seconds=1), parsed=parsed)
    if is_found:
        factories.signal(recorders[2], received_at=at, parsed=[{"action": "buy", "symbol": "ES1!"}])
        factories.signal(recorders[2], received_at=at, parsed=parsed, status="duplicate")

    floor.tell(fill)

    assert floor.books() == {(None, recorders[1].id if is_found else None): 1}


def test_two_recorders_books_of_one_contract_are_kept_apart(floor: Floor) -> None:
    first, second = floor.recorder(), floor.recorder()
    parsed = [{"action": "buy", "symbol": "MNQ1!"}]
    buys = [floor.fill(Side.BUY, 1, at=0), floor.fill(Side.BUY, 2, at=400)]
    for strategy, fill in zip((first, second), buys, strict=True):
        factories.signal(strategy, received_at=fill.at, parsed=parsed)
        floor.tell(fill)

    late = floor.fill(Side.BUY, 4, at=399)
    factories.signal(second, received_at=late.at, parsed=parsed)
    floor.tell(late)

    assert floor.books() == {(None, first.id): 1, (None, second.id): 6}
    assert len(floor.rows(RecordedPosition)) == 2


# What it closes.


def test_a_person_closes_a_traders_position_at_the_broker(floor: Floor) -> None:
    setup = floor.trader()
    floor.enter(setup, Side.BUY, 2)

    floor.tell(floor.fill(Side.SELL, 2, at=5, price=20010))

    [position] = setup.positions()
    assert (floor.books(), position.exit_reason) == ({}, "external")
    assert setup.trades()[0].net == 40
    assert ["closed by hand at the broker" in line for line in floor.log("closed_by_hand")] == [
        True
    ]


def test_what_exceeds_the_traders_position_is_a_new_one(floor: Floor) -> None:
    setup = floor.trader()
    floor.enter(setup, Side.BUY, 2)
    sale = floor.fill(Side.SELL, 5, at=5, fee="1.00")

    floor.tell(sale)
    floor.tell(sale)

    assert floor.books() == {(None, None): -3}
    parts = [(f.broker_fill_id, f.quantity, f.fee) for f in floor.rows(Fill)[1:]]
    assert parts == [
        (sale.fill_id, 2, Decimal("0.40")),
        (f"{sale.fill_id}~2", 3, Decimal("0.60")),
    ]


def test_a_repeat_of_a_long_list_changes_nothing(floor: Floor) -> None:
    setup = floor.trader()
    floor.enter(setup, Side.BUY, 2)
    list_ = [floor.fill(Side.SELL, 3, at=1, fee="0.9")]
    list_ += [floor.fill(Side.BUY, 1, at=n, fee="0.3") for n in range(2, 12)]
    floor.tell(*list_, source="poll")
    before, events = floor.books(), len(floor.desk.events())

    floor.tell(*list_, source="poll")

    assert floor.books() == before
    assert len(floor.desk.events()) == events


def test_an_order_of_ours_without_a_trader_closes_the_recorders_book(floor: Floor) -> None:
    recorder = floor.recorder()
    floor.tell(floor.fill(Side.BUY, 2))
    key = f"key{next(_numbers)}"
    factories.store(
        Order(
            user_id=floor.account.user_id,
            account_id=floor.account.id,
            contract=CONTRACT,
            side="sell",
            role="exit",
            origin="manual",
            order_type="market",
            quantity=Decimal(2),
            client_order_id=key,
            status="submitting",
        )
    )

    floor.tell(floor.fill(Side.SELL, 2, at=5, order=key))

    [trade] = floor.rows(Trade)
    assert (floor.books(), trade.strategy_id, trade.exit_reason) == ({}, recorder.id, "manual")
    [order] = floor.rows(Order)
    assert (order.status, order.filled_quantity) == ("filled", 2)


def test_a_trader_takes_over_what_its_recorder_holds(floor: Floor) -> None:
    recorder = floor.recorder()
    floor.tell(floor.fill(Side.BUY, 1))
    floor.tell(floor.fill(Side.SELL, 1, at=1, price=20010))
    floor.tell(floor.fill(Side.BUY, 2, at=2))
    trader = factories.trader(recorder, floor.account)
    setup = Setup(floor.desk, recorder, floor.account, trader, "")

    floor.enter(setup, Side.BUY, 1, at=5)

    assert floor.books() == {(trader.id, recorder.id): 3}
    assert [(p.quantity, p.trader_id) for p in floor.rows(RecordedPosition)] == [
        (0, trader.id),
        (3, trader.id),
    ]
    [book] = floor.rows(Book)
    assert book.realized == 20


# What is told later.


def test_a_fee_that_comes_later_counts_once_and_only_as_a_fee(floor: Floor) -> None:
    setup = floor.trader()
    key = floor.order(setup, Side.BUY, 1)
    bought = floor.fill(Side.BUY, 1, order=key)
    floor.tell(bought)
    floor.tell(floor.fill(Side.SELL, 1, at=5, price=20010))
    _set_marks(setup.trades()[0].id, mae=Decimal(-7), mfe=Decimal(90))

    for _ in range(2):
        floor.tell(replace(bought, fee=Decimal("1.25")))
    floor.tell(bought)  # a list that does not know the fee

    [trade] = setup.trades()
    assert (trade.fees, trade.net) == (Decimal("1.25"), Decimal("18.75"))
    assert (trade.mae, trade.mfe) == (-7, 90)
    assert [p.realized_pnl for p in setup.positions()] == [Decimal("18.75")]
    assert [b.realized for b in floor.rows(Book)] == [Decimal("18.75")]
    final = [e for e in _events(floor.desk, "fill") if e.get("fee_final")]
    assert [e["fee"] for e in final] == ["1.25"]


def test_fees_of_an_open_position_keep_its_marks(floor: Floor) -> None:
    setup = floor.trader()
    key = floor.order(setup, Side.BUY, 1)
    bought = floor.fill(Side.BUY, 1, order=key)
    floor.tell(bought)
    [position] = setup.positions()
    setup.change(RecordedPosition(id=position.id), last_price=Decimal(20050), mfe=Decimal(100))

    floor.tell(replace(bought, fee=Decimal("0.5")))

    [after] = setup.positions()
    assert (after.realized_pnl, after.last_price, after.mfe) == (Decimal("-0.5"), 20050, 100)


def test_the_fee_of_a_fill_in_parts_is_divided_again(floor: Floor) -> None:
    setup = floor.trader()
    floor.enter(setup, Side.BUY, 1)
    sale = floor.fill(Side.SELL, 4, at=5)
    floor.tell(sale)

    floor.tell(replace(sale, fee=Decimal("2.00")))

    assert [f.fee for f in floor.rows(Fill)[1:]] == [Decimal("0.5"), Decimal("1.5")]
    assert setup.trades()[0].fees == Decimal("0.5")


def test_a_trade_that_the_broker_cancels_is_taken_out_of_the_books(floor: Floor) -> None:
    setup = floor.trader()
    floor.enter(setup, Side.BUY, 1)
    key = floor.order(setup, Side.BUY, 2)
    wrong = floor.fill(Side.BUY, 2, at=3, order=key)
    floor.tell(wrong)

    for _ in range(2):
        floor.tell(replace(wrong, is_busted=True))

    assert setup.net(CONTRACT) == 1
    assert [(p.quantity, p.max_quantity) for p in setup.positions()] == [(1, 1)]
    assert [(o.status, o.filled_quantity) for o in setup.orders()][-1] == ("filled", 0)
    assert len(floor.log("fill_busted")) == 1


def test_the_only_trade_of_a_book_may_be_cancelled(floor: Floor) -> None:
    wrong = floor.fill(Side.BUY, 2)
    floor.tell(wrong)

    floor.tell(replace(wrong, is_busted=True))

    assert (floor.books(), floor.rows(RecordedPosition), floor.rows(Fill)) == ({}, [], [])


# Perhaps ours: a fill that names only the broker's order id.


def test_a_fill_before_the_answer_waits_for_it(floor: Floor) -> None:
    setup = floor.trader()
    key = floor.order(setup, Side.BUY, 1)
    floor.tell(floor.fill(Side.BUY, 1, broker_order="B77"))
    assert floor.rows(Fill) == []

    floor.tell(_state(floor, key, "B77", Side.BUY, 1), source="answer")

    assert (setup.net(CONTRACT), setup.orders()[0].status) == (1, "filled")


def test_fills_and_the_answer_may_share_a_commit(floor: Floor) -> None:
    setup = floor.trader()
    key = floor.order(setup, Side.BUY, 2)
    first, second = (floor.fill(Side.BUY, 1, at=n, broker_order="B77") for n in (0, 1))
    reports = [
        BrokerReport(fills=(first,)),
        BrokerReport(fills=(second,)),
        BrokerReport((_state(floor, key, "B77", Side.BUY, 2),)),
    ]

    def together(tx: Tx) -> None:
        for report in reports:
            fills.apply(tx, floor.ref, report, source="stream")

    writer.run(together)

    assert (setup.net(CONTRACT), setup.orders()[0].status) == (2, "filled")
    assert fills.retry_held_back() == []


def test_two_reports_of_one_commit_both_keep_what_they_hold_back(floor: Floor) -> None:
    setup = floor.trader()
    key = floor.order(setup, Side.BUY, 2)
    told = [floor.fill(Side.BUY, 1, at=n, broker_order="B77") for n in (0, 1)]

    def together(tx: Tx) -> None:
        for fill in told:
            fills.apply(tx, floor.ref, BrokerReport(fills=(fill,)), source="stream")

    writer.run(together)
    floor.tell(_state(floor, key, "B77", Side.BUY, 2))

    assert setup.net(CONTRACT) == 2


def test_what_is_held_back_survives_a_transaction_that_fails(floor: Floor) -> None:
    setup = floor.trader()
    key = floor.order(setup, Side.BUY, 1)
    floor.tell(floor.fill(Side.BUY, 1, broker_order="B77"))

    def failing(tx: Tx) -> None:
        report = BrokerReport((_state(floor, key, "B77", Side.BUY, 1),))
        fills.apply(tx, floor.ref, report, source="answer")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        writer.run(failing)
    floor.tell(_state(floor, key, "B77", Side.BUY, 1))

    assert setup.net(CONTRACT) == 1


@pytest.mark.parametrize("status", ["not_found", "rejected", "cancelled"])
def test_a_fill_held_back_for_an_order_that_never_was_is_foreign(floor: Floor, status: str) -> None:
    setup = floor.trader()
    floor.order(setup, Side.BUY, 1)
    floor.tell(floor.fill(Side.BUY, 1, broker_order="B77"))
    setup.change(Order(id=setup.orders()[0].id), status=status)

    assert fills.retry_held_back() == [floor.account.id]

    assert floor.books() == {(None, None): 1}
    assert fills.retry_held_back() == []


def test_a_fill_of_a_leg_whose_id_is_not_known_yet_waits_a_while(floor: Floor) -> None:
    setup = floor.trader()
    floor.enter(setup, Side.BUY, 1)
    leg = floor.order(setup, Side.SELL, 1, "inactive", role="stop_loss", origin="bracket")
    floor.tell(floor.fill(Side.SELL, 1, at=5, broker_order="B9"))
    assert setup.net(CONTRACT) == 1

    floor.tell(_state(floor, leg, "B9", Side.SELL, 1))

    assert floor.books() == {}
    assert setup.trades()[0].exit_reason == "stop_loss"


def test_a_leg_that_rests_for_long_does_not_keep_a_persons_fill(floor: Floor) -> None:
    setup = floor.trader()
    floor.order(setup, Side.SELL, 1, "inactive", role="stop_loss", origin="bracket")
    floor.tell(floor.fill(Side.SELL, 1))
    assert floor.books() == {}

    with time_machine.travel(clock.now() + timedelta(seconds=31)):
        fills.retry_held_back()

    assert floor.books() == {(None, None): -1}


def test_a_fill_of_an_order_that_was_not_sent_yet_is_foreign(floor: Floor) -> None:
    setup = floor.trader()
    floor.order(setup, Side.BUY, 1, "created")

    floor.tell(floor.fill(Side.BUY, 1))

    assert floor.books() == {(None, None): 1}


@pytest.mark.parametrize("others", [0, 10])
def test_a_fill_that_was_taken_for_foreign_goes_to_the_order_that_it_is_of(
    floor: Floor, others: int
) -> None:
    recorder = floor.recorder()
    setup = floor.trader()
    fill = floor.fill(Side.BUY, 2, broker_order="OURS", fee="0.4")
    floor.tell(fill)
    assert floor.books() == {(None, recorder.id): 2}
    key = floor.order(setup, Side.BUY, 2)
    floor.tell(_state(floor, key, "OURS", Side.BUY, 2))

    strangers = [floor.fill(Side.BUY, 1, at=n, contract="ESZ6") for n in range(others)]
    floor.tell(fill, *strangers, source="poll")

    assert floor.rows(Book)[0].net_pos == 0
    assert setup.net(CONTRACT) == 2
    assert (setup.orders()[0].status, setup.orders()[0].filled_quantity) == ("filled", 2)
    positions = [p for p in floor.rows(RecordedPosition) if p.contract == CONTRACT]
    assert [(p.trader_id, p.quantity, p.realized_pnl) for p in positions] == [
        (setup.trader.id, 2, Decimal("-0.4"))
    ]


def _state(floor: Floor, key: str, broker_id: str, side: Side, quantity: int) -> BrokerOrder:
    return BrokerOrder(
        broker_order_id=broker_id,
        client_order_id=key,
        contract=CONTRACT,
        side=side,
        quantity=Decimal(quantity),
        filled_quantity=Decimal(quantity),
        order_type=OrderType.MARKET,
        status=OrderStatus.FILLED,
        limit_price=None,
        stop_price=None,
        avg_fill_price=None,
        reason=None,
        at=floor.now,
    )


def _set_marks(trade_id: int, **values: Decimal) -> None:
    def work(tx: Tx) -> None:
        row = tx.session.get(Trade, trade_id)
        for name, value in values.items():
            setattr(row, name, value)

    writer.run(work)


def _events(desk: Desk, type_: str) -> Sequence[dict[str, Any]]:
    return [e.data for e in desk.rows(Event, user_id=desk.user.id) if e.type == type_]


# The same with the executor at work.


def test_a_push_without_our_id_before_a_lost_answer_counts_once(
    desk: Desk, fake: FakeBroker
) -> None:
    setup = desk.setup("fake")
    fake.names_fills = False
    fake.script.append(Does.LOSE_ANSWER)
    fake.is_mute = True

    setup.alert("buy", wait=False)
    wait_until(lambda: setup.orders() and setup.order("entry").status == "unknown")
    [told] = fake.fills(setup.ref)
    report = BrokerReport(fills=(told,))
    writer.run(lambda tx: fills.apply(tx, setup.ref, report, source="stream"))
    assert desk.rows(Fill, account_id=setup.account.id) == []
    fake.is_mute = False
    desk.settle()

    assert setup.statuses() == [("entry", "filled")]
    assert (setup.net(), len(desk.rows(Fill, trader_id=setup.trader.id))) == (1, 1)


def test_a_strangers_fill_while_an_order_gets_lost_is_foreign_in_the_end(
    desk: Desk, fake: FakeBroker
) -> None:
    setup = desk.setup("fake")
    fake.script += [Does.NEVER_ARRIVE] * 2
    fake.is_mute = True

    setup.alert("buy", wait=False)
    wait_until(lambda: setup.orders() and setup.order("entry").status == "unknown")
    stranger = BrokerFill(
        "s1",
        None,
        "B99",
        contract_of(),
        Side.BUY,
        Decimal(3),
        Decimal(20000),
        Decimal(0),
        clock.now(),
    )
    report = BrokerReport(fills=(stranger,))
    writer.run(lambda tx: fills.apply(tx, setup.ref, report, source="stream"))
    assert desk.rows(Fill, account_id=setup.account.id) == []
    fake.is_mute = False
    desk.settle()
    fills.retry_held_back()

    assert setup.outcome() == ("failed", "order_lost")
    held = {b.trader_id: b.net_pos for b in desk.rows(Book, account_id=setup.account.id)}
    assert held == {None: 3}
