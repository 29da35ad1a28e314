"""Traders: strategies assigned to accounts, with their own sizing, on or off.

Every change raises the trader's version and its strategy's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Select, func, select, update
from sqlalchemy.exc import IntegrityError

from app import clock
from app.domain.errors import Conflict, NotFound
from app.domain.session_day import day_start
from app.domain.settings import (
    Effective,
    StrategySettings,
    TraderOverrides,
    dump,
    effective,
    parse_overrides,
    parse_strategy,
)
from app.extensions import db, writer
from app.models import Account, Book, Order, RecordedPosition, Strategy, Trade, Trader
from app.models.orders import OPEN_STATUSES
from app.services import flatten, journal, positions
from app.services.owned import get, owned
from app.transactions import Tx


@dataclass(frozen=True, slots=True)
class Assigned:
    """A trader with what it joins."""

    trader: Trader
    strategy: Strategy
    account: Account

    @property
    def effective(self) -> Effective:
        return effective(
            parse_strategy(self.strategy.settings), parse_overrides(self.trader.overrides)
        )


@dataclass(slots=True)
class Live:
    """How one trader stands now. Money in the account's currency; ``pnl_today`` is net and
    closed since the session day began, ``open_pnl`` None while a price is missing."""

    assigned: Assigned
    positions: list[RecordedPosition] = field(default_factory=list)
    pnl_today: Decimal = Decimal(0)
    trades_today: int = 0
    working_orders: int = 0

    @property
    def open_pnl(self) -> Decimal | None:
        known = [p.unrealized_pnl for p in self.positions if p.unrealized_pnl is not None]
        return sum(known, Decimal(0)) if len(known) == len(self.positions) else None


def listing(
    user_id: int, *, strategy_id: int | None = None, account_id: int | None = None
) -> Select[Trader]:
    rows = owned(Trader, user_id)
    if strategy_id is not None:
        rows = rows.where(Trader.strategy_id == strategy_id)
    if account_id is not None:
        rows = rows.where(Trader.account_id == account_id)
    return rows


def create(
    user_id: int,
    *,
    strategy_id: int,
    account_id: int,
    enabled: bool = True,
    overrides: object = None,
) -> Trader:
    """Assign a strategy to an account.

    Raises:
        NotFound: the strategy or the account is not there or not the user's.
        Conflict: they are assigned to each other already.
        Invalid: naming each wrong override as ``overrides.<name>``.
    """

    def work(tx: Tx) -> Trader:
        strategy = _referred(tx, Strategy, strategy_id, user_id, "strategy_id")
        account = _referred(tx, Account, account_id, user_id, "account_id")
        pair = listing(user_id, strategy_id=strategy_id, account_id=account_id)
        if tx.session.scalar(pair) is not None:
            raise _already_assigned(f"“{strategy.name}” already trades on “{account.name}”.")
        trader = Trader(
            user_id=user_id,
            strategy_id=strategy_id,
            account_id=account_id,
            enabled=enabled,
            overrides=_stored(overrides, strategy),
        )
        tx.session.add(trader)
        tx.session.flush()
        _raise_strategy(tx, strategy_id)
        _announce(tx, trader, "trader_created", f"It trades on “{account.name}” from now on.")
        return trader

    try:
        return writer.run(work)
    except IntegrityError as e:  # another process assigned them in the same moment
        raise _already_assigned("The strategy already trades on that account.") from e


def change(user_id: int, trader_id: int, changes: Mapping[str, Any]) -> Trader:
    """Change ``enabled`` or ``overrides``. Of the overrides, what is absent stays and null
    inherits from the strategy."""

    def work(tx: Tx) -> Trader:
        trader = _claim(tx, user_id, trader_id)
        if "enabled" in changes:
            trader.enabled = changes["enabled"]
        if "overrides" in changes:
            given = changes["overrides"]
            merged = {**trader.overrides, **given} if isinstance(given, Mapping) else given
            strategy = get(Strategy, trader.strategy_id, user_id, session=tx.session)
            trader.overrides = _stored(merged, strategy)
        _raise_version(tx, trader)
        _announce(tx, trader, "trader_changed", "The trader was changed.")
        return trader

    return writer.run(work)


def toggle(user_id: int, trader_id: int, enabled: bool | None = None) -> Trader:
    """Switch on or off; the other way round where ``enabled`` is None."""

    def work(tx: Tx) -> Trader:
        trader = _claim(tx, user_id, trader_id)
        trader.enabled = not trader.enabled if enabled is None else enabled
        _raise_version(tx, trader)
        word = "on" if trader.enabled else "off"
        _announce(tx, trader, f"trader_{word}", f"The trader was switched {word}.")
        return trader

    return writer.run(work)


def delete(user_id: int, trader_id: int) -> None:
    """
    Raises:
        Conflict: it holds a position or has a working order.
    """

    def work(tx: Tx) -> None:
        trader = _claim(tx, user_id, trader_id)
        held, working = _exposure(tx, trader)
        if held or working:
            raise Conflict(
                f"The trader has {held} open position(s) and {working} working order(s): "
                "close them first.",
                code="not_flat",
            )
        end(tx, trader, clock.now())
        _raise_version(tx, trader)

    writer.run(work)


def end(tx: Tx, trader: Trader, at: datetime) -> None:
    """Mark as deleted; the caller raises the strategy's version."""
    trader.enabled = False
    trader.deleted_at = at
    trader.version += 1
    _announce(tx, trader, "trader_deleted", "The trader was deleted.")


