"""Bad input at Tradovate: each ends in words that a trader understands, on the account or the
order and in the log, and never in a stack trace or a lost order."""

from __future__ import annotations

from typing import Any

import pytest

from app.services import execution
from tests.databases import ONLY_SQLITE
from tests.integration.tradovate.floor import BRACKET, CREDENTIALS, Floor, Robot, wait_until

pytestmark = ONLY_SQLITE
LOGIN = "auth/accesstokenrequest"
PLACE = "order/placeorder"


@pytest.fixture(autouse=True)
def no_stack_trace(floor: Floor) -> Any:
    yield
    assert floor.tracebacks.found == []
    assert 500 not in floor.answers


def _body(**more: Any) -> dict[str, Any]:
    body = {"name": "Demo", "broker": "tradovate", "environment": "demo"}
    return {**body, "credentials": CREDENTIALS, **more}


def _refused(robot: Robot, *words: str, code: str | None = None, **alert: Any) -> None:
    """The next alert fails with these words: on the execution, the order and in the log."""
    action = alert.pop("action", "buy")
    done = robot.alert(action, **alert)
    assert done["status"] == "failed", done
    for word in words:
        assert word in done["detail"]
    last = [order for order in robot.orders() if order.role in ("entry", "exit")][-1]
    assert last.status == "rejected"
    assert all(word in last.reason for word in words)
    if code is not None:
        assert done["reason"] == code
    robot.floor.says(*words)
    assert robot.floor.net() == robot.net() == 0
    robot.floor.agree()


# Signing in.


@pytest.mark.parametrize("status", [200, 401])
def test_wrong_password(floor: Floor, status: int) -> None:
    floor.simulator.set(bad_login_status=status)

    answer = floor.person.post(
        "/api/accounts/", _body(credentials={**CREDENTIALS, "password": "wrong"})
    )

    assert answer.status_code == 422
    assert answer.get_json()["code"] == "bad_credentials"
    assert "password" in answer.get_json()["detail"]
    assert "wrong" not in answer.text


@pytest.mark.parametrize("name", ["client_id", "client_secret", "username"])
def test_wrong_key_or_name(floor: Floor, name: str) -> None:
    answer = floor.person.post("/api/accounts/", _body(credentials={**CREDENTIALS, name: "99"}))

    assert answer.status_code == 422
    assert "Tradovate" in answer.get_json()["detail"]


def test_captcha_while_signing_in(floor: Floor) -> None:
    floor.simulator.rule(LOGIN, "captcha", times=None)

    answer = floor.person.post("/api/accounts/", _body())

    assert answer.status_code in (429, 503)
    assert "captcha" in answer.get_json()["detail"]


def test_password_changed_at_the_broker_meanwhile(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **BRACKET)
    robot.alert("buy")
    floor.simulator.rule(LOGIN, {"status": 401}, times=None)
    floor.simulator.revoke_tokens(status=401)

    wait_until(lambda: floor.account().status == "error")
    assert floor.account().last_error
    floor.says("Tradovate demo", "not tried again before you connect it")


@pytest.mark.parametrize("fault", ["html", "malformed", {"status": 500}, "drop_before"])
def test_nonsense_while_signing_in(floor: Floor, fault: Any) -> None:
    floor.simulator.rule(LOGIN, fault, times=None)

    answer = floor.person.post("/api/accounts/", _body())

    assert answer.status_code in (502, 503)
    assert "Tradovate" in answer.get_json()["detail"]
    assert "<html" not in answer.text


def test_no_accounts(floor: Floor) -> None:
    floor.simulator.add_user("empty", "pass")
    credentials = {**CREDENTIALS, "username": "empty", "password": "pass"}

    answer = floor.person.post("/api/accounts/", _body(credentials=credentials))

    assert answer.status_code == 422
    assert "no account" in answer.get_json()["detail"]


def test_closed_account_cannot_be_opened(floor: Floor) -> None:
    number = int(min(floor.simulator.book()["cash"], key=int))
    floor.simulator.venue("close_account", account_id=number)

    answer = floor.person.post("/api/accounts/", _body(broker_account_id=str(number)))

    assert answer.status_code == 422
    assert "closed at Tradovate" in answer.get_json()["detail"]


# Keys that may not do everything.

DOMAINS = (
    "orders",
    "positions",
    "accounts",
    "fills",
    "commands",
    "contracts",
    "users",
    "risk",
)


def _opened_by(floor: Floor, **permissions: str) -> Any:
    floor.simulator.add_user("half", "pass", permissions={"*": "full", **permissions})
    number = floor.simulator.add_account("half", cash="100000")["id"]
    credentials = {**CREDENTIALS, "username": "half", "password": "pass"}
    floor.number = int(number)
    body = _body(credentials=credentials, broker_account_id=str(number))
    return floor.person.post("/api/accounts/", body)


@pytest.mark.parametrize("domain", DOMAINS)
def test_key_without_permission(floor: Floor, domain: str) -> None:
    """It trades without, or nothing is sent and words say what is missing."""
    answer = _opened_by(floor, **{domain: "none"})
    if answer.status_code != 201:
        assert answer.status_code == 422
        assert "permission" in answer.get_json()["detail"]
        return
    wait_until(lambda: floor.account().status != "connecting")
    account = floor.account()
    if account.status == "error":
        assert f"no permission for {domain}" in account.last_error
        floor.says("Tradovate demo", f"no permission for {domain}")
    robot = floor.robot(account.id)

    done = robot.alert("buy")

    if done["status"] == "done":
        assert floor.net() == robot.net() == 1
        if account.status != "connected":
            floor.says("could not be made", f"no permission for {domain}")
        return
    assert account.status == "error"
    assert done["status"] in ("failed", "skipped")
    assert done["detail"]
    assert floor.orders() == []


