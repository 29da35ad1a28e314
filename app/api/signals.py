"""The webhook log: ``/api/signals/``."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint

from app.models import Signal
from app.schemas.common import page_of
from app.schemas.signals import LifeOut, SignalOut, SignalQuery, life_row, signal_row
from app.services import signal_log
from app.web.auth import current_user_id
from app.web.pagination import Listed, paginate

bp = APIBlueprint("signals", __name__, url_prefix="/signals", tag="Signals")


@bp.get("/")
@bp.input(SignalQuery, location="query")
@bp.output(page_of(SignalOut))
def index(query_data: SignalQuery) -> Listed:
    """List alerts, newest first"""
    rows = signal_log.listing(current_user_id(), query_data.filters())
    sorts = {"received_at": Signal.received_at}
    page = paginate(rows, query_data, id_column=Signal.id, sorts=sorts)
    items = [signal_row(row) for row in page["items"]]
    return Listed(items=items, next=page["next"], total=page["total"])


@bp.get("/<int:signal_id>/")
@bp.output(LifeOut)
def show(signal_id: int) -> dict[str, Any]:
    """One alert: what was understood, decided, sent and filled"""
    return life_row(signal_log.life(current_user_id(), signal_id))
