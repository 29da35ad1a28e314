"""The session of a log-in against the simulated Tradovate: who signs in when, what is sent again,
and when nothing is sent at all."""

from __future__ import annotations

import copy
import logging
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import gevent
import pytest
import requests
import time_machine
from gevent.lock import BoundedSemaphore

from app import clock
from app.brokers.base import AccountRef
from app.brokers.logins import LoginRef
from app.brokers.tradovate.budget import Budget, Purpose
from app.brokers.tradovate.errors import (
    BadRequest,
    Locked,
    NoAnswer,
    NotSent,
    NotThere,
    Penalty,
    SessionLost,
)
from app.brokers.tradovate.http import Transport
from app.brokers.tradovate.session import Session
from app.brokers.tradovate.signing import exchange_code, refresh_grant, sign_in
from app.domain.errors import BrokerRateLimited, BrokerRefused, BrokerUnavailable
from tests.simulators.tradovate.control import Simulator, running

LOGIN = LoginRef(7, 1, "tradovate", "demo")
CREDENTIALS = {
    "username": "demo",
    "password": "demo",
    "client_id": "1",
    "client_secret": "demo",
    "device_id": "device-1",
}
LOGIN_PATH = "auth/accesstokenrequest"
RENEWAL_PATH = "auth/renewaccesstoken"
OAUTH_PATH = "auth/oauthtoken"
PLACE = "/order/placeorder"
BACK = "https://example.com/back"


class MemoryStore:
    """What the log-ins service does, without a database."""

    def __init__(self, credentials: Mapping[str, Any] = CREDENTIALS) -> None:
        self.given: dict[str, Any] = dict(credentials)
        self.kept: dict[str, Any] | None = None
        self._lock = BoundedSemaphore()

    def credentials(self, login_id: int) -> Mapping[str, Any]:
        return dict(self.given)

    def token(self, login_id: int) -> dict[str, Any] | None:
        return copy.deepcopy(self.kept)

    def save_token(self, login_id: int, token: dict[str, Any] | None) -> None:
        self.kept = copy.deepcopy(token)

    @contextmanager
    def renewing(self, login_id: int) -> Iterator[None]:
        assert self._lock.acquire(timeout=10), "entered twice"
        try:
            yield
        finally:
            self._lock.release()

    def accounts(self, login_id: int) -> tuple[AccountRef, ...]:
        return ()


@pytest.fixture(scope="module")
def process() -> Iterator[Simulator]:
    with running() as simulator:
        yield simulator


@pytest.fixture
def simulator(process: Simulator) -> Simulator:
    process.reset()
    process.clear_requests()
    return process


@pytest.fixture
def transport(simulator: Simulator) -> Iterator[Transport]:
    with closing(Transport(simulator.url)) as transport:
        yield transport


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def open_session(transport: Transport, store: MemoryStore) -> Callable[[], Session]:
    """Each call is another process with the same store."""
    return lambda: Session(LOGIN, store, transport, Budget())


@pytest.fixture
def session(open_session: Callable[[], Session]) -> Session:
    return open_session()


@pytest.fixture
def travel() -> Callable[[timedelta], AbstractContextManager[Any]]:
    return lambda ahead: time_machine.travel(clock.now() + ahead, tick=True)


def count(simulator: Simulator, path: str) -> int:
    return len(simulator.requests(path))


def order(session: Session, client_id: str = "order-1", **changes: Any) -> dict[str, Any]:
    account = session.call("/account/list")[0]
    body = {
        "accountId": account["id"],
        "accountSpec": account["name"],
        "action": "Buy",
        "symbol": session.call("/contract/suggest", query={"t": "MNQ", "l": 1})[0]["name"],
        "orderQty": 1,
        "orderType": "Limit",
        "price": Decimal("1000.25"),
        "timeInForce": "Day",
        "isAutomated": True,
        "clOrdId": client_id,
    }
    return body | changes


def orders_there(simulator: Simulator) -> list[dict[str, Any]]:
    return list(simulator.book()["orders"])


# Signing in.


def test_the_first_call_signs_in_and_the_next_ones_do_not(
    session: Session, simulator: Simulator
) -> None:
    assert len(session.call("/account/list")) == 2
    session.call("position/list")

    assert count(simulator, LOGIN_PATH) == 1
    sent = simulator.requests(LOGIN_PATH)[0]["body"]
    assert (sent["appId"], sent["cid"], sent["deviceId"]) == ("Just.Trades.", "1", "device-1")


