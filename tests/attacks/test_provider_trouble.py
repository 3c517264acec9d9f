"""A provider that refuses, fails, is down, or has other keys, another clock or another algorithm."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.federation import (
    CALLBACK,
    NOTHING,
    Federation,
    federated,
    known,
    parameter,
    with_query,
)
from tests.attacks.scene import Browser
from tests.services.openid_provider import OpenIDProvider
from tests.services.other_openid_provider import OtherProvider

FAULTS: list[dict[str, Any]] = [
    {"drop": True},
    {"status": 503, "body": "<html>busy</html>", "type": "text/html"},
    {"body": "not JSON"},
    {"body": "[]"},
    {"body": '{"access_token": 7}'},
    {"body": json.dumps({"id_token": "x" * 200_000})},
]


class TestTrouble:
    """A message on the form, no session, nothing half-made; and the form can be used again."""

    async def _recovers(self, federation: Federation, browser: Browser) -> None:
        await federation.sign_in(browser, known(federation))
        assert await browser.whoami() is not None

    async def test_a_person_declines(self, federation: Federation) -> None:
        browser = await federation.scene.browser()
        arrival = federation.walk(await federation.leave(browser), known(federation), answer="no")
        answer = await federation.come_back(browser, arrival)
        assert await federation.messages(browser, answer)
        assert (await browser.whoami(), await federation.made()) == (None, NOTHING)
        await self._recovers(federation, browser)

    async def test_the_text_of_a_refusal_is_shown_to_nobody(self, federation: Federation) -> None:
        browser = await federation.scene.browser()
        url = await federation.leave(browser)
        state, text = parameter(url, "state"), "call-this-number-now"
        path = f"{CALLBACK}/idp?error=access_denied&error_description={text}&state={state}"
        answer = await browser.get(with_query(path, iss=federation.provider.issuer))
        shown = await browser.get(answer.headers["location"], follow_redirects=True)
        assert shown.status_code == 200
        assert text not in shown.text

    async def test_a_token_endpoint_fails(self, federation: Federation) -> None:
        browser = await federation.scene.browser()
        for fault in FAULTS:
            arrival = federation.walk(await federation.leave(browser), known(federation))
            federation.provider.faults(token=fault)
            answer = await federation.come_back(browser, arrival)
            assert await federation.messages(browser, answer), fault
            assert (await browser.whoami(), await federation.made()) == (None, NOTHING), fault
            federation.provider.faults()
            federation.scene.clock.advance(minutes=1)
        await self._recovers(federation, browser)

    async def test_a_provider_is_down_for_half_a_minute(self, federation: Federation) -> None:
        federation.provider.faults(all={"drop": True})
        browser = await federation.scene.browser()
        for _ in range(8):
            flow = await browser.open_flow("login")
            answer = await browser.send_flow(flow, {"method": "oidc", "provider": "idp"})
            assert answer.status_code == 502, answer.text
            federation.scene.clock.advance(seconds=4)
        assert await federation.made() == NOTHING
        federation.provider.faults()
        federation.scene.clock.advance(seconds=60)
        await self._recovers(federation, browser)

    @pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
    async def test_each_algorithm_is_verified(
        self,
        sqlite_dsn: str,
        tmp_path: Path,
        openid_provider: OpenIDProvider,
        other_openid_provider: OtherProvider,
        alg: str,
    ) -> None:
        ground = (sqlite_dsn, tmp_path, openid_provider, other_openid_provider)
        async with federated(*ground, id_token_signed_response_alg=alg) as federation:
            await self._recovers(federation, await federation.scene.browser())

    @pytest.mark.parametrize("at_once", [False, True])
    async def test_keys_rotate_without_an_outage(self, federation: Federation, at_once: bool) -> None:
        await self._recovers(federation, await federation.scene.browser())
        federation.provider.rotate(at_once=at_once)
        federation.scene.clock.advance(seconds=15)
        await self._recovers(federation, await federation.scene.browser())

    async def test_a_clock_that_is_five_minutes_slow_does_no_harm(self, federation: Federation) -> None:
        federation.provider.clock(-300)
        await self._recovers(federation, await federation.scene.browser())

    async def test_a_clock_that_is_five_minutes_fast_is_a_message(self, federation: Federation) -> None:
        federation.provider.clock(300)
        browser = await federation.scene.browser()
        answer = await federation.sign_in(browser, known(federation))
        assert await federation.messages(browser, answer)
        assert (await browser.whoami(), await federation.made()) == (None, NOTHING)
