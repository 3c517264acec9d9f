"""What a flow ends as: whose return address, hooks and answer follow. The step decides, and not the form that the
customer began with."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.identity.values import Identity
from tests.attacks.scene import PASSWORD, Browser
from tests.credentials.social import SocialStage, social_stage

ADA = "ada@example.org"
AFTER_LOGIN, AFTER_REGISTRATION = "https://app.test/after-login", "https://app.test/welcome"
FLOWS = {
    "login": {
        "after": {
            "default_browser_return_url": AFTER_LOGIN,
            "oidc": {"hooks": [{"hook": "verification"}, {"hook": "show_verification_ui"}]},
        }
    },
    "registration": {
        "after": {"default_browser_return_url": AFTER_REGISTRATION, "oidc": {"hooks": [{"hook": "session"}]}}
    },
    "verification": {"enabled": True},
}


@pytest.fixture
async def stage(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[SocialStage]:
    idp = {"account_linking_mode": "automatic"}
    async with social_stage(sqlite_dsn, tmp_path, clock, idp=idp, selfservice={"flows": FLOWS}) as stage:
        yield stage


async def verify(stage: SocialStage, identity: Identity) -> None:
    async with stage.scene.application.infrastructure.database.unit() as unit:
        known = await stage.identities.lock(unit, identity.id)
        addresses = [(each.via, each.value) for each in known.verifiable_addresses]
        await stage.identities.apply_proof(unit, known, verified=addresses)


async def twice(stage: SocialStage, browser: Browser, kind: str) -> list[httpx2.Response]:
    """Leave from a flow, and come back; then once more, as by reloading."""
    back = stage.back(
        await stage.leave(browser, await browser.open_flow(kind), provider="idp"), email=ADA, email_verified=True
    )
    return [await browser.get(back) for _ in range(2)]


@pytest.mark.parametrize("kind", ["login", "registration"])
class TestInEitherForm:
    async def test_a_known_customer_ends_a_login(self, stage: SocialStage, kind: str) -> None:
        ada = await stage.customer(ADA, ("idp", "alice"))
        await verify(stage, ada)
        browser = await stage.scene.browser()
        answers = await twice(stage, browser, kind)
        assert [each.headers["location"] for each in answers] == [AFTER_LOGIN] * 2
        assert await browser.whoami() == str(ada.id)

    async def test_an_account_that_is_linked_by_itself_ends_a_login(self, stage: SocialStage, kind: str) -> None:
        ada = await stage.customer(ADA, password=PASSWORD)
        await verify(stage, ada)
        browser = await stage.scene.browser()
        answers = await twice(stage, browser, kind)
        assert [each.headers["location"] for each in answers] == [AFTER_LOGIN] * 2
        assert await browser.whoami() == str(ada.id)

    async def test_an_unknown_one_ends_a_registration(self, stage: SocialStage, kind: str) -> None:
        browser = await stage.scene.browser()
        answers = await twice(stage, browser, kind)
        assert [each.headers["location"] for each in answers] == [AFTER_REGISTRATION] * 2
        assert await browser.whoami() is not None

    async def test_the_hooks_of_a_login_run_for_a_known_customer(self, stage: SocialStage, kind: str) -> None:
        await stage.customer(ADA, ("idp", "alice"))
        browser = await stage.scene.browser()
        answer = await stage.arrive(browser, kind)
        assert "verification?flow=" in answer.headers["location"]
        assert [mail.recipient for mail in await stage.scene.mails()] == [ADA]

    async def test_an_app_gets_the_answer_of_what_has_happened(self, stage: SocialStage, kind: str) -> None:
        token = {"provider": "idp", "id_token_nonce": "n-1"}
        told = []
        for nonce in ("n-1", "n-2"):
            app = await stage.scene.native()
            flow = (await app.get(f"/self-service/{kind}/api")).json()
            id_token = stage.id_token(email=ADA, email_verified=True, nonce=nonce)
            answer = await stage.submit(app, flow, **{**token, "id_token": id_token, "id_token_nonce": nonce})
            assert answer.status_code == 200, answer.text
            told.append("identity" in answer.json())
        assert told == [True, False]
