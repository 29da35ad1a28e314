"""The dashboard in JSON: figures, open positions, trades, the equity curve."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Literal

from pydantic import Field

from app.schemas.common import DecimalStr, Instant, ListQuery, Out
from app.schemas.fields import Currency, Id
from app.services.positions import Filters, Listed

_FILTERS = tuple(f.name for f in fields(Filters))


class DashboardQuery(ListQuery):
    """``from`` is inclusive, ``to`` exclusive."""

    strategy_id: Id | None = None
    account_id: Id | None = None
    symbol: str | None = Field(None, max_length=40)
    since: Instant | None = Field(None, alias="from")
    until: Instant | None = Field(None, alias="to")
    environment: Literal["demo", "live"] | None = None
    currency: Currency | None = None

    def filters(self) -> Filters:
        return Filters(**{name: getattr(self, name) for name in _FILTERS})


class SummaryOut(Out):
    """All money in ``currency``. What is undefined is null, with its reason in ``undefined``."""

    currency: str
    currencies: list[str]
    pnl_today: DecimalStr
    pnl_week: DecimalStr
    pnl_all: DecimalStr
    gross_profit: DecimalStr
    gross_loss: DecimalStr
    fees: DecimalStr
    trades: int
    trades_today: int
    wins: int
    losses: int
    win_rate: DecimalStr | None
    profit_factor: DecimalStr | None
    average_trade: DecimalStr | None
    max_drawdown: DecimalStr
    open_pnl: DecimalStr
    open_positions: int
    unpriced: int
    undefined: dict[str, str]
    day_started_at: Instant
    week_started_at: Instant


class PositionOut(Out):
    id: int
    strategy_id: int | None
    strategy_name: str | None
    account_id: int
    account_name: str
    badge: str
    currency: str
    trader_id: int | None
    symbol: str
    contract: str
    side: str
    quantity: DecimalStr
    max_quantity: DecimalStr
    entry_price: DecimalStr
    exit_price: DecimalStr | None
    last_price: DecimalStr | None
    unrealized_pnl: DecimalStr | None
    realized_pnl: DecimalStr
    mae: DecimalStr
    mfe: DecimalStr
    opened_at: Instant
    closed_at: Instant | None
    exit_reason: str | None
    source: str
    is_external: bool = Field(description="Opened or closed past our own traders.")


class TradeOut(Out):
    id: int
    strategy_id: int | None
    strategy_name: str | None
    account_id: int
    account_name: str
    badge: str
    currency: str
    trader_id: int | None
    contract: str
    side: str
    quantity: DecimalStr
    entry_price: DecimalStr
    exit_price: DecimalStr
    gross: DecimalStr
    fees: DecimalStr
    net: DecimalStr
    mae: DecimalStr
    mfe: DecimalStr
    opened_at: Instant
    closed_at: Instant
    exit_reason: str


class PointOut(Out):
    at: Instant
    net: DecimalStr
    equity: DecimalStr
    drawdown: DecimalStr


class PerformanceOut(Out):
    currency: str
    points: list[PointOut]


class StrategyAnalyticsOut(Out):
    strategy_id: int
    name: str
    summary: SummaryOut
    points: list[PointOut]


def flat(listed: Listed) -> dict[str, Any]:
    """A row with the names that stand beside it, as one level."""
    columns = {c.key: getattr(listed.row, c.key) for c in listed.row.__table__.columns}
    return columns | {
        "strategy_name": listed.strategy_name,
        "account_name": listed.account.name,
        "badge": listed.account.badge,
        "currency": listed.account.currency,
        "is_external": listed.row.trader_id is None or listed.row.exit_reason == "external",
    }
