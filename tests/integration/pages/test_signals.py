"""The webhook log and the life of one alert, as their pages tell them."""

from __future__ import annotations

import pytest
from flask import Flask

from tests.integration.pages import things
from tests.integration.pages.things import words
from tests.people import Person, register


@pytest.fixture
def person(app: Flask) -> Person:
    return register(app)


def _traded(person: Person) -> int:
    """A signal that bought on one account and was stopped by a filter on the other."""
    recorder_id = things.recorder(
        person, take_profits=[{"distance": "80"}], stop_loss={"distance": "60"}
    )
    things.trader(person, recorder_id, things.account(person, "Both ways"))
    things.trader(person, recorder_id, things.account(person, "Short only"), direction="short")
    signal_id = things.alert(person, recorder_id)
    things.finished(person, signal_id)
    return signal_id


def test_without_alerts_the_page_says_what_will_appear(person: Person) -> None:
    page = person.client.get("/signals/").text

    assert "No alert has arrived" in page


def test_good_and_bad_alerts_are_listed_newest_first(person: Person) -> None:
    recorder_id = things.recorder(person)
    things.alert(person, recorder_id)
    things.alert(person, recorder_id, "good morning")

    page = words(person.client.get("/signals/").text)

    assert page.index("Not understood") < page.index("Buy 3 MNQ1!")
    assert "Rejected" in page
    assert "Ignored" in page


def test_the_list_is_narrowed_by_strategy_status_and_day(person: Person) -> None:
    first, second = things.recorder(person, "First"), things.recorder(person, "Second")
    things.alert(person, first, "good morning")
    things.alert(person, second)

    def shown(query: str) -> int:
        return person.client.get(f"/signals/parts/list/?{query}").text.count('<tr id="signal-')

    assert shown("") == 2
    assert shown(f"strategy_id={first}") == 1
    assert shown("status=rejected") == 1
    assert shown("status=accepted") == 0
    assert shown("from=2001-01-01&to=2001-01-02") == 0
    assert shown("from=nonsense&status=nonsense") == 2


def test_older_alerts_are_a_page_away(person: Person) -> None:
    recorder_id = things.recorder(person)
    for number in range(51):
        things.alert(person, recorder_id, {**things.BUY, "order_id": str(number)})

    page = person.client.get("/signals/").text

    assert page.count('<tr id="signal-') == 50
    assert ">Older<" in page


def test_the_page_of_a_signal_says_what_each_account_did_and_why(person: Person) -> None:
    signal_id = _traded(person)

    page = words(person.client.get(f"/signals/{signal_id}/").text)

    assert "traded on 1 of 2 accounts" in page
    assert "Both ways: buy 1 at market sent, accepted" in page
    assert "only short entries are allowed, this one is long" in page
    assert "Bought 1" in page
    assert "Skipped: direction" in page
    assert "Limit, take profit" in page
    assert "Stop, stop loss" in page


def test_the_rows_that_changed_nothing_are_marked_for_the_switch(person: Person) -> None:
    signal_id = _traded(person)

    page = person.client.get(f"/signals/{signal_id}/").text

    assert "data-only-changed" in page
    direction = page[: page.index(">Direction</th>")].rpartition("<tr")[2]
    account = page[: page.index(">Kill switch, account</th>")].rpartition("<tr")[2]
    assert "jt-is-plain" in account
    assert "jt-is-plain" not in direction


def test_secrets_of_the_body_are_hidden(person: Person) -> None:
    recorder_id = things.recorder(person, passphrase="open sesame")
    signal_id = things.alert(person, recorder_id, {**things.BUY, "passphrase": "open sesame"})

    page = person.client.get(f"/signals/{signal_id}/").text

    assert "open sesame" not in page
    assert "***" in page


def test_markup_in_a_body_is_text(person: Person) -> None:
    signal_id = things.alert(person, things.recorder(person), "<script>alert(1)</script>")

    page = person.client.get(f"/signals/{signal_id}/").text

    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_a_duplicate_leads_to_the_first(person: Person) -> None:
    recorder_id = things.recorder(person)
    things.trader(person, recorder_id, things.account(person))
    first = things.alert(person, recorder_id)
    again = things.alert(person, recorder_id)

    page = person.client.get(f"/signals/{again}/").text

    assert f'href="/signals/{first}/">signal {first}</a>' in page


def test_the_neighbours_are_those_of_the_same_strategy(person: Person) -> None:
    one, other = things.recorder(person, "One"), things.recorder(person, "Other")
    before = things.alert(person, one)
    things.alert(person, other)
    here = things.alert(person, one, "something else")

    page = person.client.get(f"/signals/{here}/").text

    assert f'href="/signals/{before}/" rel="prev"' in page
    assert 'rel="next"' not in page


def test_a_dry_run_says_what_the_alert_would_do_now(person: Person) -> None:
    signal_id = _traded(person)
    orders = len(person.get(f"/api/signals/{signal_id}/").get_json()["executions"][0]["orders"])

    page = words(person.client.get(f"/signals/{signal_id}/dry-run/").text)

    assert "Nothing was sent" in page
    assert "a signal on the same side is ignored" in page
    assert "Nothing: direction" in page
    after = person.get(f"/api/signals/{signal_id}/").get_json()["executions"][0]["orders"]
    assert len(after) == orders
    assert person.get("/api/signals/").get_json()["total"] == 1


def test_a_dry_run_of_a_bad_alert_says_why_it_is_refused(person: Person) -> None:
    signal_id = things.alert(person, things.recorder(person), "good morning")

    page = words(person.client.get(f"/signals/{signal_id}/dry-run/").text)

    assert "The webhook would refuse it" in page
