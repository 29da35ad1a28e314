"""The figures of the dashboard: what closed trades made, what open positions stand at.

All sums are of one currency. Closed trades count at their exit, net of fees, in the order
(closed_at, id); open profit stays apart. Days and weeks are those of the futures exchanges.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from sqlalchemy import func, select

from app import clock
from app.domain.session_day import day_start, week_start
from app.extensions import db
from app.models import Account, Trade
from app.services import positions
from app.services.owned import owned
from app.services.positions import Filters

ZERO = Decimal(0)
MOST_POINTS = 1000
_RATIO = Decimal("0.0001")


@dataclass(slots=True)
class Summary:
    """``win_rate`` is won ÷ all (0 to 1); ``profit_factor`` gross profit ÷ gross loss.

    What is undefined is None, with its reason in ``undefined``: ``no_trades``, ``no_losses``.
    ``max_drawdown`` is positive, from the highest sum of net results, the start included.
    ``open_pnl`` leaves out positions without a price; ``unpriced`` counts them.
    """

    currency: str
    currencies: list[str]
    pnl_today: Decimal = ZERO
    pnl_week: Decimal = ZERO
    pnl_all: Decimal = ZERO
    gross_profit: Decimal = ZERO
    gross_loss: Decimal = ZERO
    fees: Decimal = ZERO
    trades: int = 0
    trades_today: int = 0
    wins: int = 0
    losses: int = 0
    win_rate: Decimal | None = None
    profit_factor: Decimal | None = None
    average_trade: Decimal | None = None
    max_drawdown: Decimal = ZERO
    open_pnl: Decimal = ZERO
    open_positions: int = 0
    unpriced: int = 0
    undefined: dict[str, str] = field(default_factory=dict)
    day_started_at: datetime | None = None
    week_started_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """After one closed trade: the sum of net results, and how far below its peak (positive)."""

    at: datetime
    net: Decimal
    equity: Decimal
    drawdown: Decimal


def summary(user_id: int, filters: Filters) -> Summary:
    """The figures of one currency: the filter's, else the one with most trades."""
    currencies = _currencies(user_id)
    currency = filters.currency or (currencies[0] if currencies else "USD")
    chosen = replace(filters, currency=currency)
    now = clock.now()
    result = Summary(
        currency,
        currencies or [currency],
        day_started_at=day_start(now),
        week_started_at=week_start(now),
    )
    _add_trades(result, closed(user_id, chosen))
    _add_ratios(result)
    for position in db.session.scalars(positions.open_positions(user_id, chosen)):
        result.open_positions += 1
        if position.unrealized_pnl is None:
            result.unpriced += 1
        else:
            result.open_pnl += position.unrealized_pnl
    return result


def performance(user_id: int, filters: Filters) -> tuple[str, list[Point]]:
    """The currency, and at most ``MOST_POINTS`` points for a chart, oldest first."""
    currency = currency_of(user_id, filters)
    rows = closed(user_id, replace(filters, currency=currency))
    return currency, thinned(curve((row.closed_at, row.net) for row in rows))


def currency_of(user_id: int, filters: Filters) -> str:
    """The currency that figures are of: the filter's, else the one with most trades."""
    currencies = _currencies(user_id)
    return filters.currency or (currencies[0] if currencies else "USD")


def closed(user_id: int, filters: Filters) -> Sequence[Any]:
    """(id, closed_at, net, fees) of closed trades, oldest first."""
    rows = positions.trades(user_id, filters).with_only_columns(
        Trade.id, Trade.closed_at, Trade.net, Trade.fees
    )
    return db.session.execute(rows.order_by(Trade.closed_at, Trade.id)).all()


def curve(results: Iterable[tuple[datetime, Decimal]]) -> list[Point]:
    """Running sum and drawdown; the start, at zero, is the first peak."""
    equity = peak = ZERO
    points = []
    for at, net in results:
        equity += net
        peak = max(peak, equity)
        points.append(Point(at, net, equity, peak - equity))
    return points


def thinned(points: list[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most ``most`` points: of each stretch the deepest one, and always the last."""
    if len(points) <= most:
        return points
    size = -(-(len(points) - 1) // (most - 1))
    stretches = (points[i : i + size] for i in range(0, len(points) - 1, size))
    return [*(max(s, key=lambda p: p.drawdown) for s in stretches), points[-1]]


def _add_trades(result: Summary, rows: Sequence[Any]) -> None:
    for row in rows:
        result.trades += 1
        result.pnl_all += row.net
        result.fees += row.fees
        if row.closed_at >= result.week_started_at:
            result.pnl_week += row.net
        if row.closed_at >= result.day_started_at:
            result.pnl_today += row.net
            result.trades_today += 1
        if row.net > 0:
            result.wins += 1
            result.gross_profit += row.net
        elif row.net < 0:
            result.losses += 1
            result.gross_loss -= row.net
    points = curve((row.closed_at, row.net) for row in rows)
    result.max_drawdown = max((p.drawdown for p in points), default=ZERO)


def _add_ratios(result: Summary) -> None:
    if not result.trades:
        result.undefined = dict.fromkeys(
            ("win_rate", "profit_factor", "average_trade"), "no_trades"
        )
        return
    result.win_rate = _ratio(Decimal(result.wins), Decimal(result.trades))
    result.average_trade = (result.pnl_all / result.trades).quantize(
        Decimal("1E-8"), ROUND_HALF_EVEN
    )
    if result.gross_loss:
        result.profit_factor = _ratio(result.gross_profit, result.gross_loss)
    else:
        result.undefined["profit_factor"] = "no_losses"


def _ratio(part: Decimal, whole: Decimal) -> Decimal:
    return (part / whole).quantize(_RATIO, ROUND_HALF_EVEN)


def _currencies(user_id: int) -> list[str]:
    """The currencies of the user's accounts, that with most trades first."""
    used = (
        select(Account.currency)
        .join(Trade, Trade.account_id == Account.id)
        .where(Account.user_id == user_id)
        .group_by(Account.currency)
        .order_by(func.count(Trade.id).desc(), Account.currency)
    )
    found = list(db.session.scalars(used))
    others = {account.currency for account in db.session.scalars(owned(Account, user_id))}
    return found + sorted(others - set(found), key=lambda c: (c != "USD", c))
