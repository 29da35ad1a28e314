"""The guide: from nothing to the first paper trade, by its forms alone."""

from __future__ import annotations

import re
from typing import Any

import gevent
from flask import Flask

from app.models import Account
from tests import factories
from tests.people import Person, register


def _strategy_id(page: str) -> str:
    found = re.search(r'name="strategy_id" value="(\d+)"', page)
    assert found is not None
    return found[1]


def _until(person: Person, words: str) -> str:
    """The page once it says ``words``."""
    with gevent.Timeout(10, AssertionError(f"the page never said {words!r}")):
        while words not in (page := person.client.get("/guide/").text):
            gevent.sleep(0.02)
    return page


def _begin(app: Flask) -> Person:
    person = register(app)
    assert person.form("/guide/account/").status_code == 303
    assert person.form("/guide/strategy/").status_code == 303
    return person


def test_one_begins_with_an_account_and_the_rest_waits(app: Flask) -> None:
    person = register(app)

    page = person.client.get("/guide/").text

    assert "0 of 4 done" in page
    assert "Open paper account" in page
    assert "Make strategy" not in page


def test_the_defaults_make_an_account_and_a_strategy_that_trades_on_it(app: Flask) -> None:
    person = _begin(app)

    page = person.client.get("/guide/").text

    assert "2 of 4 done" in page
    assert "Paper USD, $100,000.00" in page
    assert "My first strategy, MNQ1!, 1 contract, stop 60 ticks, target 80 ticks." in page
    assert re.search(r"http://localhost/webhook/my-first-strategy-[a-z0-9]{26,}/", page)
    assert "{{strategy.order.action}}" in page.replace("&#34;", '"')
    assert "curl -X POST" in page


def test_a_wrong_balance_is_said_beside_its_field(app: Flask) -> None:
    person = register(app)

    answer = person.form("/guide/account/", name="Mine", starting_balance="lots")

    assert answer.status_code == 422
    assert 'value="Mine"' in answer.text
    assert 'id="starting_balance-error"' in answer.text


def test_a_test_alert_trades_on_paper_and_a_second_one_closes(app: Flask) -> None:
    person = _begin(app)
    strategy_id = _strategy_id(person.client.get("/guide/").text)

    person.form("/guide/send/", strategy_id=strategy_id, action="buy")
    opened = _until(person, "The position is open")
    person.form("/guide/send/", strategy_id=strategy_id, action="close")
    closed = _until(person, "Open the dashboard</a>")

    assert "3 of 4 done" in opened
    assert "Send test alert: close MNQ" in opened
    assert "4 of 4 done" in closed
    assert "My first strategy" in person.client.get("/").text


def test_what_the_alert_would_do_is_said_before(app: Flask) -> None:
    person = _begin(app)

    page = person.client.get("/guide/").text

    assert "Flat: enter long" in page
    assert "Stop 60 ticks below, \N{MINUS SIGN}$30.00" in page
    assert "Target 80 ticks above, +$40.00" in page


def test_no_test_alert_is_sent_where_more_than_paper_trades(app: Flask) -> None:
    person = _begin(app)
    strategy_id = _strategy_id(person.client.get("/guide/").text)
    owner: Any = person
    live: Account = factories.account(owner, broker="tradovate", environment="live")
    body = {"strategy_id": int(strategy_id), "account_id": live.id}
    assert person.post("/api/traders/", body).status_code == 201

    answer = person.form("/guide/send/", strategy_id=strategy_id, action="buy")

    assert answer.status_code == 409
    assert "is not paper" in answer.text
    assert person.get("/api/signals/").get_json()["total"] == 0


def test_nobody_sends_to_the_strategy_of_somebody_else(app: Flask) -> None:
    owner = _begin(app)
    strategy_id = _strategy_id(owner.client.get("/guide/").text)
    stranger = register(app, "mallory")

    answer = stranger.form("/guide/send/", strategy_id=strategy_id, action="buy")

    assert answer.status_code == 404
    assert owner.get("/api/signals/").get_json()["total"] == 0
