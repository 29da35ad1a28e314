"""The watch over what protects open positions.

A book whose strategy wants a stop must have a working one for all that it holds; a leg of a
bracket has nothing to do on a flat book; legs that could only be counted from the price that an
entry asked for belong where its fill puts them. What is wrong twice in a row, while nobody works
on the account, raises an alarm and is repaired in the account's lane.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from time import monotonic
from typing import Any

from gevent.pool import Group
from sqlalchemy import Connection, and_, select

from app.brokers.base import AccountRef
from app.domain.errors import TradingError
from app.domain.orders import TERMINAL
from app.domain.plans import CancelOrders, CorrectLegs, Reprotect, Step
from app.domain.settings import StopLoss
from app.domain.trading import OrderRole, OrderStatus, Origin, PositionSide, Side
from app.extensions import writer
from app.models import Book, Execution, LivePosition, Order
from app.models.base import table
from app.models.orders import IS_OPEN
from app.models.signals import UNFINISHED
from app.services import context, journal, payloads, steps
from app.services.context import Subject
from app.services.executor import Ask, executor
from app.transactions import Tx

log = logging.getLogger(__name__)

EVERY_S = 2.0
FIRST_PAUSE_S = 5.0
"""How soon a repair that changed nothing is tried again; then ever later."""
_LONGEST_PAUSE_S = 600.0
_STOP_S = 0.5
_WORKING = (
    OrderStatus.WORKING.value,
    OrderStatus.TRIGGERED.value,
    OrderStatus.PARTIALLY_FILLED.value,
)
_LEGS = (OrderRole.TAKE_PROFIT.value, OrderRole.STOP_LOSS.value)
_ENDED = tuple(status.value for status in TERMINAL)

_BOOKS = table(Book)
_ORDERS = table(Order)
_ENTRIES = _ORDERS.alias("entries")
_HELD = select(_BOOKS.c.account_id, _BOOKS.c.trader_id, _BOOKS.c.contract, _BOOKS.c.net_pos).where(
    _BOOKS.c.net_pos != Decimal(0), _BOOKS.c.trader_id.is_not(None)
)
_LIVE = table(LivePosition)
_AT_BROKER = select(_LIVE.c.account_id, _LIVE.c.contract, _LIVE.c.net_pos)
_IN_BOOKS = select(_BOOKS.c.account_id, _BOOKS.c.contract, _BOOKS.c.net_pos).where(
    _BOOKS.c.net_pos != Decimal(0)
)
_OPEN_LEGS = (
    select(
        _ORDERS.c.account_id,
        _ORDERS.c.trader_id,
        _ORDERS.c.contract,
        _ORDERS.c.role,
        _ORDERS.c.status,
        _ORDERS.c.side,
        _ORDERS.c.quantity,
        _ORDERS.c.filled_quantity,
        _ORDERS.c.limit_price,
        _ORDERS.c.stop_price,
        _ORDERS.c.ticket,
        _ORDERS.c.parent_id,
        _ORDERS.c.client_order_id,
        _ENTRIES.c.status.label("entry_status"),
        _ENTRIES.c.avg_fill_price.label("entry_price"),
        _ENTRIES.c.side.label("entry_side"),
        _ENTRIES.c.order_type.label("entry_type"),
    )
    .join_from(_ORDERS, _ENTRIES, _ENTRIES.c.id == _ORDERS.c.parent_id, isouter=True)
    .where(IS_OPEN, _ORDERS.c.role.in_(_LEGS), _ORDERS.c.trader_id.is_not(None))
)
_BUSY = (
    select(Execution.account_id).distinct().where(and_(UNFINISHED, Execution.status == "running"))
)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the protection of one trader's book in one contract."""

    kind: str  # unprotected | orphan | misplaced
    account_id: int
    trader_id: int
    contract: str
    orders: tuple[str, ...] = ()


