"""Requests that are spoiled: what the client sees, and what the books know."""

from __future__ import annotations

import gevent
import pytest
import requests

from tests.integration.simulators.client import QUIET_S, Client, Stream, until
from tests.simulators.tradovate.control import Simulator

PLACE = "order/placeorder"


def _orders(simulator: Simulator) -> int:
    return len(simulator.book()["orders"])


@pytest.mark.parametrize(("do", "orders"), [("drop_before", 0), ("drop_after", 1)])
def test_the_connection_breaks(simulator: Simulator, client: Client, do: str, orders: int) -> None:
    ticket = client.ticket()
    simulator.rule(PLACE, do)

    with pytest.raises(requests.ConnectionError):
        client.call(PLACE, ticket)

    assert _orders(simulator) == orders
    assert simulator.requests(path=PLACE)[0]["status"] is None


@pytest.mark.parametrize(
    ("do", "orders"),
    [
        ({"status": 500}, 0),
        ({"status": 408}, 0),
        ({"status": 429}, 0),
        ({"status_after": 500}, 1),
        ({"status_after": 408}, 1),
    ],
)
def test_another_status(
    simulator: Simulator, client: Client, do: dict[str, int], orders: int
) -> None:
    ticket = client.ticket()
    simulator.rule(PLACE, do)

    assert client.call(PLACE, ticket).status_code == next(iter(do.values()))
    assert _orders(simulator) == orders


@pytest.mark.parametrize("what", ["html", "malformed"])
@pytest.mark.parametrize(("suffix", "orders"), [("", 0), ("_after", 1)])
def test_a_200_that_cannot_be_read(
    simulator: Simulator, client: Client, what: str, suffix: str, orders: int
) -> None:
    ticket = client.ticket()
    simulator.rule(PLACE, what + suffix)

    response = client.call(PLACE, ticket)

    assert response.status_code == 200
    with pytest.raises(requests.JSONDecodeError):
        response.json()
    assert _orders(simulator) == orders


@pytest.mark.parametrize(("do", "orders"), [("hang", 0), ("hang_after", 1)])
def test_no_answer_ever(simulator: Simulator, client: Client, do: str, orders: int) -> None:
    ticket = client.ticket()
    simulator.rule(PLACE, do)

    with pytest.raises(requests.ReadTimeout):
        client.call(PLACE, ticket, timeout_s=QUIET_S)

    assert _orders(simulator) == orders


@pytest.mark.parametrize("do", ["delay_ms", "delay_after_ms"])
def test_a_late_answer(simulator: Simulator, client: Client, do: str) -> None:
    ticket = client.ticket()
    simulator.rule(PLACE, {do: 100})

    response = client.call(PLACE, ticket)

    assert response.elapsed.total_seconds() >= 0.1
    assert "orderId" in response.json()


def test_the_answer_comes_after_the_events(
    simulator: Simulator, client: Client, stream: Stream
) -> None:
    ticket = client.ticket()
    simulator.rule(PLACE, "delay_until_events")
    caller = gevent.spawn(client.call, PLACE, ticket)

    filled = stream.event("order", ordStatus="Filled")
    assert not caller.ready()

    assert caller.get(timeout=5).json()["orderId"] == filled["id"]


def test_executed_twice(simulator: Simulator, client: Client) -> None:
    ticket = client.ticket(clOrdId="once")
    simulator.rule(PLACE, "accept_twice")

    order_id = client.call(PLACE, ticket).json()["orderId"]

    orders = simulator.book()["orders"]
    assert order_id == orders[0]["id"]
    assert [order["clOrdId"] for order in orders] == ["once", "once"]


def test_latency_is_of_every_request(simulator: Simulator, client: Client) -> None:
    simulator.latency(100)

    assert client.call("account/list").elapsed.total_seconds() >= 0.1


# Which requests a rule means.


def test_a_rule_is_used_up(simulator: Simulator, client: Client) -> None:
    simulator.rule("account/list", {"status": 500}, times=2, skip=1)

    statuses = [client.call("account/list").status_code for _ in range(4)]

    assert statuses == [200, 500, 500, 200]
    assert [rule["hits"] for rule in simulator.rules()] == [2]


