"""Forms of our pages that lead to another server: browsers apply the policy of a page to redirects after its form."""

from typing import Any

import pytest

from tests.attacks.scene import csrf_of, set_cookies
from tests.flows.conftest import Stage, Staging
from tests.flows.travelling_method import TRAVEL
from tests.http.pages.reading import read

OWN_PAGE = {"origin": "https://shop.test", "sec-fetch-site": "same-origin"}
ELSEWHERE = "https://login.example.net"


async def submitted(stage: Stage, **headers: str) -> Any:
    browser = await stage.scene.browser(accept_language="de")
    flow = await browser.open_flow("login")
    return await browser.post(
        flow["ui"]["action"], data={"method": TRAVEL, "csrf_token": csrf_of(flow)}, headers=headers
    )


class TestWhoSentTheForm:
    """What Chromium makes of it is tested in `tests/http/pages/test_social_pages.py`."""

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
