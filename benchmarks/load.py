"""A load generator in a process of its own: keep-alive connections over raw sockets, loopback only.

    python -m benchmarks.load '{"port": 5000, "connections": 64, "requests": 100, ...}'

``paths``: one per connection (repeated as needed). ``rate``: requests a second over all
connections, or null for as fast as they go. Prints one JSON document with the latencies in ms.
"""

from gevent import monkey

monkey.patch_all()

import json
import socket
import sys
import time
from typing import Any

import gevent


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
    peer = socket.create_connection(("127.0.0.1", plan["port"]))
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    path = plan["paths"][number % len(plan["paths"])]
    bodies = plan["bodies"]
    gap = plan["connections"] / plan["rate"] if plan.get("rate") else 0.0
    for turn in range(plan["requests"]):
        sequence = turn * plan["connections"] + number
        if gap:
            due = began + turn * gap + number * gap / plan["connections"]
            gevent.sleep(max(0.0, due - time.perf_counter()))
        body = bodies[sequence % len(bodies)].replace("SEQ", f"{plan['run']}-{sequence}").encode()
        request = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        started = time.perf_counter()
        peer.sendall(request)
        status = _answer(peer)
        latencies.append((time.perf_counter() - started) * 1000)
        statuses[status] = statuses.get(status, 0) + 1
    peer.close()


def _answer(peer: socket.socket) -> str:
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = peer.recv(65536)
        if not chunk:
            raise ConnectionError("the server closed the connection")
        received += chunk
    head, _, rest = received.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(rest) < length:
        rest += peer.recv(65536)
    return head[9:12].decode()


if __name__ == "__main__":
    main()
