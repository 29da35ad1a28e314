"""Orders whose outcome nobody knows: never sent twice, never lost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeVar

import gevent
import pytest
import time_machine

from app import clock
from app.domain.errors import Unavailable
from app.domain.trading import OrderStatus
from app.extensions import writer
from app.models import StrategyLog
from app.services import reconcile
from app.services.executor import executor
from app.transactions import Tx
from tests.brokers import Does, FakeBroker
from tests.integration.trading.desk import BRACKET, SYMBOL, Desk, contract_of, in_sync, wait_until

T = TypeVar("T")


@pytest.mark.parametrize("lost", [Does.LOSE_ANSWER, Does.BREAK])
def test_an_entry_whose_answer_was_lost_is_found_and_not_sent_again(
    desk: Desk, fake: FakeBroker, lost: Does
) -> None:
    setup = desk.setup("fake", **BRACKET)
    fake.script.append(lost)

    setup.alert("buy")

    assert len(fake.sent) == 1
    assert setup.statuses() == [
        ("entry", "filled"),
        ("take_profit", "working"),
        ("stop_loss", "working"),
    ]
    assert setup.outcome() == ("done", None)
    assert setup.order("entry").reason is None
    assert in_sync(setup, fake)


def test_an_order_stays_unknown_until_the_broker_answers(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake")
    fake.script.append(Does.LOSE_ANSWER)
    fake.is_mute = True

    setup.alert("buy", wait=False)
    wait_until(lambda: fake.sent and setup.order("entry").status == "unknown")
    setup.alert("sell", wait=False)
    gevent.sleep(0.1)
    assert [o.status for o in setup.orders()] == ["unknown"]
    fake.is_mute = False
    desk.settle()

    assert setup.net() == -1
    assert len(fake.sent) == 2
    assert in_sync(setup, fake)


def test_the_fill_of_an_unknown_order_may_come_by_push(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake", entry_order="limit")
    fake.script.append(Does.LOSE_ANSWER)
    fake.unknown_for = 3

    with _settling(timedelta(minutes=5)):
        setup.alert("buy", price="20000", wait=False)
        wait_until(lambda: setup.orders() and setup.order("entry").status == "unknown")
        fake.fill(setup.account.id, setup.order("entry").client_order_id)
        desk.settle()

    assert setup.statuses() == [("entry", "filled")]
    assert setup.net() == 1


def test_an_order_that_the_broker_does_not_know_yet_is_waited_for(
    desk: Desk, fake: FakeBroker
) -> None:
    setup = desk.setup("fake")
    fake.script.append(Does.LOSE_ANSWER)
    fake.unknown_for = 4

    with _settling(timedelta(minutes=5)):
        setup.alert("buy")

    assert setup.statuses() == [("entry", "filled")]
    assert len(fake.sent) == 1


def test_an_entry_that_never_arrived_is_sent_once_more(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake", **BRACKET)
    fake.script.append(Does.NEVER_ARRIVE)

    setup.alert("buy")

    assert [o.status for o in setup.orders("entry")] == ["not_found", "filled"]
    assert [o.status for o in setup.orders("stop_loss")] == ["not_found", "working"]
    assert len(set(fake.sent)) == 2
    assert setup.net() == 1
    assert setup.outcome() == ("done", None)
    assert "reconciled" in [line.event for line in _logs(desk)]


def test_an_entry_that_never_arrives_twice_fails(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake")
    fake.script += [Does.NEVER_ARRIVE] * 2

    setup.alert("buy")

    assert setup.outcome() == ("failed", "order_lost")
    assert len(fake.sent) == 2
    assert setup.net() == 0


def test_a_lost_entry_is_not_sent_again_after_its_deadline(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake", entry_deadline=5)
    fake.script.append(Does.NEVER_ARRIVE)

    with _settling(timedelta(seconds=6)), time_machine.travel(clock.now(), tick=True) as at:
        setup.alert("buy", wait=False)
        wait_until(lambda: setup.orders() and setup.order("entry").status == "unknown")
        at.shift(timedelta(seconds=7))
        desk.settle()

    assert setup.outcome() == ("expired", "entry_deadline")
    assert len(fake.sent) == 1


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.services.execution.FIRST_PAUSE_S", 0.01)


@pytest.mark.usefixtures("impatient")
def test_what_the_broker_cannot_take_now_is_sent_in_a_moment(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake", **BRACKET)
    fake.script += [Does.NOT_NOW] * 3

    setup.alert("buy")

    assert [o.status for o in setup.orders("entry")] == ["not_found"] * 3 + ["filled"]
    assert [o.status for o in setup.orders("stop_loss")] == ["cancelled"] * 3 + ["working"]
    assert setup.outcome() == ("done", None)
    assert in_sync(setup, fake)


@pytest.mark.usefixtures("impatient")
def test_an_exit_that_the_broker_cannot_take_now_closes_what_is_then_held(
    desk: Desk, fake: FakeBroker
) -> None:
    setup = desk.setup("fake", entry_quantity="2")
    setup.alert("buy")
    fake.script += [Does.NOT_NOW] * 2

    setup.alert("close")

    assert setup.outcome() == ("done", None)
    assert setup.net() == 0
    assert in_sync(setup, fake)


@pytest.mark.usefixtures("impatient")
def test_an_entry_that_could_only_be_sent_after_its_deadline_fails_at_once(
    desk: Desk, fake: FakeBroker
) -> None:
    setup = desk.setup("fake", entry_deadline=5)
    fake.script.append(Does.NOT_NOW)
    fake.not_now_s = 6

    setup.alert("buy")

    assert setup.outcome() == ("failed", "broker_rate_limited")
    assert [o.status for o in setup.orders()] == ["rejected"]


@pytest.mark.usefixtures("impatient")
def test_a_broker_that_can_never_take_it_is_not_asked_for_ever(
    desk: Desk, fake: FakeBroker
) -> None:
    setup = desk.setup("fake")
    setup.alert("buy")
    fake.script += [Does.NOT_NOW] * 10

    setup.alert("close")

    assert setup.outcome() == ("failed", "broker_rate_limited")
    assert len(fake.sent) == 8
    assert setup.net() == 1


def test_a_lost_exit_is_sent_until_it_is_there(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake")
    setup.alert("buy")
    fake.script += [Does.NEVER_ARRIVE] * 3

    setup.alert("close")

    assert [o.status for o in setup.orders("exit")] == [*["not_found"] * 3, "filled"]
    assert setup.net() == 0
    assert in_sync(setup, fake)


def test_a_lost_reversal_closes_although_it_is_too_late_to_enter(
    desk: Desk, fake: FakeBroker
) -> None:
    setup = desk.setup("fake", entry_deadline=5)
    setup.alert("buy")
    fake.script.append(Does.NEVER_ARRIVE)

    with _settling(timedelta(seconds=6)), time_machine.travel(clock.now(), tick=True) as at:
        setup.alert("sell", wait=False)
        wait_until(lambda: setup.order("entry").status == "unknown")
        at.shift(timedelta(seconds=7))
        desk.settle()

    assert setup.net() == 0
    assert setup.outcome() == ("expired", "entry_deadline")
    assert in_sync(setup, fake)


@pytest.mark.parametrize("lost", [Does.NEVER_ARRIVE, Does.LOSE_ANSWER, Does.BREAK])
def test_a_bracket_whose_answer_was_lost_protects_once(
    desk: Desk, fake: FakeBroker, lost: Does
) -> None:
    setup = desk.setup("fake", on_same_side="add", add_quantity="1", **BRACKET)
    setup.alert("buy")
    fake.script += [Does.WELL, Does.WELL, lost]

    setup.alert("buy")

    working = [o for o in setup.orders() if o.status == "working"]
    assert {(o.role, o.quantity) for o in working} == {("take_profit", 2), ("stop_loss", 2)}
    assert fake.open_ids(setup.account.id) == [o.client_order_id for o in working]


@pytest.mark.parametrize("lost", [Does.NEVER_ARRIVE, Does.LOSE_ANSWER, Does.BREAK])
def test_a_cancel_whose_answer_was_lost_is_settled(
    desk: Desk, fake: FakeBroker, lost: Does, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.steps.FLAT_TIMEOUT", timedelta(seconds=0.5))
    monkeypatch.setattr("app.services.steps.ASK_AGAIN", timedelta(seconds=60))
    setup = desk.setup("fake", entry_order="limit")
    setup.alert("buy", price="19000")
    fake.script.append(lost)

    setup.alert("cancel")

    is_cancelled = lost is not Does.NEVER_ARRIVE
    assert (setup.order("entry").status == "cancelled") is is_cancelled
    assert (setup.outcome()[0] == "done") is is_cancelled
    assert fake.open_ids(setup.account.id) == ([] if is_cancelled else fake.sent)


def test_a_target_that_fills_while_it_is_cancelled_leaves_nothing_to_close(
    desk: Desk, fake: FakeBroker
) -> None:
    setup = desk.setup("fake", **BRACKET)
    setup.alert("buy")
    target = setup.order("take_profit").client_order_id
    fake.fill(setup.account.id, target, tell=False)
    fake.names_fills = False

    setup.alert("close")

    assert setup.net() == 0
    assert setup.orders("exit") == []
    assert [t.exit_reason for t in setup.trades()] == ["take_profit"]
    assert in_sync(setup, fake)


def test_an_order_that_is_over_is_not_lost(desk: Desk, fake: FakeBroker) -> None:
    """A broker forgets orders that ended long ago; that proves nothing about their fills."""
    setup = desk.setup("fake", entry_order="limit")
    setup.alert("buy", price="20000")
    first = setup.order("entry").client_order_id
    fake.fill(setup.account.id, first)
    fake.unknown_for = 1

    is_settled = reconcile.settle(fake, setup.ref, [first])

    assert is_settled
    assert setup.order("entry").status == "filled"


def test_a_resting_order_that_the_broker_forgot_is_over(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake", entry_order="limit", **BRACKET)
    setup.alert("buy", price="19000")
    entry = setup.order("entry").client_order_id
    fake.unknown_for = 10

    reconcile.settle(fake, setup.ref, [entry])

    assert setup.order("entry").status == OrderStatus.CANCELLED


def test_a_stop_that_is_missing_at_one_look_is_not_placed_again(
    desk: Desk, fake: FakeBroker
) -> None:
    setup = desk.setup("fake", **BRACKET)
    setup.alert("buy")
    stop = setup.order("stop_loss").client_order_id

    with _settling(timedelta(seconds=0.2)):
        gevent.sleep(0.25)  # what is asked about was sent long ago
        fake.unknown_for = 1
        is_settled = reconcile.settle(fake, setup.ref, [stop])
        is_settled_next = reconcile.settle(fake, setup.ref, [stop])

    assert (is_settled, is_settled_next) == (False, True)
    assert setup.order("stop_loss").status == "working"


def test_an_order_that_was_not_there_and_turns_up_is_seen_and_cancelled(
    desk: Desk, fake: FakeBroker
) -> None:
    setup = desk.setup("fake", entry_order="limit", **BRACKET)
    fake.script.append(Does.LOSE_ANSWER)
    fake.unknown_for = 1
    setup.alert("buy", price="19000")
    lost, again = setup.orders("entry")
    assert (lost.status, again.status) == ("not_found", "working")

    fake.push(setup.ref, fake.snapshot(setup.ref))
    assert {o.status for o in setup.orders("entry")} == {"working"}
    assert {o.status for o in setup.orders("stop_loss")} == {"inactive"}
    assert "order_turned_up" in setup.logs()
    setup.alert("cancel_all")

    assert {o.status for o in setup.orders()} == {"cancelled"}
    assert fake.open_ids(setup.account.id) == []


def test_a_fill_that_names_only_the_brokers_order_before_the_answer_is_the_traders(
    desk: Desk, fake: FakeBroker
) -> None:
    setup = desk.setup("fake")
    fake.names_fills = False
    fake.script.append(Does.PUSH_FIRST)

    setup.alert("buy")

    assert setup.net() == 1
    assert setup.statuses() == [("entry", "filled")]
    assert in_sync(setup, fake)


def test_a_late_answer_is_waited_for(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake")
    fake.script.append(Does.ANSWER_LATE)

    setup.alert("buy", wait=False)
    setup.alert("close", wait=False)
    wait_until(lambda: fake.sent)
    gevent.sleep(0.05)
    while_it_waits = setup.statuses()
    fake.release.set()
    desk.settle()

    assert while_it_waits == [("entry", "submitting")]
    assert setup.net() == 0
    assert len(fake.sent) == 2


def test_pushes_that_come_twice_and_in_the_wrong_order_count_once(
    desk: Desk, fake: FakeBroker
) -> None:
    setup = desk.setup("fake", entry_quantity="3", entry_order="limit", **BRACKET)
    setup.alert("buy", price="20000")
    entry = setup.order("entry").client_order_id
    one = fake.fill(setup.account.id, entry, 1, tell=False)
    two = fake.fill(setup.account.id, entry, 2, tell=False)

    for report in (two, one, two, one):
        fake.push(setup.ref, report, times=2)

    assert setup.net() == 3
    assert setup.order("entry").status == "filled"
    assert setup.order("stop_loss").quantity == 3
    assert [p.max_quantity for p in setup.positions()] == [3]


# The database


class Outage:
    """The database cannot be written for the next ``times`` works."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times = 0
        self._real = writer.run
        monkeypatch.setattr(writer, "run", self._run)

    def _run(self, work: Callable[[Tx], T]) -> T:
        if self.times:
            self.times -= 1
            raise Unavailable("The database cannot be written now; nothing was done.")
        return self._real(work)


