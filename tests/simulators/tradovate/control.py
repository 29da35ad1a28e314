"""Start a simulator from a test and steer it: ``with running() as tradovate: ...``

Imports nothing of the app, and works with and without gevent's patches.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import requests

ROOT = Path(__file__).resolve().parents[3]
_START_TIMEOUT_S = 20.0
_LOOK_S = 0.01
_CALL_TIMEOUT_S = 10.0
_END_TIMEOUT_S = 5.0

World = Literal["demo", "live"]
Price = Decimal | float | int | str
DEMO = "demo"
User = str | int
"""The name or the id of a user."""


class SimulatorError(AssertionError):
    """The control port refused: the test asks for something that does not exist."""


class Simulator:
    """A running simulator. ``world`` is demo where it is not given; None as ``user`` is everybody.

    The seeded user is demo/demo (id 100) with key cid 1, sec demo, and two accounts (ids 101
    and 102) of 100,000 USD; in a live world of its own the ids are 200, 201 and 202.
    """

    def __init__(self, urls: Mapping[str, str]) -> None:
        self.url = urls["url"]
        """REST of the demo world, with the version: http://127.0.0.1:1234/v1"""
        self.live_url = urls["live_url"]
        self.ws_url = urls["ws_url"]
        self.live_ws_url = urls["live_ws_url"]
        self.md_url = urls["md_url"]
        self.oauth_url = urls["oauth_url"]
        self.control_url = urls["control_url"]
        self._http = requests.Session()
        self._http.trust_env = False

    def close(self) -> None:
        self._http.close()

    def post(self, verb: str, **asked: Any) -> Any:
        """Any verb of the control port; arguments that are None are left out."""
        body = {name: value for name, value in asked.items() if value is not None}
        return self._send(verb, body)

    def _send(self, verb: str, body: dict[str, Any]) -> Any:
        text = json.dumps(body, default=str)
        response = self._http.post(f"{self.control_url}/{verb}", data=text, timeout=_CALL_TIMEOUT_S)
        value = response.json()
        if response.status_code != requests.codes.ok:
            raise SimulatorError(f"{verb}: {value.get('error')}")
        return value

    # The world.

    def reset(self) -> None:
        """As after the start. Ids begin again, tokens and sockets are gone."""
        self.post("reset")

    def add_user(
        self,
        name: str,
        password: str = DEMO,
        *,
        cid: str = "1",
        sec: str = "demo",
        permissions: Mapping[str, str] | None = None,
        redirect_uris: Sequence[str] = (),
        is_organization: bool = False,
        world: World | None = None,
    ) -> int:
        """The id of a new user. A key of the same ``cid`` may belong to several.

        ``permissions``: none, read or full per domain (orders, positions, accounts, fills,
        commands, contracts, users, risk, marketdata, other); ``*`` is what the others are.
        """
        answer = self.post(
            "add_user",
            name=name,
            password=password,
            cid=cid,
            sec=sec,
            permissions=permissions,
            redirect_uris=list(redirect_uris),
            is_organization=is_organization,
            world=world,
        )
        return int(answer["id"])

    def add_account(
        self,
        user: User = "demo",
        name: str | None = None,
        cash: Price = "100000",
        *,
        world: World | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """The Account entity; ``options`` as ``Venue.add_account`` takes them."""
        answer: dict[str, Any] = self.post(
            "add_account", user=user, name=name, cash=str(cash), world=world, **options
        )
        return answer

    def users(self, *, world: World | None = None) -> list[dict[str, Any]]:
        return list(self.post("users", world=world))

    def set_price(
        self,
        contract: str,
        bid: Price,
        ask: Price | None = None,
        last: Price | None = None,
        *,
        world: World | None = None,
    ) -> None:
        """Quote a contract; what that fills is filled when this returns."""
        prices = {"bid": bid, "ask": ask, "last": last}
        texts = {name: str(price) for name, price in prices.items() if price is not None}
        self.post("set_price", contract=contract, world=world, **texts)

    def set(self, *, world: World | None = None, **switches: Any) -> None:
        """Switches of the server or the venue by name (of both worlds unless one is named)."""
        self._send("set", switches if world is None else {**switches, "world": world})

    def advance(self, seconds: float) -> None:
        """Move the simulator's clock ahead."""
        self.post("advance", seconds=seconds)

    def book(self, *, world: World | None = None) -> dict[str, Any]:
        """What the venue has: orders, fills, positions, working orders, cash."""
        answer: dict[str, Any] = self.post("book", world=world)
        return answer

    def venue(self, method: str, *, world: World | None = None, **arguments: Any) -> Any:
        """Call a public method of the venue: its value."""
        asked = {"method": method, "arguments": arguments, "world": world}
        return self.post("venue", **asked)["value"]

    def session_roll(self, *, world: World | None = None) -> None:
        self.post("session_roll", world=world)

    def archive(self, *, world: World | None = None) -> None:
        self.post("archive", world=world)

    def manual_trade(
        self,
        account_id: int,
        contract: str,
        action: str,
        qty: int,
        *,
        world: World | None = None,
    ) -> Any:
        """Somebody trades at another terminal, at the market."""
        return self.post(
            "manual_trade",
            account_id=account_id,
            contract=contract,
            action=action,
            qty=qty,
            world=world,
        )["value"]

    def manual_order(self, *, world: World | None = None, **order: Any) -> Any:
        """Somebody leaves an order at another terminal; as ``Venue.manual_order``."""
        return self.post("manual_order", world=world, **order)["value"]

    def hide_account(
        self, account_id: int, *, hidden: bool = True, world: World | None = None
    ) -> None:
        """The account is missing from lists and snapshots."""
        self.post("hide_account", account_id=account_id, hidden=hidden, world=world)

    # Requests.

    def rule(
        self,
        path: str,
        do: str | Mapping[str, Any],
        *,
        times: int | None = 1,
        skip: int = 0,
        door: Literal["http", "ws"] | None = None,
        user: str | None = None,
        body: Mapping[str, Any] | None = None,
        world: World | None = None,
    ) -> int:
        """Spoil the next ``times`` requests (None: all) to a path (``order/*``); the rule's id.

        ``do`` is one of drop_before, drop_after, html, html_after, malformed, malformed_after,
        hang, hang_after, delay_until_events, accept_twice, captcha, or {"status": 500},
        {"status_after": 500}, {"delay_ms": n}, {"delay_after_ms": n}, {"p_ticket": {"p-time": 1}}.
        ``_after``: the request was executed. ``skip`` requests pass first; ``body`` are fields
        that have to be equal.
        """
        rule: dict[str, Any] = {"path": path, "do": do, "times": times, "skip": skip}
        narrow = {"door": door, "user": user, "body": body, "world": world}
        rule |= {name: value for name, value in narrow.items() if value is not None}
        return int(self._send("rule", {"rule": rule})["id"])

    def rules(self) -> list[dict[str, Any]]:
        """Each with its ``hits``."""
        return list(self.post("rules"))

    def clear_rules(self, rule_id: int | None = None) -> None:
        """Forget one rule, or all; hanging requests are dropped."""
        self.post("clear_rules", id=rule_id)

    def latency(self, ms: float) -> None:
        """Every request takes so long to arrive."""
        self.post("latency", ms=ms)

    def forget_limits(self) -> None:
        """Start every counter again and unlock everybody."""
        self.post("forget_limits")

    def maintenance(self, *, on: bool = True, world: World | None = None) -> None:
        self.post("maintenance", on=on, world=world)

    def requests(self, path: str | None = None, user: str | None = None) -> list[dict[str, Any]]:
        """time, world, door, path, user, status (None: no answer), query, body, ticket, fault."""
        return list(self.post("requests", path=path, user=user))

    def counts(self) -> dict[str, dict[str, int]]:
        """Requests per user name: minute, hour, all."""
        answer: dict[str, dict[str, int]] = self.post("counts")
        return answer

    def first_bytes(self) -> list[dict[str, Any]]:
        """When (Unix time) each order request came in, with its path and clOrdId."""
        return list(self.post("first_bytes"))

    def clear_requests(self) -> None:
        self.post("clear_requests")

    # Log-ins.

    def expire_tokens(self, user: User | None = None, *, world: World | None = None) -> int:
        """Tokens are past their time; sockets stay open."""
        return int(self.post("expire_tokens", user=user, world=world)["count"])

    def revoke_tokens(
        self,
        user: User | None = None,
        *,
        status: int | None = None,
        world: World | None = None,
    ) -> int:
        """Close sessions and their sockets; ``status`` answers the tokens from now on."""
        return int(self.post("revoke_tokens", user=user, status=status, world=world)["count"])

    def open_session(self, user: User = "demo", *, world: World | None = None) -> None:
        """A person logs in to the web trader."""
        self.post("open_session", user=user, world=world)

    def sessions(
        self, user: User | None = None, *, world: World | None = None
    ) -> list[dict[str, Any]]:
        return list(self.post("sessions", user=user, world=world))

    # Sockets and events.

    def sockets(
        self, user: User | None = None, *, world: World | None = None
    ) -> list[dict[str, Any]]:
        """Open ones: user, has_synced, is_muted."""
        return list(self.post("sockets", user=user, world=world))

    def cut_sockets(
        self,
        how: Literal["abrupt", "clean", "shutdown"] = "abrupt",
        *,
        reason_code: str | None = None,
        user: User | None = None,
        world: World | None = None,
    ) -> int:
        """How many were cut. ``reason_code``: Maintenance, ConnectionQuotaReached, ..."""
        asked = {"how": how, "reason_code": reason_code, "user": user, "world": world}
        return int(self.post("cut_sockets", **asked)["count"])

    def stop_heartbeats(
        self,
        *,
        on: bool = True,
        only: bool = False,
        user: User | None = None,
        world: World | None = None,
    ) -> int:
        """The sockets that are open now fall silent but stay; ``only``: events still come.

        What happens meanwhile is told after ``on=False``.
        """
        asked = {"on": on, "only": only, "user": user, "world": world}
        return int(self.post("stop_heartbeats", **asked)["count"])

    def truncate_frame(self, user: User | None = None, *, world: World | None = None) -> int:
        """The next data frame ends in the middle, and the connection with it."""
        return int(self.post("truncate_frame", user=user, world=world)["count"])

    def garbage_frame(
        self, text: str | None = None, user: User | None = None, *, world: World | None = None
    ) -> int:
        return int(self.post("garbage_frame", text=text, user=user, world=world)["count"])

    def disturb_events(
        self,
        kind: Literal["lose", "duplicate", "delay", "reorder"],
        times: int | None = 1,
        *,
        ms: float | None = None,
        entity_types: Sequence[str] = (),
        user: User | None = None,
        world: World | None = None,
    ) -> None:
        """The next ``times`` events, or all until ``clear_events`` (None)."""
        asked: dict[str, Any] = {"kind": kind, "times": times, "entity_types": list(entity_types)}
        more = {"ms": ms, "user": user, "world": world}
        asked |= {name: value for name, value in more.items() if value is not None}
        self._send("disturb_events", asked)

    def clear_events(self, *, world: World | None = None) -> None:
        """No more disturbances; held events go out."""
        self.post("clear_events", world=world)

    def replay_events(self, user: User = "demo", *, world: World | None = None) -> int:
        """Tell everything of the session once more."""
        return int(self.post("replay_events", user=user, world=world)["count"])

    def events(self, user: User = "demo", *, world: World | None = None) -> list[dict[str, Any]]:
        """All events of the session, as they happened."""
        return list(self.post("events", user=user, world=world))


@contextmanager
def running(**options: Any) -> Iterator[Simulator]:
    """A simulator process on free ports until the end of the block.

    Options are those of the command line: ``shapes="2024"``, ``limit="80/min"``,
    ``lenient=True``, ``walk=True``, ``seed=7``, ``live_port=0`` for a live world of its own.
    """
    with tempfile.TemporaryDirectory(prefix="tradovate-") as directory:
        out, err = Path(directory) / "stdout", Path(directory) / "stderr"
        with out.open("wb") as out_file, err.open("wb") as err_file:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.simulators.tradovate", *_arguments(options)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out_file,
                stderr=err_file,
            )
        try:
            simulator = Simulator(_ready(process, out, err))
            try:
                yield simulator
            finally:
                simulator.close()
        finally:
            _end(process)


def _arguments(options: Mapping[str, Any]) -> list[str]:
    asked: dict[str, Any] = {"port": 0, "control_port": 0, "with_parent": True, **options}
    arguments = []
    for name, value in asked.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            arguments.append(flag)
        elif value not in (None, False) or value == 0 and value is not False:
            arguments += [flag, str(value)]
    return arguments


def _ready(process: subprocess.Popen[bytes], out: Path, err: Path) -> dict[str, str]:
    """The line that says where it listens."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        text = out.read_text()
        if text.endswith("\n"):
            urls: dict[str, str] = json.loads(text)
            return urls
        time.sleep(_LOOK_S)
    raise SimulatorError(f"did not start: {err.read_text(errors='replace')[-2000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=_END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=_END_TIMEOUT_S)
