"""Traders: ``/api/traders/``."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint

from app.api.bodies import optional
from app.models import Trader
from app.schemas.common import Done, page_of
from app.schemas.traders import ToggleIn, TraderChange, TraderIn, TraderOut, TraderQuery, joined
from app.services import traders
from app.services.owned import get
from app.web.auth import current_user_id
from app.web.pagination import Listed, paginate

bp = APIBlueprint("traders", __name__, url_prefix="/traders", tag="Traders")


@bp.get("/")
@bp.input(TraderQuery, location="query")
@bp.output(page_of(TraderOut))
def index(query_data: TraderQuery) -> Listed:
    """List traders with their strategies and accounts"""
    rows = traders.listing(
        current_user_id(),
        strategy_id=query_data.strategy_id,
        account_id=query_data.account_id,
    )
    page = paginate(rows, query_data, id_column=Trader.id, default="id")
    items = [joined(a) for a in traders.assigned(page["items"])]
    return Listed(items=items, next=page["next"], total=page["total"])


@bp.post("/")
@bp.input(TraderIn)
@bp.output(TraderOut, 201)
def create(json_data: TraderIn) -> dict[str, Any]:
    """Assign a strategy to an account"""
    return _trader(traders.create(current_user_id(), **json_data.model_dump()))


@bp.get("/<int:trader_id>/")
@bp.output(TraderOut)
def show(trader_id: int) -> dict[str, Any]:
    """Show a trader with its effective settings and where each comes from"""
    return _trader(get(Trader, trader_id, current_user_id()))


@bp.put("/<int:trader_id>/")
@bp.input(TraderChange)
@bp.output(TraderOut)
def change(trader_id: int, json_data: TraderChange) -> dict[str, Any]:
    """Change a trader; what is absent stays"""
    return _trader(traders.change(current_user_id(), trader_id, json_data.changes()))


@bp.delete("/<int:trader_id>/")
@bp.output(Done)
def delete(trader_id: int) -> Done:
    """Delete a trader; its history stays"""
    traders.delete(current_user_id(), trader_id)
    return Done()


@bp.post("/<int:trader_id>/toggle/")
@bp.output(TraderOut)
def toggle(trader_id: int) -> dict[str, Any]:
    """Switch on or off; without a body it flips"""
    return _trader(traders.toggle(current_user_id(), trader_id, optional(ToggleIn).enabled))


def _trader(row: Trader) -> dict[str, Any]:
    return joined(traders.assigned([row])[0])