def test_a_rule_holds_until_it_is_cleared(simulator: Simulator, client: Client) -> None:
    rule_id = simulator.rule("*", {"status": 500}, times=None)
    kept = simulator.rule("order/list", {"status": 503}, times=None)
    assert client.call("account/list").status_code == 500

    simulator.clear_rules(rule_id)

    assert client.call("account/list").status_code == 200
    assert client.call("order/list").status_code == 503
    simulator.clear_rules(kept)
    assert client.call("order/list").status_code == 200


def test_a_rule_may_mean_one_body(simulator: Simulator, client: Client) -> None:
    simulator.rule(PLACE, {"status": 500}, body={"orderQty": 2})

    assert client.call(PLACE, client.ticket()).status_code == 200
    assert client.call(PLACE, client.ticket(orderQty=2)).status_code == 500


def test_a_rule_may_mean_one_user(simulator: Simulator, client: Client) -> None:
    simulator.add_user("ann")
    simulator.rule("account/list", {"status": 500}, user="ann")

    assert client.call("account/list").status_code == 200
    with Client(simulator.url) as other:
        other.log_in(name="ann")
        assert other.call("account/list").status_code == 500


# On a socket.


def test_a_rule_may_mean_one_door(simulator: Simulator, client: Client, stream: Stream) -> None:
    simulator.rule("account/list", {"status": 500}, door="ws")

    assert client.call("account/list").status_code == 200
    assert stream.ask("account/list")["s"] == 500


def test_a_request_over_a_socket_may_cut_it(
    simulator: Simulator, client: Client, stream: Stream
) -> None:
    ticket = client.ticket()
    simulator.rule(PLACE, "drop_after")

    stream.request(PLACE, ticket)

    until(lambda: simulator.sockets() == [])
    assert _orders(simulator) == 1


def test_a_socket_may_be_refused_by_rule(simulator: Simulator, client: Client) -> None:
    simulator.rule("authorize", {"status": 401})

    with Stream(simulator.ws_url) as stream:
        assert stream.ask("authorize", client.token)["s"] == 401
        assert stream.ask("authorize", client.token)["s"] == 200


# The venue's own.


def test_the_switches_of_the_venue_are_set_by_name(simulator: Simulator, client: Client) -> None:
    simulator.set(reject_next="SessionClosed")

    answer = client.call(PLACE, client.ticket()).json()

    assert answer["failureReason"] == "SessionClosed"
    assert "orderId" in client.call(PLACE, client.ticket()).json()


def test_orders_fill_one_contract_at_a_time(simulator: Simulator, client: Client) -> None:
    simulator.set(partial_fills_one_lot=True)

    client.buy(orderQty=3)

    (order,) = simulator.book()["orders"]
    assert (order["status"], order["filled"]) == ("Working", 1)


def test_a_price_fills_what_it_reaches(simulator: Simulator, client: Client) -> None:
    name = client.contract()["name"]
    simulator.set_price(name, "6800", "6800.25")
    client.buy(orderType="Limit", price=6790)
    assert simulator.book()["orders"][0]["status"] == "Working"

    simulator.set_price(name, "6789.75", "6790")

    assert simulator.book()["orders"][0]["status"] == "Filled"


def test_every_contract_has_a_price(client: Client) -> None:
    for root in ("ES", "MNQ", "YM", "M2K", "CL", "NG", "GC", "SIL", "HG", "6E", "ZN", "ZB"):
        contracts = client.get("contract/suggest", t=root, l=2)
        for contract in contracts:
            client.buy(symbol=contract["name"])


# Maintenance.


def test_maintenance_closes_everything(
    simulator: Simulator, client: Client, stream: Stream
) -> None:
    simulator.maintenance()

    told = stream.message(lambda message: message.get("e") == "shutdown")
    assert told["d"]["reasonCode"] == "Maintenance"
    assert client.call("account/list").status_code == 503
    assert requests.get(simulator.ws_url.replace("ws", "http", 1), timeout=5).status_code == 503

    simulator.maintenance(on=False)
    assert client.call("account/list").status_code == 200
