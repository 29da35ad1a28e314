"""What a decision sees (``Context``) and what it says (``Decision``: a plan and its trace)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from app.domain.brackets import LegPlan
from app.domain.settings import StrategySettings, canonical
from app.domain.signals.types import Signal
from app.domain.trading import (
    InstrumentFacts,
    OrderRole,
    OrderType,
    PositionSide,
    Quote,
    Side,
)

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Holding:
    """One contract of the trader's book beside what the broker says about it.

    ``broker_net`` is the whole account's position in the contract (None: not known, so not
    compared), ``broker_avg`` its average price, ``books_sum`` the sum of all books of the account
    in it (None: this book is the only one), ``books`` how many books trade it.
    """

    instrument: InstrumentFacts
    net_pos: Decimal = ZERO
    avg_price: Decimal | None = None
    broker_net: Decimal | None = None
    books_sum: Decimal | None = None
    books: int = 1
    broker_avg: Decimal | None = None

    @property
    def contract(self) -> str:
        return self.instrument.contract

    @property
    def side(self) -> PositionSide | None:
        return PositionSide.of(self.net_pos)

    @property
    def size(self) -> Decimal:
        return abs(self.net_pos)

    @property
    def is_in_sync(self) -> bool:
        expected = self.net_pos if self.books_sum is None else self.books_sum
        return self.broker_net is None or self.broker_net == expected


@dataclass(frozen=True, slots=True)
class WorkingOrder:
    """An order of the trader's book that may still fill. ``quantity`` is what is left of it."""

    client_order_id: str
    contract: str
    role: OrderRole
    side: Side
    quantity: Decimal
    price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class AccountState:
    is_enabled: bool = True
    kill_switch: bool = False
    is_locked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Everything that a decision may look at.

    ``signal`` is the one to act on: where the strategy trades inverse, it was swapped before.
    ``settings`` are the effective values. ``instrument`` is what an entry would trade; exits use
    the contracts in ``holdings``. A holding that is flat still tells whether the broker agrees.
    """

    signal: Signal
    settings: StrategySettings
    instrument: InstrumentFacts
    now: datetime
    received_at: datetime
    holdings: tuple[Holding, ...] = ()
    orders: tuple[WorkingOrder, ...] = ()
    quote: Quote | None = None
    equity: Decimal | None = None
    account: AccountState = AccountState()


@dataclass(frozen=True, slots=True)
class Adopt:
    """The broker's net position becomes the book; what differs is booked at ``price``."""

    contract: str
    net_pos: Decimal
    price: Decimal


@dataclass(frozen=True, slots=True)
class CancelOrders:
    """Cancel these and wait until each is confirmed as ended; what they filled meanwhile counts."""

    ids: tuple[str, ...]
    roles: tuple[OrderRole, ...]


@dataclass(frozen=True, slots=True)
class Close:
    """Reduce the book at market. ``is_whole``: all that the book holds when it is sent, should a
    fill have come in since; never more than the book holds then, whatever ``quantity`` says."""

    contract: str
    side: Side
    quantity: Decimal
    is_whole: bool


@dataclass(frozen=True, slots=True)
class AwaitFlat:
    """Go on only when the book holds none of these contracts; close what filled in between."""

    contracts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Enter:
    """Open or raise a position, not before ``not_before`` and not after ``deadline``.

    The legs belong to this order alone; an add has none and is followed by ``Reprotect``.
    ``reference_price`` is the alert's own.
    """

    contract: str
    side: Side
    quantity: Decimal
    order_type: OrderType
    limit_price: Decimal | None
    stop_price: Decimal | None
    take_profit: LegPlan | None
    stop_loss: LegPlan | None
    not_before: datetime
    deadline: datetime
    reference_price: Decimal | None


@dataclass(frozen=True, slots=True)
class Net:
    """One market order that closes ``closes`` and opens ``opens`` on the other side; ``quantity``
    is their sum."""

    contract: str
    side: Side
    quantity: Decimal
    closes: Decimal
    opens: Decimal
    deadline: datetime
    reference_price: Decimal | None


@dataclass(frozen=True, slots=True)
class MoveStop:
    """Put the stop of the whole book at ``price``."""

    contract: str
    price: Decimal


@dataclass(frozen=True, slots=True)
class Reprotect:
    """Replace the bracket by one for the whole book: cancel the old legs, confirm, place new ones.
    A given price is the leg's own; otherwise the settings' distance counts."""

    contract: str
    take_profit: Decimal | None = None
    stop_loss: Decimal | None = None


@dataclass(frozen=True, slots=True)
class CorrectLegs:
    """Move the bracket's legs to their distances from the price at which the entry was filled;
    until then they could only be counted from the price that it asked for."""

    contract: str


Step = Adopt | CancelOrders | Close | AwaitFlat | Enter | Net | MoveStop | Reprotect | CorrectLegs


class Verdict(StrEnum):
    """``refuse`` where the signal makes no sense here, ``skip`` where it is not wanted."""

    TRADE = "trade"
    SKIP = "skip"
    REFUSE = "refuse"
    EXPIRED = "expired"


class Outcome(StrEnum):
    """What one rule did to the signal."""

    PASS = "pass"  # noqa: S105
    CHANGED = "changed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the trace. ``inputs`` as text, for machines; ``words`` for the trader."""

    rule: str
    inputs: Mapping[str, str]
    verdict: Outcome
    words: str


@dataclass(frozen=True, slots=True)
class Decision:
    """``reason`` is the code of the rule that stopped the signal, or its entering half where the
    exit still runs; None where nothing was stopped."""

    verdict: Verdict
    reason: str | None
    words: str
    plan: tuple[Step, ...]
    trace: tuple[Rule, ...]


def step_to_json(step: Step) -> dict[str, Any]:
    """``{"step": "Close", ...}`` with decimals as text."""
    return {"step": type(step).__name__} | {
        field.name: _plain(getattr(step, field.name)) for field in fields(step)
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return canonical(value)
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, LegPlan):
        return {"offset": _plain(value.offset), "price": _plain(value.price)}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def step_from_json(document: Mapping[str, Any]) -> Step:
    """The step that ``step_to_json`` wrote."""
    kind = _STEPS[document["step"]]
    values = {f.name: _READ.get(f.name, _as_is)(document[f.name]) for f in fields(kind)}
    step: Step = kind(**values)
    return step


def _as_is(value: Any) -> Any:
    return value


def _decimal(value: str | None) -> Decimal | None:
    return None if value is None else Decimal(value)


def _leg_or_price(value: Any) -> LegPlan | Decimal | None:
    """A leg is an object, a leg's own price a text."""
    if isinstance(value, Mapping):
        return LegPlan(_decimal(value["offset"]), _decimal(value["price"]))
    return _decimal(value)


_STEPS: Mapping[str, Any] = {
    kind.__name__: kind
    for kind in (
        Adopt,
        CancelOrders,
        Close,
        AwaitFlat,
        Enter,
        Net,
        MoveStop,
        Reprotect,
        CorrectLegs,
    )
}
_READ: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(
        (
            "net_pos",
            "quantity",
            "closes",
            "opens",
            "price",
            "limit_price",
            "stop_price",
            "reference_price",
        ),
        _decimal,
    ),
    **dict.fromkeys(("take_profit", "stop_loss"), _leg_or_price),
    **dict.fromkeys(("not_before", "deadline"), datetime.fromisoformat),
    "side": Side,
    "order_type": OrderType,
    "ids": tuple,
    "contracts": tuple,
    "roles": lambda words: tuple(OrderRole(word) for word in words),
}
