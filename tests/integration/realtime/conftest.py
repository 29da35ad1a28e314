"""The app behind a real port, and clients of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import socketio
from apiflask import APIFlask
from gevent.pywsgi import WSGIServer
from geventwebsocket.handler import WebSocketHandler
from socketio.exceptions import ConnectionError

from app.extensions import writer
from app.models import User
from app.services import sessions
from app.transactions import Tx

PATIENCE_S = 10.0


class Handler(WebSocketHandler):  # type: ignore[misc]
    def log_request(self) -> None:
        """Not in a test's output."""


@pytest.fixture
def url(app: APIFlask) -> Iterator[str]:
    """Where the app is served."""
    server = WSGIServer(("127.0.0.1", 0), app, log=None, error_log=None, handler_class=Handler)
    server.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.stop(timeout=1)


def wait_until(condition: Callable[[], object], what: str = "condition") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.005)


@dataclass
class Listener:
    """A connected client and everything that it was sent, in order."""

    socket: Any
    heard: list[tuple[str, Any]] = field(default_factory=list)

    @property
    def greeting(self) -> dict[str, Any]:
        wait_until(lambda: self.of("connected"), "connected")
        body: dict[str, Any] = self.of("connected")[0]
        return body

    @property
    def numbers(self) -> list[int]:
        """The numbers of the durable events heard."""
        return [body["seq"] for _, body in self.heard if isinstance(body, dict) and "seq" in body]

    def of(self, event: str) -> list[Any]:
        return [body for name, body in self.heard if name == event]

    def ask(self, event: str, body: Any = None) -> dict[str, Any]:
        """The acknowledgement."""
        answer: dict[str, Any] = self.socket.call(event, body, timeout=PATIENCE_S)
        return answer

    def wait_for(self, number: int) -> None:
        wait_until(lambda: number in self.numbers, f"event {number} after {self.numbers}")


@pytest.fixture
def cookie(app: APIFlask) -> Callable[[User], str]:
    """Signs a user in and gives the browser's cookie header."""

    def make(user: User) -> str:
        with app.test_request_context():
            token = sessions.start(user.id)
        signer = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]
        return f"jt_session={signer.dumps({'token': token})}"

    return make


@pytest.fixture
def connect(url: str, cookie: Callable[[User], str]) -> Iterator[Callable[..., Listener]]:
    """``connect(user)`` by session cookie, ``connect(auth={"token": …})`` by token."""
    opened: list[Any] = []

    def open_(
        user: User | None = None,
        *,
        header: str | None = None,
        auth: Any = None,
        transports: list[str] | None = None,
        **headers: str,
    ) -> Listener:
        client = socketio.Client(reconnection=False, handle_sigint=False)
        listener = Listener(client)
        client.on("*", lambda name, body=None: listener.heard.append((name, body)))
        client.on("disconnect", lambda reason: listener.heard.append(("disconnect", reason)))
        client.on("connect_error", lambda why: listener.heard.append(("refused", why)))
        opened.append(client)
        if user is not None:
            header = cookie(user)
        if header is not None:
            headers["Cookie"] = header
        try:
            client.connect(url, headers=headers, auth=auth, transports=transports or ["websocket"])
        except ConnectionError as e:
            raise ConnectionError(listener.of("refused")) from e
        return listener

    yield open_
    for client in opened:
        client.disconnect()


@pytest.fixture
def record(app: APIFlask) -> Callable[..., None]:
    """Commits events of a user, each in a transaction of its own."""

    def make(user: User, count: int = 1, type: str = "log", **data: Any) -> None:
        for number in range(count):
            body = {"n": number, **data}
            writer.run(partial(_record, user_id=user.id, type=type, data=body))

    return make


def _record(tx: Tx, *, user_id: int, type: str, data: dict[str, Any]) -> None:
    tx.record(user_id, type, data)