def test_fractions_are_decimals(session: Session) -> None:
    account = session.call("/account/list")[0]

    snapshot = session.call(
        "/cashBalance/getcashbalancesnapshot", body={"accountId": account["id"]}
    )

    assert isinstance(snapshot["totalCashValue"], Decimal | int)
    assert session.call("/product/find", query={"name": "MNQ"})["tickSize"] == Decimal("0.25")


def test_a_restart_goes_on_with_the_session(
    open_session: Callable[[], Session], simulator: Simulator
) -> None:
    first = open_session()
    token = first.token()

    second = open_session()
    second.call("/account/list")

    assert second.token() == token
    assert second.md_token() == first.md_token() is not None
    assert second.user_id() == first.user_id() == simulator.users()[0]["id"]
    assert count(simulator, LOGIN_PATH) == 1


def test_a_hundred_greenlets_make_one_session(session: Session, simulator: Simulator) -> None:
    asked = [gevent.spawn(session.call, "/account/list") for _ in range(100)]
    gevent.joinall(asked, timeout=30, raise_error=True)

    assert count(simulator, LOGIN_PATH) == 1
    assert len(simulator.sessions("demo")) == 1


def test_an_expired_token_of_before_the_restart_is_replaced(
    open_session: Callable[[], Session],
    simulator: Simulator,
    travel: Callable[[timedelta], AbstractContextManager[Any]],
) -> None:
    open_session().token()
    simulator.expire_tokens()

    with travel(timedelta(minutes=91)):
        open_session().call("/account/list")

    assert count(simulator, LOGIN_PATH) == 2
    assert count(simulator, RENEWAL_PATH) == 0


@pytest.mark.parametrize("status", [200, 401])
def test_bad_credentials_are_tried_once(
    session: Session, store: MemoryStore, simulator: Simulator, status: int
) -> None:
    simulator.set(bad_login_status=status)
    store.given["password"] = "wrong-password"

    for _ in range(3):
        with pytest.raises(BrokerRefused) as refused:
            session.call("/account/list")

    assert refused.value.code == "bad_credentials"
    assert "Incorrect username or password" in refused.value.detail
    assert "wrong-password" not in refused.value.detail
    assert count(simulator, LOGIN_PATH) == 1


def test_a_session_that_is_forgotten_while_it_is_stored_serves_who_asked(
    transport: Transport,
) -> None:
    class Slow(MemoryStore):
        def save_token(self, login_id: int, token: dict[str, Any] | None) -> None:
            super().save_token(login_id, token)
            if token is not None:
                mine.forget()

    mine = Session(LOGIN, Slow(), transport, Budget())

    assert mine.token()


def test_corrected_credentials_are_tried_again(session: Session, store: MemoryStore) -> None:
    store.given["password"] = "wrong"
    with pytest.raises(BrokerRefused):
        session.token()
    store.given["password"] = "demo"

    assert session.token()


def test_many_that_wait_for_bad_credentials_are_told_by_one_attempt(
    session: Session, store: MemoryStore, simulator: Simulator
) -> None:
    store.given["client_secret"] = "wrong"

    asked = [gevent.spawn(session.call, "/account/list") for _ in range(20)]
    gevent.joinall(asked, timeout=30)

    assert {getattr(g.exception, "code", None) for g in asked} == {"bad_credentials"}
    assert count(simulator, LOGIN_PATH) == 1


def test_an_order_without_a_session_was_not_sent(session: Session, simulator: Simulator) -> None:
    simulator.rule(LOGIN_PATH, {"status": 500})

    with pytest.raises(NotSent) as failed:
        session.call(PLACE, body={"clOrdId": "x"}, purpose=Purpose.ENTRY)

    assert "was not executed" in failed.value.detail
    with pytest.raises(BrokerRateLimited):  # nor is the log-in hammered
        session.token()
    assert count(simulator, LOGIN_PATH) == 1


def test_a_captcha_at_the_log_in_silences_everything_for_an_hour(
    open_session: Callable[[], Session],
    simulator: Simulator,
    travel: Callable[[timedelta], AbstractContextManager[Any]],
) -> None:
    simulator.rule(LOGIN_PATH, "captcha", times=None)
    session = open_session()
    with pytest.raises(Penalty) as refused:
        session.call("/account/list")
    assert refused.value.code == "captcha"

    for again in (session, open_session()):
        with pytest.raises(BrokerRateLimited) as waits:
            again.call("/account/list")
        assert 3500 < waits.value.retry_after_s <= 3600
        assert again.block_reason == "captcha"
        assert again.blocked_until is not None
    assert count(simulator, LOGIN_PATH) == 1

    simulator.clear_rules()
    with travel(timedelta(minutes=61)):
        assert open_session().call("/account/list")


