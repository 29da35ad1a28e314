"""A load generator in a process of its own: keep-alive connections over raw sockets, loopback only.

    python -m benchmarks.load '{"port": 5000, "connections": 64, "requests": 100, ...}'

``paths``: one per connection (repeated as needed). ``rate``: requests a second over all
connections, or null for as fast as they go. Prints one JSON document with the latencies in ms.
"""

from gevent import monkey

monkey.patch_all()

import json
import sys
import time
from typing import Any

import gevent

from benchmarks import wire


def main() -> None:
    plan: dict[str, Any] = json.loads(sys.argv[1])
    latencies: list[float] = []
    statuses: dict[str, int] = {}
    began = time.perf_counter()
    workers = [
        gevent.spawn(_connection, plan, number, began, latencies, statuses)
        for number in range(plan["connections"])
    ]
    gevent.joinall(workers, timeout=plan.get("timeout", 120), raise_error=True)
    seconds = time.perf_counter() - began
    sys.stdout.write(json.dumps({"seconds": seconds, "latencies": latencies, "statuses": statuses}))


def _connection(
    plan: dict[str, Any],
    number: int,
    began: float,
    latencies: list[float],
    statuses: dict[str, int],
) -> None:
    peer = wire.connect(plan["port"])
    path = plan["paths"][number % len(plan["paths"])]
    bodies = plan["bodies"]
    gap = plan["connections"] / plan["rate"] if plan.get("rate") else 0.0
    for turn in range(plan["requests"]):
        sequence = turn * plan["connections"] + number
        if gap:
            due = began + turn * gap + number * gap / plan["connections"]
            gevent.sleep(max(0.0, due - time.perf_counter()))
        body = bodies[sequence % len(bodies)].replace("SEQ", f"{plan['run']}-{sequence}").encode()
        started = time.perf_counter()
        status = wire.post(peer, path, body)
        latencies.append((time.perf_counter() - started) * 1000)
        statuses[status] = statuses.get(status, 0) + 1
    peer.close()


if __name__ == "__main__":
    main()
