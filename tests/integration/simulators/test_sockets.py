"""Frames, heartbeats, requests and the ends of a socket."""

from __future__ import annotations

import json
import time
from contextlib import suppress

import pytest
import websocket

from tests.integration.simulators.client import ENTITY_TYPES, Client, Stream, until
from tests.simulators.tradovate.control import Simulator, running

BROKEN = (ConnectionError, websocket.WebSocketConnectionClosedException)
BEAT_S = 0.1


def test_the_first_frame_is_an_o_and_then_an_h_every_so_often(simulator: Simulator) -> None:
    simulator.set(heartbeat_s=BEAT_S)

    with Stream(simulator.ws_url) as stream:
        assert stream.frame() == "o"
        started = time.monotonic()
        assert [stream.frame() for _ in range(3)] == ["h"] * 3
        assert time.monotonic() - started >= 2 * BEAT_S


def test_the_paths_of_sockets(simulator: Simulator) -> None:
    base = simulator.ws_url.removesuffix("/v1/websocket")

    for path in ("/v1/websocket", "/v1/mdwebsocket", "/md/v1/websocket", "/V1/WebSocket"):
        with Stream(base + path) as stream:
            assert stream.frame() == "o"


def test_a_client_without_beats_is_cut_off(simulator: Simulator) -> None:
    simulator.set(silence_s=0.3)

    with Stream(simulator.ws_url) as stream:
        assert stream.frame() == "o"
        assert stream.frame() == 'c[3000,"Go away!"]'


def test_a_client_with_beats_stays_and_requests_are_none(
    simulator: Simulator, client: Client
) -> None:
    simulator.set(silence_s=0.5, heartbeat_s=0.1)

    with Stream(simulator.ws_url) as beating, Stream(simulator.ws_url) as asking:
        assert beating.frame() == asking.frame() == "o"
        for _ in range(10):
            assert beating.frame() == "h"
            beating.beat()
            with suppress(*BROKEN):
                asking.request("account/list")

        assert len(simulator.sockets()) == 1
        assert beating.frame() == "h"


def test_most_endpoints_can_be_called(client: Client, stream: Stream) -> None:
    account = client.account

    answer = stream.ask("account/item", query=f"id={account['id']}")

    assert answer["s"] == 200
    assert answer["d"]["name"] == account["name"]
    assert stream.ask("account/item", query="id=1") == {"i": 4, "s": 404}


def test_only_the_first_three_newlines_separate(client: Client, stream: Stream) -> None:
    body = json.dumps(client.ticket(), indent=2)

    assert "orderId" in stream.ask("order/placeorder", body)["d"]


def test_a_body_that_is_not_json_is_malformed(stream: Stream) -> None:
    assert stream.ask("order/placeorder", "{nope")["s"] == 400


def test_answers_may_overtake_each_other(simulator: Simulator, stream: Stream) -> None:
    simulator.set(out_of_order_responses=True)
    first, second = stream.request("account/list"), stream.request("order/list")

    order = [stream.message(lambda m: "i" in m)["i"] for _ in range(2)]

    assert order == [second, first]


# The synchronization.


def test_the_picture_has_the_types_that_were_asked_for(client: Client, stream: Stream) -> None:
    client.buy()
    with Stream(stream_url(client)) as another:
        another.authorize(client.token)
        picture = another.synchronize(entityTypes=["order", "fill"])

    assert len(picture["orders"]) == len(picture["fills"]) == 1
    assert picture["users"][0]["name"] == "demo"
    assert "positions" not in picture


def stream_url(client: Client) -> str:
    return client.url.replace("http", "ws", 1) + "/websocket"


def test_without_types_nothing_is_told(simulator: Simulator, client: Client) -> None:
    with Stream(simulator.ws_url) as stream:
        stream.authorize(client.token)
        picture = stream.ask("user/syncrequest", {"accounts": [client.account["id"]]})["d"]
        client.buy()

        assert not picture.get("accounts")
        assert stream.events() == []


def test_of_2024_users_or_accounts_are_enough() -> None:
    with running(shapes="2024") as simulator, Client(simulator.url) as client:
        client.log_in()
        with Stream(simulator.ws_url) as stream:
            stream.authorize(client.token)
            users = [client.account["userId"]]
            picture = stream.ask("user/syncrequest", {"users": users})["d"]
            client.buy()

            assert len(picture["accounts"]) == 2
            assert stream.event("order", ordStatus="Filled")


def test_one_synchronization_per_connection(stream: Stream) -> None:
    assert stream.ask("user/syncrequest", {"entityTypes": ["order"]})["s"] == 400