def test_a_penalty_at_the_log_in_is_waited_out(session: Session, simulator: Simulator) -> None:
    simulator.rule(LOGIN_PATH, {"p_ticket": {"p-time": 1}})

    session.token()

    first, second = simulator.requests(LOGIN_PATH)
    assert second["ticket"]
    assert first["body"] == second["body"]


def test_sign_in_gives_the_token_as_it_is_kept(transport: Transport, store: MemoryStore) -> None:
    kept = sign_in(transport, CREDENTIALS)
    store.save_token(LOGIN.id, kept)

    assert kept["name"] == "demo"
    assert isinstance(kept["user_id"], int)
    assert datetime.fromisoformat(kept["expires_at"]) > clock.now() + timedelta(minutes=89)
    assert Session(LOGIN, store, transport, Budget()).token() == kept["access_token"]


def test_no_secret_is_logged(
    session: Session, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = session.token()
    simulator.expire_tokens()
    session.call("/account/list")

    told = "\n".join(str(vars(record)) for record in caplog.records)
    assert "signed in at the broker" in told
    assert token not in told
    assert session.token() not in told


# Renewing.


def test_a_token_is_renewed_a_quarter_of_an_hour_before_its_end(
    session: Session,
    simulator: Simulator,
    travel: Callable[[timedelta], AbstractContextManager[Any]],
) -> None:
    token = session.token()
    with travel(timedelta(minutes=73)):
        session.call("/account/list")
        assert count(simulator, RENEWAL_PATH) == 0

    simulator.advance(75 * 60 + 1)
    with travel(timedelta(minutes=75, seconds=1)):
        session.call("/account/list")
        assert session.token() != token

    assert count(simulator, RENEWAL_PATH) == 1
    assert count(simulator, LOGIN_PATH) == 1


def test_a_renewal_that_fails_early_leaves_the_token_in_use(
    session: Session,
    simulator: Simulator,
    travel: Callable[[timedelta], AbstractContextManager[Any]],
) -> None:
    token = session.token()
    simulator.rule(RENEWAL_PATH, {"status": 503}, times=None)

    with travel(timedelta(minutes=76)):
        session.call("/account/list")
        session.call("/account/list")
        assert session.token() == token

    assert count(simulator, RENEWAL_PATH) == 1
    assert count(simulator, LOGIN_PATH) == 1


def test_the_md_token_stays_where_a_renewal_brings_none(
    session: Session,
    simulator: Simulator,
    travel: Callable[[timedelta], AbstractContextManager[Any]],
) -> None:
    session.token()
    md_token = session.md_token()
    simulator.set(renewal_returns_md_token=False)

    with travel(timedelta(minutes=76)):
        session.call("/account/list")

    assert count(simulator, RENEWAL_PATH) == 1
    assert session.md_token() == md_token is not None


def test_a_short_lived_token_is_renewed_near_its_own_end(
    session: Session,
    simulator: Simulator,
    travel: Callable[[timedelta], AbstractContextManager[Any]],
) -> None:
    simulator.set(token_minutes=12)
    session.token()

    with travel(timedelta(minutes=9)):
        session.call("/account/list")
        assert count(simulator, RENEWAL_PATH) == 0
    with travel(timedelta(minutes=11)):
        session.call("/account/list")
        session.call("/account/list")

    assert count(simulator, RENEWAL_PATH) == 1


def test_a_token_that_another_process_renewed_is_taken_over(
    open_session: Callable[[], Session],
    simulator: Simulator,
    travel: Callable[[timedelta], AbstractContextManager[Any]],
) -> None:
    simulator.set(renewal_revokes_old=True)
    one, other = open_session(), open_session()
    assert one.token() == other.token()
    with travel(timedelta(minutes=76)):
        one.call("/account/list")
        other.call("/account/list")

    assert one.token() == other.token()
    assert count(simulator, RENEWAL_PATH) == 1
    assert count(simulator, LOGIN_PATH) == 1


# A call that is denied.


def test_a_read_with_an_expired_token_is_asked_again(
    session: Session, simulator: Simulator
) -> None:
    session.token()
    simulator.expire_tokens()

    assert session.call("/account/list")

    assert count(simulator, RENEWAL_PATH) == 1
    assert count(simulator, LOGIN_PATH) == 2


@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_read_is_asked_again_however_urgent_it_is(
    session: Session, simulator: Simulator, purpose: Purpose
) -> None:
    session.token()
    simulator.rule("position/list", {"status": 401})

    assert session.call("/position/list", purpose=purpose) == []


def test_a_read_without_a_session_was_not_answered(session: Session, simulator: Simulator) -> None:
    simulator.rule(LOGIN_PATH, "drop_before")

    with pytest.raises(BrokerUnavailable):
        session.call("/account/list")


def test_many_denied_reads_make_one_session(session: Session, simulator: Simulator) -> None:
    session.token()
    simulator.revoke_tokens(status=401)

    asked = [gevent.spawn(session.call, "/account/list") for _ in range(20)]
    gevent.joinall(asked, timeout=30, raise_error=True)

    assert count(simulator, LOGIN_PATH) == 2


def test_two_sessions_that_end_are_no_missing_permission(
    session: Session, simulator: Simulator
) -> None:
    session.token()
    simulator.rule("account/list", {"status": 401}, times=2)
    simulator.rule("auth/me", {"status": 401})

    with pytest.raises(BrokerUnavailable):
        session.call("/account/list")

    assert session.call("/account/list")


def test_a_missing_permission_is_told_by_name_and_costs_one_renewal(
    simulator: Simulator, transport: Transport
) -> None:
    simulator.add_user("limited", cid="9", sec="s", permissions={"*": "full", "positions": "none"})
    store = MemoryStore(
        {**CREDENTIALS, "username": "limited", "client_id": "9", "client_secret": "s"}
    )
    session = Session(LOGIN, store, transport, Budget())

    for _ in range(3):
        with pytest.raises(BrokerRefused) as refused:
            session.call("/position/list")

    assert refused.value.code == "no_permission"
    assert "no permission for positions" in refused.value.detail
    assert session.call("/account/list") == []
    assert count(simulator, RENEWAL_PATH) == 1
    assert count(simulator, LOGIN_PATH) == 1


def test_an_order_that_is_denied_is_not_sent_again(session: Session, simulator: Simulator) -> None:
    body = order(session)
    simulator.rule("order/placeorder", {"status": 401})

    with pytest.raises(SessionLost) as refused:
        session.call(PLACE, body=body, purpose=Purpose.ENTRY)

    assert refused.value.code == "access_denied"
    assert count(simulator, "order/placeorder") == 1
    assert orders_there(simulator) == []


def test_after_a_denied_order_the_session_is_looked_after(
    session: Session, simulator: Simulator
) -> None:
    body = order(session)
    simulator.revoke_tokens(status=401)
    with pytest.raises(SessionLost):
        session.call(PLACE, body=body, purpose=Purpose.ENTRY)

    assert session.call(PLACE, body=body, purpose=Purpose.ENTRY)["orderId"]


def test_an_order_with_an_expired_token_is_sent_once_more_with_a_new_one(
    session: Session, simulator: Simulator
) -> None:
    body = order(session)
    simulator.expire_tokens()

    answer = session.call(PLACE, body=body, purpose=Purpose.ENTRY)

    assert answer["orderId"]
    first, second = simulator.requests("order/placeorder")
    assert first["body"] == second["body"]
    assert len(orders_there(simulator)) == 1


# A session that the broker closed.


@pytest.mark.parametrize("status", [408, 500, 503])
def test_a_closed_session_is_noticed_and_replaced_once(
    session: Session, simulator: Simulator, status: int
) -> None:
    session.token()
    simulator.revoke_tokens(status=status)

    with pytest.raises(NoAnswer):
        session.call("/account/list")
    assert session.call("/account/list")

    assert count(simulator, LOGIN_PATH) == 2


def test_a_broker_in_trouble_is_not_taken_for_a_closed_session(
    session: Session, simulator: Simulator
) -> None:
    session.token()
    simulator.rule("account/list", {"status": 500}, times=None)

    for _ in range(10):
        with pytest.raises(BrokerUnavailable):
            session.call("/account/list")

    assert count(simulator, RENEWAL_PATH) == 1
    assert count(simulator, LOGIN_PATH) == 1


def test_a_session_closed_behind_a_lock_heals_after_it(
    session: Session,
    simulator: Simulator,
    travel: Callable[[timedelta], AbstractContextManager[Any]],
) -> None:
    """The token of a closed session may be answered as a lock is: 429 without a word."""
    session.token()
    simulator.revoke_tokens(status=429)
    with pytest.raises(Locked):
        session.call("/account/list")

    with travel(timedelta(minutes=61)):
        assert session.call("/account/list")

    assert count(simulator, LOGIN_PATH) == 2


# What is sent, and how often.


@pytest.mark.parametrize(
    ("fault", "is_executed"),
    [
        ("drop_before", False),
        ("drop_after", True),
        ("html_after", True),
        ("malformed_after", True),
        ({"status_after": 500}, True),
        ({"status": 500}, False),
        ({"status": 408}, False),
        ({"status": 302}, False),
    ],
)
def test_an_unclear_answer_to_an_order_is_unclear_and_nothing_is_sent_again(
    session: Session, simulator: Simulator, fault: str | dict[str, int], is_executed: bool
) -> None:
    body = order(session)
    simulator.rule("order/placeorder", fault)

    with pytest.raises(NoAnswer) as failed:
        session.call(PLACE, body=body, purpose=Purpose.ENTRY)

    assert "<" not in failed.value.detail
    assert count(simulator, "order/placeorder") == 1
    assert len(orders_there(simulator)) == is_executed


def test_orders_are_not_sent_again_for_the_sake_of_the_session(
    session: Session, simulator: Simulator
) -> None:
    """A read that fails so often is asked again with a renewed token."""
    body = order(session)
    simulator.rule("order/placeorder", {"status_after": 503}, times=3)

    for _ in range(3):
        with pytest.raises(NoAnswer):
            session.call(PLACE, body=body, purpose=Purpose.EXIT)

    assert len(orders_there(simulator)) == 3


def test_an_answer_that_does_not_come_is_unclear(simulator: Simulator, store: MemoryStore) -> None:
    with closing(Transport(simulator.url, timeout=(1.0, 0.3))) as hasty:
        session = Session(LOGIN, store, hasty, Budget())
        body = order(session)
        simulator.rule("order/placeorder", "hang_after")

        with pytest.raises(NoAnswer, match="too long"):
            session.call(PLACE, body=body, purpose=Purpose.ENTRY)

    assert count(simulator, "order/placeorder") == 1
    assert len(orders_there(simulator)) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, BadRequest),
        (401, SessionLost),
        (403, SessionLost),
        (404, NotThere),
        (423, Locked),
        (429, Locked),
    ],
)
def test_other_statuses_say_that_an_order_was_not_executed(
    session: Session, simulator: Simulator, status: int, error: type[BrokerRefused]
) -> None:
    body = order(session)
    simulator.rule("order/placeorder", {"status": status})

    with pytest.raises(error):
        session.call(PLACE, body=body, purpose=Purpose.EXIT)

    assert count(simulator, "order/placeorder") == 1


