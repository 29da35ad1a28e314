"""Closed trades by strategy and by trading day, and what a list of them can be narrowed to.

Sums are net of fees, of the trades that the filters leave; the caller names one currency.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from sqlalchemy import select

from app.domain.session_day import date_of
from app.domain.symbols import instrument_for
from app.domain.trading import OrderRole
from app.extensions import db
from app.models import Account, Order, RecordedPosition, Strategy, Trade
from app.models.orders import OPEN_STATUSES
from app.services import positions
from app.services.owned import owned
from app.services.positions import Filters

ZERO = Decimal(0)


@dataclass(slots=True)
class Standing:
    """What one strategy made. ``curve`` is the running sum of net results, oldest first;
    ``strategy_id`` None is what a person traded by hand."""

    strategy_id: int | None
    name: str
    net: Decimal = ZERO
    trades: int = 0
    wins: int = 0
    gross_profit: Decimal = ZERO
    gross_loss: Decimal = ZERO
    curve: list[Decimal] = field(default_factory=list)

    @property
    def win_percent(self) -> Decimal | None:
        return Decimal(100 * self.wins) / self.trades if self.trades else None

    @property
    def max_drawdown(self) -> Decimal:
        """Positive, from the highest sum so far, the start included."""
        peak = deepest = ZERO
        for equity in self.curve:
            peak = max(peak, equity)
            deepest = max(deepest, peak - equity)
        return deepest

    @property
    def profit_factor(self) -> Decimal | None:
        return self.gross_profit / self.gross_loss if self.gross_loss else None

    def add(self, net: Decimal) -> None:
        self.trades += 1
        self.net += net
        self.curve.append(self.net)
        if net > 0:
            self.wins += 1
            self.gross_profit += net
        elif net < 0:
            self.gross_loss -= net


@dataclass(frozen=True, slots=True)
class Choices:
    """What the user can narrow to. ``symbols`` are the products that were traded."""

    strategies: Sequence[Strategy]
    accounts: Sequence[Account]
    symbols: Sequence[str]


def by_strategy(user_id: int, filters: Filters) -> list[Standing]:
    """Every strategy with a closed trade, that with the highest net first."""
    rows = positions.trades(user_id, filters).with_only_columns(Trade.strategy_id, Trade.net)
    found: dict[int | None, Standing] = {}
    for strategy_id, net in db.session.execute(rows.order_by(Trade.closed_at, Trade.id)):
        if strategy_id not in found:
            found[strategy_id] = Standing(strategy_id, "Manual")
        found[strategy_id].add(net)
    wanted = [strategy_id for strategy_id in found if strategy_id is not None]
    named = owned(Strategy, user_id, with_deleted=True).where(Strategy.id.in_(wanted))
    for strategy in db.session.scalars(named):
        found[strategy.id].name = strategy.name
    return sorted(found.values(), key=lambda standing: -standing.net)


def by_day(user_id: int, filters: Filters) -> dict[date, Decimal]:
    """Net result of each trading day that had a closed trade."""
    rows = positions.trades(user_id, filters).with_only_columns(Trade.closed_at, Trade.net)
    days: dict[date, Decimal] = {}
    for closed_at, net in db.session.execute(rows):
        day = date_of(closed_at)
        days[day] = days.get(day, ZERO) + net
    return days


def stops(user_id: int) -> dict[tuple[int | None, int, str], Decimal]:
    """(trader, account, contract) → the price of its working stop."""
    rows = owned(Order, user_id).where(
        Order.role == OrderRole.STOP_LOSS.value,
        Order.status.in_(OPEN_STATUSES),
        Order.stop_price.is_not(None),
    )
    return {
        (row.trader_id, row.account_id, row.contract): row.stop_price
        for row in db.session.scalars(rows.order_by(Order.id))
        if row.stop_price is not None
    }


def choices(user_id: int) -> Choices:
    contracts = db.session.scalars(
        select(RecordedPosition.contract).where(RecordedPosition.user_id == user_id).distinct()
    )
    return Choices(
        strategies=db.session.scalars(
            owned(Strategy, user_id).order_by(Strategy.name, Strategy.id)
        ).all(),
        accounts=db.session.scalars(owned(Account, user_id).order_by(Account.name)).all(),
        symbols=sorted({instrument_for(contract).root for contract in contracts}),
    )
