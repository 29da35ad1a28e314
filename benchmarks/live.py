"""From the moment an alert is sent to the fill's event in a Socket.IO client, 20 alerts a second
with 10 traders each: alert stored, decided, sent, filled on paper, committed, pushed.

The client is in this process, as far from the server as a browser on the same machine. Floor: one
``ping`` there and back on the same socket.
"""

from __future__ import annotations

import json
import threading
import time

import socketio

from benchmarks import wire
from benchmarks.stage import app, percentile

RATE = 20
ALERTS = 100
TRADERS = 10
RUNS = 3


def main() -> dict[str, float]:
    delays: list[list[float]] = []
    pings: list[float] = []
    with app() as stage:
        path = stage.add_strategy([stage.add_account() for _ in range(TRADERS)])
        listener = _Listener(stage.port, stage.key)
        for run in range(RUNS):
            pings += listener.pings(50)
            delays.append(_one_run(stage.port, path, listener, run))
            print(
                f"  run {run}: p50 {percentile(delays[-1], 50):.1f} "
                f"p99 {percentile(delays[-1], 99):.1f} ms"
            )
        listener.client.disconnect()
    p50s = sorted(percentile(d, 50) for d in delays)
    p99s = sorted(percentile(d, 99) for d in delays)
    figures = {
        "p50": p50s[len(p50s) // 2],
        "p99": p99s[len(p99s) // 2],
        "floor": percentile(pings, 50),
    }
    print(
        f"alert to fill event p50 {figures['p50']:.1f} ms (reach 30), p99 {figures['p99']:.1f} ms "
        f"(reach 100), ping {figures['floor']:.2f} ms"
    )
    return figures


class _Listener:
    def __init__(self, port: int, key: str) -> None:
        self.fills: list[float] = []
        self.arrived = threading.Condition()
        self.client = socketio.Client()
        self.client.on("fill", self._fill)
        self.client.connect(
            f"http://127.0.0.1:{port}", auth={"token": key}, transports=["websocket"]
        )

    def pings(self, count: int) -> list[float]:
        found = []
        for _ in range(count):
            began = time.perf_counter()
            self.client.call("ping")
            found.append((time.perf_counter() - began) * 1000)
        return found

    def _fill(self, _event: object) -> None:
        with self.arrived:
            self.fills.append(time.perf_counter())
            self.arrived.notify()


def _one_run(port: int, path: str, listener: _Listener, run: int) -> list[float]:
    """Each alert makes ten fills; they come before those of the next alert of the same lanes, so
    the n-th group of ten belongs to the n-th alert."""
    peer = wire.connect(port)
    listener.fills.clear()
    sent: list[float] = []
    began = time.perf_counter()
    for number in range(ALERTS):
        time.sleep(max(0.0, began + number / RATE - time.perf_counter()))
        action = "buy" if number % 2 == 0 else "close"
        body = json.dumps({"action": action, "symbol": "MNQ1!", "id": f"{run}-{number}"})
        sent.append(time.perf_counter())
        assert wire.post(peer, path, body.encode()) == "202"
    expected = ALERTS * TRADERS
    with listener.arrived:
        complete = listener.arrived.wait_for(lambda: len(listener.fills) >= expected, timeout=30)
    assert complete, f"{len(listener.fills)} of {expected} fills arrived"
    return [(at - sent[n // TRADERS]) * 1000 for n, at in enumerate(listener.fills)]


if __name__ == "__main__":
    main()
