"""Every page in a real browser: by axe, on a phone and a desk, light and dark, in each language."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import Page, Request, Route, ViewportSize, async_playwright

from tests.conftest import Run
from tests.http.pages.conftest import ADDRESS, Visited, Visiting
from tests.http.pages.gallery import OTHERWISE, collect, collect_otherwise
from tests.services.databases import new_sqlite
from tests.services.install import CHROMIUM
from tests.stories.screen import DESK, FLAGS, PHONE

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
LOOKS = [(size, scheme) for size in (PHONE, DESK) for scheme in SCHEMES]
_FAULTS = (Path(__file__).parents[2] / "stories" / "faults.js").read_text()
_AXE = """(rules) => axe.run({resultTypes: ["violations"], ...(rules ? {runOnly: rules} : {})}).then((found) =>
  found.violations.flatMap((fault) => fault.nodes.map((node) => `${fault.id}: ${node.html} ${node.failureSummary}`)))"""
# What depends on size and colours, and on no language; everything else is looked at once.
_BY_LOOK = ["color-contrast", "target-size", "scrollable-region-focusable"]


@pytest.fixture
def second_dsn(run: Run, tmp_path_factory: pytest.TempPathFactory) -> str:
    return new_sqlite(run.folder, tmp_path_factory.mktemp("otherwise"))


@pytest.mark.parametrize("language", ["en", "de", "es"])
async def test_every_page_can_be_used_by_everybody(
    shop: Visited, visiting: Visiting, second_dsn: str, language: str
) -> None:
    async with visiting(second_dsn, with_demo=True, **OTHERWISE) as otherwise:
        pages = {**await collect(shop, language), **await collect_otherwise(otherwise, language)}
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=str(CHROMIUM.ensure()), args=list(FLAGS))
        context = await chromium.new_context(bypass_csp=True, locale=language)
        await context.add_init_script(AXE_SCRIPT)
        page = await context.new_page()
        await page.route("**/*", _Answers(shop, pages))
        faults = [fault for name in pages for fault in await _faults(page, name, language)]
        await chromium.close()
    assert faults == []


class _Answers:
    """Answers the browser's requests: the pages by their names, and from the application what they need."""

    def __init__(self, shop: Visited, pages: Mapping[str, str]) -> None:
        self._browser, self._pages = shop.browser(), pages
        self._assets: dict[str, httpx2.Response] = {}

    async def __call__(self, route: Route, request: Request) -> None:
        path = request.url.removeprefix(ADDRESS)
        if (name := path.removeprefix("/gallery/")) in self._pages:
            await route.fulfill(body=self._pages[name], content_type="text/html; charset=utf-8")
            return
        answer = self._assets.get(path) or await self._browser.get(path)
        self._assets[path] = answer
        await route.fulfill(
            status=answer.status_code, body=answer.content, content_type=answer.headers.get("content-type", "")
        )


async def _faults(page: Page, name: str, language: str) -> list[str]:
    await page.goto(f"{ADDRESS}/gallery/{name}")
    found: list[str] = []
    for position, (size, scheme) in enumerate(LOOKS):
        await _look(page, size, scheme)
        faults: list[Any] = await page.evaluate(_FAULTS)
        if position == 0 or language == "en":
            faults += await page.evaluate(_AXE, _BY_LOOK if position else None)
        found += [f"{name}, {language}, {size['width']} px, {scheme}: {fault}" for fault in faults]
    return found


async def _look(page: Page, size: ViewportSize, scheme: Literal["light", "dark"]) -> None:
    await page.set_viewport_size(size)
    await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
