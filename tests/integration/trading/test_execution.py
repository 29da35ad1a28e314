"""From the alert to the position: what is sent, what is never sent, and what is written down."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import gevent
import pytest
import time_machine

from app import clock
from app.brokers import registry
from app.domain.decisions import decide
from app.domain.trading import BrokerReport, OrderRole, Side
from app.models import Book, Fill, Order, StrategyLog
from app.services import execution, flatten, signals
from tests.brokers import Does, FakeBroker
from tests.integration.trading.desk import BRACKET, SYMBOL, Desk, contract_of, in_sync, wait_until

TICK = Decimal("0.25")


def test_an_entry_works_with_its_bracket_and_the_target_ends_it(desk: Desk) -> None:
    setup = desk.setup(**BRACKET)
    setup.alert("buy")
    entry, target, stop = setup.orders()
    assert (entry.status, target.status, stop.status) == ("filled", "working", "working")
    assert target.limit_price == entry.avg_fill_price + 10
    assert stop.stop_price == entry.avg_fill_price - 5

    desk.show("20020", "20020.25")
    wait_until(lambda: setup.net() == 0)

    assert setup.statuses() == [
        ("entry", "filled"),
        ("take_profit", "filled"),
        ("stop_loss", "cancelled"),
    ]
    [position] = setup.positions()
    assert (position.exit_reason, position.quantity) == ("take_profit", 0)
    [trade] = setup.trades()
    assert trade.net == trade.gross - trade.fees == position.realized_pnl
    assert trade.fees > 0
    assert setup.logs().count("fill") == 2
    types = desk.events()
    assert types.count("fill") == 2
    assert types.index("position:new") < types.index("position:closed") <= types.index("trade")


def test_the_stop_ends_the_position_and_the_target(desk: Desk) -> None:
    setup = desk.setup(**BRACKET)
    setup.alert("sell")

    desk.show("20030", "20030.25")
    wait_until(lambda: setup.net() == 0)

    assert setup.order("take_profit").status == "cancelled"
    assert [t.exit_reason for t in setup.trades()] == ["stop_loss"]
    assert setup.trades()[0].net < 0


def test_a_reversal_cancels_the_bracket_closes_and_enters(desk: Desk) -> None:
    setup = desk.setup(**BRACKET)
    setup.alert("buy")

    setup.alert("sell")

    assert setup.net() == -1
    assert [o.role for o in setup.orders()] == [
        "entry",
        "take_profit",
        "stop_loss",
        "exit",
        "entry",
        "take_profit",
        "stop_loss",
    ]
    assert [o.status for o in setup.orders()][1:3] == ["cancelled", "cancelled"]
    assert [(o.side, o.status) for o in setup.orders()[-2:]] == [
        ("buy", "working"),
        ("buy", "working"),
    ]
    assert [p.side for p in setup.positions()] == ["long", "short"]


def test_without_a_bracket_a_reversal_is_one_net_order(desk: Desk) -> None:
    setup = desk.setup(entry_quantity="2")
    setup.alert("buy")

    setup.alert("sell")

    assert [(o.side, o.quantity) for o in setup.orders()] == [("buy", 2), ("sell", 4)]
    assert setup.net() == -2
    assert [t.quantity for t in setup.trades()] == [2]


def test_the_reversal_quantity_of_an_alert_is_not_sent_on_top(desk: Desk) -> None:
    setup = desk.setup(sizing="signal")
    setup.alert("buy", contracts="1", market_position="long", market_position_size="1")

    setup.alert(
        "sell",
        contracts="2",
        market_position="short",
        market_position_size="1",
        prev_market_position="long",
        prev_market_position_size="1",
    )

    assert setup.net() == -1


def test_a_partial_exit_leaves_a_bracket_for_the_rest(desk: Desk) -> None:
    setup = desk.setup(entry_quantity="4", **BRACKET)
    setup.alert("buy")

    setup.alert(
        "sell",
        contracts="1",
        market_position="long",
        market_position_size="1",
        prev_market_position="long",
        prev_market_position_size="2",
    )

    assert setup.net() == 2
    legs = [o for o in setup.orders() if o.status == "working"]
    assert {(o.role, o.quantity) for o in legs} == {("take_profit", 2), ("stop_loss", 2)}
    assert legs[0].limit_price == setup.orders()[0].avg_fill_price + 10


def test_an_add_replaces_the_legs_by_ones_for_the_whole_book(desk: Desk) -> None:
    setup = desk.setup(on_same_side="add", add_quantity="2", **BRACKET)
    setup.alert("buy")
    desk.show("20004", "20004.25")

    setup.alert("buy")

    assert setup.net() == 3
    working = [o for o in setup.orders() if o.status == "working"]
    assert {(o.role, o.quantity) for o in working} == {("take_profit", 3), ("stop_loss", 3)}
    [old_target, old_stop] = setup.orders()[1:3]
    assert (old_target.status, old_stop.status) == ("cancelled", "cancelled")
    [book] = desk.rows(Book, trader_id=setup.trader.id)
    target = next(o for o in working if o.role == "take_profit")
    assert target.limit_price >= book.avg_price + 10
    desk.show("20040", "20040.25")
    wait_until(lambda: setup.net() == 0)
    assert not [o for o in setup.orders() if o.status in ("working", "inactive")]


@pytest.mark.parametrize("action", ["close", "exit", "flat", "exit_long"])
def test_an_exit_while_flat_never_opens(desk: Desk, action: str) -> None:
    setup = desk.setup()

    setup.alert(action)

    assert setup.outcome() == ("skipped", "noop_flat")
    assert setup.orders() == []


def test_two_exits_close_once(desk: Desk) -> None:
    setup = desk.setup()
    setup.alert("buy")

    setup.alert("close", wait=False)
    setup.alert("close")

    assert setup.net() == 0
    assert len(setup.orders("exit")) == 1


def test_an_exit_closes_the_contract_that_is_held(desk: Desk) -> None:
    setup = desk.setup()
    setup.alert("buy")
    held = contract_of()

    with time_machine.travel(clock.now() + timedelta(days=80), tick=True):
        desk.board.show(held, "20000", "20000.25")
        assert contract_of() != held
        setup.alert("close")

        assert setup.order("exit").contract == held
        assert setup.net(held) == 0


@pytest.mark.parametrize(
    ("policy", "net", "outcome"),
    [
        ("ignore", 1, ("skipped", "same_side_ignored")),
        ("add", 3, ("done", None)),
        ("replace", 1, ("done", None)),
    ],
)
def test_a_signal_on_the_side_held(desk: Desk, policy: str, net: int, outcome: Any) -> None:
    setup = desk.setup(on_same_side=policy, add_quantity="2")
    setup.alert("buy")

    setup.alert("buy")

    assert setup.net() == net
    assert setup.outcome() == outcome
    assert len(setup.orders("exit")) == (1 if policy == "replace" else 0)


@pytest.mark.parametrize(
    ("policy", "net", "outcome"),
    [
        ("reverse", -1, ("done", None)),
        ("close_only", 0, ("done", None)),
        ("refuse", 1, ("skipped", "opposite_refused")),
    ],
)
def test_a_signal_on_the_other_side(desk: Desk, policy: str, net: int, outcome: Any) -> None:
    setup = desk.setup(on_opposite=policy)
    setup.alert("buy")

    setup.alert("sell")

    assert setup.net() == net
    assert setup.outcome() == outcome


# Orders of one account


def test_the_orders_of_one_alert_are_carried_out_in_their_order(desk: Desk) -> None:
    setup = desk.setup()
    setup.alert("sell")

    setup.alert([{"action": "close", "symbol": SYMBOL}, {"action": "buy", "symbol": SYMBOL}])

    assert [(o.role, o.side) for o in setup.orders()] == [
        ("entry", "sell"),
        ("exit", "buy"),
        ("entry", "buy"),
    ]
    assert setup.net() == 1


def test_the_next_order_of_an_alert_waits_for_the_fill_of_the_one_before(
    desk: Desk, fake: FakeBroker
) -> None:
    setup = desk.setup("fake")
    setup.alert("buy")
    fake.script.append(Does.REST)

    setup.alert(
        [{"action": "close", "symbol": SYMBOL}, {"action": "buy", "symbol": SYMBOL}], wait=False
    )
    wait_until(lambda: len(fake.sent) == 2)
    gevent.sleep(0.05)
    sent_before_the_fill = len(fake.sent)
    fake.fill(setup.account.id, fake.sent[-1])
    desk.settle()

    assert sent_before_the_fill == 2
    assert setup.net() == 1
    assert in_sync(setup, fake)


def test_an_adds_bracket_waits_for_its_fill(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake", on_same_side="add", add_quantity="1", **BRACKET)
    setup.alert("buy")
    fake.script.append(Does.REST)

    setup.alert("buy", wait=False)
    wait_until(lambda: len(setup.orders("entry")) == 2)
    wait_until(lambda: setup.order("entry").status == "working")
    fake.fill(setup.account.id, setup.order("entry").client_order_id)
    desk.settle()

    assert setup.net() == 2
    open_legs = [o for o in setup.orders() if o.status == "working"]
    assert {(o.role, o.quantity) for o in open_legs} == {("take_profit", 2), ("stop_loss", 2)}


def test_traders_of_one_account_have_books_of_their_own(desk: Desk) -> None:
    account = desk.account()
    first = desk.setup(account=account, entry_quantity="2")
    second = desk.setup(account=account, entry_quantity="3")
    first.alert("buy")
    second.alert("buy")

    first.alert("close")

    assert (first.net(), second.net()) == (0, 3)
    [position] = registry.get("paper").positions(second.ref)
    assert position.net_pos == 3


def test_opposite_books_of_one_account_are_each_closed(desk: Desk) -> None:
    account = desk.account()
    long, short = desk.setup(account=account), desk.setup(account=account, entry_quantity="3")
    long.alert("buy")
    short.alert("sell")

    long.alert("close")
    assert (long.net(), short.net(), long.outcome()) == (0, -3, ("done", None))
    short.alert("close")

    assert short.net() == 0
    assert registry.get("paper").positions(long.ref) == []


def test_overrides_of_a_trader_count(desk: Desk) -> None:
    setup = desk.setup(overrides={"multiplier": "3"}, entry_quantity="2")

    setup.alert("buy")

    assert setup.net() == 6


# Entries that wait or may not be


def test_an_entry_that_comes_too_late_expires(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake", entry_deadline=5)
    fake.is_down = True
    fake.script.append(Does.WELL)
    with time_machine.travel(clock.now(), tick=True) as at:
        setup.alert("buy", wait=False)
        wait_until(lambda: setup.orders() and setup.order("entry").status == "unknown")
        at.shift(timedelta(seconds=6))
        fake.is_down = False
        desk.settle()

    assert setup.outcome() == ("expired", "entry_deadline")
    assert fake.sent == []
    assert "execution_expired" in setup.logs()


def test_a_delayed_entry_waits_and_then_enters(desk: Desk) -> None:
    setup = desk.setup(entry_delay=1)

    setup.alert("buy")
    [waiting] = setup.executions()
    assert (waiting.status, waiting.due_at is not None, setup.net()) == ("pending", True, 0)

    wait_until(lambda: setup.net() == 1)
    assert setup.executions()[0].started_at >= waiting.received_at + timedelta(seconds=1)


def test_an_exit_does_not_wait_behind_a_delayed_entry(desk: Desk) -> None:
    setup = desk.setup(overrides={"entry_delay": 30})
    other = desk.setup(account=setup.account)
    other.alert("buy")
    setup.alert("buy")

    other.alert("close")

    assert other.net() == 0
    assert setup.executions()[0].status == "pending"


@pytest.mark.parametrize("action", ["close", "sell", "cancel"])
def test_a_newer_signal_supersedes_a_delayed_entry(desk: Desk, action: str) -> None:
    setup = desk.setup(overrides={"entry_delay": 1})
    setup.alert("buy")

    setup.alert(action)
    wait_until(lambda: setup.executions()[0].status == "skipped")

    assert setup.executions()[0].reason == "superseded"
    assert not [o for o in setup.orders() if o.side == "buy"]


@pytest.mark.parametrize(
    ("action", "symbol"), [("exit_short", SYMBOL), ("close", "MES1!"), ("buy", "MES1!")]
)
def test_what_concerns_something_else_supersedes_nothing(
    desk: Desk, action: str, symbol: str
) -> None:
    desk.show("5000", "5000.25", "MES1!")
    setup = desk.setup(overrides={"entry_delay": 1})
    setup.alert("buy")

    setup.alert(action, symbol=symbol)

    wait_until(lambda: setup.net() == 1)


def test_closing_by_hand_ends_a_delayed_entry(desk: Desk) -> None:
    setup = desk.setup(entry_delay=30)
    setup.alert("buy")

    flatten.flatten_account(setup.account.id)

    assert setup.outcome() == ("skipped", "closed_by_hand")


def test_the_kill_switch_blocks_entries_and_lets_exits_through(desk: Desk) -> None:
    setup = desk.setup()
    setup.alert("buy")
    setup.change(setup.account, kill_switch=True)

    setup.alert("sell")
    assert (setup.net(), setup.outcome()) == (0, ("done", "kill_switch"))
    setup.alert("sell")

    assert setup.outcome() == ("skipped", "kill_switch")
    assert setup.net() == 0


def test_a_trader_that_was_switched_off_meanwhile_sends_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = desk.setup()
    monkeypatch.setattr(signals, "_wake", lambda _accounts: None)
    setup.alert("buy", wait=False)
    monkeypatch.undo()
    setup.change(setup.trader, enabled=False)
    wait_until(lambda: setup.executions()[0].status != "pending")

    assert setup.outcome() == ("skipped", "trader_off")
    assert setup.orders() == []


# Out of sync


def test_out_of_sync_blocks_entries(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake")
    fake.hold(setup.account.id, contract_of(), 2)

    setup.alert("buy")

    assert setup.outcome() == ("skipped", "out_of_sync")
    assert fake.sent == []


@pytest.mark.parametrize(
    ("missing", "sent", "outcome"),
    [(-1, 1, ("done", None)), (-2, 0, ("skipped", "out_of_sync")), (3, 2, ("done", None))],
)
def test_an_exit_out_of_sync_sends_at_most_what_both_hold(
    desk: Desk, fake: FakeBroker, missing: int, sent: int, outcome: Any
) -> None:
    setup = desk.setup("fake", entry_quantity="2")
    setup.alert("buy")
    fake.hold(setup.account.id, contract_of(), missing)

    setup.alert("close")

    assert sum(o.quantity for o in setup.orders("exit")) == sent
    assert setup.outcome() == outcome


def test_a_fill_that_was_never_told_is_asked_for_before_positions_are_believed(
    desk: Desk, fake: FakeBroker
) -> None:
    setup = desk.setup("fake", entry_order="limit", **BRACKET)
    setup.alert("buy", price="20000")
    entry = setup.order("entry")
    fake.fill(setup.account.id, entry.client_order_id, tell=False)

    setup.alert("close")

    assert setup.net() == 0
    assert setup.outcome() == ("done", None)
    assert in_sync(setup, fake)


def test_trades_by_hand_have_a_book_of_their_own(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake")
    setup.alert("buy")
    fake.trade_by_hand(setup.ref, contract_of(), Side.BUY, 5)

    setup.alert("close")

    assert setup.net() == 0
    assert fake.held(setup.account.id)[contract_of()] == 5
    [manual] = [b for b in desk.rows(Book, account_id=setup.account.id) if b.trader_id is None]
    assert manual.net_pos == 5


def test_adopting_takes_over_what_the_broker_holds(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake", on_out_of_sync="adopt")
    fake.hold(setup.account.id, contract_of(), 2)

    setup.alert("close")

    assert setup.net() == 0
    assert fake.held(setup.account.id)[contract_of()] == 0
    [trade] = setup.trades()
    assert (trade.side, trade.quantity) == ("long", 2)


def test_a_position_that_is_gone_is_adopted_as_closed(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake", on_out_of_sync="adopt")
    setup.alert("buy")
    fake.hold(setup.account.id, contract_of(), -1)

    setup.alert("buy", price="20010")

    assert setup.net() == 1
    assert [p.exit_reason for p in setup.positions()] == ["external", None]
    assert in_sync(setup, fake)


def test_what_another_book_holds_is_not_adopted(desk: Desk, fake: FakeBroker) -> None:
    account = desk.account("fake")
    other = desk.setup("fake", account=account)
    setup = desk.setup("fake", account=account, on_out_of_sync="adopt")
    other.alert("buy")
    fake.hold(account.id, contract_of(), 1)

    setup.alert("buy")

    assert setup.outcome() == ("skipped", "out_of_sync")
    assert setup.net() == 0


# What the broker refuses


def test_a_refused_entry_fails_and_says_why(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake", **BRACKET)
    fake.script.append(Does.REFUSE)

    setup.alert("buy")

    assert setup.outcome() == ("failed", "insufficient_funds")
    assert setup.statuses() == [
        ("entry", "rejected"),
        ("take_profit", "cancelled"),
        ("stop_loss", "cancelled"),
    ]
    assert {"order_rejected", "execution_failed"} <= set(setup.logs())


@pytest.mark.parametrize("no", [Does.REFUSE, Does.REJECT])
def test_a_refused_exit_is_not_done(desk: Desk, fake: FakeBroker, no: Does) -> None:
    setup = desk.setup("fake")
    setup.alert("buy")
    fake.script.append(no)

    setup.alert("close")

    assert setup.outcome()[0] == "failed"
    assert setup.net() == 1


@pytest.mark.parametrize("no", [Does.REFUSE, Does.REJECT])
def test_a_refused_reversal_still_closes(desk: Desk, fake: FakeBroker, no: Does) -> None:
    setup = desk.setup("fake")
    setup.alert("buy")
    fake.script.append(no)

    setup.alert("sell")

    assert setup.net() == 0
    assert setup.outcome()[0] == "failed"
    assert [(o.role, o.status) for o in setup.orders()[1:]] == [
        ("entry", "rejected"),
        ("exit", "filled"),
    ]
    assert in_sync(setup, fake)


def test_a_partial_exit_that_is_refused_puts_the_bracket_back(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake", entry_quantity="2", **BRACKET)
    setup.alert("buy")
    fake.script += [Does.WELL, Does.REFUSE]

    setup.alert("sell", quantity="50%", market_position="long", reduce_only=True)

    assert setup.outcome() == ("failed", "insufficient_funds")
    assert setup.net() == 2
    legs = [o for o in setup.orders() if o.status == "working"]
    assert {(o.role, o.quantity) for o in legs} == {("take_profit", 2), ("stop_loss", 2)}
    assert fake.open_ids(setup.account.id) == [o.client_order_id for o in legs]


def test_a_bracket_that_is_refused_is_a_failure(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake", on_same_side="add", add_quantity="1", **BRACKET)
    setup.alert("buy")
    fake.script += [Does.WELL, Does.WELL, Does.REJECT]

    setup.alert("buy")

    assert setup.net() == 2
    assert setup.outcome() == ("failed", "order_rejected")


def test_an_exit_that_is_refused_all_the_time_is_given_up(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake", **BRACKET)
    setup.alert("buy")
    fake.script += [Does.WELL, *[Does.REJECT] * 20]

    setup.alert("sell")

    assert setup.net() == 1
    assert setup.outcome()[0] == "failed"
    assert len(setup.orders("exit")) < 7


# Orders that wait


def test_cancel_ends_an_unfilled_entry_with_its_legs(desk: Desk) -> None:
    setup = desk.setup(entry_order="limit", **BRACKET)
    setup.alert("buy", price="19000")
    assert setup.statuses()[0] == ("entry", "working")

    setup.alert("cancel")

    assert {status for _, status in setup.statuses()} == {"cancelled"}


def test_a_part_that_filled_while_the_entry_was_cancelled_is_closed(
    desk: Desk, fake: FakeBroker
) -> None:
    setup = desk.setup("fake", entry_quantity="3", entry_order="limit", **BRACKET)
    setup.alert("buy", price="20000")
    entry = setup.order("entry").client_order_id
    fake.fill(setup.account.id, entry, 1)
    assert setup.net() == 1
    fake.script.append(Does.CANCEL_SLOWLY)

    setup.alert("close", wait=False)
    wait_until(lambda: fake.cancels)
    fake.fill(setup.account.id, entry, 1)
    fake.end(setup.account.id, entry)
    desk.settle()

    assert setup.net() == 0
    assert fake.open_ids(setup.account.id) == []
    assert in_sync(setup, fake)


def test_what_an_entry_filled_before_its_cancel_is_asked_for_where_nobody_told_it(
    desk: Desk, fake: FakeBroker
) -> None:
    setup = desk.setup("fake", entry_quantity="3", entry_order="limit", **BRACKET)
    setup.alert("buy", price="20000")
    entry = setup.order("entry").client_order_id
    fake.fill(setup.account.id, entry, 1)
    fake.before_cancel = lambda: fake.fill(setup.account.id, entry, 1, tell=False)

    setup.alert("close")

    assert setup.net() == 0
    assert setup.order("entry").status == "cancelled"
    assert setup.order("exit").quantity == 2
    assert in_sync(setup, fake)


def test_a_market_exit_whose_fill_is_never_told_is_asked_for(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake")
    setup.alert("buy")
    fake.script.append(Does.REST)

    setup.alert("close", wait=False)
    wait_until(lambda: len(fake.sent) == 2)
    wait_until(lambda: setup.order("exit").status == "working")
    fake.fill(setup.account.id, fake.sent[-1], tell=False)
    desk.settle()

    assert setup.net() == 0
    assert setup.statuses()[-1] == ("exit", "filled")


def test_legs_follow_partial_fills(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake", entry_quantity="3", entry_order="limit", **BRACKET)
    setup.alert("buy", price="20000")
    assert setup.order("stop_loss").status == "inactive"

    fake.fill(setup.account.id, setup.order("entry").client_order_id, 1)
    after_one = setup.order("stop_loss")
    fake.fill(setup.account.id, setup.order("entry").client_order_id, 2)

    assert (after_one.status, after_one.quantity) == ("working", 1)
    assert (setup.order("stop_loss").quantity, setup.net()) == (3, 3)


# What is written down


def test_every_step_is_recorded_and_told_once(desk: Desk) -> None:
    setup = desk.setup(**BRACKET)
    receipt = setup.alert("buy")
    setup.alert("close")

    [opened, closed] = setup.executions()
    assert {opened.status, closed.status} == {"done"}
    assert opened.plan[0]["step"] == "Enter"
    assert [rule["verdict"] for rule in opened.trace if rule["rule"] == "position"] == ["pass"]
    types = desk.events()
    assert types.count("fill") == len(desk.rows(Fill, user_id=desk.user.id)) == 2
    assert types.count("trade") == len(setup.trades()) == 1
    assert types.count("position:new") == types.count("position:closed") == 1
    assert desk.signal(receipt).status == "accepted"
    lines = desk.rows(StrategyLog, strategy_id=setup.strategy.id)
    assert [line.message.split()[0] for line in lines if line.event == "fill"] == ["Bought", "Sold"]


def test_what_breaks_our_code_ends_that_execution_and_the_next_goes_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    setup = desk.setup()
    real = decide

    def breaks(context: Any) -> Any:
        monkeypatch.setattr(execution, "decide", real)
        raise ZeroDivisionError

    monkeypatch.setattr(execution, "decide", breaks)
    setup.alert("buy", wait=False)
    setup.alert("buy")

    assert [(e.status, e.reason) for e in setup.executions()] == [
        ("failed", "internal_error"),
        ("done", None),
    ]
    assert "execution_failed" in setup.logs()
    assert setup.net() == 1


def test_what_breaks_after_the_order_was_sent_sends_nothing_again(
    desk: Desk, fake: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = desk.setup("fake")
    real = execution.proceed

    def breaks(tx: Any, run: Any, answers: Any) -> Any:
        monkeypatch.setattr(execution, "proceed", real)
        raise ZeroDivisionError

    monkeypatch.setattr(execution, "proceed", breaks)
    setup.alert("buy")
    wait_until(lambda: setup.net() == 1)
    setup.alert("close")

    assert [e.reason for e in setup.executions()] == ["internal_error", None]
    assert setup.net() == 0
    assert in_sync(setup, fake)


def test_settings_that_cannot_be_read_end_the_execution(desk: Desk) -> None:
    setup = desk.setup()
    other = desk.setup(account=setup.account)
    setup.change(setup.trader, overrides={"multiplier": "many"})

    setup.alert("buy")
    other.alert("buy")

    assert setup.outcome() == ("failed", "internal_error")
    assert other.net() == 1


# A person's close


def test_flattening_covers_every_book_of_the_account(desk: Desk, fake: FakeBroker) -> None:
    account = desk.account("fake")
    setup = desk.setup("fake", account=account, **BRACKET)
    other = desk.setup("fake", account=account, entry_quantity="2")
    setup.alert("buy")
    other.alert("buy")
    fake.trade_by_hand(setup.ref, contract_of("MES1!"), Side.SELL, 2)
    fake.push(setup.ref, _report_of_fills(fake, setup.ref))

    flatten.flatten_account(account.id)

    assert [b.net_pos for b in desk.rows(Book, account_id=account.id)] == [0, 0, 0]
    assert set(fake.held(account.id).values()) == {Decimal(0)}
    assert fake.open_ids(account.id) == []
    manual = [o for o in desk.rows(Order, account_id=account.id) if o.trader_id is None]
    assert [(o.side, o.status, o.origin) for o in manual] == [("buy", "filled", "manual")]


def _report_of_fills(fake: FakeBroker, ref: Any) -> Any:
    return BrokerReport((), tuple(fake.fills(ref)))


def test_closing_one_trader_leaves_the_others(desk: Desk) -> None:
    account = desk.account()
    setup, other = desk.setup(account=account, **BRACKET), desk.setup(account=account)
    setup.alert("buy")
    other.alert("buy")

    flatten.close_trader(setup.trader.id, account.id)

    assert (setup.net(), other.net()) == (0, 1)
    assert {o.status for o in setup.orders()} == {"filled", "cancelled"}
    assert [p.exit_reason for p in setup.positions()] == ["manual"]


def test_a_close_during_a_lost_answer_sends_each_order_once(desk: Desk, fake: FakeBroker) -> None:
    account = desk.account("fake")
    first = desk.setup("fake", account=account)
    second = desk.setup("fake", account=account)
    first.alert("buy")
    second.alert("buy")
    fake.script.append(Does.LOSE_ANSWER)

    flatten.flatten_account(account.id)

    assert (first.net(), second.net()) == (0, 0)
    assert set(fake.held(account.id).values()) == {Decimal(0)}
    assert "not_found" not in [o.status for o in desk.rows(Order, account_id=account.id)]
    assert OrderRole.EXIT.value in [o.role for o in first.orders()]
