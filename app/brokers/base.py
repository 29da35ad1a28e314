"""What every broker must do. One package beside this file per broker; ``tests/contract`` holds
the test that each of them passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from app.domain.trading import (
    BrokerBalance,
    BrokerFill,
    BrokerOrder,
    BrokerPosition,
    BrokerReport,
    OrderTicket,
    SoughtOrder,
)


@dataclass(frozen=True, slots=True)
class AccountRef:
    """Which account a call is about. ``broker_account_id`` is the broker's own name for it."""

    id: int
    user_id: int
    broker: str
    environment: str
    broker_account_id: str | None = None
    login_id: int | None = None


Listener = Callable[[AccountRef, BrokerReport], None]


class Broker(Protocol):
    """Verbs of a broker. No call may be made inside a database transaction.

    Every call may raise ``BrokerRefused`` (nothing works there), ``BrokerRateLimited`` (nothing
    works there, for now) or ``BrokerUnavailable`` (no clear answer: the order may exist).
    """

    def place_order(
        self, account: AccountRef, ticket: OrderTicket, *, client_order_id: str
    ) -> BrokerReport:
        """Send one order (with its bracket legs, where the ticket has them).

        Returns the state of the order, its legs, and every order and fill that the call
        changed. The same ``client_order_id`` again returns the first order and creates nothing.
        """
        ...

    def place_oco(
        self, account: AccountRef, first: OrderTicket, second: OrderTicket, *, ids: tuple[str, str]
    ) -> BrokerReport:
        """Two reduce-only orders of which one ends the other; ``ids`` are their client order
        ids."""
        ...

    def cancel_order(
        self, account: AccountRef, client_order_id: str, *, broker_order_id: str | None = None
    ) -> BrokerReport:
        """Cancel; the report says what the order is now. ``BrokerRefused`` with code
        ``not_open`` if it had already ended, ``not_found`` if the broker does not know it.
        ``broker_order_id``: the broker's own id, where it is known."""
        ...

    def modify_order(
        self,
        account: AccountRef,
        client_order_id: str,
        *,
        quantity: Decimal,
        limit_price: Decimal | None = None,
        stop_price: Decimal | None = None,
        broker_order_id: str | None = None,
    ) -> BrokerReport:
        """Give a resting order these terms, all of them. Refusals as for ``cancel_order``."""
        ...

    def find_order(
        self, account: AccountRef, client_order_id: str, *, sought: SoughtOrder | None = None
    ) -> BrokerOrder | None:
        """The order of that client order id, or None: the broker has none as far as it says now
        (``reconcile`` knows how long after the call that is no proof)."""
        ...

    def snapshot(self, account: AccountRef) -> BrokerReport:
        """Everything open on the account, read from the broker now (``is_complete``)."""
        ...

    def flatten(self, account: AccountRef) -> None:
        """Cancel what works and close what is held on the account, whoever sent it, and return
        when the broker says that nothing is left.

        Raises:
            BrokerUnavailable: it could not be shown that nothing is left.
        """
        ...

    def working_orders(self, account: AccountRef) -> list[BrokerOrder]: ...

    def fills(self, account: AccountRef, since: datetime | None = None) -> list[BrokerFill]:
        """Fills at or after ``since``, oldest first."""
        ...

    def positions(self, account: AccountRef) -> list[BrokerPosition]: ...

    def balance(self, account: AccountRef) -> BrokerBalance: ...

    def subscribe(self, listener: Listener) -> None:
        """Called from a greenlet, outside transactions, with what changes by itself (fills,
        expiries, cancelled legs). What a call's own report contained may be repeated."""
        ...
