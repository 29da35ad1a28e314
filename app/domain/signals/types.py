"""The normalised signal: what an alert means once it was understood."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


class Action(StrEnum):
    BUY = "buy"
    SELL = "sell"
    CLOSE = "close"
    CLOSE_LONG = "close_long"
    CLOSE_SHORT = "close_short"
    CANCEL = "cancel"
    ADD = "add"
    REVERSE = "reverse"
    BREAKEVEN = "breakeven"


class Target(StrEnum):
    """The position that the sender wants, or believes, to have."""

    LONG = "long"
    SHORT = "short"
    FLAT = "flat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One order that an alert asks for.

    ``quantity`` None: not stated (for closes: the whole position). ``quantity_type`` is
    ``fixed_quantity``, ``percent`` or one of the other words of the format. ``target_size`` and
    ``previous_size`` are absolute. ``side`` is the new side that a ``reverse`` message named, or
    the side held that an ``add`` message named.
    """

    action: Action
    symbol: str
    exchange: str | None = None
    quantity: Decimal | None = None
    quantity_type: str = "fixed_quantity"
    target: Target | None = None
    target_size: Decimal | None = None
    previous: Target | None = None
    previous_size: Decimal | None = None
    side: Target | None = None
    fired_at: datetime | None = None
    reduce_only: bool = False
    price: Decimal | None = None
    order_type: str | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    take_profit: Decimal | None = None
    stop_loss: Decimal | None = None
    time: str | None = None
    interval: str | None = None
    order_id: str | None = None
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Decoded:
    """What one body was understood as. ``secret`` is the body's own passphrase, never stored."""

    signals: tuple[Signal, ...]
    warnings: tuple[str, ...] = ()
    secret: str | None = field(default=None, repr=False)
