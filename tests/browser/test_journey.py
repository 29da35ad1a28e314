"""A new user: from registering to a closed paper trade, and everything seen as it happens."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser import pages
from tests.browser.conftest import Visit
from tests.browser.site import PASSWORD, Member, send

pytestmark = pytest.mark.browser

BUY = {
    "action": "buy",
    "ticker": "MNQ1!",
    "exchange": "CME_MINI",
    "contracts": "1",
    "price": "21500.25",
    "market_position": "long",
    "market_position_size": "1",
    "prev_market_position": "flat",
    "prev_market_position_size": "0",
    "order_id": "Long",
    "interval": "5",
}
"""What TradingView makes of the offered template at an entry."""
SELL = "sell MNQ1! qty=1"
TO_ONE = "X: order buy @ 1 filled on MNQ1!. New strategy position is 1"
"""What a strategy's alert says where nobody changed its message."""


def _register(page: Page, name: str) -> None:
    page.goto("/register")
    page.get_by_label("User name").fill(name)
    page.get_by_label("E-mail").fill(f"{name}@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Register").click()
    pages.settled(page)


def _follow_the_guide(page: Page) -> str:
    """From the page that a new user lands on; the webhook address that its button copies."""
    page.get_by_role("button", name="Open paper account").click()
    page.get_by_role("button", name="Make strategy").click()
    copy = page.get_by_role("button", name="Copy webhook address")
    copy.click()
    expect(copy).to_have_text("Copied")
    copied: str = page.evaluate("() => navigator.clipboard.readText()")
    return copied


def _mark(page: Page) -> None:
    """What a reload would lose."""
    page.evaluate("() => { window.isTheSamePage = true; }")


def _is_the_same_page(page: Page) -> bool:
    return bool(page.evaluate("() => window.isTheSamePage === true"))


def test_from_registering_to_a_closed_trade(visit: Visit) -> None:
    page = visit()
    _register(page, "newcomer")
    webhook = _follow_the_guide(page)
    log = page.context.new_page()
    log.goto("/logs/")
    pages.settled(log)
    page.goto("/")
    pages.settled(page)
    expect(page.get_by_role("heading", name="No trades yet")).to_be_visible()
    _mark(log)
    _mark(page)

    # Three alerts as TradingView sends them: the dashboard follows, in place.
    send(webhook, BUY)
    open_now = page.locator("#dash-positions tbody tr")
    expect(open_now).to_have_count(1)
    expect(open_now).to_contain_text(re.compile(r"MNQ[HMUZ]\d.*Long 1.*My first strategy"))
    send(webhook, SELL)
    expect(open_now).to_contain_text("Short 1")
    trades = page.locator("#dash-trades tbody tr")
    expect(trades).to_have_count(1)
    expect(trades.first).to_contain_text("Long 1")
    last = send(webhook, TO_ONE)
    expect(open_now).to_contain_text("Long 1")
    expect(trades).to_have_count(2)
    before = open_now.locator("[data-live$=last_price]").first.inner_text()
    expect(open_now.locator("[data-live$=last_price]").first).not_to_have_text(before)
    assert _is_the_same_page(page)

    # The log had every fill while it happened; turning a position takes two.
    for words, count in (("Bought 1 MNQ", 3), ("Sold 1 MNQ", 2)):
        expect(log.locator(".jt-log > li", has_text=words)).to_have_count(count)
    assert _is_the_same_page(log)

    # The guide closes the position.
    page.goto("/guide/")
    expect(page.get_by_text("The position is open")).to_be_visible()
    page.get_by_role("button", name="Send test alert: close MNQ").click()
    expect(page.get_by_role("link", name="Open the dashboard")).to_be_visible()
    page.get_by_role("link", name="Open the dashboard").click()
    expect(page.get_by_role("heading", name="Nothing is open")).to_be_visible()
    expect(trades).to_have_count(3)

    # The alert's own page tells its life.
    page.goto(f"/signals/{last}/")
    steps = page.locator(".jt-timeline > li")
    expect(steps.filter(has_text="Received and understood")).to_have_count(1)
    expect(steps.filter(has_text="filled")).not_to_have_count(0)
    matrix = page.locator(".jt-rules")
    expect(matrix.get_by_role("row", name="Position before")).to_be_visible()
    expect(matrix.get_by_role("row", name="Outcome")).to_contain_text("Closed 1, bought 1")


def test_the_guide_alone_makes_a_trade(visit: Visit) -> None:
    page = visit()
    _register(page, "guided")
    _follow_the_guide(page)
    _mark(page)

    page.get_by_role("button", name="Send test alert: buy 1 MNQ").click()
    expect(page.get_by_text("The position is open")).to_be_visible()
    page.get_by_role("button", name="Send test alert: close MNQ").click()

    expect(page.get_by_role("link", name="Open the dashboard")).to_be_visible()
    expect(page.locator("#guide-count")).to_have_text("4 of 4 done")
    assert _is_the_same_page(page)


def test_a_kill_switch_pulled_elsewhere_is_said_at_once(visit: Visit, member: Member) -> None:
    member.account("Practice")
    page = visit(member)
    page.goto("/")
    pages.settled(page)
    _mark(page)
    banner = page.locator("#dash-blocked")
    expect(banner).to_be_hidden()

    member.call("POST", "/api/control-center/kill-switch/", {"on": True})
    expect(banner).to_contain_text("The kill switch is on.")
    member.call("POST", "/api/control-center/kill-switch/", {"on": False})

    expect(banner).to_be_hidden()
    assert _is_the_same_page(page)
