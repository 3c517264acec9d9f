"""A real browser for the end-to-end tests, and the checks that every page must pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, ViewportSize, expect, sync_playwright

from tests.services.install import CHROMIUM

PHONE: ViewportSize = {"width": 390, "height": 844}
DESK: ViewportSize = {"width": 1280, "height": 900}
NARROWEST: ViewportSize = {"width": 360, "height": 740}
PATIENCE = 30_000
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The machine's Chromium."""
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM.ensure()), args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Screen:
    """A browser window with cookies of its own. `complaints` holds the errors of its console."""

    context: BrowserContext
    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def go(self, path: str) -> Page:
        self.page.goto(f"{self.url}{path}")
        return self.page

    def complain(self, message: ConsoleMessage) -> None:
        # The page itself reports a refused request; the browser logs each one as well.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)


class Screens:
    """The browser windows of one test."""

    def __init__(self, browser: Browser, url: str) -> None:
        self._browser, self._url = browser, url
        self._open: list[Screen] = []

    def open(self, *, size: ViewportSize = DESK, scripts: bool = True, locale: str = "en-GB") -> Screen:
        context = self._browser.new_context(viewport=size, java_script_enabled=scripts, locale=locale)
        context.set_default_timeout(PATIENCE)
        screen = Screen(context, context.new_page(), self._url)
        screen.page.on("console", screen.complain)
        screen.page.on("pageerror", lambda error: screen.complaints.append(str(error)))
        self._open.append(screen)
        return screen

    def close(self) -> None:
        """End the test: no page may have logged an error."""
        complaints = [complaint for screen in self._open for complaint in screen.complaints]
        for screen in self._open:
            screen.context.close()
        assert complaints == []


# -- checks of every page ----------------------------------------------------------------------------------------------

_FAULTS = Path(__file__).with_name("faults.js").read_text()
_FOCUSED = """() => {
  const node = document.activeElement;
  const box = node.getBoundingClientRect();
  const style = getComputedStyle(node);
  return {
    is: node.getAttribute("name") || node.textContent.trim() || node.tagName,
    shown: box.width > 0 && box.height > 0,
    marked: style.outlineStyle !== "none" || style.boxShadow !== "none",
  };
}"""


def check(page: Page) -> None:
    """Check what holds of every page, on a narrow phone as well: a language, one heading, a name for every control, and
    nothing that is wider than the screen."""
    size = page.viewport_size
    for each in (size, NARROWEST):
        page.set_viewport_size(each or DESK)
        assert page.evaluate(_FAULTS) == [], page.url
    page.set_viewport_size(size or DESK)


def tabbed_through(page: Page, *, until: str) -> list[str]:
    """Return what the tabulator key leads to, in order, up to the control of this name. All of it must be visible."""
    passed: list[str] = []
    for _ in range(40):
        page.keyboard.press("Tab")
        stop: dict[str, Any] = page.evaluate(_FOCUSED)
        assert stop["shown"], stop
        assert stop["marked"], stop
        passed.append(stop["is"])
        if stop["is"] == until:
            return passed
    raise AssertionError(f"{until!r} cannot be reached: {passed}")
