"""200 demo accounts on 50 log-ins of 5 people, each with a recorder, polled within one
RECORDER_INTERVAL.

Two intervals are compared: one in which all answer, and one in which the requests of one log-in
hang and those of another are answered 500. Floor: the interval without them, in the same run.
``--quick`` polls every 15 seconds.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.stage import percentile
from benchmarks.tradovate import CONTRACT, Desk, cpu_seconds, desk, wait_for

PEOPLE = 5
LOGINS_EACH = 10
ACCOUNTS_EACH = 4
INTERVAL_S = 60
QUICK_INTERVAL_S = 15
BUDGET = 5000
"""Requests of one log-in in an hour that Tradovate takes."""
_FOUND_WITHIN_S = 10.0
"""The recorder looks for new log-ins every few seconds."""
_TICK_S = 1.0
"""So often the recorder looks which log-in is due: a poll may begin that much later."""
_HANGING, _FAILING = 0, 1
"""The places of the two log-ins that are spoilt."""
_FIRST_OF_POLL = "account/list"
_OF_POLL = frozenset(
    {"account/list", "position/list", "order/list", "fill/list", "cashbalance/list"}
)


@dataclass
class _Window:
    """One interval: per log-in when its polls began and how many requests it made; how long after
    the first list of a poll the last one was asked for, and how much later than an interval after
    the one before it began; seconds, and the app's CPU seconds."""

    began: float
    ended: float
    polls: dict[str, list[float]]
    requests: Counter[str]
    took: dict[str, list[float]]
    late: dict[str, list[float]]
    cpu: float

    @property
    def length(self) -> float:
        return self.ended - self.began


def main(*, quick: bool = False) -> dict[str, float]:
    interval = QUICK_INTERVAL_S if quick else INTERVAL_S
    with desk(RECORDER_INTERVAL=str(interval)) as at:
        _set_up(at)
        _wait_for_first_polls(at, interval)
        healthy = _watch(at, interval)
        spoilt = [at.users[_HANGING], at.users[_FAILING]]
        at.simulator.rule("*", "hang", times=None, door="http", user=spoilt[0])
        at.simulator.rule("*", {"status": 500}, times=None, door="http", user=spoilt[1])
        disturbed = _watch(at, interval)
        at.simulator.clear_rules()
    others = [user for user in at.users if user not in spoilt]
    _show("all answer", healthy, others)
    _show("one hangs, one answers 500", disturbed, others)
    for user, what in zip(spoilt, ("hanging", "failing"), strict=True):
        polls = len(disturbed.polls[user])
        print(f"  the {what} one: {polls} polls begun, {disturbed.requests[user]} requests")
    moments = ", ".join(
        f"{disturbed.polls[u][0] - disturbed.began:.1f}" if disturbed.polls[u] else "none"
        for u in others
    )
    print(f"  first polls of the others, seconds into the interval: {moments}")
    return _figures(healthy, disturbed, others, interval)


def _figures(
    healthy: _Window, disturbed: _Window, others: list[str], interval: int
) -> dict[str, float]:
    most = max(disturbed.requests[u] / max(1, len(disturbed.polls[u])) for u in others)
    figures = {
        "polled": float(sum(bool(disturbed.polls[user]) for user in others)),
        "late": percentile(_flat(disturbed.late, others), 95),
        "floor_late": percentile(_flat(healthy.late, others), 95),
        "took": percentile(_flat(disturbed.took, others), 50),
        "floor_took": percentile(_flat(healthy.took, others), 50),
        "hourly": most * 3600 / interval,
        "cpu": disturbed.cpu / disturbed.length * 100,
    }
    figures["ratio"] = (interval + figures["late"]) / (interval + figures["floor_late"])
    print(
        f"  {figures['polled']:.0f} of {len(others)} polled within {interval} s; p95 of the delay "
        f"{figures['late']:.2f} s (without the two {figures['floor_late']:.2f} s), ratio "
        f"of the intervals {figures['ratio']:.3f}; all lists asked for "
        f"within {figures['took'] * 1000:.0f} ms (without {figures['floor_took'] * 1000:.0f} ms); "
        f"at most {figures['hourly']:,.0f} of {BUDGET:,} requests an hour, "
        f"{figures['cpu']:.1f} % of a core"
    )
    return figures


