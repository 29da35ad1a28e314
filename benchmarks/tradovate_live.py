"""From a fill at the simulated Tradovate to its event in a Socket.IO client: the broker's user
stream, the books, the commit, the push. Somebody trades by hand at another terminal; what is
measured begins with the fill's own time, which is whole milliseconds.

Floor: the same fills on a plain WebSocket from the simulator to this process.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import requests
import socketio
import websocket

from benchmarks.stage import percentile
from benchmarks.tradovate import CONTRACT, Desk, cpu_seconds, desk, sign_in_body, wait_for

FILLS = 150
SPACING_S = 0.1
_WITHIN_S = 20.0
_BEAT_S = 2.0
_AUTHORIZE, _SYNC = 1, 2


def main() -> dict[str, float]:
    with desk() as at:
        user = at.add_login(1)
        at.wait_until_live()
        [(account_id, number)] = at.numbers.items()
        browser = _Browser(at, account_id)
        with _plain(at, user, number) as plain:
            _trade(at, number, browser, plain, 10)
            browser.delays.clear()
            plain.delays.clear()
            used = cpu_seconds(at.stage.pid)
            _trade(at, number, browser, plain, FILLS)
            used = cpu_seconds(at.stage.pid) - used
        browser.client.disconnect()
    figures = {
        "p50": percentile(browser.delays, 50),
        "p95": percentile(browser.delays, 95),
        "p99": percentile(browser.delays, 99),
        "floor": percentile(plain.delays, 50),
        "floor95": percentile(plain.delays, 95),
        "cpu": used / FILLS * 1000,
    }
    figures["ratio"] = figures["p50"] / figures["floor"]
    print(
        f"  {FILLS} fills to events: p50 {figures['p50']:.1f} p95 {figures['p95']:.1f} "
        f"p99 {figures['p99']:.1f} ms (reach 50); floor, a plain WebSocket: p50 "
        f"{figures['floor']:.1f} p95 {figures['floor95']:.1f} ms, ratio {figures['ratio']:.1f}; "
        f"{figures['cpu']:.1f} ms of the app's CPU per fill"
    )
    return figures


def _trade(at: Desk, number: int, browser: _Listener, plain: _Listener, count: int) -> None:
    for place in range(count):
        action = "Buy" if place % 2 == 0 else "Sell"
        at.simulator.manual_trade(number, CONTRACT, action, 1)
        time.sleep(SPACING_S)
    for listener in (browser, plain):
        wait_for(
            lambda listener=listener: len(listener.delays) >= count,  # type: ignore[misc]
            _WITHIN_S,
            f"{len(listener.delays)} of {count} fills arrived",
        )
        assert len(listener.delays) == count


class _Listener:
    """``delays``: from each fill to its arrival here, in ms."""

    def __init__(self) -> None:
        self.delays: list[float] = []

    def _note(self, filled_at: str) -> None:
        moment = datetime.fromisoformat(filled_at).astimezone(UTC).timestamp()
        self.delays.append((time.time() - moment) * 1000)


class _Browser(_Listener):
    def __init__(self, at: Desk, account_id: int) -> None:
        super().__init__()
        self.client = socketio.Client()
        self.client.on("fill", lambda event: self._note(event["data"]["at"]))
        self.client.connect(
            f"http://127.0.0.1:{at.stage.port}",
            auth={"token": at.stage.key},
            transports=["websocket"],
        )
        # As a page does that shows the account.
        answer = self.client.call("subscribe", {"topic": f"account:{account_id}"})
        assert answer["ok"], answer


class _Plain(_Listener):
    """A user stream read by a thread that does nothing else."""

    def __init__(self, url: str, token: str, account: int) -> None:
        super().__init__()
        self._socket = websocket.create_connection(url, timeout=_WITHIN_S)
        self._beaten = time.monotonic()
        self._is_closed = False
        self.is_synchronised = threading.Event()
        self._socket.send(f"authorize\n{_AUTHORIZE}\n\n{token}")
        wanted = {"accounts": [account], "entityTypes": ["fill"], "splitResponses": False}
        self._socket.send(f"user/syncrequest\n{_SYNC}\n\n{json.dumps(wanted)}")
        threading.Thread(target=self._read, daemon=True).start()

    def close(self) -> None:
        self._is_closed = True
        self._socket.close()

    def _read(self) -> None:
        while not self._is_closed:
            try:
                frame = self._socket.recv()
            except (OSError, websocket.WebSocketException):
                return
            if frame[:1] == "a":
                for message in json.loads(frame[1:]):
                    self._take(message)
            if time.monotonic() - self._beaten > _BEAT_S:
                self._socket.send("[]")
                self._beaten = time.monotonic()

    def _take(self, message: Mapping[str, Any]) -> None:
        if message.get("i") == _SYNC:
            assert message["s"] == requests.codes.ok, message
            self.is_synchronised.set()
        data = message.get("d") if message.get("e") == "props" else None
        if data and data["entityType"] == "fill" and data["eventType"] == "Created":
            self._note(data["entity"]["timestamp"])


@contextmanager
def _plain(at: Desk, user: str, account: int) -> Iterator[_Plain]:
    """Of a second session, beside the app's."""
    url = f"{at.simulator.url}/auth/accesstokenrequest"
    signed_in = requests.post(url, json=sign_in_body(user), timeout=5).json()
    plain = _Plain(at.simulator.ws_url, signed_in["accessToken"], account)
    try:
        assert plain.is_synchronised.wait(_WITHIN_S)
        yield plain
    finally:
        plain.close()


if __name__ == "__main__":
    main()
