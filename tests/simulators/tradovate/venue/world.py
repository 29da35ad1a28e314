"""What the parts of one venue share: the clock, the rows, the quotes and the live orders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.simulators.tradovate.venue.library import NEW_YORK, Contract, Library
from tests.simulators.tradovate.venue.schema import FINAL
from tests.simulators.tradovate.venue.store import Store
from tests.simulators.tradovate.venue.switches import Switches
from tests.simulators.tradovate.venue.wire import Row, as_date, iso

SESSION_START_HOUR = 18
SATURDAY = 5


@dataclass(frozen=True, slots=True)
class Terms:
    """What an order asks: one OrderVersion. Prices are Decimal, ``peg`` is a distance > 0."""

    order_type: str
    qty: int
    price: Decimal | None = None
    stop_price: Decimal | None = None
    touch_price: Decimal | None = None
    peg: Decimal | None = None
    time_in_force: str = "Day"
    expire_time: datetime | None = None
    max_show: int | None = None
    text: str | None = None

    def only(self, kept: tuple[str, ...]) -> Terms:
        """Without the prices that the order type does not use."""
        return replace(
            self,
            price=self.price if "price" in kept else None,
            stop_price=self.stop_price if "stop_price" in kept else None,
            touch_price=self.touch_price if "touch_price" in kept else None,
        )

    def with_qty(self, qty: int) -> Terms:
        return replace(self, qty=qty)

    def as_row(self) -> Row:
        row = {
            "orderQty": self.qty,
            "orderType": self.order_type,
            "price": self.price,
            "stopPrice": self.stop_price,
            "limitIfTouchedPrice": self.touch_price,
            "maxShow": self.max_show,
            "pegDifference": self.peg,
            "timeInForce": self.time_in_force,
            "expireTime": iso(self.expire_time) if self.expire_time else None,
            "text": self.text,
        }
        return {key: value for key, value in row.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Tags:
    """Who sent a command, and the marks it carries. ``sender_id`` None: the venue itself."""

    sender_id: int | None = None
    cl_ord_id: str | None = None
    custom_tag: str | None = None
    is_automated: bool = False
    activation: datetime | None = None

    def as_row(self) -> Row:
        row = {
            "clOrdId": self.cl_ord_id,
            "senderId": self.sender_id,
            "userSessionId": self.sender_id,
            "activationTime": iso(self.activation) if self.activation else None,
            "customTag50": self.custom_tag,
            "isAutomated": self.is_automated,
        }
        return {key: value for key, value in row.items() if value is not None}


SYSTEM = Tags()


@dataclass(slots=True)
class Pending:
    """A Modify or Cancel that is not done. ``terms`` is what a Modify asks for."""

    command_id: int
    terms: Terms | None = None


@dataclass(slots=True, eq=False)
class LiveOrder:
    """One order with everything the API splits over four entities."""

    id: int
    account_id: int
    contract: Contract
    action: str
    terms: Terms
    tags: Tags
    command_id: int
    version_id: int
    status: str = "PendingNew"
    filled: int = 0
    value: Decimal = Decimal(0)
    """Sum of price x quantity of its fills."""
    last_price: Decimal | None = None
    links: Row = field(default_factory=dict)
    """``parentId`` and ``ocoId`` as the row shows them."""
    triggered: bool = False
    rested: bool = False
    pending: Pending | None = None
    group: Group | None = None
    """Of what this order is a leg."""
    groups: list[Group] = field(default_factory=list)
    """The brackets that wait for this entry."""
    strategy_id: int | None = None

    @property
    def sign(self) -> int:
        return 1 if self.action == "Buy" else -1

    @property
    def remaining(self) -> int:
        return self.terms.qty - self.filled

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def is_resting(self) -> bool:
        return self.status in {"Working", "PendingCancel", "PendingReplace"}


@dataclass(slots=True, eq=False)
class Group:
    """Orders that cancel each other. With an ``entry`` they work for what it has filled.

    Of the entry's fills, the first ``offset`` contracts belong to other brackets and the next
    ``cap`` (None: all others) to this one. The offsets
    (points, signed) are those of a strategy's bracket.
    """

    legs: list[LiveOrder]
    entry: LiveOrder | None = None
    offset: int = 0
    cap: int | None = None
    target_offset: Decimal | None = None
    stop_offset: Decimal | None = None
    trail: AutoTrail | None = None

    @property
    def is_complete(self) -> bool:
        """No further contract will be given to these legs."""
        return self.entry is None or self.entry.is_final or self.entitled == self.cap

    @property
    def entitled(self) -> int:
        filled = self.entry.filled if self.entry else 0
        mine = max(0, filled - self.offset)
        return mine if self.cap is None else min(self.cap, mine)

    def partner(self, leg: LiveOrder) -> LiveOrder | None:
        return next((other for other in self.legs if other is not leg), None)


@dataclass(frozen=True, slots=True)
class AutoTrail:
    """After ``trigger`` points of profit the stop follows at ``stop_loss``, by ``freq``."""

    stop_loss: Decimal
    trigger: Decimal
    freq: Decimal


@dataclass(slots=True)
class Quote:
    bid: Decimal
    ask: Decimal
    last: Decimal


@dataclass(slots=True)
class Account:
    """The limits of an account that no entity shows here."""

    id: int
    name: str
    user_id: int
    closed: bool = False
    locked: bool = False
    liquidate_only: bool = False
    max_order_qty: int | None = None
    max_position: int | None = None


@dataclass(slots=True)
class World:
    now: Callable[[], datetime]
    store: Store
    library: Library
    switches: Switches
    shapes: str
    average: str
    quotes: dict[int, Quote] = field(default_factory=dict)
    orders: dict[int, LiveOrder] = field(default_factory=dict)
    accounts: dict[int, Account] = field(default_factory=dict)
    resting: dict[tuple[int, int], dict[int, LiveOrder]] = field(default_factory=dict)
    """(account, contract) -> its orders that are not final."""

    @property
    def is_2026(self) -> bool:
        return self.shapes == "2026"

    def stamp(self) -> str:
        return iso(self.now())

    def trade_date(self) -> Row:
        return as_date(session_day(self.now()))

    def open_orders(self, account_id: int, contract_id: int) -> dict[int, LiveOrder]:
        return self.resting.setdefault((account_id, contract_id), {})

    def add(self, entity: str, account_id: int, **row: Any) -> Row:
        return self.store.add(entity, row, account_id=account_id)


def session_day(moment: datetime) -> date:
    """The day of the trading session: it begins at 18:00 New York, and no session is a weekend."""
    local = moment.astimezone(NEW_YORK)
    day = local.date() + timedelta(days=local.hour >= SESSION_START_HOUR)
    while day.weekday() >= SATURDAY:
        day += timedelta(days=1)
    return day
