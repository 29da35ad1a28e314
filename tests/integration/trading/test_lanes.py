"""Lanes: one thing at a time per account, accounts side by side, and nobody left waiting."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from sqlalchemy import select, text, update

from app.domain.errors import Unavailable
from app.extensions import db, ownership, writer
from app.models import Lane
from app.models.engine import Ownership
from app.services import executor as executors
from app.services import flatten, signals
from app.services.executor import executor
from tests.brokers import Does, FakeBroker
from tests.databases import ONLY_POSTGRESQL
from tests.integration.trading.desk import Desk, Setup, in_sync, wait_until


def _owner(setup: Setup) -> int | None:
    with writer.read() as connection:
        return connection.scalar(select(Lane.owner).where(Lane.account_id == setup.account.id))


def _give(setup: Setup, owner: int | None) -> None:
    lane = update(Lane).where(Lane.account_id == setup.account.id).values(owner=owner)
    writer.run(lambda tx: tx.conn.execute(lane))


def _close(setup: Setup) -> gevent.Greenlet:
    return gevent.spawn(flatten.flatten_account, setup.account.id)


def test_a_slow_account_does_not_delay_another(desk: Desk, fake: FakeBroker) -> None:
    slow, quick = desk.setup("fake"), desk.setup("fake")
    fake.script.append(Does.ANSWER_LATE)
    slow.alert("buy", wait=False)
    wait_until(lambda: fake.sent)

    quick.alert("buy", wait=False)
    wait_until(lambda: quick.net() == 1)

    assert slow.statuses() == [("entry", "submitting")]
    fake.release.set()
    desk.settle()
    assert slow.net() == 1


def test_a_close_waits_for_what_is_under_way_and_goes_before_what_waits(
    desk: Desk, fake: FakeBroker
) -> None:
    setup = desk.setup("fake")
    fake.script.append(Does.ANSWER_LATE)
    setup.alert("buy", wait=False)
    wait_until(lambda: fake.sent)
    setup.alert("sell", wait=False)

    closing = _close(setup)
    gevent.sleep(0.05)
    fake.release.set()
    closing.get(timeout=10)
    desk.settle()

    assert [o.role for o in setup.orders()] == ["entry", "exit", "entry"]
    assert setup.net() == -1


def test_a_close_that_could_not_begin_in_time_is_taken_back(
    desk: Desk, fake: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "_COMMAND_TIMEOUT_S", 0.1)
    setup = desk.setup("fake")
    fake.script.append(Does.ANSWER_LATE)
    setup.alert("buy", wait=False)
    wait_until(lambda: fake.sent)

    with pytest.raises(Unavailable, match="nothing was done"):
        flatten.flatten_account(setup.account.id)
    fake.release.set()
    desk.settle()

    assert setup.net() == 1
    assert setup.orders("exit") == []


def test_a_close_that_takes_long_says_that_it_goes_on(
    desk: Desk, fake: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "_COMMAND_TIMEOUT_S", 0.3)
    setup = desk.setup("fake")
    setup.alert("buy")
    fake.script.append(Does.ANSWER_LATE)

    with pytest.raises(Unavailable) as refused:
        flatten.flatten_account(setup.account.id)
    fake.release.set()
    wait_until(lambda: setup.net() == 0)

    assert refused.value.code == "still_running"
    assert len(setup.orders("exit")) == 1


def test_a_lane_that_ends_answers_who_waits(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake")
    setup.alert("buy")
    fake.script.append(Does.ANSWER_LATE)
    under_way, waiting = _close(setup), _close(setup)
    wait_until(lambda: len(fake.sent) == 2)

    executor._lanes[setup.account.id].greenlet.kill()

    for asked in (under_way, waiting):
        with pytest.raises(Unavailable):
            asked.get(timeout=5)


def test_a_close_while_stopping_is_refused(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake")
    setup.alert("buy")
    executor.stop()

    with pytest.raises(Unavailable):
        flatten.flatten_account(setup.account.id)

    executor.start()
    assert setup.net() == 1


def test_stopping_in_the_middle_of_a_close_does_not_call_it_done(
    desk: Desk, fake: FakeBroker
) -> None:
    setup = desk.setup("fake")
    setup.alert("buy")
    fake.script.append(Does.REST)
    closing = _close(setup)
    wait_until(lambda: len(fake.sent) == 2)

    executor.stop()

    with pytest.raises(Unavailable):
        closing.get(timeout=5)
    executor.start()


def test_a_command_that_breaks_is_its_askers_and_the_lane_goes_on(
    desk: Desk, fake: FakeBroker
) -> None:
    setup = desk.setup("fake")

    def breaks(_tx: Any) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        executor.in_lane(setup.account.id, breaks)
    setup.alert("buy")

    assert setup.net() == 1


def test_an_idle_lane_is_given_up_and_opened_again(
    desk: Desk, fake: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "_IDLE_S", 0.05)
    setup = desk.setup("fake")
    setup.alert("buy")
    wait_until(lambda: setup.account.id not in executor._lanes)
    assert _owner(setup) is None

    setup.alert("close")

    assert setup.net() == 0


def test_work_that_arrives_while_a_lane_is_given_up_is_done(
    desk: Desk, fake: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "_IDLE_S", 0.001)
    setup = desk.setup("fake", entry_quantity="1", on_opposite="reverse")

    for turn in range(40):
        setup.alert("sell" if turn % 2 else "buy", wait=False)
        flatten.flatten_account(setup.account.id) if turn % 5 == 0 else gevent.sleep(0.003)
    desk.settle()

    assert {e.status for e in setup.executions()} == {"done"}
    assert in_sync(setup, fake)
    assert len(fake.sent) == len(set(fake.sent))


def test_what_nobody_was_woken_for_is_swept_up(
    desk: Desk, fake: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = desk.setup("fake")
    monkeypatch.setattr(signals, "_wake", lambda _accounts: None)
    setup.alert("buy", wait=False)

    executor.sweep()
    desk.settle()

    assert setup.net() == 1


# Several processes


@pytest.fixture
def another(desk: Desk) -> Iterator[Ownership]:
    """A second process that lives."""
    own = Ownership()
    with desk.app.app_context():
        own.bind(db.engine, ownership._path)
    own.claim_boot(ownership.boot + 1000)
    yield own
    own.release()


@ONLY_POSTGRESQL
def test_the_lane_of_a_living_process_is_left_alone_and_taken_over_when_it_dies(
    desk: Desk, fake: FakeBroker, another: Ownership
) -> None:
    setup = desk.setup("fake")
    _give(setup, another.boot)
    setup.alert("buy", wait=False)
    wait_until(lambda: setup.account.id not in executor._lanes)
    executor.sweep()
    wait_until(lambda: setup.account.id not in executor._lanes)
    assert (fake.sent, _owner(setup)) == ([], another.boot)

    another.release()
    wait_until(lambda: _is_dead(desk, another, ownership.boot + 1000))
    executor.sweep()
    desk.settle()

    assert setup.net() == 1
    assert _owner(setup) == ownership.boot


def _is_dead(desk: Desk, _another: Ownership, boot: int) -> bool:
    with writer.read() as connection:
        found = connection.scalar(
            text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = :boot"),
            {"boot": boot},
        )
    return not found


@ONLY_POSTGRESQL
def test_a_half_sent_order_of_a_dead_process_is_found_and_not_sent_again(
    desk: Desk, fake: FakeBroker
) -> None:
    setup = desk.setup("fake")
    fake.script.append(Does.ANSWER_LATE)
    setup.alert("buy", wait=False)
    wait_until(lambda: fake.sent)
    executor._lanes[setup.account.id].greenlet.kill()
    _give(setup, ownership.boot + 2000)

    executor.sweep()
    desk.settle()

    assert len(fake.sent) == 1
    assert setup.net() == 1
    assert _owner(setup) == ownership.boot


@ONLY_POSTGRESQL
def test_a_close_waits_until_another_process_gives_the_lane_up(
    desk: Desk, fake: FakeBroker, another: Ownership
) -> None:
    setup = desk.setup("fake")
    setup.alert("buy")
    executor._lanes[setup.account.id].greenlet.kill()
    _give(setup, another.boot)
    closing = _close(setup)
    gevent.sleep(0.4)
    assert not closing.dead

    _give(setup, None)
    closing.get(timeout=5)

    assert setup.net() == 0


@ONLY_POSTGRESQL
def test_a_close_says_so_where_another_process_keeps_the_lane(
    desk: Desk, fake: FakeBroker, another: Ownership, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "_COMMAND_TIMEOUT_S", 0.5)
    setup = desk.setup("fake")
    _give(setup, another.boot)

    with pytest.raises(Unavailable, match="Another process"):
        flatten.flatten_account(setup.account.id)


@ONLY_POSTGRESQL
def test_who_has_lost_the_lane_begins_nothing_more(
    desk: Desk, fake: FakeBroker, another: Ownership
) -> None:
    setup = desk.setup("fake")
    setup.alert("buy")
    _give(setup, another.boot)  # it thought that we were dead

    setup.alert("sell", wait=False)
    wait_until(lambda: setup.account.id not in executor._lanes)

    assert len(fake.sent) == 1
    assert [e.status for e in setup.executions()] == ["done", "pending"]


@ONLY_POSTGRESQL
def test_who_loses_the_lane_while_it_waits_goes_no_step_further(
    desk: Desk, fake: FakeBroker, another: Ownership
) -> None:
    setup = desk.setup("fake")
    setup.alert("buy")
    fake.script.append(Does.ANSWER_LATE)
    setup.alert("sell", wait=False)
    wait_until(lambda: len(fake.sent) == 2)

    _give(setup, another.boot)
    fake.release.set()
    wait_until(lambda: setup.account.id not in executor._lanes)

    assert len(fake.sent) == 2
    assert [e.status for e in setup.executions()] == ["done", "running"]
    _give(setup, None)
    executor.sweep()
    desk.settle()
    assert setup.net() == -1
    assert len(fake.sent) == 2
    assert in_sync(setup, fake)
