"""What happens at a broker, seen on a page that stays open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import pytest
from playwright.sync_api import Page, expect

from tests.browser import pages, site
from tests.browser.conftest import Visit
from tests.browser.site import Member
from tests.servers import serve
from tests.simulators.tradovate.control import Simulator, running

pytestmark = pytest.mark.browser

CREDENTIALS = {"username": "demo", "password": "demo", "client_id": "1", "client_secret": "demo"}
CONTRACT = "ESZ6"
_names = count(1)


@dataclass
class Desk:
    tradovate: Simulator
    member: Member
    account_id: int
    number: int

    def trade(self, action: str, qty: int) -> None:
        self.tradovate.manual_trade(self.number, CONTRACT, action, qty)


@pytest.fixture
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with running() as tradovate:
        tradovate.set_price(CONTRACT, "5000", "5000.25")
        urls = {
            "TRADOVATE_DEMO_URL": tradovate.url,
            "TRADOVATE_LIVE_URL": tradovate.live_url,
            "TRADOVATE_DEMO_WS_URL": tradovate.ws_url,
            "TRADOVATE_LIVE_WS_URL": tradovate.live_ws_url,
        }
        with serve(tmp_path_factory.mktemp("tradovate"), **urls) as server:
            member = site.register(server.url, f"broker{next(_names)}")
            number = min(tradovate.book()["cash"], key=int)
            body = {
                "name": "Demo 1",
                "broker": "tradovate",
                "environment": "demo",
                "credentials": CREDENTIALS,
                "broker_account_id": number,
            }
            made = member.call("POST", "/api/accounts/", body)
            yield Desk(tradovate, member, int(made["id"]), int(number))


def _open(desk: Desk, visit: Visit) -> Page:
    page = visit(desk.member)
    page.goto(f"/accounts/{desk.account_id}/")
    pages.settled(page)
    expect(page.locator("#stream")).to_contain_text("Open")
    page.evaluate("() => { window.isTheSamePage = true; }")
    return page


def test_trade_in_another_terminal_shows_without_a_reload(desk: Desk, visit: Visit) -> None:
    page = _open(desk, visit)

    desk.trade("Buy", 2)

    expect(page.locator(f'[data-broker-position="{CONTRACT}"]')).to_have_text("2")
    expect(page.locator("#jt-toasts")).to_contain_text(f"Bought 2 {CONTRACT}")
    desk.tradovate.manual_order(
        account_id=desk.number, contract=CONTRACT, action="Buy", qty=1, price="4900"
    )
    expect(page.locator("[data-external-order]")).to_contain_text("4,900")
    desk.trade("Sell", 2)
    expect(page.locator(f'[data-broker-position="{CONTRACT}"]')).to_have_count(0)
    assert page.evaluate("() => window.isTheSamePage")


def test_lost_broker_is_said_on_every_page_and_so_is_its_return(desk: Desk, visit: Visit) -> None:
    page = _open(desk, visit)
    elsewhere = visit(desk.member)
    elsewhere.goto("/logs/")
    pages.settled(elsewhere)

    desk.tradovate.rule("user/syncrequest", {"delay_ms": 4000}, door="ws")
    desk.tradovate.cut_sockets()

    for each in (page, elsewhere):
        expect(each.locator("#jt-toasts")).to_contain_text("Demo 1 lost the connection")
    expect(page.locator("#account-state")).to_contain_text("Demo 1 is not heard from")
    for each in (page, elsewhere):
        expect(each.locator("#jt-toasts")).to_contain_text("Demo 1 connected again")
    expect(page.locator("#stream")).to_contain_text("Open")
    assert page.evaluate("() => window.isTheSamePage")
