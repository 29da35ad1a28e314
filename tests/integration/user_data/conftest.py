"""A broker with log-ins by script, its accounts, and everything that is pushed to rooms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import count
from time import monotonic
from typing import Any

import gevent
import pytest
from apiflask import APIFlask
from sqlalchemy import select

from app import clock
from app.brokers import registry
from app.brokers.base import AccountRef
from app.brokers.logins import (
    BudgetState,
    FoundAccount,
    LoginListener,
    LoginRef,
    StreamState,
    StreamStatus,
)
from app.domain.trading import BrokerOrder, OrderStatus, OrderType, Side
from app.extensions import db, writer
from app.models import Account, BrokerLogin, Event, StrategyLog, User
from app.services import stream_states, user_data
from app.services.live_push import pusher
from tests import factories
from tests.brokers import FakeBroker

NAME = "fake"
ES = "ESZ6"


def wait_until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    until = monotonic() + timeout_s
    while not condition():
        assert monotonic() < until, "it did not happen in time"
        gevent.sleep(0.005)


class FakeStreams(FakeBroker):
    """Its streams are in the state that the test says."""

    def __init__(self, engine: Any) -> None:
        super().__init__(engine)
        self.opened: list[int] = []
        self.closed: list[int] = []
        self.polled: list[int] = []
        self.states: dict[int, StreamState] = {}
        self._watchers: list[LoginListener] = []

    def try_credentials(self, environment: str, credentials: Any) -> list[FoundAccount]:
        return []

    def list_accounts(self, login: LoginRef) -> list[FoundAccount]:
        return []

    def open(self, login: LoginRef) -> None:
        if login.id not in self.states:
            self.opened.append(login.id)
            self.tell(login, StreamStatus.CONNECTING)

    def close(self, login_id: int) -> None:
        self.closed.append(login_id)
        self.states.pop(login_id, None)

    def resync(self, login_id: int) -> None:
        """Nothing: the test tells what there is."""

    def state(self, login_id: int) -> StreamState | None:
        return self.states.get(login_id)

    def budget(self, login_id: int) -> BudgetState | None:
        return BudgetState(5000, 3600, 4990, 1000, 0.0) if login_id in self.states else None

    def poll(self, login: LoginRef) -> None:
        self.polled.append(login.id)

    def watch(self, listener: LoginListener) -> None:
        self._watchers.append(listener)

    def tell(self, login: LoginRef, status: StreamStatus, **more: Any) -> None:
        """Its stream has this state from now on."""
        state = StreamState(status, more.pop("since", clock.now()), **more)
        self.states[login.id] = state
        for watcher in self._watchers:
            watcher(login, state)


_numbers = count(1)


@dataclass
class Desk:
    """One user's log-in at the broker, with its accounts."""

    app: APIFlask
    broker: FakeStreams
    user: User = field(default_factory=factories.user)
    login: BrokerLogin = field(init=False)

    def __post_init__(self) -> None:
        self.login = login_of(self.user)

    @property
    def ref(self) -> LoginRef:
        return LoginRef(self.login.id, self.user.id, NAME, "demo")

    def account(self) -> AccountRef:
        row = factories.account(
            self.user,
            broker=NAME,
            login_id=self.login.id,
            broker_account_id=str(next(_numbers)),
            status="disconnected",
        )
        return registry.ref(row)

    def connect(self, account: AccountRef) -> user_data.StreamOf:
        with self.app.app_context():
            return user_data.connect(self.user.id, account.id)

    def disconnect(self, account: AccountRef) -> user_data.StreamOf:
        with self.app.app_context():
            return user_data.disconnect(self.user.id, account.id)

    def live(self, **more: Any) -> None:
        self.broker.tell(self.ref, StreamStatus.LIVE, **more)

    def lost(self, **more: Any) -> None:
        self.broker.tell(self.ref, StreamStatus.DISCONNECTED, **more)

    def row(self, model: Any, row_id: int) -> Any:
        with writer.read() as connection:
            return connection.execute(
                select(model.__table__).where(model.__table__.c.id == row_id)
            ).one()

    def status(self, account: AccountRef) -> tuple[str, str | None]:
        row = self.row(Account, account.id)
        return row.status, row.last_error

    def rows(self, model: Any) -> list[Any]:
        with writer.read() as connection:
            return list(connection.execute(select(model.__table__).order_by(model.__table__.c.id)))

    def events(self, type: str) -> list[dict[str, Any]]:
        return [row.data for row in self.rows(Event) if row.type == type]

    def lines(self) -> list[str]:
        return [row.message for row in self.rows(StrategyLog)]


def login_of(user: User, **columns: Any) -> BrokerLogin:
    row = BrokerLogin(
        user_id=user.id,
        **{
            "broker": NAME,
            "environment": "demo",
            "identity_hash": str(next(_numbers)),
            "credentials_cipher": "",
            "device_id": "device",
            "is_wanted": False,
            **columns,
        },
    )
    factories.store(row)
    return row


@pytest.fixture
def broker(app: APIFlask) -> Iterator[FakeStreams]:
    with app.app_context():
        fake = FakeStreams(db.engine)
    user_data.attach(NAME, fake)
    yield fake
    registry._brokers.pop(NAME)


@pytest.fixture
def desk(app: APIFlask, broker: FakeStreams) -> Desk:
    return Desk(app, broker)


@pytest.fixture
def pushed(app: APIFlask, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, Any]]:
    """(room, event, data) of what is pushed."""
    sent: list[tuple[str, str, Any]] = []
    monkeypatch.setattr(pusher, "_send", lambda *message: sent.append(message))
    return sent


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting is short."""
    monkeypatch.setattr(user_data, "HELD_BACK_S", 0.02)
    monkeypatch.setattr(stream_states, "FLAP_S", 0.3)


def external(
    broker_id: str = "900",
    *,
    status: OrderStatus = OrderStatus.WORKING,
    side: Side = Side.BUY,
    at: datetime | None = None,
    filled: str = "0",
    ours: str | None = None,
) -> BrokerOrder:
    """An order of 2 ES at 5000 as a broker tells of it."""
    return BrokerOrder(
        broker_order_id=broker_id,
        client_order_id=ours,
        contract=ES,
        side=side,
        quantity=Decimal(2),
        filled_quantity=Decimal(filled),
        order_type=OrderType.LIMIT,
        status=status,
        limit_price=Decimal(5000),
        stop_price=None,
        avg_fill_price=None,
        reason=None,
        at=at or clock.now(),
    )
