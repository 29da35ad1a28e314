"""A client that knows the protocol and nothing else: what comes back is looked at by the test."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from decimal import Decimal
from itertools import count
from typing import Any, Self

import requests
import websocket
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection

ENTITY_TYPES = [
    "account",
    "cashBalance",
    "command",
    "commandReport",
    "executionReport",
    "fill",
    "order",
    "orderVersion",
    "position",
]
TIMEOUT_S = 5.0
QUIET_S = 0.2
_LOOK_S = 0.01


def until(condition: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
    """Wait for something that happens in another process."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(_LOOK_S)


class _FromAddress(HTTPAdapter):
    """Calls from another address of this machine."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        kwargs["source_address"] = (self._address, 0)
        kwargs["socket_options"] = HTTPConnection.default_socket_options
        super().init_poolmanager(*args, **kwargs)


class Client:
    """One HTTP session of one user."""

    def __init__(self, url: str, *, from_address: str | None = None) -> None:
        self.url = url
        self.token = ""
        self.md_token = ""
        self._http = requests.Session()
        self._http.trust_env = False
        if from_address:
            self._http.mount("http://", _FromAddress(from_address))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def call(
        self,
        path: str,
        body: Any = None,
        *,
        query: dict[str, Any] | None = None,
        token: str | None = None,
        timeout_s: float = TIMEOUT_S,
        method: str | None = None,
    ) -> requests.Response:
        """POST with a body, else GET. ``token`` in the place of the own one."""
        bearer = self.token if token is None else token
        return self._http.request(
            method or ("GET" if body is None else "POST"),
            f"{self.url}/{path}",
            json=body,
            params=query,
            headers={"Authorization": f"Bearer {bearer}"} if bearer else {},
            timeout=timeout_s,
        )

    def get(self, path: str, **query: Any) -> Any:
        response = self.call(path, query=query)
        assert response.status_code == 200, f"{path}: {response.status_code} {response.text}"
        return response.json()

    def credentials(self, **changes: Any) -> dict[str, Any]:
        return {
            "name": "demo",
            "password": "demo",
            "appId": "tests",
            "appVersion": "1",
            "cid": 1,
            "sec": "demo",
            "deviceId": "machine-1",
            **changes,
        }

    def log_in(self, **changes: Any) -> dict[str, Any]:
        """The answer of a log-in that has to succeed; its token is used from now on."""
        response = self.call("auth/accesstokenrequest", self.credentials(**changes), token="")
        answer: dict[str, Any] = response.json()
        assert "accessToken" in answer, response.text
        self.token, self.md_token = answer["accessToken"], answer["mdAccessToken"]
        return answer

    @property
    def account(self) -> dict[str, Any]:
        account: dict[str, Any] = self.get("account/list")[0]
        return account

    def contract(self, root: str = "MES") -> dict[str, Any]:
        contract: dict[str, Any] = self.get("contract/suggest", t=root, l=1)[0]
        return contract

    def ticket(self, **changes: Any) -> dict[str, Any]:
        """A market order to buy one MES."""
        account = self.account
        return {
            "accountId": account["id"],
            "accountSpec": account["name"],
            "action": "Buy",
            "symbol": self.contract()["name"],
            "orderQty": 1,
            "orderType": "Market",
            "timeInForce": "Day",
            "isAutomated": True,
            **changes,
        }

    def buy(self, **changes: Any) -> int:
        """The id of an accepted order."""
        answer = self.call("order/placeorder", self.ticket(**changes)).json()
        assert "orderId" in answer, answer
        return int(answer["orderId"])


class Stream:
    """One WebSocket. It sends ``[]`` only when it is told to."""

    def __init__(self, url: str) -> None:
        self._socket = websocket.create_connection(url, timeout=TIMEOUT_S)
        self._raw = self._socket.sock
        self._ids = count(1)
        self._messages: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close(timeout=1)
        if self._raw is not None:
            self._raw.close()

    def send(self, text: str) -> None:
        self._socket.send(text)

    def beat(self) -> None:
        self.send("[]")

    def frame(self, timeout_s: float = TIMEOUT_S) -> str:
        """The next text frame; empty when the connection has been closed in order.

        Raises:
            websocket.WebSocketTimeoutException: there was none.
            ConnectionError, websocket.WebSocketConnectionClosedException: it broke.
        """
        self._socket.settimeout(timeout_s)
        return str(self._socket.recv())

    def ask(self, endpoint: str, body: Any = None, query: str = "") -> dict[str, Any]:
        """The response to one request."""
        request_id = self.request(endpoint, body, query)
        return self.response(request_id)

    def request(self, endpoint: str, body: Any = None, query: str = "") -> int:
        request_id = next(self._ids)
        text = "" if body is None else body if isinstance(body, str) else json.dumps(body)
        self.send(f"{endpoint}\n{request_id}\n{query}\n{text}")
        return request_id

    def response(self, request_id: int) -> dict[str, Any]:
        return self.message(lambda message: message.get("i") == request_id)

    def message(
        self, wanted: Callable[[dict[str, Any]], bool], timeout_s: float = TIMEOUT_S
    ) -> dict[str, Any]:
        """The first message that is wanted; others stay for later."""
        deadline = time.monotonic() + timeout_s
        while True:
            for message in self._messages:
                if wanted(message):
                    self._messages.remove(message)
                    return message
            self._read(max(deadline - time.monotonic(), 0.001))

    def authorize(self, token: str) -> None:
        answer = self.ask("authorize", token)
        assert answer["s"] == 200, answer

    def synchronize(self, **body: Any) -> dict[str, Any]:
        answer = self.ask("user/syncrequest", {"entityTypes": ENTITY_TYPES, **body})
        assert answer["s"] == 200, answer
        picture: dict[str, Any] = answer["d"]
        return picture

    def event(self, kind: str, timeout_s: float = TIMEOUT_S, **fields: Any) -> dict[str, Any]:
        """The entity of the next event of a type that has these fields."""

        def wanted(message: dict[str, Any]) -> bool:
            if message.get("e") != "props" or message["d"]["entityType"] != kind:
                return False
            entity = message["d"]["entity"]
            return all(entity.get(name) == value for name, value in fields.items())

        entity: dict[str, Any] = self.message(wanted, timeout_s)["d"]["entity"]
        return entity

    def events(self) -> list[tuple[str, int]]:
        """(type, id) of all that came and comes until it is quiet."""
        return [
            (message["d"]["entityType"], message["d"]["entity"]["id"])
            for message in self.all_until_quiet()
            if message.get("e") == "props"
        ]

    def all_until_quiet(self) -> list[dict[str, Any]]:
        try:
            while True:
                self._read(QUIET_S)
        except websocket.WebSocketTimeoutException:
            found, self._messages = self._messages, []
            return found

    def _read(self, timeout_s: float) -> None:
        frame = self.frame(timeout_s)
        assert frame, "the connection was closed"
        if frame[0] == "a":
            self._messages += json.loads(frame[1:], parse_float=Decimal)
