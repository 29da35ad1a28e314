"""Every error in one place: a problem for programs, a page for people, never a stack trace."""

from __future__ import annotations

import logging
from typing import Any

from flask import Flask, Response, g, json, render_template, request
from flask_wtf.csrf import CSRFError
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError
from werkzeug.exceptions import HTTPException

from app.domain.errors import BrokerRateLimited, Invalid, TooManyRequests, TradingError, Unavailable

log = logging.getLogger(__name__)

_CODES = {
    400: "malformed",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "invalid",
    429: "rate_limited",
    500: "internal_error",
    503: "temporarily_unavailable",
}


def register(app: Flask) -> None:
    app.register_error_handler(TradingError, _refused)
    app.register_error_handler(ValidationError, _invalid)
    app.register_error_handler(CSRFError, _csrf)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(DBAPIError, _database)
    app.register_error_handler(TimeoutError, _slow)
    app.register_error_handler(Exception, _crash)


def problem(status: int, code: str, title: str, detail: str, **members: Any) -> Response:
    """An RFC 9457 answer. ``members`` are added as they are."""
    body = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "code": code,
        "detail": detail,
        "request_id": g.get("request_id"),
        **members,
    }
    return Response(json.dumps(body), status, mimetype="application/problem+json")


def validation_errors(error: ValidationError) -> list[tuple[str, str]]:
    """Pydantic's findings as (dotted field path, message)."""
    found = []
    for entry in error.errors(include_url=False, include_context=False, include_input=False):
        path = ".".join(str(part) for part in entry["loc"]) or "body"
        found.append((path, entry["msg"].removeprefix("Value error, ")))
    return found


def _refused(error: TradingError) -> Response | tuple[str, int]:
    if not _wants_json():
        return _page(error.status, error.title, error.detail)
    members: dict[str, Any] = {}
    if error.field:
        members["field"] = error.field
    if isinstance(error, Invalid) and error.errors:
        members["errors"] = [{"field": f, "message": m} for f, m in error.errors]
    if isinstance(error, Invalid):
        members.update(error.members)
    response = problem(error.status, error.code, error.title, error.detail, **members)
    if isinstance(error, TooManyRequests | BrokerRateLimited):
        response.headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    if isinstance(error, Unavailable):
        response.headers["Retry-After"] = "5"
    return response


def _invalid(error: ValidationError) -> Response | tuple[str, int]:
    found = validation_errors(error)
    return _refused(Invalid("; ".join(f"{f}: {m}" for f, m in found), errors=found))


def _csrf(error: CSRFError) -> Response | tuple[str, int]:
    detail = "This form is out of date. Load the page again and repeat."
    if _wants_json():
        return problem(403, "csrf", "CSRF token missing or wrong", error.description or detail)
    return _page(403, "Form out of date", detail)


def _http(error: HTTPException) -> Response | tuple[str, int]:
    status = error.code or 500
    if error.response is not None and status < 400:
        return error.get_response()  # type: ignore[return-value]
    title = error.name or "Error"
    if not _wants_json():
        return _page(status, title, error.description or "")
    response = problem(status, _CODES.get(status, "error"), title, error.description or title)
    for name, value in error.get_headers():
        if name in ("Allow", "Retry-After"):
            response.headers[name] = value
    return response


def _slow(_error: TimeoutError) -> Response | tuple[str, int]:
    detail = "The rest of the request did not arrive in time."
    if _wants_json():
        return problem(408, "request_timeout", "Request timeout", detail)
    return _page(408, "Request timeout", detail)


def _database(error: DBAPIError) -> Response | tuple[str, int]:
    log.error("database failed", exc_info=error)
    return _refused(Unavailable("The database does not answer."))


def _crash(error: Exception) -> Response | tuple[str, int]:
    log.error("unexpected error", exc_info=error)
    detail = f"Unexpected error. Our log has it under {g.get('request_id')}."
    if _wants_json():
        return problem(500, "internal_error", "Internal error", detail)
    return _page(500, "Internal error", detail)


_FOR_PROGRAMS = (
    "/api/",
    "/webhook/",
    "/socket.io",
    "/static/",
    "/healthz",
    "/readyz",
    "/metrics",
)
"""Here no person reads the answer, and there may be no session that a page could use."""


def _wants_json() -> bool:
    return request.path.startswith(_FOR_PROGRAMS)


def _page(status: int, title: str, detail: str) -> tuple[str, int]:
    return render_template("error.html", status=status, title=title, detail=detail), status
