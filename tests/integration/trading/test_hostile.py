"""What must not be able to hurt: bad alerts, huge ones, slow ones and guesses, at the real process.

Whatever is wrong with an alert for a known webhook, its owner finds it in the webhook log.
"""

from __future__ import annotations

import http.client
import itertools
import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import gevent
import pytest
import requests

from tests.servers import Server, serve

pytestmark = pytest.mark.timeout(120)

_PASSWORD = "correct horse battery 9"
JSON = "application/json"
TEXT = "text/plain"
_numbers = itertools.count(1)


@dataclass
class Owner:
    """Somebody with webhooks at a running server; ``paths`` by the name of the strategy."""

    server: Server
    session: requests.Session
    ids: dict[str, int] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.session.request(method, self.server.url + path, json=body, timeout=20)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:300]}"
        return answer.json()

    def add(self, name: str, account_id: int, symbol: str | None, **settings: Any) -> None:
        wanted = {"name": name, "symbol": symbol, "settings": settings}
        made = self.call("POST", "/api/recorders/", wanted)
        pair = {"strategy_id": made["id"], "account_id": account_id}
        self.call("POST", "/api/traders/", pair)
        self.ids[name] = made["id"]
        self.paths[name] = "/" + made["webhook_url"].split("/", 3)[3]

    def send(self, name: str, body: bytes, kind: str = JSON) -> requests.Response:
        url = self.server.url + self.paths[name]
        return requests.post(url, data=body, headers={"Content-Type": kind}, timeout=20)

    def send_good(self) -> tuple[int, float]:
        """The status of an alert with nothing wrong, and its latency in ms."""
        body = {"action": "buy", "order_id": f"good {next(_numbers)}"}
        began = time.perf_counter()
        answer = self.send("open", json.dumps(body).encode())
        return answer.status_code, (time.perf_counter() - began) * 1000

    def newest(self, name: str) -> dict[str, Any]:
        """The last row of a strategy's webhook log."""
        path = f"/api/signals/?strategy_id={self.ids[name]}&limit=1"
        row: dict[str, Any] = self.call("GET", path)["items"][0]
        return row


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owner]:
    with serve(tmp_path_factory.mktemp("hostile")) as server:
        session = requests.Session()
        owner = Owner(server, session)
        person = {"username": "ann", "email": "ann@example.com", "password": _PASSWORD}
        made = owner.call("POST", "/api/auth/register/", person)
        session.headers["X-CSRFToken"] = made["csrf_token"]
        account_id = owner.call("POST", "/api/accounts/", {"name": "P", "broker": "paper"})["id"]
        owner.add("open", account_id, "MNQ1!")
        owner.add("bare", account_id, None)
        owner.add("secret", account_id, "MNQ1!", passphrase="sesame")
        owner.add("fenced", account_id, "MNQ1!", allowed_sources=["203.0.113.7"])
        owner.add("busy", account_id, "MNQ1!")
        yield owner
        session.close()


@pytest.fixture(autouse=True)
def _stays_healthy(owner: Owner) -> Iterator[None]:
    yield
    for path in ("/healthz", "/readyz"):
        answer = owner.server.get(path)
        assert answer.status_code == 200, answer.text
    assert owner.send_good()[0] in (200, 202)
    assert '"internal_error"' not in owner.server.log
    assert "unexpected error" not in owner.server.log


def _entries(number: int) -> bytes:
    return json.dumps([{"action": "buy", "quantity": n + 1} for n in range(number)]).encode()


