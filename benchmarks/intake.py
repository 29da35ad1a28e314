"""Durable intake of alerts beside an empty view under the same server, 64 connections.

The traders' account answers slowly, so that what is measured is the intake: decode, token,
duplicate check, signal and execution committed with ``synchronous=FULL``, answer.
"""

from __future__ import annotations

from benchmarks.stage import app, load, median, process

CONNECTIONS = 64
REQUESTS = 150
RUNS = 5


def main() -> dict[str, float]:
    floors, rates, slow = [], [], []
    with (
        process(["-m", "benchmarks.floor_server"]) as (_, floor_port),
        app(PAPER_LATENCY_MS="2000") as stage,
    ):
        account = stage.add_account()
        paths = [stage.add_strategy([account]) for _ in range(CONNECTIONS)]
        for run in range(RUNS):
            empty = load(
                floor_port, ["/x"], connections=CONNECTIONS, requests_each=REQUESTS, run="f"
            )
            taken = load(
                stage.port,
                paths,
                connections=CONNECTIONS,
                requests_each=REQUESTS,
                run=f"r{run}",
            )
            assert set(taken.statuses) == {"202"}, taken.statuses
            floors.append(empty.rate)
            rates.append(taken.rate)
            slow.append(taken.percentile(99))
            print(
                f"  run {run}: {taken.rate:,.0f}/s p50 {taken.percentile(50):.1f} "
                f"p99 {taken.percentile(99):.1f} ms; floor {empty.rate:,.0f}/s"
            )
    ratio = median([r / f for r, f in zip(rates, floors, strict=True)])
    print(
        f"intake {median(rates):,.0f}/s, floor {median(floors):,.0f}/s, "
        f"ratio {ratio:.2f} (reach 0.50), p99 {median(slow):.1f} ms (reach 50)"
    )
    return {"intake": median(rates), "floor": median(floors), "ratio": ratio, "p99": median(slow)}


if __name__ == "__main__":
    main()
