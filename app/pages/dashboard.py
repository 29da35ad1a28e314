"""The dashboard: what was made, what is open, how it went, each part reloadable by itself."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from app import clock
from app.domain.errors import NotFound
from app.domain.session_day import date_of, date_start, day_start, week_start
from app.domain.symbols import instrument_for
from app.events import timestamp
from app.extensions import db
from app.models import Trade
from app.models.types import canonical
from app.pages import filters as written
from app.schemas.common import ListQuery
from app.services import accounts, breakdown, dashboard, positions, user_data
from app.services.breakdown import Choices
from app.services.dashboard import Point
from app.services.positions import Filters, Listed
from app.web.auth import current_identity, current_user_id
from app.web.pagination import paginate

bp = Blueprint("dashboard", __name__)

PERIODS = ("today", "week", "month", "year", "all")
ENVIRONMENTS = ("all", "live", "demo")
TRADES_PER_PAGE = 25
_MOST_EXPORTED = 50_000
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_SPARK = 30
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Query:
    """What the address asks for. ``month`` is any day of the calendar's month."""

    period: str
    environment: str
    strategy_id: int | None
    account_id: int | None
    symbol: str | None
    currency: str | None
    month: date
    cursor: str | None
    now: datetime

    @classmethod
    def read(cls) -> Query:
        """Values that make no sense count as not given: an old bookmark still opens."""
        now = clock.now()
        given = request.args
        return cls(
            period=_one_of(given.get("period"), PERIODS, "all"),
            environment=_one_of(given.get("environment"), ENVIRONMENTS, "all"),
            strategy_id=given.get("strategy_id", type=int),
            account_id=given.get("account_id", type=int),
            symbol=(given.get("symbol") or "")[:40] or None,
            currency=(given.get("currency") or "")[:8] or None,
            month=_month(given.get("month"), date_of(now)),
            cursor=given.get("cursor"),
            now=now,
        )

    @property
    def since(self) -> datetime | None:
        today = date_of(self.now)
        starts: dict[str, Callable[[], datetime]] = {
            "today": lambda: day_start(self.now),
            "week": lambda: week_start(self.now),
            "month": lambda: date_start(today.replace(day=1)),
            "year": lambda: date_start(today.replace(month=1, day=1)),
        }
        return starts[self.period]() if self.period in starts else None

    @property
    def label(self) -> str:
        """What the period's sum is called; today and the week have figures of their own."""
        today = date_of(self.now)
        return {"month": _MONTHS[today.month - 1], "year": str(today.year)}.get(
            self.period, "All time"
        )

    def filters(self, *, of_period: bool) -> Filters:
        return Filters(
            strategy_id=self.strategy_id,
            account_id=self.account_id,
            symbol=self.symbol,
            since=self.since if of_period else None,
            environment=None if self.environment == "all" else self.environment,
            currency=self.currency,
        )

    def text(self, **changed: Any) -> str:
        """The query of an address, without what is the default."""
        values = {
            "period": self.period if self.period != "all" else None,
            "environment": self.environment if self.environment != "all" else None,
            "strategy_id": self.strategy_id,
            "account_id": self.account_id,
            "symbol": self.symbol,
            "currency": self.currency,
            "month": f"{self.month:%Y-%m}" if self.month.replace(day=1) != self._now() else None,
        } | changed
        return urlencode({name: value for name, value in values.items() if value is not None})

    def _now(self) -> date:
        return date_of(self.now).replace(day=1)


@bp.get("/")
def show() -> str | AnyResponse:
    """Somebody without an account is led to the guide, which makes one."""
    query = Query.read()
    choices = breakdown.choices(current_user_id())
    if not choices.accounts:
        return redirect("/guide/")
    context = _body(query) | _blocked(query) | _trouble(query)
    options = _options(choices, context["all"].currencies)
    return render_template("pages/dashboard/index.html", **context, options=options)


@bp.get("/dashboard/parts/<name>/")
def part(name: str) -> str:
    """One panel of the page, for the page to put in place of the old one."""
    if name not in _PARTS:
        raise NotFound("There is no such part of the dashboard.")
    query = Query.read()
    context = {**_common(query), **_PARTS[name](query)}
    return render_template(f"pages/dashboard/_{name}.html", **context)


