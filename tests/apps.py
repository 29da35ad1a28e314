"""Start and stop an app inside a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from apiflask import APIFlask

from app.extensions import db, lifecycle


@contextmanager
def started(app: APIFlask) -> Iterator[None]:
    """Run what lives in the app. No context stays open around requests: Flask-Login keeps its
    user in ``g``."""
    with app.app_context():
        lifecycle.start()
    try:
        yield
    finally:
        stop(app)


def stop(app: APIFlask) -> None:
    """Stop what lives and close every connection."""
    with app.app_context():
        lifecycle.stop()
        db.session.remove()
        db.engine.dispose()