_BAD = [
    ("open", b"", JSON, 400, "empty_body"),
    ("open", b" \r\n\t ", TEXT, 400, "empty_body"),
    ("open", b" " * (64 * 1024 + 1), JSON, 413, "body_too_large"),
    ("open", b'{"action": "buy\xff"}', JSON, 400, "bad_encoding"),
    ("open", b'{"action": "buy",,}', JSON, 400, "malformed_json"),
    ("open", b"[" * 60_000, JSON, 400, "malformed_json"),
    ("open", b"7", JSON, 400, "not_an_object"),
    ("open", b"[]", JSON, 400, "not_an_object"),
    ("open", b'{"action": "buy", "action": "sell"}', JSON, 400, "duplicate_key"),
    ("open", b'{"quantity": 1, "price": "5"}', JSON, 400, "missing_action"),
    ("open", b'{"action": "purchase all"}', JSON, 400, "unknown_action"),
    ("bare", b'{"action": "buy"}', JSON, 400, "missing_symbol"),
    ("open", b'{"action": "buy", "symbol": "E$"}', JSON, 400, "bad_symbol"),
    ("open", b'{"action": "buy", "quantity": "NaN"}', JSON, 400, "bad_quantity"),
    ("open", b'{"action": "buy", "quantity": -1}', JSON, 400, "bad_quantity"),
    ("open", b'{"action": "buy", "order_type": "limit"}', JSON, 400, "bad_price"),
    ("open", b'{"action": "{{strategy.order.action}}"}', JSON, 400, "unexpanded_placeholder"),
    (
        "open",
        b'{"action": "add", "side": "long", "market_position": "flat"}',
        JSON,
        400,
        "conflicting_fields",
    ),
    ("open", b"the quick brown fox jumps over the lazy dog", TEXT, 400, "unrecognised_text"),
    ("open", _entries(11), JSON, 400, "too_many_signals"),
    ("secret", b'{"action": "buy", "passphrase": "guess"}', JSON, 401, "wrong_secret"),
    ("fenced", b'{"action": "buy"}', JSON, 403, "ip_not_allowed"),
]


@pytest.mark.parametrize(("name", "body", "kind", "status", "code"), _BAD)
def test_every_error_is_answered_as_documented_and_shown_to_the_owner(
    owner: Owner, name: str, body: bytes, kind: str, status: int, code: str
) -> None:
    answer = owner.send(name, body, kind)

    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert problem["detail"]
    row = owner.newest(name)
    assert (row["status"], row["answer"], row["reason"]) == ("rejected", status, code)
    assert row["request_id"] == problem["request_id"]
    assert row["detail"]
    assert owner.call("GET", f"/api/signals/{row['id']}/")["id"] == row["id"]
    assert "guess" not in json.dumps(row)


def test_what_is_no_webhook_of_anybody_is_not_told_apart(owner: Owner) -> None:
    unknown = owner.server.post("/webhook/strategy-" + "0" * 32 + "/", data=b"{}")
    nonsense = owner.server.post("/webhook/%00%ff/", data=b"{}")
    read = owner.server.get(owner.paths["open"])

    assert [unknown.status_code, nonsense.status_code] == [404, 404]
    assert unknown.json()["code"] == nonsense.json()["code"] == "unknown_webhook"
    assert (read.status_code, read.json()["code"]) == (405, "method_not_allowed")
    assert "POST" in read.headers["Allow"]


def test_over_the_rate_is_refused_counted_and_shown(owner: Owner) -> None:
    connections = [_connection(owner) for _ in range(4)]

    def burst(connection: http.client.HTTPConnection) -> Counter[int]:
        statuses: Counter[int] = Counter()
        for _ in range(500):
            status, _ = _post(connection, owner.paths["busy"], b'{"action": "close"}')
            statuses[status] += 1
        return statuses

    senders = [gevent.spawn(burst, connection) for connection in connections]
    statuses = sum((sender.get(timeout=60) for sender in senders), Counter[int]())

    for connection in connections:
        connection.close()
    assert set(statuses) <= {200, 202, 429}
    assert statuses[200] + statuses[202] >= 1000
    if statuses[429]:  # a slow machine stays below 300 a second
        rows = _refused_for_rate(owner, statuses[429])
        assert {row["answer"] for row in rows} == {429}


