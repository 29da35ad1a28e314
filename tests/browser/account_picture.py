"""``python -m tests.browser.account_picture [file]``: an account at the simulated Tradovate.

A position with its bracket, and what somebody did at the broker's own terminal.
"""

from tests import gevent_first  # noqa: I001  (the patch must precede ssl and requests)

import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, expect, sync_playwright

from tests import services
from tests.browser import pages, site
from tests.browser.site import Member
from tests.servers import serve
from tests.simulators.tradovate.control import Simulator, running

__all__ = ["gevent_first"]

WIDTH, HEIGHT = 1440, 860
CREDENTIALS = {"username": "demo", "password": "demo", "client_id": "1", "client_secret": "demo"}
BRACKET: dict[str, Any] = {
    "entry_quantity": "2",
    "stop_loss": {"distance": "240", "unit": "ticks"},
    "take_profits": [{"distance": "400", "unit": "ticks"}],
}


def make(tradovate: Simulator, member: Member) -> int:
    """The id of an account that trades."""
    number = min(tradovate.book()["cash"], key=int)
    body = {
        "name": "Tradovate 18734",
        "broker": "tradovate",
        "environment": "demo",
        "credentials": CREDENTIALS,
        "broker_account_id": number,
    }
    account_id = int(member.call("POST", "/api/accounts/", body)["id"])
    strategy_id = member.recorder("NQ Trend 5m", **BRACKET)
    member.trader(strategy_id, account_id)
    for alert in ("buy MNQ1!", "close MNQ1!", "sell MNQ1!", "buy MNQ1! qty=2"):
        member.alert(strategy_id, alert)
    tradovate.manual_trade(int(number), "ESZ6", "Buy", 1)
    tradovate.manual_order(
        account_id=int(number), contract="ESZ6", action="Sell", qty=1, price="6950"
    )
    return account_id


def take(browser: Browser, member: Member, account_id: int, path: Path) -> None:
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, base_url=member.url)
    context.add_cookies(member.cookies)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"/accounts/{account_id}/")
    pages.settled(page)
    expect(page.locator("[data-external-order]")).to_have_count(1, timeout=30_000)
    expect(page.locator("[data-broker-position]")).to_have_count(2)
    page.reload()
    pages.settled(page)
    page.screenshot(path=path)


def main(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, running() as tradovate:
        urls = {"TRADOVATE_DEMO_URL": tradovate.url, "TRADOVATE_DEMO_WS_URL": tradovate.ws_url}
        with serve(Path(folder), **urls) as server, sync_playwright() as playwright:
            member = site.register(server.url, "alice")
            browser = playwright.chromium.launch(executable_path=services.installed_chromium())
            take(browser, member, make(tradovate, member), path)
            browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/account.png"))
