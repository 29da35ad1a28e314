"""Signing in and out, one's sessions and API keys."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint

from app.schemas.auth import (
    ApiKeyIn,
    ApiKeyOut,
    LoginIn,
    LogoutQuery,
    MeOut,
    NewApiKeyOut,
    RegisterIn,
    SessionOut,
    SignedInOut,
    TicketOut,
)
from app.schemas.common import Done, page_of
from app.services import api_keys, sessions, tickets
from app.web import sign_in
from app.web.auth import (
    csrf_token,
    current_identity,
    current_user_id,
    remote_address,
    sign_out,
)

bp = APIBlueprint("auth", __name__, url_prefix="/auth", tag="Sign-in")


@bp.post("/register/")
@bp.input(RegisterIn)
@bp.output(SignedInOut, 201)
def register(json_data: RegisterIn) -> dict[str, Any]:
    """Make a user and sign in

    The first user of an installation becomes its admin.
    """
    user = sign_in.register(json_data)
    return {"user": user, "csrf_token": csrf_token()}


@bp.post("/login/")
@bp.input(LoginIn)
@bp.output(SignedInOut)
def login(json_data: LoginIn) -> dict[str, Any]:
    """Sign in by user name or e-mail address"""
    user = sign_in.log_in(json_data)
    return {"user": user, "csrf_token": csrf_token()}


@bp.post("/logout/")
@bp.input(LogoutQuery, location="query")
@bp.output(Done)
def logout(query_data: LogoutQuery) -> Done:
    """End this session, or all of the user's"""
    sign_out(everywhere=query_data.all)
    return Done()


@bp.get("/me/")
@bp.output(MeOut)
def me() -> dict[str, Any]:
    """Who asks, and what they may do"""
    identity = current_identity()
    return {
        "user": identity,
        "scopes": sorted(identity.scopes),
        "csrf_token": csrf_token() if identity.session_id is not None else None,
    }


@bp.post("/ws-ticket/")
@bp.output(TicketOut, 201)
def create_ticket() -> dict[str, Any]:
    """A minute's right to open a socket"""
    return {"ticket": tickets.issue(current_identity()), "expires_in_s": tickets.LIFETIME_S}


@bp.get("/api-keys/")
@bp.output(page_of(ApiKeyOut))
def list_api_keys() -> dict[str, Any]:
    """One's API keys that were not revoked"""
    rows = api_keys.listing(current_user_id())
    return {"items": rows, "next": None, "total": len(rows)}


@bp.post("/api-keys/")
@bp.input(ApiKeyIn)
@bp.output(NewApiKeyOut, 201)
def create_api_key(json_data: ApiKeyIn) -> dict[str, Any]:
    """Make an API key; it is shown this once"""
    identity = current_identity()
    row, key = api_keys.create(
        identity.id,
        json_data.name,
        json_data.scopes,
        grantable=identity.scopes,
        expires_at=json_data.expires_at,
        address=remote_address(),
    )
    return {**ApiKeyOut.model_validate(row).model_dump(), "key": key}


@bp.delete("/api-keys/<int:key_id>/")
@bp.output(Done)
def revoke_api_key(key_id: int) -> Done:
    """Revoke an API key at once"""
    api_keys.revoke(key_id, current_user_id(), address=remote_address())
    return Done()


@bp.get("/sessions/")
@bp.output(page_of(SessionOut))
def list_sessions() -> dict[str, Any]:
    """Where one is signed in"""
    identity = current_identity()
    rows = [
        SessionOut.model_validate(row).model_copy(update={"current": row.id == identity.session_id})
        for row in sessions.listing(identity.id)
    ]
    return {"items": rows, "next": None, "total": len(rows)}


@bp.delete("/sessions/<int:session_id>/")
@bp.output(Done)
def end_session(session_id: int) -> Done:
    """Sign a browser out"""
    sessions.end(session_id, current_user_id(), address=remote_address())
    return Done()
