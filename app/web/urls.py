"""What the outside calls this app."""

from __future__ import annotations

from flask import current_app, request

from config import Config


def public_base() -> str:
    """Scheme and host without a final slash: the setting ``PUBLIC_URL``, else the request's."""
    config: Config = current_app.config["JUST_TRADES"]
    return config.public_url or request.host_url.rstrip("/")
