"""Traits that are sent with a login: an unknown account registers with them (`updateLoginFlowWithOidcMethod`)."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.flows.carried import LARGEST
from tests.attacks.scene import csrf_of
from tests.credentials.social import JSON, SocialStage, social_stage

ADA = "ada@example.org"
NAME: Mapping[str, Any] = {"name": {"first": "Ada", "last": "Fox"}}
TOO_LARGE = {"name": {"first": "A" * LARGEST}}
REASON = 4000001


@pytest.fixture
async def stage(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[SocialStage]:
    async with social_stage(sqlite_dsn, tmp_path, clock) as stage:
        yield stage


async def sent_token(stage: SocialStage, kind: str = "login", **fields: Any) -> httpx2.Response:
    """Send an ID token from an app, as Apple gives it: without a name."""
    app = await stage.scene.native()
    flow = (await app.get(f"/self-service/{kind}/api")).json()
    token = stage.id_token(email=ADA, email_verified=True)
    whole = {"method": "oidc", "provider": "idp", "id_token": token, "id_token_nonce": "n-1", **fields}
    return await app.post(flow["ui"]["action"], json=whole, headers=JSON)


class TestFromAnApp:
    @pytest.mark.parametrize("kind", ["login", "registration"])
    async def test_are_the_new_accounts(self, stage: SocialStage, kind: str) -> None:
        answer = await sent_token(stage, kind, traits=NAME)
        assert answer.status_code == 200, answer.text
        identity = answer.json()["session"]["identity"]
        assert identity["traits"] == {"email": ADA, **NAME}
        assert [each["verified"] for each in identity["verifiable_addresses"]] == [True]

    async def test_change_nothing_of_an_account_that_is_known(self, stage: SocialStage) -> None:
        await stage.customer(ADA, ("idp", "alice"))
        answer = await sent_token(stage, traits={"email": "bea@example.org", **NAME})
        assert answer.json()["session"]["identity"]["traits"] == {"email": ADA}

    async def test_verify_no_address(self, stage: SocialStage) -> None:
        answer = await sent_token(stage, traits={"email": "bea@example.org"})
        assert answer.status_code == 200, answer.text
        [address] = answer.json()["session"]["identity"]["verifiable_addresses"]
        assert (address["value"], address["verified"]) == ("bea@example.org", False)

    async def test_are_bounded(self, stage: SocialStage) -> None:
        answer = await sent_token(stage, traits=TOO_LARGE)
        assert (answer.status_code, answer.json()["ui"]["messages"][0]["id"]) == (400, REASON)
        assert str(LARGEST) in answer.json()["ui"]["messages"][0]["text"]
        assert await stage.scene.rows("identities") == []

    async def test_that_are_wrong_are_asked_for_again(self, stage: SocialStage) -> None:
        answer = await sent_token(stage, traits={"name": {"first": 7}})
        assert answer.status_code == 400
        shown = {node["attributes"]["name"]: node["attributes"].get("value") for node in answer.json()["ui"]["nodes"]}
        assert (shown["traits.email"], shown["traits.name.first"]) == (ADA, 7)


class TestOverTheRedirect:
    @pytest.mark.parametrize("form", [False, True], ids=["json", "form"])
    async def test_are_the_new_accounts(self, stage: SocialStage, form: bool) -> None:
        browser = await stage.scene.browser()
        flow = await browser.open_flow("login")
        whole = {"method": "oidc", "provider": "idp", "csrf_token": csrf_of(flow)}
        if form:
            fields = {**whole, "traits.name.first": "Ada", "traits.name.last": "Fox"}
            answer = await browser.post(flow["ui"]["action"], data=fields)
            url = answer.headers["location"]
        else:
            url = await stage.leave(browser, flow, provider="idp", traits=NAME)
        await browser.get(stage.back(url, email=ADA, email_verified=True))
        session = (await browser.get("/sessions/whoami")).json()
        assert session["identity"]["traits"] == {"email": ADA, **NAME}

    async def test_are_in_the_form_that_asks_for_what_is_missing(self, stage: SocialStage) -> None:
        browser = await stage.scene.browser()
        url = await stage.leave(browser, await browser.open_flow("login"), provider="idp", traits=NAME)
        page = httpx2.URL((await browser.get(stage.back(url))).headers["location"])
        flow = (await browser.get(f"/self-service/registration/flows?id={page.params['flow']}", headers=JSON)).json()
        shown = {node["attributes"]["name"]: node["attributes"].get("value") for node in flow["ui"]["nodes"]}
        assert (shown["traits.name.first"], shown["traits.name.last"]) == ("Ada", "Fox")

    async def test_are_bounded(self, stage: SocialStage) -> None:
        browser = await stage.scene.browser()
        answer = await stage.submit(browser, await browser.open_flow("login"), provider="idp", traits=TOO_LARGE)
        assert answer.status_code == 400, answer.text
