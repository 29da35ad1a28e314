"""The log of strategies and accounts, as its readers ask for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select

from app.models import StrategyLog
from app.services.owned import owned

LEVELS = ("info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Filters:
    """``since`` is inclusive, ``until`` exclusive."""

    strategy_id: int | None = None
    account_id: int | None = None
    level: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def listing(user_id: int, filters: Filters | None = None) -> Select[StrategyLog]:
    """The user's log rows, unordered."""
    chosen = filters or Filters()
    rows = owned(StrategyLog, user_id)
    if chosen.strategy_id is not None:
        rows = rows.where(StrategyLog.strategy_id == chosen.strategy_id)
    if chosen.account_id is not None:
        rows = rows.where(StrategyLog.account_id == chosen.account_id)
    if chosen.level is not None:
        rows = rows.where(StrategyLog.level == chosen.level)
    if chosen.since is not None:
        rows = rows.where(StrategyLog.created_at >= chosen.since)
    if chosen.until is not None:
        rows = rows.where(StrategyLog.created_at < chosen.until)
    return rows
