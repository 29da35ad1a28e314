"""What the process costs when nothing happens, and how soon it serves."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import requests

from benchmarks.stage import median, process

RUNS = 5
WATCH_S = 20


def main() -> dict[str, float]:
    starts, floors = [], []
    with tempfile.TemporaryDirectory() as folder:
        settings = {"DATA_DIR": folder, "PORT": "0", "LOG_LEVEL": "warning"}
        with process(["run.py"], **settings):
            pass  # set up once
        for _ in range(RUNS):
            began = time.perf_counter()
            with process(["run.py"], **settings) as (_, port):
                assert requests.get(f"http://127.0.0.1:{port}/healthz", timeout=5).ok
                starts.append(time.perf_counter() - began)
            began = time.perf_counter()
            with process(["-m", "benchmarks.floor_server"]):
                floors.append(time.perf_counter() - began)
        with process(["run.py"], **settings) as (child, port):
            requests.get(f"http://127.0.0.1:{port}/login", timeout=5)
            time.sleep(2)
            cpu = _cpu_seconds(child.pid)
            time.sleep(WATCH_S)
            share = (_cpu_seconds(child.pid) - cpu) / WATCH_S * 100
            memory = _resident_mib(child.pid)
        with process(["-m", "benchmarks.floor_server"]) as (child, _):
            floor_memory = _resident_mib(child.pid)
    figures = {
        "memory": memory,
        "floor_memory": floor_memory,
        "cpu": share,
        "start": median(starts),
        "floor_start": median(floors),
    }
    print(
        f"idle: {memory:.0f} MiB (reach 150; empty Flask {floor_memory:.0f}), {share:.2f} % of a "
        f"core (reach 1), first 200 after {figures['start']:.2f} s (reach 2; empty Flask "
        f"{figures['floor_start']:.2f})"
    )
    return figures


def _resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


def _cpu_seconds(pid: int) -> float:
    parts = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
