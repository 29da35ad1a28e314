"""How often one may call: the user's budget, the endpoints' limits, tickets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.simulators.client import Client, Stream
from tests.simulators.tradovate.control import Simulator, running

HOUR_S = 3600
FAILED_LOGINS = 5
ANOTHER_SUBNET = "127.0.9.1"


def _status(client: Client) -> int:
    return client.call("account/list").status_code


# The user's budget.


@pytest.fixture
def short_of_calls(simulator: Simulator) -> Iterator[Client]:
    simulator.set(limit=3)
    with Client(simulator.url) as client:
        client.log_in()
        yield client


def test_above_the_budget_every_call_is_an_empty_429(
    simulator: Simulator, short_of_calls: Client
) -> None:
    for _ in range(3):
        assert _status(short_of_calls) == 200

    response = short_of_calls.call("account/list")

    assert (response.status_code, response.content) == (429, b"")
    assert response.headers["Content-Length"] == "0"


def test_calls_during_the_lock_prolong_it(simulator: Simulator, short_of_calls: Client) -> None:
    for _ in range(4):
        _status(short_of_calls)
    simulator.advance(HOUR_S / 2)
    assert _status(short_of_calls) == 429

    simulator.advance(HOUR_S - 60)
    assert _status(short_of_calls) == 429

    simulator.advance(HOUR_S + 1)
    short_of_calls.log_in()
    assert _status(short_of_calls) == 200


def test_the_budget_is_rolling(simulator: Simulator, short_of_calls: Client) -> None:
    for _ in range(3):
        _status(short_of_calls)

    simulator.advance(HOUR_S + 1)

    assert _status(short_of_calls) == 200


def test_sockets_share_the_budget(simulator: Simulator, short_of_calls: Client) -> None:
    with Stream(simulator.ws_url) as stream:
        stream.authorize(short_of_calls.token)
        for _ in range(3):
            assert stream.ask("account/list")["s"] == 200

        assert stream.ask("account/list") == {"s": 429, "i": 5}
    assert _status(short_of_calls) == 429


def test_users_do_not_share_it(simulator: Simulator, short_of_calls: Client) -> None:
    for _ in range(4):
        _status(short_of_calls)
    simulator.add_user("ann")

    with Client(simulator.url) as other:
        other.log_in(name="ann")
        assert _status(other) == 200


def test_limits_can_be_forgotten(simulator: Simulator, short_of_calls: Client) -> None:
    for _ in range(4):
        _status(short_of_calls)

    simulator.forget_limits()

    assert _status(short_of_calls) == 200


def test_the_limit_of_the_command_line_counts() -> None:
    with running(limit="2/min") as simulator, Client(simulator.url) as client:
        client.log_in()

        assert [_status(client) for _ in range(3)] == [200, 200, 429]


# The limits of endpoints, per subnet.


def _fail_to_log_in(client: Client) -> dict[str, Any]:
    answer: dict[str, Any] = client.call(
        "auth/accesstokenrequest", client.credentials(password="no")
    ).json()
    return answer


def test_failed_logins_end_in_a_captcha(simulator: Simulator) -> None:
    with Client(simulator.url) as client:
        for _ in range(FAILED_LOGINS):
            assert "errorText" in _fail_to_log_in(client)

        answer = client.call("auth/accesstokenrequest", client.credentials()).json()
        assert answer["p-captcha"] is True
        assert "accessToken" not in answer

        simulator.advance(HOUR_S + 1)
        assert client.log_in()


def test_only_failures_count_and_only_in_their_subnet(simulator: Simulator) -> None:
    with Client(simulator.url) as here, Client(simulator.url, from_address=ANOTHER_SUBNET) as there:
        for _ in range(FAILED_LOGINS + 1):
            here.log_in()
        for _ in range(FAILED_LOGINS + 1):
            _fail_to_log_in(here)

        assert there.log_in()


def test_renewals_are_limited(simulator: Simulator, client: Client) -> None:
    simulator.set(renewals_per_hour=1)

    assert "accessToken" in client.get("auth/renewaccesstoken")
    assert client.get("auth/renewaccesstoken")["p-time"] == 15


def test_synchronizations_are_limited(simulator: Simulator, client: Client, stream: Stream) -> None:
    simulator.set(syncs_per_hour=1)

    with Stream(simulator.ws_url) as another:
        another.authorize(client.token)
        answer = another.ask("user/syncrequest", {"entityTypes": ["order"]})

    assert answer["s"] == 200
    assert answer["d"]["p-time"] == 3


# Tickets.


def test_a_ticket_lets_the_same_request_pass_after_its_time(
    simulator: Simulator, client: Client
) -> None:
    simulator.rule("order/placeorder", {"p_ticket": {"p-time": 20}}, times=None)
    ticket = client.ticket()
    penalty = client.call("order/placeorder", ticket).json()
    assert penalty["p-time"] == 20
    assert "p-captcha" not in penalty
    assert simulator.book()["orders"] == []
    again = {**ticket, "p-ticket": penalty["p-ticket"]}

    simulator.advance(20)

    assert "orderId" in client.call("order/placeorder", again).json()
    assert "p-ticket" in client.call("order/placeorder", again).json()
    assert len(simulator.book()["orders"]) == 1


def test_a_ticket_that_comes_too_early_costs_more(simulator: Simulator, client: Client) -> None:
    simulator.rule("order/placeorder", {"p_ticket": {"p-time": 20}})
    ticket = client.ticket()
    penalty = client.call("order/placeorder", ticket).json()

    early = client.call("order/placeorder", {**ticket, "p-ticket": penalty["p-ticket"]}).json()

    assert early["p-time"] == 40
    assert simulator.book()["orders"] == []


def test_a_ticket_is_for_one_request(simulator: Simulator, client: Client) -> None:
    simulator.rule("order/placeorder", {"p_ticket": {"p-time": 0}})
    ticket = client.ticket()
    name = client.call("order/placeorder", ticket).json()["p-ticket"]

    other = client.call("order/placeorder", {**ticket, "orderQty": 2, "p-ticket": name}).json()

    assert "p-ticket" in other
    assert simulator.book()["orders"] == []


def test_a_captcha_cannot_be_passed(simulator: Simulator, client: Client) -> None:
    simulator.rule("order/placeorder", "captcha")
    ticket = client.ticket()
    penalty = client.call("order/placeorder", ticket).json()
    assert penalty["p-captcha"] is True
    simulator.advance(HOUR_S)

    again = client.call("order/placeorder", {**ticket, "p-ticket": penalty["p-ticket"]}).json()

    assert again["p-captcha"] is True
    assert simulator.book()["orders"] == []


def test_a_ticket_comes_over_a_socket_too(
    simulator: Simulator, client: Client, stream: Stream
) -> None:
    simulator.rule("account/list", {"p_ticket": {"p-time": 0}})

    penalty = stream.ask("account/list")
    passed = stream.ask("account/list", query=f"p-ticket={penalty['d']['p-ticket']}")

    assert penalty["s"] == 200
    assert isinstance(passed["d"], list)
