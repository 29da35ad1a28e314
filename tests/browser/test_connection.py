"""The live connection: how it is made, what the page says without it, and what it makes up for."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.browser import pages, site
from tests.browser.conftest import Visit
from tests.servers import Server, serve

pytestmark = pytest.mark.browser

LINES = "#log-lines > li[id]"


@dataclass
class Restartable:
    """A server that can die and come back at the same address with the same data."""

    data_dir: Path
    servers: ExitStack = field(default_factory=ExitStack)
    server: Server | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return self.server.url

    def start(self) -> None:
        port = urlsplit(self.server.url).port if self.server else 0
        self.server = self.servers.enter_context(serve(self.data_dir, PORT=str(port)))

    def die(self) -> None:
        assert self.server is not None
        self.server.stop(signal.SIGKILL)


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Restartable]:
    mortal = Restartable(tmp_path / "data")
    with mortal.servers:
        mortal.start()
        yield mortal


def _shown(page: Page) -> list[str]:
    """The ids of the log lines that the page shows, newest first."""
    found: list[str] = page.locator(LINES).evaluate_all("lines => lines.map((line) => line.id)")
    return found


def _stored(member: site.Member) -> list[str]:
    items = member.get("/api/control-center/logs/?limit=500")["items"]
    return [f"log-{item['id']}" for item in items]


def test_it_goes_from_polling_to_a_websocket(visit: Visit, member: site.Member) -> None:
    page = visit(member)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    with page.expect_websocket() as found:
        page.goto("/")
    pages.settled(page)

    assert any("/socket.io/" in url and "transport=polling" in url for url in asked)
    assert "transport=websocket" in found.value.url
    with found.value.expect_event("framereceived", lambda frame: "fill" in str(frame)):
        site.trade_a_little(member)


def test_after_a_kill_it_says_so_recovers_and_neither_misses_nor_repeats(
    visit: Visit, mortal: Restartable
) -> None:
    alice = site.register(mortal.url, "alice")
    bob = site.register(mortal.url, "bob")
    things = site.trade_a_little(alice)
    dashboard = visit(alice, watch=False)
    log = dashboard.context.new_page()
    bobs = visit(bob, watch=False)
    for page, path in ((dashboard, "/"), (log, "/logs/"), (bobs, "/logs/")):
        page.goto(path)
        pages.settled(page)
        page.evaluate("() => { window.isTheSamePage = true; }")

    # Dead: the page says so and since when, and marks what it still shows.
    mortal.die()
    profit = dashboard.locator("#dash-positions [data-live$=unrealized_pnl]").first
    expect(dashboard.locator("#jt-offline")).to_contain_text(
        re.compile(r"Live updates stopped at \d\d:\d\d:\d\d\.")
    )
    expect(dashboard.locator(".jt-conn-word")).to_have_text(
        re.compile(r"Reconnecting since \d\d:\d\d:\d\d")
    )
    expect(profit).to_have_class(re.compile("jt-stale"))
    assert profit.inner_text() != ""

    # Back, but this browser is not yet there when things happen.
    dashboard.context.set_offline(True)
    mortal.start()
    alice.alert(things.recorder, "sell MNQ1! qty=1")
    alice.alert(things.recorder, "buy MNQ1! qty=2")
    dashboard.context.set_offline(False)

    # It finds back by itself, on the same page.
    pages.settled(dashboard)
    pages.settled(log)
    expect(dashboard.locator("#jt-offline")).to_be_hidden()
    expect(dashboard.locator(".jt-stale")).to_have_count(0)
    expect(dashboard.locator("#dash-trades tbody tr")).to_have_count(3)
    expect(log.locator(LINES)).to_have_count(len(_stored(alice)))
    assert _shown(log) == _stored(alice)
    # Nobody else heard of it.
    pages.settled(bobs)
    assert _shown(bobs) == []
    for page in (dashboard, log, bobs):
        assert page.evaluate("() => window.isTheSamePage") is True


def test_signing_out_elsewhere_ends_the_connection_and_says_so(
    visit: Visit, member: site.Member
) -> None:
    page = visit(member, watch=False)
    page.goto("/")
    pages.settled(page)

    member.session.post(
        f"{member.url}/logout", data={"csrf_token": member.csrf, "all": "1"}, timeout=10
    )

    expect(page.locator("#jt-offline")).to_contain_text("Sign in again to go on.")
