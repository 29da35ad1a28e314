"""Recorded positions and closed trades: the lists, and the filters that both share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, func, or_, select

from app import clock
from app.domain import symbols
from app.domain.instruments import InstrumentKind
from app.extensions import db
from app.models import Account, Book, RecordedPosition, Strategy, Trade
from app.services.owned import owned

Table = TypeVar("Table", RecordedPosition, Trade)
FLAT = Decimal(0)


@dataclass(frozen=True, slots=True)
class Filters:
    """What every figure and list of the dashboard can be narrowed to.

    ``symbol`` is a contract, a root or a continuous name (``MNQ``, ``MNQ1!``: every month).
    ``since`` is inclusive, ``until`` exclusive. ``environment`` is ``demo`` or ``live``.
    """

    strategy_id: int | None = None
    account_id: int | None = None
    symbol: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    environment: str | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A position or a trade with the names that stand beside it."""

    row: Any
    account: Account
    strategy_name: str | None


def open_positions(user_id: int, filters: Filters | None = None) -> Select[RecordedPosition]:
    """Open recorded positions, unordered; a period narrows by when they were opened."""
    rows = owned(RecordedPosition, user_id).where(RecordedPosition.closed_at.is_(None))
    return narrowed(rows, RecordedPosition, RecordedPosition.opened_at, filters)


def recorded(user_id: int, filters: Filters | None = None) -> Select[RecordedPosition]:
    """Recorded positions, open and closed, unordered."""
    rows = owned(RecordedPosition, user_id)
    return narrowed(rows, RecordedPosition, RecordedPosition.opened_at, filters)


def trades(user_id: int, filters: Filters | None = None) -> Select[Trade]:
    """Closed trades, unordered; a period narrows by when they were closed."""
    return narrowed(owned(Trade, user_id), Trade, Trade.closed_at, filters)


def narrowed(
    rows: Select[Table], table: type[Table], at: Any, filters: Filters | None
) -> Select[Table]:
    chosen = filters or Filters()
    if chosen.strategy_id is not None:
        rows = rows.where(table.strategy_id == chosen.strategy_id)
    if chosen.account_id is not None:
        rows = rows.where(table.account_id == chosen.account_id)
    if chosen.symbol:
        rows = rows.where(_is_of_symbol(table.contract, chosen.symbol))
    if chosen.since is not None:
        rows = rows.where(at >= chosen.since)
    if chosen.until is not None:
        rows = rows.where(at < chosen.until)
    if chosen.environment is not None:
        rows = rows.where(_account_has(table, Account.environment == chosen.environment))
    if chosen.currency is not None:
        rows = rows.where(_account_has(table, Account.currency == chosen.currency))
    return rows


def named(rows: list[Any]) -> list[Listed]:
    """The rows with their accounts and strategies' names, deleted ones included."""
    accounts = _by_id(Account, {row.account_id for row in rows})
    strategies = _by_id(Strategy, {row.strategy_id for row in rows})
    listed = []
    for row in rows:
        strategy = strategies.get(row.strategy_id)
        listed.append(Listed(row, accounts[row.account_id], strategy.name if strategy else None))
    return listed


def held(user_id: int, account_id: int) -> dict[str, Decimal]:
    """Contract → the sum of the account's books that are not flat."""
    books = owned(Book, user_id).where(Book.account_id == account_id)
    sums: dict[str, Decimal] = {}
    for book in db.session.scalars(books):
        sums[book.contract] = sums.get(book.contract, FLAT) + book.net_pos
    return {contract: net for contract, net in sums.items() if net}


def count_open(user_id: int, filters: Filters | None = None) -> int:
    rows = open_positions(user_id, filters)
    return db.session.scalar(select(func.count()).select_from(rows.subquery())) or 0


def _by_id(table: Any, ids: set[int | None]) -> dict[int, Any]:
    wanted = [row_id for row_id in ids if row_id is not None]
    if not wanted:
        return {}
    return {row.id: row for row in db.session.scalars(select(table).where(table.id.in_(wanted)))}


def _account_has(table: Any, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    matching: ColumnElement[bool] = table.account_id.in_(select(Account.id).where(condition))
    return matching


def _is_of_symbol(contract: Any, symbol: str) -> ColumnElement[bool]:
    resolved = symbols.resolve(symbol, clock.now())
    root = resolved.instrument.root
    bare = symbol.strip().upper().rsplit(":", 1)[-1].removesuffix("1!").removesuffix("2!")
    if resolved.instrument.kind is InstrumentKind.FUTURES and bare == root:
        # A futures contract is its root, a month letter and the last digit of the year.
        return or_(contract == root, contract.like(f"{root}__"))
    matching: ColumnElement[bool] = contract == resolved.contract
    return matching
