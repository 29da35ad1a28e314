"""From the commit of an event to the clients that get it, at a steady rate.

Everything runs in this process (server, clients, load) on a database of its own, so figures
include the clients' own work.
"""

from gevent import monkey

monkey.patch_all()

import argparse
import tempfile
import time
from functools import partial
from typing import Any

import gevent
import socketio

from app import create_app
from app.extensions import lifecycle, writer
from app.migrate import prepare_schema
from app.services import sessions
from app.transactions import Tx
from config import load
from run import Handler, Server
from tests import factories


def record(tx: Tx, user_id: int) -> None:
    tx.record(user_id, "order:update", {"id": 1, "status": "working", "at": time.perf_counter()})


def measure(clients: int, rate: float, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = load({"DATA_DIR": folder, "BCRYPT_ROUNDS": "4", "LOG_LEVEL": "warning"})
        app = create_app(config)
        prepare_schema(app, config)
        with app.app_context():
            lifecycle.start()
        server = Server(("127.0.0.1", 0), app, log=None, handler_class=Handler)
        server.start()
        latencies = run(app, f"http://127.0.0.1:{server.server_port}", clients, rate, seconds)
        with app.app_context():
            lifecycle.stop()
        server.stop(timeout=1)
    expected = clients * round(rate * seconds)
    latencies.sort()
    p50, p99 = (latencies[int(len(latencies) * share)] for share in (0.5, 0.99))
    print(
        f"{clients} clients of one user, {rate:g} events/s: {len(latencies)} of {expected} "
        f"deliveries; commit begun to receipt p50 {p50 * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms, "
        f"max {latencies[-1] * 1e3:.2f} ms"
    )


def run(app: Any, url: str, clients: int, rate: float, seconds: float) -> list[float]:
    user = factories.user()
    with app.test_request_context():
        token = sessions.start(user.id)
    cookie = app.session_interface.get_signing_serializer(app).dumps({"token": token})
    latencies: list[float] = []
    opened = []
    for _ in range(clients):
        client = socketio.Client(reconnection=False, handle_sigint=False)
        client.on("order:update", partial(receive, latencies))
        client.connect(url, headers={"Cookie": f"jt_session={cookie}"}, transports=["websocket"])
        opened.append(client)
    begun = time.perf_counter()
    for number in range(round(rate * seconds)):
        gevent.sleep(max(0.0, begun + number / rate - time.perf_counter()))
        gevent.spawn(writer.run, partial(record, user_id=user.id))
    gevent.sleep(1)
    for client in opened:
        client.disconnect()
    return latencies


def receive(latencies: list[float], event: dict[str, Any]) -> None:
    latencies.append(time.perf_counter() - event["data"]["at"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    for clients, rate in ((1, 20.0), (5, 20.0), (5, 200.0)):
        measure(clients, rate, options.seconds)


if __name__ == "__main__":
    main()
