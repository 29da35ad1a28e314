"""Bring the schema up to date, or refuse to start with one that is behind."""

from __future__ import annotations

import logging
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
    settings = alembic_config(config.database_url)
    with app.app_context(), db.engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    head = ScriptDirectory.from_config(settings).get_current_head()
    if current == head:
        return
    if not config.is_embedded:
        raise SchemaBehind(f"the database is at {current}, the code needs {head}: make migrate")
    log.info("migrating", extra={"from": current, "to": head})
    command.upgrade(settings, "head")
