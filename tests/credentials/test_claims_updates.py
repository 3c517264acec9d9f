"""`update_identity_on_login`: a sign-in with a provider brings the identity up to date, and moves no address."""

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.identity.builder import NewIdentity
from shopkeeper.identity.values import Identity
from tests.attacks.scene import Browser, written_schema
from tests.credentials.social import SocialStage, social_stage
from tests.flows.watching import statements

ADA, OTHER = "ada@example.org", "other@example.org"
MOST = 12
MAPPER = """
local claims = std.extVar('claims'), identity = std.extVar('identity');
{identity: {
  traits: {
    [if 'email' in claims then 'email']: claims.email,
    [if 'nickname' in claims then 'username']: claims.nickname,
    [if 'given_name' in claims then 'first']: claims.given_name,
    visits: (if 'visits' in identity.traits then identity.traits.visits else 0) + std.get(claims.raw_claims, 'more', 0),
  },
  [if 'picture' in claims then 'metadata_public']: {picture: claims.picture},
  [if 'website' in claims then 'metadata_admin']: {site: claims.website},
  verified_addresses: [if 'email' in claims then {via: 'email', value: claims.email}],
}}
"""
_ADDRESS = {"credentials": {"password": {"identifier": True}}, "verification": {"via": "email"}}
TRAITS: dict[str, Any] = {
    "email": {"type": "string", "format": "email", "ory.sh/kratos": {**_ADDRESS, "recovery": {"via": "email"}}},
    "username": {"type": "string", "ory.sh/kratos": {"credentials": {"password": {"identifier": True}}}},
    "first": {"type": "string", "maxLength": 20},
    "visits": {"type": "integer"},
}
Opening: TypeAlias = Callable[..., AbstractAsyncContextManager[SocialStage]]


@pytest.fixture
def opening(tmp_path: Path, clock: StoppedClock) -> Opening:
    def open_(dsn: str, mapper: str = MAPPER, wanted: str = "automatic") -> AbstractAsyncContextManager[SocialStage]:
        source = f"base64://{base64.b64encode(mapper.encode()).decode()}"
        idp = {"mapper_url": source, "update_identity_on_login": wanted}
        schemas = [{"id": "default", "url": written_schema(tmp_path, TRAITS)}]
        return social_stage(
            dsn, tmp_path, clock, idp=idp, identity={"default_schema_id": "default", "schemas": schemas}
        )

    return open_


@pytest.fixture
async def stage(sqlite_dsn: str, opening: Opening) -> AsyncIterator[SocialStage]:
    async with opening(sqlite_dsn) as stage:
        yield stage


async def customer(stage: SocialStage, **profile: Any) -> Identity:
    """Create an account that is linked to `alice` at the provider."""
    ada = await stage.customer(ADA, ("idp", "alice"))
    traits = {"email": ADA, "username": "ada", "first": "Ada", "visits": 0, **profile.pop("traits", {})}
    async with stage.scene.application.infrastructure.database.unit() as unit:
        return await stage.identities.replace(unit, ada.id, NewIdentity(traits=traits, **profile))


async def shown(browser: Browser) -> dict[str, Any]:
    return dict((await browser.get("/sessions/whoami")).json()["identity"])


class TestWhatChanges:
    async def test_traits_and_metadata_are_the_providers_from_the_answer_on(self, stage: SocialStage) -> None:
        ada = await customer(stage, metadata_public={"picture": "old", "tier": 1}, metadata_admin={"site": "old"})
        first, second = await stage.scene.browser(), await stage.scene.browser()
        await stage.arrive(first)
        assert (await shown(first))["traits"]["first"] == "Ada"
        app = await stage.scene.native()
        flow = (await app.get("/self-service/login/api")).json()
        token = stage.id_token(nonce="n", given_name="Augusta", picture="new", website="https://ada.example")
        told = {"method": "oidc", "provider": "idp", "id_token": token, "id_token_nonce": "n"}
        answer = await app.post(flow["ui"]["action"], json=told)
        assert answer.json()["session"]["identity"]["traits"]["first"] == "Augusta"
        await stage.arrive(second, given_name="Augusta", picture="new", website="https://ada.example")
        for browser in (first, second):  # the session from before as well
            identity = await shown(browser)
            assert (identity["traits"]["first"], identity["metadata_public"]) == ("Augusta", {"picture": "new"})
        assert (await stage.read(ada)).metadata_admin == {"site": "https://ada.example"}

    async def test_what_the_mapper_leaves_out_stays(self, stage: SocialStage) -> None:
        ada = await customer(stage, metadata_public={"tier": 1}, metadata_admin={"note": "x"})
        await stage.arrive(await stage.scene.browser(), more=2)
        after = await stage.read(ada)
        assert after.traits == {"email": ADA, "username": "ada", "first": "Ada", "visits": 2}
        assert (after.metadata_public, after.metadata_admin) == ({"tier": 1}, {"note": "x"})

    async def test_the_mapper_reads_the_identity_as_it_is(self, stage: SocialStage) -> None:
        ada = await customer(stage)
        for _ in range(2):
            await stage.arrive(await stage.scene.browser(), more=3)
        assert (await stage.read(ada)).traits["visits"] == 6

    async def test_the_change_is_audited_and_ends_no_session(self, stage: SocialStage) -> None:
        await customer(stage)
        before = await stage.scene.browser()
        await stage.arrive(before)
        await stage.arrive(await stage.scene.browser(), given_name="Augusta")
        assert await before.whoami() is not None
        infrastructure = stage.scene.application.infrastructure
        async with infrastructure.database.unit() as unit:
            events = await infrastructure.audit.events(unit, action="identity.updated")
        assert "provider:idp" in [event.actor for event in events]

    async def test_confirming_a_session_brings_it_up_to_date(self, stage: SocialStage) -> None:
        await customer(stage)
        browser = await stage.scene.browser()
        await stage.arrive(browser)
        await stage.arrive(browser, query="?refresh=true", given_name="Augusta")
        assert (await shown(browser))["traits"]["first"] == "Augusta"

    @pytest.mark.parametrize("wanted", ["never", "automatic"])
    async def test_only_where_it_is_configured(self, sqlite_dsn: str, opening: Opening, wanted: str) -> None:
        async with opening(sqlite_dsn, wanted=wanted) as stage:
            ada = await customer(stage)
            await stage.arrive(await stage.scene.browser(), given_name="Augusta")
            assert (await stage.read(ada)).traits["first"] == ("Augusta" if wanted == "automatic" else "Ada")

    async def test_nothing_is_written_where_nothing_differs(self, postgres_dsn: str, opening: Opening) -> None:
        async with opening(postgres_dsn) as stage:
            ada = await customer(stage, metadata_public={"picture": "p"})
            browser = await stage.scene.browser()
            flow = await browser.open_flow("login")
            with statements(stage.scene) as seen:
                url = await stage.leave(browser, flow, provider="idp")
                await browser.get(stage.back(url, given_name="Ada", picture="p"))
            assert await browser.whoami() == str(ada.id)
            assert (await stage.read(ada)).updated_at == ada.updated_at
            taken = [each for each in seen if not each.startswith("BEGIN")]
            assert len(taken) <= MOST, "\n".join(taken)
            assert not [each for each in taken if "UPDATE identities" in each]


