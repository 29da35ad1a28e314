"""One alert, 20 traders on 20 accounts over 4 log-ins: from the alert being sent to the first
bytes of each order request at the simulated Tradovate, for the first account and for the last.

Floor: 20 such requests made directly from one process, in the same run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import requests

from benchmarks import wire
from benchmarks.stage import ROOT, percentile
from benchmarks.tradovate import (
    CONTRACT,
    Desk,
    add_user,
    cpu_seconds,
    desk,
    sign_in_body,
    wait_for,
)
from tests.simulators.tradovate.control import Simulator

LOGINS = 4
ACCOUNTS_EACH = 5
ORDERS = LOGINS * ACCOUNTS_EACH
ALERTS = 20
COLD_ALERTS = 3
SPACING_S = 1.0
COLD_S = 25.0
"""After this pause lanes have ended, and connections that were idle are not used again."""
_WITHIN_S = 20.0


def main(*, quick: bool = False) -> dict[str, float]:
    """``quick``: without the alerts that come after a long pause."""
    with desk() as at:
        for _ in range(LOGINS):
            at.add_login(ACCOUNTS_EACH)
        at.wait_until_live()
        path = at.stage.add_strategy(at.account_ids)
        with _floor(at.simulator) as floor:
            _one_alert(at, path, 0)
            floor.round()
            used, requested = cpu_seconds(at.stage.pid), at.requested()
            rounds, floors = [], []
            for number in range(1, ALERTS + 1):
                rounds.append(_one_alert(at, path, number))
                floors.append(floor.round())
            used = cpu_seconds(at.stage.pid) - used
            requested = at.requested() - requested
            cold, cold_floors = [], []
            for number in range(ALERTS + 1, ALERTS + 1 + (0 if quick else COLD_ALERTS)):
                time.sleep(COLD_S)
                cold.append(_one_alert(at, path, number))
                cold_floors.append(floor.round())
    figures = {
        **_said("warm", rounds, floors),
        **(_said("cold", cold, cold_floors) if cold else {}),
        "cpu": used / (ALERTS * ORDERS) * 1000,
        "requests": requested / (ALERTS * ORDERS),
    }
    print(
        f"  {figures['cpu']:.1f} ms of the app's CPU and {figures['requests']:.2f} requests per"
        " order, from the alert to the books"
    )
    return figures


def _said(
    name: str, rounds: Sequence[list[float]], floors: Sequence[list[float]]
) -> dict[str, float]:
    """Over all alerts: the first order's delay and the last one's, in ms."""
    first, last = [r[0] for r in rounds], [r[-1] for r in rounds]
    floor_first, floor_last = [f[0] for f in floors], [f[-1] for f in floors]
    figures = {
        "first": percentile(first, 50),
        "first95": percentile(first, 95),
        "last": percentile(last, 50),
        "last95": percentile(last, 95),
        "floor_first": percentile(floor_first, 50),
        "floor_last": percentile(floor_last, 50),
    }
    print(
        f"  {name}: first p50 {figures['first']:.1f} p95 {figures['first95']:.1f} ms (reach 40), "
        f"{ORDERS}th p50 {figures['last']:.1f} p95 {figures['last95']:.1f} ms (reach 150); floor "
        f"{figures['floor_first']:.1f} and {figures['floor_last']:.1f} ms, ratio of the "
        f"{ORDERS}th {figures['last'] / figures['floor_last']:.1f}"
    )
    each = ", ".join(f"{percentile([r[place] for r in rounds], 50):.0f}" for place in range(ORDERS))
    print(f"  {name}, p50 of the 1st to the {ORDERS}th: {each} ms")
    return figures if name == "warm" else {f"{name}_{key}": v for key, v in figures.items()}


def _one_alert(at: Desk, path: str, number: int) -> list[float]:
    """The delays of the orders of one alert, in ms, in the order in which they arrived."""
    at.simulator.clear_requests()
    action = "buy" if number % 2 == 0 else "close"
    body = json.dumps({"action": action, "symbol": "MNQ1!", "quantity": 1, "id": str(number)})
    peer = wire.connect(at.stage.port)
    sent = time.time()
    assert wire.post(peer, path, body.encode()) == "202"
    peer.close()
    time.sleep(SPACING_S)
    arrived = _arrived(at.simulator, set(at.users))
    wait_for(lambda: _is_done(at, number), _WITHIN_S, "an execution did not end")
    return [(moment - sent) * 1000 for moment in arrived]


def _is_done(at: Desk, number: int) -> bool:
    wanted = ORDERS if number % 2 == 0 else 0
    positions = at.stage.call("GET", "/api/dashboard/positions/")["items"]
    return len(positions) == wanted


def _arrived(simulator: Simulator, users: set[str]) -> list[float]:
    """When the orders of these users came in, Unix times."""
    found: list[float] = []

    def are_there() -> bool:
        found[:] = sorted(e["time"] for e in simulator.first_bytes() if e["user"] in users)
        return len(found) >= ORDERS

    wait_for(are_there, _WITHIN_S, "orders did not arrive")
    assert len(found) == ORDERS, f"{len(found)} orders"
    return found


class _Floor:
    def __init__(self, simulator: Simulator, users: Sequence[str], child: subprocess.Popen[str]):
        self._simulator = simulator
        self._users = set(users)
        self._child = child

    def round(self) -> list[float]:
        """The delays of one round of direct requests, in ms."""
        self._simulator.clear_requests()
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write("go\n")
        self._child.stdin.flush()
        began = float(self._child.stdout.readline())
        return [(moment - began) * 1000 for moment in _arrived(self._simulator, self._users)]


@contextmanager
def _floor(simulator: Simulator) -> Iterator[_Floor]:
    """Users and accounts of its own, so that the app hears nothing of it."""
    users = [f"direct{place}" for place in range(LOGINS)]
    tokens, orders = [], []
    for place, user in enumerate(users):
        numbers = add_user(simulator, user, ACCOUNTS_EACH)
        url = f"{simulator.url}/auth/accesstokenrequest"
        tokens.append(requests.post(url, json=sign_in_body(user), timeout=5).json()["accessToken"])
        names = {a["id"]: a["name"] for a in _accounts(simulator, tokens[-1])}
        orders += [{"token": place, "body": _order(number, names[number])} for number in numbers]
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.tradovate_floor"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        plan = {"url": simulator.url, "tokens": tokens, "orders": orders}
        child.stdin.write(json.dumps(plan) + "\n")
        yield _Floor(simulator, users, child)
        child.stdin.close()


def _accounts(simulator: Simulator, token: str) -> list[dict[str, object]]:
    head = {"Authorization": f"Bearer {token}"}
    listed = requests.get(f"{simulator.url}/account/list", headers=head, timeout=5)
    return list(listed.json())


def _order(number: int, name: object) -> dict[str, object]:
    return {
        "accountId": number,
        "accountSpec": name,
        "action": "Buy",
        "symbol": CONTRACT,
        "orderQty": 1,
        "orderType": "Market",
        "timeInForce": "Day",
        "isAutomated": True,
    }


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
