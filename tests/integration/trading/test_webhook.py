"""The webhook: what is answered, what is stored, what happens twice only once."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import gevent
import pytest
import time_machine
from apiflask import APIFlask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from app import clock
from app.domain.settings import parse_strategy
from app.extensions import lifecycle, writer
from app.models import AlertKey, Event, Execution, Signal
from app.services import passphrases
from tests import factories

TOKEN = "a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6"
BUY = {"action": "buy", "symbol": "MNQ1!", "price": "21442.00"}

Post = Callable[..., TestResponse]


@pytest.fixture
def post(client: FlaskClient) -> Post:
    def post(body: Any, *, token: str = TOKEN, slash: bool = True, **options: Any) -> TestResponse:
        data = json.dumps(body) if isinstance(body, dict | list) else body
        path = f"/webhook/my-strategy-{token}" + ("/" if slash else "")
        return client.post(path, data=data, **options)

    return post


@pytest.fixture
def strategy(app: APIFlask) -> Any:
    return factories.strategy(factories.user(), token=TOKEN)


def all_of(model: Any) -> list[Any]:
    with writer.read() as connection:
        return list(connection.execute(select(model.__table__).order_by(model.__table__.c[0])))


def count(model: Any) -> int:
    with writer.read() as connection:
        return connection.scalar(select(func.count()).select_from(model)) or 0


def test_an_alert_is_stored_with_one_execution_per_enabled_trader(
    strategy: Any, post: Post
) -> None:
    owner = factories.user()
    on = [factories.trader(strategy, factories.account(owner)) for _ in range(2)]
    factories.trader(strategy, factories.account(owner), enabled=False)

    answer = post(BUY)

    assert answer.status_code == 202
    assert answer.json is not None
    assert answer.json["status"] == "accepted"
    assert answer.json["signals"][0]["action"] == "buy"
    [signal] = all_of(Signal)
    assert signal.id == answer.json["signal_id"]
    assert {e.trader_id for e in all_of(Execution)} == {t.id for t in on}


@pytest.mark.parametrize("slash", [True, False])
def test_both_spellings_of_the_address_answer_without_a_redirect(
    strategy: Any, post: Post, slash: bool
) -> None:
    assert post(BUY, slash=slash).status_code == 200


def test_the_same_alert_within_the_window_is_a_duplicate_of_the_first(
    strategy: Any, post: Post
) -> None:
    factories.trader(strategy, factories.account(factories.user()))
    first = post(BUY).json

    again = post(BUY)

    assert again.status_code == 200
    assert first is not None
    assert again.json is not None
    assert (again.json["status"], again.json["of"]) == ("duplicate", first["signal_id"])
    assert count(Execution) == 1
    assert [s.status for s in all_of(Signal)] == ["accepted", "duplicate"]


def test_the_same_alert_four_times_at_once_is_one_trade(strategy: Any, post: Post) -> None:
    factories.trader(strategy, factories.account(factories.user()))

    answers = [gevent.spawn(post, BUY) for _ in range(4)]
    gevent.joinall(answers, timeout=10, raise_error=True)

    statuses = sorted(a.value.json["status"] for a in answers)
    assert statuses == ["accepted", "duplicate", "duplicate", "duplicate"]
    assert count(Execution) == 1


def test_two_fills_of_one_bar_in_the_same_second_are_two_trades(strategy: Any, post: Post) -> None:
    factories.trader(strategy, factories.account(factories.user()))
    now = clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")

    first = post({**BUY, "order_id": "Long 1", "time": now})
    second = post({**BUY, "order_id": "Long 2", "time": now})

    assert (first.status_code, second.status_code) == (202, 202)
    assert count(Execution) == 2


def test_after_the_window_the_same_words_are_a_new_alert(strategy: Any, post: Post) -> None:
    factories.trader(strategy, factories.account(factories.user()))
    post(BUY)

    with time_machine.travel(clock.now() + timedelta(seconds=31), tick=True):
        later = post(BUY)

    assert later.status_code == 202


def test_a_duplicate_does_not_extend_the_window(strategy: Any, post: Post) -> None:
    factories.trader(strategy, factories.account(factories.user()))
    post(BUY)
    start = clock.now()
    with time_machine.travel(start + timedelta(seconds=20), tick=True):
        assert post(BUY).status_code == 200

    with time_machine.travel(start + timedelta(seconds=31), tick=True):
        assert post(BUY).status_code == 202


def test_a_body_with_its_firing_time_stays_a_duplicate_for_a_day(strategy: Any, post: Post) -> None:
    factories.trader(strategy, factories.account(factories.user()))
    body = {**BUY, "timenow": clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")}
    post(body)

    with time_machine.travel(clock.now() + timedelta(hours=23), tick=True):
        again = post(body)

    assert again.json is not None
    assert again.json["status"] == "duplicate"


def test_a_strategy_that_is_off_ignores_but_keeps_the_alert(app: APIFlask, post: Post) -> None:
    off = factories.strategy(factories.user(), token=TOKEN, enabled=False)
    factories.trader(off, factories.account(factories.user()))

    answer = post(BUY)

    assert answer.status_code == 200
    assert answer.json is not None
    assert (answer.json["status"], answer.json["reason"]) == ("ignored", "strategy_off")
    assert count(Execution) == 0
    assert [s.status for s in all_of(Signal)] == ["ignored"]


def test_without_a_trader_the_alert_is_ignored_with_that_reason(strategy: Any, post: Post) -> None:
    answer = post(BUY)

    assert answer.json is not None
    assert answer.json["reason"] == "no_trader"
    assert count(AlertKey) == 0


def test_a_bad_alert_says_which_field_and_is_kept(strategy: Any, post: Post) -> None:
    answer = post({**BUY, "contracts": "NaN"})

    assert answer.status_code == 400
    assert answer.mimetype == "application/problem+json"
    assert answer.json is not None
    assert (answer.json["code"], answer.json["field"]) == ("bad_quantity", "contracts")
    [kept] = all_of(Signal)
    assert (kept.status, kept.reason, kept.answer) == ("rejected", "bad_quantity", 400)
    assert "NaN" in kept.raw_body


def with_settings(token: str, **settings: Any) -> Any:
    owner = factories.user()
    columns = passphrases.columns(owner.id, parse_strategy(settings))
    strategy = factories.strategy(owner, token=token, **columns)
    factories.trader(strategy, factories.account(factories.user()))
    return strategy


def test_a_wrong_passphrase_is_refused_and_no_secret_is_stored(app: APIFlask, post: Post) -> None:
    with_settings(TOKEN, passphrase="open-sesame-123")

    wrong = post({**BUY, "passphrase": "planted-guess"})
    right = post({**BUY, "passphrase": "open-sesame-123"})

    assert (wrong.status_code, right.status_code) == (401, 202)
    stored = "".join(s.raw_body + str(s.parsed) for s in all_of(Signal))
    assert "planted-guess" not in stored
    assert "open-sesame-123" not in stored


def test_an_address_that_is_not_on_the_list_is_refused(app: APIFlask, post: Post) -> None:
    with_settings(TOKEN, allowed_sources=["52.89.214.238"])

    other = post(BUY, environ_base={"REMOTE_ADDR": "10.1.2.3"})
    theirs = post(BUY, environ_base={"REMOTE_ADDR": "52.89.214.238"})

    assert (other.status_code, theirs.status_code) == (403, 202)
    assert other.json is not None
    assert other.json["code"] == "ip_not_allowed"


def test_an_unknown_token_is_not_found_and_stores_nothing(strategy: Any, post: Post) -> None:
    answer = post(BUY, token="z" * 32)

    assert answer.status_code == 404
    assert answer.json is not None
    assert answer.json["code"] == "unknown_webhook"
    assert count(Signal) == 0


def test_many_wrong_tokens_are_limited_but_the_right_one_is_not(strategy: Any, post: Post) -> None:
    answers = [post(BUY, token=f"{n:032d}").status_code for n in range(80)]

    assert 429 in answers
    assert post(BUY).status_code == 200


def test_a_body_over_64_kib_is_refused_and_noted(strategy: Any, post: Post) -> None:
    answer = post(b"x" * (64 * 1024 + 1))

    assert answer.status_code == 413
    assert answer.json is not None
    assert answer.json["code"] == "body_too_large"
    assert [s.reason for s in all_of(Signal)] == ["body_too_large"]


def test_only_post_is_taken(strategy: Any, client: FlaskClient) -> None:
    answer = client.get(f"/webhook/my-strategy-{TOKEN}/")

    assert answer.status_code == 405
    assert answer.mimetype == "application/problem+json"
    assert answer.json is not None
    assert answer.json["code"] == "method_not_allowed"


def test_while_stopping_nothing_is_accepted(strategy: Any, post: Post) -> None:
    lifecycle.accepting = False
    try:
        answer = post(BUY)
    finally:
        lifecycle.accepting = True

    assert answer.status_code == 503
    assert count(Signal) == 0


def test_a_change_of_the_strategy_is_seen_by_the_next_alert(strategy: Any, post: Post) -> None:
    factories.trader(strategy, factories.account(factories.user()))
    post(BUY)

    def switch_off(tx: Any) -> None:
        row = tx.session.get(type(strategy), strategy.id)
        row.enabled, row.version = False, row.version + 1

    writer.run(switch_off)
    answer = post({**BUY, "price": "1"})

    assert answer.json is not None
    assert answer.json["reason"] == "strategy_off"


def test_several_orders_in_one_alert_are_several_executions_in_order(
    strategy: Any, post: Post
) -> None:
    factories.trader(strategy, factories.account(factories.user()))

    post([{"action": "close", "symbol": "MNQ1!"}, BUY])

    assert [e.index_in_alert for e in all_of(Execution)] == [0, 1]


def test_every_alert_is_an_event_of_its_owner(strategy: Any, post: Post) -> None:
    post(BUY)
    post("AAPL Crossing 230.00")

    events = [e for e in all_of(Event) if e.type == "signal"]
    assert [e.data["status"] for e in events] == ["ignored", "rejected"]
    assert {e.user_id for e in events} == {strategy.user_id}
    assert [e.seq for e in events] == [1, 2]
