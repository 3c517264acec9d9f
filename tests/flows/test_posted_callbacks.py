"""Callbacks that are posted from another site, in Chromium: which of our cookies come along, over https and without."""

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright, expect

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import PASSWORD, new_address
from tests.flows.conftest import Stage, Staging
from tests.services.asgi import listening
from tests.services.certificates import Authority
from tests.services.install import CHROMIUM
from tests.services.server import free_port
from tests.services.tls_front import tls_front
from tests.stories.screen import FLAGS, PATIENCE


@pytest.fixture
def clock() -> StoppedClock:
    """Browsers have a clock of their own, by which cookies expire."""
    return StoppedClock(datetime.now(UTC))


@asynccontextmanager
async def browsing(*, scripts: bool) -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=str(CHROMIUM.ensure()), args=list(FLAGS))
        context = await chromium.new_context(java_script_enabled=scripts, locale="en", ignore_https_errors=True)
        context.set_default_timeout(PATIENCE)
        yield await context.new_page()
        await chromium.close()


@asynccontextmanager
async def served(staging: Staging, dsn: str, folder: Path, *, scheme: str) -> AsyncIterator[tuple[Stage, str]]:
    """Serve a stage as `localhost`, another site than the provider's; return its address, too."""
    port, inner = free_port(), free_port()
    url = f"{scheme}://localhost:{port}"
    async with AsyncExitStack() as closing:
        stage = await closing.enter_async_context(staging(dsn, serve={"public": {"base_url": f"{url}/"}}))
        stage.provider.posts = True
        if scheme == "https":
            issued = Authority("the shop's", folder).issue("localhost", hosts=("localhost",))
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(issued.certificate, issued.key)
            closing.enter_context(tls_front(f"http://127.0.0.1:{inner}", port=port, context=context))
        await closing.enter_async_context(
            listening(stage.scene.application.public, inner if scheme == "https" else port)
        )
        yield stage, url


async def register(page: Page, url: str) -> None:
    await page.goto(f"{url}/self-service/registration/browser")
    await page.get_by_label("E-mail").fill(new_address())
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign up", exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Your account")


@pytest.mark.parametrize(("scheme", "scripts"), [("http", True), ("https", False)])
async def test_a_posted_answer_finds_the_session_of_its_browser(
    staging: Staging, sqlite_dsn: str, tmp_path: Path, scheme: str, scripts: bool
) -> None:
    """Linking needs the session, whose cookie is Lax: browsers add it to no POST of another site."""
    async with served(staging, sqlite_dsn, tmp_path, scheme=scheme) as (stage, url), browsing(scripts=scripts) as page:
        await register(page, url)
        await page.goto(f"{url}/self-service/settings/browser")
        stage.provider.says("change", subject="ada")
        await page.get_by_role("button", name="Continue").click()
        await page.get_by_role("button", name="Back to the shop").click()
        if not scripts:
            await page.get_by_role("button", name="Continue").click()
        await expect(page.get_by_text("Your changes have been saved.")).to_be_visible()
        await expect(page.get_by_label("linked")).to_have_value("ada")
        assert "code=" not in page.url