@dataclass(slots=True)
class _Known:
    """A fault as it was seen before, and when its repair may be tried (again)."""

    is_told: bool = False
    pause_s: float = field(default_factory=lambda: FIRST_PAUSE_S)
    repair_at: float = 0.0


@dataclass(frozen=True, slots=True)
class _EntryPrice:
    avg_fill_price: Decimal | None
    side: str
    order_type: str


@dataclass(slots=True)
class Watch:
    """Looks every few seconds; a fault counts when it was there at two looks in a row."""

    _known: dict[Fault, _Known] = field(default_factory=dict)
    _repairing: set[Fault] = field(default_factory=set)
    _repairs: Group = field(default_factory=Group)

    def stop(self) -> None:
        """End the repairs under way, for good: what they left is settled at the next start."""
        self._repairs.join(timeout=_STOP_S)
        self._repairs.kill()
        self._known.clear()

    def look(self) -> None:
        found = set(self._found())
        for fault in [f for f in self._known if f not in found and f not in self._repairing]:
            del self._known[fault]
        for fault in found:
            known = self._known.get(fault)
            if known is None:
                self._known[fault] = _Known()
            elif fault not in self._repairing and monotonic() >= known.repair_at:
                self._repairing.add(fault)
                self._repairs.spawn(self._repair, fault, known)

    def _found(self) -> Iterable[Fault]:
        with writer.read() as connection:
            busy = set(connection.scalars(_BUSY))
            held = connection.execute(_HELD).all()
            legs = connection.execute(_OPEN_LEGS).all()
            if not held and not legs:
                return []
            wants_stop = {
                trader_id: _wants_stop(context.read_subject(connection, trader_id))
                for trader_id in {row.trader_id for row in held}
            }
            told = _told(connection)
        unprotected = _unprotected(held, legs, wants_stop, told)
        faults = [*unprotected, *_orphans(held, legs, told), *_misplaced(legs)]
        return [
            f for f in faults if f.account_id not in busy and not executor.is_obeying(f.account_id)
        ]

    def _repair(self, fault: Fault, known: _Known) -> None:
        known.repair_at = monotonic() + known.pause_s
        known.pause_s = min(known.pause_s * 2, _LONGEST_PAUSE_S)
        try:
            if not known.is_told:
                known.is_told = True
                writer.run(lambda tx: _alarm(tx, fault))
            executor.in_lane(fault.account_id, lambda tx: [_ask(tx, fault)])
        except TradingError as e:
            log.warning("not repaired", extra={"account_id": fault.account_id, "detail": e.detail})
        except Exception:  # the greenlet's edge: the next look tries again
            log.exception("repair failed", extra={"account_id": fault.account_id})
        finally:
            self._repairing.discard(fault)


def _wants_stop(subject: Subject) -> bool:
    return isinstance(subject.effective.values.stop_loss, StopLoss)


@dataclass(frozen=True, slots=True)
class _Told:
    """What the broker last said it holds in a contract, and how much of it no book explains."""

    net_pos: Decimal = Decimal(0)
    beyond: Decimal = Decimal(0)

    def lacks(self, net_pos: Decimal) -> bool:
        """Whether nothing is left there of a book that holds ``net_pos``."""
        sign = 1 if net_pos > 0 else -1
        return self.beyond * sign <= -abs(net_pos) and self.net_pos * sign <= 0


_Positions = dict[tuple[int, str], _Told]
"""By account and contract."""


def _told(connection: Connection) -> _Positions:
    told = {(row.account_id, row.contract): row.net_pos for row in connection.execute(_AT_BROKER)}
    beyond = dict(told)
    for row in connection.execute(_IN_BOOKS):
        key = (row.account_id, row.contract)
        if key in beyond:
            beyond[key] -= row.net_pos
    return {key: _Told(net_pos, beyond[key]) for key, net_pos in told.items()}


