"""Logging: one line an event, JSON or text, each with the id of the request that caused it."""

from __future__ import annotations

import logging
import re
import sys
from contextvars import ContextVar

import structlog

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

_NAME = r"token|secret|password|passphrase|api[-_]?key|authorization|cookie"
# What follows the name of a secret (in JSON, in JSON inside JSON, in a query, in a header), the
# last part of a webhook's address, and the password in a URL.
_SECRETS = re.compile(
    rf"""(?ix)
    ( cookie \\*["']? \s*[=:]\s* ) (?: \\*["'] [^"'\\]* | [^\r\n"'\\]+ )
    | ( (?:{_NAME}) \\*["']? \s*[=:]\s* )
      (?: "(?:[^"\\]|\\.)*"? | '(?:[^'\\]|\\.)*'? | \\+["'][^"'\\]*
        | (?:(?:bearer|basic)\s+)? [^\s"',;&\\]+ )
    | ( /webhook/ (?:[^\s"?]*[-/])? ) [a-z0-9]{{16,}}
    | ( ://[^\s/:@]*: ) [^\s/@]+ (?=@)
    """
)
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)


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
    return _SECRETS.sub(lambda m: next(kept for kept in m.groups() if kept) + "***", text)


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
        event[key] = _without_secrets(key, value)
    return event


def _without_secrets(name: object, value: object) -> object:
    if isinstance(value, str):
        return "***" if _SECRET_NAME.search(str(name)) else masked(value)
    if isinstance(value, dict):
        return {key: _without_secrets(key, inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets(name, inner) for inner in value]
    return value
