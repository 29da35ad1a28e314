"""Paths, bodies, status codes, process: what every request meets."""

from __future__ import annotations

import time

import pytest
import requests

from tests.integration.simulators.client import Client
from tests.simulators.tradovate.control import Simulator, SimulatorError, running


def test_paths_ignore_case(client: Client) -> None:
    assert client.call("Account/LIST").json() == client.get("account/list")


def test_the_method_is_not_enforced(client: Client) -> None:
    assert client.call("account/list", method="PUT").status_code == 200


def test_without_a_token_access_is_denied_in_plain_text(simulator: Simulator) -> None:
    with Client(simulator.url) as stranger:
        response = stranger.call("account/list")

    assert (response.status_code, response.text) == (401, "Access is denied")
    assert response.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("path", ["account/item?id=1", "nothing/list", "nowhere"])
def test_what_does_not_exist_is_an_empty_404(client: Client, path: str) -> None:
    response = client.call(path)

    assert (response.status_code, response.content) == (404, b"")


def test_more_than_ten_ids_are_an_empty_404(client: Client) -> None:
    ids = ",".join(str(number) for number in range(11))

    assert client.call("contract/items", query={"ids": ids}).status_code == 404


def test_a_body_that_is_not_json_is_malformed(simulator: Simulator, client: Client) -> None:
    response = requests.post(
        f"{simulator.url}/order/placeorder",
        data="{not json",
        headers={"Authorization": f"Bearer {client.token}"},
        timeout=5,
    )

    assert response.status_code == 400


def test_a_synchronization_is_for_sockets_only(client: Client) -> None:
    assert client.call("user/syncrequest", {}).status_code == 404


def test_a_reset_forgets_everything(simulator: Simulator, client: Client) -> None:
    client.buy()

    simulator.reset()

    assert client.call("account/list").status_code == 401
    assert simulator.book()["orders"] == []


def test_the_account_can_be_hidden_from_the_list(simulator: Simulator, client: Client) -> None:
    first, second = client.get("account/list")

    simulator.hide_account(first["id"])
    assert [row["id"] for row in client.get("account/list")] == [second["id"]]

    simulator.hide_account(first["id"], hidden=False)
    assert len(client.get("account/list")) == 2


def test_an_unknown_switch_is_an_error(simulator: Simulator) -> None:
    with pytest.raises(SimulatorError, match="no such switch"):
        simulator.set(no_such_thing=True)


def test_an_unknown_fault_is_an_error(simulator: Simulator) -> None:
    with pytest.raises(SimulatorError, match="no such fault"):
        simulator.rule("order/placeorder", "explode")


def test_the_log_of_requests_has_no_secrets(simulator: Simulator, client: Client) -> None:
    (entry,) = simulator.requests(path="auth/accesstokenrequest")

    assert entry["user"] == "demo"
    assert entry["status"] == 200
    assert entry["body"]["deviceId"] == "machine-1"
    assert not {"password", "sec"} & set(entry["body"])


def test_requests_are_counted_per_user(simulator: Simulator, client: Client) -> None:
    simulator.clear_requests()
    client.get("account/list")
    client.get("order/list")

    assert simulator.counts()["demo"] == {"minute": 2, "hour": 2, "all": 2}


def test_the_arrival_of_orders_is_noted(simulator: Simulator, client: Client) -> None:
    before = time.time()
    client.buy(clOrdId="mine")

    (first,) = simulator.first_bytes()

    assert before <= first["time"] <= time.time()
    assert (first["path"], first["clOrdId"]) == ("order/placeorder", "mine")


def test_two_simulators_do_not_know_of_each_other(client: Client) -> None:
    with running() as other, Client(other.url) as stranger:
        assert stranger.call("account/list", token=client.token).status_code == 401


def test_the_seeded_ids_are_the_same_in_every_run(simulator: Simulator) -> None:
    """The README names them."""
    with running(live_port=0) as both:
        for url, first in ((simulator.url, 101), (both.url, 101), (both.live_url, 201)):
            with Client(url) as client:
                client.log_in()
                accounts = client.get("account/list")
                assert [account["id"] for account in accounts] == [first, first + 1]


def test_the_control_port_trades_a_product_by_its_root(
    simulator: Simulator, client: Client
) -> None:
    simulator.manual_trade(101, "MNQ", "Buy", 1)

    (position,) = client.get("position/list")
    assert position["contractId"] == client.contract("MNQ")["id"]
