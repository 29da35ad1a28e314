"""The session cookie, only where a person may be: reading and signing it costs a webhook's alert
a good part of its time, and a health probe has none."""

from __future__ import annotations

from flask import Flask, Request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface

_WITHOUT = ("/webhook/", "/static/", "/healthz", "/readyz", "/metrics")


class PageSessions(SecureCookieSessionInterface):
    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        if request.path.startswith(_WITHOUT):
            return self.make_null_session(app)
        return super().open_session(app, request)


def register(app: Flask) -> None:
    app.session_interface = PageSessions()
