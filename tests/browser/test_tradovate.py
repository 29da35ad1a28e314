"""Somebody tries the product with Tradovate for the first time: everything in a browser, against
the simulator."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
from playwright.sync_api import Page, Request, expect

from tests.browser import pages, site
from tests.browser.conftest import Visit
from tests.browser.site import PASSWORD, Member, send
from tests.servers import Server, serve
from tests.simulators.tradovate.control import DEMO, Simulator, running

pytestmark = pytest.mark.browser

ALERT = {"action": "buy", "ticker": "MNQ1!", "contracts": "1", "order_id": "Long"}
WIDTHS = {"desk": 1280, "phone": 390}
_people = count(1)


@dataclass
class Stage:
    tradovate: Simulator
    server: Server

    def trader(self, *, permissions: dict[str, str] | None = None) -> Trader:
        """A new user of the broker with two accounts, and the name of one here."""
        name = f"tv{next(_people)}"
        for world in ("demo", "live"):
            self.tradovate.add_user(name, "demo", permissions=permissions, world=world)
        demo = [self.tradovate.add_account(name, f"DEMO{name}{n}") for n in (1, 2)]
        self.tradovate.add_account(name, f"LIVE{name}", world="live")
        return Trader(self, name, [int(account["id"]) for account in demo])


@dataclass
class Trader:
    """Somebody with a log-in at the broker. ``numbers``: of the demo accounts there."""

    stage: Stage
    name: str
    numbers: list[int]

    @property
    def credentials(self) -> dict[str, str]:
        return {
            "username": self.name,
            "password": "demo",
            "client_id": "1",
            "client_secret": "demo",
        }

    def member(self) -> Member:
        return site.register(self.stage.server.url, self.name)

    def account(self, member: Member, name: str = "Apex 50K-01", number: int = 0) -> int:
        body = {
            "name": name,
            "broker": "tradovate",
            "environment": "demo",
            "credentials": self.credentials,
            "broker_account_id": str(self.numbers[number]),
        }
        return int(member.call("POST", "/api/accounts/", body)["id"])


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running(live_port=0) as tradovate:
        urls = {
            "TRADOVATE_DEMO_URL": tradovate.url,
            "TRADOVATE_LIVE_URL": tradovate.live_url,
            "TRADOVATE_DEMO_WS_URL": tradovate.ws_url,
            "TRADOVATE_LIVE_WS_URL": tradovate.live_ws_url,
        }
        with serve(tmp_path_factory.mktemp("tradovate"), **urls) as server:
            yield Stage(tradovate, server)


@pytest.fixture
def trader(stage: Stage) -> Trader:
    return stage.trader()


def _log_in(page: Page, name: str, password: str = DEMO, environment: str = "Demo") -> None:
    page.get_by_text(environment, exact=True).first.click()
    page.get_by_label("User name at Tradovate").fill(name)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_label("API key id").fill("1")
    page.get_by_label("API key secret").fill("demo")
    page.keyboard.press("Enter")


def _agree(page: Page, act: str) -> None:
    """The safe button has the focus; the other one acts."""
    dialog = page.locator("dialog[open]")
    expect(dialog.locator("button").first).to_be_focused()
    dialog.get_by_role("button", name=act).click()


def _open(page: Page, account_id: int) -> None:
    page.goto(f"/accounts/{account_id}/")
    pages.settled(page)
    expect(page.locator("#stream")).to_contain_text("Open since")
    page.evaluate("() => { window.isTheSamePage = true; }")


def _strangers(page: Page, url: str) -> list[str]:
    """Collects the requests of a page that leave its server."""
    found: list[str] = []

    def look(request: Request) -> None:
        if not request.url.startswith((url, url.replace("http", "ws", 1))):
            found.append(request.url)

    page.on("request", look)
    return found


def test_from_registering_to_a_choice_of_accounts(stage: Stage, visit: Visit) -> None:
    trader, keyless = stage.trader(), stage.trader(permissions={"*": "none"})
    page = visit(refused=True, url=stage.server.url, zone="America/Chicago")
    strangers = _strangers(page, stage.server.url)
    page.goto("/register")
    page.get_by_label("User name").fill(trader.name)
    page.get_by_label("E-mail").fill(f"{trader.name}@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Register").click()
    pages.settled(page)
    expect(page.locator(".jt-topbar")).to_contain_text("Chicago")
    page.get_by_role("link", name="Connect a Tradovate account").click()

    # What does not work says so, and keeps what is no secret.
    _log_in(page, trader.name, password="a guess")
    expect(page.get_by_role("alert").first).to_contain_text("Incorrect username or password")
    expect(page.get_by_label("User name at Tradovate")).to_have_value(trader.name)
    expect(page.get_by_label("API key secret")).to_have_value("")
    _log_in(page, keyless.name)
    expect(page.get_by_role("alert").first).to_contain_text("no permission to see accounts")
    _log_in(page, trader.name)

    first, second = (page.get_by_label(f"DEMO{trader.name}{n}", exact=True) for n in (1, 2))
    first.check()
    second.check()
    page.get_by_label(f"Name of DEMO{trader.name}1 here").fill("Apex 50K-01")
    page.get_by_label(f"Name of DEMO{trader.name}2 here").fill("")
    page.get_by_role("button", name="Open chosen accounts").click()
    expect(page.get_by_role("alert").first).to_contain_text("Give each account a name")
    expect(first).to_be_checked()
    expect(page.get_by_label(f"Name of DEMO{trader.name}1 here")).to_have_value("Apex 50K-01")
    page.get_by_label(f"Name of DEMO{trader.name}2 here").fill("Apex 50K-02")
    page.get_by_role("button", name="Open chosen accounts").click()

    rows = page.locator(".jt-acct")
    expect(rows).to_have_count(2)
    for row in rows.all():
        expect(row).to_contain_text("Connected")
        expect(row.locator(".jt-badge--demo")).to_be_visible()
    assert strangers == []


def test_a_trade_from_the_alert_to_the_flat_account(
    stage: Stage, trader: Trader, visit: Visit
) -> None:
    member, tradovate = trader.member(), stage.tradovate
    account_id = trader.account(member)
    page, elsewhere = visit(member), visit(member, width=390, theme="light")
    strangers = _strangers(page, stage.server.url)
    page.goto("/recorders/new/")
    page.get_by_label("Name", exact=True).fill("NQ Trend")
    page.get_by_label("Symbol", exact=True).fill("MNQ1!")
    page.get_by_label("Demo account").select_option(label="DEMO Apex 50K-01")
    page.get_by_label("Trades on").select_option(label="DEMO Apex 50K-01")
    page.locator("#row-stop_loss").get_by_label("Distance").fill("600")
    page.locator("#row-take_profits").get_by_label("Distance").first.fill("800")
    page.get_by_role("button", name="Make recorder").click()
    pages.settled(page)
    strategy_id = int(page.url.rstrip("/").rsplit("/", 1)[1])
    elsewhere.goto("/signals/")
    pages.settled(elsewhere)
    _open(page, account_id)

    # The position, its bracket and the alert's outcome appear where they are looked at.
    signal_id = send(member.webhook(strategy_id), ALERT)
    position = page.locator("tr", has=page.locator("[data-broker-position]"))
    expect(position).to_contain_text(re.compile(r"MNQ.*Long 1.*NQ Trend"))
    orders = page.locator("section[aria-labelledby=h-work] tbody tr")
    expect(orders).to_have_count(2)
    expect(orders.filter(has_text="stop loss")).to_contain_text("Working")
    expect(elsewhere.locator(f"#signal-{signal_id}")).to_contain_text("Traded")

    # What somebody does at the broker's own terminal is told apart.
    number = trader.numbers[0]
    tradovate.manual_trade(number, "ESZ6", "Buy", 2)
    expect(page.locator("tr", has_text="ESZ6").first).to_contain_text("External")
    tradovate.manual_order(account_id=number, contract="ESZ6", action="Buy", qty=1, price="4000")
    expect(page.locator("[data-external-order]")).to_contain_text("4,000")
    elsewhere.goto("/")
    pages.settled(elsewhere)
    expect(elsewhere.locator("#dash-positions tbody tr")).to_have_count(2)
    expect(elsewhere.locator("#dash-positions tbody tr", has_text="ESZ6")).to_contain_text(
        re.compile("External.*unknown", re.DOTALL)
    )

    # Flatten says what it does, to the orders of others too, and does it.
    page.get_by_role("button", name="Flatten…").click()
    for words in ("Cancels 2 working orders", "Cancels 1 order that somebody else placed",
                  "Sells 2 ESZ6", "NQ Trend stays on"):  # fmt: skip
        expect(page.locator("dialog[open]")).to_contain_text(words)
    _agree(page, "Flatten Apex 50K-01")
    expect(page.get_by_text("Flat. A position appears here")).to_be_visible()
    expect(page.locator("[data-external-order]")).to_have_count(0)
    expect(elsewhere.get_by_role("heading", name="Nothing is open")).to_be_visible()
    assert strangers == []


def test_a_silent_broker_is_said_with_since_when(
    stage: Stage, trader: Trader, visit: Visit
) -> None:
    member = trader.member()
    account_id = trader.account(member)
    member.account("Practice")
    page, dashboard = visit(member), visit(member, width=390)
    _open(page, account_id)
    dashboard.goto("/")
    pages.settled(dashboard)
    banner = dashboard.locator("#dash-trouble")
    expect(banner).to_have_text("")

    stage.tradovate.rule("user/syncrequest", {"delay_ms": 3000}, door="ws", user=trader.name)
    stage.tradovate.cut_sockets(user=trader.name)
    stage.tradovate.manual_trade(trader.numbers[0], "ESZ6", "Buy", 2)

    since = re.compile(r"Apex 50K-01 is not heard from since \d\d:\d\d:\d\d")
    expect(page.locator("#account-state .jt-note")).to_contain_text(since)
    expect(banner).to_contain_text(since)
    expect(page.locator("#account-state .jt-stale").first).to_be_visible()
    # What happened meanwhile is taken in, and nothing is marked any more.
    expect(page.locator('[data-broker-position="ESZ6"]')).to_have_text("2")
    expect(page.locator("#account-state .jt-note")).to_have_count(0)
    expect(page.locator("#account-state .jt-stale")).to_have_count(0)
    expect(page.locator("#stream")).to_contain_text("1 gap repaired")
    expect(banner).to_have_text("")
    assert page.evaluate("() => window.isTheSamePage")


def test_a_refused_order_is_told_in_words(stage: Stage, trader: Trader, visit: Visit) -> None:
    member = trader.member()
    account_id = trader.account(member)
    strategy_id = member.recorder()
    member.trader(strategy_id, account_id)
    page = visit(member)
    _open(page, account_id)

    stage.tradovate.set(market_closed=True)
    try:
        signal_id = send(member.webhook(strategy_id), ALERT)
        toast = page.locator(".jt-toast--bad")
        expect(toast).to_contain_text("Rejected: Buy 1 MNQ")
    finally:
        stage.tradovate.set(market_closed=False)
    expect(toast).to_contain_text("The market is closed")
    expect(toast).not_to_contain_text("session_closed")

    page.goto(f"/signals/{signal_id}/")
    expect(page.locator("#signal-outcome")).to_have_text("Failed")
    expect(page.locator(".jt-rules tfoot")).to_contain_text("The market is closed")


def test_what_no_fill_explains_is_an_alarm_on_every_page(
    stage: Stage, trader: Trader, visit: Visit
) -> None:
    """Traded while the line was dead, in a session of which the broker lists no fills any more."""
    member, number = trader.member(), trader.numbers[0]
    page, elsewhere = visit(member), visit(member)
    account_id = trader.account(member)
    stage.tradovate.manual_trade(number, "MESZ6", "Buy", 1)
    _open(page, account_id)
    expect(page.locator("#account-state")).to_contain_text("MESZ6")
    elsewhere.goto("/logs/")
    pages.settled(elsewhere)

    stage.tradovate.disturb_events("lose", None)
    stage.tradovate.manual_trade(number, "MESZ6", "Buy", 2)
    stage.tradovate.session_roll()
    stage.tradovate.archive()
    stage.tradovate.clear_events()
    stage.tradovate.cut_sockets()

    expect(elsewhere.locator(".jt-toast--bad")).to_contain_text("is out of sync", timeout=30_000)
    difference = "MESZ6: the broker holds 3, our books say 1."
    _open(page, account_id)
    expect(page.locator("#account-state .jt-note--bad")).to_contain_text(difference)
    page.goto("/")
    expect(page.locator("#dash-trouble .jt-banner--bad")).to_contain_text(difference)
    page.get_by_role("link", name="Open Apex 50K-01").click()
    page.get_by_role("button", name="Adopt…").click()
    _agree(page, "Adopt")
    expect(page.get_by_text("The books follow the broker now.")).to_be_visible()
    expect(page.locator("#account-state .jt-note--bad")).to_have_count(0)
    page.get_by_role("button", name="Flatten…").click()
    expect(page.locator("dialog[open]")).to_contain_text("3 MESZ6")


def test_a_log_in_is_ended_begun_replaced_and_deleted(trader: Trader, visit: Visit) -> None:
    member = trader.member()
    account_id = trader.account(member)
    page = visit(member, refused=True)
    _open(page, account_id)

    page.get_by_role("button", name="Disconnect…").click()
    _agree(page, "Disconnect")
    expect(page.locator("#account-state .jt-note")).to_contain_text("is disconnected since")
    expect(page.locator("#stream")).to_contain_text("Stopped since")
    page.get_by_role("button", name="Connect", exact=True).click()
    expect(page.locator("#stream")).to_contain_text("Open since")

    page.get_by_text("Replace the credentials").click()
    page.get_by_label("User name at Tradovate").fill(trader.name)
    page.get_by_label("Password", exact=True).fill("a guess")
    page.get_by_label("API key id").fill("1")
    page.get_by_label("API key secret").fill("demo")
    page.get_by_role("button", name="Test and replace").click()
    expect(page.locator("#credentials")).to_contain_text("Incorrect username or password")
    expect(page.get_by_label("User name at Tradovate")).to_have_value(trader.name)
    page.get_by_label("Password", exact=True).fill("demo")
    page.get_by_label("API key secret").fill("demo")
    page.get_by_role("button", name="Test and replace").click()
    expect(page.locator("#jt-toasts")).to_contain_text("The credentials were replaced.")

    page.get_by_role("button", name="Delete account…").click()
    _agree(page, "Delete Apex 50K-01")
    expect(page.get_by_role("heading", name="No accounts yet")).to_be_visible()


def test_a_live_account_says_real_money_before_and_after(trader: Trader, visit: Visit) -> None:
    member = trader.member()
    page = visit(member)
    page.goto("/accounts/new/?broker=tradovate")
    _log_in(page, trader.name, environment="Live")
    expect(page.locator("table .jt-badge--live")).to_be_visible()

    page.get_by_label("I know that orders on a live account trade real money").check()
    page.get_by_role("button", name="Open chosen accounts").click()
    expect(page.locator("dialog[open]")).to_contain_text("Real money.")
    _agree(page, "Open live accounts")

    expect(page.locator("#stream")).to_contain_text("Open since")
    expect(page.locator(".jt-topbar .jt-badge--live")).to_be_visible()
    page.get_by_role("button", name="Kill switch of this account…").click()
    expect(page.locator("dialog[open]")).to_contain_text("Real money.")
    page.locator("dialog[open]").get_by_role("button", name="Keep trading").click()
    page.goto("/accounts/")
    expect(page.locator(".jt-acct .jt-badge--live")).to_be_visible()


def _faults(page: Page, width: int) -> list[str]:
    return pages.violations(page) + pages.barriers(page) + pages.too_wide(page, width)


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_the_pages_of_a_broker_are_sound(
    stage: Stage, trader: Trader, visit: Visit, width: int, theme: str
) -> None:
    member, faults = trader.member(), dict[str, Any]()
    account_id = trader.account(member)
    strategy_id = member.recorder(stop_loss={"distance": "600", "unit": "ticks"})
    member.trader(strategy_id, account_id)
    page = visit(member, width=width, theme=theme)
    page.goto("/accounts/new/?broker=tradovate")
    faults["log-in"] = _faults(page, width)
    _log_in(page, trader.name)
    expect(page.get_by_text("The log-in works.")).to_be_visible()
    pages.settled(page)
    faults["choice"] = _faults(page, width)
    _open(page, account_id)
    faults["flat"] = _faults(page, width)
    member.alert(strategy_id, ALERT)
    number = trader.numbers[0]
    stage.tradovate.manual_order(
        account_id=number, contract="ESZ6", action="Buy", qty=1, price="4000"
    )
    expect(page.locator("[data-external-order]")).to_have_count(1)
    expect(page.locator("[data-broker-position]")).to_have_count(1)
    faults["account"] = _faults(page, width)
    for path in ("/", "/accounts/", "/traders/", f"/recorders/{strategy_id}/", "/signals/"):
        page.goto(path)
        pages.settled(page)
        faults[path] = _faults(page, width)

    assert {name: found for name, found in faults.items() if found} == {}
