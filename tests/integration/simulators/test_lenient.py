"""``--lenient``: what published clients need that the strict service, the default, has not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.integration.simulators.client import TIMEOUT_S, Client, Stream
from tests.simulators.tradovate.control import Simulator

TERMS = {"orderQty", "orderType", "price", "stopPrice", "filledQty", "avgFillPrice", "symbol"}


@pytest.fixture
def lenient(simulator: Simulator) -> Simulator:
    simulator.set(lenient=True)
    return simulator


@pytest.fixture
def trader(lenient: Simulator, client: Client) -> Client:
    return client


@pytest.fixture
def socket(lenient: Simulator, trader: Client) -> Iterator[Stream]:
    with Stream(lenient.ws_url) as stream:
        stream.authorize(trader.token)
        yield stream


def test_the_strict_service_adds_nothing(client: Client) -> None:
    client.buy()

    assert not TERMS & set(client.get("order/list")[0])
    assert not {"symbol", "contractName", "openPnL"} & set(client.get("position/list")[0])
    assert not {"accountId", "symbol"} & set(client.get("fill/list")[0])
    assert "active" not in client.account


def test_an_order_has_its_terms_and_what_filled(lenient: Simulator, trader: Client) -> None:
    contract = trader.contract()["name"]
    lenient.set_price(contract, "6800", "6800.25")
    order_id = trader.buy(orderQty=2)

    (order,) = trader.get("order/list")

    assert order == trader.get("order/item", id=order_id)
    assert {name: order[name] for name in ("orderQty", "orderType", "filledQty", "symbol")} == {
        "orderQty": 2,
        "orderType": "Market",
        "filledQty": 2,
        "symbol": contract,
    }
    assert order["avgFillPrice"] == 6800.25


def test_a_resting_order_has_its_prices_and_no_fill(trader: Client) -> None:
    trader.buy(orderType="Limit", price=5000.0)
    trader.buy(orderType="Stop", stopPrice=9000.0)

    limit, stop = trader.get("order/list")

    assert (limit["price"], limit["filledQty"]) == (5000.0, 0)
    assert (stop["stopPrice"], stop["orderType"]) == (9000.0, "Stop")
    assert "avgFillPrice" not in limit


def test_positions_and_fills_name_contract_and_account(lenient: Simulator, trader: Client) -> None:
    contract = trader.contract()["name"]
    lenient.set_price(contract, "6800", "6800")
    trader.buy(orderQty=2)
    lenient.set_price(contract, "6801", "6801", "6801")

    (position,) = trader.get("position/deps", masterid=trader.account["id"])
    (fill,) = trader.get("fill/list")

    assert (position["symbol"], position["contractName"]) == (contract, contract)
    assert position["openPnL"] == 10.0
    assert (fill["accountId"], fill["symbol"]) == (position["accountId"], contract)


def test_an_account_is_active(trader: Client) -> None:
    assert trader.account["active"] is True


def test_without_entity_types_a_socket_is_told_of_everything(
    trader: Client, socket: Stream
) -> None:
    user_id = trader.get("user/list")[0]["id"]
    picture = socket.ask("user/syncrequest", {"users": [user_id]})["d"]
    order_id = trader.buy()

    assert [account["active"] for account in picture["accounts"]] == [True, True]
    created = socket.event("order")
    assert (created["id"], created["orderQty"], created["filledQty"]) == (order_id, 1, 0)
    assert socket.event("fill")["accountId"] == trader.account["id"]


def test_a_response_has_a_frame_of_its_own(trader: Client, socket: Stream) -> None:
    socket.ask("user/syncrequest", {"accounts": [trader.account["id"]]})

    request_id = socket.request("order/placeorder", trader.ticket())
    frames: list[list[dict[str, Any]]] = []
    while not any(message.get("i") == request_id for frame in frames for message in frame):
        text = socket.frame()
        frames.append(json.loads(text[1:]) if text[0] == "a" else [])

    assert [message.get("i") for message in frames[-1]] == [request_id]
    assert sum(map(len, frames)) > 1


@pytest.mark.parametrize("is_lenient", [False, True])
def test_the_market_data_token_trades_only_if_lenient(
    simulator: Simulator, client: Client, is_lenient: bool
) -> None:
    simulator.set(lenient=is_lenient)
    with Stream(simulator.ws_url) as stream:
        stream.authorize(client.md_token)

        assert stream.ask("account/list")["s"] == (200 if is_lenient else 401)


@pytest.mark.parametrize("is_lenient", [False, True])
def test_a_posted_form_with_a_user_name_for_the_account_is_an_order_only_if_lenient(
    simulator: Simulator, client: Client, is_lenient: bool
) -> None:
    simulator.set(lenient=is_lenient)
    form: dict[str, Any] = client.ticket(accountSpec="demo", isAutomated="true", orderQty="1")
    form |= {"orderType": "Limit", "price": "5000.25"}
    bearer = f"Bearer {'$' if is_lenient else ''}{client.token}"

    answer = requests.post(
        f"{client.url}/order/placeorder",
        data=form,
        headers={"Authorization": bearer},
        timeout=TIMEOUT_S,
    ).json()

    assert set(answer) == {"orderId" if is_lenient else "violations"}
