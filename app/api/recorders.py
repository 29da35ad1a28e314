"""Strategies, by the name of the page that manages them: ``/api/recorders/``."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint

from app.api.bodies import optional
from app.domain.settings import dump
from app.models import RecordedPosition, Signal, Strategy, StrategyLog
from app.schemas.common import Done, ListQuery, page_of
from app.schemas.dashboard import PositionOut, flat
from app.schemas.logs import LogOut
from app.schemas.recorders import (
    CloneIn,
    ImportIn,
    RecorderChange,
    RecorderIn,
    RecorderOut,
    TestAlertIn,
)
from app.schemas.signals import SignalOut, signal_row
from app.services import logs, positions, preview, recorder, signal_log, strategies
from app.services.owned import get
from app.web.auth import current_identity, current_user_id
from app.web.pagination import Listed, paginate
from app.web.urls import public_base

bp = APIBlueprint("recorders", __name__, url_prefix="/recorders", tag="Recorders")
_SORTS = {"created_at": Strategy.created_at, "name": Strategy.name}


@bp.get("/")
@bp.input(ListQuery, location="query")
@bp.output(page_of(RecorderOut))
def index(query_data: ListQuery) -> Listed:
    """List recorders"""
    rows = strategies.listing(current_user_id())
    page = paginate(rows, query_data, id_column=Strategy.id, sorts=_SORTS, default="id")
    return _with_items(page, _recorders(page["items"]))


@bp.post("/")
@bp.input(RecorderIn)
@bp.output(RecorderOut, 201)
def create(json_data: RecorderIn) -> dict[str, Any]:
    """Make a recorder with a webhook of its own"""
    row = strategies.create(
        current_user_id(),
        name=json_data.name,
        symbol=json_data.symbol,
        demo_account_id=json_data.demo_account_id,
        recording=json_data.recording_enabled,
        enabled=json_data.enabled,
        settings=json_data.settings,
    )
    return _recorder(row)


@bp.post("/import/")
@bp.input(ImportIn)
@bp.output(RecorderOut, 201)
def import_document(json_data: ImportIn) -> dict[str, Any]:
    """Make a recorder from an exported document"""
    return _recorder(strategies.import_document(current_user_id(), json_data.model_dump()))


@bp.get("/<int:recorder_id>/")
@bp.output(RecorderOut)
def show(recorder_id: int) -> dict[str, Any]:
    """Show a recorder"""
    return _recorder(get(Strategy, recorder_id, current_user_id()))


@bp.put("/<int:recorder_id>/")
@bp.input(RecorderChange)
@bp.output(RecorderOut)
def change(recorder_id: int, json_data: RecorderChange) -> dict[str, Any]:
    """Change a recorder; what is absent stays"""
    return _recorder(strategies.update(current_user_id(), recorder_id, json_data.changes()))


@bp.delete("/<int:recorder_id>/")
@bp.output(Done)
def delete(recorder_id: int) -> Done:
    """Delete a recorder, its webhook and its traders; its history stays"""
    strategies.delete(current_user_id(), recorder_id)
    return Done()


@bp.post("/<int:recorder_id>/start/")
@bp.output(RecorderOut)
def start(recorder_id: int) -> dict[str, Any]:
    """Start recording"""
    return _recorder(strategies.set_recording(current_user_id(), recorder_id, True))


@bp.post("/<int:recorder_id>/stop/")
@bp.output(RecorderOut)
def stop(recorder_id: int) -> dict[str, Any]:
    """Stop recording"""
    return _recorder(strategies.set_recording(current_user_id(), recorder_id, False))


@bp.post("/<int:recorder_id>/rotate-webhook/")
@bp.output(RecorderOut)
def rotate_webhook(recorder_id: int) -> dict[str, Any]:
    """Give the webhook a new address"""
    return _recorder(strategies.rotate_webhook(current_user_id(), recorder_id))


@bp.post("/<int:recorder_id>/clone/")
@bp.output(RecorderOut, 201)
def clone(recorder_id: int) -> dict[str, Any]:
    """Copy a recorder, stopped and without traders"""
    return _recorder(strategies.clone(current_user_id(), recorder_id, optional(CloneIn).name))


@bp.get("/<int:recorder_id>/export/")
def export(recorder_id: int) -> dict[str, Any]:
    """Its settings as a document, without any secret"""
    return strategies.export(current_user_id(), recorder_id)


@bp.post("/<int:recorder_id>/test-alert/")
@bp.input(TestAlertIn)
def test_alert(recorder_id: int, json_data: TestAlertIn) -> dict[str, Any]:
    """What an alert would do; nothing is stored or sent"""
    get(Strategy, recorder_id, current_user_id())
    return preview.preview(recorder_id, json_data.body.encode(), json_data.content_type)


@bp.get("/<int:recorder_id>/signals/")
@bp.input(ListQuery, location="query")
@bp.output(page_of(SignalOut))
def signals(recorder_id: int, query_data: ListQuery) -> Listed:
    """Its webhook log, newest first"""
    get(Strategy, recorder_id, current_user_id())
    rows = signal_log.listing(current_user_id(), signal_log.Filters(strategy_id=recorder_id))
    page = paginate(rows, query_data, id_column=Signal.id)
    return _with_items(page, [signal_row(row) for row in page["items"]])


@bp.get("/<int:recorder_id>/positions/")
@bp.input(ListQuery, location="query")
@bp.output(page_of(PositionOut))
def recorded_positions(recorder_id: int, query_data: ListQuery) -> Listed:
    """Its recorded positions, open and closed, newest first"""
    get(Strategy, recorder_id, current_user_id())
    rows = positions.recorded(current_user_id(), positions.Filters(strategy_id=recorder_id))
    page = paginate(rows, query_data, id_column=RecordedPosition.id)
    return _with_items(page, [flat(listed) for listed in positions.named(page["items"])])


@bp.get("/<int:recorder_id>/logs/")
@bp.input(ListQuery, location="query")
@bp.output(page_of(LogOut))
def strategy_logs(recorder_id: int, query_data: ListQuery) -> Listed:
    """Its log, newest first"""
    get(Strategy, recorder_id, current_user_id())
    rows = logs.listing(current_user_id(), logs.Filters(strategy_id=recorder_id))
    return paginate(rows, query_data, id_column=StrategyLog.id)


def _recorder(row: Strategy) -> dict[str, Any]:
    return _recorders([row])[0]


def _recorders(rows: list[Strategy]) -> list[dict[str, Any]]:
    newest = strategies.last_signals(current_user_id(), [row.id for row in rows])
    may_trade = "trade" in current_identity().scopes
    demo_accounts = {row.demo_account_id for row in rows if row.demo_account_id is not None}
    polls = recorder.of_accounts(current_user_id(), demo_accounts)
    return [
        {
            **{c.key: getattr(row, c.key) for c in row.__table__.columns},
            "status": strategies.status(row),
            "recording_enabled": row.recording,
            "settings": dump(strategies.settings_of(row)),
            "webhook_url": strategies.webhook_url(row, public_base()) if may_trade else None,
            "alert_template": strategies.alert_template(row),
            "last_signal_at": newest[row.id].received_at if row.id in newest else None,
            **recorder.said(polls.get(row.demo_account_id or 0)),
        }
        for row in rows
    ]


def _with_items(page: Listed, items: list[Any]) -> Listed:
    return Listed(items=items, next=page["next"], total=page["total"])
