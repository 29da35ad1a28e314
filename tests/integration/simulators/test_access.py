"""Log-ins, tokens, sessions, the authorization-code flow, keys and devices."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import websocket

from tests.integration.simulators.client import Client, Stream
from tests.simulators.tradovate.control import Simulator, running

BACK = "https://app.example.com/back"


def _status(client: Client, token: str) -> tuple[int, str]:
    response = client.call("account/list", token=token)
    return response.status_code, response.text


# Log-in.


@pytest.mark.parametrize("wrong", [{"password": "no"}, {"name": "nobody"}])
def test_bad_credentials_are_a_200_with_an_error_text(
    simulator: Simulator, wrong: dict[str, str]
) -> None:
    with Client(simulator.url) as client:
        response = client.call("auth/accesstokenrequest", client.credentials(**wrong))

    assert response.status_code == 200
    assert response.json()["errorText"].startswith("Incorrect username or password")


def test_bad_credentials_can_be_a_401(simulator: Simulator) -> None:
    simulator.set(bad_login_status=401)

    with Client(simulator.url) as client:
        response = client.call("auth/accesstokenrequest", client.credentials(password="no"))

    assert response.status_code == 401


@pytest.mark.parametrize("wrong", [{"cid": 99}, {"sec": "no"}])
def test_an_unknown_key_is_not_registered(simulator: Simulator, wrong: dict[str, Any]) -> None:
    with Client(simulator.url) as client:
        answer = client.call("auth/accesstokenrequest", client.credentials(**wrong)).json()

    assert answer == {"errorText": "The app is not registered"}


def test_a_token_says_whose_it_is(client: Client) -> None:
    me = client.get("auth/me")

    assert (me["name"], me["userId"]) == ("demo", client.account["userId"])


# Life of a token.


def test_an_expired_token_says_so_and_cannot_be_renewed(
    simulator: Simulator, client: Client
) -> None:
    simulator.expire_tokens()

    assert _status(client, client.token) == (401, "Expired Access Token")
    assert client.call("auth/renewaccesstoken").status_code == 401


def test_a_token_lives_ninety_minutes(simulator: Simulator, client: Client) -> None:
    simulator.advance(89 * 60)
    assert _status(client, client.token)[0] == 200

    simulator.advance(60)
    assert _status(client, client.token)[0] == 401


def test_a_renewal_gives_another_token_of_the_same_session(
    simulator: Simulator, client: Client
) -> None:
    renewed = client.get("auth/renewaccesstoken")["accessToken"]

    assert renewed != client.token
    assert _status(client, renewed)[0] == 200
    assert _status(client, client.token)[0] == 200
    assert len(simulator.sessions("demo")) == 1


def test_a_renewal_can_end_the_old_token(simulator: Simulator, client: Client) -> None:
    simulator.set(renewal_revokes_old=True)

    client.get("auth/renewaccesstoken")

    assert _status(client, client.token)[0] == 401


# Sessions.


@pytest.mark.parametrize("status", [408, 429, 500])
def test_a_third_login_closes_the_oldest_session(
    simulator: Simulator, client: Client, status: int
) -> None:
    simulator.set(closed_session_status=status)
    oldest = client.token
    client.log_in()
    second = client.token
    client.log_in()

    assert _status(client, oldest)[0] == status
    assert _status(client, second)[0] == 200


def test_a_closed_session_loses_its_sockets(
    simulator: Simulator, client: Client, stream: Stream
) -> None:
    simulator.open_session("demo")
    simulator.open_session("demo")

    assert stream.frame().startswith("c[3000,")


def test_a_revoked_token_cannot_open_a_socket(simulator: Simulator, client: Client) -> None:
    simulator.revoke_tokens("demo", status=408)

    with Stream(simulator.ws_url) as stream:
        assert stream.ask("authorize", client.token)["s"] == 408


def test_a_socket_outlives_its_token(simulator: Simulator, client: Client, stream: Stream) -> None:
    simulator.expire_tokens()

    assert stream.ask("account/list")["s"] == 200


# The authorization-code flow.


def _code(simulator: Simulator, **more: str) -> dict[str, list[str]]:
    query = {
        "response_type": "code",
        "client_id": "1",
        "redirect_uri": BACK,
        "state": "s1",
        "auto": "1",
        **more,
    }
    response = requests.get(simulator.oauth_url, params=query, allow_redirects=False, timeout=5)
    assert response.status_code == 302, response.text
    location = response.headers["Location"]
    assert location.startswith(BACK)
    return parse_qs(urlsplit(location).query)


def _exchange(client: Client, **fields: str) -> dict[str, Any]:
    body = {"client_id": "1", "client_secret": "demo", "redirect_uri": BACK, **fields}
    answer: dict[str, Any] = client.call("auth/oauthtoken", body, token="").json()
    return answer


def _by_code(client: Client, code: str, **more: str) -> dict[str, Any]:
    return _exchange(client, grant_type="authorization_code", code=code, **more)


def test_the_login_page_is_a_form_that_leads_back(simulator: Simulator) -> None:
    query = {"response_type": "code", "client_id": "1", "redirect_uri": BACK, "state": "s1"}
    page = requests.get(simulator.oauth_url, params=query, timeout=5)
    assert "<form" in page.text

    done = requests.post(
        simulator.oauth_url,
        params=query,
        data={"name": "demo", "password": "demo"},
        allow_redirects=False,
        timeout=5,
    )

    back = parse_qs(urlsplit(done.headers["Location"]).query)
    assert back["state"] == ["s1"]
    assert back["code"]


def test_the_state_may_be_lost(simulator: Simulator) -> None:
    simulator.set(oauth_echo_state=False)

    assert "state" not in _code(simulator)


def test_an_unregistered_redirect_is_refused(simulator: Simulator) -> None:
    simulator.add_user("ann", cid="7", sec="s", redirect_uris=[BACK])
    query = {"response_type": "code", "client_id": "7", "redirect_uri": BACK + "/x", "auto": "1"}

    response = requests.get(simulator.oauth_url, params=query, allow_redirects=False, timeout=5)

    assert response.status_code == 400


@pytest.mark.parametrize("as_form", [True, False])
def test_a_code_buys_a_token_once(simulator: Simulator, client: Client, as_form: bool) -> None:
    body = {
        "grant_type": "authorization_code",
        "code": _code(simulator)["code"][0],
        "client_id": "1",
        "client_secret": "demo",
        "redirect_uri": BACK,
    }
    encoded: dict[str, Any] = {"data": body} if as_form else {"json": body}

    first, second = (
        requests.post(f"{simulator.url}/auth/oauthtoken", timeout=5, **encoded).json()
        for _ in range(2)
    )

    assert _status(client, first["access_token"])[0] == 200
    assert second["error"] == "invalid_grant"


def test_a_code_needs_the_same_redirect(simulator: Simulator, client: Client) -> None:
    code = _code(simulator)["code"][0]

    assert _by_code(client, code, redirect_uri=BACK + "/x")["error"] == "invalid_grant"


@pytest.mark.parametrize(("verifier", "is_taken"), [("right", True), ("wrong", False)])
def test_a_challenge_is_verified(
    simulator: Simulator, client: Client, verifier: str, is_taken: bool
) -> None:
    digest = hashlib.sha256(b"right").digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    code = _code(simulator, code_challenge=challenge, code_challenge_method="S256")["code"][0]

    answer = _by_code(client, code, code_verifier=verifier)

    assert ("access_token" in answer) is is_taken


def test_a_refresh_token_rotates(simulator: Simulator, client: Client) -> None:
    old = _by_code(client, _code(simulator)["code"][0])["refresh_token"]

    first = _exchange(client, grant_type="refresh_token", refresh_token=old)
    again = _exchange(client, grant_type="refresh_token", refresh_token=old)

    assert _status(client, first["access_token"])[0] == 200
    assert first["refresh_token"] != old
    assert again["error"] == "invalid_grant"


# Keys.


def _with_key(simulator: Simulator, permissions: dict[str, str]) -> Client:
    simulator.add_user("ann", cid="7", sec="s", permissions=permissions)
    simulator.add_account("ann")
    client = Client(simulator.url)
    client.log_in(name="ann", cid="7", sec="s")
    return client


def test_a_key_without_access_is_denied(simulator: Simulator) -> None:
    with _with_key(simulator, {"*": "full", "commands": "none"}) as client:
        response = client.call("command/list")

        assert (response.status_code, response.text) == (401, "Access is denied")
        assert client.get("order/list") == []


def test_a_key_that_reads_cannot_order(simulator: Simulator) -> None:
    with _with_key(simulator, {"orders": "read"}) as client:
        assert client.get("order/list") == []
        assert client.call("order/placeorder", client.ticket()).status_code == 401


def test_a_key_hides_its_entities_from_the_stream(simulator: Simulator) -> None:
    with (
        _with_key(simulator, {"commands": "none"}) as client,
        Stream(simulator.ws_url) as stream,
    ):
        stream.authorize(client.token)
        picture = stream.synchronize()
        client.buy()

        assert "commands" not in picture
        assert "orders" in picture
        kinds = {kind for kind, _ in stream.events()}
        assert "order" in kinds
        assert not kinds & {"command", "commandReport"}


# Demo and live.


@pytest.fixture(scope="module")
def pair_process() -> Iterator[Simulator]:
    with running(live_port=0) as simulator:
        yield simulator


@pytest.fixture
def pair(pair_process: Simulator) -> Simulator:
    pair_process.reset()
    return pair_process


@pytest.fixture
def live(pair: Simulator) -> Iterator[Client]:
    with Client(pair.live_url) as client:
        client.log_in()
        yield client


def test_without_a_live_port_both_are_one(simulator: Simulator) -> None:
    assert simulator.live_url == simulator.url


def test_ids_of_one_world_do_not_exist_in_the_other(pair: Simulator, live: Client) -> None:
    with Client(pair.url) as demo:
        demo.log_in()
        account_id = demo.account["id"]

        assert demo.call("account/item", query={"id": account_id}).status_code == 200
    assert live.call("account/item", query={"id": account_id}).status_code == 404


def test_a_token_by_password_is_of_one_world(pair: Simulator, live: Client) -> None:
    with Client(pair.url) as demo:
        assert _status(demo, live.token)[0] == 401


@pytest.mark.parametrize(("switch", "status"), [("oauth", 200), ("none", 401)])
def test_a_token_by_code_may_be_of_both(pair: Simulator, switch: str, status: int) -> None:
    pair.set(tokens_cross_worlds=switch)
    with Client(pair.live_url) as live, Client(pair.url) as demo:
        token = _by_code(live, _code(pair)["code"][0])["access_token"]

        assert _status(live, token)[0] == 200
        assert _status(demo, token)[0] == status


def test_live_orders_need_a_device(pair: Simulator, live: Client) -> None:
    known = live.call("order/placeorder", live.ticket())
    live.log_in(deviceId=None)
    unknown = live.call("order/placeorder", live.ticket())

    assert "orderId" in known.json()
    assert (unknown.status_code, unknown.text) == (401, "Access is denied")
    assert len(pair.book(world="live")["orders"]) == 1


def test_demo_orders_need_none(client: Client) -> None:
    client.log_in(deviceId=None)

    assert client.buy()


# The socket's token.


@pytest.mark.parametrize("quoted", [True, False])
def test_a_socket_takes_the_token_raw_or_quoted(
    simulator: Simulator, client: Client, quoted: bool
) -> None:
    with Stream(simulator.ws_url) as stream:
        answer = stream.ask("authorize", f'"{client.token}"' if quoted else client.token)

    assert answer == {"s": 200, "i": 1}


def test_a_socket_refuses_a_bad_token_and_asks_for_one(simulator: Simulator) -> None:
    with Stream(simulator.ws_url) as stream:
        assert stream.ask("authorize", "nonsense")["s"] == 401
        assert stream.ask("account/list") == {"i": 2, "s": 401, "d": "Access is denied"}


def test_the_market_data_token_is_for_market_data(simulator: Simulator, client: Client) -> None:
    with Stream(simulator.md_url) as stream:
        stream.authorize(client.md_token)

        symbol = {"symbol": client.contract()["name"]}
        assert stream.ask("md/subscribeQuote", symbol)["s"] == 200
        assert stream.ask("account/list")["s"] == 401
    assert _status(client, client.md_token)[0] == 401


def test_above_the_limit_of_sockets_the_oldest_goes_with_its_token(
    simulator: Simulator, client: Client, stream: Stream
) -> None:
    simulator.set(max_sockets=1)
    oldest = client.token
    client.log_in()

    with Stream(simulator.ws_url) as another:
        another.authorize(client.token)
        told = stream.message(lambda message: message.get("e") == "shutdown")

        assert told["d"]["reasonCode"] == "ConnectionQuotaReached"
        assert _status(client, oldest)[0] == 408
        assert another.ask("account/list")["s"] == 200


def test_a_partners_socket_has_to_split(simulator: Simulator) -> None:
    simulator.add_user("firm", cid="8", sec="s", is_organization=True)
    with Client(simulator.url) as client, Stream(simulator.ws_url) as stream:
        client.log_in(name="firm", cid="8", sec="s")
        stream.authorize(client.token)
        stream.request("user/syncrequest", {"entityTypes": ["order"]})

        with pytest.raises((ConnectionError, websocket.WebSocketConnectionClosedException)):
            stream.frame()
