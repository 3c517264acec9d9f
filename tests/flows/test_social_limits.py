"""How often an address may sign up and sign in at providers: honest people behind one network get in, guesses end."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import new_address
from tests.credentials.social import CALLBACK, SocialStage, social_stage

PER_MINUTE = 15


@pytest.fixture
async def stage(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[SocialStage]:
    async with social_stage(
        sqlite_dsn, tmp_path, clock, throttle={"provider": {"per_ip": f"{PER_MINUTE}/minute"}}
    ) as stage:
        yield stage


async def native(stage: SocialStage, token: str, kind: str = "registration", **fields: Any) -> httpx2.Response:
    """Send an ID token as an app does, with a nonce that `SocialStage.id_token` has put into it."""
    app = await stage.scene.native()
    flow = (await app.get(f"/self-service/{kind}/api")).json()
    whole = {"method": "oidc", "provider": "idp", "id_token": token, "id_token_nonce": "n-1", **fields}
    return await app.post(flow["ui"]["action"], json=whole)


async def sign_up(stage: SocialStage, number: int, **fields: Any) -> httpx2.Response:
    token = stage.id_token(subject=f"s{number}", email=new_address(f"s{number}"), email_verified=True)
    return await native(stage, token, **fields)


class TestRegistering:
    async def test_several_people_of_one_address_register(self, stage: SocialStage) -> None:
        for number in range(7):
            assert (await sign_up(stage, number)).status_code == 200, number
        browser = await stage.scene.browser()
        assert await stage.leave(browser, await browser.open_flow("registration"), provider="idp")

    async def test_leaving_from_the_form_is_no_sign_up(self, stage: SocialStage) -> None:
        browser = await stage.scene.browser()
        for _ in range(12):
            await stage.leave(browser, await browser.open_flow("registration"), provider="idp")
        assert (await sign_up(stage, 1)).status_code == 200

    async def test_unfinished_traits_are_no_sign_up(self, stage: SocialStage) -> None:
        for number in range(7):
            answer = await native(stage, stage.id_token(subject=f"s{number}"))
            assert answer.status_code == 400, number

    async def test_a_taken_address_is_asked_for_as_often_as_by_other_forms(self, stage: SocialStage) -> None:
        email = new_address("taken")
        await stage.customer(email, password="a password of hers")
        statuses = [
            (await native(stage, stage.id_token(subject=f"s{number}", email=email))).status_code for number in range(6)
        ]
        assert statuses[-1] == 429
        assert 429 not in statuses[:5]

    async def test_mass_registration_ends(self, stage: SocialStage) -> None:
        statuses = [(await sign_up(stage, number)).status_code for number in range(12)]
        assert (statuses[:10], statuses[-1]) == ([200] * 10, 429)


class TestAnswersThatAreMadeUp:
    async def test_end_before_the_provider_is_asked_on(self, stage: SocialStage) -> None:
        stage.idp.answer("/token", {"error": "invalid_grant"}, status="400 Bad Request")
        browser, asked = await stage.scene.browser(), 0
        statuses = []
        for number in range(PER_MINUTE + 5):
            answer = await stage.submit(browser, await browser.open_flow("login"), provider="idp")
            statuses.append(answer.status_code)
            if answer.status_code == 422:
                state = dict(parse_qsl(urlsplit(answer.json()["redirect_browser_to"]).query))["state"]
                await browser.get(f"{CALLBACK}/idp?code=made-up-{number}&state={state}")
                asked += 1
        assert (statuses.count(422), statuses[-1], asked) == (PER_MINUTE, 429, PER_MINUTE)
        assert stage.idp.asked("/token") == PER_MINUTE

    async def test_of_apps_end(self, stage: SocialStage) -> None:
        statuses = [(await native(stage, f"made.up.{number}", "login")).status_code for number in range(PER_MINUTE + 1)]
        assert 429 not in statuses[:PER_MINUTE]
        assert statuses[-1] == 429

    async def test_of_an_app_end_where_a_token_is_sent_again(self, stage: SocialStage) -> None:
        await stage.customer(new_address(), ("idp", "alice"))
        token = stage.id_token()
        assert (await native(stage, token, "login")).status_code == 200
        before = len(await stage.scene.rows("audit_events"))
        statuses = [(await native(stage, token, "login")).status_code for _ in range(PER_MINUTE + 5)]
        assert statuses == [400] * PER_MINUTE + [429] * 5
        assert len(await stage.scene.rows("audit_events")) <= before + PER_MINUTE + 1


class TestPeopleBehindOneAddress:
    async def test_sign_in_as_often_as_they_like(self, stage: SocialStage) -> None:
        await stage.customer(new_address(), ("idp", "alice"))
        for _ in range(PER_MINUTE + 3):
            browser = await stage.scene.browser()
            await stage.arrive(browser)
        assert await browser.whoami() is not None

    async def test_may_change_their_minds(self, stage: SocialStage) -> None:
        await stage.customer(new_address(), ("idp", "alice"))
        browser = await stage.scene.browser()
        for _ in range(PER_MINUTE + 3):
            url = await stage.leave(browser, await browser.open_flow("login"), provider="idp")
            state = dict(parse_qsl(urlsplit(url).query))["state"]
            await browser.get(f"{CALLBACK}/idp?error=access_denied&state={state}")
        await stage.arrive(browser)
        assert await browser.whoami() is not None

    async def test_sign_in_by_apps_as_often_as_they_like(self, stage: SocialStage) -> None:
        await stage.customer(new_address(), ("idp", "alice"))
        for number in range(PER_MINUTE + 3):
            answer = await native(stage, stage.id_token(jti=f"t-{number}"), "login")
            assert answer.status_code == 200, (number, answer.text)
