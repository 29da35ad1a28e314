"""How Alembic reaches the database: the app's own configuration and tables."""

from alembic import context
from sqlalchemy import create_engine

from app.models import db
from app.models.engine import options, prepare
from config import load


def _url() -> str:
    return context.config.attributes.get("database_url") or load().database_url


def run() -> None:
    url = _url()
    if context.is_offline_mode():
        context.configure(url=url, target_metadata=db.metadata, literal_binds=True)
        with context.begin_transaction():
            context.run_migrations()
        return
    engine = create_engine(url, **options(url))
    prepare(engine)
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=db.metadata,
            render_as_batch=engine.dialect.name == "sqlite",
            compare_type=True,
            user_module_prefix="types.",
        )
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run()
