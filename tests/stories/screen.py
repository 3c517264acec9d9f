"""A real browser for the stories, and what can be said of any page in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, ViewportSize, expect, sync_playwright

from tests.services.install_browser import ensure_chromium

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
        browser = playwright.chromium.launch(executable_path=str(ensure_chromium()), args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Screen:
    """Somebody's browser: one window with cookies of its own. `complaints` is what its console said against us."""

    context: BrowserContext
    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def go(self, path: str) -> Page:
        self.page.goto(f"{self.url}{path}")
        return self.page

    def complain(self, message: ConsoleMessage) -> None:
        # A refused request is told by the page itself; the browser notes every one.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)


class Screens:
    """The browsers of one story."""

    def __init__(self, browser: Browser, url: str) -> None:
        self._browser, self._url = browser, url
        self._open: list[Screen] = []

    def open(self, *, size: ViewportSize = DESK, scripts: bool = True) -> Screen:
        context = self._browser.new_context(viewport=size, java_script_enabled=scripts, locale="en-GB")
        context.set_default_timeout(PATIENCE)
        screen = Screen(context, context.new_page(), self._url)
        screen.page.on("console", screen.complain)
        screen.page.on("pageerror", lambda error: screen.complaints.append(str(error)))
        self._open.append(screen)
        return screen

    def close(self) -> None:
        """Ends the story: nothing may have gone wrong behind the pages."""
        complaints = [complaint for screen in self._open for complaint in screen.complaints]
        for screen in self._open:
            screen.context.close()
        assert complaints == []


# -- what is said of any page ------------------------------------------------------------------------------------------

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
    """What holds of every page, on a narrow phone as well: it has a language, one heading, names for everything, and
    nothing that is wider than the screen."""
    size = page.viewport_size
    for each in (size, NARROWEST):
        page.set_viewport_size(each or DESK)
        assert page.evaluate(_FAULTS) == [], page.url
    page.set_viewport_size(size or DESK)


def tabbed_through(page: Page, *, until: str) -> list[str]:
    """What the tabulator key leads to, in order, up to the control of this name. All of it can be seen."""
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
