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
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests import services
from tests.faults import proof
from tests.faults.proof import Counts
from tests.faults.tradovate import proof as tradovate_proof
from tests.faults.tradovate.world import TradovateWorld
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

`make faults N=500 BROKER=tradovate` does the same while it trades through three log-ins at a
simulated Tradovate, in bad weather: answers are lost, late or garbled, events are lost, doubled and
out of order, sockets break, sessions end, accounts are not to be seen for a while. The processes
are also killed while the broker holds its answer, while it synchronises, while it signs in. What is
compared is what both sides have: each order, fill, fee and position. In the end the broker takes
entries twice, which nobody can prevent: everything of that has to be in a book or be shown.
"""
_DATABASES = ("SQLite", "PostgreSQL")
_LONG = 100
ROUND = 15
"""Kills between two times at which everything is left to settle, closed and counted."""
__all__ = ["gevent_first"]


@dataclass(frozen=True)
class Suite:
    """A kind of world and what is asked of it; ``name`` is put before the database's."""

    name: str
    world: type[Any]
    rest: Callable[[Any], Counts]
    count: Callable[[Any], Counts]
    figures: Callable[[Any], dict[str, int]]


PAPER = Suite("", World, proof.rest, proof.count, proof.figures)
TRADOVATE = Suite(
    "Tradovate on ",
    TradovateWorld,
    tradovate_proof.rest,
    tradovate_proof.count,
    tradovate_proof.figures,
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=3600.0, help="begin no kill after these")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--keep", type=Path, help="leave the data in this folder")
    parser.add_argument("--postgres", action="store_true", help="on PostgreSQL")
    parser.add_argument("--tradovate", action="store_true", help="at a simulated Tradovate")
    options = parser.parse_args()
    suite = TRADOVATE if options.tradovate else PAPER
    with tempfile.TemporaryDirectory(prefix="just-trades-faults-") as temporary:
        folder = options.keep or Path(temporary)
        if not options.postgres:
            return _report(options, suite, suite.world(folder, seed=options.seed))
        server = services.running_postgres()
        if server is None:
            sys.stderr.write(f"PostgreSQL: {services.missing('POSTGRES')}\n")
            return 2
        with private_postgres(server, f"jt_faults_{uuid4().hex[:8]}") as url:
            world = suite.world(folder, seed=options.seed, database_url=url)
            return _report(options, suite, world)


def _report(options: argparse.Namespace, suite: Suite, world: Any) -> int:
    began = time.monotonic()
    try:
        counts, happened = run(suite, world, options.kills, began + options.seconds)
    finally:
        world.close()
    name = suite.name + _DATABASES[options.postgres]
    text = _table(counts, happened, world.kills)
    seconds = time.monotonic() - began
    sys.stdout.write(f"{text}\n{name}, seed {options.seed}, {seconds:.0f} s\n")
    if options.kills >= _LONG:
        _write(text, name, seconds)
    return 1 if any(counts.values()) else 0


def run(suite: Suite, world: Any, kills: int, deadline: float) -> tuple[Counts, dict[str, int]]:
    """Kill so often, or until the deadline; everything that was counted, summed up."""
    world.set_up()
    world.end()
    at_rest: Counter[str] = Counter()
    counts: Counts = {}
    while sum(world.kills.values()) < kills and time.monotonic() < deadline:
        left = kills - sum(world.kills.values())
        for _ in range(min(ROUND, left)):
            if time.monotonic() < deadline:
                world.cycle()
        at_rest.update(suite.rest(world))
        counts = suite.count(world)
        found = {name: number for name, number in {**counts, **at_rest}.items() if number}
        sys.stdout.write(f"{sum(world.kills.values())} kills: {found or 'nothing wrong'}\n")
        sys.stdout.flush()
    return {**counts, **at_rest}, suite.figures(world)


def _table(counts: Counts, happened: dict[str, int], kills: Counter[str]) -> str:
    lines = ["| what could go wrong | count |", "|---|---:|"]
    lines += [f"| {name} | {number} |" for name, number in counts.items()]
    lines += ["", "| what happened | count |", "|---|---:|"]
    lines += [f"| {name} | {number} |" for name, number in happened.items()]
    lines += ["", "| killed at | times |", "|---|---:|"]
    lines += [f"| {name} | {number} |" for name, number in sorted(kills.items())]
    return "\n".join(lines) + "\n"


def _write(text: str, section: str, seconds: float) -> None:
    """Put the result into the report, in place of the last one of this name."""
    known = REPORT.read_text() if REPORT.exists() else ""
    sections = dict(part.split("\n", 1) for part in known.split("\n## ")[1:])
    day = datetime.now(UTC).date().isoformat()
    when = f"{day}, commit {_commit()}, {seconds:.0f} s on {os.cpu_count()} cores."
    sections[section] = f"\n{when}\n\n{text}"
    order = [suite.name + database for suite in (PAPER, TRADOVATE) for database in _DATABASES]
    parts = [f"## {name}\n{sections[name].rstrip()}\n" for name in order if name in sections]
    REPORT.write_text(_INTRODUCTION + "\n" + "\n".join(parts))


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
