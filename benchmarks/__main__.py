"""Run the benchmarks and write their table to ``docs/benchmarks.md``.

python -m benchmarks                                all
python -m benchmarks intake                         one (nothing is written)
python -m benchmarks tradovate_recorder --quick     the short form of one that has such
"""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from benchmarks import (
    idle,
    intake,
    latency,
    live,
    matching,
    pipeline,
    restart,
    slow_broker,
    tradovate_live,
    tradovate_orders,
    tradovate_recorder,
)
from benchmarks.stage import ROOT

Figures = dict[str, float]

BENCHMARKS: dict[str, Callable[[], Figures]] = {
    "intake": intake.main,
    "slow_broker": slow_broker.main,
    "latency": latency.main,
    "pipeline": pipeline.main,
    "live": live.main,
    "matching": matching.main,
    "idle": idle.main,
    "restart": restart.main,
    "tradovate_orders": tradovate_orders.main,
    "tradovate_live": tradovate_live.main,
    "tradovate_recorder": tradovate_recorder.main,
}
QUICK: dict[str, Callable[[], Figures]] = {
    "tradovate_orders": partial(tradovate_orders.main, quick=True),
    "tradovate_recorder": partial(tradovate_recorder.main, quick=True),
}

Say = Callable[[Figures], str]
_WHAT: dict[str, tuple[str, str, Say, Say]] = {
    "intake": (
        "durable alert intake, 64 connections, SQLite with `synchronous=FULL`",
        "≥ 0.50 of an empty Flask view, p99 < 50 ms",
        lambda f: f"{f['intake']:,.0f}/s, p99 {f['p99']:.1f} ms, ratio **{f['ratio']:.2f}**",
        lambda f: f"{f['floor']:,.0f}/s: empty Flask view, same server",
    ),
    "slow_broker": (
        "intake at 50 alerts/s while every broker call takes 2 s",
        "p99 < 25 ms, none refused",
        lambda f: f"p99 **{f['p99']:.1f} ms**, none refused",
        lambda f: f"p99 {f['floor']:.1f} ms: empty view at that rate",
    ),
    "latency": (
        "alert sent → order at the paper broker, one at a time",
        "p50 ≤ 4 ms, p95 ≤ 6 ms",
        lambda f: f"p50 **{f['p50']:.1f} ms**, p95 **{f['p95']:.1f} ms**",
        lambda f: f"p50 {f['floor']:.2f} ms: empty view, there and back",
    ),
    "pipeline": (
        "200 distinct alerts/s for 30 s, alternating sides, one lane",
        "6,000 stored and executed, answer p99 < 20 ms, done < 2 s after the last",
        lambda f: (
            f"**{f['accepted']:,.0f}** stored, **{f['executed']:,.0f}** carried out "
            f"({f['swapped']:,.0f} of them skipped: two alerts changed places), "
            f"p99 **{f['p99']:.1f} ms**, done {f['after']:.1f} s after the last"
        ),
        lambda f: f"p99 {f['floor']:.1f} ms: empty view at that rate",
    ),
    "live": (
        "alert sent → paper fill committed → event in a Socket.IO client, 20 alerts/s × 10 traders",
        "p50 < 30 ms, p99 < 100 ms",
        lambda f: f"p50 **{f['p50']:.1f} ms**, p99 **{f['p99']:.1f} ms**",
        lambda f: f"{f['floor']:.2f} ms: one ping there and back",
    ),
    "matching": (
        "paper engine, 100,000 resting orders over 100 symbols",
        "≥ 200,000 quotes/s that fill none",
        lambda f: f"**{f['none']:,.0f}** quotes/s; one in 200 filling: {f['few']:,.0f} quotes/s",
        lambda f: f"{f['floor']:,.0f}/s: two decimals compared",
    ),
    "idle": (
        "idle process",
        "< 150 MiB, < 1 % of a core, first 200 in < 2 s",
        lambda f: f"**{f['memory']:.0f} MiB**, **{f['cpu']:.2f} %**, **{f['start']:.2f} s**",
        lambda f: f"{f['floor_memory']:.0f} MiB, {f['floor_start']:.2f} s: empty Flask",
    ),
    "restart": (
        "restart with 10,000 unfinished executions",
        "first alert accepted < 5 s, each then runs or expires",
        lambda f: (
            f"{f['unfinished']:,.0f} unfinished, first alert after **{f['accepted']:.2f} s**, "
            f"all ended after {f['ended']:.0f} s"
        ),
        lambda f: "–",
    ),
    "tradovate_orders": (
        "one alert, 20 traders on 20 accounts over 4 log-ins at a simulated Tradovate: alert sent "
        "→ first bytes of an order there",
        "first p50 ≤ 40 ms, 20th p50 ≤ 150 ms",
        lambda f: (
            f"first p50 **{f['first']:.1f} ms**, p95 {f['first95']:.1f} ms; 20th p50 "
            f"**{f['last']:.1f} ms**, p95 {f['last95']:.1f} ms, ratio "
            f"**{f['last'] / f['floor_last']:.1f}**; after a pause of 25 s "
            f"{f['cold_first']:.1f} and {f['cold_last']:.1f} ms; {f['cpu']:.1f} ms of CPU and "
            f"{f['requests']:.2f} requests per order"
        ),
        lambda f: (
            f"p50 {f['floor_first']:.1f} and {f['floor_last']:.1f} ms: the same 20 requests "
            "straight from one process"
        ),
    ),
    "tradovate_live": (
        "fill at a simulated Tradovate → event in a Socket.IO client, one at a time",
        "p50 < 50 ms",
        lambda f: (
            f"p50 **{f['p50']:.1f} ms**, p95 **{f['p95']:.1f} ms**, ratio **{f['ratio']:.1f}**; "
            f"{f['cpu']:.1f} ms of CPU per fill"
        ),
        lambda f: f"p50 {f['floor']:.1f} ms, p95 {f['floor95']:.1f} ms: a plain WebSocket to it",
    ),
    "tradovate_recorder": (
        "recorders of 200 accounts on 50 log-ins, polled every 60 s, while one log-in hangs and "
        "one is answered 500",
        "the 48 others polled in every interval, within their budgets, none delayed",
        lambda f: (
            f"**{f['polled']:.0f}** of 48 polled, p95 of the delay **{f['late'] * 1000:.0f} ms**, "
            f"ratio of the intervals **{f['ratio']:.3f}**; at most {f['hourly']:,.0f} of 5,000 "
            f"requests an hour, {f['cpu']:.1f} % of a core"
        ),
        lambda f: f"p95 of the delay {f['floor_late'] * 1000:.0f} ms: all 50 answer",
    ),
}


def main() -> None:
    asked = [argument for argument in sys.argv[1:] if argument != "--quick"]
    chosen = BENCHMARKS | (QUICK if "--quick" in sys.argv else {})
    found: dict[str, Figures] = {}
    for name in asked or list(chosen):
        print(f"== {name}")
        found[name] = chosen[name]()
    if not sys.argv[1:]:
        (ROOT / "docs" / "benchmarks.md").write_text(_page(found))
        print("written to docs/benchmarks.md")


def _page(found: dict[str, Figures]) -> str:
    rows = [
        f"| {what} | {reach} | {said(found[name])} | {floor(found[name])} |"
        for name, (what, reach, said, floor) in _WHAT.items()
    ]
    return "\n".join(
        [
            "# Figures",
            "",
            "Written by `make bench`. Each figure stands beside a floor measured in the same run;",
            "medians of alternating runs. The load generator shares the machine with the server.",
            "",
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {_commit()}, {_machine()}",
            "",
            "| what | reach | measured | floor |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def _machine() -> str:
    with open("/proc/cpuinfo") as file:
        models = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    name = models[0] if models else platform.machine()
    return f"{len(models)} × {name}, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
