"""Run the benchmarks and write their table to ``docs/benchmarks.md``.

python -m benchmarks            all
python -m benchmarks intake     one (nothing is written)
"""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from benchmarks import idle, intake, latency, live, matching, pipeline, restart, slow_broker
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
}


def main() -> None:
    wanted = sys.argv[1:] or list(BENCHMARKS)
    found: dict[str, Figures] = {}
    for name in wanted:
        print(f"== {name}")
        found[name] = BENCHMARKS[name]()
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
