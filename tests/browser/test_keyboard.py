"""The pages without a mouse."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser import pages, site
from tests.browser.conftest import Visit

pytestmark = pytest.mark.browser

STOPS = 25
_FOCUSED = """() => {
  const element = document.activeElement;
  const ring = element.closest("label") ?? element;
  const drawn = (one) => {
    const style = getComputedStyle(one);
    return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  };
  const box = element.getBoundingClientRect();
  return {what: element.outerHTML.slice(0, 100), isMarked: drawn(element) || drawn(ring),
          isSeen: box.bottom > 0 && box.right > 0, isBody: element === document.body};
}"""


def _focused(page: Page) -> dict[str, object]:
    found: dict[str, object] = page.evaluate(_FOCUSED)
    return found


def test_the_first_stop_skips_to_the_content(visit: Visit, member: site.Member) -> None:
    page = visit(member)
    page.goto("/recorders/")

    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")

    expect(page.get_by_role("link", name="New recorder").first).to_be_focused()


@pytest.mark.parametrize("path", ["/", "/recorders/new/", "/traders/", "/logs/"])
def test_every_stop_can_be_seen(visit: Visit, member: site.Member, path: str) -> None:
    site.trade_a_little(member)
    page = visit(member)
    page.goto(path)
    pages.settled(page)

    stops = []
    for _ in range(STOPS):
        page.keyboard.press("Tab")
        stops.append(_focused(page))

    unseen = [stop["what"] for stop in stops if not (stop["isMarked"] and stop["isSeen"])]
    assert [what for what in unseen if not what.startswith("<body")] == []  # type: ignore[attr-defined]


def test_ctrl_k_finds_a_page_and_escape_gives_the_focus_back(
    visit: Visit, member: site.Member
) -> None:
    page = visit(member)
    page.goto("/logs/")
    pages.settled(page)
    strategies = page.get_by_label("Strategy")
    strategies.focus()

    page.keyboard.press("Control+k")
    field = page.get_by_role("searchbox", name="Find a page")
    expect(field).to_be_focused()
    page.keyboard.press("Escape")
    expect(strategies).to_be_focused()

    page.keyboard.press("Control+k")
    page.keyboard.type("trad")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{member.url}/traders/")


def test_two_letters_go_to_a_page(visit: Visit, member: site.Member) -> None:
    page = visit(member)
    page.goto("/")
    pages.settled(page)

    page.keyboard.type("gs")

    expect(page).to_have_url(f"{member.url}/signals/")


def test_a_question_begins_on_its_safe_answer(visit: Visit, member: site.Member) -> None:
    site.trade_a_little(member)
    page = visit(member)
    page.goto("/accounts/")
    pages.settled(page)

    page.get_by_role("button", name="Flatten").first.press("Enter")

    dialog = page.get_by_role("alertdialog")
    expect(dialog).to_contain_text("PAPER")
    expect(dialog.get_by_role("button", name="Keep positions")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert len(member.get("/api/dashboard/positions/")["items"]) == 1