def test_key_that_may_only_read(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "_MOST_HOLDS", 2)
    assert _opened_by(floor, orders="read").status_code == 201
    wait_until(lambda: floor.account().status == "connected")

    _refused(floor.robot(floor.account().id), "denied")


# Orders.


def test_closed_account(floor: Floor) -> None:
    robot = floor.robot(floor.open())
    floor.simulator.venue("close_account", account_id=floor.number)

    _refused(robot, "The account is closed at Tradovate", code="account_closed")


@pytest.mark.parametrize("settings", [{}, BRACKET], ids=["alone", "bracket"])
def test_contract_that_is_not_traded(floor: Floor, settings: Any) -> None:
    robot = floor.robot(floor.open(), **settings)
    floor.simulator.set(contract_refusals={floor.contract: "BackMonthProhibited"})

    _refused(robot, "back month", "front contract", code="back_month_prohibited")


def test_unknown_contract(floor: Floor) -> None:
    robot = floor.robot(floor.open(), symbol="MNQF2027")

    _refused(robot, "does not know this contract", symbol="MNQF2027")


def test_symbol_that_nobody_knows(floor: Floor) -> None:
    robot = floor.robot(floor.open(), symbol="FROG1!")

    done = robot.alert("buy", symbol="FROG1!")

    assert done["status"] in ("failed", "skipped")
    assert done["detail"]
    assert floor.orders() == []


def test_price_between_two_ticks_is_put_on_one(floor: Floor) -> None:
    robot = floor.robot(floor.open(), entry_order={"type": "limit"})

    done = robot.alert("buy", price="19990.1")

    assert done["status"] == "done"
    assert [body["price"] for body in floor.sent()] == [19990.0]
    floor.agree()


def test_price_that_the_broker_does_not_take(floor: Floor) -> None:
    robot = floor.robot(floor.open(), entry_order={"type": "limit"})
    floor.simulator.set(reject_next="InvalidPrice")

    _refused(robot, "does not accept this price", code="invalid_price", price="19990")


@pytest.mark.parametrize("settings", [{}, BRACKET], ids=["alone", "bracket"])
def test_more_contracts_than_the_broker_allows(floor: Floor, settings: Any) -> None:
    robot = floor.robot(floor.open(), **settings, entry_quantity="5")
    floor.simulator.venue("set_limits", account_id=floor.number, max_order_qty=2)

    _refused(robot, "larger than Tradovate allows on this account")


def test_market_closed(floor: Floor) -> None:
    robot = floor.robot(floor.open(), **BRACKET)
    floor.simulator.set(market_closed=True)

    _refused(robot, "The market is closed for this contract", code="session_closed")


def test_trading_locked_by_the_brokers_risk_desk(floor: Floor) -> None:
    robot = floor.robot(floor.open())
    account_id, action = floor.number, "LockTradingImmediately"
    floor.simulator.venue("set_risk", account_id=account_id, admin_action=action)

    _refused(robot, "Trading is locked on this account", code="trading_locked")


def test_alert_that_is_no_json(floor: Floor) -> None:
    robot = floor.robot(floor.open())

    answer = floor.app.test_client().post(robot.hook, data='{"action": "buy"')

    assert 400 <= answer.status_code < 500
    assert answer.get_json()["detail"]
    assert floor.orders() == []


def test_liquidation_by_the_brokers_risk_desk_is_taken_in(floor: Floor) -> None:
    floor.foreign = True
    robot = floor.robot(floor.open(), **BRACKET)
    robot.alert("buy")
    action = "LiquidateImmediately"

    floor.simulator.venue("set_risk", account_id=floor.number, admin_action=action)

    wait_until(lambda: robot.net() == 0)
    floor.agree()
    assert floor.nothing_works()
    assert robot.trades()[0].exit_reason == "external"


# Frames and answers that cannot be read.


@pytest.mark.parametrize(
    "frame",
    [
        "a[",
        "a[{}]",
        'a["text"]',
        'a[{"e":"props"}]',
        'a[{"e":"props","d":{"entityType":"order","eventType":"Created","entity":{}}}]',
        'a[{"e":"props","d":{"entityType":"order","eventType":"New","entity":{"id":"x"}}}]',
        'a[{"e":"props","d":{"entityType":"frog","eventType":"Created","entity":{"id":1}}}]',
        'a[{"e":"props","d":{"entityType":"position","eventType":"Updated","entity":[null,1]}}]',
        'a[{"i":999,"s":200,"d":{}}]',
        "c[3000",
        "",
        "\x00\ufffd",
    ],
)
def test_frame_that_makes_no_sense(floor: Floor, frame: str) -> None:
    robot = floor.robot(floor.open(), **BRACKET)

    floor.simulator.garbage_frame(frame)
    done = robot.alert("buy")

    assert done["status"] == "done", done
    assert floor.net() == robot.net() == 1
    floor.agree()


@pytest.mark.parametrize("path", ["position/list", "order/list", "account/list", "fill/list"])
@pytest.mark.parametrize("fault", ["html", "malformed", "hang"])
def test_list_that_cannot_be_read(floor: Floor, path: str, fault: str) -> None:
    robot = floor.robot(floor.open(), **BRACKET)
    floor.simulator.rule(path, fault, times=2)
    floor.simulator.cut_sockets()

    done = robot.alert("buy")

    assert done["status"] == "done", done
    assert floor.net() == robot.net() == 1
    floor.agree()
