"""The pages that there are, and what a page in a browser must not do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import ConsoleMessage, Page, TimeoutError, expect

from tests.browser.site import Things

PAGES = {
    "dashboard": "/",
    "recorders": "/recorders/",
    "new recorder": "/recorders/new/",
    "recorder": "/recorders/{recorder}/",
    "recorder's settings": "/recorders/{recorder}/edit/",
    "traders": "/traders/",
    "trader": "/traders/{trader}/",
    "signals": "/signals/",
    "signal": "/signals/{signal}/",
    "dry run": "/signals/{signal}/dry-run/",
    "logs": "/logs/",
    "accounts": "/accounts/",
    "new account": "/accounts/new/",
    "account": "/accounts/{account}/",
    "guide": "/guide/",
    "settings": "/settings/",
    "API": "/api/docs/",
    "components": "/components/",
}
GATES = {"sign in": "/login", "register": "/register"}
FILES = {
    "/recorders/{id}/export/",
    "/dashboard/equity.csv",
    "/dashboard/trades.csv",
    "/api/openapi.json",
}
"""Linked as well, but downloads."""

WATCH = """
localStorage.getItem("jt-theme") || localStorage.setItem("jt-theme", "%s");
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} in ${event.sourceFile}`));
"""
_AXE = Path(__file__).parent / "vendor" / "axe-core-4.14.1" / "axe.min.js"
_REDRAWN_MS = 2_000
_GRAVE = ("serious", "critical")
_FITS = "() => document.documentElement.scrollWidth <= document.documentElement.clientWidth"
_TOO_WIDE = """() => {
  const room = document.documentElement.clientWidth;
  return [...document.querySelectorAll("body *")]
    .filter((element) => element.getBoundingClientRect().right > room + 1)
    .filter((element) => !element.closest(".jt-scroll, .jt-hscroll"))
    .map((element) => element.outerHTML.slice(0, 120));
}"""


class Watch:
    """Collects a page's errors. Without a page there is nothing to collect."""

    def __init__(self, page: Page | None = None, expected: str | None = None) -> None:
        """``expected``: part of an error that is none."""
        self.errors: list[str] = []
        self._expected = expected
        if page is not None:
            page.on("console", self._hear)
            page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _hear(self, message: ConsoleMessage) -> None:
        is_expected = self._expected is not None and self._expected in message.text
        if message.type == "error" and not is_expected:
            self.errors.append(message.text)

    def troubles(self, page: Page) -> list[str]:
        """The errors so far, with the page's address."""
        return [f"{page.url}: {error}" for error in self.errors]


def paths(things: Things) -> dict[str, str]:
    """The address of each page that shows ``things``."""
    ids = {name: getattr(things, name) for name in ("account", "recorder", "trader", "signal")}
    return {name: path.format(**ids) for name, path in PAGES.items()}


def settled(page: Page) -> None:
    """Wait until the page has its live connection."""
    expect(page.locator("#jt-conn")).to_have_attribute("data-state", "connected")


def violations(page: Page) -> list[str]:
    """Breaches of the Content-Security-Policy since the page was loaded."""
    found: list[str] = page.evaluate("() => window.violations")
    return found


def too_wide(page: Page, width: int) -> list[str]:
    """What sticks out to the right where the window is that wide. Charts are drawn anew for it."""
    height = page.viewport_size["height"] if page.viewport_size else 800
    page.set_viewport_size({"width": width, "height": height})
    try:
        page.wait_for_function(_FITS, timeout=_REDRAWN_MS)
    except TimeoutError:
        found: list[str] = page.evaluate(_TOO_WIDE)
        return found or ["something is"]
    return []


def barriers(page: Page) -> list[str]:
    """What keeps people out, by the rules of axe."""
    page.evaluate(_AXE.read_text())
    found: Any = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{rule['id']}: {node['html'][:160]}"
        for rule in found["violations"]
        if rule["impact"] in _GRAVE
        for node in rule["nodes"]
    ]
