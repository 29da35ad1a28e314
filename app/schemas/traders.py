"""Traders in JSON."""

from __future__ import annotations

from typing import Any

from pydantic import Field, StrictBool

from app.models import Trader
from app.schemas.common import Body, DecimalStr, Instant, ListQuery, Out
from app.schemas.fields import Id
from app.services.traders import Assigned, Live


class TraderIn(Body):
    strategy_id: Id
    account_id: Id
    enabled: StrictBool = True
    overrides: dict[str, Any] = Field(default_factory=dict)


class TraderChange(Body):
    """What is absent stays; the same holds within ``overrides``, where null inherits."""

    enabled: StrictBool | None = None
    overrides: dict[str, Any] | None = None

    def changes(self) -> dict[str, Any]:
        """What was stated. A null within ``overrides`` is kept: it inherits."""
        stated = self.model_dump(exclude_unset=True)
        return {name: value for name, value in stated.items() if value is not None}


class TraderQuery(ListQuery):
    strategy_id: Id | None = None
    account_id: Id | None = None


class ToggleIn(Body):
    """Without ``enabled`` the switch flips."""

    enabled: StrictBool | None = None


class StrategyBrief(Out):
    id: int
    name: str
    slug: str
    enabled: bool


class AccountBrief(Out):
    id: int
    name: str
    broker: str
    environment: str
    badge: str
    currency: str
    status: str
    kill_switch: bool


class TraderOut(Out):
    """``effective``: for each setting its value and its source (default, strategy, trader)."""

    id: int
    strategy_id: int
    account_id: int
    enabled: bool
    overrides: dict[str, Any]
    version: int
    strategy: StrategyBrief
    account: AccountBrief
    effective: dict[str, Any]
    created_at: Instant
    updated_at: Instant


class LivePosition(Out):
    id: int
    symbol: str
    contract: str
    side: str
    quantity: DecimalStr
    entry_price: DecimalStr
    last_price: DecimalStr | None
    unrealized_pnl: DecimalStr | None


class LiveTraderOut(Out):
    """Money in the account's currency. ``open_pnl`` is null while a price is missing."""

    id: int
    enabled: bool
    strategy: StrategyBrief
    account: AccountBrief
    positions: list[LivePosition]
    open_pnl: DecimalStr | None
    pnl_today: DecimalStr
    trades_today: int
    working_orders: int


def joined(assigned: Assigned) -> dict[str, Any]:
    columns = {c.key: getattr(assigned.trader, c.key) for c in Trader.__table__.columns}
    return columns | {
        "strategy": assigned.strategy,
        "account": assigned.account,
        "effective": assigned.effective.to_json(),
    }


def live_row(live: Live) -> dict[str, Any]:
    return {
        "id": live.assigned.trader.id,
        "enabled": live.assigned.trader.enabled,
        "strategy": live.assigned.strategy,
        "account": live.assigned.account,
        "positions": live.positions,
        "open_pnl": live.open_pnl,
        "pnl_today": live.pnl_today,
        "trades_today": live.trades_today,
        "working_orders": live.working_orders,
    }
