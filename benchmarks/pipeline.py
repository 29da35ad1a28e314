"""200 distinct alerts a second for 30 s, alternating sides, one trader, so one lane.

Floor: the same load answered by an empty view. All must be stored and executed, and the work done
within two seconds of the last alert.
"""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path

from benchmarks.stage import app, load, process

RATE = 200
SECONDS = 30
CONNECTIONS = 4
BODIES = [
    json.dumps({"action": action, "symbol": "MNQ1!", "id": "SEQ"}) for action in ("buy", "sell")
]


def main() -> dict[str, float]:
    with process(["-m", "benchmarks.floor_server"]) as (_, floor_port), app() as stage:
        path = stage.add_strategy([stage.add_account()])
        database = stage.folder / "just_trades.db"
        load(stage.port, [path], connections=1, requests_each=50, run="w", bodies=BODIES)
        _wait(database, 50)
        each = RATE * SECONDS // CONNECTIONS
        empty = load(
            floor_port, ["/x"], connections=CONNECTIONS, requests_each=RATE, run="f", rate=RATE
        )
        taken = load(
            stage.port,
            [path],
            connections=CONNECTIONS,
            requests_each=each,
            run="p",
            bodies=BODIES,
            rate=RATE,
        )
        ended = time.time()
        done = _wait(database, 50 + RATE * SECONDS)
        carried_out = "SELECT count(*) FROM executions WHERE status IN ('done', 'skipped')"
        executed = _count(database, carried_out) - 50
        swapped = _count(database, "SELECT count(*) FROM executions WHERE status = 'skipped'")
        figures = {
            "accepted": float(taken.statuses.get("202", 0)),
            "executed": float(executed),
            "p99": taken.percentile(99),
            "floor": empty.percentile(99),
            "after": max(0.0, done - ended),
            "swapped": float(swapped),
        }
    print(
        f"pipeline: {figures['accepted']:.0f} stored and {figures['executed']:.0f} executed of "
        f"{RATE * SECONDS} (reach all; {figures['swapped']:.0f} had nothing to do, since two "
        f"alerts changed places on the way), answer p99 {figures['p99']:.1f} ms (reach 20; floor "
        f"{figures['floor']:.1f}), done {figures['after']:.1f} s after the last (reach 2)"
    )
    return figures


def _wait(database: Path, count: int) -> float:
    """When that many executions had ended, seconds since the epoch."""
    until = time.time() + 120
    while time.time() < until:
        sql = "SELECT count(*) FROM executions WHERE status NOT IN ('pending', 'running')"
        if _count(database, sql) >= count:
            return time.time()
        time.sleep(0.05)
    return time.time()


def _count(database: Path, sql: str) -> int:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return int(connection.execute(sql).fetchone()[0])
    finally:
        connection.close()


if __name__ == "__main__":
    main()
