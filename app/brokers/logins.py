"""Brokers that are reached through a log-in: what they need of us, and what they tell."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from app.brokers.base import AccountRef, Broker


@dataclass(frozen=True, slots=True)
class LoginRef:
    """Which log-in a call is about."""

    id: int
    user_id: int
    broker: str
    environment: str


class StreamStatus(StrEnum):
    """The states of a user stream, as in the reference of user-data streams, section 7."""

    STOPPED = "stopped"
    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    AUTHENTICATING = "authenticating"
    SYNCING = "syncing"
    LIVE = "live"
    DEGRADED = "degraded"


@dataclass(frozen=True, slots=True)
class StreamState:
    """``is_refused``: the broker turned the credentials down; no retry until a person acts.
    ``blocked_until``: the broker asked for silence until then. ``epoch`` counts successful
    synchronisations; ``repaired`` what the last one brought that the stream had missed."""

    status: StreamStatus
    since: datetime
    reason: str | None = None
    is_refused: bool = False
    blocked_until: datetime | None = None
    reconnects: int = 0
    epoch: int = 0
    repaired: int = 0
    last_message_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A log-in's request budget: how many requests are left in the window, how many of them are
    kept for exits and cancels, and for how long the next ordinary request must wait."""

    limit: int
    window_s: int
    left: int
    reserve: int
    wait_s: float


@dataclass(frozen=True, slots=True)
class FoundAccount:
    """An account that a log-in has. ``id`` is what ``broker_account_id`` keeps."""

    id: str
    name: str
    currency: str
    is_usable: bool
    note: str | None = None


class LoginStore(Protocol):
    """What a broker's package may read and keep of a log-in. No call opens a transaction around
    the network; every call is short."""

    def credentials(self, login_id: int) -> Mapping[str, Any]:
        """Decrypted. For Tradovate: ``username, password, client_id, client_secret, app_id?,
        device_id`` or, by OAuth, ``refresh_token?, client_id, client_secret, device_id``."""
        ...

    def token(self, login_id: int) -> dict[str, Any] | None:
        """The session that was kept, as ``save_token`` was given it."""
        ...

    def save_token(self, login_id: int, token: dict[str, Any] | None) -> None: ...

    def renewing(self, login_id: int) -> AbstractContextManager[None]:
        """Held while a token is renewed or a session opened: one at a time, in all processes."""
        ...

    def accounts(self, login_id: int) -> tuple[AccountRef, ...]:
        """Our accounts on this log-in."""
        ...


class LoginListener(Protocol):
    """Told from a greenlet, outside transactions, at every change of a stream's state."""

    def __call__(self, login: LoginRef, state: StreamState) -> None: ...


class LoginBroker(Broker, Protocol):
    """A broker that is reached through log-ins."""

    def try_credentials(
        self, environment: str, credentials: Mapping[str, Any]
    ) -> list[FoundAccount]:
        """Sign in with these and list the accounts; nothing is kept but, for a short while and in
        memory, the session, so that saving the same credentials next opens no second one.

        Raises:
            BrokerRefused: with the broker's words (``bad_credentials``, ``captcha``, ...).
        """
        ...

    def open(self, login: LoginRef) -> None:
        """Keep the log-in's stream running from now on. Idempotent."""
        ...

    def close(self, login_id: int) -> None:
        """End the stream, within two seconds. Idempotent."""
        ...

    def resync(self, login_id: int) -> None:
        """Its accounts here have changed: let a stream that runs ask for those that there are
        now."""
        ...

    def state(self, login_id: int) -> StreamState | None: ...

    def budget(self, login_id: int) -> BudgetState | None: ...

    def list_accounts(self, login: LoginRef) -> list[FoundAccount]: ...

    def poll(self, login: LoginRef) -> None:
        """Read the log-in's lists once (all its accounts at once) and tell listeners one complete
        report per account.

        Raises:
            BrokerError: nothing was told.
        """
        ...

    def watch(self, listener: LoginListener) -> None: ...
