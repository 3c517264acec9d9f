"""Whose proof a verification is: what was set before it ends, unless the registrant has proven the address."""

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2
import pytest

from shopkeeper.flows import registrants
from shopkeeper.storage.cache.memory import MemoryCache
from tests.attacks.scene import THERE, Browser, Scene, csrf_of, new_address, sign_in, sign_up
from tests.flows.conftest import JSON, Stage, Staging

ENDED = 1080090
USES = ("code", "link")


def selfservice(use: str, *hooks: str) -> Mapping[str, Any]:
    after = {"password": {"hooks": [{"hook": hook} for hook in hooks]}}
    flows = {name: {"enabled": True, "use": use} for name in ("recovery", "verification")}
    return {
        "methods": {"code": {"enabled": True}, "link": {"enabled": True}},
        "flows": {**flows, "registration": {"after": after}},
    }


@pytest.fixture(params=USES)
def use(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def stage(staging: Staging, dsn: str, use: str) -> AsyncIterator[Stage]:
    async with staging(dsn, selfservice=selfservice(use, "session")) as stage:
        yield stage


async def mailed(scene: Scene, email: str, use: str) -> str:
    """Return the code, or the path of the link, of the newest verification mail to an address."""
    template = f"verification_{'code_' if use == 'code' else ''}valid"
    mail = next(each for each in await scene.mails() if (each.recipient, each.template_type) == (email, template))
    pattern = r"\b\d{6}\b" if use == "code" else r"/self-service/verification\?\S+"
    return str(re.findall(pattern, mail.body)[0])


async def verified_by_address(
    scene: Scene, client: httpx2.AsyncClient, email: str, use: str, *, follower: Browser | None = None
) -> list[int]:
    """Ask for the verification of an address, and complete it; return the messages that follow."""
    if isinstance(client, Browser):
        flow = await client.open_flow("verification")
        fields = {"csrf_token": csrf_of(flow)}
    else:
        flow, fields = (await client.get("/self-service/verification/api")).json(), {}
    asked = await client.post(flow["ui"]["action"], json={"method": use, "email": email, **fields}, headers=JSON)
    assert asked.json()["state"] == "sent_email", asked.text
    return await completed(scene, client, flow, email, use, fields, follower=follower)


async def completed(
    scene: Scene,
    client: httpx2.AsyncClient,
    flow: Mapping[str, Any],
    email: str,
    use: str,
    fields: Mapping[str, str],
    *,
    follower: Browser | None = None,
) -> list[int]:
    secret = await mailed(scene, email, use)
    if use == "code":
        done = await client.post(flow["ui"]["action"], json={"method": use, "code": secret, **fields}, headers=JSON)
        assert done.json()["state"] == "passed_challenge", done.text
        return [each["id"] for each in done.json()["ui"]["messages"]]
    browser = follower or await scene.browser()
    assert (await browser.get(secret)).status_code == 303
    done = await browser.get(f"/self-service/verification/flows?id={flow['id']}", headers=JSON)
    return [each["id"] for each in done.json()["ui"]["messages"]]


async def test_one_client_makes_us_remember_so_many_browsers_a_day(
    staging: Staging, sqlite_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registrants, "PER_CLIENT", "2/day")
    async with staging(sqlite_dsn, selfservice=selfservice("code")) as stage:
        scene, first = stage.scene, new_address()
        for email in (first, new_address(), new_address()):
            browser = await scene.browser()
            await browser.sign_up(email)
        cache = scene.application.infrastructure.cache
        assert isinstance(cache, MemoryCache)
        assert len(cache._kinds["registrant"].entries) == 2
        elsewhere = await scene.browser(ip=THERE)
        await elsewhere.sign_up(new_address())
        assert len(cache._kinds["registrant"].entries) == 3


async def alive(client: httpx2.AsyncClient, token: str) -> bool:
    return (await client.get("/sessions/whoami", headers={"x-session-token": token})).status_code == 200


class TestTheOwnerOfTheAddress:
    async def test_a_verification_that_the_owner_asks_for_ends_what_a_stranger_has_set(
        self, stage: Stage, use: str
    ) -> None:
        stranger, owner, email = await stage.scene.native(), await stage.scene.browser(ip=THERE), new_address()
        token = (await sign_up(stranger, email))["session_token"]
        assert await verified_by_address(stage.scene, owner, email, use) == [1080002, ENDED]
        assert not await alive(stranger, token)
        assert (await sign_in(stranger, email)).status_code == 400
        [address] = await stage.scene.rows("verifiable_addresses")
        assert bool(address["verified"])

    async def test_a_session_of_another_account_makes_nobody_the_registrant(self, stage: Stage, use: str) -> None:
        stranger, owner, email = await stage.scene.native(), await stage.scene.browser(ip=THERE), new_address()
        await owner.sign_up(new_address("own"))
        token = (await sign_up(stranger, email))["session_token"]
        await verified_by_address(stage.scene, owner, email, use)
        assert not await alive(stranger, token)

    async def test_once_an_address_was_proven_everything_stays(self, stage: Stage, use: str) -> None:
        registrant, email = await stage.scene.browser(), new_address()
        await registrant.sign_up(email)
        await verified_by_address(stage.scene, registrant, email, use)
        stage.scene.clock.advance(hours=1)
        assert ENDED not in await verified_by_address(stage.scene, await stage.scene.browser(ip=THERE), email, use)
        assert await registrant.whoami() is not None
        assert (await sign_in(await stage.scene.native(), email)).status_code == 200


class TestTheRegistrant:
    async def test_the_flow_that_registering_opened_keeps_password_and_session(self, stage: Stage, use: str) -> None:
        """The mail is read on another device; a link is followed there, and a code typed into the form."""
        app, email = await stage.scene.native(), new_address()
        token = (await sign_up(app, email))["session_token"]
        [row] = [row for row in await stage.scene.rows("flows") if row["kind"] == "verification"]
        flow = {"id": row["id"], "ui": {"action": f"/self-service/verification?flow={row['id']}"}}
        assert await completed(stage.scene, app, flow, email, use, {}) == [1080002]
        assert await alive(app, token)
        assert (await sign_in(await stage.scene.native(), email)).status_code == 200

    async def test_an_app_keeps_them_though_its_requests_bring_no_session(self, stage: Stage, use: str) -> None:
        """The contract's `updateVerificationFlow` has no parameter for a session token."""
        app, email = await stage.scene.native(), new_address()
        token = (await sign_up(app, email))["session_token"]
        assert await verified_by_address(stage.scene, app, email, use) == [1080002]
        assert await alive(app, token)
        assert (await sign_in(app, email)).status_code == 200

    async def test_a_request_of_a_session_keeps_them(self, stage: Stage, use: str) -> None:
        browser, email = await stage.scene.browser(), new_address()
        await browser.sign_up(email)
        elsewhere = await stage.scene.browser(ip=THERE)
        assert await verified_by_address(stage.scene, browser, email, use, follower=elsewhere) == [1080002]
        assert await browser.whoami() is not None
        assert (await sign_in(await stage.scene.native(), email)).status_code == 200


@pytest.mark.parametrize("hook", [None, "require_verified_address"])
async def test_the_browser_that_has_registered_or_shown_the_password_keeps_it_without_a_session(
    staging: Staging, sqlite_dsn: str, hook: str | None
) -> None:
    settings = {**selfservice("code")}
    flows = {**settings["flows"], "login": {"after": {"password": {"hooks": [{"hook": hook}] if hook else []}}}}
    async with staging(sqlite_dsn, selfservice={**settings, "flows": flows}) as stage:
        browser, email = await stage.scene.browser(), new_address()
        await (browser if hook is None else await stage.scene.browser(ip=THERE)).sign_up(email)
        if hook is not None:
            assert (await browser.sign_in(email)).status_code == 403
        assert await verified_by_address(stage.scene, browser, email, "code") == [1080002]
        assert (await browser.sign_in(email)).status_code == 200