def _unprotected(
    held: Any, legs: Any, wants_stop: dict[int, bool], told: _Positions
) -> Iterable[Fault]:
    """Books whose working stops cover less than they hold. A stop for what the broker holds no
    more, since it was closed without our knowing, would open a position."""
    for book in held:
        if not wants_stop[book.trader_id]:
            continue
        if told.get((book.account_id, book.contract), _Told()).lacks(book.net_pos):
            continue
        side = PositionSide.of(book.net_pos)
        covered = sum(
            (
                leg.quantity - leg.filled_quantity
                for leg in legs
                if (leg.trader_id, leg.contract) == (book.trader_id, book.contract)
                and leg.role == OrderRole.STOP_LOSS.value
                and leg.status in _WORKING
                and side is not None
                and leg.side == side.closing.value
            ),
            Decimal(0),
        )
        if covered < abs(book.net_pos):
            yield Fault("unprotected", book.account_id, book.trader_id, book.contract)


def _orphans(held: Any, legs: Any, told: _Positions) -> Iterable[Fault]:
    """Legs whose book is flat and whose entry, if they had one, will not fill any more. One that
    would close what the broker holds and no book explains is none: a fill may have escaped us,
    as those of a session that ended while we were away, and it may be that position's stop."""
    books = {(row.trader_id, row.contract) for row in held}
    orphans: dict[tuple[int, int, str], list[str]] = {}
    for leg in legs:
        waits = leg.parent_id is not None and leg.entry_status not in _ENDED
        beyond = told.get((leg.account_id, leg.contract), _Told()).beyond
        guards = beyond * Side(leg.side).sign < 0
        if (leg.trader_id, leg.contract) not in books and not waits and not guards:
            key = (leg.account_id, leg.trader_id, leg.contract)
            orphans.setdefault(key, []).append(leg.client_order_id)
    for (account_id, trader_id, contract), ids in orphans.items():
        yield Fault("orphan", account_id, trader_id, contract, tuple(sorted(ids)))


def _misplaced(legs: Any) -> Iterable[Fault]:
    found = {
        Fault("misplaced", leg.account_id, leg.trader_id, leg.contract)
        for leg in legs
        if leg.status in _WORKING
        and leg.parent_id is not None
        and steps.misplaced_to(
            leg._mapping, _EntryPrice(leg.entry_price, leg.entry_side, leg.entry_type)
        )
        is not None
    }
    return sorted(found, key=lambda f: (f.account_id, f.trader_id, f.contract))


def _ask(tx: Tx, fault: Fault) -> Ask:
    """The steps that mend it, decided from the book as it is when the lane comes to it."""
    subject = context.read_subject(tx.conn, fault.trader_id)
    step: Step
    if fault.kind == "unprotected":
        step = Reprotect(fault.contract)
    elif fault.kind == "misplaced":
        step = CorrectLegs(fault.contract)
    else:
        step = CancelOrders(fault.orders, (OrderRole.STOP_LOSS,) * len(fault.orders))
    return Ask(subject, (step,), Origin.RECONCILE)


_WORDS = {
    "unprotected": "{contract} is held without its whole stop. It is being put in place.",
    "orphan": "{count} of a bracket still worked in {contract} though nothing is held. "
    "They are being cancelled.",
}


def _alarm(tx: Tx, fault: Fault) -> None:
    """Say it before it is mended. That legs follow their fill is no alarm."""
    words = _WORDS.get(fault.kind)
    if words is None:
        return
    subject = context.read_subject_without_settings(tx.conn, fault.trader_id)
    account: AccountRef = subject.account
    count = len(fault.orders)
    said = words.format(
        contract=fault.contract, count=f"{count} {'order' if count == 1 else 'orders'}"
    )
    journal.write(
        tx,
        account.user_id,
        fault.kind,
        f"{subject.account_name}: {said}",
        level="error",
        strategy_id=subject.strategy_id,
        account_id=account.id,
        data={"contract": fault.contract, "orders": payloads.number(Decimal(count))},
    )


watch = Watch()
