"""Every page, at the widths of a desk and of a phone, in both themes."""

from __future__ import annotations

import re
from collections import deque

import pytest
from playwright.sync_api import Page

from tests.browser import pages, site
from tests.browser.conftest import Visit

pytestmark = pytest.mark.browser

LOOKS = [
    pytest.param(width, theme, id=f"{width}-{theme}")
    for width in (1280, 390)
    for theme in ("dark", "light")
]


def _faults(page: Page, width: int) -> list[str]:
    found = pages.violations(page) + pages.barriers(page) + pages.too_wide(page, width)
    if width < 768:
        found += [f"at 320: {wide}" for wide in pages.too_wide(page, 320)]
        pages.too_wide(page, width)
    return found


def _walk(page: Page, addresses: dict[str, str], width: int) -> dict[str, list[str]]:
    """The faults of each page that has any."""
    faults = {}
    for name, path in addresses.items():
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == 200, f"{path}: {answer.status}"
        if page.locator("#jt-conn").count():
            pages.settled(page)
        faults[name] = _faults(page, width)
    return {name: found for name, found in faults.items() if found}


@pytest.mark.parametrize(("width", "theme"), LOOKS)
def test_every_page_is_sound(visit: Visit, member: site.Member, width: int, theme: str) -> None:
    things = site.trade_a_little(member)
    page = visit(member, width=width, theme=theme)

    faults = _walk(page, pages.paths(things), width)

    assert faults == {}
    assert page.locator("html").get_attribute("data-bs-theme") == theme


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_every_page_is_sound_before_there_is_anything(
    visit: Visit, member: site.Member, width: int, theme: str
) -> None:
    page = visit(member, width=width, theme=theme)
    empty = {name: path for name, path in pages.PAGES.items() if "{" not in path}

    faults = _walk(page, empty, width)

    assert faults == {}


@pytest.mark.parametrize(("width", "theme"), [(1280, "dark"), (390, "light")])
def test_the_doors_are_sound(visit: Visit, width: int, theme: str) -> None:
    page = visit(width=width, theme=theme)

    faults = _walk(page, pages.GATES, width)

    assert faults == {}


def _linked(member: site.Member) -> set[str]:
    """What can be reached by links from the dashboard, ids written as ``{id}``."""
    waiting, seen = deque(["/"]), {"/"}
    while waiting:
        page = member.session.get(member.url + waiting.popleft(), timeout=10).text
        for path in re.findall(r'href="(/(?!static/)[^"#?]*)', page):
            shape = re.sub(r"/\d+(?=/)", "/{id}", path)
            if shape not in seen:
                seen.add(shape)
                waiting.append(path)
    return seen


def test_every_page_that_is_linked_is_in_the_walk(member: site.Member) -> None:
    site.trade_a_little(member)

    linked = _linked(member)

    known = {re.sub(r"\{\w+\}", "{id}", path) for path in pages.PAGES.values()}
    assert linked - pages.FILES <= known


def test_a_page_that_is_not_there_is_as_sound(visit: Visit, member: site.Member) -> None:
    page = visit(member, watch=False)

    answer = page.goto("/nothing/here/")

    assert answer is not None
    assert answer.status == 404
    assert _faults(page, 1280) == []


def test_the_checks_see_what_they_look_for(visit: Visit, member: site.Member) -> None:
    page = visit(member, watch=False)
    page.goto("/logs/")

    page.evaluate("""() => {
      const bad = document.createElement("div");
      bad.innerHTML = '<img src="/static/img/mark.svg" width="3000">';
      document.getElementById("main").append(bad);
      bad.setAttribute("style", "color: red");
      document.querySelector(".jt-app").classList.remove("jt-app");
    }""")

    assert pages.too_wide(page, 1280) != []
    assert any("image-alt" in barrier for barrier in pages.barriers(page))
    assert any("style-src" in violation for violation in pages.violations(page))
