"""ID tokens that apps hand in: each signs in once, and one whose sign-in has failed can be sent again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.identity.values import Identity
from shopkeeper.tokens import received_token_store
from tests.attacks.scene import PASSWORD, new_address
from tests.credentials.social import JSON, SocialStage, social_stage
from tests.openid.scripted import signed

ADA = "ada@example.org"
SENT = {"method": "oidc", "provider": "idp"}


@pytest.fixture
async def stage(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[SocialStage]:
    async with social_stage(sqlite_dsn, tmp_path, clock) as stage:
        yield stage


@pytest.fixture
async def ada(stage: SocialStage) -> Identity:
    return await stage.customer(ADA, ("idp", "alice"), password=PASSWORD)


async def send(stage: SocialStage, token: str, kind: str = "login") -> httpx2.Response:
    """Send a token in a flow of its own, as an app does that has stolen it or lost an answer."""
    app = await stage.scene.native()
    flow = (await app.get(f"/self-service/{kind}/api")).json()
    return await app.post(flow["ui"]["action"], json={**SENT, "id_token": token, "id_token_nonce": "n-1"}, headers=JSON)


def refused_as_used(answer: httpx2.Response) -> bool:
    error: dict[str, Any] = answer.json().get("error", {})
    return (answer.status_code, error.get("id"), error.get("details")) == (
        400,
        "provider_token_invalid",
        {"cause": "received_before"},
    )


async def remembered(stage: SocialStage) -> int:
    return len(await stage.scene.rows("received_tokens"))


async def test_row_081_a_token_signs_in_once(stage: SocialStage, ada: Identity) -> None:
    token = stage.id_token()
    first = await send(stage, token)
    assert first.json()["session"]["identity"]["id"] == str(ada.id)
    again = await send(stage, token)
    assert refused_as_used(again), again.text
    assert token not in again.text
    assert [len(await stage.scene.rows("sessions")), await remembered(stage)] == [1, 1]
    fresh = await send(stage, stage.id_token(jti="another"))
    assert fresh.status_code == 200, fresh.text


async def test_of_two_that_send_a_token_at_once_one_signs_in(stage: SocialStage, ada: Identity) -> None:
    token = stage.id_token()
    answers = await asyncio.gather(*(send(stage, token) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
    assert len(await stage.scene.rows("sessions")) == 1


async def test_a_sign_in_that_failed_uses_up_nothing(stage: SocialStage, ada: Identity) -> None:
    token = stage.id_token()
    admin = await stage.scene.admin()
    path, change = f"/admin/identities/{ada.id}", [{"op": "replace", "path": "/state", "value": "inactive"}]
    assert (await admin.patch(path, json=change)).status_code == 200
    assert (await send(stage, token)).status_code in {400, 401}
    assert [await stage.scene.rows("sessions"), await remembered(stage)] == [[], 0]
    assert (await admin.patch(path, json=[{**change[0], "value": "active"}])).status_code == 200
    assert (await send(stage, token)).status_code == 200


async def test_a_registration_that_asks_for_traits_uses_it_at_its_end(stage: SocialStage) -> None:
    token, app = stage.id_token(), await stage.scene.native()
    flow = (await app.get("/self-service/registration/api")).json()
    action = flow["ui"]["action"]
    asked = await app.post(action, json={**SENT, "id_token": token, "id_token_nonce": "n-1"}, headers=JSON)
    assert [asked.status_code, await remembered(stage)] == [400, 0]
    done = await app.post(action, json={**SENT, "traits": {"email": new_address()}}, headers=JSON)
    assert done.status_code == 200, done.text
    assert refused_as_used(await send(stage, token))
    assert len(await stage.scene.rows("sessions")) == 1


async def test_a_link_uses_it_when_the_owner_has_signed_in(stage: SocialStage) -> None:
    ada = await stage.customer(ADA, password=PASSWORD)
    token, app = stage.id_token(email=ADA, email_verified=True), await stage.scene.native()
    flow = (await app.get("/self-service/login/api")).json()
    asked = await app.post(
        flow["ui"]["action"], json={**SENT, "id_token": token, "id_token_nonce": "n-1"}, headers=JSON
    )
    assert await remembered(stage) == 0
    action = asked.json()["ui"]["action"]
    proof = {"method": "password", "identifier": ADA, "password": PASSWORD}
    done = await app.post(action, json=proof, headers=JSON)
    assert done.json()["session"]["identity"]["id"] == str(ada.id), done.text
    assert refused_as_used(await send(stage, token))


async def test_a_form_whose_link_was_used_in_another_one_signs_in_without_it(stage: SocialStage) -> None:
    ada = await stage.customer(ADA, password=PASSWORD)
    token = stage.id_token(email=ADA, email_verified=True)
    asked = [await send(stage, token) for _ in range(2)]
    proof, app = {"method": "password", "identifier": ADA, "password": PASSWORD}, await stage.scene.native()
    first, second = [each.json()["ui"]["action"] for each in asked]
    assert (await app.post(first, json=proof, headers=JSON)).status_code == 200
    refused = await app.post(second, json=proof, headers=JSON)
    assert refused_as_used(refused), refused.text
    done = await app.post(second, json=proof, headers=JSON)
    assert done.json()["session"]["identity"]["id"] == str(ada.id), done.text


async def test_a_token_is_remembered_until_it_is_not_valid_any_more(
    stage: SocialStage, ada: Identity, clock: StoppedClock
) -> None:
    token, database = stage.id_token(), stage.scene.application.infrastructure.database
    assert (await send(stage, token)).status_code == 200
    causes = []
    for _ in range(7):  # the token is valid for an hour, and both clocks may be a minute wrong
        async with database.unit() as unit:
            await received_token_store.purge(unit, clock.now(), 100)
        causes.append((await send(stage, token)).json()["error"]["details"]["cause"])
        clock.advance(minutes=10.4)
    assert causes == ["received_before"] * 6 + ["expired"]
    async with database.unit() as unit:
        await received_token_store.purge(unit, clock.now(), 100)
    assert await remembered(stage) == 0


@pytest.mark.parametrize("nonce", ["redirect-x", None])
async def test_the_token_of_a_browsers_sign_in_is_not_for_apps(
    stage: SocialStage, ada: Identity, nonce: str | None
) -> None:
    """It travels in the address of a sign-out, where others may read it."""
    if nonce is None:
        browser = await stage.scene.browser()
        url = await stage.leave(browser, await browser.open_flow("login"), provider="idp")
        nonce = str(httpx2.URL(url).params["nonce"])
    app = await stage.scene.native()
    flow = (await app.get("/self-service/login/api")).json()
    token = signed(stage.idp.claims(nonce=nonce))
    fields = {**SENT, "id_token": token, "id_token_nonce": nonce}
    answer = await app.post(flow["ui"]["action"], json=fields, headers=JSON)
    assert (answer.status_code, answer.json()["error"]["details"]) == (400, {"cause": "nonce"})
