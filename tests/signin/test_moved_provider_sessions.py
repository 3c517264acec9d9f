"""A sign-in that replaces a session of the same customer: a sign-out at the provider ends what has taken its place."""

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import PASSWORD, Browser
from tests.credentials.social import JSON, SocialStage, social_stage
from tests.openid.scripted import signed

ADA, BEA = "ada@example.org", "bea@example.org"
BACKCHANNEL = "/self-service/methods/oidc/backchannel-logout"


@pytest.fixture
async def stage(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[SocialStage]:
    async with social_stage(sqlite_dsn, tmp_path, clock, idp={"rp_initiated_logout": True}) as stage:
        yield stage


async def confirm(stage: SocialStage, browser: Browser) -> None:
    """Sign in once more by password; another session takes the place of the one that is confirmed."""
    before = browser.session_cookie
    await browser.send_flow(
        await browser.open_flow("login", "?refresh=true"), {"identifier": ADA, "password": PASSWORD}
    )
    assert browser.session_cookie not in (None, before)


async def sign_out_at(stage: SocialStage, provider: str, *, subject: str, sid: str) -> None:
    """Have a provider tell that somebody has signed out there."""
    token = signed(stage.provider(provider).logout_claims(sub=subject, sid=sid), typ="logout+jwt")
    answer = await (await stage.scene.native()).post(f"{BACKCHANNEL}/{provider}", data={"logout_token": token})
    assert answer.status_code == 200, answer.text


async def test_a_session_that_is_confirmed_by_password_ends_with_the_provider_s(stage: SocialStage) -> None:
    await stage.customer(ADA, ("idp", "alice"), password=PASSWORD)
    browser = await stage.scene.browser()
    await stage.arrive(browser, sid="s1")
    await confirm(stage, browser)
    assert await browser.whoami() is not None
    await sign_out_at(stage, "idp", subject="alice", sid="s1")
    assert await browser.whoami() is None
    assert await stage.scene.rows("provider_sessions") == []


async def test_signing_out_here_still_leads_to_the_provider(stage: SocialStage) -> None:
    await stage.customer(ADA, ("idp", "alice"), password=PASSWORD)
    browser = await stage.scene.browser()
    await stage.arrive(browser, sid="s1")
    [kept] = await stage.scene.rows("provider_sessions")
    await confirm(stage, browser)
    [moved] = await stage.scene.rows("provider_sessions")
    assert moved["session_id"] != kept["session_id"]
    assert moved["began_at"] == kept["began_at"]
    url = (await browser.get("/self-service/logout/browser", headers=JSON)).json()["logout_url"]
    left = await browser.get(url, params={**dict(parse_qs(urlsplit(url).query)), "provider_logout": "true"})
    hint = parse_qs(urlsplit(left.headers["location"]).query)["id_token_hint"]
    assert hint == list(stage.tokens.values())


async def test_one_that_is_confirmed_by_another_provider_ends_with_either(stage: SocialStage) -> None:
    await stage.customer(ADA, ("idp", "alice"), ("other", "a-1"), password=PASSWORD)
    for ends in (
        {"provider": "idp", "subject": "alice", "sid": "s1"},
        {"provider": "other", "subject": "a-1", "sid": "s2"},
    ):
        browser = await stage.scene.browser()
        await stage.arrive(browser, sid="s1")
        flow = await browser.open_flow("login", "?refresh=true")
        url = await stage.leave(browser, flow, provider="other")
        await browser.get(stage.back(url, subject="a-1", provider="other", sid="s2"))
        assert await browser.whoami() is not None
        await sign_out_at(stage, **ends)
        assert await browser.whoami() is None


async def test_another_customer_s_session_in_the_same_browser_does_not(stage: SocialStage) -> None:
    await stage.customer(ADA, ("idp", "alice"))
    bea = await stage.customer(BEA, password=PASSWORD)
    browser = await stage.scene.browser()
    await stage.arrive(browser, sid="s1")
    answer = await (await stage.scene.native()).post(
        "/signin",
        json={"username": BEA, "password": PASSWORD},
        headers={"authorization": f"Bearer {browser.session_cookie}"},
    )
    assert answer.status_code == 200, answer.text
    assert await stage.scene.rows("provider_sessions") == []
    assert [UUID(row["identity_id"]) for row in await stage.scene.rows("sessions") if row["active"]] == [bea.id]
