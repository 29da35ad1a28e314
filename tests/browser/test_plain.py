"""The pages where JavaScript is switched off."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser import site
from tests.browser.conftest import Visit

pytestmark = pytest.mark.browser


def test_forms_alone_lead_from_registering_to_a_trader(visit: Visit) -> None:
    page = visit(scripts=False)

    page.goto("/register")
    page.get_by_label("User name").fill("plain")
    page.get_by_label("E-mail").fill("plain@example.com")
    page.get_by_label("Password").fill(site.PASSWORD)
    page.get_by_role("button", name="Register").click()
    page.goto("/settings/")
    page.get_by_role("button", name="Sign out").first.click()
    page.get_by_label("User name or e-mail").fill("plain")
    page.get_by_label("Password").fill(site.PASSWORD)
    page.get_by_role("button", name="Sign in").click()

    page.goto("/accounts/new/")
    page.get_by_label("Name").fill("Practice")
    page.get_by_role("button", name="Open account").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Practice")

    page.goto("/recorders/new/")
    page.get_by_label("Name").fill("By hand")
    page.get_by_label("Symbol", exact=True).fill("MNQ1!")
    page.get_by_role("button", name="Make recorder").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("By hand")

    page.goto("/traders/")
    page.get_by_label("Strategy").select_option("By hand")
    page.get_by_label("Account").select_option(label="PAPER Practice")
    page.get_by_role("button", name="Add trader").click()
    page.goto("/traders/")
    expect(page.get_by_role("row", name="Practice")).to_be_visible()


def test_a_wrong_form_says_what_is_wrong(visit: Visit, member: site.Member) -> None:
    page = visit(member, scripts=False, watch=False)

    page.goto("/recorders/new/")
    page.get_by_label("Name").fill("By hand")
    page.get_by_label("Entry quantity").fill("-1")
    page.get_by_role("button", name="Make recorder").click()

    expect(page.get_by_role("alert")).to_contain_text("1 setting needs a change")
    expect(page.get_by_label("Entry quantity")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Name")).to_have_value("By hand")


def test_the_dashboard_shows_what_there_is(visit: Visit, member: site.Member) -> None:
    site.trade_a_little(member)
    page = visit(member, scripts=False)

    page.goto("/")

    expect(page.locator("#dash-positions tbody tr")).to_have_count(1)
    expect(page.locator("#dash-trades tbody tr")).to_have_count(1)
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#dash-trades tbody tr")).to_have_count(1)
