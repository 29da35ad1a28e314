"""A running app that is killed and started again on the same data, and those who use it: alerts
that are sent until they are answered, and a live client that resumes after every restart."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import gevent
import psycopg
import requests
import socketio
from alembic import command
from psycopg import sql
from socketio.exceptions import SocketIOError
from sqlalchemy import Engine, create_engine, func, select
from sqlalchemy.engine import make_url

from app.migrate import alembic_config
from app.models import Book, EventSeq, Execution, Order
from app.models.base import table
from tests.servers import ROOT, launch

POINTS = (
    "booted",
    "lane",
    "intake",
    "intake stored",
    "commit",
    "committed",
    "intent stored",
    "paper",
    "paper stored",
    "broker answered",
    "outcome stored",
    "reconcile asked",
    "reconciled",
    "told",
    "taken in",
    "paper tells",
    "paper told",
    "dispatch",
    "dispatched",
)
RARE = {"booted": 1, "lane": 3, "reconcile asked": 2, "reconciled": 2}
"""At which passing, at the latest, to die at points that are not passed often."""
SETTLING_S = 40.0
_START_S = 40.0
_PASSWORD = "correct horse battery 9"
_UNFINISHED = ("pending", "running")
_UNSETTLED = ("created", "submitting", "unknown", "cancel_pending")
_ENDED = ("filled", "cancelled", "expired", "rejected", "not_found", "skipped")


def points_in_source() -> set[str]:
    """Every point at which the app can be told to die."""
    found: set[str] = set()
    for path in (ROOT / "app").rglob("*.py"):
        found |= set(re.findall(r'faults\.point\("([^"]+)"\)', path.read_text()))
    return found


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"in vain: {what}")
        gevent.sleep(0.02)


@dataclass
class Strategy:
    """A strategy with its webhook. ``is_certain``: its position is what the last alert wants."""

    name: str
    symbol: str
    settings: dict[str, Any]
    accounts: tuple[int, ...]
    states_position: bool = False
    is_certain: bool = False
    id: int = 0
    path: str = ""


@dataclass
class Alert:
    """One alert: sent byte for byte again until it is answered with 2xx."""

    strategy: Strategy
    action: str
    body: bytes
    attempts: int = 0
    status: int | None = None
    answer: dict[str, Any] = field(default_factory=dict)

    @property
    def is_answered(self) -> bool:
        return self.status is not None


def _strategies() -> list[Strategy]:
    bracket = {
        "take_profits": [{"distance": "3", "unit": "ticks"}],
        "stop_loss": {"distance": "3", "unit": "ticks"},
    }
    wide = {
        "take_profits": [{"distance": "4000", "unit": "ticks"}],
        "stop_loss": {"distance": "4000", "unit": "ticks"},
    }
    adds = {**wide, "on_same_side": "add", "add_quantity": "1", "max_position": "3"}
    limit = {"entry_order": {"type": "limit", "offset_ticks": -4}}
    return [
        Strategy("plain", "MNQ1!", {}, (0, 1), is_certain=True),
        Strategy("target", "MES1!", {}, (0,), states_position=True, is_certain=True),
        Strategy("wide", "MYM1!", {"entry_quantity": "2", **wide}, (0, 2), is_certain=True),
        Strategy("bracket", "MGC1!", bracket, (1, 2)),
        Strategy("adds", "MCL1!", adds, (2,)),
        Strategy("limit", "M2K1!", limit, (1,)),
    ]


class Listener:
    """A live client: keeps events in order by their numbers, as the pages do, and notes what it
    would have missed or seen twice."""

    def __init__(self) -> None:
        self.last = 0
        self.missed = 0
        self.repeated = 0
        self.resyncs = 0
        self.resumed = 0
        self._held: dict[int, Any] = {}
        self._is_resumed = False
        self._client: Any = None

    def connect(self, url: str, key: str) -> None:
        """Connect and resume; a server that dies meanwhile is met again after its restart."""
        self.close()
        self._client = socketio.Client(reconnection=False, handle_sigint=False)
        self._client.on("*", self._hear)
        self._client.on("disconnect", lambda _reason: None)
        self._held.clear()
        self._is_resumed = False
        try:
            self._client.connect(url, auth={"token": key}, transports=["websocket"], wait_timeout=5)
            self._client.call("resume", {"last_seq": self.last}, timeout=5)
        except (SocketIOError, OSError):
            return
        self._is_resumed = True
        self.missed += len(self._held)  # all that came before is there now, or never comes
        self.resumed += 1

    def close(self) -> None:
        if self._client is not None:
            self._client.disconnect()
            socket = self._client.eio.ws
            if socket is not None:  # where the server died under it, nobody else closes it
                socket.close()
            self._client = None

    def _hear(self, name: str, body: Any = None) -> None:
        if name == "resync":
            self.resyncs += 1
        if not isinstance(body, dict) or "seq" not in body:
            return
        seq = body["seq"]
        if self._is_resumed and seq != self.last + 1:
            self.missed += seq > self.last
            self.repeated += seq <= self.last
        if seq > self.last:
            self._held[seq] = name
        while self.last + 1 in self._held:
            self.last += 1
            del self._held[self.last]


class World:
    """``database_url`` None: SQLite in ``folder``. What happened is in ``alerts``, ``kills``."""

    points: tuple[str, ...] = POINTS
    linger_s: tuple[float, float] = (0.4, 0.4)
    """How long to let it live, at least and at most, after the last alert was answered."""
    pause_s: float = 0.0
    """Between two alerts of a strategy."""

    def __init__(self, folder: Path, *, seed: int, database_url: str | None = None) -> None:
        self.folder = folder
        self.url = database_url or f"sqlite:///{folder / 'just_trades.db'}"
        self.random = random.Random(seed)
        self.listener = Listener()
        self.strategies = self.make_strategies()
        self.settings: dict[str, str] = {}
        """Of every start, beside where the data is."""
        self.alerts: list[Alert] = []
        self.kills: Counter[str] = Counter()
        self.log_path = folder / "process.log"
        self._address = ""
        self._process: subprocess.Popen[str] | None = None
        self._session = requests.Session()
        self._session.trust_env = False
        self._key = ""
        self._engine: Engine | None = None
        self._number = 0
        folder.mkdir(parents=True, exist_ok=True)

    # The process

    def start(self, **variables: str) -> None:
        """Start it undisturbed."""
        assert self._launch(variables), f"did not start: {self.log[-3000:]}"

    def _launch(self, variables: dict[str, str], kill_after_s: float | None = None) -> bool:
        """False: it died before it served."""
        assert self._process is None
        settings = {"DATABASE_URL": self.url, "LOG_LEVEL": "info", "LOG_FORMAT": "json"}
        settings |= {**self.settings, **variables}
        self._process = launch(self.folder, self.log_path, **settings)
        if kill_after_s is not None:
            gevent.spawn_later(kill_after_s, self._process.kill)
        assert self._process.stdout is not None
        with gevent.Timeout(_START_S):
            line = self._process.stdout.readline()
        if "http://" not in line:
            return False
        self._address = line[line.index("http://") :].strip().rstrip("/")
        return True

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def address(self) -> str:
        return self._address

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def end(self, with_signal: signal.Signals = signal.SIGKILL, timeout_s: float = 15) -> int:
        """Send the signal where it still lives; its exit status."""
        assert self._process is not None
        process, self._process = self._process, None
        if process.poll() is None:
            process.send_signal(with_signal)
        try:
            return process.wait(timeout=timeout_s)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(timeout=10)
            assert process.stdout is not None
            process.stdout.close()

    def close(self) -> None:
        self.listener.close()
        if self._process is not None:
            self.end()
        if self._engine is not None:
            self._engine.dispose()

    # The people

    def set_up(self) -> None:
        """One user with accounts and all strategies; the process is left running."""
        self.start()
        person = {"username": "ann", "email": "ann@example.com", "password": _PASSWORD}
        made = self.call("POST", "/api/auth/register/", person)
        self._session.headers["X-CSRFToken"] = made["csrf_token"]
        wanted = {"name": "faults", "scopes": ["read", "trade"]}
        self._key = self.call("POST", "/api/auth/api-keys/", wanted)["key"]
        accounts = self.add_accounts()
        for strategy in self.strategies:
            self._add_strategy(strategy, accounts)

    def make_strategies(self) -> list[Strategy]:
        return _strategies()

    def add_accounts(self) -> list[int]:
        """The ids of the accounts that the strategies name by their place."""
        return [self._add_account(f"Paper {number}") for number in range(3)]

    def _add_account(self, name: str) -> int:
        wanted = {"name": name, "broker": "paper", "starting_balance": "1000000"}
        return int(self.call("POST", "/api/accounts/", wanted)["id"])

    def _add_strategy(self, strategy: Strategy, accounts: list[int]) -> None:
        settings = {"duplicate_window": "300", **strategy.settings}
        wanted = {"name": strategy.name, "symbol": strategy.symbol, "settings": settings}
        made = self.call("POST", "/api/recorders/", wanted)
        strategy.id = made["id"]
        strategy.path = "/" + made["webhook_url"].split("/", 3)[3]
        for number in strategy.accounts:
            pair = {"strategy_id": made["id"], "account_id": accounts[number], "enabled": True}
            self.call("POST", "/api/traders/", pair)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """A call of the API by the user; its JSON."""
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        answer = self._session.request(
            method, self._address + path, json=body, headers=headers, timeout=20
        )
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:300]}"
        return answer.json() if answer.content else None

    def listen(self) -> None:
        self.listener.connect(self._address, self._key)

    # Alerts

    def make_alert(self, strategy: Strategy, action: str) -> Alert:
        self._number += 1
        alert = Alert(strategy, action, json.dumps(self.body(strategy, action)).encode())
        self.alerts.append(alert)
        return alert

    def body(self, strategy: Strategy, action: str) -> dict[str, Any]:
        """What the next alert says; no two are alike."""
        body: dict[str, Any] = {
            "action": "buy" if action == "close" and strategy.states_position else action,
            "ticker": strategy.symbol,
            "order_id": f"{self._number}-{uuid4().hex[:6]}",
        }
        if strategy.states_position:
            wanted = {"buy": "long", "sell": "short", "close": "flat"}[action]
            size = "0" if wanted == "flat" else "1"
            body |= {"market_position": wanted, "market_position_size": size}
        return body

    def deliver(self, alert: Alert) -> bool:
        """Send until there is a good answer; False: the process is gone."""
        while not alert.is_answered:
            if not self.is_alive:
                return False
            alert.attempts += 1
            try:
                answer = requests.post(
                    self._address + alert.strategy.path,
                    data=alert.body,
                    headers={"Content-Type": "application/json"},
                    timeout=10,
                )
            except requests.RequestException:
                gevent.sleep(0.02)
                continue
            if answer.ok:
                alert.status, alert.answer = answer.status_code, answer.json()
                return True
            assert answer.status_code in (429, 503), f"{answer.status_code}: {answer.text}"
            gevent.sleep(0.05)
        return True

    def pending(self) -> list[Alert]:
        return [alert for alert in self.alerts if not alert.is_answered]

    def senders(self, each: int) -> list[gevent.Greenlet]:
        """Per strategy one sender: first what has no answer yet, then ``each`` new alerts."""
        return [gevent.spawn(self._send, strategy, each) for strategy in self.strategies]

    def _send(self, strategy: Strategy, each: int) -> None:
        for alert in self.pending():
            if alert.strategy is strategy and not self.deliver(alert):
                return
        for _ in range(each):
            gevent.sleep(self.random.uniform(0, self.pause_s))
            action = self.random.choice(("buy", "sell", "buy", "sell", "close"))
            if not self.is_alive or not self.deliver(self.make_alert(strategy, action)):
                return

    # Kills

    def cycle(self, *, each: int = 4) -> None:
        """One life of the process, ended at a chosen point or at a chosen moment."""
        point = self.random.choice((*self.points, "moment"))
        if point == "moment":
            # With a slow broker, orders are more often on their way at that moment.
            settings = {"PAPER_LATENCY_MS": self.random.choice(("0", "20", "100"))}
            self.die(settings, each, kill_after_s=self.random.uniform(0.5, 2.5))
            return
        self.die(self.at_point(point), each)

    def at_point(self, point: str) -> dict[str, str]:
        """The setting to die at some passing of that point."""
        passing = self.random.randint(1, RARE.get(point, self.random.choice((2, 10, 40))))
        return {"FAULT_POINT": f"{point}:{passing}"}

    def die(self, settings: dict[str, str], each: int, kill_after_s: float | None = None) -> None:
        """Start, send ``each`` alerts per strategy, and note how it ended. What does not die by
        its settings is killed a moment after the last answer."""
        senders: list[gevent.Greenlet] = []
        if self._launch(settings, kill_after_s):
            senders = [gevent.spawn(self.listen), *self.senders(each)]
            with_timeout(lambda: not self.is_alive or all(s.dead for s in senders), 20)
            gevent.joinall(senders[1:], timeout=5)
            linger_s = self.random.uniform(*self.linger_s)
            with_timeout(lambda: not self.is_alive, kill_after_s or linger_s)
            gevent.killall([sender for sender in senders if not sender.dead])
        died = not self.is_alive
        status = self.end()
        assert status == -signal.SIGKILL, f"exit {status}: {self.log[-3000:]}"
        for sender in senders:
            if isinstance(sender.exception, AssertionError):
                raise sender.exception
        self.kills[self.ended_at(settings) if died else "moment"] += 1

    def ended_at(self, settings: dict[str, str]) -> str:
        """Where a process with these settings was when it died before we ended it."""
        return settings.get("FAULT_POINT", "").partition(":")[0] or "moment"

    def settle(self) -> None:
        """Start undisturbed, deliver what has no answer, and wait until nothing is under way."""
        self.start()
        self.listen()
        gevent.joinall(self.senders(0), timeout=SETTLING_S, raise_error=True)
        self.wait_until_settled()

    def wait_until_settled(self) -> None:
        wait_until(lambda: not self.under_way(), "to settle", SETTLING_S)

    def finish(self) -> None:
        """Close every position, let it settle, hear every event, and stop as an operator does."""
        for strategy in self.strategies:
            assert self.deliver(self.make_alert(strategy, "close"))
        self.wait_until_settled()
        with_timeout(lambda: self.open_orders() == 0)
        wait_until(lambda: self.listener.last >= self.newest_event(), "the last event")
        status = self.end(signal.SIGTERM)
        assert status == 0, f"exit {status}: {self.log[-3000:]}"

    # What the database says

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            self._engine = create_engine(self.url)
        return self._engine

    def scalar(self, statement: Any) -> Any:
        with self.engine.connect() as connection:
            return connection.scalar(statement)

    def under_way(self) -> int:
        executions, orders = table(Execution), table(Order)
        return int(
            self.scalar(
                select(func.count())
                .select_from(executions)
                .where(executions.c.status.in_(_UNFINISHED))
            )
            + self.scalar(
                select(func.count()).select_from(orders).where(orders.c.status.in_(_UNSETTLED))
            )
        )

    def open_orders(self) -> int:
        orders = table(Order)
        statement = select(func.count()).select_from(orders).where(orders.c.status.not_in(_ENDED))
        return int(self.scalar(statement))

    def newest_event(self) -> int:
        return int(self.scalar(select(func.max(table(EventSeq).c.seq))) or 0)

    def positions(self) -> dict[tuple[int, int], Any]:
        """(strategy, account) → net position of its book."""
        books = table(Book)
        with self.engine.connect() as connection:
            rows = connection.execute(
                select(books.c.strategy_id, books.c.account_id, books.c.net_pos)
            )
            return {(row.strategy_id, row.account_id): row.net_pos for row in rows}


def with_timeout(condition: Callable[[], bool], timeout_s: float = 5.0) -> bool:
    """Whether the condition came true in time."""
    try:
        wait_until(condition, "", timeout_s)
    except AssertionError:
        return False
    return True


@contextmanager
def private_postgres(server: str, name: str) -> Iterator[str]:
    """The URL of a new database, dropped afterwards."""
    identifier = sql.Identifier(name)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(identifier))
    url = make_url(server).set(database=name, drivername="postgresql+psycopg")
    text = url.render_as_string(hide_password=False)
    try:
        command.upgrade(alembic_config(text), "head")
        yield text
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier)
            )
