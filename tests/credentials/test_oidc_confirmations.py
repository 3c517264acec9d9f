"""Confirming a session, or raising it to AAL2, by a provider: only a sign-in there that is a new one does."""

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import PASSWORD, Browser
from tests.credentials.social import JSON, SocialStage, social_stage
from tests.credentials.test_oidc import buttons, messages
from tests.openid.scripted import DROP

ADA = "ada@example.org"
REFRESH = "?refresh=true"
LINKED = (("idp", "alice"), ("other", "alice"))
TELLS_NOTHING = {"reauthenticates": False}


@pytest.fixture
async def stage(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[SocialStage]:
    async with social_stage(sqlite_dsn, tmp_path, clock) as stage:
        yield stage


@pytest.fixture
async def silent(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[SocialStage]:
    """A stage whose provider `idp` signs nobody in anew, as Google does not; `other` does."""
    async with social_stage(sqlite_dsn, tmp_path, clock, idp=TELLS_NOTHING) as stage:
        yield stage


async def signed_in_for_long(stage: SocialStage, clock: StoppedClock, *linked: tuple[str, str], **more: Any) -> Browser:
    """Return the browser of Ada, who signed in two hours ago, too long to change a password."""
    await stage.customer(ADA, *(linked or LINKED[:1]), **more)
    browser = await stage.scene.browser()
    await stage.arrive(browser, provider=(linked or LINKED)[0][0])
    clock.advance(hours=2)
    return browser


async def may_change_password(browser: Browser) -> bool:
    flow = await browser.open_flow("settings")
    answer = await browser.send_flow(flow, {"method": "password", "password": "Damson-Cheese-52-larder"})
    assert answer.status_code in (200, 403), answer.text
    return answer.status_code == 200


def seconds(clock: StoppedClock, ago: float) -> int:
    return int((clock.now() - timedelta(seconds=ago)).timestamp())


class TestAProviderThatSignsInAnew:
    async def test_is_asked_to(self, stage: SocialStage, clock: StoppedClock) -> None:
        browser = await signed_in_for_long(stage, clock)
        flow = await browser.open_flow("login", REFRESH)
        hint = {"upstream_parameters": {"prompt": "none"}}
        asked = dict(parse_qsl(urlsplit(await stage.leave(browser, flow, provider="idp", **hint)).query))
        assert (asked["prompt"], asked["max_age"]) == ("login", "0")

    async def test_confirms_by_saying_so(self, stage: SocialStage, clock: StoppedClock) -> None:
        browser = await signed_in_for_long(stage, clock)
        assert not await may_change_password(browser)
        await stage.arrive(browser, query=REFRESH, auth_time=seconds(clock, 30))
        assert await may_change_password(browser)

    @pytest.mark.parametrize("auth_time", [DROP, "now", None, 0, True, 61, 7200])
    async def test_row_065_confirms_nothing_without(
        self, stage: SocialStage, clock: StoppedClock, auth_time: Any
    ) -> None:
        """ASVS 6.8.4, 7.5.1 and 10.3.4: the request can be changed on its way, so only the answer counts."""
        browser = await signed_in_for_long(stage, clock)
        told = seconds(clock, auth_time) if auth_time in (61, 7200) else auth_time
        answer = await stage.arrive(browser, query=REFRESH, auth_time=told)
        [(number, text)] = messages(await stage.flow_after(browser, answer))
        assert (number, "sign in there anew" in text) == (4000001, True)
        assert not await may_change_password(browser)

    async def test_row_065_a_flow_that_was_opened_signed_out_confirms_nothing_either(
        self, stage: SocialStage, clock: StoppedClock
    ) -> None:
        browser = await signed_in_for_long(stage, clock)
        kept = dict(browser.cookies)
        browser.cookies.clear()
        url = await stage.leave(browser, await browser.open_flow("login", REFRESH), provider="idp")
        browser.cookies.update({name: value for name, value in kept.items() if name not in browser.cookies})
        await browser.get(stage.back(url, auth_time=seconds(clock, 7200)))
        assert not await may_change_password(browser)

    async def test_a_sign_in_needs_none(self, stage: SocialStage) -> None:
        await stage.customer(ADA, *LINKED)
        browser = await stage.scene.browser()
        url = await stage.leave(browser, await browser.open_flow("login"), provider="idp")
        assert "max_age" not in dict(parse_qsl(urlsplit(url).query))
        await browser.get(stage.back(url))
        assert await browser.whoami() is not None


class TestAProviderThatDoesNot:
    async def test_has_no_button_beside_another_way(self, silent: SocialStage, clock: StoppedClock) -> None:
        browser = await signed_in_for_long(silent, clock, password=PASSWORD)
        flow = await browser.open_flow("login", REFRESH)
        assert buttons(flow) == []
        answer = await silent.submit(browser, flow, provider="idp")
        assert (answer.status_code, [number for number, _ in messages(answer.json())]) == (400, [4000001])
        assert not await may_change_password(browser)

    async def test_has_none_beside_one_that_does(self, silent: SocialStage, clock: StoppedClock) -> None:
        browser = await signed_in_for_long(silent, clock, *LINKED)
        flow = await browser.open_flow("login", REFRESH)
        assert [button[1] for button in buttons(flow)] == ["other"]

    async def test_row_065_counts_no_more_where_another_way_came_meanwhile(
        self, silent: SocialStage, clock: StoppedClock
    ) -> None:
        """Or where the flow was opened by somebody who was signed out, for whom it has a button."""
        browser = await signed_in_for_long(silent, clock, password=PASSWORD)
        kept = dict(browser.cookies)
        browser.cookies.clear()
        url = await silent.leave(browser, await browser.open_flow("login", REFRESH), provider="idp")
        browser.cookies.update({name: value for name, value in kept.items() if name not in browser.cookies})
        await browser.get(silent.back(url))
        assert not await may_change_password(browser)

    async def test_confirms_the_only_way_by_a_new_answer(self, silent: SocialStage, clock: StoppedClock) -> None:
        browser = await signed_in_for_long(silent, clock)
        flow = await browser.open_flow("login", REFRESH)
        assert [button[1] for button in buttons(flow)] == ["idp"]
        url = await silent.leave(browser, flow, provider="idp")
        assert not {"max_age", "prompt"} & dict(parse_qsl(urlsplit(url).query)).keys()
        await browser.get(silent.back(url))
        assert await may_change_password(browser)

    async def test_row_065_confirms_nothing_by_an_old_one(self, silent: SocialStage, clock: StoppedClock) -> None:
        browser = await signed_in_for_long(silent, clock)
        answer = await silent.arrive(browser, query=REFRESH, iat=seconds(clock, 61))
        assert [number for number, _ in messages(await silent.flow_after(browser, answer))] == [4000001]
        assert not await may_change_password(browser)

    async def test_raises_no_session(self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> None:
        idp = {**TELLS_NOTHING, "aal2_amr_values": ["mfa"]}
        async with social_stage(sqlite_dsn, tmp_path, clock, idp=idp) as stage:
            browser = await signed_in_for_long(stage, clock)
            flow = await browser.open_flow("login", "?aal=aal2")
            assert not flow["ui"]["nodes"]


class TestRaising:
    @pytest.mark.parametrize(("ago", "aal"), [(30, "aal2"), (61, "aal1"), (None, "aal1")])
    async def test_row_065_takes_a_new_sign_in(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock, ago: float | None, aal: str
    ) -> None:
        async with social_stage(sqlite_dsn, tmp_path, clock, idp={"aal2_amr_values": ["mfa"]}) as stage:
            browser = await signed_in_for_long(stage, clock)
            url = await stage.leave(browser, await browser.open_flow("login", "?aal=aal2"), provider="idp")
            assert dict(parse_qsl(urlsplit(url).query))["max_age"] == "0"
            told = {"auth_time": DROP if ago is None else seconds(clock, ago)}
            await browser.get(stage.back(url, amr=["mfa"], **told))
            assert (await browser.get("/sessions/whoami")).json()["authenticator_assurance_level"] == aal


class TestAnAppsOwnToken:
    @pytest.mark.parametrize(
        ("reauthenticates", "claims", "status"),
        [
            (True, {"auth_time": 0}, 200),
            (True, {"auth_time": 3000}, 400),
            (True, {}, 400),
            (False, {}, 200),
            (False, {"iat": 3000}, 400),
        ],
    )
    async def test_row_065_confirms_by_a_sign_in_since_the_flow_was_opened(
        self,
        sqlite_dsn: str,
        tmp_path: Path,
        clock: StoppedClock,
        reauthenticates: bool,
        claims: Mapping[str, float],
        status: int,
    ) -> None:
        idp = {"reauthenticates": reauthenticates}
        async with social_stage(sqlite_dsn, tmp_path, clock, idp=idp) as stage:
            await stage.customer(ADA, *LINKED[:1])
            app = await stage.scene.native()

            async def send(query: str, headers: Mapping[str, str], **claims: Any) -> Any:
                flow = (await app.get(f"/self-service/login/api{query}", headers=headers)).json()
                token = stage.id_token(**claims)
                body = {"method": "oidc", "provider": "idp", "id_token": token, "id_token_nonce": "n-1"}
                return await app.post(flow["ui"]["action"], json=body, headers={**JSON, **headers})

            session = (await send("", {})).json()["session_token"]
            clock.advance(minutes=50)
            told = {name: seconds(clock, ago) for name, ago in claims.items()}
            answer = await send(REFRESH, {"x-session-token": session}, **told)
            assert answer.status_code == status, answer.text
