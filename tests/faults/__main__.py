"""``python -m tests.faults --kills N``: kill the process N times, then count what is lost,
doubled or wrong. From 100 kills on, the result is put into ``docs/reliability.md``."""

from tests import gevent_first  # noqa: I001  (the patch must precede ssl and requests)

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from tests import services
from tests.faults.proof import Counts, count, figures, misplaced
from tests.faults.world import World, private_postgres
from tests.servers import ROOT

REPORT = ROOT / "docs" / "reliability.md"
_INTRODUCTION = """# What a kill costs

`make faults N=500` starts the app, sends it alerts as TradingView does (again, byte for byte, until
they are answered), kills it with SIGKILL at a chosen step or at any moment, and starts it again on
the same data. Time and again it lets everything settle, closes all positions, and compares what
the database says with what was answered, with the books of the paper exchange, and with what a
live client that resumed after each restart was sent. Everything in the first table should be 0.

An execution *expired* where its entry could not be sent within its deadline (60 seconds) for all
the kills; that is what the deadline is for. *order_lost* is an entry that two kills kept from the
broker: it is sent again once. The names under *killed at* are steps in the code.
"""
_LONG = 100
ROUND = 15
"""Kills between two times at which everything is left to settle, closed and counted."""
__all__ = ["gevent_first"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=3600.0, help="begin no kill after these")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--keep", type=Path, help="leave the data in this folder")
    parser.add_argument("--postgres", action="store_true", help="on PostgreSQL")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="just-trades-faults-") as temporary:
        folder = options.keep or Path(temporary)
        if not options.postgres:
            return _report(options, World(folder, seed=options.seed))
        server = services.running_postgres()
        if server is None:
            sys.stderr.write(f"PostgreSQL: {services.missing('POSTGRES')}\n")
            return 2
        with private_postgres(server, f"jt_faults_{uuid4().hex[:8]}") as url:
            return _report(options, World(folder, seed=options.seed, database_url=url))


def _report(options: argparse.Namespace, world: World) -> int:
    began = time.monotonic()
    try:
        counts, happened = run(world, options.kills, began + options.seconds)
    finally:
        world.close()
    database = "PostgreSQL" if options.postgres else "SQLite"
    text = _table(counts, happened, world.kills)
    seconds = time.monotonic() - began
    sys.stdout.write(f"{text}\n{database}, seed {options.seed}, {seconds:.0f} s\n")
    if options.kills >= _LONG:
        _write(text, database, seconds)
    return 1 if any(counts.values()) else 0


def run(world: World, kills: int, deadline: float) -> tuple[Counts, dict[str, int]]:
    """Kill so often, or until the deadline; everything that was counted, summed up."""
    world.set_up()
    world.end()
    wrong = 0
    counts: Counts = {}
    while sum(world.kills.values()) < kills and time.monotonic() < deadline:
        left = kills - sum(world.kills.values())
        for _ in range(min(ROUND, left)):
            if time.monotonic() < deadline:
                world.cycle()
        world.settle()
        wrong += misplaced(world)
        world.finish()
        counts = count(world)
        found = {name: number for name, number in counts.items() if number}
        sys.stdout.write(f"{sum(world.kills.values())} kills: {found or 'nothing wrong'}\n")
        sys.stdout.flush()
    return {**counts, "positions other than the last alert wants": wrong}, figures(world)


def _table(counts: Counts, happened: dict[str, int], kills: Counter[str]) -> str:
    lines = ["| what could go wrong | count |", "|---|---:|"]
    lines += [f"| {name} | {number} |" for name, number in counts.items()]
    lines += ["", "| what happened | count |", "|---|---:|"]
    lines += [f"| {name} | {number} |" for name, number in happened.items()]
    lines += ["", "| killed at | times |", "|---|---:|"]
    lines += [f"| {name} | {number} |" for name, number in sorted(kills.items())]
    return "\n".join(lines) + "\n"


def _write(text: str, database: str, seconds: float) -> None:
    """Put the result into the report, in place of the last one on this database."""
    known = REPORT.read_text() if REPORT.exists() else ""
    sections = dict(part.split("\n", 1) for part in known.split("\n## ")[1:])
    day = datetime.now(UTC).date().isoformat()
    when = f"{day}, commit {_commit()}, {seconds:.0f} s on {os.cpu_count()} cores."
    sections[database] = f"\n{when}\n\n{text}"
    parts = [f"## {name}\n{sections[name].rstrip()}\n" for name in sorted(sections, reverse=True)]
    REPORT.write_text(_INTRODUCTION + "\n" + "\n".join(parts))


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
