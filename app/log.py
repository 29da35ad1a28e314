"""Logging: one line an event, JSON or text, each with the id of the request that caused it."""

from __future__ import annotations

import logging
import re
import sys
from contextvars import ContextVar

import structlog

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

# Long random-looking words after a name that smells of a secret, or in a webhook's address.
_SECRETS = re.compile(
    r"(?i)((?:token|secret|password|passphrase|apikey|api_key|authorization|cookie)"
    r"[\"']?\s*[=:]\s*[\"']?(?:bearer\s+)?)[^\s\"',;&]+|(/webhook/[^\s/\"]*-)[a-z0-9]{16,}"
)


def current_request_id() -> str | None:
    return _request_id.get()


def bind_request_id(request_id: str | None) -> None:
    _request_id.set(request_id)


def configure(level: str, form: str) -> None:
    """Send everything that is logged to standard error, with secrets masked."""
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
        _add_request_id,
        structlog.processors.format_exc_info,
        _mask,
    ]
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("engineio", "socketio", "apscheduler", "geventwebsocket", "alembic", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def masked(text: str) -> str:
    """The text without values that follow a secret's name and without webhook tokens."""
    return _SECRETS.sub(lambda m: (m.group(1) or m.group(2)) + "***", text)


def _add_request_id(
    _logger: object, _name: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    request_id = _request_id.get()
    if request_id is not None:
        event.setdefault("request_id", request_id)
    return event


def _mask(
    _logger: object, _name: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = masked(value)
    return event
