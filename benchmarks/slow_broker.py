"""Intake at 50 alerts a second while every broker call takes two seconds."""

from __future__ import annotations

from benchmarks.stage import app, load, median, process

RATE = 50
SECONDS = 6
CONNECTIONS = 8
RUNS = 5


def main() -> dict[str, float]:
    p99s, floors = [], []
    with (
        process(["-m", "benchmarks.floor_server"]) as (_, floor_port),
        app(PAPER_LATENCY_MS="2000") as stage,
    ):
        paths = [stage.add_strategy([stage.add_account()]) for _ in range(4)]
        for run in range(RUNS):
            each = RATE * SECONDS // CONNECTIONS
            empty = load(
                floor_port, ["/x"], connections=CONNECTIONS, requests_each=each, run="f", rate=RATE
            )
            taken = load(
                stage.port,
                paths,
                connections=CONNECTIONS,
                requests_each=each,
                run=f"s{run}",
                rate=RATE,
            )
            assert set(taken.statuses) == {"202"}, f"refused: {taken.statuses}"
            p99s.append(taken.percentile(99))
            floors.append(empty.percentile(99))
            print(f"  run {run}: p99 {p99s[-1]:.1f} ms; floor p99 {floors[-1]:.1f} ms")
    figures = {"p99": median(p99s), "floor": median(floors)}
    print(
        f"intake with a slow broker p99 {figures['p99']:.1f} ms (reach 25), none refused; "
        f"floor p99 {figures['floor']:.1f} ms"
    )
    return figures


if __name__ == "__main__":
    main()
