"""Everything that can go wrong between us and Tradovate: in the end both sides say the same, and
nothing was sent twice."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from app.models import ExternalOrder, LivePosition
from tests.databases import ONLY_SQLITE
from tests.integration.tradovate.floor import BRACKET, Floor, Robot, wait_until

D = Decimal
ADDS: dict[str, Any] = {**BRACKET, "on_same_side": "add", "add_quantity": "1"}
LIMIT: dict[str, Any] = {**BRACKET, "entry_order": {"type": "limit"}}
PLACE, OSO, OCO = "order/placeorder", "order/placeoso", "order/placeoco"
STRATEGY, CANCEL, MODIFY = (
    "orderstrategy/startorderstrategy",
    "order/cancelorder",
    "order/modifyorder",
)
LIQUIDATE = "order/liquidateposition"
EXECUTED = (
    "drop_after",
    {"status_after": 500},
    "html_after",
    "malformed_after",
    "hang_after",
    "delay_until_events",
    {"delay_after_ms": 200},
)
NOT_EXECUTED = (
    "drop_before",
    {"status": 500},
    {"status": 408},
    "html",
    "malformed",
    "hang",
    {"p_ticket": {"p-time": 0.2}},
)


def _name(fault: Any) -> str:
    return fault if isinstance(fault, str) else "_".join(str(v) for v in next(iter(fault.items())))


def _is_alive_with(robot: Robot, size: int) -> None:
    """The book, and whole legs around it."""
    wait_until(lambda: [n for _, n, _ in robot.legs()] == [abs(size)] * 2, 20)
    assert robot.net() == robot.floor.net() == size
    robot.floor.agree()


# Answers that get lost.


@ONLY_SQLITE
@pytest.mark.parametrize("fault", EXECUTED + NOT_EXECUTED, ids=_name)
def test_every_call_may_fail_once_and_nothing_is_lost_or_doubled(floor: Floor, fault: Any) -> None:
    account_id = floor.open()
    robot = floor.robot(account_id, **ADDS)
    for path in (STRATEGY, PLACE, OCO, CANCEL):
        floor.simulator.rule(path, fault)

    first = robot.alert("buy")
    assert first["status"] == "done", first
    _is_alive_with(robot, 1)
    added = robot.alert("buy")
    assert added["status"] == "done", added
    _is_alive_with(robot, 2)
    assert floor.flatten(account_id).status_code == 200

    floor.agree()
    assert floor.net() == 0
    assert floor.nothing_works()
    assert [row["hits"] for row in floor.simulator.rules()] == [1] * 4
    assert len(robot.trades()) == 1


@ONLY_SQLITE
@pytest.mark.parametrize("fault", EXECUTED + NOT_EXECUTED, ids=_name)
def test_a_limit_entry_and_its_corrections_may_fail_once(floor: Floor, fault: Any) -> None:
    robot = floor.robot(floor.open(), **LIMIT)
    floor.simulator.set(hold_fills=True)
    for path in (OSO, MODIFY):
        floor.simulator.rule(path, fault)

    done = robot.alert("buy", price="19990")
    assert done["status"] == "done", done
    floor.agree()
    [order] = [order for order in floor.orders() if order["status"] == "Working"]
    floor.simulator.venue("fill_order", order_id=order["id"], price="19989")

    wanted = [("stop_loss", 1, D("19984")), ("take_profit", 1, D("19999"))]
    wait_until(lambda: robot.legs() == wanted, 20)
    _is_alive_with(robot, 1)
    assert [row["hits"] for row in floor.simulator.rules()] == [1] * 2


@ONLY_SQLITE
@pytest.mark.parametrize("fault", ["drop_after", "drop_before", {"status_after": 500}], ids=_name)
def test_flattening_what_others_hold_may_fail_once(floor: Floor, fault: Any) -> None:
    floor.foreign = True
    account_id = floor.open()
    floor.simulator.manual_trade(floor.number, floor.contract, "Sell", 2)
    floor.simulator.rule(LIQUIDATE, fault)

    answer = floor.flatten(account_id)

    assert answer.status_code == 200, answer.text
    assert floor.net() == 0
    assert floor.nothing_works()
    floor.agree()


@ONLY_SQLITE
def test_an_entry_that_cannot_be_sent_in_time_is_given_up_and_said(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **BRACKET, entry_deadline="1")
    floor.simulator.rule(STRATEGY, "drop_before", times=None)

    done = robot.alert("buy")

    assert (done["status"], done["reason"]) in [
        ("expired", "entry_deadline"),
        ("failed", "order_lost"),
    ]
    assert floor.net() == robot.net() == 0
    floor.agree()
    assert {order.status for order in robot.orders("entry")} == {"not_found"}
    assert floor.lines("warning") or floor.lines("error")


def test_an_exit_is_tried_again_until_it_is_there(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **BRACKET)
    robot.alert("buy")
    floor.simulator.rule(PLACE, "drop_before", times=2)

    robot.alert("close")

    assert floor.net() == robot.net() == 0
    floor.agree()
    assert floor.nothing_works()


@ONLY_SQLITE
@pytest.mark.parametrize("settings", [{}, BRACKET, LIMIT], ids=["alone", "bracket", "limit"])
def test_what_the_broker_took_twice_is_said_and_can_be_flattened(
    floor: Floor, settings: dict[str, Any]
) -> None:
    account_id = floor.open()
    robot = floor.robot(account_id, **settings)
    floor.simulator.rule("order/place*", "accept_twice")
    floor.simulator.rule(STRATEGY, "accept_twice")

    robot.alert("buy", price="20001")

    floor.simulator.clear_rules()
    # What of it is not ours is somebody else's: seen, and in a book.
    floor.foreign = True
    floor.twice |= {order.client_order_id for order in robot.orders()}
    floor.agree()
    assert (robot.net(), floor.net()) == (1, 2)
    assert [order.status for order in floor.rows(ExternalOrder)][:1] == ["filled"]
    assert len(floor.sent()) == 1

    assert floor.flatten(account_id).status_code == 200
    assert floor.net() == 0
    assert floor.nothing_works()
    floor.agree()


# Limits and penalties.


@ONLY_SQLITE
def test_a_penalty_without_captcha_is_waited_for_with_the_same_order(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **BRACKET)
    floor.simulator.rule(STRATEGY, {"p_ticket": {"p-time": 0.3}})

    done = robot.alert("buy")

    assert done["status"] == "done"
    first, second = floor.sent()
    assert first["uuid"] == second["uuid"]
    _is_alive_with(robot, 1)


@ONLY_SQLITE
def test_a_captcha_fails_the_entry_in_plain_words(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **BRACKET)
    floor.simulator.rule(STRATEGY, "captcha", times=None)

    done = robot.alert("buy")
    again = robot.alert("buy")

    for each in (done, again):
        assert (each["status"], each["reason"]) in [
            ("failed", "captcha"),
            ("failed", "broker_rate_limited"),
        ]
        assert "captcha" in each["detail"]
    assert len(floor.sent()) == 1
    assert [order.status for order in robot.orders("entry")] == ["rejected", "rejected"]
    floor.says("refused", "captcha")
    floor.agree()


@ONLY_SQLITE
def test_a_lock_for_too_many_requests_is_left_alone_and_said(floor: Floor) -> None:
    account_id = floor.open()
    robot = floor.robot(account_id)
    robot.alert("buy")
    floor.simulator.rule(PLACE, {"status": 429})

    done = robot.alert("sell")
    sent = len(floor.simulator.requests())
    again = robot.alert("sell")

    assert done["status"] == again["status"] == "failed"
    assert "locked" in done["detail"]
    assert len(floor.simulator.requests()) == sent
    floor.says("refused", "locked this log-in")
    # A person gets out all the same.
    answer = floor.flatten(account_id)
    assert answer.status_code == 200, answer.text
    assert floor.net() == 0
    assert floor.tracebacks.found == []


# Events.


def _whole_life(robot: Robot) -> None:
    """Entry, add, target, entry, reversal, close: in the end flat, with three trades."""
    floor = robot.floor
    robot.alert("buy")
    robot.alert("buy")
    wait_until(lambda: robot.net() == 2)
    floor.quote("20020")
    wait_until(lambda: robot.net() == 0)
    floor.quote("20000")
    robot.alert("sell")
    wait_until(lambda: robot.net() == -1)
    robot.alert("buy")
    wait_until(lambda: robot.net() == 1)
    robot.alert("close")


@ONLY_SQLITE
@pytest.mark.parametrize("kind", ["duplicate", "reorder", "delay"])
def test_events_out_of_order_change_nothing(floor: Floor, kind: Any) -> None:
    robot = floor.robot(floor.open(), **ADDS)
    floor.simulator.disturb_events(kind, None, ms=60)

    _whole_life(robot)
    floor.simulator.clear_events()

    floor.agree()
    assert floor.net() == 0
    assert floor.nothing_works()
    assert len(robot.trades()) == 3


@ONLY_SQLITE
def test_alerts_are_traded_though_every_event_is_lost(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **ADDS)
    floor.simulator.disturb_events("lose", None)

    robot.alert("buy")
    robot.alert("buy")
    robot.alert("sell")
    floor.simulator.clear_events()
    floor.simulator.cut_sockets()

    _is_alive_with(robot, -1)


def test_a_target_whose_events_were_lost_is_found_by_the_next_synchronisation(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **BRACKET)
    robot.alert("buy")
    floor.simulator.disturb_events("lose", None)
    floor.quote("20020")
    floor.simulator.clear_events()
    floor.simulator.cut_sockets()

    wait_until(lambda: robot.net() == 0)
    floor.agree()
    floor.says("had been missed")
    assert robot.trades()[0].exit_reason == "take_profit"


@ONLY_SQLITE
def test_a_replay_of_the_session_changes_nothing(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **ADDS)
    _whole_life(robot)
    robot.alert("buy")
    before = robot.legs(), len(robot.trades()), len(robot.orders())

    floor.simulator.replay_events()
    # What comes after it is told after it.
    floor.foreign = True
    floor.simulator.manual_order(
        account_id=floor.number,
        contract=floor.contract,
        action="Buy",
        qty=1,
        order_type="Limit",
        price="15000",
    )
    wait_until(lambda: len(floor.rows(ExternalOrder)) == 1)
    assert (robot.legs(), len(robot.trades()), len(robot.orders())) == before
    floor.agree()


# Sockets.


def _cut(floor: Floor) -> None:
    floor.simulator.cut_sockets()


def _clean(floor: Floor) -> None:
    floor.simulator.cut_sockets("clean")


def _maintenance(floor: Floor) -> None:
    floor.simulator.cut_sockets("shutdown", reason_code="Maintenance")


def _quota(floor: Floor) -> None:
    floor.simulator.cut_sockets("shutdown", reason_code="ConnectionQuotaReached")


def _ip_quota(floor: Floor) -> None:
    floor.simulator.cut_sockets("shutdown", reason_code="IPQuotaReached")


def _truncated(floor: Floor) -> None:
    floor.simulator.truncate_frame()


def _garbage(floor: Floor) -> None:
    floor.simulator.garbage_frame()


def _half_json(floor: Floor) -> None:
    floor.simulator.garbage_frame('a[{"e":"props","d":{"entityType":"order"')


def _silent(floor: Floor) -> None:
    floor.simulator.stop_heartbeats()


def _expired(floor: Floor) -> None:
    floor.simulator.expire_tokens()


def _revoked(floor: Floor) -> None:
    floor.simulator.revoke_tokens()


def _revoked_401(floor: Floor) -> None:
    floor.simulator.revoke_tokens(status=401)


def _third_login(floor: Floor) -> None:
    floor.simulator.open_session("demo")
    floor.simulator.open_session("demo")


TROUBLES = [
    _cut,
    _clean,
    _maintenance,
    _quota,
    _ip_quota,
    _truncated,
    _garbage,
    _half_json,
    _silent,
    _expired,
    _revoked,
    _revoked_401,
    _third_login,
]


@ONLY_SQLITE
@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda f: f.__name__.strip("_"))
def test_an_alert_that_comes_right_then_is_traded(floor: Floor, trouble: Any) -> None:
    robot = floor.robot(floor.open(), **ADDS)
    robot.alert("buy")

    trouble(floor)
    added = robot.alert("buy")

    assert added["status"] == "done", added
    _is_alive_with(robot, 2)
    trouble(floor)
    closed = robot.alert("close")
    assert closed["status"] == "done", closed
    floor.agree()
    assert floor.net() == 0
    assert floor.nothing_works()


@ONLY_SQLITE
@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda f: f.__name__.strip("_"))
def test_a_target_that_fills_right_then_is_taken_in(floor: Floor, trouble: Any) -> None:
    robot = floor.robot(floor.open(), **BRACKET)
    robot.alert("buy")

    trouble(floor)
    floor.quote("20020")

    wait_until(lambda: robot.net() == 0, 20)
    floor.agree()
    assert floor.nothing_works()
    assert robot.trades()[0].exit_reason == "take_profit"


@ONLY_SQLITE
def test_what_a_stream_is_told_to_wait_for_is_on_the_account(floor: Floor) -> None:
    floor.open()

    floor.simulator.cut_sockets("shutdown", reason_code="ConnectionQuotaReached")

    wait_until(lambda: "asks to wait until" in (floor.account().last_error or ""))
    assert floor.account().status == "disconnected"
    floor.says("connection to Tradovate demo was lost", "Not before")
    wait_until(lambda: floor.account().status == "connected")
    assert floor.account().last_error is None


@ONLY_SQLITE
def test_maintenance_is_sat_out(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **BRACKET)
    robot.alert("buy")
    floor.simulator.maintenance()

    robot.alert("close", wait=False)
    wait_until(lambda: floor.account().status != "connected")
    floor.simulator.maintenance(on=False)
    robot.wait()

    assert floor.net() == robot.net() == 0
    floor.agree()
    assert floor.nothing_works()


@ONLY_SQLITE
def test_an_account_that_the_broker_hides_is_not_taken_for_flat(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **BRACKET)
    robot.alert("buy")
    floor.agree()
    floor.simulator.hide_account(floor.number)
    floor.simulator.cut_sockets()
    wait_until(lambda: floor.account().status != "connected")
    wait_until(lambda: floor.account().status == "connected")

    assert robot.net() == 1
    assert [row.net_pos for row in floor.rows(LivePosition)] == [1]
    assert len(robot.legs()) == 2

    floor.simulator.hide_account(floor.number, hidden=False)
    floor.simulator.cut_sockets()
    _is_alive_with(robot, 1)
    robot.alert("close")
    floor.agree()
    assert floor.net() == 0


# Orders that behave badly.


@ONLY_SQLITE
@pytest.mark.parametrize("settings", [{}, BRACKET, LIMIT], ids=["alone", "bracket", "limit"])
@pytest.mark.parametrize("kind", ["RiskRejected", "ExecutionRejected"])
def test_an_entry_that_is_rejected_after_its_acceptance_says_why(
    floor: Floor, kind: str, settings: dict[str, Any]
) -> None:
    robot = floor.robot(floor.open(), **settings)
    floor.simulator.set(reject_after_accept=kind, reject_reason="MaxPosLimitReached")

    done = robot.alert("buy", price="20000")

    assert (done["status"], done["reason"]) in [("failed", "order_rejected"), ("done", None)]
    words = "larger than Tradovate allows"
    wait_until(lambda: [words in (o.reason or "") for o in robot.orders("entry")] == [True])
    assert [order.status for order in robot.orders("entry")] == ["rejected"]
    floor.says(words)
    floor.agree()
    assert robot.legs() == []
    assert len(floor.sent()) == 1


@ONLY_SQLITE
def test_a_stop_that_the_broker_refuses_raises_an_alarm_and_comes_later(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **ADDS)
    robot.alert("buy")
    floor.simulator.rule(OCO, {"status": 500}, times=2)

    robot.alert("buy")

    _is_alive_with(robot, 2)


@ONLY_SQLITE
def test_a_target_that_fills_while_it_is_cancelled_closes_once(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **BRACKET)
    robot.alert("buy")
    floor.simulator.set(cancel_loses_race=True)

    robot.alert("close")

    floor.simulator.set(cancel_loses_race=False)
    floor.agree()
    assert floor.net() == robot.net() == 0
    assert floor.nothing_works()
    assert len(robot.trades()) == 1


@ONLY_SQLITE
def test_a_reversal_whose_target_fills_right_then_ends_on_the_other_side(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **BRACKET)
    robot.alert("buy")
    floor.simulator.set(cancel_loses_race=True)

    robot.alert("sell", wait=False)
    wait_until(lambda: floor.net() != 1)
    floor.simulator.set(cancel_loses_race=False)
    robot.wait()

    _is_alive_with(robot, -1)


@ONLY_SQLITE
def test_a_change_that_is_not_made_is_asked_for_until_it_is(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **LIMIT)
    floor.simulator.set(hold_fills=True)
    robot.alert("buy", price="19990")
    floor.simulator.set(modify_not_applied=True)
    [entry] = robot.orders("entry")

    floor.simulator.venue("fill_order", order_id=int(entry.broker_order_id), price="19989")
    wait_until(lambda: floor.sent(MODIFY))
    floor.simulator.set(modify_not_applied=False)

    wanted = [("stop_loss", 1, D("19984")), ("take_profit", 1, D("19999"))]
    wait_until(lambda: robot.legs() == wanted, 20)
    floor.agree()


@ONLY_SQLITE
def test_a_market_order_that_rests_is_waited_for(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **BRACKET)
    floor.simulator.set(fill_market_orders=False)

    robot.alert("buy", wait=False)
    wait_until(lambda: [order.status for order in robot.orders("entry")] == ["working"])
    floor.simulator.venue("release_fills")
    robot.wait()

    _is_alive_with(robot, 1)
    assert len(floor.sent()) == 1


@ONLY_SQLITE
def test_a_cancel_that_takes_its_time_is_waited_for(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **BRACKET)
    robot.alert("buy")
    floor.simulator.set(slow_cancel=True)

    robot.alert("close", wait=False)
    wait_until(lambda: "cancel_pending" in [order.status for order in robot.orders()])
    assert floor.net() == 1
    floor.simulator.set(slow_cancel=False)
    floor.simulator.venue("release_commands")
    robot.wait()

    assert floor.net() == robot.net() == 0
    floor.agree()
    assert floor.nothing_works()


@ONLY_SQLITE
def test_an_interrupted_strategy_leaves_no_legs_behind(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **BRACKET)
    floor.simulator.set(interrupt_leaves_legs=True, out_of_order_responses=True)
    robot.alert("buy")

    robot.alert("close")

    floor.agree()
    assert floor.nothing_works()
