"""Recorders by their pages alone: made, changed, tested, copied, ended, without JavaScript."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from flask import Flask

from app.domain.settings import describe
from app.models import Account
from tests import factories
from tests.people import Person, register

BASICS = {"name": "NQ Trend", "symbol": "mnq1!", "enabled": "1", "recording": "1"}


@pytest.fixture
def person(app: Flask) -> Person:
    return register(app)


def _make(person: Person, **fields: str) -> int:
    answer = person.form("/recorders/new/", **{**BASICS, **fields})
    assert answer.status_code == 303, answer.text
    return int(answer.location.rstrip("/").rpartition("/")[2])


def _settings(person: Person, recorder_id: int) -> dict[str, Any]:
    settings: dict[str, Any] = person.get(f"/api/recorders/{recorder_id}/").get_json()["settings"]
    return settings


def _fields(page: str) -> dict[str, str]:
    """What the browser would send back of the form, unchanged."""
    form = page[page.index('id="recorder-form"') :]
    found: dict[str, str] = {}
    for tag in re.findall(r"<input[^>]*>", form):
        name = re.search(r'name="([^"]+)"', tag)
        value = re.search(r'value="([^"]*)"', tag)
        is_box = 'type="radio"' in tag or 'type="checkbox"' in tag
        if name and (not is_box or " checked" in tag):
            found[name[1]] = value[1] if value else ""
    for name, options in re.findall(r'<select[^>]*name="([^"]+)"[^>]*>(.*?)</select>', form, re.S):
        chosen = re.search(r'value="([^"]*)" selected', options)
        found[name] = chosen[1] if chosen else ""
    return found


def test_without_recorders_the_page_says_what_one_is(person: Person) -> None:
    page = person.client.get("/recorders/").text

    assert "No recorder yet" in page
    assert 'href="/recorders/new/"' in page


def test_the_form_has_every_setting_with_its_help(person: Person) -> None:
    page = person.client.get("/recorders/new/").text

    for info in describe():
        assert f'id="row-{info.name}"' in page
        assert f'id="settings.{info.name}-help"' in page


def test_a_recorder_is_made_with_what_the_form_says(person: Person) -> None:
    recorder_id = _make(
        person,
        **{
            "settings.entry_quantity": "3",
            "settings.stop_loss.distance": "20",
            "settings.stop_loss.unit": "points",
            "settings.take_profits.0.distance": "80",
            "settings.symbol_map": "NQ = MNQ, ES = MES",
            "settings.allowed_symbols": "MNQ, MES",
            "settings.inverse": "1",
        },
    )

    made = person.get(f"/api/recorders/{recorder_id}/").get_json()
    settings = made["settings"]
    assert (made["name"], made["symbol"], made["status"]) == ("NQ Trend", "MNQ1!", "recording")
    assert settings["entry_quantity"] == "3"
    assert settings["stop_loss"] == {"distance": "20", "unit": "points"}
    assert settings["take_profits"][0]["distance"] == "80"
    assert settings["symbol_map"] == {"NQ": "MNQ", "ES": "MES"}
    assert settings["allowed_symbols"] == ["MNQ", "MES"]
    assert settings["inverse"] is True


def test_an_account_chosen_in_the_form_trades_it(person: Person) -> None:
    owner: Any = person
    account: Account = factories.account(owner, name="Paper USD")

    recorder_id = _make(person, trade_on=str(account.id))

    traders = person.get("/api/traders/").get_json()["items"]
    assert [(t["strategy_id"], t["account_id"]) for t in traders] == [(recorder_id, account.id)]


def test_every_fault_stands_beside_its_field_and_nothing_is_lost(person: Person) -> None:
    wrong = {"settings.entry_quantity": "0", "settings.stop_loss.distance": "near", "name": "  "}

    answer = person.form("/recorders/new/", **{**BASICS, **wrong})

    assert answer.status_code == 422
    assert "3 settings need a change" in answer.text
    for name in ("name", "settings.entry_quantity", "settings.stop_loss.distance"):
        assert f'id="{name}-error"' in answer.text
    assert 'value="near"' in answer.text
    assert person.get("/api/recorders/").get_json()["total"] == 0


def test_settings_that_contradict_each_other_are_refused_as_by_the_api(person: Person) -> None:
    answer = person.form("/recorders/new/", **BASICS, **{"settings.sizing": "risk"})

    assert answer.status_code == 422
    assert "Is required when sizing is risk." in answer.text


def test_saving_an_untouched_form_changes_nothing(person: Person) -> None:
    recorder_id = _make(
        person, **{"settings.stop_loss.distance": "20", "settings.passphrase": "swordfish"}
    )
    before = _settings(person, recorder_id)
    page = person.client.get(f"/recorders/{recorder_id}/edit/").text
    fields = _fields(page)
    fields.pop("csrf_token")

    answer = person.form(f"/recorders/{recorder_id}/edit/", **fields)

    assert answer.status_code == 303
    assert _settings(person, recorder_id) == before
    assert before["passphrase"] == "set"
    assert "swordfish" not in page


def test_a_passphrase_is_removed_by_its_box(person: Person) -> None:
    recorder_id = _make(person, **{"settings.passphrase": "swordfish"})

    person.form(f"/recorders/{recorder_id}/edit/", **BASICS, **{"settings.passphrase.clear": "1"})

    assert _settings(person, recorder_id)["passphrase"] is None


def test_the_column_says_what_a_buy_would_do_with_unsaved_settings(person: Person) -> None:
    sent = {**BASICS, "settings.entry_quantity": "2", "settings.stop_loss.distance": "60"}

    column = person.form("/recorders/effect/", **sent).text

    assert "From flat: buy 2 MNQ" in column
    assert "Stop 60 ticks below the fill." in column
    assert "\N{MINUS SIGN}$60.00" in column


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("settings.entry_quantity", "0", "Entry quantity: Should be greater than 0."),
        ("symbol", "", "Each alert names what to trade."),
        ("settings.direction", "short", "A buy opens nothing"),
        ("settings.sizing", "signal", "The alert says how many."),
        ("settings.stop_loss.distance", "", "No stop is set."),
    ],
)
def test_the_column_says_why_where_nothing_would_be_bought(
    person: Person, field: str, value: str, words: str
) -> None:
    column = person.form("/recorders/effect/", **{**BASICS, field: value}).text

    assert words in column


def test_the_page_has_the_address_and_the_text_to_paste(person: Person) -> None:
    recorder_id = _make(person)

    page = person.client.get(f"/recorders/{recorder_id}/").text

    assert re.search(r'data-copy="http://localhost/webhook/nq-trend-[a-z0-9]{26,}/"', page)
    assert "{{strategy.market_position}}" in page
    assert 'data-copy-from="alert-text"' in page


def test_a_test_alert_is_answered_in_words_and_stores_nothing(person: Person) -> None:
    assert person.form("/guide/account/").status_code == 303
    account = person.get("/api/accounts/").get_json()["items"][0]
    recorder_id = _make(person, trade_on=str(account["id"]))

    page = person.form(
        f"/recorders/{recorder_id}/test-alert/", body='{"action": "buy", "ticker": "MNQ1!"}'
    ).text

    assert "Understood: buy MNQ1!." in page
    assert "Would trade" in page
    assert "Flat \N{RIGHTWARDS ARROW} long 1" in page
    assert person.get("/api/signals/").get_json()["total"] == 0


def test_a_test_alert_that_is_not_understood_says_what_the_webhook_would_answer(
    person: Person,
) -> None:
    recorder_id = _make(person)

    page = person.form(f"/recorders/{recorder_id}/test-alert/", body="<b>hello</b>").text

    assert "It would be answered with 400" in page
    assert "&lt;b&gt;hello&lt;/b&gt;" in page


@pytest.mark.parametrize(
    ("act", "field", "value"),
    [
        ("stop", "status", "stopped"),
        ("start", "status", "recording"),
        ("disable", "enabled", False),
        ("enable", "enabled", True),
    ],
)
def test_a_button_switches_without_javascript(
    person: Person, act: str, field: str, value: object
) -> None:
    recorder_id = _make(person)

    answer = person.form(f"/recorders/{recorder_id}/{act}/")

    assert answer.status_code == 303
    assert person.get(f"/api/recorders/{recorder_id}/").get_json()[field] == value


def test_a_new_address_replaces_the_old_one(person: Person) -> None:
    recorder_id = _make(person)
    before = person.get(f"/api/recorders/{recorder_id}/").get_json()["webhook_url"]

    person.form(f"/recorders/{recorder_id}/rotate-webhook/")

    page = person.client.get(f"/recorders/{recorder_id}/").text
    assert before not in page
    assert person.client.post(before.removeprefix("http://localhost")).status_code == 404


def test_what_was_exported_is_imported_with_an_address_of_its_own(person: Person) -> None:
    recorder_id = _make(person, **{"settings.stop_loss.distance": "20"})
    exported = person.client.get(f"/recorders/{recorder_id}/export/")

    file = (io.BytesIO(exported.data), "nq-trend.json")
    answer = person.client.post(
        "/recorders/import/", data={"csrf_token": person.csrf, "file": file}
    )

    assert "attachment" in exported.headers["Content-Disposition"]
    rows = person.get("/api/recorders/").get_json()["items"]
    assert answer.status_code == 303
    assert [row["settings"]["stop_loss"] for row in rows] == [
        {"distance": "20", "unit": "ticks"}
    ] * 2
    assert rows[0]["webhook_url"] != rows[1]["webhook_url"]


@pytest.mark.parametrize("body", [b"", b"{", json.dumps({"format": "other"}).encode(), b"[1]"])
def test_a_file_that_is_not_ours_is_refused_with_words(person: Person, body: bytes) -> None:
    data = {"csrf_token": person.csrf, "file": (io.BytesIO(body), "x.json")}

    answer = person.client.post("/recorders/import/", data=data)

    assert answer.status_code == 422
    assert "The file was not imported." in answer.text


def test_a_clone_stands_beside_the_original(person: Person) -> None:
    recorder_id = _make(person)

    answer = person.form(f"/recorders/{recorder_id}/clone/")

    assert answer.status_code == 303
    assert "NQ Trend copy" in person.client.get("/recorders/").text


def test_a_deleted_recorder_is_gone_from_the_list(person: Person) -> None:
    recorder_id = _make(person)

    answer = person.form(f"/recorders/{recorder_id}/delete/")

    assert answer.location == "/recorders/"
    assert "No recorder yet" in person.client.get("/recorders/").text
    assert person.client.get(f"/recorders/{recorder_id}/").status_code == 404


@pytest.mark.parametrize("path", ["", "edit/", "export/"])
def test_the_recorder_of_somebody_else_is_not_there(app: Flask, person: Person, path: str) -> None:
    recorder_id = _make(person)
    stranger = register(app, "mallory")

    assert stranger.client.get(f"/recorders/{recorder_id}/{path}").status_code == 404


@pytest.mark.parametrize(
    "act",
    [
        "edit",
        "start",
        "stop",
        "enable",
        "disable",
        "rotate-webhook",
        "clone",
        "delete",
        "test-alert",
    ],
)
def test_nobody_acts_on_the_recorder_of_somebody_else(app: Flask, person: Person, act: str) -> None:
    recorder_id = _make(person)
    before = person.get(f"/api/recorders/{recorder_id}/").get_json()
    stranger = register(app, "mallory")

    answer = stranger.form(f"/recorders/{recorder_id}/{act}/", **BASICS)

    assert answer.status_code == 404
    assert person.get(f"/api/recorders/{recorder_id}/").get_json() == before


def test_a_recorder_cannot_be_made_to_trade_on_somebody_elses_account(
    app: Flask, person: Person
) -> None:
    owner: Any = register(app, "mallory")
    account = factories.account(owner)

    answer = person.form("/recorders/new/", **BASICS, trade_on=str(account.id))

    assert answer.status_code == 404
    assert person.get("/api/recorders/").get_json()["total"] == 0
