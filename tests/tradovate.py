"""Tradovate as tests meet it: the broker, one log-in kept in memory, and the simulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from time import monotonic
from typing import Any

import gevent

from app.brokers.base import AccountRef
from app.brokers.logins import LoginRef, StreamState, StreamStatus
from app.brokers.tradovate.broker import TradovateBroker
from app.brokers.tradovate.http import Transport
from app.brokers.tradovate.link import Limits
from app.domain.trading import BrokerOrder, BrokerReport, OrderStatus
from tests.simulators.tradovate.control import Simulator

CONTRACT = "MNQZ6"
LOGIN = LoginRef(id=7, user_id=1, broker="tradovate", environment="demo")
CREDENTIALS = {
    "username": "demo",
    "password": "demo",
    "client_id": "1",
    "client_secret": "demo",
    "device_id": "device",
}
LIMITS = Limits(parts_gap_s=0.05, first_pause_s=0.05, shortest_pause_s=0.01)
TIMEOUTS = (2.0, 2.0)
_DEADLINE_S = 10.0
_LOOK_S = 0.005
_STATUSES = {
    "Working": (OrderStatus.WORKING, OrderStatus.PARTIALLY_FILLED),
    "Suspended": (OrderStatus.INACTIVE,),
    "Filled": (OrderStatus.FILLED,),
    "Canceled": (OrderStatus.CANCELLED,),
    "Rejected": (OrderStatus.REJECTED,),
    "Expired": (OrderStatus.EXPIRED,),
}


class MemoryLogins:
    """A ``LoginStore`` of one log-in."""

    def __init__(self) -> None:
        self.tokens: dict[int, dict[str, Any]] = {}
        self.refs: tuple[AccountRef, ...] = ()

    def credentials(self, login_id: int) -> Mapping[str, Any]:
        assert login_id == LOGIN.id
        return CREDENTIALS

    def token(self, login_id: int) -> dict[str, Any] | None:
        return self.tokens.get(login_id)

    def save_token(self, login_id: int, token: dict[str, Any] | None) -> None:
        self.tokens[login_id] = token or {}

    @contextmanager
    def renewing(self, login_id: int) -> Iterator[None]:
        assert login_id == LOGIN.id
        yield

    def accounts(self, login_id: int) -> tuple[AccountRef, ...]:
        assert login_id == LOGIN.id
        return self.refs


@dataclass
class TradovateDesk:
    """The broker on a simulator as it is after its start, with one account of 10,000."""

    simulator: Simulator
    store: MemoryLogins = field(default_factory=MemoryLogins)
    heard: list[BrokerReport] = field(default_factory=list)
    states: list[StreamState] = field(default_factory=list)
    has_stream: bool = True

    def __post_init__(self) -> None:
        self.simulator.reset()
        self._known: dict[str, BrokerOrder] = {}
        self._fills: set[str] = set()
        self.quote("20000", "20000.25")
        self.use(self.simulator.add_account(cash="10000"), has_stream=self.has_stream)

    def use(self, row: Mapping[str, Any], *, has_stream: bool) -> None:
        """Trade on this account, with a session of its own."""
        self.has_stream = has_stream
        self.number = int(row["id"])
        self.account = AccountRef(1, 1, "tradovate", "demo", str(self.number), LOGIN.id)
        self.store.refs = (self.account,)
        self.store.tokens.clear()
        self.start()

    def start(self) -> None:
        """A broker of its own, as after a restart."""
        self.broker = TradovateBroker(
            demo_url=self.simulator.url,
            live_url=self.simulator.live_url,
            demo_ws_url=self.simulator.ws_url,
            live_ws_url=self.simulator.live_ws_url,
            store=self.store,
            limits=LIMITS,
            new_transport=partial(Transport, timeout=TIMEOUTS),
        )
        self.broker.subscribe(self._hear)
        self.broker.watch(lambda _login, state: self.states.append(state))
        if self.has_stream:
            self.broker.open(LOGIN)
            self.until(self.is_live)

    def stop(self) -> None:
        self.broker.stop()

    def is_live(self) -> bool:
        state = self.broker.state(LOGIN.id)
        return state is not None and state.status is StreamStatus.LIVE

    def quote(self, bid: str, ask: str) -> None:
        self.simulator.set_price(CONTRACT, bid, ask, bid)

    def move(self, bid: str, ask: str) -> None:
        """Bring a new quote and wait until its consequences are told, and nothing else."""
        self.catch_up()
        self.heard.clear()
        self.quote(bid, ask)
        self.catch_up()

    def catch_up(self) -> None:
        """Wait until everything that the simulator has was told."""
        if self.has_stream:
            self.until(self._is_all_told)
        else:
            self.broker.poll(LOGIN)

    def until(self, is_so: Callable[[], bool]) -> None:
        deadline = monotonic() + _DEADLINE_S
        while not is_so():
            assert monotonic() < deadline, "it did not come to that"
            gevent.sleep(_LOOK_S)

    def orders(self) -> list[dict[str, Any]]:
        """The account's orders as the simulator has them."""
        return [o for o in self.simulator.book()["orders"] if o["accountId"] == self.number]

    def net_pos(self) -> int:
        held = self.simulator.book()["positions"]
        return sum(int(p["netPos"]) for p in held if p.get("accountId") == self.number)

    def sent(self, path: str) -> list[dict[str, Any]]:
        """The bodies of the requests to a path."""
        return [r["body"] for r in self.simulator.requests(path)]

    def _hear(self, _account: AccountRef, report: BrokerReport) -> None:
        self.heard.append(report)
        self._known |= {o.broker_order_id: replace(o, at=o.at) for o in report.orders}
        self._fills |= {fill.fill_id for fill in report.fills if fill.fee}

    def _is_all_told(self) -> bool:
        book = self.simulator.book()
        orders = [o for o in book["orders"] if o["accountId"] == self.number]
        fills = [f for f in book["fills"] if f["accountId"] == self.number]
        return (
            all(self._is_told(o) for o in orders) and {str(f["id"]) for f in fills} <= self._fills
        )

    def _is_told(self, row: dict[str, Any]) -> bool:
        known = self._known.get(str(row["id"]))
        return (
            known is not None
            and known.status in _STATUSES[row["status"]]
            and known.filled_quantity == Decimal(str(row["filled"]))
        )
