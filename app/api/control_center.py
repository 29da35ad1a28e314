"""The control center: ``/api/control-center/``."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint

from app.api.bodies import optional
from app.models import StrategyLog
from app.schemas.accounts import AccountOut, KillSwitchIn
from app.schemas.common import Done, page_of
from app.schemas.logs import LogOut, LogQuery
from app.schemas.traders import LiveTraderOut, ToggleIn, TraderOut, joined, live_row
from app.services import accounts, logs, traders
from app.web.auth import current_user_id
from app.web.pagination import Listed, paginate

bp = APIBlueprint("control_center", __name__, url_prefix="/control-center", tag="Control center")


@bp.get("/logs/")
@bp.input(LogQuery, location="query")
@bp.output(page_of(LogOut))
def show_logs(query_data: LogQuery) -> Listed:
    """List log rows, newest first"""
    rows = logs.listing(current_user_id(), query_data.filters())
    return paginate(rows, query_data, id_column=StrategyLog.id)


@bp.get("/live-traders/")
@bp.output(page_of(LiveTraderOut))
def live_traders() -> dict[str, Any]:
    """Every trader with its positions and P&L now"""
    items = [live_row(live) for live in traders.live(current_user_id())]
    return {"items": items, "next": None, "total": len(items)}


@bp.post("/trader/<int:trader_id>/toggle/")
@bp.output(TraderOut)
def toggle(trader_id: int) -> dict[str, Any]:
    """Switch a trader on or off; without a body it flips"""
    row = traders.toggle(current_user_id(), trader_id, optional(ToggleIn).enabled)
    return joined(traders.assigned([row])[0])


@bp.post("/trader/<int:trader_id>/close/")
@bp.output(Done)
def close(trader_id: int) -> Done:
    """Cancel a trader's orders and close what it holds"""
    traders.close(current_user_id(), trader_id)
    return Done()


@bp.post("/close-all/")
@bp.output(Done)
def close_all() -> Done:
    """Flatten every account of the user"""
    traders.close_all(current_user_id())
    return Done()


@bp.post("/kill-switch/")
@bp.input(KillSwitchIn)
@bp.output(page_of(AccountOut))
def kill_switch(json_data: KillSwitchIn) -> dict[str, Any]:
    """Block entries on every account, or allow them again; protection stays"""
    rows = accounts.set_kill_switches(
        current_user_id(), json_data.on, flatten_too=json_data.flatten
    )
    return {"items": rows, "next": None, "total": len(rows)}
