"""The base templates on their own: a bare app, no database."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask, render_template

from app.pages import components, filters

_ROOT = Path(__file__).parents[3]


@pytest.fixture
def shell() -> Flask:
    """A page for each navigation entry and nothing else."""
    app = Flask(
        __name__,
        template_folder=str(_ROOT / "templates"),
        static_folder=str(_ROOT / "static"),
    )
    app.secret_key = "only for this test"
    filters.register(app)
    app.register_blueprint(components.bp)
    app.add_url_rule("/signals/", "signals.index", lambda: "")
    app.add_url_rule("/signals/<int:signal_id>/", "signals.show", lambda signal_id: "")
    app.add_url_rule("/settings/", "settings.index", lambda: "")

    @app.context_processor
    def _context() -> dict[str, Any]:
        return {
            "nav": [
                ("components.show", "Dashboard", "dashboard", ""),
                ("signals.index", "Signals", "signal", "Automation"),
                ("settings.index", "Settings", "settings", "foot"),
            ],
            "zone": "America/Chicago",
            "current_user": SimpleNamespace(is_authenticated=True, id=7, username="m.keller"),
            "live_seq": 41,
        }

    return app


def _page(app: Flask, path: str) -> str:
    with app.test_request_context(path):
        return render_template("base.html")


def test_the_components_page_renders(shell: Flask) -> None:
    response = shell.test_client().get("/components/")

    assert response.status_code == 200
    assert "−$50.00" in response.text


def test_a_page_says_who_reads_it_and_what_it_shows_already(shell: Flask) -> None:
    assert 'data-zone="America/Chicago" data-user="7" data-seq="41"' in _page(shell, "/signals/")


def test_the_page_of_one_signal_marks_its_list_as_here(shell: Flask) -> None:
    marked = [line for line in _page(shell, "/signals/4/").splitlines() if "aria-current" in line]

    assert marked
    assert all("/signals/" in line for line in marked)


def test_the_kill_switch_is_there_only_with_an_address(shell: Flask) -> None:
    without = _page(shell, "/signals/")
    with shell.test_request_context("/signals/"):
        with_address = render_template("base.html", kill_switch_url="/stop/")

    assert "Kill switch" not in without
    assert 'action="/stop/"' in with_address


@pytest.mark.parametrize("status", [400, 403, 404, 418, 500, 503])
def test_an_error_page_needs_no_user(status: int) -> None:
    app = Flask(
        __name__, template_folder=str(_ROOT / "templates"), static_folder=str(_ROOT / "static")
    )
    filters.register(app)

    with app.test_request_context("/"):
        text = render_template("error.html", status=status, request_id="r-7f3a91c2")

    assert str(status) in text
    assert "r-7f3a91c2" in text
