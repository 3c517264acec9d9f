"""The level of a session that begins with registering or linking is that of the sign-in at the provider."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.identity.values import Via
from tests.attacks.scene import PASSWORD, Browser
from tests.credentials.social import SocialStage, social_stage

ADA = "ada@example.org"
TWO: Any = {"amr": ["mfa"]}


@pytest.fixture
async def stage(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[SocialStage]:
    async with social_stage(sqlite_dsn, tmp_path, clock, idp={"aal2_amr_values": ["mfa"]}) as stage:
        yield stage


async def level(browser: Browser) -> str:
    return str((await browser.get("/sessions/whoami")).json()["authenticator_assurance_level"])


@pytest.mark.parametrize("kind", ["login", "registration"])
async def test_registering_gives_the_level_of_every_later_sign_in(stage: SocialStage, kind: str) -> None:
    for _ in range(2):  # the first one registers
        browser = await stage.scene.browser()
        await stage.arrive(browser, kind, email=ADA, **TWO)
        assert await level(browser) == "aal2"


async def test_asking_for_traits_keeps_it(stage: SocialStage) -> None:
    browser = await stage.scene.browser()
    answer = await stage.arrive(browser, email="no address", **TWO)
    flow = await stage.flow_after(browser, answer, "registration")
    sent = await stage.submit(browser, flow, provider="idp", traits={"email": ADA})
    assert (sent.status_code, await level(browser)) == (200, "aal2")


@pytest.mark.parametrize(("amr", "aal"), [(["mfa"], "aal2"), (["pwd"], "aal1")])
async def test_linking_by_the_address_gives_it(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock, amr: Sequence[str], aal: str
) -> None:
    idp = {"aal2_amr_values": ["mfa"], "account_linking_mode": "automatic"}
    async with social_stage(sqlite_dsn, tmp_path, clock, idp=idp) as stage:
        ada = await stage.customer(ADA, password=PASSWORD)
        async with stage.scene.application.infrastructure.database.unit() as unit:
            await stage.identities.mark_verified(unit, ada, [(Via.EMAIL, ADA)])
        browser = await stage.scene.browser()
        await stage.arrive(browser, email=ADA, email_verified=True, amr=amr)
        assert (await browser.whoami(), await level(browser)) == (str(ada.id), aal)


async def test_linking_by_the_owners_proof_gives_that_of_the_proof(stage: SocialStage) -> None:
    ada = await stage.customer(ADA, password=PASSWORD)
    browser = await stage.scene.browser()
    flow = await stage.flow_after(browser, await stage.arrive(browser, email=ADA, email_verified=True, **TWO))
    await browser.send_flow(flow, {"method": "password", "identifier": ADA, "password": PASSWORD})
    assert (await browser.whoami(), await level(browser)) == (str(ada.id), "aal1")
    assert "oidc" in (await stage.read(ada)).credentials