def test_a_penalty_without_a_captcha_sends_the_same_order_with_the_ticket(
    session: Session, simulator: Simulator
) -> None:
    body = order(session)
    simulator.rule("order/placeorder", {"p_ticket": {"p-time": 1}})

    answer = session.call(PLACE, body=body, purpose=Purpose.ENTRY)

    assert answer["orderId"]
    first, second = simulator.requests("order/placeorder")
    assert (first["body"], bool(second["ticket"])) == (second["body"], True)
    assert len(orders_there(simulator)) == 1


def test_a_penalised_read_keeps_its_query(session: Session, simulator: Simulator) -> None:
    simulator.rule("product/find", {"p_ticket": {"p-time": 0}})

    assert session.call("/product/find", query={"name": "ES"})["name"] == "ES"


def test_a_long_penalty_is_handed_on(session: Session, simulator: Simulator) -> None:
    session.token()
    simulator.rule("account/list", {"p_ticket": {"p-time": 61}})

    with pytest.raises(BrokerRateLimited) as waits:
        session.call("/account/list")

    assert waits.value.retry_after_s == 61
    assert count(simulator, "account/list") == 1


def test_a_captcha_silences_its_endpoint_only(
    open_session: Callable[[], Session], simulator: Simulator
) -> None:
    session = open_session()
    simulator.rule("position/list", "captcha", times=None)
    with pytest.raises(BrokerRateLimited) as refused:
        session.call("/position/list")
    assert refused.value.code == "captcha"

    for again in (session, open_session()):
        with pytest.raises(BrokerRateLimited, match="captcha"):
            again.call("/Position/List")
        assert again.call("/account/list")
        assert again.blocked_until is None
    assert count(simulator, "position/list") == 1


