"""A server of this worker, Chromium, and pages that report what they must not do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser import site
from tests.browser.pages import WATCH, Watch
from tests.servers import Server, serve

PATIENCE_MS = 15_000
_REFUSED = "the server responded with a status of 422"
"""What Chromium itself writes of a form that is shown again with what was wrong."""
_people = count(1)

Visit = Callable[..., Page]


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests of this worker; each test registers people of its own."""
    with serve(tmp_path_factory.mktemp("browser"), DEBUG_PAGES="1") as server:
        yield server


@pytest.fixture
def member(server: Server) -> site.Member:
    return site.register(server.url, f"member{next(_people)}")


@pytest.fixture
def visit(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """``visit(member)`` gives a fresh browser of that member, or of nobody (at ``url``, else at the
    server of all tests); ``watch=False`` allows it to report errors, ``refused=True`` only those
    about forms that come back. ``zone`` is the browser's time zone."""
    opened: list[tuple[Page, Watch]] = []

    def open_(
        member: site.Member | None = None,
        *,
        width: int = 1280,
        theme: str = "dark",
        scripts: bool = True,
        watch: bool = True,
        refused: bool = False,
        url: str = "",
        zone: str | None = None,
    ) -> Page:
        if member is not None:
            url = member.url
        context = browser.new_context(
            base_url=url or request.getfixturevalue("server").url,
            timezone_id=zone,
            viewport={"width": width, "height": 844 if width < 768 else 900},
            java_script_enabled=scripts,
            permissions=["clipboard-read", "clipboard-write"],
        )
        context.set_default_timeout(PATIENCE_MS)
        if member is not None:
            context.add_cookies(member.cookies)  # type: ignore[arg-type]
        page = context.new_page()
        seen = Watch(page, _REFUSED if refused else None)
        if scripts:
            context.add_init_script(WATCH % theme)
        opened.append((page, seen if watch else Watch()))
        return page

    yield open_
    troubles = [trouble for page, seen in opened for trouble in seen.troubles(page)]
    for page, _ in opened:
        page.context.close()
    assert troubles == []
