"""Who asks, and whether they may: every endpoint is guarded unless it is named here.

``Authorization: Bearer <API key>`` decides alone where it is present; else the session cookie,
which on unsafe methods needs the CSRF token too. API keys open ``/api/`` and nothing else.
"""

from __future__ import annotations

from typing import cast
from urllib.parse import urlencode, urlsplit

from flask import Flask, Response, current_app, g, redirect, request, session
from flask_login import current_user
from flask_wtf.csrf import generate_csrf
from werkzeug.exceptions import UnsupportedMediaType

from app.domain.errors import Forbidden, Unauthorized
from app.extensions import csrf, login_manager
from app.services import api_keys, sessions, tickets
from app.services.identity import Identity
from app.web.bodies import require_storable

PUBLIC = frozenset(
    {
        "static",
        "operations.healthz",
        "operations.readyz",
        "operations.metrics",
        "components.show",
        "api.docs.openapi",
        "api.docs.browse",
    }
)
"""Open to everybody."""

SIGN_IN = frozenset(
    {
        "api.auth.register",
        "api.auth.login",
        "auth.login",
        "auth.log_in",
        "auth.register",
        "auth.create",
    }
)
"""Open too, but a form elsewhere must not send to them."""

SELF_GUARDED = frozenset({"tradingview", "realtime"})
"""Blueprints that ask for their own kind of proof."""

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_COOKIE = "token"


def register(app: Flask) -> None:
    login_manager.session_protection = None  # our sessions are rows that can be ended
    login_manager.request_loader(lambda _request: caller())
    app.before_request(_guard)


def caller() -> Identity | None:
    """Who sent this request, asked of the database once per request."""
    if "caller" not in g:
        g.caller = _resolve()
    return cast("Identity | None", g.caller)


def current_identity() -> Identity:
    """
    Raises:
        Unauthorized: nobody is signed in.
    """
    identity = caller()
    if identity is None:
        raise Unauthorized("Sign in, or send an API key.")
    return identity


def current_user_id() -> int:
    """
    Raises:
        Unauthorized: nobody is signed in.
    """
    return current_identity().id


def by_token(token: str) -> Identity | None:
    """Who holds an API key or a ticket of ``POST /api/auth/ws-ticket/``, for the sockets."""
    if token.startswith(api_keys.PREFIX):
        return api_keys.resolve(token)
    return tickets.resolve(token)


def sign_in(user_id: int, *, remember: bool = False) -> None:
    """Begin a session in this browser. Nothing of what the cookie held before survives."""
    session.clear()
    session[_COOKIE] = sessions.start(
        user_id,
        remember=remember,
        user_agent=request.headers.get("User-Agent", ""),
        address=remote_address(),
    )
    session.permanent = remember
    for name in ("caller", "_login_user", "csrf_token"):
        g.pop(name, None)


def sign_out(*, everywhere: bool = False) -> None:
    """End the session of this request, or all of the user's."""
    identity = current_identity()
    if everywhere:
        sessions.end_all(identity.id, address=remote_address())
    elif identity.session_id is not None:
        sessions.end(identity.session_id, identity.id, address=remote_address())
    session.clear()
    for name in ("caller", "_login_user", "csrf_token"):
        g.pop(name, None)


def csrf_token() -> str:
    return cast("str", generate_csrf())


def remote_address() -> str:
    return request.remote_addr or ""


def local_path(target: str | None, default: str = "/") -> str:
    """``target`` where it leads to a page of ours, else ``default``."""
    if not target or not target.startswith("/") or target.startswith("//"):
        return default
    if "\\" in target or any(ord(c) < 0x20 for c in target):
        return default
    parts = urlsplit(target)
    return default if parts.scheme or parts.netloc else target


def _resolve() -> Identity | None:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return api_keys.resolve(key.strip())
    token = session.get(_COOKIE)
    return sessions.resolve(token) if isinstance(token, str) else None


def _guard() -> Response | None:
    endpoint = request.endpoint
    if endpoint is None or endpoint in PUBLIC or endpoint.split(".")[0] in SELF_GUARDED:
        return None
    require_storable()
    if endpoint in SIGN_IN:
        _require_same_origin()
        if not _is_api() and request.method not in SAFE:
            csrf.protect()
        return None
    if _is_api():
        _guard_api()
        return None
    return _guard_page()


def _guard_api() -> None:
    identity = current_identity()
    needed = _needed_scope()
    if needed not in identity.scopes:
        raise Forbidden(f"This needs the scope {needed!r}.", code="scope")
    if request.method not in SAFE:
        if identity.session_id is not None:
            csrf.protect()
        if request.content_length and not request.is_json:
            raise UnsupportedMediaType("Send JSON with Content-Type: application/json.")


def _guard_page() -> Response | None:
    identity = caller()
    if identity is None or identity.session_id is None:
        return _to_login()
    if request.method not in SAFE:
        csrf.protect()
    if request.path.startswith("/admin/") and not identity.is_admin:
        raise Forbidden("This page is for admins.")
    return None


def _needed_scope() -> str:
    if request.path.startswith("/api/admin/"):
        return "admin"
    return "read" if request.method in SAFE else "trade"


def _to_login() -> Response:
    query = ""
    if request.method in SAFE and request.full_path.rstrip("?") != "/":
        query = "?" + urlencode({"next": request.full_path.rstrip("?")})
    target = "/login" + query
    if request.headers.get("HX-Request"):  # a fragment must not show the log-in page inside
        return Response(status=401, headers={"HX-Redirect": "/login"})
    return cast("Response", redirect(target))


def _require_same_origin() -> None:
    """A page elsewhere must not sign its visitor in as somebody else, unseen."""
    if request.method in SAFE:
        return
    if _is_api() and request.content_length and not request.is_json:
        raise UnsupportedMediaType("Send JSON with Content-Type: application/json.")
    origin = request.headers.get("Origin")
    public = current_app.config["JUST_TRADES"].public_url or ""
    ours = {request.host, urlsplit(public).netloc}
    if origin is not None and urlsplit(origin).netloc not in ours:
        raise Forbidden("This was sent from another site.", code="origin")
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        raise Forbidden("This was sent from another site.", code="origin")


def _is_api() -> bool:
    return request.path.startswith("/api/")


__all__ = [
    "by_token",
    "caller",
    "csrf_token",
    "current_identity",
    "current_user",
    "current_user_id",
    "local_path",
    "register",
    "remote_address",
    "sign_in",
    "sign_out",
]
