"""The application: ``create_app`` is the one place where its parts meet."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from apiflask import APIFlask
from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from app import api, jobs, log, migrate, pages, realtime, services, webhooks
from app.extensions import (
    csrf,
    db,
    dispatcher,
    lifecycle,
    login_manager,
    ownership,
    socketio,
    writer,
)
from app.json import DecimalProvider
from app.models import engine as engines
from app.services import health
from app.web import auth, cookies, errors, headers, operations, requests, urls
from config import Config

ROOT = Path(__file__).resolve().parent.parent


class App(APIFlask):
    """The application. It has no asynchronous views, so none of its functions is looked at for
    that eleven times a request."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func


def create_app(config: Config) -> APIFlask:
    """Join the parts. Nothing is started here: ``lifecycle.start()`` does that.

    Raises:
        OwnershipTaken: another process serves the same embedded database.
    """
    app = App(
        __name__,
        title="Just.Trades.",
        version="1",
        json_errors=False,
        docs_path=None,
        spec_path=None,
        template_folder=str(ROOT / "templates"),
        static_folder=str(ROOT / "static"),
    )
    # A POST without the final slash must arrive: redirected, it would lose its body.
    app.url_map.strict_slashes = False
    log.configure(config.log_level, config.log_format)
    _configure(app, config)
    _bind_database(app)
    if config.trusted_proxies:
        hops = config.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    login_manager.init_app(app)
    csrf.init_app(app)
    for part in (urls, cookies, requests, headers, operations, auth):
        part.register(app)
    # In the order in which they start: what the services keep running, then who asks for it.
    for part in (services, webhooks, api, pages, realtime, jobs):
        part.register(app)
    health.watch("migrations", migrate.state)
    errors.register(app)  # the last word: an extension's own handlers know nothing of pages
    return app


def _configure(app: Flask, config: Config) -> None:
    app.json = DecimalProvider(app)
    app.config.update(
        JUST_TRADES=config,
        SECRET_KEY=config.secret_key,
        SQLALCHEMY_DATABASE_URI=config.database_url,
        SQLALCHEMY_ENGINE_OPTIONS=engines.options(config.database_url),
        SESSION_COOKIE_NAME="jt_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=bool(config.public_url and config.public_url.startswith("https")),
        PERMANENT_SESSION_LIFETIME=timedelta(days=30),
        MAX_CONTENT_LENGTH=1024 * 1024,
        WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_CHECK_DEFAULT=False,
        SEND_FILE_MAX_AGE_DEFAULT=3600,
    )


def _bind_database(app: Flask) -> None:
    """Tie what the process has once to this app; an earlier app's parts are forgotten."""
    lifecycle.reset()
    dispatcher.reset()
    db.init_app(app)
    with app.app_context():
        engines.prepare(db.engine)
        writer.bind(db.engine, dispatcher.push)
        ownership.bind(db.engine, app.config["JUST_TRADES"].lock_path)


__all__ = ["create_app", "socketio"]
