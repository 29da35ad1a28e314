"""What the engine remembers and what one step of it changes: plain values for the caller to store.

Money is in the account's currency. ``number`` comes from one counter per account, so that orders,
fills and ledger entries of an account have a common order and the same inputs give the same ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from app.domain.trading import OrderRole, OrderStatus, OrderType, Origin, Side, TimeInForce

ZERO = Decimal(0)

OPEN_STATUSES = frozenset(
    {
        OrderStatus.INACTIVE,
        OrderStatus.WORKING,
        OrderStatus.TRIGGERED,
        OrderStatus.PARTIALLY_FILLED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperAccount:
    """``cash`` is all the money; ``reserved`` is the part of it that holds and margins bind."""

    id: int
    currency: str = "USD"
    cash: Decimal = ZERO
    reserved: Decimal = ZERO
    next_number: int = 1
    enabled: bool = True
    respect_size: bool = True

    @property
    def available(self) -> Decimal:
        """Negative only where losses ate into the margin of open positions."""
        return self.cash - self.reserved


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperPosition:
    """What one account holds of one contract.

    ``realized`` is the P&L since the position was last flat, unrounded, and ``booked`` the part
    of it that was paid into cash. ``taken_bid`` and ``taken_ask`` are what this account already
    took from the sizes of the quote of ``quote_at``.
    """

    account_id: int
    contract: str
    net_pos: Decimal = ZERO
    avg_price: Decimal | None = None
    margin: Decimal = ZERO
    realized: Decimal = ZERO
    booked: Decimal = ZERO
    quote_at: datetime | None = None
    taken_bid: Decimal = ZERO
    taken_ask: Decimal = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperOrder:
    """One order with everything that its next step depends on.

    ``held_back`` is the part of a bracket leg that waits for its entry to fill. ``value`` is the
    sum of quantity x price of its fills; ``fee_exact`` the sum of its fees before rounding and
    ``fee`` what was charged. ``hold`` is the money still reserved for it. It fills on quotes
    later than ``active_at`` only.
    """

    account_id: int
    number: int
    client_order_id: str
    contract: str
    side: Side
    quantity: Decimal
    order_type: OrderType
    tif: TimeInForce
    status: OrderStatus
    priority: int
    active_at: datetime
    created_at: datetime
    updated_at: datetime
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    offset: Decimal | None = None
    expire_at: datetime | None = None
    reduce_only: bool = False
    post_only: bool = False
    origin: Origin = Origin.SIGNAL
    role: OrderRole | None = None
    parent: str | None = None
    group: str | None = None
    has_legs: bool = False
    triggered: bool = False
    filled: Decimal = ZERO
    value: Decimal = ZERO
    held_back: Decimal = ZERO
    hold: Decimal = ZERO
    fee_exact: Decimal = ZERO
    fee: Decimal = ZERO
    reason: str | None = None

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_STATUSES

    @property
    def leaves(self) -> Decimal:
        """What may fill now."""
        return self.quantity - self.filled - self.held_back

    @property
    def rests_as_stop(self) -> bool:
        return self.stop_price is not None and not self.triggered

    @property
    def avg_fill_price(self) -> Decimal | None:
        return self.value / self.filled if self.filled else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperFill:
    account_id: int
    number: int
    client_order_id: str
    order_number: int
    contract: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    realized: Decimal
    liquidity: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One change of an account's money; ``available`` and ``reserved`` are what it left behind.

    Kinds: deposit, withdrawal, hold, release, margin, realized, fee.
    """

    account_id: int
    number: int
    kind: str
    available_change: Decimal
    reserved_change: Decimal
    available: Decimal
    reserved: Decimal
    client_order_id: str | None
    fill_number: int | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Step:
    """Everything that one step changes: the new state of each touched record, and new rows.

    It is false where nothing changed. ``position`` is None where it stayed as it was.
    """

    account: PaperAccount
    position: PaperPosition | None = None
    orders: tuple[PaperOrder, ...] = ()
    fills: tuple[PaperFill, ...] = ()
    ledger: tuple[LedgerEntry, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.orders or self.ledger or self.position)
