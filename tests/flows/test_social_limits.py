"""How often an address may sign up and sign in at providers: honest people behind one network get in, guesses end."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import new_address
from tests.credentials.social import SocialStage, social_stage


@pytest.fixture
async def stage(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[SocialStage]:
    async with social_stage(sqlite_dsn, tmp_path, clock) as stage:
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
