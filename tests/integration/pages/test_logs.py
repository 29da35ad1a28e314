"""The log page: filters, older lines, what the live part starts from."""

from __future__ import annotations

import json
from html import unescape
from typing import Any

import pytest
from flask import Flask

from app.extensions import writer
from app.services import journal
from tests.integration.pages import things
from tests.people import Person, register


@pytest.fixture
def person(app: Flask) -> Person:
    return register(app)


def _write(person: Person, message: str, level: str = "info", **about: Any) -> None:
    writer.run(lambda tx: journal.write(tx, person.id, "test", message, level=level, **about))


def _lines(person: Person, query: str = "") -> list[str]:
    page = person.client.get(f"/logs/parts/lines/?{query}").text
    return [things.words(line) for line in page.split('<li id="log-')[1:]]


def test_an_empty_log_says_what_will_be_written_there(person: Person) -> None:
    assert "Nothing has happened yet" in person.client.get("/logs/").text


def test_the_newest_line_is_first_and_names_whose_it_is(person: Person) -> None:
    strategy_id = things.recorder(person, "NQ Trend")
    _write(person, "older", strategy_id=strategy_id)
    _write(person, "newer", level="error", strategy_id=strategy_id)

    lines = _lines(person)

    assert "Error NQ Trend" in lines[0]
    assert "newer" in lines[0]
    assert "older" in lines[1]


def test_lines_are_narrowed_by_level_strategy_account_and_day(person: Person) -> None:
    strategy_id, account_id = things.recorder(person), things.account(person)
    _write(person, "of the strategy", level="warning", strategy_id=strategy_id)
    _write(person, "of the account", level="error", account_id=account_id)

    assert [line for line in _lines(person, "level=error") if "of the account" in line]
    assert len(_lines(person, "level=warning")) == 1
    assert all("account" not in line for line in _lines(person, f"strategy_id={strategy_id}"))
    assert "of the account" in _lines(person, f"account_id={account_id}")[0]
    assert _lines(person, "to=2001-01-01") == []


def test_older_lines_follow_those_on_the_page(person: Person) -> None:
    for number in range(101):
        _write(person, f"line {number}")

    page = person.client.get("/logs/").text
    older = page[page.index('hx-get="/logs/parts/lines/?cursor=') :].split('"')[1]
    rest = person.client.get(unescape(older)).text

    assert page.count('<li id="log-') == 100
    assert rest.count('<li id="log-') == 1
    assert "line 0<" in rest


def test_only_a_page_that_shows_the_newest_is_live(person: Person) -> None:
    assert 'data-module="logs"' in person.client.get("/logs/?level=error").text
    assert 'data-module="logs"' not in person.client.get("/logs/?to=2001-01-01").text


def test_the_live_part_knows_the_names_of_what_it_may_hear_of(person: Person) -> None:
    strategy_id = things.recorder(person, 'A "quoted" <name>')

    page = person.client.get("/logs/").text

    names = json.loads(unescape(page.split('data-strategies="')[1].split('"')[0]))
    assert names == {str(strategy_id): 'A "quoted" <name>'}


def test_the_stream_is_a_log_that_does_not_interrupt(person: Person) -> None:
    assert 'role="log" aria-live="off"' in person.client.get("/logs/").text
