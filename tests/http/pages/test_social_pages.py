"""Social sign-in on the pages, in Chromium without scripts, at a real provider."""

from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from re import compile as compile_
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from shopkeeper.clock import StoppedClock
from tests.http.pages.conftest import PASSWORD, Visiting
from tests.services.asgi import listening
from tests.services.install import CHROMIUM
from tests.services.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIDProvider
from tests.services.openid_provider import PASSWORD as THERE
from tests.services.server import free_port
from tests.stories.screen import FLAGS, PATIENCE

# What the mapper of a provider makes of its claims: nothing, so that the shop has to ask.
_QUIET = b"{identity: {traits: {}}}"


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
async def served(visiting: Visiting, dsn: str, provider: OpenIDProvider) -> AsyncIterator[str]:
    """Serve a shop whose customers may sign in at the provider; return its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    provider.client(redirect_uris=[f"{url}/self-service/methods/oidc/callback/{name}" for name in ("idp", "quiet")])
    serve = {"public": {"base_url": f"{url}/"}}
    async with (
        visiting(dsn, with_demo=True, serve=serve, **_social(provider)) as shop,
        listening(shop.application.public, port),
    ):
        yield url


def _social(provider: OpenIDProvider) -> Mapping[str, Any]:
    configured = {
        "provider": "generic",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "issuer_url": provider.issuer,
    }
    providers = [
        {**configured, "id": "idp", "label": "Harbour", "scope": ["email"]},
        {**configured, "id": "quiet", "label": "Quiet harbour", "mapper_url": f"base64://{b64encode(_QUIET).decode()}"},
    ]
    session = {"hooks": [{"hook": "session"}]}
    return {
        "clients": {"http": {"disallow_private_ip_ranges": False}},
        "selfservice": {
            "methods": {
                "password": {"config": {"haveibeenpwned_enabled": False}},
                "code": {"passwordless_enabled": False},
                "oidc": {"enabled": True, "config": {"providers": providers}},
            },
            "flows": {"registration": {"after": {"password": session, "oidc": session}}},
        },
    }


@pytest.fixture
async def shop(visiting: Visiting, sqlite_dsn: str, openid_provider: OpenIDProvider) -> AsyncIterator[str]:
    """The address of a shop with the provider Harbour, which knows Ada."""
    openid_provider.person("ada@example.org")
    async with served(visiting, sqlite_dsn, openid_provider) as url:
        yield url


async def at_the_provider(page: Page, *, answer: str = "Sign in and share") -> None:
    """Sign in there, or decline."""
    await page.get_by_label("E-mail").fill("ada@example.org")
    await page.get_by_label("Password").fill(THERE)
    await page.get_by_role("button", name=answer).click()


async def heading(page: Page, text: str) -> None:
    await expect(page.get_by_role("heading", level=1)).to_have_text(text)


async def test_a_new_customer_signs_up_links_and_unlinks(
    shop: str, page: Page, clock: StoppedClock, openid_provider: OpenIDProvider
) -> None:
    await page.goto(f"{shop}/self-service/registration/browser")
    await page.get_by_role("button", name="Sign up with Harbour").click()
    await at_the_provider(page)
    await heading(page, "Your account")
    devices, linked = page.get_by_role("region", name="Where you are"), page.get_by_role("region", name="Linked")
    await expect(devices).to_contain_text("Signed in with Harbour")
    unlink = linked.get_by_role("button", name="Unlink Harbour")
    await expect(unlink).to_be_disabled()
    await expect(unlink).to_have_accessible_description(compile_("only way to sign in"))

    await page.get_by_label("New password").fill(PASSWORD)
    await page.get_by_role("region", name="Choose a password").get_by_role("button", name="Save").click()
    await unlink.click()
    await expect(page.get_by_text("Your changes have been saved.")).to_be_visible()
    await expect(linked).to_contain_text("Harbour not linked")

    clock.advance(hours=2)
    openid_provider.clock(7200)
    await page.reload()
    await linked.get_by_role("button", name="Link Harbour").click()
    await heading(page, "Confirm that it is you")
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await expect(page.get_by_text("Your changes have been saved.")).to_be_visible()
    await expect(linked).to_contain_text("Harbour linked")


async def test_a_sign_in_that_is_declined_comes_back_to_the_form(shop: str, page: Page) -> None:
    await page.goto(f"{shop}/self-service/login/browser")
    await page.get_by_role("button", name="Sign in with Harbour").click()
    await at_the_provider(page, answer="Decline")
    await heading(page, "Sign in")
    await expect(page.get_by_role("alert")).to_have_text(
        "The provider did not sign you in. Try again, or choose another way."
    )
    await page.get_by_role("button", name="Sign in with Harbour").click()
    await at_the_provider(page)
    await heading(page, "Your account")


async def test_what_the_provider_has_not_told_is_asked_for(shop: str, page: Page) -> None:
    await page.goto(f"{shop}/self-service/login/browser")
    await page.get_by_role("button", name="Sign in with Quiet harbour").click()
    await at_the_provider(page)
    await heading(page, "Nearly done")
    await expect(page.get_by_text("Your sign-in with Quiet harbour has worked.")).to_be_visible()
    await page.get_by_label("E-mail").fill("ada@example.org")
    await page.get_by_role("button", name="Continue").click()
    await heading(page, "Your account")
    await expect(page.get_by_role("region", name="Linked")).to_contain_text("Quiet harbour linked")


async def test_an_account_that_exists_is_proven_and_linked(shop: str, page: Page) -> None:
    await page.goto(f"{shop}/self-service/registration/browser")
    await page.get_by_label("E-mail").fill("ada@example.org")
    await page.get_by_role("button", name="Sign up", exact=True).click()
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign up", exact=True).click()
    await heading(page, "Your account")
    await page.get_by_role("link", name="Sign out").first.click()

    await page.goto(f"{shop}/self-service/login/browser")
    await page.get_by_role("button", name="Sign in with Harbour").click()
    await at_the_provider(page)
    await heading(page, "You have an account already")
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Sign in with password").click()
    await heading(page, "Your account")
    await expect(page.get_by_role("region", name="Linked")).to_contain_text("Harbour linked")


async def test_the_shop_leads_to_the_buttons_and_the_cart_comes_along(shop: str, chromium: Browser) -> None:
    context = await chromium.new_context(locale="en")
    page = await context.new_page()
    await page.goto(f"{shop}/#/product/bath-towels")
    await page.get_by_role("button", name="Add to the cart").click()
    await expect(page.get_by_text("In your cart:").first).to_be_visible()
    await page.get_by_role("button", name="Sign in", exact=True).first.click()
    await page.get_by_role("link", name="All ways to sign in").click()
    await expect(page.get_by_text("What you have put in your cart stays in it.")).to_be_visible()
    await page.get_by_role("button", name="Sign in with Harbour").click()
    await at_the_provider(page)
    await expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    await expect(page.get_by_role("link", name=compile_("^Cart"))).to_have_text(compile_(r"Cart\s*1"))
    await context.close()


async def test_a_provider_confirms_the_session_and_what_was_sent_is_done(
    shop: str, page: Page, clock: StoppedClock, openid_provider: OpenIDProvider
) -> None:
    await page.goto(f"{shop}/self-service/registration/browser")
    await page.get_by_role("button", name="Sign up with Harbour").click()
    await at_the_provider(page)
    await heading(page, "Your account")
    clock.advance(hours=2)
    openid_provider.clock(7200)
    await page.reload()
    choose = page.get_by_role("region", name="Choose a password")
    await choose.get_by_label("New password").fill(PASSWORD)
    await choose.get_by_role("button", name="Save").click()
    await heading(page, "Confirm that it is you")
    await page.get_by_role("button", name="Sign in with Harbour").click()
    await at_the_provider(page)
    await expect(page.get_by_text("Your changes have been saved.")).to_be_visible()
    await expect(page.get_by_role("button", name="Unlink Harbour")).to_be_enabled()
