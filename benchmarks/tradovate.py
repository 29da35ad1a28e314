"""A running app that trades at a simulated Tradovate: what its three benchmarks share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.stage import Stage, app
from tests.simulators.tradovate.control import Simulator, running

CONTRACT = "MNQZ6"
_LIVE_WITHIN_S = 60.0


@dataclass
class Desk:
    """``stage`` is that of whoever opens log-ins. ``users``: the names of these at the simulator;
    ``numbers``: the broker's of our accounts; ``stages``: whose these are."""

    stage: Stage
    simulator: Simulator
    users: list[str] = field(default_factory=list)
    numbers: dict[int, int] = field(default_factory=dict)
    stages: dict[int, Stage] = field(default_factory=dict)

    @property
    def account_ids(self) -> list[int]:
        return list(self.numbers)

    def add_login(self, accounts: int) -> str:
        """Open a user with so many accounts at the simulator, and all of them here."""
        name = f"trader{len(self.users) + 1}"
        numbers = add_user(self.simulator, name, accounts)
        self.users.append(name)
        login: dict[str, Any] = {"credentials": credentials(name)}
        for place, number in enumerate(numbers, start=1):
            opened = self.stage.call(
                "POST",
                "/api/accounts/",
                {
                    "name": f"{name} {place}",
                    "broker": "tradovate",
                    "environment": "demo",
                    "broker_account_id": str(number),
                    **login,
                },
            )
            login = {"login_id": opened["login_id"]}
            self.numbers[opened["id"]] = number
            self.stages[opened["id"]] = self.stage
        return name

    def wait_until_live(self) -> None:
        def are_live() -> bool:
            return all(state["state"] == "live" for state in self._streams())

        wait_for(are_live, _LIVE_WITHIN_S, "not every stream is live")

    def requested(self) -> int:
        """How many requests all log-ins have made of their budgets."""
        budgets = {state["login_id"]: state["budget"] for state in self._streams()}
        return sum(budget["limit"] - budget["left"] for budget in budgets.values())

    def _streams(self) -> list[dict[str, Any]]:
        stages = {stage.key: stage for stage in self.stages.values()}.values()
        found = [stage.call("GET", "/api/user-data/status/")["items"] for stage in stages]
        return [state for of_person in found for state in of_person]


@contextmanager
def desk(**environment: str) -> Iterator[Desk]:
    with running() as simulator:
        urls = {
            "TRADOVATE_DEMO_URL": simulator.url,
            "TRADOVATE_LIVE_URL": simulator.live_url,
            "TRADOVATE_DEMO_WS_URL": simulator.ws_url,
            "TRADOVATE_LIVE_WS_URL": simulator.live_ws_url,
            "TRADOVATE_MD_WS_URL": simulator.md_url,
            "TRADOVATE_OAUTH_URL": simulator.oauth_url,
        }
        with app(**urls, **environment) as stage:
            yield Desk(stage, simulator)


def add_user(simulator: Simulator, name: str, accounts: int) -> list[int]:
    """The numbers of the user's new accounts at the simulator."""
    simulator.add_user(name, _PASSWORD)
    return [int(simulator.add_account(name)["id"]) for _ in range(accounts)]


def credentials(name: str) -> dict[str, str]:
    return {"username": name, "password": _PASSWORD, "client_id": "1", "client_secret": "demo"}


def sign_in_body(name: str) -> dict[str, str]:
    """The same as Tradovate's own request for a token takes them."""
    return {"name": name, "password": _PASSWORD, "appId": "bench", "cid": "1", "sec": "demo"}


def wait_for(is_done: Callable[[], bool], seconds: float, words: str) -> None:
    until = time.monotonic() + seconds
    while not is_done():
        assert time.monotonic() < until, words
        time.sleep(0.05)


def cpu_seconds(pid: int) -> float:
    """What the process has used of the processors since it began."""
    parts = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


_PASSWORD = "a pass phrase of the benchmark"
