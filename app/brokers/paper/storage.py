"""Rows of the paper exchange: written step by step, read back as the engine's records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from enum import Enum
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from app import faults
from app.brokers.base import AccountRef
from app.domain.matching import (
    LedgerEntry,
    PaperAccount,
    PaperFill,
    PaperOrder,
    PaperPosition,
    Step,
)
from app.domain.trading import OrderRole, OrderStatus, OrderType, Origin, Side, TimeInForce
from app.models import (
    Account,
    PaperAccountRow,
    PaperFillRow,
    PaperLedgerRow,
    PaperOrderRow,
    PaperPositionRow,
)
from app.models.base import table
from app.models.bulk import BulkInsert
from app.models.paper import IS_OPEN
from app.models.prepared import Prepared
from app.transactions import Tx

_OWNERS = table(Account)
_ACCOUNTS = table(PaperAccountRow)
_ORDERS = table(PaperOrderRow)
_FILLS = table(PaperFillRow)
_POSITIONS = table(PaperPositionRow)
_LEDGER = table(PaperLedgerRow)

_ORDER_FIELDS = tuple(field.name for field in fields(PaperOrder))
_FILL_FIELDS = tuple(field.name for field in fields(PaperFill))
_POSITION_FIELDS = tuple(field.name for field in fields(PaperPosition))
_LEDGER_FIELDS = tuple(field.name for field in fields(LedgerEntry))
_ORDER_ENUMS: dict[str, type[Enum]] = {
    "side": Side,
    "order_type": OrderType,
    "tif": TimeInForce,
    "status": OrderStatus,
    "origin": Origin,
}
_ORDER_PLAIN = tuple(name for name in _ORDER_FIELDS if name not in (*_ORDER_ENUMS, "role"))
_CHANGING = (
    "quantity",
    "priority",
    "active_at",
    "limit_price",
    "stop_price",
    "triggered",
    "filled",
    "value",
    "held_back",
    "hold",
    "fee_exact",
    "fee",
    "reason",
    "updated_at",
)

_SAVED = ("cash", "reserved", "next_number", "told_number", "updated_at")
_SAVE_ACCOUNT = Prepared(
    update(_ACCOUNTS)
    .where(
        _ACCOUNTS.c.account_id == bindparam("of_account"),
        _ACCOUNTS.c.next_number == bindparam("seen_number"),
    )
    .values({name: bindparam(name) for name in _SAVED})
)
_SAVE_ORDER = Prepared(
    update(_ORDERS)
    .where(
        _ORDERS.c.account_id == bindparam("of_account"),
        _ORDERS.c.number == bindparam("of_number"),
    )
    .values({name: bindparam(name) for name in (*_CHANGING, "status", "changed_number")})
)
_NOTE_TOLD = update(_ACCOUNTS).where(_ACCOUNTS.c.account_id == bindparam("of_account"))
_STAMPS = ("user_id", "created_at", "updated_at")
_ADD_ORDER = BulkInsert(_ORDERS, (*_ORDER_FIELDS, "user_id", "changed_number"))
_ADD_FILL = BulkInsert(_FILLS, (*_FILL_FIELDS, *_STAMPS))
_ADD_ENTRY = BulkInsert(_LEDGER, (*_LEDGER_FIELDS, *_STAMPS))
_PUT_POSITION = BulkInsert(
    _POSITIONS,
    (*_POSITION_FIELDS, *_STAMPS),
    "ON CONFLICT (account_id, contract) DO UPDATE SET "
    + ", ".join(f"{n} = excluded.{n}" for n in (*_POSITION_FIELDS[2:], "updated_at")),
)

_ACCOUNT = select(_ACCOUNTS).where(_ACCOUNTS.c.account_id == bindparam("account"))
_POSITIONS_OF = select(_POSITIONS).where(_POSITIONS.c.account_id == bindparam("account"))
_OPEN_ORDERS_OF = (
    select(_ORDERS)
    .where(_ORDERS.c.account_id == bindparam("account"), IS_OPEN)
    .order_by(_ORDERS.c.number)
)
_ORDERS_NAMED = (
    select(_ORDERS)
    .where(
        _ORDERS.c.account_id == bindparam("account"),
        _ORDERS.c.client_order_id.in_(bindparam("ids", expanding=True)),
    )
    .order_by(_ORDERS.c.number)
)
_LEGS_OF = (
    select(_ORDERS)
    .where(
        _ORDERS.c.account_id == bindparam("account"),
        _ORDERS.c.number > bindparam("number"),
        _ORDERS.c.parent == bindparam("parent"),
    )
    .order_by(_ORDERS.c.number)
)
_FILLS_OF = select(_FILLS).where(_FILLS.c.account_id == bindparam("account"))
_FILLS_OF_ORDERS = _FILLS_OF.where(
    _FILLS.c.client_order_id.in_(bindparam("ids", expanding=True))
).order_by(_FILLS.c.number)
_FILLS_SINCE = _FILLS_OF.where(_FILLS.c.at >= bindparam("since")).order_by(_FILLS.c.number)
_LAST_FILL = (
    _FILLS_OF.where(_FILLS.c.contract == bindparam("contract"))
    .order_by(_FILLS.c.number.desc())
    .limit(1)
)
_WITH_OPEN_ORDERS = (
    select(
        _ACCOUNTS.c.account_id,
        _ACCOUNTS.c.next_number,
        _OWNERS.c.user_id,
        _OWNERS.c.broker,
        _OWNERS.c.environment,
        _OWNERS.c.broker_account_id,
    )
    .join(_OWNERS, _OWNERS.c.id == _ACCOUNTS.c.account_id)
    .where(
        select(_ORDERS.c.id).where(_ORDERS.c.account_id == _ACCOUNTS.c.account_id, IS_OPEN).exists()
    )
    .order_by(_ACCOUNTS.c.account_id)
)
_UNTOLD_ORDERS = (
    select(
        _ORDERS,
        _ACCOUNTS.c.next_number,
        _OWNERS.c.broker,
        _OWNERS.c.environment,
        _OWNERS.c.broker_account_id,
    )
    .join(_ACCOUNTS, _ACCOUNTS.c.account_id == _ORDERS.c.account_id)
    .join(_OWNERS, _OWNERS.c.id == _ORDERS.c.account_id)
    .where(_ORDERS.c.changed_number > _ACCOUNTS.c.told_number)
    .order_by(_ORDERS.c.account_id, _ORDERS.c.number)
)
_UNTOLD_FILLS = (
    select(_FILLS)
    .join(_ACCOUNTS, _ACCOUNTS.c.account_id == _FILLS.c.account_id)
    .where(_FILLS.c.number >= _ACCOUNTS.c.told_number)
    .order_by(_FILLS.c.account_id, _FILLS.c.number)
)


@dataclass(frozen=True, slots=True)
class Work:
    """A step to be stored. ``seen`` is the account's next number on which it was worked out,
    ``told`` the number up to which the app was told of the account."""

    step: Step
    user_id: int
    seen: int
    told: int

    @property
    def at(self) -> datetime:
        step = self.step
        return step.orders[0].updated_at if step.orders else step.ledger[0].at


class Outdated(Exception):
    """The account changed since its state was read; nothing was stored."""


@dataclass(frozen=True, slots=True)
class State:
    """One account as it is stored, and up to which number the app was told of it."""

    account: PaperAccount
    told: int
    positions: list[PaperPosition]
    orders: list[PaperOrder]


@dataclass(frozen=True, slots=True)
class Untold:
    """What happened on an account that nobody may have been told of, up to ``number``."""

    ref: AccountRef
    number: int
    orders: list[PaperOrder]
    fills: list[PaperFill]


# Writing


def store(tx: Tx, works: list[Work]) -> list[None]:
    """Write steps of different accounts, each statement once for all of them.

    Raises:
        Outdated: one of the accounts was changed by another process; nothing is stored.
    """
    conn = tx.conn
    for work in works:
        if not _SAVE_ACCOUNT.run(conn, _account_row(work)):
            raise Outdated
        for row in _changed_rows(work):
            _SAVE_ORDER.run(conn, row)
    _ADD_ORDER.execute(conn, [row for work in works for row in _added_rows(work)])
    _PUT_POSITION.execute(conn, [_position_row(w) for w in works if w.step.position])
    _ADD_FILL.execute(conn, [_fact(f, _FILL_FIELDS, w) for w in works for f in w.step.fills])
    _ADD_ENTRY.execute(conn, [_fact(e, _LEDGER_FIELDS, w) for w in works for e in w.step.ledger])
    faults.point("paper")
    return [None] * len(works)


def open_account(conn: Connection, step: Step, user_id: int, at: datetime) -> None:
    """Write the first step of an account, and with it the account."""
    account = step.account
    conn.execute(
        insert(_ACCOUNTS).values(
            user_id=user_id,
            account_id=account.id,
            currency=account.currency,
            cash=account.cash,
            reserved=account.reserved,
            next_number=account.next_number,
            told_number=account.next_number,
            enabled=account.enabled,
            respect_size=account.respect_size,
            created_at=at,
            updated_at=at,
        )
    )
    work = Work(step, user_id, seen=1, told=0)
    _ADD_ENTRY.execute(conn, [_fact(entry, _LEDGER_FIELDS, work) for entry in step.ledger])


def note_told(conn: Connection, told: dict[int, int]) -> None:
    """Remember, by account, up to which number the rest of the app was told."""
    if told:
        conn.execute(
            _NOTE_TOLD,
            [{"of_account": account, "told_number": number} for account, number in told.items()],
        )


def owner_of(conn: Connection, account_id: int) -> int | None:
    return conn.scalar(select(_OWNERS.c.user_id).where(_OWNERS.c.id == account_id))


def _account_row(work: Work) -> dict[str, Any]:
    account = work.step.account
    return {
        "of_account": account.id,
        "seen_number": work.seen,
        "cash": account.cash,
        "reserved": account.reserved,
        "next_number": account.next_number,
        "told_number": work.told,
        "updated_at": work.at,
    }


def _added_rows(work: Work) -> Iterator[dict[str, Any]]:
    mark = work.step.account.next_number
    for order in work.step.orders:
        if order.number >= work.seen:
            row = _row(order, _ORDER_PLAIN, _ORDER_ENUMS)
            row["role"] = order.role.value if order.role is not None else None
            row["user_id"] = work.user_id
            row["changed_number"] = mark
            yield row


def _changed_rows(work: Work) -> Iterator[dict[str, Any]]:
    mark = work.step.account.next_number
    for order in work.step.orders:
        if order.number < work.seen:
            row = _row(order, _CHANGING, ("status",))
            row["of_account"] = order.account_id
            row["of_number"] = order.number
            row["changed_number"] = mark
            yield row


def _position_row(work: Work) -> dict[str, Any]:
    row = _row(work.step.position, _POSITION_FIELDS)
    return {**row, "user_id": work.user_id, "created_at": work.at, "updated_at": work.at}


def _fact(record: PaperFill | LedgerEntry, names: tuple[str, ...], work: Work) -> dict[str, Any]:
    row = _row(record, names)
    if isinstance(record, PaperFill):
        row["side"] = record.side.value
    row["user_id"] = work.user_id
    row["created_at"] = row["updated_at"] = record.at
    return row


def _row(record: Any, names: Iterable[str], enums: Iterable[str] = ()) -> dict[str, Any]:
    row = {name: getattr(record, name) for name in names}
    for name in enums:
        row[name] = getattr(record, name).value
    return row


# Reading


def load(conn: Connection, account_id: int) -> State | None:
    """An account's whole state. The account is read first: what changes meanwhile makes the next
    step on it ``Outdated``."""
    row = conn.execute(_ACCOUNT, {"account": account_id}).first()
    if row is None:
        return None
    positions = conn.execute(_POSITIONS_OF, {"account": account_id})
    return State(
        _account(row),
        row.told_number,
        [_position(p) for p in positions],
        open_orders(conn, account_id),
    )


def read_account(conn: Connection, account_id: int) -> PaperAccount | None:
    row = conn.execute(_ACCOUNT, {"account": account_id}).first()
    return None if row is None else _account(row)


def positions(conn: Connection, account_id: int) -> list[PaperPosition]:
    """Positions that are not flat, by contract."""
    rows = conn.execute(_POSITIONS_OF, {"account": account_id})
    held = [_position(row) for row in rows]
    return sorted((p for p in held if p.net_pos), key=lambda p: p.contract)


def open_orders(conn: Connection, account_id: int) -> list[PaperOrder]:
    return [to_order(row) for row in conn.execute(_OPEN_ORDERS_OF, {"account": account_id})]


def orders_named(conn: Connection, account_id: int, ids: Iterable[str]) -> list[PaperOrder]:
    rows = conn.execute(_ORDERS_NAMED, {"account": account_id, "ids": list(ids)})
    return [to_order(row) for row in rows]


def legs_of(conn: Connection, order: PaperOrder) -> list[PaperOrder]:
    keys = {"account": order.account_id, "number": order.number, "parent": order.client_order_id}
    return [to_order(row) for row in conn.execute(_LEGS_OF, keys)] if order.has_legs else []


def fills_of(conn: Connection, account_id: int, ids: Iterable[str]) -> list[PaperFill]:
    rows = conn.execute(_FILLS_OF_ORDERS, {"account": account_id, "ids": list(ids)})
    return [to_fill(row) for row in rows]


def fills_since(conn: Connection, account_id: int, since: datetime | None) -> list[PaperFill]:
    if since is None:
        rows = conn.execute(_FILLS_OF.order_by(_FILLS.c.number), {"account": account_id})
    else:
        rows = conn.execute(_FILLS_SINCE, {"account": account_id, "since": since})
    return [to_fill(row) for row in rows]


def last_fill(conn: Connection, account_id: int, contract: str) -> PaperFill | None:
    row = conn.execute(_LAST_FILL, {"account": account_id, "contract": contract}).first()
    return None if row is None else to_fill(row)


def with_open_orders(conn: Connection) -> list[tuple[AccountRef, int]]:
    """Accounts that a quote may concern, each with its present next number."""
    return [
        (_ref(row.account_id, row.user_id, row), row.next_number)
        for row in conn.execute(_WITH_OPEN_ORDERS)
    ]


def untold(conn: Connection) -> list[Untold]:
    """By account, what changed since the app was last known to have been told."""
    found: dict[int, Untold] = {}
    for row in conn.execute(_UNTOLD_ORDERS):
        ref = _ref(row.account_id, row.user_id, row)
        of_account = found.setdefault(row.account_id, Untold(ref, row.next_number, [], []))
        of_account.orders.append(to_order(row))
    for row in conn.execute(_UNTOLD_FILLS):
        if row.account_id in found:
            found[row.account_id].fills.append(to_fill(row))
    return list(found.values())


def to_order(row: Any) -> PaperOrder:
    values = _values(row, _ORDER_FIELDS)
    for name, kind in _ORDER_ENUMS.items():
        values[name] = kind(values[name])
    if values["role"] is not None:
        values["role"] = OrderRole(values["role"])
    return PaperOrder(**values)


def to_fill(row: Any) -> PaperFill:
    values = _values(row, _FILL_FIELDS)
    return PaperFill(**{**values, "side": Side(values["side"])})


def _values(row: Any, names: tuple[str, ...]) -> dict[str, Any]:
    columns = row._mapping
    return {name: columns[name] for name in names}


def _position(row: Any) -> PaperPosition:
    return PaperPosition(**_values(row, _POSITION_FIELDS))


def _account(row: Any) -> PaperAccount:
    return PaperAccount(
        id=row.account_id,
        currency=row.currency,
        cash=row.cash,
        reserved=row.reserved,
        next_number=row.next_number,
        enabled=row.enabled,
        respect_size=row.respect_size,
    )


def _ref(account_id: int, user_id: int, row: Any) -> AccountRef:
    return AccountRef(account_id, user_id, row.broker, row.environment, row.broker_account_id)
