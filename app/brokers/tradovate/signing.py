"""Signing in to Tradovate: by user name and password, or by a grant of OAuth.

What comes of it is the token as ``session.Session`` keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import gevent

from app import clock
from app.brokers.tradovate.errors import (
    BadRequest,
    NoAnswer,
    Penalty,
    SessionLost,
    quoted,
    refusal,
)
from app.brokers.tradovate.http import Transport
from app.domain.errors import BrokerError, BrokerRefused, BrokerUnavailable

APP_ID = "Just.Trades."
APP_VERSION = "1.0"
LOGIN_PATH = "/auth/accesstokenrequest"
RENEWAL_PATH = "/auth/renewaccesstoken"
OAUTH_PATH = "/auth/oauthtoken"
ME_PATH = "/auth/me"
GRANT_ENDED = "The permission given at Tradovate has ended: connect the log-in again"

_LONGEST_PENALTY_S = 60.0
_MARGIN_S = 0.2
"""A ticket that comes too early costs another wait."""
_UNSUPPORTED_MEDIA_TYPE = 415
_PASSING_OAUTH_ERRORS = frozenset({"temporarily_unavailable", "server_error"})


def sign_in(transport: Transport, credentials: Mapping[str, Any]) -> dict[str, Any]:
    """Open a session by user name and password; the token as it is kept.

    Raises:
        BrokerRefused: ``bad_credentials``, with the broker's words.
        Penalty: ``captcha``, or a wait that is too long. Locked, NotSent, BrokerUnavailable.
    """
    body = {
        "name": credentials.get("username"),
        "password": credentials.get("password"),
        "appId": credentials.get("app_id") or APP_ID,
        "appVersion": APP_VERSION,
        "cid": credentials.get("client_id"),
        "sec": credentials.get("client_secret"),
        "deviceId": credentials.get("device_id"),
    }
    body = {name: value for name, value in body.items() if value not in (None, "")}
    secrets = [str(body[name]) for name in ("password", "sec") if name in body]
    with transport.refusals.counted(body):
        try:
            answer = _with_ticket(transport, body)
        except (SessionLost, BadRequest) as e:
            raise BrokerRefused(e.detail, code="bad_credentials") from e
        return token_of(answer, {}, secrets)


def exchange_code(
    transport: Transport, code: str, redirect_uri: str, client_id: str, client_secret: str
) -> dict[str, Any]:
    """The session of a user who came back from Tradovate's log-in page, as it is kept, with its
    ``refresh_token`` where there is one.

    Raises:
        BrokerRefused: ``bad_credentials``, with the broker's words.
        BrokerUnavailable: no clear answer; the code may be used up.
    """
    fields = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "client_id": client_id,
        "client_secret": client_secret,
    }
    return _granted(transport, fields)


def refresh_grant(
    transport: Transport, credentials: Mapping[str, Any], refresh_token: str
) -> dict[str, Any]:
    """A new token for a refresh token, which is used up by this. Raises as ``exchange_code``."""
    fields = {
        "grant_type": "refresh_token",
        "refresh_token": refresh_token,
        "client_id": str(credentials.get("client_id") or ""),
        "client_secret": str(credentials.get("client_secret") or ""),
    }
    with transport.refusals.counted(fields):
        return _granted(transport, fields)


def _with_ticket(transport: Transport, body: Mapping[str, Any]) -> Any:
    try:
        return transport.send(LOGIN_PATH, body=body)
    except Penalty as e:
        wait_out(e)
        return transport.send(LOGIN_PATH, body={**body, "p-ticket": e.ticket})


def wait_out(penalty: Penalty) -> None:
    """Wait as long as asked. Raises the penalty where that is too long, or no use."""
    if penalty.captcha or penalty.seconds > _LONGEST_PENALTY_S:
        raise penalty
    gevent.sleep(penalty.seconds + _MARGIN_S)


def token_of(
    answer: Any, before: Mapping[str, Any], secrets: list[str] | None = None
) -> dict[str, Any]:
    """An access token as it is kept; a 200 without one is a refusal."""
    if not isinstance(answer, dict) or not answer.get("accessToken"):
        raise _not_signed_in(answer, secrets or [])
    return {
        "access_token": str(answer["accessToken"]),
        "md_token": text_or_none(answer.get("mdAccessToken")) or before.get("md_token"),
        "expires_at": _iso(instant(answer.get("expirationTime"))),
        "obtained_at": clock.now().isoformat(),
        "user_id": answer.get("userId") or before.get("user_id"),
        "name": text_or_none(answer.get("name")) or before.get("name"),
    }


def _not_signed_in(answer: Any, secrets: list[str]) -> BrokerError:
    if not isinstance(answer, dict):
        return _unreadable()
    refused = refusal(answer)
    text = quoted(answer.get("errorText"), secrets) or quoted(answer.get("userStatus"))
    if refused is None and not text:
        return _unreadable()
    words = f" ({text})" if text else ""
    return BrokerRefused(f"Tradovate refused to sign in{words}", code="bad_credentials")


def _unreadable() -> BrokerUnavailable:
    return BrokerUnavailable("Tradovate's answer to signing in could not be read")


def _granted(transport: Transport, fields: dict[str, str]) -> dict[str, Any]:
    """A grant, asked for by a form as in the official sample or, where that is not understood, by
    JSON as in the schema."""
    try:
        answer = _grant_answer(transport, fields)
    except (SessionLost, BadRequest) as e:
        raise BrokerRefused(e.detail, code="bad_credentials") from e
    secrets = [v for name, v in fields.items() if name not in ("grant_type", "redirect_uri")]
    if not isinstance(answer, dict) or not answer.get("access_token"):
        raise _not_granted(answer, secrets)
    now = clock.now()
    token = {
        "access_token": str(answer["access_token"]),
        "md_token": None,
        "expires_at": _iso(_after(now, answer.get("expires_in"))),
        "obtained_at": now.isoformat(),
        "user_id": None,
        "name": None,
        "refresh_token": text_or_none(answer.get("refresh_token")),
    }
    if fields["grant_type"] == "authorization_code":
        token |= _identity_or_nothing(transport, str(token["access_token"]))
    return token


def _grant_answer(transport: Transport, fields: dict[str, str]) -> Any:
    try:
        return transport.send(OAUTH_PATH, form=fields)
    except BadRequest:
        return transport.send(OAUTH_PATH, body=fields)
    except NoAnswer as e:
        if e.http_status != _UNSUPPORTED_MEDIA_TYPE:
            raise
        return transport.send(OAUTH_PATH, body=fields)


def _not_granted(answer: Any, secrets: list[str]) -> BrokerError:
    if not isinstance(answer, dict):
        return _unreadable()
    error = answer.get("error")
    text = quoted(answer.get("error_description") or answer.get("errorText") or error, secrets)
    if error in _PASSING_OAUTH_ERRORS:
        return BrokerUnavailable(f"Tradovate cannot sign in now ({text})")
    return BrokerRefused(f"{GRANT_ENDED} ({text})" if text else GRANT_ENDED, code="bad_credentials")


def _identity_or_nothing(transport: Transport, token: str) -> dict[str, Any]:
    """Who signed in. It is asked again later where this is not answered."""
    try:
        return identity(transport.send(ME_PATH, token=token))
    except BrokerError:
        return {}


def identity(me: Any) -> dict[str, Any]:
    """``user_id`` and ``name``, of an answer of ``/auth/me``."""
    if not isinstance(me, dict) or not me.get("userId"):
        raise refusal(me) or BrokerUnavailable("Tradovate did not say who signed in")
    return {"user_id": me["userId"], "name": text_or_none(me.get("name"))}


def is_password_login(credentials: Mapping[str, Any]) -> bool:
    return bool(credentials.get("username"))


def instant(value: Any) -> datetime | None:
    """An ISO instant, also without seconds; None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        read = datetime.fromisoformat(value)
    except ValueError:
        return None
    return read if read.tzinfo is not None else read.replace(tzinfo=UTC)


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None


def _after(now: datetime, seconds: Any) -> datetime | None:
    try:
        return now + timedelta(seconds=float(seconds))
    except (TypeError, ValueError, OverflowError):
        return None


def text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
