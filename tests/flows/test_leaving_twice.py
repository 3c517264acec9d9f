"""Two submissions of one form at once, as by a double click on a provider's button: the browser may follow either."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.openid.client import OpenIDClient
from tests.attacks.scene import HTML, PASSWORD, Browser, csrf_of, set_cookies
from tests.credentials.social import SocialStage, social_stage

ADA = "ada@example.org"


@pytest.fixture
async def stage(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[SocialStage]:
    async with social_stage(sqlite_dsn, tmp_path, clock) as stage:
        yield stage


def before_leaving(monkeypatch: pytest.MonkeyPatch, wait: Callable[[], Awaitable[Any]]) -> None:
    """Have each submission wait after the provider was asked, and before anything is stored."""
    authorization_url = OpenIDClient.authorization_url

    async def waiting(client: OpenIDClient, **request: Any) -> str:
        url = await authorization_url(client, **request)
        await wait()
        return url

    monkeypatch.setattr(OpenIDClient, "authorization_url", waiting)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have two submissions have read the flow before either is stored."""
    before_leaving(monkeypatch, asyncio.Barrier(2).wait)


async def clicked(browser: Browser, flow: dict[str, Any], **fields: str) -> httpx2.Response:
    sent = {"method": "oidc", "csrf_token": csrf_of(flow), **fields}
    return await browser.post(flow["ui"]["action"], data=sent, headers={"accept": HTML})


def state_of(url: str) -> str:
    return dict(parse_qsl(urlsplit(url).query))["state"]


@pytest.mark.usefixtures("at_once")
class TestADoubleClick:
    @pytest.mark.parametrize("kind", ["login", "registration"])
    async def test_leads_to_one_place(self, stage: SocialStage, kind: str) -> None:
        browser = await stage.scene.browser()
        flow = await browser.open_flow(kind)
        answers = await asyncio.gather(*(stage.submit(browser, flow, provider="idp") for _ in range(2)))
        assert [answer.status_code for answer in answers] == [422, 422]
        first, second = [str(answer.json()["redirect_browser_to"]) for answer in answers]
        assert first == second
        await browser.get(stage.back(first, email=ADA, email_verified=True))
        assert await browser.whoami() is not None

    async def test_leads_a_page_there_with_one_cookie(self, stage: SocialStage) -> None:
        browser = await stage.scene.browser()
        flow = await browser.open_flow("login")
        answers = await asyncio.gather(*(clicked(browser, flow, provider="idp") for _ in range(2)))
        first, second = [
            (
                answer.status_code,
                answer.headers["location"],
                set_cookies(answer)["shopkeeper_callback"].partition(";")[0],
            )
            for answer in answers
        ]
        assert (first, first[0]) == (second, 303)

    async def test_links_too(self, stage: SocialStage) -> None:
        ada = await stage.customer(ADA, password=PASSWORD)
        browser = await stage.scene.browser()
        await browser.sign_in(ADA)
        flow = await browser.open_flow("settings")
        answers = await asyncio.gather(*(stage.submit(browser, flow, link="idp") for _ in range(2)))
        [url] = {str(answer.json()["redirect_browser_to"]) for answer in answers}
        await browser.get(stage.back(url))
        assert "oidc" in (await stage.read(ada)).credentials

    async def test_on_two_buttons_leads_to_both_and_one_counts(self, stage: SocialStage) -> None:
        browser = await stage.scene.browser()
        flow = await browser.open_flow("login")
        answers = await asyncio.gather(*(stage.submit(browser, flow, provider=name) for name in ("idp", "other")))
        urls = [str(answer.json()["redirect_browser_to"]) for answer in answers]
        assert all(
            url.startswith(issuer) for url, issuer in zip(urls, (stage.idp.issuer, stage.other.issuer), strict=True)
        )
        assert len({state_of(url) for url in urls}) == 2
        signed_in = []
        for url, name in zip(urls, ("idp", "other"), strict=True):
            answer = await browser.get(stage.back(url, provider=name, email=ADA, email_verified=True))
            assert answer.status_code == 303
            signed_in.append(await browser.whoami() is not None)
        assert any(signed_in)


async def test_a_form_that_was_stored_meanwhile_is_shown(stage: SocialStage, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = await stage.scene.browser()
    flow = await browser.open_flow("login")
    wrong = {"method": "password", "identifier": ADA, "password": "no such password"}
    before_leaving(monkeypatch, lambda: browser.send_flow(flow, wrong))
    answer = await stage.submit(browser, flow, provider="idp")
    assert (answer.status_code, [each["id"] for each in answer.json()["ui"]["messages"]]) == (400, [4000006])


async def test_what_a_browser_left_with_is_stored_sealed(stage: SocialStage) -> None:
    browser = await stage.scene.browser()
    url = await stage.leave(browser, await browser.open_flow("login"), provider="idp")
    stored = repr(await stage.scene.rows("flows"))
    assert state_of(url) not in stored
    assert all(cookie not in stored for name, cookie in browser.cookies.items() if name.endswith("callback"))
