"""One line an event, and no secret in it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import log

WORDS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789", min_size=16, max_size=40)
NAMES = st.sampled_from(
    ["token", "access_token", "secret", "client_secret", "password", "passphrase", "api_key",
     "apiKey", "Authorization", "Cookie", "x-api-key"]
)  # fmt: skip
FORMS = st.sampled_from(
    ["{name}={value}", '"{name}": "{value}"', "'{name}': '{value}'", "{name}: {value}",
     "?{name}={value}&x=1"]
)  # fmt: skip


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What is logged as JSON, while the root logger's own handlers wait."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    log.configure("debug", "json")
    stream = io.StringIO()
    handler = root.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)
    yield stream
    root.handlers[:], root.level = handlers, level


@given(NAMES, WORDS, FORMS)
def test_what_follows_the_name_of_a_secret_is_masked(name: str, value: str, form: str) -> None:
    text = "before " + form.format(name=name, value=value) + " after"

    masked = log.masked(text)

    assert value not in masked
    assert "before" in masked


@given(WORDS)
def test_a_bearer_token_is_masked(value: str) -> None:
    assert value not in log.masked(f"Authorization: Bearer {value}")


@pytest.mark.parametrize("path", ["/webhook/my-strategy-{}", "/webhook/{}", "/webhook/a/b-{}"])
def test_the_token_of_a_webhook_is_masked(path: str) -> None:
    token = "k3v9q2m4x7z1b5n8c6d0"

    assert token not in log.masked(f"POST {path.format(token)} 202")


@pytest.mark.parametrize(
    "text",
    [
        '{"password": "planted horse planted"}',
        '{"password": "quo\\"ted planted"}',
        '{"body": "{\\"password\\": \\"planted horse\\"}"}',
        "Cookie: a=planted; b=planted\nnext",
        "Authorization: Basic planted==",
    ],
)
def test_the_whole_value_is_masked(text: str) -> None:
    assert "planted" not in log.masked(text)


def test_the_password_of_a_url_is_masked() -> None:
    assert "hunter2" not in log.masked("postgresql://trader:hunter2@db.example.com/x")


def test_other_text_stays_as_it_is() -> None:
    text = "order 17 working at 4512.25, tokens of speech, 3 secrets kept"

    assert log.masked(text) == text


def test_a_line_is_one_json_object(logged: io.StringIO) -> None:
    log.bind_request_id("r-5")
    logging.getLogger("app.test").warning("two\nlines", extra={"account_id": 7})
    log.bind_request_id(None)

    line = json.loads(logged.getvalue())
    assert line["event"] == "two\nlines"
    assert (line["account_id"], line["request_id"], line["level"]) == (7, "r-5", "warning")


def test_secrets_in_tracebacks_and_in_extras_are_masked(logged: io.StringIO) -> None:
    try:
        raise ValueError("token=planted0123456789abcdef")
    except ValueError:
        logging.getLogger("app.test").exception(
            "failed",
            extra={
                "url": "https://example.com/?api_key=planted-one",
                "password": "planted-two",
                "headers": {"Authorization": "Bearer planted-three"},
            },
        )

    assert "planted" not in logged.getvalue()
    assert "Traceback" in logged.getvalue()
