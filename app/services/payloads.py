"""What events say about rows: one shape per noun, the same that the API gives. Ready for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from app.events import timestamp
from app.models.types import canonical


def number(value: Decimal | None) -> str | None:
    return None if value is None else canonical(value)


def instant(value: datetime | None) -> str | None:
    return None if value is None else timestamp(value)


def order(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "client_order_id": row["client_order_id"],
        "account_id": row["account_id"],
        "strategy_id": row["strategy_id"],
        "trader_id": row["trader_id"],
        "execution_id": row["execution_id"],
        "contract": row["contract"],
        "side": row["side"],
        "role": row["role"],
        "origin": row["origin"],
        "order_type": row["order_type"],
        "quantity": number(row["quantity"]),
        "limit_price": number(row["limit_price"]),
        "stop_price": number(row["stop_price"]),
        "status": row["status"],
        "reason": row["reason"],
        "filled_quantity": number(row["filled_quantity"]),
        "avg_fill_price": number(row["avg_fill_price"]),
    }


def fill(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "order_id": row["order_id"],
        "account_id": row["account_id"],
        "trader_id": row["trader_id"],
        "strategy_id": row["strategy_id"],
        "contract": row["contract"],
        "side": row["side"],
        "quantity": number(row["quantity"]),
        "price": number(row["price"]),
        "fee": number(row["fee"]),
        "liquidity": row["liquidity"],
        "at": instant(row["filled_at"]),
    }


def position(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "strategy_id": row["strategy_id"],
        "account_id": row["account_id"],
        "trader_id": row["trader_id"],
        "symbol": row["symbol"],
        "contract": row["contract"],
        "side": row["side"],
        "quantity": number(row["quantity"]),
        "max_quantity": number(row["max_quantity"]),
        "entry_price": number(row["entry_price"]),
        "exit_price": number(row["exit_price"]),
        "last_price": number(row["last_price"]),
        "unrealized_pnl": number(row["unrealized_pnl"]),
        "realized_pnl": number(row["realized_pnl"]),
        "opened_at": instant(row["opened_at"]),
        "closed_at": instant(row["closed_at"]),
        "exit_reason": row["exit_reason"],
        "is_external": row["trader_id"] is None or row["exit_reason"] == "external",
    }


def trade(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "strategy_id": row["strategy_id"],
        "account_id": row["account_id"],
        "trader_id": row["trader_id"],
        "contract": row["contract"],
        "side": row["side"],
        "quantity": number(row["quantity"]),
        "entry_price": number(row["entry_price"]),
        "exit_price": number(row["exit_price"]),
        "gross": number(row["gross"]),
        "fees": number(row["fees"]),
        "net": number(row["net"]),
        "mae": number(row["mae"]),
        "mfe": number(row["mfe"]),
        "opened_at": instant(row["opened_at"]),
        "closed_at": instant(row["closed_at"]),
        "exit_reason": row["exit_reason"],
    }


def live_position(row: Mapping[str, Any]) -> dict[str, Any]:
    """A contract's net position as the broker says it; 0 is flat."""
    return {
        "contract": row["contract"],
        "net_pos": number(row["net_pos"]),
        "avg_price": number(row["avg_price"]),
        "as_of": instant(row["as_of"]),
    }


def live_balance(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "currency": row["currency"],
        "cash": number(row["cash"]),
        "reserved": number(row["reserved"]),
        "available": number(row["cash"] - row["reserved"]),
        "equity": number(row["equity"]),
        "open_pnl": number(row["equity"] - row["cash"]),
        "realized_today": number(row["realized_today"]),
        "as_of": instant(row["as_of"]),
    }


def external_order(row: Mapping[str, Any]) -> dict[str, Any]:
    """An order that somebody else sent. It has an id of its own kind, for it is in no list of
    ours."""
    return {
        "id": f"external-{row['id']}",
        "external": True,
        "account_id": row["account_id"],
        "broker_order_id": row["broker_order_id"],
        "contract": row["contract"],
        "side": row["side"],
        "order_type": row["order_type"],
        "quantity": number(row["quantity"]),
        "limit_price": number(row["limit_price"]),
        "stop_price": number(row["stop_price"]),
        "status": row["status"],
        "reason": row["reason"],
        "filled_quantity": number(row["filled_quantity"]),
        "reported_at": instant(row["reported_at"]),
    }


def stream(login: Any) -> dict[str, Any]:
    """How a log-in's user stream stands, of its row."""
    return {
        "state": login.state,
        "since": instant(login.state_since),
        "reason": login.state_reason,
        "reconnects": login.reconnects,
        "gaps_repaired": login.gaps_repaired,
        "blocked_until": instant(login.blocked_until),
    }
