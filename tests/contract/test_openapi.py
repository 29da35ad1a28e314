"""The OpenAPI document against the app that serves it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from apiflask import APIFlask
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from app.extensions import db
from app.models import Strategy
from app.services import api_keys, sessions, users
from tests import factories
from tests.databases import ONLY_SQLITE
from tests.people import PASSWORD

pytestmark = ONLY_SQLITE

PATH = "/api/openapi.json"
NOT_IN_IT = {PATH, "/api/docs/"}
SCOPES = ("read", "trade", "admin")
WAYS = (
    (GenerationMode.POSITIVE, True),
    (GenerationMode.NEGATIVE, True),
    (GenerationMode.POSITIVE, False),
)
"""Requests that fit the document or not, with ids that are there or with any."""
EXAMPLES = 4
"""Of each operation and way."""

_numbers = itertools.count(1)


@pytest.fixture
def document(app: APIFlask) -> dict[str, Any]:
    made: dict[str, Any] = app.test_client().get(PATH).get_json()
    return made


def test_every_route_of_the_api_is_in_the_document(app: APIFlask, document: dict[str, Any]) -> None:
    served = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/") and rule.rule not in NOT_IN_IT
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }

    told = {(path, method) for path, item in document["paths"].items() for method in item}

    assert told == served


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    schema = schemathesis.openapi.from_dict(document)

    schema.validate()

    assert document["openapi"].startswith("3.1.")


@pytest.mark.timeout(120)
def test_the_app_answers_as_the_document_says(app: APIFlask, document: dict[str, Any]) -> None:
    load_all_checks()

    found = [
        fault
        for operation in _operations(app, document)
        for mode, with_ids in WAYS
        for fault in [_fault(app, operation, mode, with_ids)]
        if fault
    ]

    assert not found, "\n\n".join(found)


def _operations(app: APIFlask, document: dict[str, Any]) -> Iterator[Any]:
    """Every operation; without the answer for "any other status", which would allow them all."""
    for item in document["paths"].values():
        for operation in item.values():
            del operation["responses"]["default"]
    schema = schemathesis.openapi.from_dict(document)
    schema.app = app
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        yield result.ok()


def _fault(app: APIFlask, operation: Any, mode: GenerationMode, with_ids: bool) -> str | None:
    """What the app does otherwise than the document says, to the first request that shows it."""
    key, ids = _caller(app, is_admin="/admin/" in operation.path)
    known = {name: row for name, row in ids.items() if f"{{{name}}}" in operation.path}
    if not known and not with_ids:
        return None  # the same as with ids
    sent = ""

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(case=operation.as_strategy(mode, path_parameters=known if known and with_ids else None))
    def run(case: Any) -> None:
        nonlocal sent
        sent = case.as_curl_command()
        answer = case.call(headers=key)
        # Not everything that is refused can be told by a schema: a cursor, a rule between fields.
        case.validate_response(answer, headers=key, excluded_checks=[positive_data_acceptance])

    try:
        run()
    except Unsatisfiable:
        return None  # no request can be wrong where there is nothing to get wrong
    except FailureGroup as e:
        return f"{sent}\n" + "\n".join(str(f) for f in e.exceptions)
    return None


def _caller(app: APIFlask, *, is_admin: bool) -> tuple[dict[str, str], dict[str, int]]:
    """The header of a new user's API key, and the ids of his things by their names in paths."""
    name = f"caller{next(_numbers)}"
    with app.app_context():
        role = "admin" if is_admin else "trader"
        user = users.create(name, f"{name}@example.com", PASSWORD, role, by=factories.user().id)
        api_key, key = api_keys.create(user.id, "tests", SCOPES, grantable=frozenset(SCOPES))
        sessions.start(user.id)
        [session] = sessions.listing(user.id)
    header = {"Authorization": f"Bearer {key}"}
    client = app.test_client()

    def make(path: str, **body: Any) -> int:
        made: dict[str, Any] = client.post(path, json=body, headers=header).get_json()
        return int(made["id"])

    account = make("/api/accounts/", name="x", broker="paper")
    recorder = make("/api/recorders/", name="x", symbol="MNQ1!")
    trader = make("/api/traders/", strategy_id=recorder, account_id=account)
    with app.app_context():
        strategy = db.session.get_one(Strategy, recorder)
    return header, {
        "account_id": account,
        "recorder_id": recorder,
        "strategy_id": recorder,
        "trader_id": trader,
        "signal_id": factories.signal(strategy).id,
        "key_id": api_key.id,
        "session_id": session.id,
    }
