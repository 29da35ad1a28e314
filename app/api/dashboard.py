"""The dashboard's figures and lists: ``/api/dashboard/``."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint

from app.models import RecordedPosition, Trade
from app.schemas.common import page_of
from app.schemas.dashboard import (
    DashboardQuery,
    PerformanceOut,
    PositionOut,
    SummaryOut,
    TradeOut,
    flat,
)
from app.services import dashboard
from app.services import positions as recorded
from app.web.auth import current_user_id
from app.web.pagination import Listed, paginate

bp = APIBlueprint("dashboard", __name__, url_prefix="/dashboard", tag="Dashboard")


@bp.get("/summary/")
@bp.input(DashboardQuery, location="query")
@bp.output(SummaryOut)
def summary(query_data: DashboardQuery) -> Any:
    """P&L of the session day, the week and all time, and how it was made"""
    return dashboard.summary(current_user_id(), query_data.filters())


@bp.get("/positions/")
@bp.input(DashboardQuery, location="query")
@bp.output(page_of(PositionOut))
def positions(query_data: DashboardQuery) -> Listed:
    """Open positions, newest first"""
    rows = recorded.open_positions(current_user_id(), query_data.filters())
    sorts = {"opened_at": RecordedPosition.opened_at}
    return _named(paginate(rows, query_data, id_column=RecordedPosition.id, sorts=sorts))


@bp.get("/trade-history/")
@bp.input(DashboardQuery, location="query")
@bp.output(page_of(TradeOut))
def trade_history(query_data: DashboardQuery) -> Listed:
    """Closed trades, newest first"""
    rows = recorded.trades(current_user_id(), query_data.filters())
    sorts = {"closed_at": Trade.closed_at, "opened_at": Trade.opened_at, "net": Trade.net}
    page = paginate(rows, query_data, id_column=Trade.id, sorts=sorts, default="-closed_at")
    return _named(page)


@bp.get("/performance/")
@bp.input(DashboardQuery, location="query")
@bp.output(PerformanceOut)
def performance(query_data: DashboardQuery) -> dict[str, Any]:
    """The equity curve and its drawdown, one point per closed trade"""
    currency, points = dashboard.performance(current_user_id(), query_data.filters())
    return {"currency": currency, "points": points}


def _named(page: Listed) -> Listed:
    items = [flat(listed) for listed in recorded.named(page["items"])]
    return Listed(items=items, next=page["next"], total=page["total"])
