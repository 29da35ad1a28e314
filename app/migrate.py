"""Bring the schema up to date, or refuse to start with one that is behind."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask

from app.extensions import db
from config import Config

log = logging.getLogger(__name__)
_SCRIPTS = Path(__file__).resolve().parent.parent / "migrations"


class SchemaBehind(RuntimeError):
    """The database lacks migrations that this code needs."""


def alembic_config(url: str) -> AlembicConfig:
    settings = AlembicConfig()
    settings.set_main_option("script_location", str(_SCRIPTS))
    settings.attributes["database_url"] = url
    return settings


def prepare_schema(app: Flask, config: Config) -> None:
    """Migrate the embedded database; only check a served one, where an operator decides.

    Raises:
        SchemaBehind: says what to run.
    """
    with app.app_context():
        current = _current()
    head = _head()
    if current == head:
        return
    if not config.is_embedded:
        raise SchemaBehind(f"the database is at {current}, the code needs {head}: make migrate")
    log.info("migrating", extra={"from": current, "to": head})
    command.upgrade(alembic_config(config.database_url), "head")


def state() -> str:
    """``ok``, or how the schema differs from the one this code needs; for the health check."""
    current, head = _current(), _head()
    return "ok" if current == head else f"the database is at {current}, the code needs {head}"


def _current() -> str | None:
    with db.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


@cache
def _head() -> str | None:
    return ScriptDirectory(str(_SCRIPTS)).get_current_head()
