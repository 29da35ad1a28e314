"""The whole map of routes, walked by who must not get in. Failures name every route at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from werkzeug.routing import Rule

from tests.access import rows
from tests.access.routes import FOREIGN_BODIES, PUBLIC, ROUTES, SELF_GUARDED, Case
from tests.access.rows import MARK, Rows
from tests.people import Person, register

UNSAFE = {"POST", "PUT", "PATCH", "DELETE"}
_NOBODYS = 2**53


@pytest.fixture
def alice(app: Flask) -> Person:
    register(app, "root")
    return register(app, "alice")


@pytest.fixture
def bob(alice: Person, app: Flask) -> Person:
    return register(app, "bob")


def _guarded(app: Flask) -> Iterator[tuple[Rule, str, Case]]:
    for rule in app.url_map.iter_rules():
        if rule.endpoint not in ROUTES:  # open, or missed by the test of the table itself
            continue
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield rule, method, ROUTES[rule.endpoint]


def _url(app: Flask, rule: Rule, case: Case, owned: Rows | None) -> str:
    """The path for a row of ``owned``; without one for ids that nobody has."""
    values = {
        argument: owned.named(name) if owned else name[1:] if name[:1] == "=" else _NOBODYS
        for argument, name in case.ids.items()
    }
    built = app.url_map.bind("localhost").build(rule.endpoint, values)
    return str(built)


def _is_api(path: str) -> bool:
    return path.startswith("/api/")


def test_every_route_has_its_expectation(app: Flask) -> None:
    known = PUBLIC | SELF_GUARDED | set(ROUTES)

    missing = {rule.endpoint for rule in app.url_map.iter_rules()} - known

    assert not missing, f"add to tests/access/routes.py: {sorted(missing)}"


def test_an_expectation_is_of_one_kind() -> None:
    assert not PUBLIC & SELF_GUARDED
    assert not (PUBLIC | SELF_GUARDED) & set(ROUTES)


def test_nobody_gets_in(app: Flask) -> None:
    client, wrong = app.test_client(), []

    for rule, method, case in _guarded(app):
        path = _url(app, rule, case, None)
        answer = client.open(path, method=method, json=case.body)
        closed = (
            answer.status_code == 401 and answer.mimetype == "application/problem+json"
            if _is_api(path)
            else answer.status_code == 302 and (answer.location or "").startswith("/login")
        )
        if not closed:
            wrong.append(f"{method} {path}: {answer.status_code}")

    assert not wrong


def test_a_cookie_alone_changes_nothing(app: Flask, alice: Person) -> None:
    wrong, owned = [], rows.of(alice)

    for rule, method, case in _guarded(app):
        if method not in UNSAFE or case.admin:
            continue
        path = _url(app, rule, case, owned)
        answer = alice.client.open(path, method=method, json=case.body)
        if answer.status_code != 403 or (_is_api(path) and answer.get_json()["code"] != "csrf"):
            wrong.append(f"{method} {path}: {answer.status_code}")

    assert not wrong


def test_a_read_key_changes_nothing(app: Flask, alice: Person) -> None:
    wrong, owned, program = [], rows.of(alice), alice.key("read")

    for rule, method, case in _guarded(app):
        path = _url(app, rule, case, owned)
        if not _is_api(path):
            continue
        answer = program.call(method, path, case.body)
        refused = answer.status_code == 403 and answer.get_json()["code"] == "scope"
        if refused != (method in UNSAFE or case.admin):
            wrong.append(f"{method} {path}: {answer.status_code}")

    assert not wrong


def test_somebody_elses_row_is_not_there(app: Flask, alice: Person, bob: Person) -> None:
    wrong, owned = [], rows.of(alice)

    for rule, method, case in _guarded(app):
        if not case.is_about_a_row:
            continue
        path = _url(app, rule, case, owned)
        answer = (
            bob.call(method, path, case.body)
            if _is_api(path) or method not in UNSAFE
            else bob.form(path)
        )
        if answer.status_code != 404 or MARK in answer.text:
            wrong.append(f"{method} {path}: {answer.status_code}")

    assert not wrong


def test_what_is_not_yours_is_answered_like_what_is_not_there(
    app: Flask, alice: Person, bob: Person
) -> None:
    wrong, owned = [], rows.of(alice)

    for rule, method, case in _guarded(app):
        path = _url(app, rule, case, owned)
        if not case.is_about_a_row or not _is_api(path):
            continue
        hers = bob.call(method, path, case.body).get_json()
        nobodys = bob.call(method, _url(app, rule, case, None), case.body).get_json()
        hers.pop("request_id"), nobodys.pop("request_id")
        if hers != nobodys:
            wrong.append(f"{method} {path}: {hers} but {nobodys}")

    assert not wrong


def test_no_page_or_list_shows_somebody_elses_things(
    app: Flask, alice: Person, bob: Person
) -> None:
    wrong, owned = [], rows.of(alice)
    filters = f"?strategy_id={owned.strategy}&account_id={owned.account}"

    for rule, method, case in _guarded(app):
        if method != "GET" or case.is_about_a_row or case.admin:
            continue
        for query in ("", filters):
            path = _url(app, rule, case, owned) + query
            answer = bob.get(path)
            if MARK in answer.text or answer.status_code >= 500:
                wrong.append(f"{path}: {answer.status_code}")

    assert not wrong


def test_the_owner_finds_every_row(app: Flask, alice: Person) -> None:
    wrong, owned = [], rows.of(alice)

    for rule, method, case in _guarded(app):
        if method != "GET" or case.admin:
            continue
        path = _url(app, rule, case, owned)
        answer = alice.get(path)
        if answer.status_code not in (200, 302):
            wrong.append(f"{path}: {answer.status_code} {answer.text[:200]}")

    assert not wrong


def test_admin_endpoints_are_for_admins(app: Flask, alice: Person) -> None:
    wrong = []

    for rule, method, case in _guarded(app):
        if not case.admin:
            continue
        path = _url(app, rule, case, None)
        answer = alice.call(method, path, case.body)
        if answer.status_code != 403:
            wrong.append(f"{method} {path}: {answer.status_code}")

    assert not wrong


@pytest.mark.parametrize("case", range(len(FOREIGN_BODIES)))
def test_a_body_cannot_name_somebody_elses_row(alice: Person, bob: Person, case: int) -> None:
    hers, his = rows.of(alice), rows.of(bob)
    method, path, names = FOREIGN_BODIES[case]
    body = {
        field: his.named(name.removeprefix("own_")) if name.startswith("own_") else hers.named(name)
        for field, name in names.items()
    }

    answer = bob.call(method, path, body)

    assert answer.status_code in (404, 422), answer.text
    assert MARK not in answer.text