class TestWhatStays:
    @pytest.mark.parametrize("verified", [True, False])
    async def test_an_address_is_not_the_providers_to_change(self, stage: SocialStage, verified: bool) -> None:
        ada = await customer(stage)
        told = {"email": OTHER, "email_verified": verified, "given_name": "Augusta"}
        await stage.arrive(await stage.scene.browser(), **told)
        after = await stage.read(ada)
        assert after.traits == {**ada.traits, "first": "Augusta"}
        assert [each.value for each in (*after.verifiable_addresses, *after.recovery_addresses)] == [ADA, ADA]
        assert not after.email_verified

    async def test_an_identifier_is_not_the_providers_to_change(self, stage: SocialStage) -> None:
        ada = await customer(stage)
        await stage.arrive(await stage.scene.browser(), nickname="root", given_name="Augusta")
        after = await stage.read(ada)
        assert after.traits == {**ada.traits, "first": "Augusta"}

    async def test_an_address_that_is_taken_stops_nobody(self, stage: SocialStage) -> None:
        await stage.customer(OTHER)
        ada = await customer(stage)
        browser = await stage.scene.browser()
        await stage.arrive(browser, email=OTHER, email_verified=True)
        assert await browser.whoami() == str(ada.id)

    async def test_an_address_is_verified_where_mapper_and_provider_say_so(self, stage: SocialStage) -> None:
        ada = await customer(stage)
        await stage.arrive(await stage.scene.browser(), email=ADA, email_verified=False, given_name="A")
        assert not (await stage.read(ada)).email_verified
        await stage.arrive(await stage.scene.browser(), email=ADA, email_verified=True, given_name="Augusta")
        after = await stage.read(ada)
        assert (after.email_verified, after.traits["first"]) == (True, "Augusta")

    async def test_traits_that_the_schema_refuses_change_nothing(self, stage: SocialStage) -> None:
        ada = await customer(stage)
        browser = await stage.scene.browser()
        await stage.arrive(browser, given_name="x" * 21, picture="new")
        assert await browser.whoami() == str(ada.id)
        after = await stage.read(ada)
        assert (after.traits, after.metadata_public) == (ada.traits, None)

    async def test_a_mapper_that_fails_stops_nobody(self, sqlite_dsn: str, opening: Opening) -> None:
        async with opening(sqlite_dsn, "{identity: {traits: error 'no'}}") as stage:
            ada, browser = await customer(stage), await stage.scene.browser()
            await stage.arrive(browser)
            assert await browser.whoami() == str(ada.id)

    async def test_a_schema_that_is_gone_stops_nobody(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
    ) -> None:
        url = written_schema(tmp_path, TRAITS)
        both = [{"id": "default", "url": url}, {"id": "former", "url": url}]
        idp = {"update_identity_on_login": "automatic"}
        async with social_stage(sqlite_dsn, tmp_path, clock, idp=idp, identity=schemas(*both)) as stage:
            ada = await stage.customer(ADA, ("idp", "alice"), issuer=False)
            async with stage.scene.application.infrastructure.database.unit() as unit:
                await stage.identities.replace(unit, ada.id, NewIdentity({"email": ADA}, schema_id="former"))
        async with social_stage(sqlite_dsn, tmp_path, clock, idp=idp, identity=schemas(both[0])) as stage:
            browser = await stage.scene.browser()
            await stage.arrive(browser, email=ADA, email_verified=True)
            assert await browser.whoami() == str(ada.id)


def schemas(*known: dict[str, str]) -> dict[str, Any]:
    return {"default_schema_id": "default", "schemas": list(known)}
