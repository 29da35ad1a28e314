"""Figures of one strategy or of everything, and the data of their charts: ``/api/analytics/``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from apiflask import APIBlueprint

from app.models import Strategy
from app.schemas.dashboard import (
    DashboardQuery,
    PerformanceOut,
    StrategyAnalyticsOut,
    SummaryOut,
)
from app.services import dashboard
from app.services.owned import get
from app.web.auth import current_user_id

bp = APIBlueprint("analytics", __name__, url_prefix="/analytics", tag="Analytics")


@bp.get("/dashboard/")
@bp.input(DashboardQuery, location="query")
@bp.output(SummaryOut)
def overview(query_data: DashboardQuery) -> Any:
    """The figures of all trades that the filters leave"""
    return dashboard.summary(current_user_id(), query_data.filters())


@bp.get("/chart-data/")
@bp.input(DashboardQuery, location="query")
@bp.output(PerformanceOut)
def chart_data(query_data: DashboardQuery) -> dict[str, Any]:
    """Profit against drawdown, one point per closed trade"""
    currency, points = dashboard.performance(current_user_id(), query_data.filters())
    return {"currency": currency, "points": points}


@bp.get("/strategy/<int:strategy_id>/")
@bp.input(DashboardQuery, location="query")
@bp.output(StrategyAnalyticsOut)
def of_strategy(strategy_id: int, query_data: DashboardQuery) -> dict[str, Any]:
    """The figures and the curve of one strategy"""
    strategy = get(Strategy, strategy_id, current_user_id())
    filters = replace(query_data.filters(), strategy_id=strategy_id)
    return {
        "strategy_id": strategy.id,
        "name": strategy.name,
        "summary": dashboard.summary(current_user_id(), filters),
        "points": dashboard.performance(current_user_id(), filters)[1],
    }
