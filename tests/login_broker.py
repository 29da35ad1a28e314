"""A broker with log-ins whose world is a dict: no network, no orders. It passes what the tests of
log-ins ask of a broker; for trading there is the simulator."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from app import clock
from app.brokers.base import AccountRef, Listener
from app.brokers.logins import (
    BudgetState,
    FoundAccount,
    LoginListener,
    LoginRef,
    LoginStore,
    StreamState,
    StreamStatus,
)
from app.domain.errors import BrokerError, BrokerRefused
from app.domain.trading import BrokerBalance, BrokerPosition, BrokerReport
from app.transactions import Writer

WRONG = "Incorrect username or password. Please try again."


@dataclass
class FakeLoginBroker:
    """``users``: (environment, name) to password and accounts. ``fails``: raised by every call."""

    store: LoginStore
    users: dict[tuple[str, str], tuple[str, list[FoundAccount]]] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)
    """OAuth codes that were not used yet, to user names."""
    fails: BrokerError | None = None
    tried: list[dict[str, Any]] = field(default_factory=list)
    opened: list[int] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)
    resynced: list[int] = field(default_factory=list)
    redirects: list[str] = field(default_factory=list)
    listeners: list[LoginListener] = field(default_factory=list)
    _states: dict[int, StreamState] = field(default_factory=dict)

    def add(self, environment: str, username: str, password: str, *accounts: FoundAccount) -> None:
        self.users[environment, username] = (password, list(accounts))

    # LoginBroker

    def try_credentials(
        self, environment: str, credentials: Mapping[str, Any]
    ) -> list[FoundAccount]:
        self._enter()
        self.tried.append(dict(credentials))
        return self._accounts(environment, credentials)

    def exchange_code(self, environment: str, code: str, redirect_uri: str) -> dict[str, Any]:
        self._enter()
        self.redirects.append(redirect_uri)
        name = self.codes.pop(code, None)
        if name is None:
            raise BrokerRefused("Tradovate refused (invalid_grant)", code="bad_credentials")
        token = {"access_token": f"token-of-{name}"}
        return {"identity": name, "client_id": "app", "client_secret": "s", "token": token}

    def open(self, login: LoginRef) -> None:
        self._enter()
        self.opened.append(login.id)
        try:
            self._accounts(login.environment, self.store.credentials(login.id), login.id)
        except BrokerRefused as e:
            self.tell(login, StreamStatus.STOPPED, e.detail, is_refused=True)
        else:
            self.tell(login, StreamStatus.LIVE)

    def close(self, login_id: int) -> None:
        self.closed.append(login_id)
        self._states.pop(login_id, None)

    def resync(self, login_id: int) -> None:
        self.resynced.append(login_id)

    def state(self, login_id: int) -> StreamState | None:
        return self._states.get(login_id)

    def budget(self, login_id: int) -> BudgetState | None:
        return BudgetState(5000, 3600, 4812, 1000, 0) if login_id in self._states else None

    def list_accounts(self, login: LoginRef) -> list[FoundAccount]:
        self._enter()
        return self._accounts(login.environment, self.store.credentials(login.id), login.id)

    def poll(self, login: LoginRef) -> None:
        self._enter()

    def watch(self, listener: LoginListener) -> None:
        self.listeners.append(listener)

    # Broker

    def subscribe(self, listener: Listener) -> None: ...

    def balance(self, account: AccountRef) -> BrokerBalance:
        self._enter()
        return BrokerBalance("USD", Decimal(50_000), Decimal(0), Decimal(50_000))

    def positions(self, account: AccountRef) -> list[BrokerPosition]:
        self._enter()
        return []

    def snapshot(self, account: AccountRef) -> BrokerReport:
        return BrokerReport(balance=self.balance(account), is_complete=True)

    # What the test does to it

    def tell(
        self,
        login: LoginRef,
        status: StreamStatus,
        reason: str | None = None,
        *,
        is_refused: bool = False,
    ) -> None:
        state = StreamState(status, clock.now(), reason, is_refused, last_message_at=clock.now())
        self._states[login.id] = state
        for listener in self.listeners:
            listener(login, state)

    # Inside

    def _accounts(
        self, environment: str, credentials: Mapping[str, Any], login_id: int | None = None
    ) -> list[FoundAccount]:
        if "username" not in credentials:
            token = credentials.get("token") or (self.store.token(login_id) if login_id else None)
            name = str((token or {}).get("access_token", "")).removeprefix("token-of-")
            return self.users[environment, name][1]
        password, accounts = self.users.get((environment, credentials["username"]), ("", []))
        if not password or password != credentials["password"]:
            raise BrokerRefused(f"Tradovate refused to sign in ({WRONG})", code="bad_credentials")
        return accounts

    def _enter(self) -> None:
        frame = sys._getframe()
        while frame is not None:
            assert frame.f_code is not _ATTEMPT, "the network inside a transaction"
            frame = frame.f_back  # type: ignore[assignment]
        if self.fails is not None:
            raise self.fails


def found(id: str, name: str = "", *, note: str | None = None) -> FoundAccount:
    """``note``: why it cannot be used."""
    return FoundAccount(id, name or f"DEMO{id}", "USD", note is None, note)


_ATTEMPT = Writer._attempt.__code__
