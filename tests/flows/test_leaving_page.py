"""Forms of our pages that lead to another server: browsers apply the policy of a page to redirects after its form."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright, expect

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import PASSWORD, csrf_of, new_address, set_cookies
from tests.flows.conftest import Stage, Staging
from tests.flows.travelling_method import TRAVEL
from tests.http.pages.reading import read
from tests.services.asgi import listening
from tests.services.install import CHROMIUM
from tests.services.server import free_port
from tests.stories.screen import FLAGS, PATIENCE

OWN_PAGE = {"origin": "https://shop.test", "sec-fetch-site": "same-origin"}
ELSEWHERE = "https://login.example.net"


async def submitted(stage: Stage, **headers: str) -> Any:
    browser = await stage.scene.browser(accept_language="de")
    flow = await browser.open_flow("login")
    return await browser.post(
        flow["ui"]["action"], data={"method": TRAVEL, "csrf_token": csrf_of(flow)}, headers=headers
    )


class TestWhoSentTheForm:
    async def test_our_page_gets_a_page_that_leaves_by_itself(self, stage: Stage) -> None:
        answer = await submitted(stage, **OWN_PAGE)
        page = read(answer.text)
        assert answer.status_code == 200
        link = page.one("main").one("a")
        assert link["href"].startswith(f"{stage.provider.url}/authorize?")
        assert page.one("meta", http_equiv="refresh")["content"] == f"0; url={link['href']}"
        assert page.one("h1").text == "Einen Augenblick, bitte"
        assert "127.0.0.1" in page.one("main").text

    async def test_the_page_sets_the_cookie_of_the_way_back_and_is_kept_nowhere(self, stage: Stage) -> None:
        answer = await submitted(stage, **OWN_PAGE)
        assert "shopkeeper_callback" in set_cookies(answer)
        assert "no-store" in answer.headers["cache-control"]
        assert answer.headers["referrer-policy"] == "same-origin"

    @pytest.mark.parametrize(
        "headers",
        [{}, {"origin": ELSEWHERE, "sec-fetch-site": "same-site"}, {"sec-fetch-site": "none"}],
        ids=["a program", "a page of the shop's own", "somebody who typed the address"],
    )
    async def test_others_are_redirected_as_the_contract_says(
        self, staging: Staging, sqlite_dsn: str, headers: dict[str, str]
    ) -> None:
        async with staging(
            sqlite_dsn, serve={"public": {"cors": {"enabled": True, "allowed_origins": [ELSEWHERE]}}}
        ) as stage:
            answer = await submitted(stage, **headers)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith(stage.provider.url)


class TestInABrowser:
    """In Chromium, without scripts. The provider is at another origin, and redirects further before it comes back."""

    @pytest.fixture
    def clock(self) -> StoppedClock:
        """Browsers have a clock of their own, by which cookies expire."""
        return StoppedClock(datetime.now(UTC))

    @pytest.fixture
    async def page(self) -> AsyncIterator[Page]:
        async with async_playwright() as playwright:
            chromium = await playwright.chromium.launch(executable_path=str(CHROMIUM.ensure()), args=list(FLAGS))
            context = await chromium.new_context(java_script_enabled=False, locale="en")
            context.set_default_timeout(PATIENCE)
            yield await context.new_page()
            await chromium.close()

    async def test_a_form_signs_in_at_another_server(self, staging: Staging, sqlite_dsn: str, page: Page) -> None:
        async with served(staging, sqlite_dsn) as (stage, url):
            await stage.customer("ada")
            stage.provider.says("proof", subject="ada")
            await page.goto(f"{url}/self-service/login/browser")
            await page.get_by_role("button", name="Continue").click()
            await expect(page.get_by_role("heading", level=1)).to_have_text("Your account")
            await page.go_back()
            await expect(page.get_by_role("heading", level=1)).to_have_text("Your account")

    async def test_what_waits_for_a_password_leaves_after_it(
        self, staging: Staging, sqlite_dsn: str, clock: StoppedClock, page: Page
    ) -> None:
        """The form to confirm the session leads on to the settings, and these to the other server."""
        async with served(staging, sqlite_dsn) as (stage, url):
            await register(page, url)
            clock.advance(hours=2)
            await page.goto(f"{url}/self-service/settings/browser")
            stage.provider.says("change", subject="ada")
            await page.get_by_role("button", name="Continue").click()
            await expect(page.get_by_role("heading", level=1)).to_have_text("Confirm that it is you")
            await page.get_by_label("Password", exact=True).fill(PASSWORD)
            await page.get_by_role("button", name="Sign in", exact=True).click()
            await expect(page.get_by_text("Your changes have been saved.")).to_be_visible()
            await expect(page.get_by_label("linked")).to_have_value("ada")


async def register(page: Page, url: str) -> None:
    await page.goto(f"{url}/self-service/registration/browser")
    await page.get_by_label("E-mail").fill(new_address())
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign up", exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Your account")


@asynccontextmanager
async def served(staging: Staging, dsn: str) -> AsyncIterator[tuple[Stage, str]]:
    """Serve a stage on a port of this machine; return its address, too."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    public = {"base_url": f"{url}/"}
    async with staging(dsn, serve={"public": public}) as stage, listening(stage.scene.application.public, port):
        yield stage, url
