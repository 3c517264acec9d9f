"""Rows 38, 80 and 82: an attacker opens a flow as an app, and a victim signs in at the provider with its address.

The victim's browser is bound to the flow by nothing. What it does there must neither create nor link anything of theirs
by what the attacker has prepared.
"""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import new_address
from tests.credentials.social import SocialStage, social_stage

APP = "https://app.test/basket"
WITH_CODE = f"return_session_token_exchange_code=true&return_to={APP}"
LINK = 1010016


@pytest.fixture
async def stage(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[SocialStage]:
    async with social_stage(sqlite_dsn, tmp_path, clock) as stage:
        yield stage


class App:
    """An app, honest or not: it has the init code of the flow that it has opened."""

    def __init__(self, stage: SocialStage, client: httpx2.AsyncClient, flow: Mapping[str, Any]) -> None:
        self.stage, self.client, self.flow = stage, client, flow
        self.init_code = flow["session_token_exchange_code"]

    async def sign_in_elsewhere(self, provider: str = "idp", *, typed: Mapping[str, Any] = {}, **claims: Any) -> str:
        """Have somebody sign in at the provider, in a browser of theirs; return the code that their device gets."""
        url = await self.stage.leave(self.client, self.flow, provider=provider, **typed)
        browser = await self.stage.scene.browser()
        answer = await browser.get(self.stage.back(url, provider=provider, **claims))
        assert answer.headers["location"].startswith(f"{APP}?code="), answer.text
        return dict(parse_qsl(urlsplit(answer.headers["location"]).query))["code"]

    async def exchange(self, code: str) -> httpx2.Response:
        codes = {"init_code": self.init_code, "return_to_code": code}
        return await self.client.get("/sessions/token-exchange", params=codes)

    async def collide(self, address: str) -> str:
        """Arrive with an account of the app's user and the address of another account; go on with the form that asks
        for the proof of that account. Return the code of this arrival."""
        code = await self.sign_in_elsewhere("idp", typed={"traits": {"email": address}}, subject="own")
        answer = await self.exchange(code)
        assert answer.status_code == 422, answer.text
        assert [each["id"] for each in answer.json()["ui"]["messages"]] == [LINK]
        self.flow = answer.json()
        return code


async def open_app(stage: SocialStage, kind: str = "registration") -> App:
    client = await stage.scene.native()
    return App(stage, client, (await client.get(f"/self-service/{kind}/api?{WITH_CODE}")).json())


class TestANewcomer:
    @pytest.mark.parametrize("kind", ["registration", "login"])
    async def test_row_038_and_080_gets_no_account_with_the_attackers_address(
        self, stage: SocialStage, kind: str
    ) -> None:
        attacker, address = await open_app(stage, kind), new_address("newcomer")
        typed = {"traits": {"email": new_address("attacker")}, "transient_payload": {"by": "the attacker"}}
        code = await attacker.sign_in_elsewhere(typed=typed, subject="victim", email=address, email_verified=True)
        assert code
        for table in ("identities", "credentials", "sessions"):
            assert await stage.scene.rows(table) == [], table
        for guess in (attacker.init_code, "", "x"):
            assert (await attacker.exchange(guess)).status_code in {400, 404}
        newcomer = await stage.scene.browser()
        await stage.arrive(newcomer, subject="victim", email=address, email_verified=True)
        assert len(await stage.scene.rows("identities")) == 1
        assert (await newcomer.get("/sessions/whoami")).json()["identity"]["traits"] == {"email": address}

    async def test_row_080_nothing_is_redeemed_for_the_attacker(self, stage: SocialStage) -> None:
        attacker = await open_app(stage)
        await attacker.sign_in_elsewhere(subject="victim", email=new_address(), email_verified=True)
        assert [head for head in stage.idp.server.heads if head.startswith("POST")] == []

    async def test_who_has_both_codes_is_registered_with_what_they_have_typed(self, stage: SocialStage) -> None:
        app, address = await open_app(stage), new_address()
        code = await app.sign_in_elsewhere(typed={"traits": {"email": address}}, subject="alice")
        answer = await app.exchange(code)
        assert answer.json()["session"]["identity"]["traits"] == {"email": address}


class TestAnOwner:
    async def test_row_082_links_nothing_of_the_attackers_by_signing_in_elsewhere(self, stage: SocialStage) -> None:
        address = new_address("victim")
        victim = await stage.customer(address, ("other", "victim"))
        attacker = await open_app(stage)
        earlier = await attacker.collide(address)
        await attacker.sign_in_elsewhere("other", subject="victim")
        for guess in (earlier, attacker.init_code, "x"):
            assert (await attacker.exchange(guess)).status_code == 404
        linked = (await stage.read(victim)).credentials["oidc"].config["providers"]
        assert [(each["provider"], each["subject"]) for each in linked] == [("other", "victim")]

    async def test_links_with_both_codes(self, stage: SocialStage) -> None:
        address = new_address("owner")
        owner = await stage.customer(address, ("other", "owner"))
        app = await open_app(stage)
        await app.collide(address)
        answer = await app.exchange(await app.sign_in_elsewhere("other", subject="owner"))
        assert answer.json()["session"]["identity"]["id"] == str(owner.id)
        linked = (await stage.read(owner)).credentials["oidc"].config["providers"]
        assert {(each["provider"], each["subject"]) for each in linked} == {("other", "owner"), ("idp", "own")}

    async def test_links_with_both_codes_of_a_second_attempt(self, stage: SocialStage) -> None:
        """The form that asks for the proof has another id each time a browser comes back to it."""
        address = new_address("owner")
        owner = await stage.customer(address, ("other", "owner"))
        app = await open_app(stage)
        await app.collide(address)
        await stage.customer(new_address("else"), ("other", "else"))
        url = await stage.leave(app.client, app.flow, provider="other")
        state = dict(parse_qsl(urlsplit(url).query))["state"]
        refused = f"{urlsplit(stage.back(url, provider='other')).path}?error=access_denied&state={state}"
        answer = await (await stage.scene.browser()).get(refused)
        code = dict(parse_qsl(urlsplit(answer.headers["location"]).query))["code"]
        app.flow = (await app.exchange(code)).json()
        done = await app.exchange(await app.sign_in_elsewhere("other", subject="owner"))
        assert done.json()["session"]["identity"]["id"] == str(owner.id)
        linked = (await stage.read(owner)).credentials["oidc"].config["providers"]
        assert {each["provider"] for each in linked} == {"other", "idp"}
