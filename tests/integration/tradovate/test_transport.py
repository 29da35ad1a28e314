"""One request on the wire, against servers that do what none should: whether it may have been
executed."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from typing import Any

import gevent
import pytest
from gevent.event import Event
from gevent.pywsgi import WSGIServer

from app.brokers.tradovate.errors import BadRequest, Busy, NoAnswer, NotSent
from app.brokers.tradovate.http import Transport

PLACE = "/order/placeorder"


def closed_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as door:
        return f"http://127.0.0.1:{door.getsockname()[1]}/v1"


class RawServer:
    """Sends the next of ``answers`` to whatever comes in; without one left it hangs up. ``seen``
    are the numbers of requests, per connection."""

    def __init__(self, answers: tuple[bytes, ...], *, hangs_up: bool) -> None:
        self._answers = list(answers)
        self._hangs_up = hangs_up
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._door.getsockname()[1]}/v1"
        self.seen: list[int] = []
        self.hung_up = Event()
        self._accepting = gevent.spawn(self._accept)

    def close(self) -> None:
        self._accepting.kill()
        self._door.close()

    def _accept(self) -> None:
        while True:
            connection, _ = self._door.accept()
            self.seen.append(0)
            gevent.spawn(self._serve, connection, len(self.seen) - 1)

    def _serve(self, connection: socket.socket, number: int) -> None:
        with connection:
            while connection.recv(65536):
                self.seen[number] += 1
                if not self._answers:
                    break
                connection.sendall(self._answers.pop(0))
                if self._hangs_up:
                    break
        self.hung_up.set()


@contextmanager
def answering(
    *answers: bytes, hangs_up: bool = False, scheme: str = "http", **options: Any
) -> Iterator[tuple[Transport, RawServer]]:
    """A server, and a transport to it with ``options``."""
    with closing(RawServer(answers, hangs_up=hangs_up)) as server:
        url = server.url.replace("http", scheme, 1)
        with closing(Transport(url, **options)) as transport:
            yield transport, server


@contextmanager
def serving(app: Callable[..., Any], **options: Any) -> Iterator[Transport]:
    """A transport to a WSGI application."""
    server = WSGIServer(("127.0.0.1", 0), app, log=None, error_log=None)
    server.start()
    try:
        with closing(
            Transport(f"http://127.0.0.1:{server.server_port}/v1", **options)
        ) as transport:
            yield transport
    finally:
        server.stop(timeout=0)


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_nobody_there_means_not_sent() -> None:
    with closing(Transport(closed_address())) as transport, pytest.raises(NotSent):
        transport.send("/account/list")


def test_a_name_that_does_not_exist_means_not_sent() -> None:
    there = "http://no-such-host.invalid/v1"
    with closing(Transport(there)) as transport, pytest.raises(NotSent):
        transport.send(PLACE, body={})


def test_a_failed_handshake_means_not_sent_and_is_tried_twice() -> None:
    answers = (b"this is not TLS", b"nor this")
    with answering(*answers, scheme="https") as (transport, there), pytest.raises(NotSent):
        transport.send(PLACE, body={})

    assert there.seen == [1, 1]


def test_a_connection_that_breaks_in_use_is_unclear_and_not_tried_again() -> None:
    with answering(http(b"[]")) as (transport, there):
        transport.send("/account/list")
        with pytest.raises(NoAnswer, match="broke"):
            transport.send(PLACE, body={"clOrdId": "x"})

    assert there.seen == [2]


def test_a_connection_that_the_server_closed_meanwhile_is_not_used() -> None:
    with answering(http(b"[]"), http(b"{}"), hangs_up=True) as (transport, there):
        transport.send("/account/list")
        assert there.hung_up.wait(5)
        transport.send(PLACE, body={})

    assert there.seen == [1, 1]


def test_a_connection_that_was_idle_for_long_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.brokers.tradovate.http._MAX_IDLE_S", 0.0)
    with answering(http(b"[]"), http(b"[]")) as (transport, there):
        transport.send("/account/list")
        transport.send(PLACE, body={})

    assert there.seen == [1, 1]


def test_half_an_answer_is_unclear() -> None:
    half = http(b'{"orderId": 1}')[:-4]
    with answering(half, timeout=(1, 0.3)) as (transport, _), pytest.raises(NoAnswer):
        transport.send(PLACE, body={})


def test_an_answer_that_trickles_in_for_ever_is_given_up() -> None:
    def trickle(environ: dict[str, Any], start: Callable[..., Any]) -> Iterator[bytes]:
        start("200 OK", [("Content-Type", "application/json")])
        while True:
            yield b" "
            gevent.sleep(0.05)

    with (
        serving(trickle, deadline_s=0.5) as transport,
        pytest.raises(NoAnswer, match="too long"),
    ):
        transport.send(PLACE, body={})


@pytest.mark.parametrize("body", [b"", b"<html>ok</html>", b'{"a":', b"NaN", b"[" * 100_000])
def test_a_200_that_is_no_json_is_unclear(body: bytes) -> None:
    with answering(http(body)) as (transport, _), pytest.raises(NoAnswer) as failed:
        transport.send(PLACE, body={})

    assert "html" not in failed.value.detail


def test_a_429_with_words_is_no_lock() -> None:
    answer = http(b"Slow down", "429 Too Many Requests")
    with answering(answer) as (transport, _), pytest.raises(Busy, match="Slow down"):
        transport.send("/account/list")


def test_redirects_are_not_followed() -> None:
    elsewhere = http(b"", "307 Temporary Redirect", "Location: https://elsewhere.example/v1")
    with answering(elsewhere) as (transport, _), pytest.raises(NoAnswer, match="307"):
        transport.send(PLACE, body={}, token="t")


def test_cookies_of_one_user_are_not_sent_for_another() -> None:
    seen: list[str | None] = []

    def serve(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        seen.append(environ.get("HTTP_COOKIE"))
        start("200 OK", [("Set-Cookie", "route=1; Path=/")])
        return [b"[]"]

    with serving(serve) as transport:
        transport.send("/account/list")
        transport.send("/account/list")

    assert seen == [None, None]


def test_secrets_in_the_words_of_a_refusal_are_masked_and_a_token_that_is_given_is_not() -> None:
    words = "hunter2-secret is not the password of tok-123456"
    said = {
        "errorText": words,
        "failureText": words,
        "violations": [{"description": words, "value": "hunter2-secret"}],
        "accessToken": "tok-123456",
    }
    with answering(http(json.dumps(said).encode())) as (transport, _):
        answer = transport.send("/auth/x", body={"password": "hunter2-secret"}, token="tok-123456")

    masked = "*** is not the password of ***"
    assert (answer["errorText"], answer["failureText"]) == (masked, masked)
    assert answer["violations"] == [{"description": masked, "value": "***"}]
    assert answer["accessToken"] == "tok-123456"


def test_secrets_that_the_broker_repeats_are_masked() -> None:
    answer = http(b"no user with hunter2-secret and tok-123456", "400 Bad Request")
    with answering(answer) as (transport, _), pytest.raises(BadRequest) as refused:
        transport.send("/auth/x", body={"password": "hunter2-secret"}, token="tok-123456")

    assert refused.value.detail.endswith("(no user with *** and ***)")


def test_decimals_are_numbers_on_the_wire() -> None:
    bodies: list[bytes] = []

    def serve(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        bodies.append(environ["wsgi.input"].read())
        start("200 OK", [])
        return [b'{"price": 5001.10}']

    with serving(serve) as transport:
        answer = transport.send(PLACE, body={"price": Decimal("5001.10"), "n": Decimal("2")})

    assert bodies == [b'{"price": 5001.1, "n": 2}']
    assert answer == {"price": Decimal("5001.10")}
