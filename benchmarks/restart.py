"""A start with 10,000 unfinished executions: how soon the first alert is accepted, and that each
execution then runs or expires by its deadline."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import tempfile
import time
from pathlib import Path

import requests

from benchmarks import wire
from benchmarks.stage import ALERT, PASSWORD, Stage, load, process

ALERTS = 1_000
TRADERS = 10


def main() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = {"DATA_DIR": name, "PORT": "0", "LOG_LEVEL": "error", "BCRYPT_ROUNDS": "4"}
        with process(["run.py"], **settings, PAPER_LATENCY_MS="60000") as (child, port):
            path = _fill(Stage(port, child.pid, requests.Session(), folder))
            os.kill(child.pid, signal.SIGKILL)
        unfinished = _count(folder, "status IN ('pending', 'running')")
        began = time.perf_counter()
        with process(["run.py"], **settings) as (child, port):
            body = ALERT.replace("SEQ", "after").encode()
            assert wire.post(wire.connect(port), path, body) == "202"
            accepted = time.perf_counter() - began
            _settle(folder)
            ended = time.perf_counter() - began
            left = _count(folder, "status IN ('pending', 'running')")
    print(
        f"restart: {unfinished} unfinished executions, first alert accepted after {accepted:.2f} s "
        f"(reach 5), all ended after {ended:.0f} s, left {left}"
    )
    return {"unfinished": unfinished, "accepted": accepted, "ended": ended, "left": left}


def _fill(stage: Stage) -> str:
    person = {"username": "bench", "email": "bench@example.com", "password": PASSWORD}
    made = stage.call("POST", "/api/auth/register/", person)
    stage.session.headers["X-CSRFToken"] = made["csrf_token"]
    path = stage.add_strategy([stage.add_account() for _ in range(TRADERS)])
    taken = load(stage.port, [path], connections=8, requests_each=ALERTS // 8, run="x", rate=250)
    assert set(taken.statuses) == {"202"}, json.dumps(taken.statuses)
    return path


def _settle(folder: Path) -> None:
    until = time.time() + 120
    while time.time() < until and _count(folder, "status IN ('pending', 'running')"):
        time.sleep(0.2)


def _count(folder: Path, where: str) -> int:
    connection = sqlite3.connect(f"file:{folder / 'just_trades.db'}?mode=ro", uri=True)
    try:
        sql = f"SELECT count(*) FROM executions WHERE {where}"  # noqa: S608
        return int(connection.execute(sql).fetchone()[0])
    finally:
        connection.close()


if __name__ == "__main__":
    main()
