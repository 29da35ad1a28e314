"""What a recorder's own book makes is seen where people look: list, page, JSON, events."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask

from app import clock
from app.brokers import registry
from app.domain.trading import BrokerFill, BrokerReport, Side
from app.extensions import db, writer
from app.models import Account, BrokerLogin, Event
from app.services import fills
from app.services.recorder import recorder as polls
from tests import factories
from tests.integration.pages import things
from tests.people import Person, register


@pytest.fixture
def person(app: Flask) -> Person:
    return register(app)


def _watched(app: Flask, person: Person) -> tuple[int, int]:
    """A recorder and its demo account, which nobody here trades on."""
    account_id = things.account(person)
    body = {"name": "Watcher", "demo_account_id": account_id, "recording_enabled": True}
    made = person.post("/api/recorders/", body).get_json()
    assert made["status"] == "recording"
    return int(made["id"]), account_id


def _tell(app: Flask, account_id: int, *sides: Side, price: int = 20000, step: int = 10) -> None:
    """Fills of somebody else, one after the other, each ``step`` higher."""
    with app.app_context():
        account = db.session.get(Account, account_id)
        assert account is not None
        ref = registry.ref(account)
    begun = clock.now() - timedelta(seconds=len(sides))
    told = tuple(
        BrokerFill(
            f"f{price}-{n}",
            None,
            f"b{price}-{n}",
            "MNQZ6",
            side,
            Decimal(1),
            Decimal(price + n * step),
            Decimal("0.5"),
            begun + timedelta(seconds=n),
        )
        for n, side in enumerate(sides)
    )
    writer.run(lambda tx: fills.apply(tx, ref, BrokerReport(fills=told), source="poll"))


def test_the_list_and_the_page_show_what_the_recorder_closed(app: Flask, person: Person) -> None:
    recorder_id, account_id = _watched(app, person)

    _tell(app, account_id, Side.BUY, Side.SELL, Side.BUY)

    listed = things.words(person.client.get("/recorders/").text)
    assert "Recording" in listed
    assert "+$19.00" in listed
    page = person.client.get(f"/recorders/{recorder_id}/").text
    assert "+$19.00" in page
    assert re.search(r'id="open-\d+".*?External', page)


def test_the_page_renews_its_figures_with_every_trade(app: Flask, person: Person) -> None:
    recorder_id, account_id = _watched(app, person)
    for path in ("/recorders/", f"/recorders/{recorder_id}/"):
        page = person.client.get(path).text
        assert re.search(r'data-reload-on="[^"]*\btrade trade:removed\b', page)

    _tell(app, account_id, Side.BUY, Side.SELL)

    with app.app_context():
        [event] = [e.data for e in db.session.query(Event).filter_by(type="trade")]
    assert (event["strategy_id"], event["net"]) == (recorder_id, "19")
    figures = person.get(f"/api/analytics/strategy/{recorder_id}/").get_json()["summary"]
    assert (figures["trades"], figures["pnl_all"], figures["win_rate"]) == (1, "19", "1")


def test_positions_say_that_they_are_external(app: Flask, person: Person) -> None:
    recorder_id, account_id = _watched(app, person)

    _tell(app, account_id, Side.BUY)

    [position] = person.get(f"/api/recorders/{recorder_id}/positions/").get_json()["items"]
    assert (position["is_external"], position["source"]) == (True, "poll")
    with app.app_context():
        [event] = [e.data for e in db.session.query(Event).filter_by(type="position:new")]
    assert event["is_external"] is True


def test_how_the_account_is_read_is_told(app: Flask, person: Person) -> None:
    recorder_id, account_id = _watched(app, person)
    paper = person.get(f"/api/recorders/{recorder_id}/").get_json()
    assert (paper["poll_interval_s"], paper["polled_at"]) == (None, None)
    _give_login(app, account_id)

    told: list[dict[str, Any]] = [
        person.get(path).get_json()
        for path in (f"/api/recorders/{recorder_id}/", f"/api/accounts/{account_id}/")
    ]

    assert [t["poll_interval_s"] for t in told] == [polls.interval_s(1)] * 2
    assert [t["polled_at"] for t in told] == ["2026-03-02T12:00:00.000Z"] * 2
    page = things.words(person.client.get(f"/recorders/{recorder_id}/").text)
    assert "by a poll every 60 s" in page


def _give_login(app: Flask, account_id: int) -> None:
    with app.app_context():
        account = db.session.get(Account, account_id)
        assert account is not None
        login = BrokerLogin(
            user_id=account.user_id,
            broker="nowhere",
            environment="demo",
            identity_hash="1",
            credentials_cipher="",
            device_id="1",
            polled_at=clock.now().replace(2026, 3, 2, 12, 0, 0, 0),
        )
        factories.store(login)

    def work(tx: Any) -> None:
        tx.session.get(Account, account_id).login_id = login.id

    writer.run(work)
