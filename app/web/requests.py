"""The id that ties an answer, its log lines and its events together."""

from __future__ import annotations

import re
import secrets

from flask import Flask, Response, g, request

from app import log

_SANE = re.compile(r"[A-Za-z0-9._-]{1,64}")


def register(app: Flask) -> None:
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_request(_forget)


def _begin() -> None:
    given = request.headers.get("X-Request-ID")
    g.request_id = given if given and _SANE.fullmatch(given) else "r-" + secrets.token_hex(8)
    log.bind_request_id(g.request_id)


def _end(response: Response) -> Response:
    response.headers["X-Request-ID"] = g.get("request_id", "")
    return response


def _forget(_error: BaseException | None) -> None:
    """What runs in this greenlet next is not this request's doing."""
    log.bind_request_id(None)
