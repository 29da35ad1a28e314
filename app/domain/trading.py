"""Words and values shared by decisions, brokers, matching and books.

Quantities of orders and fills are positive with a side; positions (``net_pos``) are signed,
short is negative. Prices and money are ``Decimal``; instants are aware UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> Side:
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderType(StrEnum):
    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"
    TRAILING_STOP = "trailing_stop"


class TimeInForce(StrEnum):
    GTC = "gtc"
    DAY = "day"
    GTD = "gtd"
    IOC = "ioc"
    FOK = "fok"


class Origin(StrEnum):
    """Who asked for an order. All but ``manual`` are automated at the broker."""

    SIGNAL = "signal"
    MANUAL = "manual"
    RISK = "risk"
    BRACKET = "bracket"
    RECONCILE = "reconcile"
    COPY = "copy"


class OrderRole(StrEnum):
    """What an order is for in its book."""

    ENTRY = "entry"
    EXIT = "exit"
    TAKE_PROFIT = "take_profit"
    STOP_LOSS = "stop_loss"


class OrderStatus(StrEnum):
    """The states of ``docs/architecture.md``; legal moves are in ``domain.orders``."""

    CREATED = "created"
    SUBMITTING = "submitting"
    WORKING = "working"
    TRIGGERED = "triggered"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCEL_PENDING = "cancel_pending"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    NOT_FOUND = "not_found"
    INACTIVE = "inactive"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Quote:
    """The best prices of one contract at ``at``. Sizes are None where the feed has none."""

    symbol: str
    bid: Decimal
    ask: Decimal
    at: datetime
    bid_size: Decimal | None = None
    ask_size: Decimal | None = None
    last: Decimal | None = None


@dataclass(frozen=True, slots=True)
class LegTicket:
    """One protective leg. Exactly one of ``offset`` (points from the entry's fill price, always
    positive, applied away from or against the position by role) and ``price`` is set."""

    client_order_id: str
    offset: Decimal | None = None
    price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class OrderTicket:
    """What we decided to ask a broker for.

    ``contract`` is the traded contract's code (MNQZ6, BTCUSDT, AAPL). With ``take_profit`` or
    ``stop_loss`` the order is a bracket: the legs rest inactive at the broker until it fills,
    follow its partial fills, are reduce-only and cancel each other (OCO).
    ``reference_price`` is the alert's own price: the one-shot quote where no feed knows the symbol.
    """

    contract: str
    side: Side
    quantity: Decimal
    order_type: OrderType = OrderType.MARKET
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    tif: TimeInForce = TimeInForce.GTC
    expire_at: datetime | None = None
    reduce_only: bool = False
    post_only: bool = False
    origin: Origin = Origin.SIGNAL
    take_profit: LegTicket | None = None
    stop_loss: LegTicket | None = None
    reference_price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class BrokerFill:
    """One execution as the broker reports it. ``fee`` in account currency, positive = paid; zero
    may say that it is not known yet. ``is_busted``: the broker has cancelled the trade."""

    fill_id: str
    client_order_id: str | None
    broker_order_id: str
    contract: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    at: datetime
    liquidity: str = "unknown"  # maker | taker | unknown
    is_busted: bool = False


@dataclass(frozen=True, slots=True)
class BrokerOrder:
    """The full state of one order at the broker, never a difference."""

    broker_order_id: str
    client_order_id: str | None
    contract: str
    side: Side
    quantity: Decimal
    filled_quantity: Decimal
    order_type: OrderType
    status: OrderStatus
    limit_price: Decimal | None
    stop_price: Decimal | None
    avg_fill_price: Decimal | None
    reason: str | None
    at: datetime
    role: OrderRole | None = None


@dataclass(frozen=True, slots=True)
class BrokerPosition:
    """A net position. ``at``: the broker's time of it; an older one changes nothing."""

    contract: str
    net_pos: Decimal
    avg_price: Decimal | None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class BrokerBalance:
    """Account money in ``currency``. ``equity`` = cash + open P&L; ``reserved`` is part of cash.
    ``at``: the broker's time of it."""

    currency: str
    cash: Decimal
    reserved: Decimal
    equity: Decimal
    realized_today: Decimal | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class BrokerReport:
    """What became known in one answer or one push, in any number.

    ``orders`` with no ``client_order_id`` are not ours. ``is_complete``: every order that may
    still fill and every position that is not flat is in here, so what is missing has ended.
    """

    orders: tuple[BrokerOrder, ...] = ()
    fills: tuple[BrokerFill, ...] = ()
    positions: tuple[BrokerPosition, ...] = ()
    balance: BrokerBalance | None = None
    is_complete: bool = False


@dataclass(frozen=True, slots=True)
class SoughtOrder:
    """What we know of an order that is looked for. A broker that cannot be asked for our id
    matches by it; ``taken`` are the broker's ids of our other orders, which it is not."""

    client_order_id: str
    broker_order_id: str | None
    contract: str
    side: Side
    quantity: Decimal
    order_type: OrderType
    limit_price: Decimal | None
    stop_price: Decimal | None
    sent_at: datetime
    parent_client_order_id: str | None = None
    taken: frozenset[str] = frozenset()


class PositionSide(StrEnum):
    """Which way a position that is not flat stands."""

    LONG = "long"
    SHORT = "short"

    @property
    def sign(self) -> int:
        return 1 if self is PositionSide.LONG else -1

    @property
    def opening(self) -> Side:
        """The side of an order that opens or raises such a position."""
        return Side.BUY if self is PositionSide.LONG else Side.SELL

    @property
    def closing(self) -> Side:
        return self.opening.opposite

    @property
    def opposite(self) -> PositionSide:
        return PositionSide.SHORT if self is PositionSide.LONG else PositionSide.LONG

    @classmethod
    def of(cls, net_pos: Decimal) -> PositionSide | None:
        """The side of a signed position; None when flat."""
        if not net_pos:
            return None
        return cls.LONG if net_pos > 0 else cls.SHORT


class InstrumentFacts(Protocol):
    """What rules need to know of a traded contract.

    ``tick_size`` in points, ``point_value`` in currency per point and contract, ``lot_step`` the
    smallest quantity and the step between quantities.
    """

    @property
    def contract(self) -> str: ...
    @property
    def tick_size(self) -> Decimal: ...
    @property
    def point_value(self) -> Decimal: ...
    @property
    def lot_step(self) -> Decimal: ...
