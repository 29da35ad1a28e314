"""Recorders: the list, the settings form, one strategy's page with its webhook and dry run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from flask import Blueprint, Response, flash, redirect, render_template, request
from pydantic import ValidationError
from werkzeug.wrappers import Response as AnyResponse

from app import clock
from app.domain.errors import Invalid, NotFound, TradingError
from app.domain.session_day import day_start
from app.domain.settings import StrategySettings, dump, parse_strategy
from app.domain.symbols import instrument_for
from app.events import timestamp
from app.extensions import db
from app.models import Account, RecordedPosition, Signal, Strategy, StrategyLog, Trade
from app.pages import effect, settings_form, signal_life
from app.schemas.recorders import ImportIn, RecorderChange, RecorderIn
from app.services import (
    accounts,
    breakdown,
    dashboard,
    logs,
    positions,
    preview,
    recorder,
    signal_log,
    strategies,
    traders,
)
from app.services.owned import get
from app.services.positions import Filters
from app.services.signal_log import Tally
from app.web.auth import current_user_id
from app.web.errors import validation_errors
from app.web.urls import public_base

bp = Blueprint("recorders", __name__, url_prefix="/recorders")

ROWS = 20
_MOST_IMPORTED = 256 * 1024


@bp.get("/")
def index() -> str:
    return _list()


@bp.get("/new/")
def new() -> str:
    return _form(None, _blank(), {})


@bp.post("/new/")
def create() -> AnyResponse | tuple[str, int]:
    values = _typed(None)
    if values["trade_on"]:
        get(Account, values["trade_on"], current_user_id())
    try:
        given = RecorderIn.model_validate(_body(values))
        made = strategies.create(
            current_user_id(),
            name=given.name,
            symbol=given.symbol,
            demo_account_id=given.demo_account_id,
            recording=given.recording_enabled,
            enabled=given.enabled,
            settings=given.settings,
        )
    except (ValidationError, Invalid, NotFound) as e:
        return _form(None, values, _faults(e, values)), 422
    if values["trade_on"]:
        traders.create(current_user_id(), strategy_id=made.id, account_id=values["trade_on"])
    flash(f"“{made.name}” was made.")
    return redirect(f"/recorders/{made.id}/", 303)


@bp.post("/import/")
def import_document() -> AnyResponse | tuple[str, int]:
    """Make a recorder from an exported file."""
    try:
        document = ImportIn.model_validate(_uploaded())
        made = strategies.import_document(current_user_id(), document.model_dump())
    except (ValidationError, Invalid) as e:
        errors = _errors(e)
        problem = "; ".join(f"{name}: {text}" if name else text for name, text in errors.items())
        return _list(import_error=problem), 422
    flash(f"“{made.name}” was imported.")
    return redirect(f"/recorders/{made.id}/", 303)


@bp.get("/<int:strategy_id>/")
def show(strategy_id: int) -> str:
    return _page(get(Strategy, strategy_id, current_user_id()))


@bp.post("/<int:strategy_id>/test-alert/")
def test_alert(strategy_id: int) -> tuple[str, int]:
    """What an alert would do now: nothing is stored, nothing is sent."""
    strategy = get(Strategy, strategy_id, current_user_id())
    typed = request.form.get("body", "")[: 64 * 1024]
    try:
        found = preview.preview(strategy.id, typed.encode())
    except TradingError as e:
        refusal = {"code": e.code, "detail": e.detail, "status": e.status, "field": e.field}
        return _page(strategy, tested=typed, refusal=refusal), 200
    return _page(strategy, tested=typed, dry_run=found), 200


@bp.get("/<int:strategy_id>/edit/")
def edit(strategy_id: int) -> str:
    strategy = get(Strategy, strategy_id, current_user_id())
    return _form(strategy, _stored(strategy), {})


@bp.post("/<int:strategy_id>/edit/")
def save(strategy_id: int) -> AnyResponse | tuple[str, int]:
    strategy = get(Strategy, strategy_id, current_user_id())
    values = _typed(strategy)
    try:
        given = RecorderChange.model_validate(_body(values))
        strategies.update(current_user_id(), strategy_id, given.changes())
    except (ValidationError, Invalid, NotFound) as e:
        return _form(strategy, values, _faults(e, values)), 422
    flash("Saved. It holds from the next signal on; an open position keeps its bracket.")
    return redirect(f"/recorders/{strategy_id}/edit/", 303)


@bp.post("/effect/")
def show_effect() -> str:
    """The column beside the form, for settings that are not saved yet."""
    values = _typed(None)
    return render_template("pages/recorders/_effect.html", **_effect(values))


@bp.post("/<int:strategy_id>/start/")
def start(strategy_id: int) -> AnyResponse:
    strategies.set_recording(current_user_id(), strategy_id, True)
    return _back(strategy_id)


@bp.post("/<int:strategy_id>/stop/")
def stop(strategy_id: int) -> AnyResponse:
    strategies.set_recording(current_user_id(), strategy_id, False)
    return _back(strategy_id)


@bp.post("/<int:strategy_id>/enable/")
def enable(strategy_id: int) -> AnyResponse:
    strategies.update(current_user_id(), strategy_id, {"enabled": True})
    return _back(strategy_id)


@bp.post("/<int:strategy_id>/disable/")
def disable(strategy_id: int) -> AnyResponse:
    strategies.update(current_user_id(), strategy_id, {"enabled": False})
    return _back(strategy_id)


@bp.post("/<int:strategy_id>/rotate-webhook/")
def rotate_webhook(strategy_id: int) -> AnyResponse:
    strategies.rotate_webhook(current_user_id(), strategy_id)
    flash("The webhook has a new address. Put it into your alerts: the old one answers 404.")
    return _back(strategy_id)


@bp.post("/<int:strategy_id>/clone/")
def clone(strategy_id: int) -> AnyResponse:
    made = strategies.clone(current_user_id(), strategy_id)
    flash(f"“{made.name}” was made: the same settings, a webhook of its own, stopped.")
    return _back(made.id)


@bp.get("/<int:strategy_id>/export/")
def export(strategy_id: int) -> Response:
    strategy = get(Strategy, strategy_id, current_user_id())
    document = strategies.export(current_user_id(), strategy_id)
    disposition = f'attachment; filename="{strategy.slug}.json"'
    return Response(
        json.dumps(document, indent=1, ensure_ascii=False),
        mimetype="application/json",
        headers={"Content-Disposition": disposition},
    )


@bp.post("/<int:strategy_id>/delete/")
def delete(strategy_id: int) -> AnyResponse:
    strategy = get(Strategy, strategy_id, current_user_id())
    try:
        strategies.delete(current_user_id(), strategy_id)
    except TradingError as e:
        flash(e.detail, "error")
        return _back(strategy_id)
    flash(f"“{strategy.name}” was deleted. Its signals, trades and logs stay.")
    return redirect("/recorders/", 303)


def _back(strategy_id: int) -> AnyResponse:
    return redirect(f"/recorders/{strategy_id}/", 303)


def _list(import_error: str = "") -> str:
    user_id = current_user_id()
    rows = list(db.session.scalars(strategies.listing(user_id).order_by(Strategy.id.desc())))
    newest = strategies.last_signals(user_id, [row.id for row in rows])
    outcomes = _outcomes(user_id, newest.values())
    trading: dict[int, list[Any]] = {}
    for live in traders.live(user_id):
        trading.setdefault(live.assigned.strategy.id, []).append(live)
    unit = dashboard.currency_of(user_id, Filters())
    made = _standings(user_id, Filters(currency=unit))
    today = _standings(user_id, Filters(currency=unit, since=day_start(clock.now())))
    open_ = Counter(
        position.strategy_id for position in db.session.scalars(positions.open_positions(user_id))
    )
    nothing = breakdown.Standing(None, "")
    lines = [
        {
            "row": row,
            "signal": newest.get(row.id),
            "outcome": outcomes.get(newest[row.id].id) if row.id in newest else None,
            "traders": trading.get(row.id, []),
            "made": made.get(row.id, nothing),
            "today": today.get(row.id, nothing).net,
            "open": open_[row.id],
        }
        for row in rows
    ]
    return render_template(
        "pages/recorders/index.html", lines=lines, unit=unit, import_error=import_error
    )


def _outcomes(user_id: int, signals: Iterable[Signal]) -> dict[int, tuple[str, str]]:
    """Signal → what became of it, as a chip says it."""
    known = list(signals)
    tallies = signal_log.tallies(user_id, [signal.id for signal in known])
    return {
        signal.id: signal_life.outcome(signal.status, tallies.get(signal.id, Tally()))
        for signal in known
    }


def _standings(user_id: int, filters: Filters) -> dict[int | None, breakdown.Standing]:
    """Strategy → what it made, of what its traders and its recorder closed."""
    return {made.strategy_id: made for made in breakdown.by_strategy(user_id, filters)}


def _page(
    strategy: Strategy,
    *,
    tested: str | None = None,
    dry_run: dict[str, Any] | None = None,
    refusal: dict[str, Any] | None = None,
) -> str:
    user_id = current_user_id()
    chosen = Filters(strategy_id=strategy.id)
    open_rows = positions.open_positions(user_id, chosen).order_by(RecordedPosition.id.desc())
    closed = positions.trades(user_id, chosen).order_by(Trade.closed_at.desc(), Trade.id.desc())
    of_strategy = signal_log.Filters(strategy_id=strategy.id)
    signal_rows = signal_log.listing(user_id, of_strategy).order_by(Signal.id.desc())
    newest = list(db.session.scalars(signal_rows.limit(ROWS)))
    log_rows = logs.listing(user_id, logs.Filters(strategy_id=strategy.id))
    context = {
        "strategy": strategy,
        "settings": strategies.settings_of(strategy),
        "summary": dashboard.summary(user_id, chosen),
        "stops": breakdown.stops(user_id),
        "open": _named(list(db.session.scalars(open_rows))),
        "trades": _named(list(db.session.scalars(closed.limit(ROWS)))),
        "signals": newest,
        "outcomes": _outcomes(user_id, newest),
        "logs": list(db.session.scalars(log_rows.order_by(StrategyLog.id.desc()).limit(ROWS))),
        "traders": [a for a in traders.live(user_id) if a.assigned.strategy.id == strategy.id],
        "webhook_url": strategies.webhook_url(strategy, public_base()),
        "alert_text": strategies.alert_template(strategy),
        "polling": _polling(strategy),
        "tested": tested if tested is not None else _example(strategy),
        "dry_run": dry_run,
        "refusal": refusal,
    }
    return render_template("pages/recorders/show.html", **context)


def _polling(strategy: Strategy) -> recorder.Polling | None:
    account_id = strategy.demo_account_id
    if account_id is None:
        return None
    return recorder.of_accounts(strategy.user_id, [account_id]).get(account_id)


def _named(rows: list[Any]) -> list[tuple[Any, int]]:
    return [
        (listed, instrument_for(listed.row.contract).price_places)
        for listed in positions.named(rows)
    ]


def _example(strategy: Strategy) -> str:
    """An alert as TradingView would send it, filled in."""
    body = {
        "action": "buy",
        "ticker": strategy.symbol or "MNQ1!",
        "contracts": "1",
        "time": timestamp(clock.now()),
    }
    return json.dumps(body, indent=1)


def _form(strategy: Strategy | None, values: dict[str, Any], errors: dict[str, str]) -> str:
    user_id = current_user_id()
    rows = list(db.session.scalars(accounts.listing(user_id).order_by(Account.id)))
    context = {
        "strategy": strategy,
        "values": values,
        "errors": errors,
        "sections": settings_form.sections(values["settings"], errors),
        "accounts": rows,
        "demo_accounts": [row for row in rows if row.environment == "demo"],
        **_effect(values),
    }
    if strategy is not None:
        context["webhook_url"] = strategies.webhook_url(strategy, public_base())
    return render_template("pages/recorders/form.html", **context)


def _effect(values: dict[str, Any]) -> dict[str, Any]:
    """Of settings that cannot be read, the first fault."""
    try:
        settings = _parsed(values["settings"])
        symbol = RecorderIn.model_validate({"name": "-", "symbol": values["symbol"] or None}).symbol
    except (Invalid, ValidationError) as e:
        name, text = next(iter(_errors(e).items()))
        return {"effect": None, "fault": f"{settings_form.label(name)}: {text}"}
    return {"effect": effect.of_buy(settings, symbol), "fault": ""}


def _parsed(settings: Mapping[str, Any]) -> StrategySettings:
    return parse_strategy(dict(settings), at=settings_form.AT)


def _blank() -> dict[str, Any]:
    return {
        "name": "",
        "symbol": "",
        "demo_account_id": "",
        "trade_on": "",
        "enabled": True,
        "recording": True,
        "settings": {},
    }


def _stored(strategy: Strategy) -> dict[str, Any]:
    return {
        "name": strategy.name,
        "symbol": strategy.symbol or "",
        "demo_account_id": strategy.demo_account_id or "",
        "trade_on": "",
        "enabled": strategy.enabled,
        "recording": strategy.recording,
        "settings": dump(strategies.settings_of(strategy)),
    }


def _typed(strategy: Strategy | None) -> dict[str, Any]:
    """What the form says, as it was typed."""
    form = request.form
    has_secret = strategy is not None and strategies.settings_of(strategy).passphrase is not None
    return {
        "name": form.get("name", "").strip(),
        "symbol": form.get("symbol", "").strip(),
        "demo_account_id": form.get("demo_account_id", type=int) or "",
        "trade_on": form.get("trade_on", type=int) or "",
        "enabled": "enabled" in form,
        "recording": "recording" in form,
        "settings": settings_form.read(form, has_secret=has_secret),
    }


def _body(values: dict[str, Any]) -> dict[str, Any]:
    """The values as the JSON endpoint takes them."""
    return {
        "name": values["name"],
        "symbol": values["symbol"] or None,
        "demo_account_id": values["demo_account_id"] or None,
        "recording_enabled": values["recording"],
        "enabled": values["enabled"],
        "settings": values["settings"],
    }


def _uploaded() -> Any:
    """
    Raises:
        Invalid: no file, or not JSON.
    """
    file = request.files.get("file")
    raw = file.read(_MOST_IMPORTED + 1) if file else b""
    if not raw or len(raw) > _MOST_IMPORTED:
        raise Invalid("Choose a file that was exported here.")
    try:
        return json.loads(raw)
    except ValueError as e:
        raise Invalid("This file is not JSON. Choose one that was exported here.") from e


def _faults(error: ValidationError | Invalid | NotFound, values: dict[str, Any]) -> dict[str, str]:
    """Everything that is wrong at once, also what would be found only after this ``error``."""
    found = _errors(error)
    try:
        _parsed(values["settings"])
    except Invalid as e:
        found |= _errors(e)
    return found


def _errors(error: ValidationError | Invalid | NotFound) -> dict[str, str]:
    """By path: the message, as a sentence."""
    if isinstance(error, ValidationError):
        found = dict(validation_errors(error))
    elif isinstance(error, Invalid) and error.errors:
        found = dict(error.errors)
    else:
        found = {error.field or "": error.detail}
    return {name: _sentence(text) for name, text in found.items()}


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."
