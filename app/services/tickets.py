"""Tickets: a minute's right to open a socket, for pages that cannot show their cookie there."""

from __future__ import annotations

from flask import current_app
from itsdangerous import BadData, URLSafeTimedSerializer

from app.services import api_keys, sessions
from app.services.identity import Identity

LIFETIME_S = 60


def issue(identity: Identity) -> str:
    """A signed text that names the session or key; it grants nothing that these do not."""
    return _signer().dumps([identity.session_id, identity.api_key_id])


def resolve(ticket: str) -> Identity | None:
    """Who holds the ticket, where it is fresh and its session or key is still in force."""
    try:
        session_id, api_key_id = _signer().loads(ticket, max_age=LIFETIME_S)
    except (BadData, ValueError, TypeError):
        return None
    if session_id is not None:
        return sessions.resolve_id(session_id)
    return api_keys.resolve_id(api_key_id) if api_key_id is not None else None


def _signer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(current_app.config["SECRET_KEY"], salt="socket ticket")
