"""The dashboard: its figures, its parts, what its filters leave, what it exports."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask

from app import clock
from app.models import Account, RecordedPosition, Strategy, Trade
from tests import factories
from tests.people import Person, register

MINUS = "\N{MINUS SIGN}"


class Desk:
    """Somebody with a paper account and a strategy that trades on it."""

    def __init__(self, app: Flask, name: str = "alice") -> None:
        self.person: Person = register(app, name)
        owner: Any = self.person
        self.account: Account = factories.account(owner, name="Paper USD")
        self.strategy: Strategy = factories.strategy(owner, name="NQ Trend")
        self.trader = factories.trader(self.strategy, self.account)

    def get(self, path: str) -> str:
        answer = self.person.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def _ids(self) -> dict[str, int]:
        return {
            "user_id": self.person.id,
            "account_id": self.account.id,
            "strategy_id": self.strategy.id,
            "trader_id": self.trader.id,
        }

    def trade(self, net: str, **columns: Any) -> Trade:
        closed_at = columns.pop("closed_at", clock.now())
        row = Trade(
            **{
                **self._ids(),
                "contract": "MNQZ6",
                "side": "long",
                "quantity": Decimal(1),
                "entry_price": Decimal(21000),
                "exit_price": Decimal(21010),
                "gross": Decimal(net),
                "fees": Decimal("1.24"),
                "net": Decimal(net),
                "opened_at": closed_at - timedelta(minutes=5),
                "closed_at": closed_at,
                "exit_reason": "signal",
                **columns,
            },
        )
        factories.store(row)
        return row

    def position(self, **columns: Any) -> RecordedPosition:
        row = RecordedPosition(
            **{
                **self._ids(),
                "contract": "MNQZ6",
                "symbol": "MNQ",
                "side": "long",
                "quantity": Decimal(2),
                "max_quantity": Decimal(2),
                "entry_price": Decimal("21442.25"),
                "last_price": Decimal("21450.25"),
                "unrealized_pnl": Decimal("32.00"),
                "opened_at": clock.now(),
                **columns,
            },
        )
        factories.store(row)
        return row


@pytest.fixture
def desk(app: Flask) -> Desk:
    return Desk(app)


def _text(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_somebody_without_an_account_is_led_to_the_guide(app: Flask) -> None:
    person = register(app)

    answer = person.client.get("/")

    assert (answer.status_code, answer.location) == (302, "/guide/")


def test_before_the_first_trade_the_page_says_what_to_do(desk: Desk) -> None:
    page = desk.get("/")

    assert "No trades yet" in page
    assert 'href="/guide/"' in page
    assert 'data-reload-on="position:new trade"' in page


def test_today_is_what_was_closed_and_what_is_open(desk: Desk) -> None:
    desk.trade("100.00")
    desk.trade("-40.00")
    desk.position()

    figures = _text(desk.get("/dashboard/parts/figures/"))

    assert "Today +$92.00 closed +$60.00, open +$32.00" in figures
    assert "Win rate 50.0 % 1 of 2 trades" in figures
    assert "Profit factor 2.50" in figures
    assert f"Max drawdown {MINUS}$40.00" in figures


def test_an_open_position_carries_its_live_cells(desk: Desk) -> None:
    position = desk.position()

    panel = desk.get("/dashboard/parts/positions/")

    assert f'data-live="position:{position.id}.unrealized_pnl"' in panel
    assert f'data-live="position:{position.id}.last_price"' in panel
    assert "21,442.25" in panel
    assert "PAPER" in panel


@pytest.mark.parametrize(
    ("query", "expected"),
    [("period=today", "1"), ("period=all", "2"), ("symbol=ES", "0"), ("environment=live", "0")],
)
def test_filters_narrow_the_closed_trades(desk: Desk, query: str, expected: str) -> None:
    desk.trade("10")
    desk.trade("20", closed_at=clock.now() - timedelta(days=40))

    panel = desk.get(f"/dashboard/parts/trades/?{query}")

    assert f'<span class="jt-count">{expected}</span>' in panel


def test_a_strategy_filter_leaves_its_trades_alone(desk: Desk) -> None:
    desk.trade("10")
    other: Any = desk.person
    second = factories.strategy(other, name="Second")
    desk.trade("500", strategy_id=second.id)

    page = _text(desk.get(f"/dashboard/parts/strategies/?strategy_id={desk.strategy.id}"))

    assert "NQ Trend" in page
    assert "Second" not in page


def test_trades_beyond_a_page_are_one_link_away(desk: Desk) -> None:
    for minute in range(26):
        desk.trade(str(minute + 1), closed_at=clock.now() - timedelta(minutes=minute))

    first = desk.get("/dashboard/parts/trades/")
    older = re.search(r'href="/\?([^"]*cursor=[^"#]+)', first)
    assert older is not None
    second = desk.get("/dashboard/parts/trades/?" + older[1].replace("&amp;", "&"))

    assert first.count('id="dash-trade-') == 25
    assert second.count('id="dash-trade-') == 1
    assert "data-reload-on" not in second


def test_the_calendar_adds_a_day_and_its_week(desk: Desk) -> None:
    desk.trade("100.00")
    desk.trade("-30.00")

    panel = desk.get("/dashboard/parts/calendar/")

    assert panel.count("+70") == 2
    assert "1 up, 0 down" in panel


def test_the_equity_chart_has_its_words_and_its_table(desk: Desk) -> None:
    now = clock.now()
    desk.trade("100", closed_at=now - timedelta(hours=2))
    desk.trade("-60", closed_at=now - timedelta(hours=1))

    panel = desk.get("/dashboard/parts/equity/")

    assert f"the deepest drawdown was {MINUS}$60.00" in panel
    assert "data-points=" in panel
    assert panel.count("<tr>") == 3


def test_the_exported_trades_are_plain_and_no_formula(desk: Desk) -> None:
    other: Any = desk.person
    strategy = factories.strategy(other, name="=1+1")
    desk.trade("-12.50", strategy_id=strategy.id)

    answer = desk.person.client.get("/dashboard/trades.csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))

    assert answer.mimetype == "text/csv"
    assert rows[0]["net"] == "-12.5"
    assert rows[0]["strategy"] == "'=1+1"


def test_nobody_sees_the_trades_of_somebody_else(app: Flask, desk: Desk) -> None:
    desk.trade("777")
    desk.position()
    other = Desk(app, "bob")

    page = other.get("/")
    exported = other.person.client.get("/dashboard/trades.csv").text

    assert "No trades yet" in page
    assert "777" not in page + exported


def test_an_address_that_makes_no_sense_still_opens(desk: Desk) -> None:
    desk.trade("1")

    page = desk.get("/?period=soon&environment=x&strategy_id=abc&month=13-99&account_id=")

    assert "Closed trades" in page
    assert desk.person.client.get("/dashboard/parts/nothing/").status_code == 404


def test_the_kill_switch_stops_every_account(desk: Desk) -> None:
    page = desk.get("/")

    answer = desk.person.form("/kill-switch/")

    assert 'action="/kill-switch/"' in page
    assert answer.location == "/accounts/"
    states = desk.person.get("/api/accounts/").get_json()["items"]
    assert [account["kill_switch"] for account in states] == [True]


def test_a_kill_switch_that_is_on_is_said_on_top(app: Flask) -> None:
    desk = Desk(app)
    assert "Entries are blocked" not in desk.get("/")

    desk.person.post("/api/control-center/kill-switch/", {"on": True})

    assert "The kill switch is on." in _text(desk.get("/"))
    assert "The kill switch is on." in _text(desk.get("/dashboard/parts/blocked/"))


def test_the_kill_switch_of_one_account_is_said_with_its_name(app: Flask) -> None:
    desk = Desk(app)
    owner: Any = desk.person
    other = factories.account(owner, name="Other")

    desk.person.post(f"/api/accounts/{other.id}/kill-switch/", {"on": True})

    assert "The kill switch is on for Other." in _text(desk.get("/dashboard/parts/blocked/"))
