"""The broker's words for ours, both ways: enums, numbers, instants, the fields of an order.

What is not in a table here is unknown: it is left out of reports, never guessed.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from app.domain.errors import BrokerRefused
from app.domain.trading import OrderStatus, OrderTicket, OrderType, Side, TimeInForce

Entity = dict[str, Any]
"""One row of the API, as the lists, the answers and the stream all give it."""

ACTIONS = {Side.BUY: "Buy", Side.SELL: "Sell"}
ORDER_TYPES = {
    OrderType.MARKET: "Market",
    OrderType.LIMIT: "Limit",
    OrderType.STOP: "Stop",
    OrderType.STOP_LIMIT: "StopLimit",
}
"""What we send. A trailing stop needs a distance, which a ticket does not have: the engine moves
its stops itself."""
TIMES_IN_FORCE = {
    TimeInForce.GTC: "GTC",
    TimeInForce.DAY: "Day",
    TimeInForce.GTD: "GTD",
    TimeInForce.IOC: "IOC",
    TimeInForce.FOK: "FOK",
}
FINAL = frozenset({"Filled", "Canceled", "Rejected", "Expired", "Completed"})
"""An ``ordStatus`` that is never left."""
REJECTED_COMMAND = frozenset({"RiskRejected", "ExecutionRejected"})

_SIDES = {word: side for side, word in ACTIONS.items()}
_TYPES = {word: kind for kind, word in ORDER_TYPES.items()} | {
    "TrailingStop": OrderType.TRAILING_STOP,
    "TrailingStopLimit": OrderType.TRAILING_STOP,
    "MIT": OrderType.LIMIT,
    "LimitIfTouched": OrderType.LIMIT,
}
_OPEN_STATUSES = {
    "PendingNew": OrderStatus.WORKING,
    "Working": OrderStatus.WORKING,
    "PendingReplace": OrderStatus.WORKING,
    "PendingCancel": OrderStatus.CANCEL_PENDING,
    "Suspended": OrderStatus.INACTIVE,
}
_FINAL_STATUSES = {
    "Filled": OrderStatus.FILLED,
    "Canceled": OrderStatus.CANCELLED,
    "Rejected": OrderStatus.REJECTED,
    "Expired": OrderStatus.EXPIRED,
}
_CURRENCIES = {1: "USD"}
_DEFAULT_CURRENCY = "USD"
_INSTANT = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?)?"
    r"(Z|[+-]\d{2}:?\d{2})?"
)


def side_of(action: object) -> Side | None:
    return _SIDES.get(str(action))


def order_type_of(name: object) -> OrderType | None:
    return _TYPES.get(str(name))


def status_of(
    name: object, quantity: Decimal, filled: Decimal, *, may_grow: bool = False
) -> OrderStatus:
    """Our word for an ``ordStatus``, which has none for a part filled.

    Fills prove more than the status says: an order that still works by its status and has all of
    its quantity is filled; but for a leg, which ``may_grow`` with what its entry still fills. A
    word that is not known (``Unknown`` is one of the schema's) is no end: such an order may still
    fill, and one that is left out would be taken for gone.
    """
    status = str(name)
    if status == "Completed":
        return OrderStatus.FILLED if filled >= quantity else OrderStatus.CANCELLED
    if status in _FINAL_STATUSES:
        return _FINAL_STATUSES[status]
    known = _OPEN_STATUSES.get(status, OrderStatus.WORKING)
    if not filled:
        return known
    if filled >= quantity and not may_grow:
        return OrderStatus.FILLED
    return OrderStatus.PARTIALLY_FILLED if known is OrderStatus.WORKING else known


def currency_of(currency_id: object) -> str:
    return _CURRENCIES.get(integer(currency_id) or 0, _DEFAULT_CURRENCY)


def instant(text: object) -> datetime | None:
    """An aware UTC instant; the service leaves out seconds and fractions at times."""
    found = _INSTANT.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        return None
    day, minutes, seconds, fraction, zone = found.groups()
    written = (
        f"{day}T{minutes or '00:00'}:{seconds or '00'}.{(fraction or '0')[:6]:0<6}"
        f"{'+00:00' if zone in (None, 'Z') else zone}"
    )
    try:
        return datetime.fromisoformat(written).astimezone(UTC)
    except ValueError:
        return None


def written(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def decimal(value: object) -> Decimal | None:
    """A JSON number by its text; None for what is none."""
    if value is None or isinstance(value, bool):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def integer(value: object) -> int | None:
    """An id or a count; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return None
    try:
        return int(value)
    except (ValueError, OverflowError):
        return None


def number(value: Decimal) -> int | float:
    """A JSON number that reads as the decimal does: 20000.25, not 20000.250000000001."""
    whole = value == value.to_integral_value()
    return int(value) if whole else float(value)


def quantity(value: Decimal) -> int:
    """Contracts are whole and at least one.

    Raises:
        BrokerRefused: ``invalid_quantity``; nothing was sent.
    """
    if value != value.to_integral_value() or value < 1:
        raise BrokerRefused(
            f"Tradovate takes whole contracts, at least one; this is {value.normalize():f}.",
            code="invalid_quantity",
        )
    return int(value)


def terms(ticket: OrderTicket, *, lasts: bool = False) -> Entity:
    """``orderType``, the prices it needs and ``timeInForce``. ``lasts``: a market order keeps its
    time in force, since its exits take it over.

    The trigger of a stop goes in ``stopPrice`` (reference 3.3: the pages disagree, and every
    client in production sends that).

    Raises:
        BrokerRefused: ``unsupported``; nothing was sent.
    """
    name = ORDER_TYPES.get(ticket.order_type)
    if name is None or ticket.post_only:
        what = "post-only orders" if name else f"{ticket.order_type.replace('_', ' ')} orders"
        raise BrokerRefused(f"Tradovate is not sent {what}.", code="unsupported")
    fields: Entity = {"orderType": name, "timeInForce": TIMES_IN_FORCE[ticket.tif]}
    if ticket.order_type is OrderType.MARKET and ticket.tif is TimeInForce.GTC and not lasts:
        fields["timeInForce"] = "Day"
    if ticket.limit_price is not None:
        fields["price"] = number(ticket.limit_price)
    if ticket.stop_price is not None:
        fields["stopPrice"] = number(ticket.stop_price)
    if ticket.tif is TimeInForce.GTD and ticket.expire_at is not None:
        fields["expireTime"] = written(ticket.expire_at)
    return fields