def _show(name: str, window: _Window, others: list[str]) -> None:
    polls = [len(window.polls[user]) for user in others]
    requests = [window.requests[user] for user in others]
    late, took = _flat(window.late, others), _flat(window.took, others)
    print(
        f"  {name}: {sum(polls)} polls of {len(others)} log-ins in {window.length:.0f} s "
        f"({min(polls)} to {max(polls)} each), {min(requests)} to {max(requests)} requests each; "
        f"delay p50 {percentile(late, 50):.2f} p95 {percentile(late, 95):.2f} "
        f"max {max(late):.2f} s; all lists asked for within p50 "
        f"{percentile(took, 50) * 1000:.0f} p95 {percentile(took, 95) * 1000:.0f} ms; "
        f"CPU {window.cpu / window.length * 100:.1f} %"
    )


def _flat(of: dict[str, list[float]], users: Iterable[str]) -> list[float]:
    return [value for user in users for value in of[user]]


def _set_up(at: Desk) -> None:
    for person in range(1, PEOPLE + 1):
        at.stage = at.stage.of_another(f"recorder{person}")
        for _ in range(LOGINS_EACH):
            at.add_login(ACCOUNTS_EACH)
    at.wait_until_live()
    for account_id, number in at.numbers.items():
        at.simulator.manual_trade(number, CONTRACT, "Buy", 1)
        at.stages[account_id].call(
            "POST",
            "/api/recorders/",
            {
                "name": f"R{account_id}",
                "symbol": "MNQ1!",
                "demo_account_id": account_id,
                "recording_enabled": True,
            },
        )


def _wait_for_first_polls(at: Desk, interval: float) -> None:
    at.simulator.clear_requests()

    def are_polled() -> bool:
        polls = _polls(at)
        return all(polls[user] for user in at.users)

    wait_for(are_polled, interval + _FOUND_WITHIN_S, "a log-in was not polled")


def _watch(at: Desk, interval: float) -> _Window:
    began, used = time.time(), cpu_seconds(at.stage.pid)
    time.sleep(interval + _TICK_S)
    cpu, ended = cpu_seconds(at.stage.pid) - used, time.time()
    time.sleep(1)  # a poll that began at the end
    late: dict[str, list[float]] = {}
    took: dict[str, list[float]] = {}
    inside: dict[str, list[float]] = {}
    for user, polls in _polls(at).items():
        starts = [start for start, _ in polls]
        inside[user] = [start for start in starts if began <= start < ended]
        took[user] = [end - start for start, end in polls if began <= start < ended]
        late[user] = [
            max(0.0, later - earlier - interval)
            for earlier, later in pairwise(starts)
            if began <= later < ended
        ]
    requests = Counter(
        entry["user"]
        for entry in at.simulator.requests()
        if entry["door"] == "http" and began <= entry["time"] < ended
    )
    return _Window(began, ended, inside, requests, took, late, cpu)


def _polls(at: Desk) -> dict[str, list[tuple[float, float]]]:
    """Per user when each of its polls began and when its last list was asked for."""
    polls: dict[str, list[tuple[float, float]]] = {user: [] for user in at.users}
    for entry in at.simulator.requests():
        of_user = polls.get(entry["user"])
        if of_user is None or entry["door"] != "http":
            continue
        if entry["path"] == _FIRST_OF_POLL:
            of_user.append((entry["time"], entry["time"]))
        elif entry["path"] in _OF_POLL and of_user:
            of_user[-1] = (of_user[-1][0], entry["time"])
    return polls


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