@pytest.mark.parametrize("skipped", range(4))
def test_nothing_is_lost_while_the_database_is_away(
    desk: Desk, fake: FakeBroker, monkeypatch: pytest.MonkeyPatch, skipped: int
) -> None:
    setup = desk.setup("fake", **BRACKET)
    outage = Outage(monkeypatch)
    works = 0
    real = outage._run

    def fails_after(work: Callable[[Tx], T]) -> T:
        nonlocal works
        works += 1
        if works == skipped + 1:
            outage.times = 3
        return real(work)

    monkeypatch.setattr(writer, "run", fails_after)

    setup.alert("buy")

    assert setup.net() == 1
    assert len(fake.sent) == 1
    assert setup.outcome() == ("done", None)
    assert in_sync(setup, fake)


def test_an_answer_is_kept_while_the_database_is_away(
    desk: Desk, fake: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = desk.setup("fake")
    fake.script.append(Does.ANSWER_LATE)
    setup.alert("buy", wait=False)
    wait_until(lambda: fake.sent)
    outage = Outage(monkeypatch)
    outage.times = 5

    fake.release.set()
    desk.settle()

    assert outage.times == 0
    assert setup.statuses() == [("entry", "filled")]
    assert setup.net() == 1


# A crash between the intent and the outcome


def test_what_a_crash_left_is_gone_on_with(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake", **BRACKET)
    fake.script.append(Does.ANSWER_LATE)
    setup.alert("buy", wait=False)
    wait_until(lambda: fake.sent)

    _die(setup.account.id)
    assert setup.order("entry").status == "submitting"
    executor.sweep()
    desk.settle()

    assert len(fake.sent) == 1
    assert setup.net() == 1
    assert setup.order("stop_loss").status == "working"
    assert setup.executions()[0].attempts == 2


def test_a_crash_between_the_exit_and_the_entry_of_a_reversal_does_each_once(
    desk: Desk, fake: FakeBroker
) -> None:
    setup = desk.setup("fake", **BRACKET)
    setup.alert("buy")
    fake.script += [Does.WELL, Does.ANSWER_LATE]
    setup.alert("sell", wait=False)
    wait_until(lambda: len(fake.sent) == 2)

    _die(setup.account.id)
    executor.sweep()
    desk.settle()

    assert setup.net() == -1
    assert [o.status for o in setup.orders("exit")] == ["filled"]
    assert len(setup.orders("entry")) == 2
    assert in_sync(setup, fake)


def test_an_intent_that_was_never_sent_is_sent_after_the_crash(
    desk: Desk, fake: FakeBroker
) -> None:
    setup = desk.setup("fake")
    setup.alert("buy")
    fake.is_down = True
    setup.alert("close", wait=False)
    wait_until(lambda: setup.orders("exit") and setup.order("exit").status == "unknown")

    _die(setup.account.id)
    fake.is_down = False
    executor.sweep()
    desk.settle()

    assert setup.net() == 0
    assert [o.status for o in setup.orders("exit")] == ["not_found", "filled"]
    assert in_sync(setup, fake)


def test_an_alert_of_several_orders_goes_on_where_it_stopped(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake")
    setup.alert("buy")
    fake.script.append(Does.ANSWER_LATE)
    setup.alert(
        [{"action": "close", "symbol": SYMBOL}, {"action": "sell", "symbol": SYMBOL}], wait=False
    )
    wait_until(lambda: len(fake.sent) == 2)

    _die(setup.account.id)
    executor.sweep()
    desk.settle()

    assert fake.held(setup.account.id)[contract_of()] == setup.net() == Decimal(-1)
    assert len(fake.sent) == 3


def _die(account_id: int) -> None:
    """End the lane as a crash would, in the middle of what it does."""
    executor._lanes[account_id].greenlet.kill()


def _logs(desk: Desk) -> list[Any]:
    return desk.rows(StrategyLog, user_id=desk.user.id)


class _settling:  # noqa: N801  (reads as a verb)
    """Absence is proof only so long after the submit."""

    def __init__(self, time: timedelta) -> None:
        self._time = time

    def __enter__(self) -> None:
        self._before = reconcile.SETTLING["fake"]
        reconcile.SETTLING["fake"] = self._time

    def __exit__(self, *_: object) -> None:
        reconcile.SETTLING["fake"] = self._before
