"""Health and metrics for operators."""

from __future__ import annotations

import hmac
import ipaddress

from flask import Blueprint, Flask, Response, current_app, jsonify, request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.domain.errors import Forbidden
from app.services import health

bp = Blueprint("operations", __name__)


def register(app: Flask) -> None:
    app.register_blueprint(bp)


@bp.get("/healthz")
def healthz() -> Response:
    """The process lives."""
    return jsonify(status="ok")


@bp.get("/readyz")
def readyz() -> tuple[Response, int]:
    """Whether work can be taken; 503 with the failing parts named."""
    parts = health.parts()
    ready = all(state == health.OK for state in parts.values())
    return jsonify(status="ok" if ready else "failing", parts=parts), 200 if ready else 503


@bp.get("/metrics")
def metrics() -> Response:
    token = current_app.config["JUST_TRADES"].metrics_token
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if token:
        if not hmac.compare_digest(token.encode(), given.encode()):
            raise Forbidden("The metrics token is missing or wrong.")
    elif not ipaddress.ip_address(request.remote_addr or "0.0.0.0").is_loopback:  # noqa: S104
        raise Forbidden("Metrics are for this machine only; set METRICS_TOKEN to read them.")
    return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)