@bp.get("/dashboard/trades.csv")
def trades_csv() -> Response:
    """The closed trades that the filters leave, oldest first, in plain figures."""
    query = Query.read()
    rows = positions.trades(current_user_id(), query.filters(of_period=True))
    ordered = rows.order_by(Trade.closed_at, Trade.id).limit(_MOST_EXPORTED)
    listed = positions.named(list(db.session.scalars(ordered)))
    header = (
        "closed_at opened_at contract side quantity strategy account entry_price exit_price "
        "gross fees net currency mae mfe exit_reason"
    )
    return _csv("trades.csv", header.split(), (_exported(trade) for trade in listed))


@bp.get("/dashboard/equity.csv")
def equity_csv() -> Response:
    """The points of the equity chart."""
    query = Query.read()
    currency, points = dashboard.performance(current_user_id(), query.filters(of_period=True))
    rows = (
        [timestamp(p.at), canonical(p.net), canonical(p.equity), canonical(p.drawdown), currency]
        for p in points
    )
    return _csv("equity.csv", ["at", "net", "equity", "drawdown", "currency"], rows)


def _options(choices: Choices, currencies: list[str]) -> dict[str, list[tuple[Any, str]]]:
    """(value, words) of each list of the filters."""
    return {
        "strategies": [("", "All strategies"), *((s.id, s.name) for s in choices.strategies)],
        "accounts": [("", "All accounts"), *((a.id, a.name) for a in choices.accounts)],
        "symbols": [("", "All symbols"), *((root, root) for root in choices.symbols)],
        "currencies": [(currency, currency) for currency in currencies],
    }


def _common(query: Query) -> dict[str, Any]:
    return {"query": query, "text": query.text(), "now": query.now}


def _body(query: Query) -> dict[str, Any]:
    context = _common(query) | _figures(query)
    context["is_empty"] = not context["all"].trades and not context["all"].open_positions
    for name in ("positions", "calendar", "equity", "strategies", "trades"):
        context |= _PARTS[name](query)
    return context


def _in_currency(query: Query, *, of_period: bool) -> Filters:
    """The filters with one currency: that of the summary where none was asked for."""
    chosen = query.filters(of_period=of_period)
    return replace(chosen, currency=dashboard.currency_of(current_user_id(), chosen))


def _blocked(_query: Query) -> dict[str, Any]:
    """The accounts whose kill switch is on, whatever the filters leave."""
    every = list(db.session.scalars(accounts.listing(current_user_id())))
    return {"blocked": [a for a in every if a.kill_switch], "count": len(every)}


def _trouble(_query: Query) -> dict[str, Any]:
    """The accounts of which the page cannot say how they stand, whatever the filters leave."""
    streams = user_data.status(current_user_id())
    return {
        "apart": [s.account for s in streams if s.account.out_of_sync_since is not None],
        "unheard": [s for s in streams if s.is_wanted and s.state != user_data.LIVE],
    }


def _figures(query: Query) -> dict[str, Any]:
    user_id = current_user_id()
    everything = dashboard.summary(user_id, query.filters(of_period=False))
    in_period = everything
    if query.since is not None:
        in_period = dashboard.summary(
            user_id, replace(query.filters(of_period=True), currency=everything.currency)
        )
    _, points = dashboard.performance(
        user_id, replace(query.filters(of_period=True), currency=everything.currency)
    )
    return {
        **_open_result(_open(query)[0]),
        "all": everything,
        "period": in_period,
        "deepest": max(points, key=lambda p: p.drawdown, default=None),
        "unit": everything.currency,
        "average_win": _mean(in_period.gross_profit, in_period.wins),
        "average_loss": _mean(in_period.gross_loss, in_period.losses),
    }


