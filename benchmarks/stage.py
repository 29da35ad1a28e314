"""What the benchmarks share: a running app with people and traders in it, load, and a table."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parent.parent
ALERT = json.dumps(
    {
        "action": "buy",
        "ticker": "MNQ1!",
        "exchange": "CME_MINI",
        "contracts": "1",
        "price": "21442.00",
        "market_position": "long",
        "market_position_size": "1",
        "prev_market_position": "flat",
        "prev_market_position_size": "0",
        "order_id": "SEQ",
        "interval": "5",
        "comment": "benchmark",
    }
)


@contextmanager
def process(arguments: Sequence[str], **environment: str) -> Iterator[tuple[Any, int]]:
    """Start a server of ours, yield it with its port, end it."""
    child = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=None if os.environ.get("BENCH_STDERR") else subprocess.DEVNULL,
        text=True,
    )
    try:
        assert child.stdout is not None
        port = 0
        for line in child.stdout:
            found = re.search(r"http://[^:]+:(\d+)/", line)
            if found:
                port = int(found.group(1))
                break
        assert port, "the server did not start"
        yield child, port
    finally:
        child.terminate()
        child.wait(timeout=20)


@dataclass
class Stage:
    """A running app with one user. ``paths`` are the webhook paths of its strategies."""

    port: int
    pid: int
    session: requests.Session
    folder: Path
    key: str = ""
    account_ids: list[int] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.session.request(
            method, f"http://127.0.0.1:{self.port}{path}", json=body, timeout=30
        )
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:300]}"
        return answer.json() if answer.content else None

    def of_another(self, name: str) -> Stage:
        """The same app for another user."""
        return _arrived(Stage(self.port, self.pid, requests.Session(), self.folder), name)

    def add_account(self) -> int:
        name = f"Paper {len(self.account_ids) + 1}"
        made = self.call(
            "POST",
            "/api/accounts/",
            {
                "name": name,
                "broker": "paper",
                "environment": "demo",
                "currency": "USD",
                "starting_balance": "1000000",
            },
        )
        self.account_ids.append(made["id"])
        return int(made["id"])

    def add_strategy(self, account_ids: Sequence[int], **settings: Any) -> str:
        """A strategy with one trader per account; returns its webhook's path."""
        made = self.call(
            "POST",
            "/api/recorders/",
            {"name": f"S{len(self.paths) + 1}", "symbol": "MNQ1!", "settings": settings},
        )
        for account_id in account_ids:
            self.call(
                "POST",
                "/api/traders/",
                {"strategy_id": made["id"], "account_id": account_id, "enabled": True},
            )
        path: str = "/" + made["webhook_url"].split("/", 3)[3]
        self.paths.append(path)
        return path


@contextmanager
def app(**environment: str) -> Iterator[Stage]:
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "DATA_DIR": folder,
            "PORT": "0",
            "LOG_LEVEL": "warning",
            "BCRYPT_ROUNDS": "4",
            **environment,
        }
        with process(["run.py"], **settings) as (child, port):
            yield _arrived(Stage(port, child.pid, requests.Session(), Path(folder)), "bench")


def _arrived(stage: Stage, name: str) -> Stage:
    """Register somebody and let the stage be theirs."""
    stage.session.trust_env = False
    person = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    made = stage.call("POST", "/api/auth/register/", person)
    stage.session.headers["X-CSRFToken"] = made["csrf_token"]
    wanted = {"name": name, "scopes": ["read", "trade"]}
    stage.key = stage.call("POST", "/api/auth/api-keys/", wanted)["key"]
    stage.session.headers["Authorization"] = f"Bearer {stage.key}"
    return stage


PASSWORD = "a long benchmark pass phrase 7"


@dataclass
class Load:
    """What one run of the load generator measured; latencies in ms."""

    seconds: float
    latencies: list[float]
    statuses: dict[str, int]

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, percent: float) -> float:
        return percentile(self.latencies, percent)


def load(
    port: int,
    paths: Sequence[str],
    *,
    connections: int,
    requests_each: int,
    run: str,
    bodies: Sequence[str] = (ALERT,),
    rate: float | None = None,
) -> Load:
    plan = {
        "port": port,
        "paths": list(paths),
        "connections": connections,
        "requests": requests_each,
        "bodies": list(bodies),
        "rate": rate,
        "run": run,
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load", json.dumps(plan)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    found = json.loads(done.stdout)
    return Load(found["seconds"], found["latencies"], found["statuses"])


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def median(values: Sequence[float]) -> float:
    return statistics.median(values)
