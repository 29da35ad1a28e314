"""What a socket is told, and how a test may disturb it."""

from __future__ import annotations

from tests.integration.simulators.client import Client, Stream
from tests.simulators.tradovate.control import Simulator


def test_an_order_is_told_from_command_to_position(client: Client, stream: Stream) -> None:
    order_id = client.buy(clOrdId="mine")

    kinds = [kind for kind, _ in stream.events()]

    assert kinds[:3] == ["command", "order", "orderVersion"]
    assert kinds.index("fill") < kinds.index("position")
    assert client.get("order/item", id=order_id)["ordStatus"] == "Filled"


def test_every_socket_of_the_user_is_told(
    simulator: Simulator, client: Client, stream: Stream
) -> None:
    with Stream(simulator.ws_url) as another:
        another.authorize(client.token)
        another.synchronize()
        order_id = client.buy()

        assert stream.event("order", ordStatus="Filled")["id"] == order_id
        assert another.event("order", ordStatus="Filled")["id"] == order_id


def test_other_users_are_not_told(simulator: Simulator, client: Client, stream: Stream) -> None:
    simulator.add_user("ann")
    simulator.add_account("ann")
    with Client(simulator.url) as ann:
        ann.log_in(name="ann")
        ann.buy()

    assert stream.events() == []


def test_only_the_types_that_were_asked_for_are_told(simulator: Simulator, client: Client) -> None:
    with Stream(simulator.ws_url) as stream:
        stream.authorize(client.token)
        stream.synchronize(entityTypes=["fill"])
        client.buy()

        assert {kind for kind, _ in stream.events()} == {"fill"}


def test_only_the_accounts_that_were_asked_for_are_told(
    simulator: Simulator, client: Client
) -> None:
    first, second = client.get("account/list")
    with Stream(simulator.ws_url) as stream:
        stream.authorize(client.token)
        stream.synchronize(accounts=[second["id"]])
        client.buy()
        assert stream.events() == []

        client.buy(accountId=second["id"], accountSpec=second["name"])
        kinds = {kind for kind, _ in stream.events()}

    assert {"order", "fill", "command", "position"} <= kinds


def test_a_trade_by_hand_is_told(simulator: Simulator, client: Client, stream: Stream) -> None:
    simulator.manual_trade(client.account["id"], client.contract()["name"], "Sell", 2)

    assert stream.event("position", netPos=-2)
    assert "clOrdId" not in stream.event("command")


def test_an_order_by_hand_is_told(simulator: Simulator, client: Client, stream: Stream) -> None:
    simulator.manual_order(
        account_id=client.account["id"],
        contract=client.contract()["name"],
        action="Buy",
        qty=1,
        order_type="Limit",
        price="6000",
    )

    assert stream.event("order", ordStatus="Working")


def test_the_entity_may_be_a_list(simulator: Simulator, client: Client, stream: Stream) -> None:
    simulator.set(array_entities=True)
    client.buy()

    event = stream.message(lambda message: message.get("e") == "props")

    assert isinstance(event["d"]["entity"], list)


# Disturbed.


def test_events_get_lost(simulator: Simulator, client: Client, stream: Stream) -> None:
    simulator.disturb_events("lose", 1, entity_types=["fill"])
    client.buy()
    assert "fill" not in [kind for kind, _ in stream.events()]

    client.buy()
    assert "fill" in [kind for kind, _ in stream.events()]


def test_events_come_twice(simulator: Simulator, client: Client, stream: Stream) -> None:
    simulator.disturb_events("duplicate", None, entity_types=["fill"])
    client.buy()

    fills = [entity_id for kind, entity_id in stream.events() if kind == "fill"]

    assert len(fills) == 2
    assert len(set(fills)) == 1


def test_events_come_late(simulator: Simulator, client: Client, stream: Stream) -> None:
    simulator.disturb_events("delay", 1, entity_types=["fill"], ms=100)
    client.buy()

    assert stream.events()[-1][0] == "fill"


def test_events_come_in_another_order(simulator: Simulator, client: Client, stream: Stream) -> None:
    simulator.disturb_events("reorder", 3)
    client.buy()

    kinds = [kind for kind, _ in stream.events()]

    assert kinds[:3] == ["orderVersion", "order", "command"]


def test_held_events_go_out_when_the_disturbance_is_cleared(
    simulator: Simulator, client: Client, stream: Stream
) -> None:
    simulator.disturb_events("reorder", 1000, ms=60_000)
    client.buy()
    assert stream.events() == []

    simulator.clear_events()

    told = [event["entity"]["id"] for event in simulator.events()]
    wanted = {kind for kind, _ in stream.events()}
    assert "order" in wanted
    assert told


def test_the_session_is_told_again(simulator: Simulator, client: Client, stream: Stream) -> None:
    client.buy()
    first = stream.events()

    simulator.replay_events()

    assert stream.events() == first


def test_a_new_session_has_nothing_to_tell(
    simulator: Simulator, client: Client, stream: Stream
) -> None:
    client.buy()
    simulator.session_roll()

    assert simulator.events() == []
    assert client.get("fill/list") == []
