"""Traders by their pages alone: added, overridden, switched, closed, deleted."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask

from tests.integration.pages import things
from tests.integration.pages.things import words
from tests.people import Person, register


@pytest.fixture
def person(app: Flask) -> Person:
    return register(app)


@pytest.fixture
def trader(person: Person) -> int:
    recorder_id = things.recorder(
        person, entry_quantity="2", take_profits=[{"distance": "80"}], stop_loss={"distance": "60"}
    )
    return things.trader(person, recorder_id, things.account(person))


def _overrides(person: Person, trader_id: int) -> dict[str, Any]:
    stored = person.get(f"/api/traders/{trader_id}/").get_json()["overrides"]
    return {name: value for name, value in stored.items() if name != "version"}


def _row(page: str, name: str) -> str:
    return page.split(f'id="row-{name}"')[1].split('id="row-')[0]


def _fields(page: str) -> dict[str, str]:
    """What a browser would send back of the form, untouched."""
    form = page.split('id="overrides-form"')[1].split("</form>")[0]
    found: dict[str, str] = {}
    for tag in re.findall(r"<input[^>]*name=\"overrides[^>]*>", form):
        value = re.search(r'value="([^"]*)"', tag)
        found[re.search(r'name="([^"]+)"', tag)[1]] = value[1] if value else ""  # type: ignore[index]
    for name, options in re.findall(r'<select[^>]*name="([^"]+)"[^>]*>(.*?)</select>', form, re.S):
        chosen = re.search(r'value="([^"]*)" selected', options)
        found[name] = chosen[1] if chosen else ""
    return found


def test_without_strategies_the_page_says_what_to_make_first(person: Person) -> None:
    assert "No strategy yet" in person.client.get("/traders/").text


def test_a_strategy_that_trades_nowhere_is_shown_so(person: Person) -> None:
    things.recorder(person, "Lonely")

    page = words(person.client.get("/traders/").text)

    assert "Lonely Trades nowhere." in page


def test_a_trader_is_added_by_the_form(person: Person) -> None:
    chosen = {"strategy_id": things.recorder(person), "account_id": things.account(person)}

    answer = person.form("/traders/new/", on="1", **{k: str(v) for k, v in chosen.items()})

    assert answer.status_code == 303
    [made] = person.get("/api/traders/").get_json()["items"]
    assert made["enabled"] is True
    assert {name: made[name] for name in chosen} == chosen


def test_the_same_pair_twice_is_refused_with_both_names(person: Person, trader: int) -> None:
    made = person.get(f"/api/traders/{trader}/").get_json()

    answer = person.form(
        "/traders/new/",
        strategy_id=str(made["strategy_id"]),
        account_id=str(made["account_id"]),
    )

    assert answer.status_code == 409
    assert "“NQ Trend” already trades on “Paper USD”." in words(answer.text)


def test_the_list_says_how_large_and_with_which_exits(person: Person, trader: int) -> None:
    page = words(person.client.get("/traders/").text)

    assert "target 80 ticks, stop 60 ticks" in page
    assert "inherits everything" in page
    assert "1 of 1 on" in page


def test_what_is_inherited_stands_as_placeholder(person: Person, trader: int) -> None:
    row = _row(person.client.get(f"/traders/{trader}/").text, "entry_quantity")

    assert 'placeholder="2"' in row
    assert 'value=""' in row
    assert "From strategy" in row
    assert "is-over" not in row


def test_saving_an_untouched_form_overrides_nothing(person: Person, trader: int) -> None:
    fields = _fields(person.client.get(f"/traders/{trader}/").text)

    answer = person.form(f"/traders/{trader}/", **fields)

    assert answer.status_code == 303
    assert _overrides(person, trader) == {}


def test_zero_is_a_value_and_empty_inherits_again(person: Person, trader: int) -> None:
    person.form(
        f"/traders/{trader}/",
        **{"overrides.add_quantity": "0", "overrides.entry_quantity": "5"},
    )
    first = _overrides(person, trader)
    page = person.client.get(f"/traders/{trader}/").text

    person.form(f"/traders/{trader}/", **{"overrides.add_quantity": "0"})

    assert first == {"add_quantity": "0", "entry_quantity": "5"}
    assert "Strategy says 2" in _row(page, "entry_quantity")
    assert _overrides(person, trader) == {"add_quantity": "0"}


def test_a_form_sent_back_keeps_what_is_overridden(person: Person, trader: int) -> None:
    own = {
        "overrides.stop_loss.mode": "off",
        "overrides.take_profits.mode": "own",
        "overrides.take_profits.0.distance": "33",
        "overrides.take_profits.0.unit": "points",
        "overrides.direction": "short",
    }
    person.form(f"/traders/{trader}/", **own)
    before = _overrides(person, trader)
    fields = _fields(person.client.get(f"/traders/{trader}/").text)

    person.form(f"/traders/{trader}/", **fields)

    assert before["stop_loss"] == "off"
    assert before["direction"] == "short"
    assert before["take_profits"][0]["distance"] == "33"
    assert before["take_profits"][0]["unit"] == "points"
    assert _overrides(person, trader) == before


def test_typing_a_part_overrides_without_the_choice_before_it(person: Person, trader: int) -> None:
    person.form(f"/traders/{trader}/", **{"overrides.stop_loss.distance": "40"})

    assert _overrides(person, trader)["stop_loss"]["distance"] == "40"


def test_every_fault_stands_beside_its_field_and_nothing_is_saved(
    person: Person, trader: int
) -> None:
    wrong = {"overrides.entry_quantity": "0", "overrides.stop_loss.distance": "near"}

    answer = person.form(f"/traders/{trader}/", **wrong)

    assert answer.status_code == 422
    assert "2 settings need a change" in answer.text
    assert "jt-error" in _row(answer.text, "entry_quantity")
    assert 'value="near"' in _row(answer.text, "stop_loss")
    assert _overrides(person, trader) == {}


def test_the_effect_is_of_the_values_in_the_form(person: Person, trader: int) -> None:
    typed = person.form(f"/traders/{trader}/effect/", **{"overrides.entry_quantity": "7"})
    wrong = person.form(f"/traders/{trader}/effect/", **{"overrides.entry_quantity": "x"})

    assert "buy 7 MNQ" in typed.text
    assert "Entry quantity: should be" in wrong.text
    assert _overrides(person, trader) == {}


def test_the_switch_of_the_page_acts(person: Person, trader: int) -> None:
    person.form(f"/traders/{trader}/toggle/", on="0")
    off = person.get(f"/api/traders/{trader}/").get_json()["enabled"]
    person.form(f"/traders/{trader}/toggle/", on="1")

    assert off is False
    assert person.get(f"/api/traders/{trader}/").get_json()["enabled"] is True


def test_a_trader_that_holds_something_is_closed_before_it_is_deleted(
    person: Person, trader: int
) -> None:
    strategy_id = person.get(f"/api/traders/{trader}/").get_json()["strategy_id"]
    things.finished(person, things.alert(person, strategy_id))

    refused = person.form(f"/traders/{trader}/delete/")
    closed = person.form(f"/traders/{trader}/close/")
    deleted = person.form(f"/traders/{trader}/delete/")

    assert refused.status_code == 409
    assert "The trader was not deleted." in refused.text
    assert closed.status_code == 303
    assert deleted.status_code == 303
    assert person.client.get(f"/traders/{trader}/").status_code == 404


def test_a_switch_that_leaves_a_position_alone_asks_first(person: Person, trader: int) -> None:
    strategy_id = person.get(f"/api/traders/{trader}/").get_json()["strategy_id"]
    before = person.client.get("/traders/").text
    things.finished(person, things.alert(person, strategy_id))

    after = words(person.client.get("/traders/").text)

    assert "Switch off NQ Trend" not in before
    assert "Long 2" in after
    assert "Switch off NQ Trend on Paper USD?" in person.client.get("/traders/").text