@pytest.mark.parametrize(
    "fields",
    [
        {"users": [1], "entityTypes": ["order"]},
        {
            "accounts": [1],
            "entityTypes": ["order"],
            "shardingExpression": {
                "expressionType": "modAccountId",
                "divisor": 2,
                "remainder": 0,
            },
        },
        {"entityTypes": 3},
    ],
)
def test_fields_that_exclude_each_other(
    simulator: Simulator, client: Client, fields: dict[str, object]
) -> None:
    with Stream(simulator.ws_url) as stream:
        stream.authorize(client.token)

        assert stream.ask("user/syncrequest", fields)["s"] == 400


def test_a_split_picture_comes_in_parts(simulator: Simulator, client: Client) -> None:
    for _ in range(3):
        client.buy()
    simulator.set(split_size=2)
    with Stream(simulator.ws_url) as stream:
        stream.authorize(client.token)
        stream.request("user/syncrequest", {"entityTypes": ENTITY_TYPES, "splitResponses": True})

        parts = [m["d"] for m in stream.all_until_quiet() if m.get("i") == 2]

    orders = [row["id"] for part in parts for row in part.get("orders", [])]
    assert len(parts) > 2
    assert len(orders) == len(set(orders)) == 3
    assert all(len(rows) <= 2 for part in parts for rows in part.values())


def test_a_shard_holds_a_part_of_the_accounts(simulator: Simulator, client: Client) -> None:
    ids = {row["id"] for row in client.get("account/list")}
    seen: list[int] = []
    for remainder in range(3):
        shard = {"expressionType": "modAccountId", "divisor": 3, "remainder": remainder}
        with Stream(simulator.ws_url) as stream:
            stream.authorize(client.token)
            picture = stream.synchronize(shardingExpression=shard)
            rows = picture["accounts"]
            assert all(row["id"] % 3 == remainder for row in rows)
            seen += [row["id"] for row in rows]

    assert sorted(seen) == sorted(ids)


# How it ends.


def test_cut_abruptly(simulator: Simulator, stream: Stream) -> None:
    assert simulator.cut_sockets() == 1

    with pytest.raises(BROKEN):
        stream.frame()


def test_cut_cleanly(simulator: Simulator, stream: Stream) -> None:
    simulator.cut_sockets("clean")

    assert stream.frame() == 'c[3000,"Go away!"]'
    assert stream.frame() == ""


@pytest.mark.parametrize("code", ["Maintenance", "ConnectionQuotaReached", "IPQuotaReached"])
def test_shut_down_with_a_reason(simulator: Simulator, stream: Stream, code: str) -> None:
    simulator.cut_sockets("shutdown", reason_code=code)

    told = stream.message(lambda message: message.get("e") == "shutdown")
    assert told["d"]["reasonCode"] == code


def test_only_the_sockets_of_one_user_are_cut(simulator: Simulator, stream: Stream) -> None:
    simulator.add_user("ann")

    assert simulator.cut_sockets(user="ann") == 0
    assert stream.ask("account/list")["s"] == 200


def test_silent_and_open(simulator: Simulator, client: Client, stream: Stream) -> None:
    simulator.set(heartbeat_s=0.05)
    assert stream.frame() == "h"
    simulator.stop_heartbeats()
    client.buy()

    stream.all_until_quiet()
    assert stream.all_until_quiet() == []
    assert len(simulator.sockets()) == 1

    simulator.stop_heartbeats(on=False)
    assert stream.event("order", ordStatus="Filled")


def test_without_heartbeats_events_still_come(
    simulator: Simulator, client: Client, stream: Stream
) -> None:
    simulator.stop_heartbeats(only=True)
    simulator.set(heartbeat_s=0.05)
    client.buy()

    assert stream.event("order", ordStatus="Filled")
    stream.all_until_quiet()
    with pytest.raises(websocket.WebSocketTimeoutException):
        stream.frame(timeout_s=0.3)


def test_a_frame_that_ends_in_the_middle(
    simulator: Simulator, client: Client, stream: Stream
) -> None:
    simulator.truncate_frame()
    client.buy()

    with pytest.raises(BROKEN):
        stream.event("order")
    until(lambda: simulator.sockets() == [])


def test_a_frame_of_garbage(simulator: Simulator, stream: Stream) -> None:
    simulator.garbage_frame("what?")

    assert stream.frame() == "what?"
    assert stream.ask("account/list")["s"] == 200


def test_a_ping_is_answered_unless_the_peer_is_dead(simulator: Simulator) -> None:
    raw = websocket.create_connection(simulator.ws_url, timeout=0.5)
    try:
        assert raw.recv() == "o"
        raw.ping("p")
        opcode, _ = raw.recv_data(control_frame=True)
        assert opcode == websocket.ABNF.OPCODE_PONG

        simulator.stop_heartbeats()
        raw.ping("p")
        with pytest.raises(websocket.WebSocketTimeoutException):
            raw.recv_data(control_frame=True)
    finally:
        raw.close(timeout=1)