def _refused_for_rate(owner: Owner, number: int) -> list[dict[str, Any]]:
    """The rows that tell of refused requests, once they tell of all."""
    path = f"/api/signals/?strategy_id={owner.ids['busy']}&status=rejected&limit=100"
    deadline = time.monotonic() + 10
    while True:
        rows: list[dict[str, Any]] = owner.call("GET", path)["items"]
        if sum(row["repeats"] for row in rows) == number:
            assert {row["reason"] for row in rows} == {"rate_limited"}
            return rows
        assert time.monotonic() < deadline, rows
        gevent.sleep(0.1)


def _connection(owner: Owner, source: str = "127.0.0.1") -> http.client.HTTPConnection:
    where = urlsplit(owner.server.url)
    return http.client.HTTPConnection(
        where.hostname or "", where.port, timeout=20, source_address=(source, 0)
    )


def _post(connection: http.client.HTTPConnection, path: str, body: bytes) -> tuple[int, bytes]:
    connection.request("POST", path, body, {"Content-Type": JSON})
    answer = connection.getresponse()
    return answer.status, answer.read()


@pytest.mark.parametrize("is_chunked", [False, True], ids=["with its length", "in chunks"])
def test_ten_megabytes_are_refused_and_noted(owner: Owner, is_chunked: bool) -> None:
    piece = b"x" * 65_536
    body: Any = (piece for _ in range(160)) if is_chunked else piece * 160

    answer = owner.send("open", body, TEXT)

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert owner.newest("open")["reason"] == "body_too_large"


def test_slow_senders_hold_up_nobody(owner: Owner) -> None:
    where = urlsplit(owner.server.url)
    head = f"POST {owner.paths['open']} HTTP/1.1\r\nHost: x\r\n".encode()
    slow = []
    for number in range(20):
        peer = socket.create_connection((where.hostname, where.port or 0), timeout=20)
        # Half of them never finish their headers, half their body.
        peer.sendall(head if number % 2 else head + b"Content-Length: 5000\r\n\r\n")
        slow.append(peer)

    def dribble() -> None:
        while True:
            for peer in slow:
                peer.sendall(b"x")
            gevent.sleep(0.02)

    dribbler = gevent.spawn(dribble)
    answers = [owner.send_good() for _ in range(50)]

    assert not dribbler.ready(), "they were still sending"
    dribbler.kill()
    for peer in slow:
        peer.close()
    _tell("beside 20 slow senders", answers)
    assert {status for status, _ in answers} <= {200, 202}


def test_a_thousand_guesses_within_a_second_hold_up_nobody(owner: Owner) -> None:
    # From an address of their own: the limit of wrong ones is by address.
    connections = [_connection(owner, "127.0.0.2") for _ in range(8)]

    def guess(number: int) -> Counter[int]:
        statuses: Counter[int] = Counter()
        for turn in range(125):
            path = f"/webhook/strategy-{number:016d}{turn:016d}/"
            status, _ = _post(connections[number], path, b'{"action": "buy"}')
            statuses[status] += 1
        return statuses

    began = time.perf_counter()
    guessers = [gevent.spawn(guess, number) for number in range(8)]
    answers = []
    while not all(guesser.ready() for guesser in guessers):
        answers.append(owner.send_good())
    seconds = time.perf_counter() - began

    statuses = sum((guesser.get() for guesser in guessers), Counter[int]())
    for connection in connections:
        connection.close()
    _tell(f"beside 1,000 guesses in {seconds:.1f} s", answers)
    assert set(statuses) == {404, 429}
    assert statuses[404] < 100
    assert {status for status, _ in answers} <= {200, 202}


def _tell(what: str, answers: list[tuple[int, float]]) -> None:
    latencies = sorted(ms for _, ms in answers)
    middle, worst = latencies[len(latencies) // 2], latencies[-1]
    print(f"{what}: {len(answers)} good alerts, median {middle:.1f} ms, worst {worst:.1f} ms")  # noqa: T201
