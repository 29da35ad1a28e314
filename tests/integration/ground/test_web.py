"""What every answer carries, and what every error looks like."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError

from app import create_app, log
from app.domain.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    TooManyRequests,
    TradingError,
    Unauthorized,
    Unavailable,
)
from config import Config
from tests.apps import started
from tests.databases import ONLY_SQLITE

pytestmark = ONLY_SQLITE

_CASES: list[tuple[Exception, int, str]] = [
    (TradingError("no"), 400, "error"),
    (Unauthorized(), 401, "unauthorized"),
    (Forbidden("not yours"), 403, "forbidden"),
    (NotFound(), 404, "not_found"),
    (Conflict("already so"), 409, "conflict"),
    (Invalid("must be positive", field="qty"), 422, "invalid"),
    (TooManyRequests(retry_after_s=7), 429, "rate_limited"),
    (Unavailable(), 503, "temporarily_unavailable"),
    (OperationalError("SELECT 1", None, Exception("gone")), 503, "temporarily_unavailable"),
    (ZeroDivisionError("planted-detail"), 500, "internal_error"),
]


class Raises:
    """Views of two addresses that are open to everybody: they raise what the test gives."""

    error: Exception = RuntimeError()

    def replace_views(self, app: Flask) -> None:
        app.view_functions["operations.readyz"] = self._view
        app.view_functions["auth.login"] = self._view

    def _view(self, **_arguments: str) -> str:
        raise self.error


@pytest.fixture
def raises() -> Raises:
    return Raises()


@pytest.fixture
def client(config: Config, raises: Raises) -> Any:
    app = create_app(config)
    raises.replace_views(app)
    with started(app):
        yield app.test_client()


@pytest.mark.parametrize("path", ["/healthz", "/nowhere", "/api/nowhere"])
def test_every_answer_carries_the_security_headers(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers

    policy = headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Request-ID"]


@pytest.mark.parametrize("path", ["/static/nothing.js", "/webhook/", "/api/nothing"])
def test_what_is_not_there_is_a_problem_where_only_programs_ask(config: Config, path: str) -> None:
    app = create_app(config)

    with started(app):
        answer = app.test_client().get(path)

    assert answer.status_code in (401, 404, 405)
    assert answer.mimetype == "application/problem+json"


def test_private_answers_are_not_kept_by_caches(client: FlaskClient) -> None:
    assert client.get("/healthz").headers["Cache-Control"] == "no-store"
    assert client.get("/nowhere").headers["Cache-Control"] == "no-store"


def test_a_sane_request_id_is_kept(client: FlaskClient) -> None:
    answer = client.get("/healthz", headers={"X-Request-ID": "abc-1.2_3"})

    assert answer.headers["X-Request-ID"] == "abc-1.2_3"


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "<script>", "é", "a\tb"])
def test_any_other_request_id_is_replaced(client: FlaskClient, given: str) -> None:
    answer = client.get("/healthz", headers={"X-Request-ID": given})

    assert re.fullmatch(r"r-[0-9a-f]{16}", answer.headers["X-Request-ID"])


@pytest.mark.parametrize(("error", "status", "code"), _CASES, ids=lambda v: str(v)[:30])
def test_an_error_is_a_problem_for_programs(
    client: FlaskClient, raises: Raises, error: Exception, status: int, code: str
) -> None:
    raises.error = error

    answer = client.get("/readyz", headers={"X-Request-ID": "r-1"})

    assert answer.status_code == status
    assert answer.mimetype == "application/problem+json"
    problem = answer.get_json()
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["request_id"] == "r-1"
    assert {"type", "title", "detail"} <= set(problem)
    assert "planted" not in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(("error", "status", "code"), _CASES, ids=lambda v: str(v)[:30])
def test_an_error_is_a_page_for_people(
    client: FlaskClient, raises: Raises, error: Exception, status: int, code: str
) -> None:
    raises.error = error

    answer = client.get("/login")

    assert answer.status_code == status
    assert answer.mimetype == "text/html"
    assert "planted" not in answer.text
    assert "Traceback" not in answer.text


def test_a_field_that_is_wrong_is_named(client: FlaskClient, raises: Raises) -> None:
    raises.error = Invalid("must be positive", field="qty")

    problem = client.get("/readyz").get_json()

    assert problem["errors"] == [{"field": "qty", "message": "must be positive"}]


@pytest.mark.parametrize(
    ("error", "seconds"), [(TooManyRequests(retry_after_s=7), "7"), (Unavailable(), "5")]
)
def test_an_error_that_passes_says_when_to_come_back(
    client: FlaskClient, raises: Raises, error: Exception, seconds: str
) -> None:
    raises.error = error

    assert client.get("/readyz").headers["Retry-After"] == seconds


def test_an_unknown_method_says_which_are_known(client: FlaskClient) -> None:
    answer = client.delete("/healthz")

    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]
    assert answer.get_json()["code"] == "method_not_allowed"


def test_a_body_that_is_too_large_is_refused(client: FlaskClient) -> None:
    answer = client.post(
        "/api/nowhere", data=b"x" * (1024 * 1024 + 1), headers={"Content-Type": "text/plain"}
    )

    assert answer.status_code in (404, 413)
    assert answer.mimetype == "application/problem+json"


def test_metrics_are_for_this_machine_unless_there_is_a_token(client: FlaskClient) -> None:
    here = client.get("/metrics")
    elsewhere = client.get("/metrics", environ_base={"REMOTE_ADDR": "192.0.2.1"})

    assert here.status_code == 200
    assert elsewhere.status_code == 403


def test_what_was_raised_is_in_the_log_under_the_request_id(
    client: FlaskClient, raises: Raises, caplog: pytest.LogCaptureFixture
) -> None:
    raises.error = ZeroDivisionError("for the log")
    ids: list[str | None] = []

    def note(_record: logging.LogRecord) -> bool:
        ids.append(log.current_request_id())
        return True

    caplog.handler.addFilter(note)

    client.get("/readyz", headers={"X-Request-ID": "r-77"})

    place = next(n for n, r in enumerate(caplog.records) if r.exc_info)
    record = caplog.records[place]
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)
    assert ids[place - len(caplog.records)] == "r-77"
    assert log.current_request_id() is None
    caplog.handler.removeFilter(note)
