"""Migrations run up, down and up again, and make what the models say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from apiflask import APIFlask
from sqlalchemy import Engine, create_engine, inspect

from app import create_app
from app.extensions import db
from app.migrate import SchemaBehind, alembic_config, prepare_schema
from app.models.engine import options, prepare
from config import Config, load
from tests.apps import stop
from tests.databases import ONLY_POSTGRESQL


def _engine(url: str) -> Engine:
    engine = create_engine(url, **options(url))
    prepare(engine)
    return engine


def _tables(url: str) -> set[str]:
    engine = _engine(url)
    try:
        return set(inspect(engine).get_table_names()) - {"alembic_version"}
    finally:
        engine.dispose()


def test_up_down_and_up_again(database_url: str) -> None:
    settings = alembic_config(database_url)
    made = _tables(database_url)

    command.downgrade(settings, "base")
    left = _tables(database_url)
    command.upgrade(settings, "head")

    assert left == set()
    assert _tables(database_url) == made == set(db.metadata.tables)


def test_the_migrations_make_what_the_models_say(database_url: str) -> None:
    engine = _engine(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "render_as_batch": True}
        )
        differences = compare_metadata(context, db.metadata)
    engine.dispose()

    assert differences == []


def test_the_embedded_database_is_migrated_at_the_start(tmp_path: Path) -> None:
    app, config = _fresh(tmp_path, {})

    prepare_schema(app, config)
    prepare_schema(app, config)

    stop(app)
    assert _tables(config.database_url) == set(db.metadata.tables)


@ONLY_POSTGRESQL
def test_a_served_database_that_is_behind_is_refused_with_what_to_run(
    database_url: str, tmp_path: Path
) -> None:
    settings = alembic_config(database_url)
    command.downgrade(settings, "base")
    app, config = _fresh(tmp_path, {"DATABASE_URL": database_url})

    try:
        with pytest.raises(SchemaBehind, match="make migrate"):
            prepare_schema(app, config)
    finally:
        stop(app)
        command.upgrade(settings, "head")


def _fresh(tmp_path: Path, values: dict[str, Any]) -> tuple[APIFlask, Config]:
    config = load({"DATA_DIR": str(tmp_path / "fresh"), **values})
    return create_app(config), config
