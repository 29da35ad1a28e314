"""``python -m tests.browser.picture [file]``: the dashboard's picture for the README.

Some weeks of paper trading are made through the API with the clock set back, as five strategies
that follow the simulated market's last move would have traded. The real server then shows them.
"""

from tests import gevent_first  # noqa: I001  (the patch must precede ssl and requests)

import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests
from alembic import command
from flask import Flask
from playwright.sync_api import Browser, expect, sync_playwright

from app import clock, create_app
from app.marketdata.simulated import SimulatedFeed
from app.migrate import alembic_config
from config import load
from tests import services
from tests.apps import started
from tests.browser import pages
from tests.browser.site import until
from tests.integration.pages import things
from tests.people import PASSWORD, Person, register
from tests.servers import serve

__all__ = ["gevent_first"]

SEED = 11
DAYS = 19
OPENS = timedelta(hours=7)
DAY = timedelta(hours=12)
WIDTH, HEIGHT = 1440, 900


@dataclass(frozen=True, slots=True)
class Style:
    """How one strategy trades: what, how large, how often, and for how long."""

    name: str
    symbol: str
    quantity: int
    trades_a_day: int
    held: timedelta
    stop: int
    target: int
    account: int


STYLES = (
    Style("NQ Trend 5m", "MNQ1!", 3, 4, timedelta(minutes=25), 240, 400, 0),
    Style("ES Swing 15m", "MES1!", 4, 2, timedelta(minutes=40), 120, 200, 0),
    Style("Gold London", "MGC1!", 2, 2, timedelta(minutes=50), 90, 140, 1),
    Style("CL Breakout", "MCL1!", 5, 1, timedelta(minutes=35), 60, 90, 1),
    Style("Opening Drive", "M2K1!", 4, 1, timedelta(minutes=20), 80, 120, 0),
)
ACCOUNTS = ("Paper USD", "Paper futures")


class Past:
    """A clock that is set; between two settings it goes on as always."""

    def __init__(self) -> None:
        self._offset = timedelta(0)
        self._real = clock.now

    def now(self) -> datetime:
        return self._real() + self._offset

    def set(self, at: datetime) -> None:
        self._offset = at - self._real()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        clock.now = self.now
        try:
            yield
        finally:
            clock.now = self._real


@dataclass(frozen=True, slots=True)
class Plan:
    """One trade to come. ``until`` is None where it stays open."""

    at: datetime
    until: datetime | None
    recorder: int
    style: Style


def _days(now: datetime) -> list[datetime]:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    days = (midnight - timedelta(days=back) for back in range(DAYS, -1, -1))
    return [day for day in days if day.weekday() < 5]


def _plans(recorders: dict[Style, int], now: datetime) -> list[Plan]:
    chance = random.Random(SEED)
    found = []
    for day in _days(now):
        for style, recorder in recorders.items():
            slot = DAY / style.trades_a_day
            for number in range(style.trades_a_day):
                at = day + OPENS + slot * number + slot * chance.uniform(0, 0.4)
                until_ = at + style.held * chance.uniform(0.6, 1.4)
                if until_ < now - timedelta(hours=1):
                    found.append(Plan(at, until_, recorder, style))
    for number, (style, recorder) in enumerate(recorders.items()):
        found.append(Plan(now - timedelta(minutes=45 - 7 * number), None, recorder, style))
    return found


def _steps(plans: list[Plan]) -> list[tuple[datetime, Plan, bool]]:
    """Entries and exits in the order of time."""
    entries = [(plan.at, plan, True) for plan in plans]
    exits = [(plan.until, plan, False) for plan in plans if plan.until]
    return sorted(entries + exits, key=lambda step: step[0])


def _body(plan: Plan, at: datetime, is_entry: bool, feed: SimulatedFeed) -> dict[str, Any]:
    action = _with_the_move(plan.style, at, feed) if is_entry else "close"
    return {"action": action, "ticker": plan.style.symbol, "time": at.isoformat()}


def _with_the_move(style: Style, at: datetime, feed: SimulatedFeed) -> str:
    symbol = f"{style.symbol.removesuffix('1!')}Z6"
    before, current = (feed.quote_at(symbol, at - back) for back in (style.held, timedelta(0)))
    assert before is not None
    assert current is not None
    return "buy" if current.bid >= before.bid else "sell"


def _make(person: Person) -> dict[Style, int]:
    accounts = [things.account(person, name) for name in ACCOUNTS]
    recorders = {}
    for style in STYLES:
        settings = {
            "entry_quantity": str(style.quantity),
            "stop_loss": {"distance": str(style.stop), "unit": "ticks"},
            "take_profits": [{"distance": str(style.target), "unit": "ticks"}],
        }
        body = {"name": style.name, "symbol": style.symbol, "settings": settings}
        made = person.post("/api/recorders/", {**body, "recording_enabled": True})
        recorder = int(made.get_json()["id"])
        things.trader(person, recorder, accounts[style.account])
        recorders[style] = recorder
    return recorders


def _alice(app: Flask) -> Person:
    """Signed in for the weeks that follow."""
    person = register(app, "alice")
    body = {"login": "alice", "password": PASSWORD, "remember": True}
    person.csrf = person.client.post("/api/auth/login/", json=body).get_json()["csrf_token"]
    return person


def make_history(data_dir: Path) -> None:
    """Weeks of trades of alice, in a new database."""
    past, now, feed = Past(), datetime.now(UTC), SimulatedFeed()
    with past():
        past.set(_days(now)[0] + timedelta(hours=12))
        config = load({"DATA_DIR": str(data_dir), "BCRYPT_ROUNDS": "4"})
        command.upgrade(alembic_config(config.database_url), "head")
        app = create_app(config)
        with started(app):
            person = _alice(app)
            for at, plan, is_entry in _steps(_plans(_make(person), now)):
                past.set(at)
                body = _body(plan, at, is_entry, feed)
                things.finished(person, things.alert(person, plan.recorder, body))


def take(browser: Browser, url: str, path: Path) -> None:
    """The dashboard of the month, once its prices have moved."""
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, base_url=url)
    page = context.new_page()
    page.goto("/login")
    page.get_by_label("User name or e-mail").fill("alice")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.goto("/?period=month")
    pages.settled(page)
    profit = page.locator("#dash-positions [data-live$=unrealized_pnl]").first
    before = profit.inner_text()
    expect(profit).not_to_have_text(before, timeout=30_000)
    expect(page.locator(".jt-flash-up, .jt-flash-down")).to_have_count(0, timeout=30_000)
    page.screenshot(path=path)


def main(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        data_dir = Path(folder) / "data"
        data_dir.mkdir()
        make_history(data_dir)
        with serve(data_dir) as server:
            until(lambda: requests.get(f"{server.url}/readyz", timeout=5).ok)
            browser = playwright.chromium.launch(executable_path=services.installed_chromium())
            take(browser, server.url, path)
            browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/dashboard.png"))