# The lock of an hour.


def test_too_many_requests_end_all_requests_for_an_hour(
    open_session: Callable[[], Session],
    simulator: Simulator,
    travel: Callable[[timedelta], AbstractContextManager[Any]],
) -> None:
    session = open_session()
    session.token()
    simulator.rule("account/list", {"status": 429})
    with pytest.raises(BrokerRateLimited):
        session.call("/account/list")
    simulator.clear_requests()

    for again in (session, open_session()):
        for purpose in Purpose:
            with pytest.raises(BrokerRateLimited, match="too many requests") as waits:
                again.call("/position/list", purpose=purpose)
            assert 3500 < waits.value.retry_after_s <= 3600
        assert again.block_reason == "rate_limit"
    assert simulator.requests() == []

    with travel(timedelta(minutes=61)):
        assert session.blocked_until is None
        assert session.block_reason is None
        assert session.call("/account/list")


def test_an_exit_by_hand_is_tried_during_the_lock(session: Session, simulator: Simulator) -> None:
    body = order(session)
    simulator.rule("account/list", {"status": 429})
    with pytest.raises(Locked):
        session.call("/account/list")

    with pytest.raises(BrokerRateLimited):
        session.call(PLACE, body=body, purpose=Purpose.ENTRY, by_hand=True)
    assert session.call(PLACE, body=body, purpose=Purpose.EXIT, by_hand=True)["orderId"]


