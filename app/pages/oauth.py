"""Signing in on Tradovate's own page: there and back, with a code that works once.

Whether Tradovate sends ``state`` back is not known (reference, 2.4), so the flow is bound to the
session of the browser that began it, for a short while, and used up by the first return; where
``state`` does come back it must be ours.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from hmac import compare_digest
from typing import Any, get_args
from urllib.parse import urlencode

from flask import Blueprint, current_app, flash, redirect, request, session
from flask.typing import ResponseReturnValue

from app import clock
from app.domain.errors import Invalid, TradingError
from app.pages import log_ins
from app.schemas.accounts import Environment
from app.services import broker_accounts
from app.web.auth import current_user_id
from app.web.urls import public_base
from config import Config

bp = Blueprint("oauth", __name__, url_prefix="/oauth/tradovate")

_FLOW = "oauth_tradovate"
_LASTS = timedelta(minutes=15)
_WORDS_LENGTH = 200
_NOT_OURS = (
    "This sign-in at Tradovate was not begun here, or took longer than 15 minutes: begin again."
)


@bp.get("/start/")
def start() -> ResponseReturnValue:
    """Send the browser to Tradovate's log-in page."""
    environment = request.args.get("environment", "demo")
    if not log_ins.offers_oauth():
        return _back("Signing in on Tradovate's page is not set up here: use an API key.")
    if environment not in get_args(Environment):
        return _back("Choose demo or live.")
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        return _back(_NOT_OURS)
    state = secrets.token_urlsafe()
    session[_FLOW] = {"state": state, "environment": environment, "at": clock.now().isoformat()}
    config: Config = current_app.config["JUST_TRADES"]
    asked = {
        "response_type": "code",
        "client_id": config.tradovate_client_id or "",
        "redirect_uri": _redirect_uri(),
        "state": state,
    }
    return redirect(f"{config.tradovate_oauth_url}?{urlencode(asked)}")


@bp.get("/callback/")
def callback() -> ResponseReturnValue:
    """Where Tradovate sends the browser back to; the accounts to choose from."""
    flow, user_id = session.pop(_FLOW, None), current_user_id()
    try:
        environment = _environment_of(flow)
        given, found = broker_accounts.try_code(
            user_id, log_ins.BROKER, environment, _code(), _redirect_uri()
        )
    except TradingError as e:
        return _back(e.detail)
    return log_ins.choose_page(log_ins.offer_of(user_id, given, found))


def _environment_of(flow: Any) -> str:
    """The environment that was begun with.

    Raises:
        Invalid: this browser did not begin, or too long ago, or ``state`` is another one's.
    """
    if not isinstance(flow, dict) or not log_ins.offers_oauth():
        raise Invalid(_NOT_OURS)
    is_late = clock.now() - datetime.fromisoformat(flow["at"]) > _LASTS
    state = request.args.get("state")
    if is_late or (state is not None and not compare_digest(state.encode(), _state_of(flow))):
        raise Invalid(_NOT_OURS)
    return str(flow["environment"])


def _state_of(flow: dict[str, str]) -> bytes:
    return flow["state"].encode()


def _code() -> str:
    """
    Raises:
        Invalid: Tradovate says no, or says nothing.
    """
    error = request.args.get("error")
    if error is not None:
        words = (request.args.get("error_description") or error)[:_WORDS_LENGTH]
        raise Invalid(f"Tradovate did not sign you in: {words}")
    code = request.args.get("code")
    if not code:
        raise Invalid("Tradovate sent no code along: begin again.")
    return code


def _redirect_uri() -> str:
    return f"{public_base()}/oauth/tradovate/callback/"


def _back(words: str) -> ResponseReturnValue:
    flash(words, "error")
    return redirect(log_ins.FORM)
