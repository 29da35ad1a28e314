"""``Idempotency-Key`` on every unsafe call of the API, without the endpoints' doing."""

from __future__ import annotations

import hashlib
import logging
import re

from flask import Flask, Response, g, request
from werkzeug.exceptions import BadRequest

from app.domain.errors import Unavailable
from app.services import idempotency
from app.services.idempotency import Answer
from app.web.auth import SAFE, caller

log = logging.getLogger(__name__)

_SANE = re.compile(r"[\x21-\x7e]{1,200}")
_DID_NOTHING = frozenset({401, 403, 413, 415, 429, 503})
"""Answers after which the same call may be made again in earnest."""


def register(app: Flask) -> None:
    """After the guard: only who may make the call can use its key."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> Response | None:
    key = request.headers.get("Idempotency-Key")
    if key is None or request.method in SAFE or not request.path.startswith("/api/"):
        return None
    identity = caller() if request.endpoint else None
    if identity is None:
        return None
    if not _SANE.fullmatch(key):
        raise BadRequest("Idempotency-Key: expected 1 to 200 visible ASCII characters.")
    first = idempotency.claim(identity.id, key, _fingerprint())
    if first is not None:
        response = Response(first.body, first.status, mimetype=_type(first.status))
        response.headers["Idempotency-Replayed"] = "true"
        return response
    g.idempotency = (identity.id, key)
    return None


def _end(response: Response) -> Response:
    claimed = g.pop("idempotency", None)
    if claimed is not None:
        if response.status_code in _DID_NOTHING:
            idempotency.forget(*claimed)
        else:
            answer = Answer(response.status_code, response.get_data(as_text=True))
            _keep(claimed, answer)
    return response


def _keep(claimed: tuple[int, str], answer: Answer) -> None:
    try:
        idempotency.finish(*claimed, answer)
    except Unavailable:  # it was done: the caller must hear so all the same
        log.exception("answer not kept for its Idempotency-Key", extra={"user_id": claimed[0]})


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for part in (request.method, request.full_path):
        digest.update(part.encode() + b"\n")
    digest.update(request.get_data())
    return digest.hexdigest()


def _type(status: int) -> str:
    return "application/json" if status < 400 else "application/problem+json"
