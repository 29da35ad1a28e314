"""The server-rendered pages, one module per page, and what their common shell shows."""

from __future__ import annotations

from typing import Any

from flask import Flask, g, request
from werkzeug.exceptions import HTTPException

from app.extensions import db
from app.pages import (
    accounts,
    components,
    dashboard,
    filters,
    guide,
    kill_switch,
    log_ins,
    logs,
    oauth,
    recorders,
    settings,
    sign_in,
    signals,
    traders,
)
from app.services.event_stream import EventStream
from app.web import auth

PAGES = (
    dashboard.bp,
    recorders.bp,
    guide.bp,
    kill_switch.bp,
    sign_in.bp,
    settings.bp,
    signals.bp,
    logs.bp,
    accounts.bp,
    log_ins.bp,
    oauth.bp,
    traders.bp,
)

NAVIGATION = (
    ("/", "Dashboard", "dashboard", ""),
    ("/control-center/", "Control Center", "control", ""),
    ("/recorders/", "Recorders", "recorder", "Automation"),
    ("/traders/", "Traders", "traders", "Automation"),
    ("/signals/", "Signals", "signal", "Automation"),
    ("/logs/", "Logs", "log", "Automation"),
    ("/accounts/", "Accounts", "account", "Money"),
    ("/guide/", "First-run guide", "book", "foot"),
    ("/settings/", "Settings", "settings", "foot"),
)
"""(path, words, icon, group). A path that no page of this installation has is not shown."""

KILL_SWITCH = "/kill-switch/"


def register(app: Flask) -> None:
    """Mount the pages, the filters of their templates and the context of their shell."""
    filters.register(app)
    for page in PAGES:
        app.register_blueprint(page)
    if app.config["JUST_TRADES"].debug_pages:
        app.register_blueprint(components.bp)
    app.extensions["just_trades.navigation"] = _navigation(app)
    app.before_request(_note_sequence)
    app.context_processor(lambda: _context(app))


def _navigation(app: Flask) -> dict[str, Any]:
    found = ((_endpoint(app, path, "GET"), *rest) for path, *rest in NAVIGATION)
    return {
        "nav": [item for item in found if item[0]],
        "sign_out_url": "/logout",
        "kill_switch_url": KILL_SWITCH if _endpoint(app, KILL_SWITCH, "POST") else "",
    }


def _endpoint(app: Flask, path: str, method: str) -> str | None:
    try:
        endpoint, _ = app.url_map.bind("localhost").match(path, method=method)
    except HTTPException:
        return None
    return str(endpoint)


def _note_sequence() -> None:
    """Remember which event the user had last, before anything of the page is read: what comes
    later is then delivered again, never missed."""
    if request.blueprint is None or request.method != "GET" or _is_for_programs():
        return
    identity = auth.caller()
    if identity is None:
        return
    # Who asks was read in a snapshot that the page must not go on with.
    db.session.commit()
    g.live_seq = EventStream(db.engine).newest(identity.id)


def _is_for_programs() -> bool:
    return request.path.startswith(("/api/", "/webhook/"))


def _context(app: Flask) -> dict[str, Any]:
    # An error page is shown without asking again: who asks may be what could not be read.
    identity = g.get("caller")
    return {
        **app.extensions["just_trades.navigation"],
        "zone": identity.zone if identity else "UTC",
        "live_seq": g.get("live_seq", ""),
    }
