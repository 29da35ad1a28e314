"""Accounts by their pages alone, without JavaScript."""

from __future__ import annotations

import json
from html import unescape

import pytest
from flask import Flask

from tests.integration.pages import things
from tests.integration.pages.things import words
from tests.people import Person, register

NEW = {"broker": "paper", "environment": "demo", "currency": "USD"}


@pytest.fixture
def person(app: Flask) -> Person:
    return register(app)


def _holding(person: Person) -> int:
    """An account that is long one contract with a stop and a target working."""
    recorder_id = things.recorder(
        person, take_profits=[{"distance": "4000"}], stop_loss={"distance": "4000"}
    )
    account_id = things.account(person)
    things.trader(person, recorder_id, account_id)
    things.finished(person, things.alert(person, recorder_id))
    return account_id


def _effects(page: str, action: str) -> list[str]:
    """The lines of the question before a form is sent."""
    form = page[page.index(f'action="{action}"') :]
    effects: list[str] = json.loads(unescape(form.split('data-confirm-effects="')[1].split('"')[0]))
    return effects


def test_without_accounts_the_page_offers_a_paper_one(person: Person) -> None:
    page = person.client.get("/accounts/").text

    assert "No accounts yet" in page
    assert 'href="/accounts/new/"' in page


def test_a_paper_account_is_opened_and_shown_with_its_balance(person: Person) -> None:
    answer = person.form("/accounts/new/", name="Paper", starting_balance="2500.50", **NEW)

    assert answer.status_code == 303
    page = words(person.client.get(answer.location).text)
    assert "$2,500.50" in page
    assert "PAPER" in page


def test_what_is_wrong_stands_beside_its_field_and_nothing_is_opened(person: Person) -> None:
    answer = person.form("/accounts/new/", name=" ", starting_balance="1,000", **NEW)

    assert answer.status_code == 422
    assert 'id="name-error"' in answer.text
    assert 'id="starting_balance-error"' in answer.text
    assert 'value="1,000"' in answer.text
    assert person.get("/api/accounts/").get_json()["total"] == 0


def test_the_list_says_what_is_open_on_each_account(person: Person) -> None:
    _holding(person)

    page = words(person.client.get("/accounts/").text)

    assert "1 position, 2 orders" in page


def test_flatten_says_what_it_will_do_and_does_it(person: Person) -> None:
    account_id = _holding(person)
    page = person.client.get(f"/accounts/{account_id}/").text

    effects = _effects(page, f"/accounts/{account_id}/flatten/")
    answer = person.form(f"/accounts/{account_id}/flatten/")

    assert effects[0] == "Cancels 2 working orders."
    assert effects[1].startswith("Sells 1 MNQ")
    assert effects[2] == "NQ Trend stays on and may enter again."
    assert answer.status_code == 303
    assert "Flat. A position appears here" in person.client.get(answer.location).text


def test_the_kill_switch_is_pulled_and_let_go(person: Person) -> None:
    account_id = things.account(person)
    address = f"/accounts/{account_id}/kill-switch/"

    person.form(address, on="1")
    pulled = person.client.get(f"/accounts/{account_id}/").text
    person.form(address, on="0")
    released = person.client.get(f"/accounts/{account_id}/").text

    assert "The kill switch is on." in pulled
    assert "Allow entries again" in pulled
    assert "The kill switch is on." not in released


def test_an_account_is_renamed(person: Person) -> None:
    account_id = things.account(person)

    answer = person.form(f"/accounts/{account_id}/rename/", name="Mine")

    assert answer.status_code == 303
    assert person.get(f"/api/accounts/{account_id}/").get_json()["name"] == "Mine"


def test_an_empty_name_is_refused_beside_its_field(person: Person) -> None:
    account_id = things.account(person)

    answer = person.form(f"/accounts/{account_id}/rename/", name=" ")

    assert answer.status_code == 422
    assert 'id="name-error"' in answer.text


def test_an_account_with_something_open_is_kept_and_the_page_says_why(person: Person) -> None:
    account_id = _holding(person)

    answer = person.form(f"/accounts/{account_id}/delete/")

    assert answer.status_code == 409
    assert "Paper USD was not deleted." in answer.text
    assert "1 open position(s) and 2 working order(s)" in answer.text
    assert person.get(f"/api/accounts/{account_id}/").status_code == 200


def test_an_account_is_deleted_after_it_was_flattened(person: Person) -> None:
    account_id = _holding(person)

    answer = person.form(f"/accounts/{account_id}/delete/", flatten="1")

    assert answer.status_code == 303
    assert "Its history stays" in person.client.get(answer.location).text
    assert person.client.get(f"/accounts/{account_id}/").status_code == 404