def _positions(query: Query) -> dict[str, Any]:
    user_id = current_user_id()
    listed_rows, chosen = _open(query)
    stops = breakdown.stops(user_id)
    lines = [
        {
            "row": listed.row,
            "account": listed.account,
            "strategy": listed.strategy_name or "Manual",
            "places": instrument_for(listed.row.contract).price_places,
            "stop": stops.get((listed.row.trader_id, listed.row.account_id, listed.row.contract)),
        }
        for listed in listed_rows
    ]
    lines.sort(key=lambda line: line["row"].opened_at, reverse=True)
    return {"open": lines, "unit": chosen.currency, **_open_result(listed_rows)}


def _open(query: Query) -> tuple[list[Listed], Filters]:
    """The open positions of one currency, and the filters with it."""
    chosen = _in_currency(query, of_period=False)
    rows = db.session.scalars(positions.open_positions(current_user_id(), chosen))
    return positions.named(list(rows)), chosen


def _open_result(listed: Sequence[Listed]) -> dict[str, Any]:
    """What is open makes so much, without the positions of which nobody tells us a price: those
    at brokers."""
    known = [
        each.row.unrealized_pnl
        for each in listed
        if each.account.login_id is None and each.row.unrealized_pnl is not None
    ]
    return {"open_pnl": sum(known, Decimal(0)), "unpriced": len(listed) - len(known)}


@dataclass(frozen=True, slots=True)
class Day:
    """One cell of the calendar. ``step`` is its shade: p1 to p3, n1 to n3, or empty."""

    day: date
    net: Decimal | None
    step: str
    is_in_month: bool
    is_today: bool


def _calendar(query: Query) -> dict[str, Any]:
    first = query.month.replace(day=1)
    after = (first + timedelta(days=31)).replace(day=1)
    chosen = _in_currency(query, of_period=False)
    chosen = replace(chosen, since=date_start(first), until=date_start(after))
    days = breakdown.by_day(current_user_id(), chosen)
    shown = 7 if any(day.weekday() >= 5 for day in days) else 5
    weeks = _weeks(first, after, days, date_of(query.now))
    nets = days.values()
    return {
        "month_name": f"{_MONTHS[first.month - 1]} {first.year}",
        "weeks": [w for w in weeks if any(cell.is_in_month for cell in w[0][:shown])],
        "days_shown": shown,
        "days_up": sum(net > 0 for net in nets),
        "days_down": sum(net < 0 for net in nets),
        "earlier": query.text(month=f"{first - timedelta(days=1):%Y-%m}"),
        "later": query.text(month=f"{after:%Y-%m}") if after <= date_of(query.now) else None,
        "unit": chosen.currency,
    }


def _weeks(
    first: date, after: date, days: dict[date, Decimal], today: date
) -> list[tuple[list[Day], Decimal | None]]:
    largest = max((abs(net) for net in days.values()), default=Decimal(0))
    monday = first - timedelta(days=first.weekday())
    weeks = []
    while monday < after:
        cells = [
            Day(
                day,
                days.get(day),
                _shade(days.get(day), largest),
                first <= day < after,
                day == today,
            )
            for day in (monday + timedelta(days=n) for n in range(7))
        ]
        known = [cell.net for cell in cells if cell.net is not None]
        weeks.append((cells, sum(known, Decimal(0)) if known else None))
        monday += timedelta(days=7)
    return weeks


def _shade(net: Decimal | None, largest: Decimal) -> str:
    """Three steps each way, by size against the month's largest day."""
    if not net or not largest:
        return ""
    step = min(3, int(abs(net) * 3 / largest) + 1)
    return f"{'p' if net > 0 else 'n'}{step}"


def _equity(query: Query) -> dict[str, Any]:
    user_id = current_user_id()
    currency, points = dashboard.performance(user_id, query.filters(of_period=True))
    # The line begins at zero, where the trading day of the first result began.
    start = [[round(day_start(points[0].at).timestamp(), 3), 0.0, 0.0]] if points else []
    return {
        "points": start
        + [[round(p.at.timestamp(), 3), float(p.equity), -float(p.drawdown)] for p in points],
        "sentence": _sentence(points, currency),
        "last_points": list(reversed(points[-20:])),
        "unit": currency,
    }


