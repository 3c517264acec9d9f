"""Rows 29 and 32: every way of social sign-in asks whether the account is on, and whether the provider is."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.identity.values import Identity
from tests.attacks.scene import PASSWORD, new_address
from tests.credentials.social import CALLBACK, JSON, SocialStage, social_stage
from tests.openid.scripted import signed

SILENTLY = "/self-service/methods/oidc/silent-sign-on"
WITH_CODE = "return_session_token_exchange_code=true&return_to=https://app.test/"


@pytest.fixture
async def stage(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[SocialStage]:
    async with social_stage(sqlite_dsn, tmp_path, clock, idp={"silent_sign_on": True}) as stage:
        yield stage


async def switch_off(stage: SocialStage, identity: Identity) -> None:
    admin = await stage.scene.admin()
    inactive = [{"op": "replace", "path": "/state", "value": "inactive"}]
    assert (await admin.patch(f"/admin/identities/{identity.id}", json=inactive)).status_code == 200


Meanwhile = Callable[[], Awaitable[None]]
Way = Callable[[SocialStage, Meanwhile], Awaitable[bool]]
"""A way to sign in as alice of the provider `idp`. Awaits its argument when only the answer is left to be taken;
returns whether there is a session."""


async def by_the_login_form(stage: SocialStage, meanwhile: Meanwhile) -> bool:
    browser = await stage.scene.browser()
    url = await stage.leave(browser, await browser.open_flow("login"), provider="idp")
    await meanwhile()
    await browser.get(stage.back(url))
    return await browser.whoami() is not None


async def by_the_registration_form(stage: SocialStage, meanwhile: Meanwhile) -> bool:
    browser = await stage.scene.browser()
    url = await stage.leave(browser, await browser.open_flow("registration"), provider="idp")
    await meanwhile()
    await browser.get(stage.back(url))
    return await browser.whoami() is not None


async def by_an_id_token(stage: SocialStage, meanwhile: Meanwhile) -> bool:
    app = await stage.scene.native()
    await meanwhile()
    given = []
    for kind in ("login", "registration"):
        flow = (await app.get(f"/self-service/{kind}/api")).json()
        token = {"id_token": stage.id_token(jti=str(uuid4())), "id_token_nonce": "n-1"}
        answer = await app.post(flow["ui"]["action"], json={"method": "oidc", "provider": "idp", **token})
        given.append("session_token" in answer.json())
    assert len(set(given)) == 1
    return given[0]


async def by_the_token_exchange(stage: SocialStage, meanwhile: Meanwhile) -> bool:
    app = await stage.scene.native()
    flow = (await app.get(f"/self-service/login/api?{WITH_CODE}")).json()
    url = await stage.leave(app, flow, provider="idp")
    answer = await (await stage.scene.browser()).get(stage.back(url))
    code = dict(parse_qsl(urlsplit(answer.headers["location"]).query))["code"]
    await meanwhile()
    codes = {"init_code": flow["session_token_exchange_code"], "return_to_code": code}
    return "session_token" in (await app.get("/sessions/token-exchange", params=codes)).json()


async def silently(stage: SocialStage, meanwhile: Meanwhile) -> bool:
    browser = await stage.scene.browser()
    left = await browser.get(f"{SILENTLY}/idp")
    assert left.headers["location"].startswith(stage.idp.issuer)
    await meanwhile()
    await browser.get(stage.back(left.headers["location"]))
    return await browser.whoami() is not None


WAYS = (by_the_login_form, by_the_registration_form, by_an_id_token, by_the_token_exchange, silently)


@pytest.mark.parametrize("way", WAYS, ids=lambda each: each.__name__)
async def test_row_029_an_account_that_is_off_gets_no_session(stage: SocialStage, way: Way) -> None:
    alice = await stage.customer(new_address(), ("idp", "alice"))

    async def stays_on() -> None:
        pass

    async def is_switched_off() -> None:
        await switch_off(stage, alice)

    assert await way(stage, stays_on)
    assert not await way(stage, is_switched_off)
    assert [row for row in await stage.scene.rows("sessions") if row["active"]] == []


async def test_row_029_an_account_that_is_off_is_linked_to_nothing(stage: SocialStage) -> None:
    email = new_address()
    owner = await stage.customer(email, ("other", "owner"), password=PASSWORD)
    browser = await stage.scene.browser()
    flow = await stage.flow_after(browser, await stage.arrive(browser, email=email, email_verified=True))
    await switch_off(stage, owner)
    await browser.send_flow(flow, {"method": "password", "identifier": email, "password": PASSWORD})
    await browser.get(stage.back(await stage.leave(browser, flow, provider="other"), provider="other", subject="owner"))
    assert await browser.whoami() is None
    linked = (await stage.read(owner)).credentials["oidc"].config["providers"]
    assert [each["provider"] for each in linked] == ["other"]


class TestAProviderThatIsNotListed:
    """The provider `elsewhere` is nobody's; `other` is listed, but may not sign on silently."""

    @pytest.mark.parametrize("kind", ["login", "registration"])
    async def test_row_032_is_taken_by_no_form(self, stage: SocialStage, kind: str) -> None:
        browser, app = await stage.scene.browser(), await stage.scene.native()
        for named in ("elsewhere", "IDP", "idp/", "", "idp,other"):
            answer = await stage.submit(browser, await browser.open_flow(kind), provider=named)
            assert answer.status_code in {400, 404}, named
            flow = (await app.get(f"/self-service/{kind}/api")).json()
            token = {"id_token": stage.id_token(), "id_token_nonce": "n-1"}
            sent = await app.post(flow["ui"]["action"], json={"method": "oidc", "provider": named, **token})
            assert sent.status_code in {400, 404}, named
        assert await stage.scene.rows("identities") == []

    async def test_row_032_its_id_tokens_are_not_those_of_another_one(self, stage: SocialStage) -> None:
        app = await stage.scene.native()
        flow = (await app.get("/self-service/login/api")).json()
        told = stage.other.claims(sub="alice", nonce="n-1", email=new_address(), email_verified=True)
        sent = {"method": "oidc", "provider": "idp", "id_token": signed(told), "id_token_nonce": "n-1"}
        assert (await app.post(flow["ui"]["action"], json=sent)).status_code == 400
        assert await stage.scene.rows("identities") == []

    async def test_row_032_signs_nobody_on_silently(self, stage: SocialStage) -> None:
        for named in ("other", "elsewhere"):
            browser = await stage.scene.browser()
            answer = await browser.get(f"{SILENTLY}/{named}")
            assert not answer.headers.get("location", "").startswith((stage.other.issuer, stage.idp.issuer))

    async def test_row_032_no_callback_takes_its_answer(self, stage: SocialStage) -> None:
        browser = await stage.scene.browser()
        for named in ("other", "elsewhere"):
            url = await stage.leave(browser, await browser.open_flow("login"), provider="idp")
            back = stage.back(url, email=new_address(), email_verified=True)
            await browser.get(back.replace(f"{CALLBACK}/idp", f"{CALLBACK}/{named}"))
            assert await browser.whoami() is None
        assert await stage.scene.rows("identities") == []

    async def test_row_032_is_linked_to_no_account(self, stage: SocialStage) -> None:
        browser = await stage.scene.browser()
        await browser.sign_up(new_address())
        answer = await stage.submit(browser, await browser.open_flow("settings"), link="elsewhere")
        assert answer.status_code in {400, 404}

    async def test_row_032_confirms_no_session(self, stage: SocialStage) -> None:
        """The form offers the account's own providers; another one is not taken when it is named, either."""
        await stage.customer(new_address(), ("idp", "alice"))
        browser = await stage.scene.browser()
        await stage.arrive(browser)
        opened = await browser.get("/self-service/login/browser?refresh=true", headers=JSON)
        answer = await stage.submit(browser, opened.json(), provider="other")
        assert answer.status_code == 400
