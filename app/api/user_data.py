"""User data streams: ``/api/user-data/``."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint

from app.schemas.common import page_of
from app.schemas.user_data import StreamIn, StreamStatusOut, shown
from app.services import user_data
from app.web.auth import current_user_id

bp = APIBlueprint("user_data", __name__, url_prefix="/user-data", tag="User data")


@bp.post("/connect/")
@bp.input(StreamIn)
@bp.output(StreamStatusOut)
def connect(json_data: StreamIn) -> dict[str, Any]:
    """Keep the stream of an account's log-in running; idempotent"""
    return shown(user_data.connect(current_user_id(), json_data.account_id))


@bp.get("/status/")
@bp.output(page_of(StreamStatusOut))
def status() -> dict[str, Any]:
    """How the stream of each account stands"""
    items = [shown(standing) for standing in user_data.status(current_user_id())]
    return {"items": items, "next": None, "total": len(items)}


@bp.post("/disconnect/")
@bp.input(StreamIn)
@bp.output(StreamStatusOut)
def disconnect(json_data: StreamIn) -> dict[str, Any]:
    """End the stream of an account's log-in, for all accounts of that log-in"""
    return shown(user_data.disconnect(current_user_id(), json_data.account_id))
