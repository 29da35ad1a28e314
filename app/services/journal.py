"""Strategy logs: what happened, in words for people and ids for machines, as row and event."""

from __future__ import annotations

from typing import Any

from app import clock
from app.events import timestamp
from app.models import StrategyLog
from app.models.base import table
from app.models.bulk import BulkInsert
from app.models.engine import reserve_ids
from app.transactions import Tx

_LOGS = BulkInsert(
    table(StrategyLog),
    (
        "id",
        "created_at",
        "user_id",
        "strategy_id",
        "account_id",
        "level",
        "event",
        "message",
        "data",
        "signal_id",
        "order_id",
        "position_id",
    ),
)


def write(
    tx: Tx,
    user_id: int,
    event: str,
    message: str,
    *,
    level: str = "info",
    strategy_id: int | None = None,
    account_id: int | None = None,
    signal_id: int | None = None,
    order_id: int | None = None,
    position_id: int | None = None,
    data: dict[str, Any] | None = None,
) -> None:
    """Add one line to the user's log. ``level``: info, warning, error."""
    at = clock.now()
    [log_id] = reserve_ids(tx.conn, "strategy_logs", 1)
    row = {
        "id": log_id,
        "created_at": at,
        "user_id": user_id,
        "strategy_id": strategy_id,
        "account_id": account_id,
        "level": level,
        "event": event,
        "message": message,
        "data": data or {},
        "signal_id": signal_id,
        "order_id": order_id,
        "position_id": position_id,
    }
    _LOGS.execute(tx.conn, [row])
    tx.record(user_id, "log", {**row, "created_at": timestamp(at)})