def _sentence(points: Sequence[Point], currency: str) -> str:
    """The chart in words, for those who do not see it."""
    if not points:
        return "No trade was closed in this period."
    zone = current_identity().zone
    if len(points) == 1:
        return f"One trade was closed: {written.signed(points[0].equity, currency)}."
    deepest = max(points, key=lambda p: p.drawdown)
    text = (
        f"Net P&L went from {written.signed(0, currency)} to "
        f"{written.signed(points[-1].equity, currency)} between "
        f"{written.when(points[0].at, zone)} and {written.when(points[-1].at, zone)}"
    )
    if not deepest.drawdown:
        return f"{text}, without a drawdown."
    fall = written.signed(-deepest.drawdown, currency)
    return f"{text}; the deepest drawdown was {fall}, {written.when(deepest.at, zone)}."


def _strategies(query: Query) -> dict[str, Any]:
    chosen = _in_currency(query, of_period=True)
    standings = breakdown.by_strategy(current_user_id(), chosen)
    return {
        "standings": [(standing, _spark(standing.curve)) for standing in standings],
        "unit": chosen.currency,
    }


def _spark(curve: Sequence[Decimal]) -> str:
    """Points of a small line, 80 wide and 18 high, of the last ``_SPARK`` results."""
    values = [float(value) for value in ([Decimal(0), *curve])[-_SPARK:]]
    low, high = min(values), max(values)
    across = 80 / (len(values) - 1)
    height = (high - low) or 1.0
    return " ".join(
        f"{index * across:.1f},{17 - 16 * (value - low) / height:.1f}"
        for index, value in enumerate(values)
    )


def _trades(query: Query) -> dict[str, Any]:
    rows = positions.trades(current_user_id(), query.filters(of_period=True))
    asked = ListQuery(limit=TRADES_PER_PAGE, cursor=query.cursor, sort="-closed_at")
    page = paginate(rows, asked, id_column=Trade.id, sorts={"closed_at": Trade.closed_at})
    listed = positions.named(page["items"])
    return {
        "trades": [
            (trade, instrument_for(trade.row.contract).price_places, _held(trade))
            for trade in listed
        ],
        "trades_total": page["total"],
        "older": query.text(cursor=page["next"]) if page["next"] else None,
        "is_first_page": query.cursor is None,
    }


def _held(trade: Listed) -> timedelta:
    held: timedelta = trade.row.closed_at - trade.row.opened_at
    return held


_PARTS: dict[str, Callable[[Query], dict[str, Any]]] = {
    "blocked": _blocked,
    "trouble": _trouble,
    "body": _body,
    "figures": _figures,
    "positions": _positions,
    "calendar": _calendar,
    "equity": _equity,
    "strategies": _strategies,
    "trades": _trades,
}


def _exported(trade: Listed) -> list[str]:
    row = trade.row
    return [
        timestamp(row.closed_at),
        timestamp(row.opened_at),
        _text(row.contract),
        row.side,
        canonical(row.quantity),
        _text(trade.strategy_name or "Manual"),
        _text(trade.account.name),
        canonical(row.entry_price),
        canonical(row.exit_price),
        canonical(row.gross),
        canonical(row.fees),
        canonical(row.net),
        trade.account.currency,
        canonical(row.mae),
        canonical(row.mfe),
        row.exit_reason,
    ]


def _text(value: str) -> str:
    """A spreadsheet would run a name that begins like a formula."""
    return f"'{value}" if value.startswith(_FORMULA) else value


def _csv(name: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Response:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(header)
    writer.writerows(rows)
    disposition = f'attachment; filename="{name}"'
    headers = {"Content-Disposition": disposition, "Cache-Control": "no-store"}
    return Response(file.getvalue(), mimetype="text/csv", headers=headers)


def _mean(total: Decimal, count: int) -> Decimal | None:
    return total / count if count else None


def _one_of(given: str | None, allowed: Sequence[str], default: str) -> str:
    return given if given is not None and given in allowed else default


def _month(given: str | None, today: date) -> date:
    try:
        return date.fromisoformat(f"{given}-01")
    except ValueError:
        return today
