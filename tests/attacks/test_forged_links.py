"""Row 47: accounts at providers are linked and unlinked by the pages of the shop only, also where their scripts send no
anti-CSRF token, as the published clients do."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import ADDRESS, APP, EVIL, HTML, OTHER_PAGE, OWN_PAGE, PASSWORD, Browser, set_cookies
from tests.attacks.test_forgery import FOREIGN, SIMPLE
from tests.credentials.social import SocialStage, social_stage

JSON = "application/json"
ADA = "ada@example.org"
KNOWN = {
    "our page": OWN_PAGE,
    "our page in an older browser": {"origin": ADDRESS},
    "our page behind a proxy that drops the origin": {"sec-fetch-site": "same-origin"},
    "a configured page": {"sec-fetch-site": "cross-site", "origin": APP},
}
UNKNOWN = {
    **FOREIGN,
    "no page": {},
    "a referrer alone": {"referer": f"{ADDRESS}/account"},
}
LINK, UNLINK = {"link": "other"}, {"unlink": "idp"}


@pytest.fixture
async def stage(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[SocialStage]:
    async with social_stage(sqlite_dsn, tmp_path, clock) as stage:
        yield stage


@pytest.fixture
async def victim(stage: SocialStage) -> Browser:
    """A browser that is signed in to an account with a password and a link."""
    return await signed_in(stage, ADA)


async def signed_in(stage: SocialStage, email: str, *, subject: str = "alice") -> Browser:
    await stage.customer(email, ("idp", subject), password=PASSWORD)
    browser = await stage.scene.browser()
    assert (await browser.sign_in(email)).status_code == 200
    return browser


async def send(
    browser: Browser, fields: Mapping[str, Any], page: Mapping[str, str], *, kind: str = JSON
) -> httpx2.Response:
    """Send a change to a settings flow of this browser, without the token if `fields` has none."""
    flow = await browser.open_flow("settings")
    body = json.dumps({"method": "oidc", **fields})
    return await browser.post(
        flow["ui"]["action"], content=body, headers={"accept": JSON, **({"content-type": kind} if kind else {}), **page}
    )


def refused(answer: httpx2.Response) -> bool:
    return (answer.status_code, answer.json()["error"].get("id")) == (403, "security_csrf_violation")


class TestWithoutAToken:
    async def test_scripts_of_known_pages_link_and_unlink(self, stage: SocialStage) -> None:
        for number, (name, page) in enumerate(KNOWN.items()):
            browser = await signed_in(stage, f"{number}-{ADA}", subject=f"alice-{number}")
            assert (await send(browser, LINK, page)).status_code == 422, name
            assert (await send(browser, UNLINK, page)).status_code == 200, name

    async def test_row_047_nobody_else_does(self, victim: Browser) -> None:
        for name, page in UNKNOWN.items():
            for change in (LINK, UNLINK):
                answer = await send(victim, change, page)
                assert refused(answer), (name, answer.text)
                assert "csrf_token" not in set_cookies(answer), name

    async def test_row_047_json_from_a_form_does_not(self, victim: Browser) -> None:
        """A form of another site can send JSON as text/plain; not even our own page's form may."""
        for kind in SIMPLE:
            for page in (OWN_PAGE, OTHER_PAGE, {"origin": EVIL}, {}):
                assert refused(await send(victim, UNLINK, page, kind=kind)), (kind, page)

    async def test_row_047_a_form_of_our_own_page_does_not(self, victim: Browser) -> None:
        flow = await victim.open_flow("settings")
        headers = {"accept": HTML, **OWN_PAGE}
        answer = await victim.post(flow["ui"]["action"], data={"method": "oidc", "unlink": "idp"}, headers=headers)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith(f"{ADDRESS}/error")

    async def test_row_047_a_browser_without_the_anti_csrf_cookie_does_not(self, victim: Browser) -> None:
        flow = await victim.open_flow("settings")
        [name] = [name for name in victim.cookies if "csrf_token_" in name]
        victim.cookies.delete(name)
        body = {"method": "oidc", "unlink": "idp"}
        assert refused(await victim.post(flow["ui"]["action"], json=body, headers={"accept": JSON, **OWN_PAGE}))

    async def test_row_047_other_methods_keep_their_token(self, victim: Browser) -> None:
        for fields in ({"method": "password", "password": "x"}, {"method": "profile", "traits": {"email": ADA}}):
            assert refused(await send(victim, fields, OWN_PAGE)), fields

    async def test_row_047_other_flows_keep_it_too(self, stage: SocialStage) -> None:
        browser = await stage.scene.browser()
        for kind in ("login", "registration"):
            flow = await browser.open_flow(kind)
            body = {"method": "oidc", "provider": "idp"}
            assert refused(await browser.post(flow["ui"]["action"], json=body, headers={"accept": JSON, **OWN_PAGE}))


class TestWithAToken:
    async def test_row_047_a_wrong_one_is_refused_from_our_own_page(self, victim: Browser) -> None:
        for token in ("", "x", "A" * 88, None, 1):
            assert refused(await send(victim, {**UNLINK, "csrf_token": token}, OWN_PAGE)), token