def test_each_refused_attempt_prolongs_the_lock(
    session: Session,
    simulator: Simulator,
    travel: Callable[[timedelta], AbstractContextManager[Any]],
) -> None:
    session.token()
    simulator.rule("*", {"status": 429}, times=None)
    with pytest.raises(Locked):
        session.call("/account/list")

    with travel(timedelta(minutes=30)):
        with pytest.raises(Locked):
            session.call(PLACE, body={}, purpose=Purpose.CANCEL, by_hand=True)
        until = session.blocked_until
        assert until is not None
        assert until - clock.now() > timedelta(minutes=59)


def test_the_last_warning_is_heeded(session: Session, simulator: Simulator) -> None:
    session.token()
    simulator.rule("account/list", {"status": 423})
    with pytest.raises(BrokerRateLimited):
        session.call("/account/list")

    assert session.block_reason == "last_warning"


def test_forgetting_the_session_does_not_lift_the_lock(
    session: Session, simulator: Simulator, store: MemoryStore
) -> None:
    session.token()
    simulator.rule("account/list", {"status": 429})
    with pytest.raises(Locked):
        session.call("/account/list")

    session.forget()

    with pytest.raises(BrokerRateLimited):
        session.token()
    assert "access_token" not in (store.kept or {})


def test_a_lock_does_not_overwrite_the_token_of_another_process(
    open_session: Callable[[], Session], simulator: Simulator
) -> None:
    one, other = open_session(), open_session()
    old = one.token()
    assert other.token() == old
    one.forget()
    new = one.token()
    simulator.rule("account/list", {"status": 429})
    with pytest.raises(Locked):
        other.call("/account/list")

    assert other.token() == new != old


def test_only_the_token_that_was_refused_is_forgotten(
    session: Session, simulator: Simulator
) -> None:
    token = session.token()

    session.forget("another")
    assert session.token() == token
    session.forget(token)
    assert session.token() != token


def test_the_budget_is_asked_before_each_call(store: MemoryStore, transport: Transport) -> None:
    session = Session(LOGIN, store, transport, Budget(10))
    for _ in range(8):
        session.call("/account/list")

    with pytest.raises(BrokerRateLimited, match="nothing was sent"):
        session.call("/account/list", purpose=Purpose.ENTRY)
    session.call("/account/list", purpose=Purpose.CANCEL)


# OAuth.


def closed_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as door:
        return f"http://127.0.0.1:{door.getsockname()[1]}/v1"


def code_of(simulator: Simulator) -> str:
    asked = {"response_type": "code", "client_id": "1", "redirect_uri": BACK, "auto": "1"}
    answer = requests.get(simulator.oauth_url, params=asked, allow_redirects=False, timeout=5)
    return parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0]


