"""What the outside calls this app, and which addresses there are."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app, request
from werkzeug.routing import IntegerConverter

from config import Config

_LARGEST_ID = 2**63 - 1


class IdConverter(IntegerConverter):
    """A number that no row can have is no address: 404 before a database must refuse it."""

    def __init__(self, map: Any, fixed_digits: int = 0, max: int = _LARGEST_ID) -> None:
        super().__init__(map, fixed_digits, max=max)


def register(app: Flask) -> None:
    """Before any route is mounted."""
    app.url_map.converters["int"] = IdConverter


def public_base() -> str:
    """Scheme and host without a final slash: the setting ``PUBLIC_URL``, else the request's."""
    config: Config = current_app.config["JUST_TRADES"]
    return config.public_url or request.host_url.rstrip("/")
