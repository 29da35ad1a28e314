"""A running app that trades at a running simulator of Tradovate, is killed at every step, and meets
everything that can go wrong between the two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event
from sqlalchemy import select

from app.models import Account
from app.models.base import table
from tests.faults.world import POINTS, Strategy, World, wait_until, with_timeout
from tests.simulators.tradovate.control import Simulator, running

LOGINS = {"ann1": 2, "ann2": 2, "ann3": 1}
"""The log-ins and how many accounts each has."""
_MARKETS = {
    "MNQ": (Decimal(20000), Decimal("0.25")),
    "MES": (Decimal(6000), Decimal("0.25")),
    "MYM": (Decimal(45000), Decimal(1)),
    "MGC": (Decimal(2600), Decimal("0.1")),
    "MCL": (Decimal(70), Decimal("0.01")),
    "M2K": (Decimal(2300), Decimal("0.1")),
    "RTY": (Decimal(2300), Decimal("0.1")),
}
"""Where the price of each product begins, and its tick."""
_SETTLING_MS = "1500"
_UNLIMITED = 10_000_000
_STEP_S = 0.05
_LOOK_S = 0.01

_CALLS = (
    "order/placeorder",
    "order/placeorder",
    "orderstrategy/startorderstrategy",
    "order/placeoso",
    "order/placeoco",
    "order/cancelorder",
    "order/modifyorder",
)
_READS = ("order/*", "fill/*", "position/*", "command/*", "orderstrategylink/*", "*/list", "*")
_FAULTS: tuple[Any, ...] = (
    "drop_after",
    "drop_after",
    "drop_before",
    "html_after",
    "malformed_after",
    "delay_until_events",
    {"status_after": 500},
    {"status_after": 502},
    {"status": 500},
    {"status": 503},
    {"delay_ms": 300},
    {"delay_after_ms": 300},
    {"p_ticket": {"p-time": 1}},
)
_CALM: dict[str, Any] = {
    "partial_fills_one_lot": False,
    "slow_cancel": False,
    "cancel_loses_race": False,
    "interrupt_leaves_legs": False,
    "slow_modify": False,
    "too_late_is_401": False,
    "out_of_order_responses": False,
    "latency_ms": 0,
}


def _cut(simulator: Simulator) -> None:
    simulator.cut_sockets()


def _end(simulator: Simulator) -> None:
    simulator.revoke_tokens()


@dataclass(frozen=True)
class Ambush:
    """A way to be killed when a request reaches the simulator: ``within_s`` of that."""

    name: str
    paths: tuple[str, ...]
    does: tuple[Any, ...]
    within_s: float
    most_passing: int
    prepare: Callable[[Simulator], object] | None = None
    """What to do to the simulator for it to come to that."""


AMBUSHES = (
    Ambush("while the broker holds its answer", _CALLS, ("hang", "hang_after"), 0.3, 6),
    Ambush("after an answer was lost", _CALLS, ("drop_after", {"status_after": 500}), 0.05, 6),
    Ambush("synchronising", ("user/syncrequest",), ({"delay_after_ms": 100},), 0.7, 5, _cut),
    Ambush("reading the lists", ("*/list",), ({"delay_after_ms": 100},), 0.3, 30),
    Ambush("signing in", ("auth/*",), ({"delay_after_ms": 200}, "drop_after"), 0.4, 1, _end),
)


def _strategies() -> list[Strategy]:
    def bracket(ticks: str) -> dict[str, Any]:
        exits = {"distance": ticks, "unit": "ticks"}
        return {"take_profits": [exits], "stop_loss": exits}

    adds = {**bracket("3000"), "on_same_side": "add", "add_quantity": "1", "max_position": "3"}
    limit = {"entry_order": {"type": "limit", "offset_ticks": -2}}
    return [
        Strategy("plain", "MNQ1!", {"entry_quantity": "3"}, (0, 2), is_certain=True),
        Strategy("target", "MES1!", {}, (1,), states_position=True, is_certain=True),
        Strategy("wide", "MYM1!", {"entry_quantity": "2", **bracket("4000")}, (0, 3), False, True),
        Strategy("bracket", "MGC1!", {"entry_quantity": "2", **bracket("4")}, (1, 4)),
        Strategy("adds", "MCL1!", adds, (2,)),
        Strategy("limit with exits", "M2K1!", {**limit, **bracket("8")}, (3, 4)),
        Strategy("limit", "RTY1!", {"entry_quantity": "2", **limit}, (1,)),
    ]


@contextmanager
def _beside(*works: Callable[[Event], None]) -> Iterator[None]:
    """Do these meanwhile. They end by themselves when they are told that it is over: one that is
    killed would leave its connection open."""
    is_over = Event()
    greenlets = [gevent.spawn(work, is_over) for work in works]
    try:
        yield
    finally:
        is_over.set()
        gevent.joinall(greenlets)
    for greenlet in greenlets:
        greenlet.get()


class TradovateWorld(World):
    """``accounts``: our ids of the accounts; ``twice``: client order ids of orders that the
    simulator was told to take twice."""

    points = tuple(point for point in POINTS if not point.startswith("paper"))
    linger_s = (0.3, 4.0)
    pause_s = 1.0

    def __init__(self, folder: Path, *, seed: int, database_url: str | None = None) -> None:
        super().__init__(folder, seed=seed, database_url=database_url)
        self._stack = ExitStack()
        self.simulator: Simulator = self._stack.enter_context(running(seed=seed % 1000))
        self.accounts: list[int] = []
        self.twice: set[str | None] = {None}
        self.troubles: Counter[str] = Counter()
        self._users: dict[str, int] = {}
        self._accounts: list[int] = []
        self._prices = {root: price for root, (price, _) in _MARKETS.items()}
        self._contracts: dict[str, list[str]] = {}
        self._struck: str | None = None
        self.settings = {
            "TRADOVATE_DEMO_URL": self.simulator.url,
            "TRADOVATE_LIVE_URL": self.simulator.live_url,
            "TRADOVATE_DEMO_WS_URL": self.simulator.ws_url,
            "TRADOVATE_LIVE_WS_URL": self.simulator.live_ws_url,
            "TRADOVATE_SETTLING_MS": _SETTLING_MS,
            "RECORDER_INTERVAL": "10",
        }

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._stack.close()

    # The market and its people

    def make_strategies(self) -> list[Strategy]:
        return _strategies()

    def add_accounts(self) -> list[int]:
        simulator = self.simulator
        simulator.set(
            limit=_UNLIMITED,
            syncs_per_hour=_UNLIMITED,
            renewals_per_hour=_UNLIMITED,
            login_failures_per_hour=_UNLIMITED,
            me_failures_per_hour=_UNLIMITED,
        )
        for name, number in LOGINS.items():
            self._users[name] = simulator.add_user(name, "pass")
            for place in range(number):
                row = simulator.add_account(name, f"{name.upper()}-{place}", cash="1000000")
                self._accounts.append(row["id"])
        user_id = next(iter(self._users.values()))
        for root in _MARKETS:
            asked = {"t": root, "l": "10"}
            found = simulator.venue(
                "call", user_id=user_id, path="contract/suggest", query=asked, body=None
            )
            self._contracts[root] = [row["name"] for row in found]
        self.quote(_MARKETS)
        for name, number in LOGINS.items():
            self._open_accounts(name, number)
        wait_until(self.is_live, "the streams")
        return self.accounts

    def _open_accounts(self, name: str, number: int) -> None:
        login: dict[str, Any] = {
            "credentials": {
                "username": name,
                "password": "pass",
                "client_id": "1",
                "client_secret": "demo",
            }
        }
        for place in range(number):
            named = f"{name.upper()}-{place}"
            wanted = {"name": named, "broker": "tradovate", "broker_account_id": named, **login}
            made = self.call("POST", "/api/accounts/", wanted)
            self.accounts.append(int(made["id"]))
            login = {"login_id": made["login_id"]}

    def is_live(self) -> bool:
        """Whether every account is connected."""
        rows = table(Account)
        with self.engine.connect() as connection:
            states = connection.scalars(select(rows.c.status)).all()
        return all(state == "connected" for state in states)

    def body(self, strategy: Strategy, action: str) -> dict[str, Any]:
        price = self._prices[strategy.symbol.removesuffix("1!")]
        return {**super().body(strategy, action), "price": str(price)}

    def quote(self, roots: Any) -> None:
        """Give out the prices of these products, in all their months."""
        for root in roots:
            price, tick = self._prices[root], _MARKETS[root][1]
            for contract in self._contracts[root]:
                self.simulator.set_price(contract, price, price + tick, price)

    def _walk(self, is_over: Event) -> None:
        """Let the prices move, near where they began."""
        while not is_over.wait(_STEP_S):
            root = self.random.choice(list(_MARKETS))
            start, tick = _MARKETS[root]
            ticks = self.random.randint(-3, 3)
            distance = self._prices[root] + ticks * tick - start
            if abs(distance) <= 30 * tick:
                self._prices[root] += ticks * tick
            self.quote([root])

    # Trouble

    def calm(self) -> None:
        """From now on the simulator behaves, and what it had begun is done."""
        simulator = self.simulator
        self._note_twice()
        simulator.clear_rules()
        simulator.clear_events()
        simulator.maintenance(on=False)
        for row in self._accounts:
            simulator.hide_account(row, hidden=False)
        simulator.stop_heartbeats(on=False)
        simulator.set(**_CALM)
        simulator.venue("release_commands")
        self.quote(_MARKETS)

    def _note_twice(self) -> None:
        for request in self.simulator.requests():
            if request["fault"] == "accept_twice":
                body = request["body"]
                legs = (body.get(name, {}) for name in ("bracket1", "bracket2"))
                self.twice |= {body.get("uuid"), *(each.get("clOrdId") for each in (body, *legs))}
        self.simulator.clear_requests()

    def _trouble(self, is_over: Event) -> None:
        """One thing after the other goes wrong."""
        kinds = (
            self._spoil_call,
            self._spoil_call,
            self._spoil_read,
            self._disturb_events,
            self._disturb_events,
            self._break_sockets,
            self._end_sessions,
            self._misbehave,
            self._go_away,
        )
        while not is_over.wait(self.random.uniform(0.05, 0.6)):
            self.random.choice(kinds)()

    def _spoil_call(self) -> None:
        path, do = self.random.choice(_CALLS), self.random.choice(_FAULTS)
        self.simulator.rule(path, do)
        self._note(f"call: {do if isinstance(do, str) else next(iter(do))}")

    def _spoil_read(self) -> None:
        path, do = self.random.choice(_READS), self.random.choice(_FAULTS)
        self.simulator.rule(path, do, times=self.random.choice((1, 3)), door="http")
        self._note(f"read: {do if isinstance(do, str) else next(iter(do))}")

    def _disturb_events(self) -> None:
        kind: Any = self.random.choice(("lose", "duplicate", "delay", "reorder"))
        times = self.random.choice((1, 3, 10))
        self.simulator.disturb_events(kind, times, ms=self.random.choice((50, 400)))
        self._note(f"events: {kind}")

    def _break_sockets(self) -> None:
        simulator = self.simulator
        how = self.random.choice(("abrupt", "clean", "truncated", "garbage", "silent", "replayed"))
        if how == "truncated":
            simulator.truncate_frame()
        elif how == "garbage":
            simulator.garbage_frame()
        elif how == "silent":
            simulator.stop_heartbeats(only=self.random.random() < 0.5)
        elif how == "replayed":
            simulator.replay_events(self.random.choice(list(LOGINS)))
        else:
            simulator.cut_sockets("abrupt" if how == "abrupt" else "clean")
        self._note(f"sockets: {how}")

    def _end_sessions(self) -> None:
        if self.random.random() < 0.6:
            return
        how = self.random.choice(("expired", "revoked", "revoked 401"))
        if how == "expired":
            self.simulator.expire_tokens()
        else:
            self.simulator.revoke_tokens(status=401 if how == "revoked 401" else None)
        self._note(f"sessions: {how}")

    def _misbehave(self) -> None:
        name = self.random.choice(list(_CALM))
        is_on = self.random.random() < 0.5
        value: Any = 30 if name == "latency_ms" else True
        self.simulator.set(**{name: value if is_on else _CALM[name]})
        if name in ("slow_cancel", "slow_modify") and not is_on:
            self.simulator.venue("release_commands")
        self._note(f"broker: {name}")

    def _go_away(self) -> None:
        """For a moment an account is not to be seen, or nothing is."""
        account = self.random.choice(self._accounts)
        is_all = self.random.random() < 0.3
        seconds = self.random.uniform(0.1, 2.0)
        if is_all:
            self.simulator.maintenance()
            gevent.sleep(seconds)
            self.simulator.maintenance(on=False)
        else:
            self.simulator.hide_account(account)
            gevent.sleep(seconds)
            self.simulator.hide_account(account, hidden=False)
        self._note("maintenance" if is_all else "account hidden")

    def _note(self, what: str) -> None:
        self.troubles[what] += 1

    # Kills

    def cycle(self, *, each: int = 2) -> None:
        """One life of the process, most often in bad weather, ended at a chosen step."""
        if self.random.random() < 0.5:
            self.calm()
        is_bad = self.random.random() < 0.8
        way: Any = self.random.choice((*self.points, *AMBUSHES, *AMBUSHES, "moment", "moment"))
        with self._weather(is_bad=is_bad):
            if isinstance(way, Ambush):
                self._die_in(way, each)
            elif way == "moment":
                self.die({}, each, kill_after_s=self.random.uniform(1.5, 5.0))
            else:
                self.die(self.at_point(way), each)

    def die_at(self, passing: str, *, each: int = 2) -> None:
        """One life in bad weather, ended at ``point:passing``."""
        with self._weather(is_bad=True):
            self.die({"FAULT_POINT": passing}, each)

    def die_in(self, ambush: Ambush, *, each: int = 2) -> None:
        """One life in bad weather, ended by an ambush."""
        with self._weather(is_bad=True):
            self._die_in(ambush, each)

    @contextmanager
    def _weather(self, *, is_bad: bool) -> Iterator[None]:
        """Prices move meanwhile and, where it is bad, things go wrong."""
        meanwhile = (self._walk, self._trouble) if is_bad else (self._walk,)
        with _beside(*meanwhile):
            yield

    def _die_in(self, ambush: Ambush, each: int) -> None:
        passing = self.random.randint(1, ambush.most_passing)
        path, do = self.random.choice(ambush.paths), self.random.choice(ambush.does)
        rule = self.simulator.rule(path, do, skip=passing - 1)
        within_s = self.random.uniform(0, ambush.within_s)

        def prepare(is_over: Event) -> None:
            if ambush.prepare is not None and not is_over.wait(self.random.uniform(0, 4)):
                ambush.prepare(self.simulator)

        def strike(is_over: Event) -> None:
            while not is_over.wait(_LOOK_S):
                if any(r["id"] == rule and r["hits"] for r in self.simulator.rules()):
                    is_over.wait(within_s)
                    self._strike(ambush.name)
                    return

        try:
            with _beside(prepare, strike):
                self.die({}, each)
        finally:
            self._struck = None
            self.simulator.clear_rules(rule)

    def _strike(self, name: str) -> None:
        if self._process is not None and self.is_alive:
            self._struck = name
            self._process.kill()

    def ended_at(self, settings: dict[str, str]) -> str:
        return self._struck or super().ended_at(settings)

    # Rest

    def settle(self) -> None:
        self.calm()
        super().settle()

    def close_all(self) -> None:
        """Close every position by an alert."""
        for strategy in self.strategies:
            assert self.deliver(self.make_alert(strategy, "close"))
        self.wait_until_settled()
        with_timeout(lambda: self.open_orders() == 0)

    def enter_twice(self) -> None:
        """Start, undisturbed but for a simulator that takes the next entries twice: nothing can
        keep that from happening, but it has to be seen."""
        self.start()
        self.listen()
        wait_until(self.is_live, "the streams")
        for path in ("order/placeorder", "orderstrategy/startorderstrategy", "order/placeoso"):
            self.simulator.rule(path, "accept_twice", times=2)
        for strategy in self.strategies:
            assert self.deliver(self.make_alert(strategy, "buy"))
        self.wait_until_settled()
        self.calm()

    def flatten(self) -> None:
        """Close everything, also what no book holds, and stop."""
        self.close_all()
        for account_id in self.accounts:
            self.call("POST", f"/api/accounts/{account_id}/flatten/")
        self.finish()