def test_a_code_is_exchanged_for_a_session(simulator: Simulator, transport: Transport) -> None:
    kept = exchange_code(transport, code_of(simulator), BACK, "1", "demo")

    assert kept["user_id"] == simulator.users()[0]["id"]
    assert kept["name"] == "demo"
    assert kept["refresh_token"]
    assert datetime.fromisoformat(kept["expires_at"]) > clock.now() + timedelta(minutes=89)


@pytest.mark.parametrize("status", [200, 400, 401])
def test_a_code_that_is_no_good_is_refused(
    simulator: Simulator, transport: Transport, status: int
) -> None:
    simulator.set(oauth_error_status=status)

    with pytest.raises(BrokerRefused, match="unknown, used or expired") as refused:
        exchange_code(transport, "stolen-code-1234", BACK, "1", "demo")

    assert refused.value.code == "bad_credentials"
    assert "stolen-code-1234" not in refused.value.detail


@pytest.mark.parametrize("status", [400, 415])
def test_an_exchange_whose_form_is_not_understood_is_sent_as_json(
    simulator: Simulator, transport: Transport, status: int
) -> None:
    simulator.rule(OAUTH_PATH, {"status": status})

    assert exchange_code(transport, code_of(simulator), BACK, "1", "demo")["access_token"]


def test_an_oauth_session_is_renewed_and_then_refreshed_with_each_token_once(
    simulator: Simulator, transport: Transport
) -> None:
    kept = exchange_code(transport, code_of(simulator), BACK, "1", "demo")
    store = MemoryStore({"client_id": "1", "client_secret": "demo", "device_id": "d"})
    store.save_token(LOGIN.id, kept)
    session = Session(LOGIN, store, transport, Budget())
    assert session.call("/account/list")

    for _ in range(2):  # the second time with the token that the first one brought
        before = (store.kept or {})["refresh_token"]
        simulator.expire_tokens()
        assert session.call("/account/list")
        assert (store.kept or {})["refresh_token"] != before
    assert session.user_id() == kept["user_id"]
    assert count(simulator, LOGIN_PATH) == 0


def test_a_newly_given_refresh_token_goes_before_the_kept_one(
    simulator: Simulator, transport: Transport
) -> None:
    given = [exchange_code(transport, code_of(simulator), BACK, "1", "demo") for _ in range(2)]
    store = MemoryStore(
        {"client_id": "1", "client_secret": "demo", "refresh_token": given[0]["refresh_token"]}
    )
    session = Session(LOGIN, store, transport, Budget())
    session.token()
    store.given["refresh_token"] = given[1]["refresh_token"]
    session.forget()

    session.token()

    with pytest.raises(BrokerRefused):  # it was used, and works once
        refresh_grant(transport, store.given, given[1]["refresh_token"])


def test_a_permission_that_has_ended_asks_for_the_person(transport: Transport) -> None:
    store = MemoryStore({"client_id": "1", "client_secret": "demo", "refresh_token": "gone"})

    with pytest.raises(BrokerRefused, match="connect the log-in again") as refused:
        Session(LOGIN, store, transport, Budget()).token()

    assert refused.value.code == "bad_credentials"


def test_grants_go_to_the_host_that_takes_them(simulator: Simulator, transport: Transport) -> None:
    kept = exchange_code(transport, code_of(simulator), BACK, "1", "demo")
    store = MemoryStore({"client_id": "1", "client_secret": "demo", **kept})
    with closing(Transport(closed_address())) as nowhere:
        session = Session(LOGIN, store, nowhere, Budget(), oauth_transport=transport)

        assert session.token()


def test_a_killed_log_in_leaves_nobody_waiting(store: MemoryStore, simulator: Simulator) -> None:
    simulator.rule(LOGIN_PATH, "hang")
    with closing(Transport(simulator.url)) as transport:
        session = Session(LOGIN, store, transport, Budget())
        first = gevent.spawn(session.token)
        while not simulator.requests(LOGIN_PATH):
            gevent.sleep(0.01)
        second = gevent.spawn(_error_of, session.token)
        gevent.idle()
        first.kill()
        error = second.get(timeout=5)

    assert isinstance(error, BrokerUnavailable)


def _error_of(work: Callable[[], Any]) -> BaseException | None:
    try:
        work()
    except (BrokerRefused, BrokerUnavailable) as e:
        return e
    return None
