"""One execution under way: its plan, the calls that it waits for, and their answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from app.brokers.base import AccountRef
from app.domain.errors import TradingError
from app.domain.plans import (
    Step,
)
from app.domain.trading import (
    BrokerReport,
    OrderTicket,
    Origin,
)
from app.services.context import Subject


@dataclass(frozen=True, slots=True)
class Place:
    """Send one order (its row is ``submitting``)."""

    client_order_id: str
    ticket: OrderTicket


@dataclass(frozen=True, slots=True)
class PlaceOco:
    """Send two orders of which one ends the other."""

    ids: tuple[str, str]
    first: OrderTicket
    second: OrderTicket


@dataclass(frozen=True, slots=True)
class Cancel:
    client_order_id: str
    broker_order_id: str | None = None


@dataclass(frozen=True, slots=True)
class Modify:
    """Give a resting order these terms, all of them."""

    client_order_id: str
    broker_order_id: str | None
    quantity: Decimal
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to send: look again when something changed, at the latest at ``until``. What the
    broker does not tell by itself about the orders ``about`` is asked for."""

    until: datetime
    about: tuple[str, ...] = ()


Call = Place | PlaceOco | Cancel | Modify | Wait


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a call: a report, a refusal, or no clear answer (``is_unknown``)."""

    call: Call
    report: BrokerReport | None = None
    error: TradingError | None = None
    is_unknown: bool = False


@dataclass(slots=True)
class Run:
    """One execution under way. ``calls`` empty: it has ended."""

    id: int
    signal_id: int
    index: int
    subject: Subject
    request_id: str | None
    received_at: datetime
    plan: tuple[Step, ...] = ()
    step: int = 0
    origin: Origin = Origin.SIGNAL
    calls: list[Call] = field(default_factory=list)
    is_resumed: bool = False
    stored_step: int = 0
    sent_step: int = -1
    """The step whose order this run has sent already."""
    sent: list[str] = field(default_factory=list)
    """The client order ids of what it sent in that step."""
    is_in_doubt: bool = False
    """An answer of this step was not clear: what the broker has of it is read from its orders."""
    awaited: str | None = None
    """A market order that the broker took and has not filled yet."""
    asked: dict[str, datetime] = field(default_factory=dict)
    """Orders that this run has asked to cancel, and when it did so last."""
    waiting_until: datetime | None = None
    held_since: datetime | None = None
    held_until: datetime | None = None
    """The broker could not take what was to be sent, for a moment: it is planned again then."""
    holds: int = 0
    deferred_until: datetime | None = None
    """Set when the entry must wait: the lane goes on with what came later."""
    alert: Any = None
    failure: tuple[str, str] | None = None

    @property
    def account(self) -> AccountRef:
        return self.subject.account
