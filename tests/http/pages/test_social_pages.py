"""Social sign-in on the pages, in Chromium without scripts, at a real provider."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from re import compile as compile_
from typing import Any

import pytest
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from playwright.async_api import Browser, Page, async_playwright, expect

from shopkeeper.clock import StoppedClock
from tests.http.pages.conftest import PASSWORD, Visiting
from tests.services.install import CHROMIUM
from tests.services.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIDProvider
from tests.services.openid_provider import PASSWORD as THERE
from tests.services.server import free_port
from tests.stories.screen import FLAGS, PATIENCE


@pytest.fixture
def clock() -> StoppedClock:
    """Browsers have a clock of their own, by which cookies expire."""
    return StoppedClock(datetime.now(UTC))


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=str(CHROMIUM.ensure()), args=list(FLAGS))
        yield browser
        await browser.close()


@pytest.fixture
async def page(chromium: Browser) -> AsyncIterator[Page]:
    context = await chromium.new_context(java_script_enabled=False, locale="en")
    context.set_default_timeout(PATIENCE)
    yield await context.new_page()
    await context.close()


@asynccontextmanager
async def served(visiting: Visiting, dsn: str, provider: OpenIDProvider, **settings: Any) -> AsyncIterator[str]:
    """Serve a shop whose customers may sign in at the provider; return its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    provider.client(redirect_uris=[f"{url}/self-service/methods/oidc/callback/idp"])
    async with visiting(dsn, with_demo=True, serve={"public": {"base_url": f"{url}/"}}, **_social(provider)) as shop:
        server = Server(
            shop.application.public,
            address="127.0.0.1",
            port=port,
            interface=Interfaces.ASGINL,
            websockets=False,
            log_enabled=False,
            http=HTTPModes.http1,
        )
        serving = asyncio.create_task(server.serve())
        try:
            yield url
        finally:
            server.stop()
            await serving


def _social(provider: OpenIDProvider) -> Mapping[str, Any]:
    configured = {
        "id": "idp",
        "provider": "generic",
        "label": "Harbour",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "issuer_url": provider.issuer,
        "scope": ["email"],
    }
    session = {"hooks": [{"hook": "session"}]}
    return {
        "clients": {"http": {"disallow_private_ip_ranges": False}},
        "selfservice": {
            "methods": {
                "password": {"config": {"haveibeenpwned_enabled": False}},
                "code": {"passwordless_enabled": False},
                "oidc": {"enabled": True, "config": {"providers": [configured]}},
            },
            "flows": {"registration": {"after": {"password": session, "oidc": session}}},
        },
    }


@pytest.fixture
async def shop(visiting: Visiting, sqlite_dsn: str, openid_provider: OpenIDProvider) -> AsyncIterator[str]:
    """The address of a shop with the provider Harbour, which knows Ada and Bo."""
    openid_provider.person("ada@example.org")
    openid_provider.person("bo@example.org")
    async with served(visiting, sqlite_dsn, openid_provider) as url:
        yield url


async def at_the_provider(page: Page, email: str = "ada@example.org", *, answer: str = "Sign in and share") -> None:
    """Sign in there, or decline."""
    await page.get_by_label("E-mail").fill(email)
    await page.get_by_label("Password").fill(THERE)
    await page.get_by_role("button", name=answer).click()


async def heading(page: Page, text: str) -> None:
    await expect(page.get_by_role("heading", level=1)).to_have_text(text)


async def test_a_new_customer_signs_up_links_and_unlinks(shop: str, page: Page, clock: StoppedClock) -> None:
    await page.goto(f"{shop}/self-service/registration/browser")
    await page.get_by_role("button", name="Sign up with Harbour").click()
    await at_the_provider(page)
    await heading(page, "Your account")
    devices, linked = page.get_by_role("region", name="Where you are"), page.get_by_role("region", name="Linked")
    await expect(devices).to_contain_text("Signed in with Harbour")
    await shot(page, "account")
    unlink = linked.get_by_role("button", name="Unlink Harbour")
    await expect(unlink).to_be_disabled()
    await expect(unlink).to_have_accessible_description(compile_("only way to sign in"))

    await page.get_by_label("New password").fill(PASSWORD)
    await page.get_by_role("region", name="Choose a password").get_by_role("button", name="Save").click()
    await unlink.click()
    await expect(page.get_by_text("Your changes have been saved.")).to_be_visible()
    await expect(linked).to_contain_text("Harbour not linked")
    await shot(page, "unlinked")

    clock.advance(hours=2)
    await page.reload()
    await linked.get_by_role("button", name="Link Harbour").click()
    await heading(page, "Confirm that it is you")
    await shot(page, "confirm")
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await expect(page.get_by_text("Your changes have been saved.")).to_be_visible()
    await expect(linked).to_contain_text("Harbour linked")
    await shot(page, "linked")


async def test_a_sign_in_that_is_declined_comes_back_to_the_form(shop: str, page: Page) -> None:
    await page.goto(f"{shop}/self-service/login/browser")
    await page.get_by_role("button", name="Sign in with Harbour").click()
    await at_the_provider(page, answer="Decline")
    await heading(page, "Sign in")
    await shot(page, "declined")
    print(await page.inner_text("main"))
    await page.get_by_role("button", name="Sign in with Harbour").click()
    await at_the_provider(page)
    await shot(page, "after")
    await heading(page, "Your account")


async def shot(page: Page, name: str) -> None:
    for size in ({"width": 390, "height": 600}, {"width": 1280, "height": 600}):
        await page.set_viewport_size(size)
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            await page.screenshot(path=f"/tmp/pgs_{name}_{scheme}_{size['width']}.png", full_page=True)
