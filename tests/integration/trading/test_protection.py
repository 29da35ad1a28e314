"""Positions without their stop, legs without their position, legs at the wrong price."""

from __future__ import annotations

from decimal import Decimal

import gevent
import pytest

from app.domain.trading import OrderRole, OrderStatus
from app.services.protection import Watch
from tests.brokers import Does, FakeBroker
from tests.integration.trading.desk import BRACKET, Desk, Setup, wait_until

pytestmark = pytest.mark.usefixtures("fake")


def _look_twice(watch: Watch) -> None:
    watch.look()
    watch.look()


def _end(fake: FakeBroker, setup: Setup, role: OrderRole) -> None:
    """The broker ends a leg by itself."""
    [client_id] = fake.open_ids(setup.account.id, role)
    fake.end(setup.account.id, client_id)


def _stops(fake: FakeBroker, setup: Setup) -> list[Decimal]:
    return [
        fake.order(setup.account.id, row.client_order_id).quantity
        for row in setup.orders("stop_loss")
        if row.status == OrderStatus.WORKING.value
    ]


def test_a_position_that_lost_its_stop_is_told_and_protected_again(
    desk: Desk, fake: FakeBroker
) -> None:
    setup = desk.setup("fake", **BRACKET)
    setup.alert("buy", contracts=2)
    wait_until(lambda: _stops(fake, setup))
    _end(fake, setup, OrderRole.STOP_LOSS)
    wait_until(lambda: not _stops(fake, setup))
    watch = Watch()

    _look_twice(watch)

    wait_until(lambda: _stops(fake, setup))
    assert _stops(fake, setup) == [abs(setup.net())]
    assert "unprotected" in setup.logs()


def test_one_look_is_no_alarm(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake", **BRACKET)
    setup.alert("buy")
    wait_until(lambda: _stops(fake, setup))
    _end(fake, setup, OrderRole.STOP_LOSS)

    Watch().look()
    gevent.sleep(0)

    assert "unprotected" not in setup.logs()


def test_a_protected_position_and_one_that_wants_no_stop_are_left_alone(
    desk: Desk, fake: FakeBroker
) -> None:
    guarded, bare = desk.setup("fake", **BRACKET), desk.setup("fake")
    guarded.alert("buy")
    bare.alert("buy")
    wait_until(lambda: _stops(fake, guarded))
    sent = list(fake.sent)

    _look_twice(Watch())
    gevent.sleep(0.05)

    assert fake.sent == sent
    assert not {"unprotected", "orphan"} & {*guarded.logs(), *bare.logs()}


def test_a_repair_that_fails_is_not_tried_at_every_look(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake", **BRACKET)
    setup.alert("buy")
    wait_until(lambda: _stops(fake, setup))
    _end(fake, setup, OrderRole.STOP_LOSS)
    wait_until(lambda: not _stops(fake, setup))
    fake.script.extend([Does.REFUSE])
    watch = Watch()

    _look_twice(watch)
    wait_until(lambda: not fake.script)
    wait_until(lambda: not watch._repairing)
    calls = fake.calls["place_oco"] + fake.calls["place_order"]
    _look_twice(watch)
    gevent.sleep(0.05)

    assert fake.calls["place_oco"] + fake.calls["place_order"] == calls
    assert setup.logs().count("unprotected") == 1


def test_a_leg_that_outlived_its_position_is_cancelled(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake", **BRACKET)
    setup.alert("buy")
    wait_until(lambda: _stops(fake, setup))
    [target] = fake.open_ids(setup.account.id, OrderRole.TAKE_PROFIT)
    [stop] = fake.open_ids(setup.account.id, OrderRole.STOP_LOSS)
    fake.unlink(setup.account.id, stop)
    fake.fill(setup.account.id, target)
    wait_until(lambda: not setup.net())

    _look_twice(Watch())

    wait_until(lambda: not fake.open_ids(setup.account.id))
    assert stop in fake.cancels
    assert "orphan" in setup.logs()


def test_legs_counted_from_a_limit_follow_the_price_of_the_fill(
    desk: Desk, fake: FakeBroker
) -> None:
    fake.counts_from_asked = True
    setup = desk.setup("fake", entry_order={"type": "limit"}, **BRACKET)
    setup.alert("buy", price="20000")
    entry = setup.order("entry").client_order_id
    fake.fill(setup.account.id, entry, price="19998")
    wait_until(lambda: _stops(fake, setup))

    _look_twice(Watch())

    wait_until(lambda: len(fake.modified) == 2)
    moved = {price for _, _, price in fake.modified}
    assert moved == {Decimal(20008), Decimal(19993)}
    wait_until(lambda: setup.order("stop_loss").stop_price == Decimal(19993))
    fake.modified.clear()
    _look_twice(Watch())
    assert not fake.modified
