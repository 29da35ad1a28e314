"""From the moment an alert is sent to its order at the paper broker, one alert at a time.

Floor: the same request answered by an empty view under the same server, there and back.
"""

from __future__ import annotations

import json
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import wire
from benchmarks.stage import app, load, percentile, process

ALERTS = 200
RUNS = 5


def main() -> dict[str, float]:
    with process(["-m", "benchmarks.floor_server"]) as (_, floor_port), app() as stage:
        path = stage.add_strategy([stage.add_account()])
        p50s, p95s, floors = [], [], []
        for run in range(RUNS):
            empty = load(floor_port, ["/x"], connections=1, requests_each=ALERTS, run="f")
            delays = _one_by_one(stage.port, path, stage.folder / "just_trades.db", run)
            p50s.append(percentile(delays, 50))
            p95s.append(percentile(delays, 95))
            floors.append(empty.percentile(50))
            print(
                f"  run {run}: p50 {p50s[-1]:.2f} p95 {p95s[-1]:.2f} ms; "
                f"floor p50 {floors[-1]:.2f} ms"
            )
    figures = {
        "p50": percentile(p50s, 50),
        "p95": percentile(p95s, 50),
        "floor": percentile(floors, 50),
    }
    print(
        f"alert to order p50 {figures['p50']:.2f} ms (reach 4), p95 {figures['p95']:.2f} ms "
        f"(reach 6), floor {figures['floor']:.2f} ms"
    )
    return figures


def _one_by_one(port: int, path: str, database: Path, run: int) -> list[float]:
    peer = wire.connect(port)
    reader = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    delays = []
    for number in range(ALERTS):
        action = "buy" if number % 2 == 0 else "close"
        body = json.dumps({"action": action, "symbol": "MNQ1!", "id": f"{run}-{number}"}).encode()
        sent = time.time()
        assert wire.post(peer, path, body) == "202"
        delays.append((_accepted(reader, run * ALERTS + number + 1) - sent) * 1000)
    return delays


def _accepted(reader: sqlite3.Connection, count: int) -> float:
    """When the paper broker accepted its ``count``-th order, seconds since the epoch."""
    until = time.time() + 5
    while time.time() < until:
        found = reader.execute(
            "SELECT active_at FROM paper_orders ORDER BY id LIMIT 1 OFFSET ?", (count - 1,)
        ).fetchone()
        if found is not None:
            return datetime.fromisoformat(found[0]).replace(tzinfo=UTC).timestamp()
        time.sleep(0.0005)
    raise AssertionError(f"order {count} did not arrive")


if __name__ == "__main__":
    main()