def close(user_id: int, trader_id: int) -> None:
    """Cancel the trader's orders and close what its books hold."""
    trader = get(Trader, trader_id, user_id)
    db.session.commit()
    flatten.close_trader(trader.id, trader.account_id)


def close_all(user_id: int) -> list[int]:
    """Flatten every account on which something is held or works; their ids."""
    ids = _accounts_at_risk(user_id)
    db.session.commit()
    for account_id in ids:
        flatten.flatten_account(account_id)
    return ids


def assigned(rows: list[Trader]) -> list[Assigned]:
    """The traders with their strategies and accounts."""
    strategies = _by_id(Strategy, {row.strategy_id for row in rows})
    accounts = _by_id(Account, {row.account_id for row in rows})
    return [Assigned(r, strategies[r.strategy_id], accounts[r.account_id]) for r in rows]


def live(user_id: int) -> list[Live]:
    """Every trader of the user, in the order they were made, as it stands now."""
    rows = list(db.session.scalars(listing(user_id).order_by(Trader.id)))
    states = {a.trader.id: Live(a) for a in assigned(rows)}
    for position in db.session.scalars(positions.open_positions(user_id)):
        if position.trader_id in states:
            states[position.trader_id].positions.append(position)
    since = day_start(clock.now())
    for trade in db.session.scalars(owned(Trade, user_id).where(Trade.closed_at >= since)):
        if trade.trader_id in states:
            states[trade.trader_id].pnl_today += trade.net
            states[trade.trader_id].trades_today += 1
    working = (
        select(Order.trader_id, func.count(Order.id))
        .where(Order.user_id == user_id, Order.status.in_(OPEN_STATUSES))
        .group_by(Order.trader_id)
    )
    for trader_id, count in db.session.execute(working):
        if trader_id in states:
            states[trader_id].working_orders = count
    return list(states.values())


def settings_with_sources(trader: Trader, strategy: Strategy) -> dict[str, dict[str, Any]]:
    """``{name: {"value", "source"}}`` of every setting."""
    overrides = parse_overrides(trader.overrides)
    return effective(parse_strategy(strategy.settings), overrides).to_json()


def status_event(trader: Trader) -> dict[str, Any]:
    """What ``trader:status`` carries."""
    return {
        "id": trader.id,
        "strategy_id": trader.strategy_id,
        "account_id": trader.account_id,
        "enabled": trader.enabled,
        "version": trader.version,
        "deleted": trader.deleted_at is not None,
    }


def _already_assigned(detail: str) -> Conflict:
    return Conflict(detail, code="already_assigned")


def _stored(overrides: object, strategy: Strategy) -> dict[str, Any]:
    base: StrategySettings = parse_strategy(strategy.settings)
    data = {} if overrides is None else overrides
    parsed: TraderOverrides = parse_overrides(data, base, at="overrides")
    return {name: value for name, value in dump(parsed).items() if value is not None}


def _claim(tx: Tx, user_id: int, trader_id: int) -> Trader:
    """The row, locked against other processes until the commit."""
    trader = get(Trader, trader_id, user_id, session=tx.session)
    tx.session.refresh(trader, with_for_update=True)
    return trader


def _raise_version(tx: Tx, trader: Trader) -> None:
    if trader.deleted_at is None:
        trader.version += 1
    tx.session.flush()
    _raise_strategy(tx, trader.strategy_id)


def _raise_strategy(tx: Tx, strategy_id: int) -> None:
    tx.conn.execute(
        update(Strategy)
        .where(Strategy.id == strategy_id)
        .values(version=Strategy.version + 1, updated_at=clock.now())
    )


def _exposure(tx: Tx, trader: Trader) -> tuple[int, int]:
    held = select(func.count(Book.id)).where(
        Book.trader_id == trader.id, Book.net_pos != positions.FLAT
    )
    working = select(func.count(Order.id)).where(
        Order.trader_id == trader.id, Order.status.in_(OPEN_STATUSES)
    )
    return tx.session.scalar(held) or 0, tx.session.scalar(working) or 0


def _accounts_at_risk(user_id: int) -> list[int]:
    held = owned(Book, user_id).where(Book.net_pos != positions.FLAT)
    working = owned(Order, user_id).where(Order.status.in_(OPEN_STATUSES))
    found = {row.account_id for row in db.session.scalars(held)}
    found |= {row.account_id for row in db.session.scalars(working)}
    live_accounts = db.session.scalars(owned(Account, user_id).where(Account.id.in_(found)))
    return sorted(account.id for account in live_accounts)


def _referred(tx: Tx, table: Any, row_id: int, user_id: int, name: str) -> Any:
    try:
        return get(table, row_id, user_id, session=tx.session)
    except NotFound as e:
        raise NotFound(f"No such {name.removesuffix('_id')}.", field=name) from e


def _by_id(table: Any, ids: set[int]) -> dict[int, Any]:
    rows = db.session.scalars(select(table).where(table.id.in_(ids)))
    return {row.id: row for row in rows}


def _announce(tx: Tx, trader: Trader, event: str, message: str) -> None:
    tx.record(trader.user_id, "trader:status", status_event(trader))
    journal.write(
        tx,
        trader.user_id,
        event,
        message,
        strategy_id=trader.strategy_id,
        account_id=trader.account_id,
    )
