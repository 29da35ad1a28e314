"""The JSON endpoints, one module per noun, mounted under ``/api``.

A module exposes an ``APIBlueprint`` named ``bp`` and stands in ``NOUNS``. Its endpoints are
guarded without asking for it; see ``app.web.auth`` for who may call what.
"""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint, APIFlask
from apiflask.exceptions import HTTPError
from flask import current_app
from pydantic import ValidationError

from app.api import (
    accounts,
    admin_users,
    analytics,
    auth,
    control_center,
    dashboard,
    docs,
    recorders,
    settings,
    signals,
    traders,
    user_data,
)
from app.web import idempotency
from app.web.errors import problem

NOUNS = (
    auth,
    settings,
    accounts,
    recorders,
    traders,
    signals,
    dashboard,
    control_center,
    analytics,
    user_data,
    admin_users,
    docs,
)

bp = APIBlueprint("api", __name__, url_prefix="/api")
for _noun in NOUNS:
    bp.register_blueprint(_noun.bp)


def register(app: APIFlask) -> None:
    """Mount what this package serves."""
    docs.configure(app)
    idempotency.register(app)
    app.register_blueprint(bp)
    app.register_error_handler(HTTPError, _refused)


def _refused(error: HTTPError) -> Any:
    """What a schema refused, in the one shape of all refusals."""
    if isinstance(error.__cause__, ValidationError):
        return current_app.handle_user_exception(error.__cause__)
    title = error.message or "Error"
    return problem(error.status_code, "error", title, str(error.detail or title))
