"""What happens while the app is down and the session ends: the lists forget it."""

from __future__ import annotations

from app.domain.trading import OrderStatus
from app.services import protection
from tests.integration.tradovate.floor import BRACKET, Floor, wait_until


def test_a_position_that_came_overnight_keeps_its_stop(floor: Floor) -> None:
    robot = floor.robot(floor.open(), entry_order="limit", **BRACKET)
    robot.alert("buy", price="19990")
    wait_until(lambda: robot.orders("entry")[0].status == OrderStatus.WORKING)
    floor.stop()
    floor.quote("19988")
    floor.quote("19990")
    floor.simulator.session_roll()

    floor.start()
    wait_until(lambda: robot.orders("entry")[0].status == OrderStatus.CANCELLED)
    wait_until(lambda: floor.account().sync_note)
    for _ in range(3):
        protection.watch.look()
        protection.watch._repairs.join()

    assert floor.net() == 1
    assert [o["orderType"] for o in floor.orders("Working")] == ["Limit", "Stop"]
    assert "the broker holds 1, our books say 0" in floor.account().sync_note


def test_no_stop_is_placed_for_what_was_closed_overnight(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **BRACKET)
    robot.alert("buy")
    floor.agree()
    floor.stop()
    floor.quote("19980")
    floor.quote("20000")
    floor.simulator.session_roll()
    assert floor.simulator.book()["working"] == {"101": [], "102": []}

    floor.start()
    wait_until(lambda: robot.orders("stop_loss")[0].status == OrderStatus.CANCELLED)
    wait_until(lambda: floor.account().sync_note)
    for _ in range(3):
        protection.watch.look()
        protection.watch._repairs.join()

    assert floor.simulator.book()["working"] == {"101": [], "102": []}
    assert "the broker holds 0, our books say 1" in floor.account().sync_note
