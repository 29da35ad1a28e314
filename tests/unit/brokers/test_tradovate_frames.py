"""Frames as the pages show them, and what a bad line or a newer server could send instead."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.brokers.tradovate import frames
from app.brokers.tradovate.frames import BadFrame, Event, Frame, Kind, Reply


def messages(value: Any) -> tuple[frames.Message, ...]:
    return frames.parse("a" + json.dumps(value)).messages


# What comes in.


@pytest.mark.parametrize(("text", "kind"), [("o", Kind.OPEN), ("h", Kind.HEARTBEAT)])
def test_the_frames_of_one_letter(text: str, kind: Kind) -> None:
    assert frames.parse(text) == Frame(kind)


def test_several_messages_come_in_one_frame_in_their_order() -> None:
    found = messages([{"s": 200, "i": 0}, {"e": "props", "d": {}}, {"i": 26, "s": 404, "d": "no"}])

    assert found == (Reply(0, 200), Event("props", {}), Reply(26, 404, "no"))


def test_numbers_with_a_point_keep_their_digits() -> None:
    frame = frames.parse('a[{"e":"props","d":{"price":5001.10,"id":9007199254740993}}]')

    (event,) = frame.messages
    assert event.data == {"price": Decimal("5001.10"), "id": 9007199254740993}
    assert str(event.data["price"]) == "5001.10"


def test_a_number_that_is_none_is_no_value() -> None:
    assert messages([{"e": "props", "d": {"price": float("nan"), "other": float("inf")}}]) == (
        Event("props", {"price": None, "other": None}),
    )


def test_a_reply_without_a_status_is_not_good() -> None:
    (reply,) = messages([{"i": 1, "d": {}}])

    assert isinstance(reply, Reply)
    assert not reply.is_good


@pytest.mark.parametrize("message", [{}, {"x": 1}, {"e": 5}, {"i": "one"}])
def test_a_message_of_an_unknown_kind_is_passed_over(message: dict[str, Any]) -> None:
    assert messages([message, {"e": "props"}]) == (Event("props"),)


@pytest.mark.parametrize(
    ("text", "reason"),
    [('c[3000,"Go away!"]', "Go away!"), ("c[1000]", ""), ("c", ""), ('c[3000,"Go', "")],
)
def test_a_close_frame_closes_whatever_it_says(text: str, reason: str) -> None:
    assert frames.parse(text) == Frame(Kind.CLOSE, reason=reason)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "oo",
        "a",
        "a{}",
        "a[1]",
        "a[[]]",
        'a["text"]',
        'a[{"e":"props","d":{"entityType":"ord',
        '[{"e":"props"}]',
        "<html><body>Maintenance</body></html>",
        "a" + "[" * 100_000,
        "a[" + "9" * 5000 + "]",
        "a[1e99999999999999999999]",
    ],
)
def test_what_is_no_frame_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(BadFrame) as refused:
        frames.parse(text)

    assert len(str(refused.value)) < 40


@given(st.text() | st.text().map(lambda rest: "a[" + rest))
def test_no_text_does_worse_than_be_refused(text: str) -> None:
    try:
        frames.parse(text)
    except BadFrame:
        return


# Events.


def test_an_event_is_about_one_entity_or_about_several() -> None:
    one = {"entityType": "order", "eventType": "Created", "entity": {"id": 1}}
    several = {"entityType": "fill", "eventType": "Updated", "entity": [{"id": 2}, {"id": 3}]}

    assert frames.changes(one) == [("order", "Created", {"id": 1})]
    assert frames.changes(several) == [
        ("fill", "Updated", {"id": 2}),
        ("fill", "Updated", {"id": 3}),
    ]


def test_types_and_values_that_nobody_knows_pass() -> None:
    data = {"entityType": "novelty", "eventType": "Merged", "entity": {"mood": "Elated"}}

    assert frames.changes(data) == [("novelty", "Merged", {"mood": "Elated"})]


@pytest.mark.parametrize(
    "data",
    [
        None,
        "text",
        [],
        {},
        {"entityType": 1, "eventType": "Created", "entity": {}},
        {"entityType": "order", "eventType": "Created"},
        {"entityType": "order", "eventType": "Created", "entity": [None, 1, "x"]},
    ],
)
def test_an_event_that_says_nothing_changes_nothing(data: Any) -> None:
    assert frames.changes(data) == []


# Snapshots.


def test_the_arrays_of_a_snapshot_are_changes_of_their_entities() -> None:
    part = {
        "accountRiskStatuses": [{"id": 1}],
        "cashBalances": [{"id": 2}],
        "contractMaturities": [{"id": 3}],
        "orderStrategies": [{"id": 4}],
        "fills": [{"id": 5}, "nonsense"],
        "novelties": [{"id": 6}],
        "count": 7,
    }

    assert list(frames.entities(part)) == [
        ("accountRiskStatus", "Updated", {"id": 1}),
        ("cashBalance", "Updated", {"id": 2}),
        ("contractMaturity", "Updated", {"id": 3}),
        ("orderStrategy", "Updated", {"id": 4}),
        ("fill", "Updated", {"id": 5}),
        ("novelty", "Updated", {"id": 6}),
    ]


@pytest.mark.parametrize("part", [None, "denied", []])
def test_what_is_no_snapshot_has_no_entities(part: Any) -> None:
    assert list(frames.entities(part)) == []
    assert not frames.has_wanted_arrays(part)


def test_an_empty_array_of_what_we_asked_for_is_an_answer() -> None:
    assert frames.has_wanted_arrays({"users": [], "orderStrategies": []})
    assert not frames.has_wanted_arrays({"users": [{"id": 1}], "contractGroups": []})


# What goes out.


def test_a_request_has_four_lines_whatever_is_empty() -> None:
    assert frames.request("authorize", 0, body="secret") == "authorize\n0\n\nsecret"
    assert frames.request("account/list", 1) == "account/list\n1\n\n"
    assert frames.request("x/ldeps", 8, query="masterids=1") == "x/ldeps\n8\nmasterids=1\n"


def test_a_body_stands_on_one_line() -> None:
    text = frames.request("user/syncrequest", 1, body={"users": [7], "p-ticket": "a\nb"})

    assert text.count("\n") == 3
    assert json.loads(text.split("\n", 3)[3]) == {"users": [7], "p-ticket": "a\nb"}


def test_the_request_of_2026_names_accounts_and_types_and_no_users() -> None:
    body = frames.sync_body([33, 34])

    assert set(body) == {"splitResponses", "accounts", "entityTypes"}
    assert body["splitResponses"] is True
    assert {"fill", "fillFee", "order", "orderVersion", "position"} <= set(body["entityTypes"])
    assert frames.old_sync_body(90) == {"users": [90]}


def test_a_ticket_goes_with_the_request_it_was_given_for() -> None:
    assert frames.sync_body([33], ticket="abc")["p-ticket"] == "abc"
    assert frames.old_sync_body(90, ticket="abc") == {"users": [90], "p-ticket": "abc"}
