"""A trader's ordinary days at Tradovate: alerts in, orders, fills and positions out."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from app.models import ExternalOrder, Fill, LivePosition
from tests.databases import ONLY_SQLITE
from tests.integration.tradovate.floor import BRACKET, Floor, Robot, wait_until

D = Decimal
LIMIT: dict[str, Any] = {"entry_order": {"type": "limit"}}
LOGIN = "auth/accesstokenrequest"


def _statuses(robot: Robot, *roles: str) -> list[str]:
    return [order.status for order in robot.orders(*roles)]


# Entries and their exits.


def test_a_market_entry_takes_its_bracket_along_and_the_target_ends_it(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **BRACKET)

    done = robot.alert("buy", quantity=1)

    assert done["status"] == "done"
    [body] = floor.sent()
    assert (body["action"], body["orderStrategyTypeId"]) == ("Buy", 2)
    assert robot.legs() == [
        ("stop_loss", 1, D("19995.25")),
        ("take_profit", 1, D("20010.25")),
    ]
    floor.agree()

    floor.quote("20010.50")

    wait_until(lambda: robot.net() == 0)
    floor.agree()
    assert floor.nothing_works()
    [trade] = robot.trades()
    assert (trade.entry_price, trade.exit_price) == (D("20000.25"), D("20010.25"))
    assert (trade.gross, trade.exit_reason) == (20, "take_profit")
    assert trade.fees > 0
    [position] = robot.positions()
    assert position.exit_reason == "take_profit"
    assert _statuses(robot, "stop_loss") == ["cancelled"]


@ONLY_SQLITE
def test_the_stop_of_a_short_ends_it_and_the_target_goes(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **BRACKET, entry_quantity="2")

    robot.alert("sell")

    assert robot.legs() == [
        ("stop_loss", 2, D("20005")),
        ("take_profit", 2, D("19990")),
    ]
    floor.quote("20005.25")
    wait_until(lambda: robot.net() == 0)
    floor.agree()
    assert floor.nothing_works()
    assert robot.trades()[0].exit_reason == "stop_loss"
    assert robot.trades()[0].gross == D("-22")


@ONLY_SQLITE
def test_exits_of_a_limit_entry_follow_a_fill_that_was_better(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **BRACKET, **LIMIT)
    floor.simulator.set(hold_fills=True)

    robot.alert("buy", price="19990")

    [body] = floor.sent()
    assert body["bracket1"]["price"] == 20000.0
    assert body["bracket2"]["stopPrice"] == 19985.0
    assert sorted(_statuses(robot)) == ["inactive", "inactive", "working"]
    floor.agree()

    [entry] = robot.orders("entry")
    floor.simulator.venue("fill_order", order_id=int(entry.broker_order_id), price="19989")

    wanted = [("stop_loss", 1, D("19984")), ("take_profit", 1, D("19999"))]
    wait_until(lambda: robot.legs() == wanted)
    floor.agree()


@ONLY_SQLITE
def test_a_limit_entry_that_nobody_wants_any_more_goes_with_its_exits(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **BRACKET, **LIMIT)
    robot.alert("buy", price="19990")

    cancelled = robot.alert("cancel")

    assert cancelled["status"] == "done"
    floor.agree()
    assert floor.nothing_works()
    assert set(_statuses(robot)) == {"cancelled"}


def test_an_add_rebuilds_the_bracket_for_the_whole_book(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **BRACKET, on_same_side="add", add_quantity="2")
    robot.alert("buy")
    floor.quote("20003.75")

    added = robot.alert("buy")

    assert added["status"] == "done"
    # 1 at 20000.25 and 2 at 20004: on average 20002.75.
    assert robot.legs() == [
        ("stop_loss", 3, D("19997.75")),
        ("take_profit", 3, D("20012.75")),
    ]
    floor.agree()
    assert len(floor.simulator.book()["working"][str(floor.number)]) == 2

    floor.quote("20013")
    wait_until(lambda: robot.net() == 0)
    floor.agree()
    assert floor.nothing_works()


def test_a_reversal_ends_on_the_other_side_with_its_own_bracket(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **BRACKET, entry_quantity="2")
    robot.alert("buy")

    reversed_ = robot.alert("sell")

    assert reversed_["status"] == "done"
    assert robot.net() == floor.net() == -2
    assert robot.legs() == [
        ("stop_loss", 2, D("20005")),
        ("take_profit", 2, D("19990")),
    ]
    floor.agree()
    assert [trade.side for trade in robot.trades()] == ["long"]


@ONLY_SQLITE
def test_a_reversal_without_exits_is_one_order(floor: Floor) -> None:
    robot = floor.robot(floor.open())
    robot.alert("buy")

    robot.alert("sell")

    assert [body["orderQty"] for body in floor.sent()] == [1, 2]
    assert robot.net() == floor.net() == -1
    floor.agree()


def test_a_partial_exit_leaves_the_rest_protected(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **BRACKET, entry_quantity="4")
    robot.alert("buy")

    robot.alert("close", quantity=25, quantity_type="percent_of_position")

    assert robot.net() == floor.net() == 3
    assert [(role, size) for role, size, _ in robot.legs()] == [
        ("stop_loss", 3),
        ("take_profit", 3),
    ]
    floor.agree()

    robot.alert("close")
    assert robot.net() == floor.net() == 0
    floor.agree()
    assert floor.nothing_works()


@ONLY_SQLITE
def test_fills_of_one_contract_at_a_time_add_up(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **BRACKET, entry_quantity="3")
    floor.simulator.set(partial_fills_one_lot=True)

    robot.alert("buy", wait=False)
    for step in ("20000.25", "20000.50", "20000.75", "20001"):
        wait_until(lambda: robot.orders("entry"))
        floor.quote(step)
    wait_until(lambda: robot.net() == 3)
    robot.wait()

    floor.agree()
    assert [size for _, size, _ in robot.legs()] == [3, 3]
    for _ in range(3):
        floor.quote("20020")
    wait_until(lambda: robot.net() == 0)
    floor.agree()
    assert floor.nothing_works()
    assert len(floor.rows(Fill)) == 6
    assert [trade.quantity for trade in robot.trades()] == [3]


@ONLY_SQLITE
def test_a_repeated_alert_is_traded_once(floor: Floor) -> None:
    robot = floor.robot(floor.open(), on_same_side="add", add_quantity="1")
    body = {"action": "buy", "symbol": "MNQ1!", "order_id": "the same"}

    answers = [floor.app.test_client().post(robot.hook, json=body) for _ in range(3)]

    assert [answer.status_code < 300 for answer in answers] == [True] * 3
    wait_until(lambda: robot.net() == 1)
    floor.agree()
    assert len(floor.sent()) == 1


# Several at once.


@ONLY_SQLITE
def test_two_strategies_have_books_of_their_own_in_one_contract(floor: Floor) -> None:
    account_id = floor.open()
    fast, slow = floor.robot(account_id, **BRACKET), floor.robot(account_id, entry_quantity="3")
    fast.alert("buy")
    slow.alert("sell")

    assert (fast.net(), slow.net(), floor.net()) == (1, -3, -2)
    floor.agree()

    fast.alert("close")
    assert (fast.net(), slow.net(), floor.net()) == (0, -3, -3)
    slow.alert("close")
    assert (fast.net(), slow.net(), floor.net()) == (0, 0, 0)
    floor.agree()
    assert floor.nothing_works()
    assert [len(robot.trades()) for robot in (fast, slow)] == [1, 1]


@ONLY_SQLITE
def test_one_alert_trades_on_every_account_of_the_login(floor: Floor) -> None:
    first, second = sorted(floor.simulator.book()["cash"], key=int)[:2]
    one = floor.open("One", number=first)
    login_id = floor.account(one).login_id
    body = {"login_id": login_id, "credentials": None, "number": second}
    two = floor.open("Two", **body)
    robot = floor.robot([one, two], **BRACKET)

    robot.alert("buy")

    assert [e["status"] for e in robot.executions()] == ["done", "done"]
    assert [floor.net(number=int(n)) for n in (first, second)] == [1, 1]
    floor.agree()
    assert len(floor.simulator.requests(LOGIN)) == 1
    assert len(floor.simulator.sockets()) == 1


# What others do on the account.


def test_flattening_closes_what_others_opened_too(floor: Floor) -> None:
    floor.foreign = True
    account_id = floor.open()
    robot = floor.robot(account_id, **BRACKET)
    robot.alert("buy")
    floor.quote("21000", floor.next_contract)
    floor.simulator.manual_trade(floor.number, floor.next_contract, "Sell", 3)
    floor.simulator.manual_order(
        account_id=floor.number,
        contract=floor.next_contract,
        action="Buy",
        qty=1,
        order_type="Limit",
        price="15000",
    )
    wait_until(lambda: len(floor.rows(ExternalOrder)) == 2)
    floor.simulator.clear_requests()

    answer = floor.flatten(account_id)

    assert answer.status_code == 200, answer.text
    assert {body["isAutomated"] for body in floor.sent()} == {False}
    assert (floor.net(), floor.net(floor.next_contract)) == (0, 0)
    assert floor.nothing_works()
    assert answer.get_json()["open_positions"] == 0
    assert answer.get_json()["working_orders"] == 0
    floor.agree()


def test_a_close_in_another_terminal_is_external_and_takes_the_legs_along(floor: Floor) -> None:
    floor.foreign = True
    robot = floor.robot(floor.open(), **BRACKET, entry_quantity="2")
    robot.alert("buy")

    floor.simulator.manual_trade(floor.number, floor.contract, "Sell", 2)

    wait_until(lambda: robot.net() == 0)
    wait_until(floor.nothing_works, 15)
    floor.agree()
    [trade] = robot.trades()
    assert trade.exit_reason == "external"
    assert robot.positions()[0].exit_reason == "external"
    assert robot.legs() == []


@ONLY_SQLITE
def test_a_foreign_position_is_shown_and_belongs_to_no_strategy(floor: Floor) -> None:
    floor.foreign = True
    robot = floor.robot(floor.open(), **BRACKET)

    floor.simulator.manual_trade(floor.number, floor.contract, "Buy", 2)

    wait_until(lambda: [row.net_pos for row in floor.rows(LivePosition)] == [2])
    floor.agree()
    assert robot.net() == 0
    assert robot.trades() == []


# The roll.


def test_exits_go_to_the_contract_that_is_held(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **BRACKET)
    robot.alert("buy")
    floor.quote("20100", floor.next_contract)
    rolled = {"settings": {**BRACKET, "contract": "next"}}
    assert floor.person.put(f"/api/recorders/{robot.id}/", rolled).status_code == 200

    robot.alert("sell")

    assert (robot.net(), robot.net(floor.next_contract)) == (0, -1)
    assert (floor.net(), floor.net(floor.next_contract)) == (0, -1)
    floor.agree()
    robot.alert("close")
    assert floor.net(floor.next_contract) == 0
    floor.agree()
    assert floor.nothing_works()


# Who sent it.


@ONLY_SQLITE
def test_the_exchange_is_told_what_no_person_typed_in(floor: Floor) -> None:
    account_id = floor.open()
    robot = floor.robot(account_id, **BRACKET, on_same_side="add", add_quantity="1")
    robot.alert("buy")
    robot.alert("buy")
    by_alert = floor.sent()
    floor.simulator.clear_requests()

    closed = floor.person.post(f"/api/control-center/trader/{robot.traders[0]}/close/")

    assert closed.status_code == 200, closed.text
    assert {body["isAutomated"] for body in by_alert} == {True}
    assert [body["isAutomated"] for body in floor.sent()] == [False]
    floor.agree()
    assert floor.nothing_works()


# Sessions.


def test_a_restart_keeps_the_session_and_goes_on_with_the_position(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **BRACKET)
    robot.alert("buy")
    floor.agree()

    floor.restart()

    floor.agree()
    assert len(floor.simulator.requests(LOGIN)) == 1
    assert len(floor.simulator.sessions("demo")) == 1
    assert len(robot.legs()) == 2
    robot.alert("close")
    floor.agree()
    assert floor.net() == 0
    assert floor.nothing_works()
    assert len(floor.simulator.requests(LOGIN)) == 1


@ONLY_SQLITE
def test_what_happened_while_we_were_away_is_taken_in_at_the_start(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **BRACKET)
    robot.alert("buy")
    floor.agree()
    floor.stop()
    floor.quote("20010.50")

    floor.start()

    wait_until(lambda: robot.net() == 0)
    floor.agree()
    assert [trade.exit_reason for trade in robot.trades()] == ["take_profit"]


@ONLY_SQLITE
def test_a_person_at_the_web_trader_does_not_end_our_session(floor: Floor) -> None:
    robot = floor.robot(floor.open())
    floor.simulator.open_session("demo")

    robot.alert("buy")

    floor.agree()
    assert len(floor.simulator.requests(LOGIN, user="demo")) == 1
