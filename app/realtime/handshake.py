"""Who opens a connection, and by what right it goes on."""

from __future__ import annotations

from typing import Any

from app.realtime.hub import Credential
from app.services.identity import Identity
from app.web import auth as web_auth


def identify(auth: Any) -> Credential | None:
    """The credential of the handshake that is handled now; None refuses it.

    A token in ``auth`` (API key or ticket) decides alone where one is given; else the session
    cookie or the ``Authorization`` header of the request.
    """
    token = auth.get("token") if isinstance(auth, dict) else None
    if token is None:
        identity = web_auth.caller()
    else:
        identity = web_auth.by_token(token) if isinstance(token, str) else None
    return _credential(identity) if identity is not None else None


def _credential(identity: Identity) -> Credential | None:
    if "read" not in identity.scopes:
        return None
    if identity.session_id is not None:
        return Credential(identity.id, "session", identity.session_id)
    if identity.api_key_id is not None:
        return Credential(identity.id, "api_key", identity.api_key_id)
    return None
