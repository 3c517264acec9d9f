"""Recovery that was asked for before the account changed: another address keeps it, a new password ends it."""

import re
from typing import Any

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import Browser, Scene, csrf_of, new_address
from tests.flows.conftest import JSON, Staging
from tests.flows.test_address_changes import confirm
from tests.flows.test_callbacks import messages
from tests.flows.test_settings import NEW, Account, account

BY_OPERATOR = ("operator's code", "operator's link")
WAYS = ("code", "link", *BY_OPERATOR)
WRONG = {"code": 4060006, "link": 4060004}


def settings(way: str) -> dict[str, Any]:
    use = way if way == "link" else "code"
    return {
        "methods": {"code": {"enabled": True}, "link": {"enabled": True}},
        "flows": {name: {"enabled": True, "use": use} for name in ("recovery", "verification")},
    }


class Asked:
    """A recovery that is under way: by whom it was asked for, in which flow, and the code or the path of the link."""

    def __init__(self, scene: Scene, browser: Browser, flow_id: str, *, code: str = "", link: str = "") -> None:
        self.scene, self.browser, self.flow_id, self.code, self.link = scene, browser, flow_id, code, link

    async def spend(self) -> httpx2.Response:
        """Give the code, or follow the link in another browser."""
        if self.link:
            self.browser = await self.scene.browser()
            return await self.browser.get(self.link)
        shown = await self.shown(self.flow_id)
        fields = {"method": "code", "code": self.code, "csrf_token": csrf_of(shown) if "csrf" in str(shown) else ""}
        return await self.browser.post(f"/self-service/recovery?flow={self.flow_id}", json=fields, headers=JSON)

    async def shown(self, flow_id: str) -> dict[str, Any]:
        answer = await self.browser.get(f"/self-service/recovery/flows?id={flow_id}", headers=JSON)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def refused_with(self, answer: httpx2.Response) -> list[int]:
        """Return the messages of the form that an answer shows, or leads to."""
        if not self.link:
            return messages(answer.json())
        return messages(await self.shown(answer.headers["location"].partition("flow=")[2]))


async def asked(scene: Scene, way: str, ada: Account) -> Asked:
    browser = await scene.browser()
    if way in BY_OPERATOR:
        kind = way.rpartition(" ")[2]
        given = await (await scene.admin()).post(f"/admin/recovery/{kind}", json={"identity_id": ada.id})
        link, code = given.json()["recovery_link"], given.json().get("recovery_code", "")
        flow_id = re.findall(r"flow=([0-9a-f-]+)", link)[0]
        return Asked(scene, browser, flow_id, code=code, link="" if code else link)
    flow = await browser.open_flow("recovery")
    sent = await browser.send_flow(flow, {"method": way, "email": ada.email})
    assert sent.json()["state"] == "sent_email"
    [mail] = [mail for mail in await scene.mails() if "recovery" in mail.template_type]
    if way == "code":
        return Asked(scene, browser, flow["id"], code=re.findall(r"\b\d{6}\b", mail.subject + mail.body)[0])
    return Asked(scene, browser, flow["id"], link=re.findall(r"/self-service/recovery\?\S+", mail.body)[0])


@pytest.mark.parametrize(("way", "verified"), [*((way, True) for way in WAYS), *((way, False) for way in BY_OPERATOR)])
async def test_another_address_keeps_it(
    staging: Staging, sqlite_dsn: str, clock: StoppedClock, way: str, verified: bool
) -> None:
    """Who has taken over a session must not end the owner's recovery by changing the address."""
    async with staging(sqlite_dsn, selfservice=settings(way)) as stage:
        ada = await account(stage.scene)
        if verified:
            await confirm(stage.scene, ada)
        recovery = await asked(stage.scene, way, ada)
        clock.advance(minutes=1)
        assert (await ada.change(email=new_address("new"))).status_code == 200
        await recovery.spend()
        assert await recovery.browser.whoami() == ada.id


@pytest.mark.parametrize("way", WAYS)
async def test_a_new_password_ends_it(staging: Staging, sqlite_dsn: str, clock: StoppedClock, way: str) -> None:
    async with staging(sqlite_dsn, selfservice=settings(way)) as stage:
        ada = await account(stage.scene)
        recovery = await asked(stage.scene, way, ada)
        clock.advance(minutes=1)
        assert (await ada.set_password(NEW)).status_code == 200
        answer = await recovery.spend()
        assert await recovery.refused_with(answer) == [WRONG[way.rpartition(" ")[2] or way]]
        assert await recovery.browser.whoami() is None


@pytest.mark.parametrize("way", ["code", "link"])
async def test_another_address_ends_that_of_one_that_was_never_verified(
    staging: Staging, sqlite_dsn: str, clock: StoppedClock, way: str
) -> None:
    """Anybody can enter somebody else's address, so such a one recovers nothing after it was changed."""
    async with staging(sqlite_dsn, selfservice=settings(way)) as stage:
        ada = await account(stage.scene)
        recovery = await asked(stage.scene, way, ada)
        clock.advance(minutes=1)
        assert (await ada.change(email=new_address("new"))).status_code == 200
        answer = await recovery.spend()
        assert await recovery.refused_with(answer) == [WRONG[way]]
        assert await recovery.browser.whoami() is None


@pytest.mark.parametrize("way", ["code", "link"])
async def test_a_confirmed_address_ends_that_of_the_former_one(
    staging: Staging, sqlite_dsn: str, clock: StoppedClock, way: str
) -> None:
    async with staging(sqlite_dsn, selfservice=settings(way)) as stage:
        ada = await account(stage.scene)
        await confirm(stage.scene, ada)
        recovery = await asked(stage.scene, way, ada)
        clock.advance(minutes=1)
        assert (await ada.change(email=new_address("new"))).status_code == 200
        await confirm(stage.scene, ada)
        answer = await recovery.spend()
        assert await recovery.refused_with(answer) == [WRONG[way]]
        assert await recovery.browser.whoami() is None


@pytest.mark.parametrize("way", ["code", "link"])
async def test_a_verification_of_an_address_that_has_left_names_no_password(
    staging: Staging, sqlite_dsn: str, way: str
) -> None:
    async with staging(sqlite_dsn, selfservice=settings(way)) as stage:
        scene = stage.scene
        ada, browser = await account(scene), await scene.browser()
        flow = await browser.open_flow("verification")
        await browser.send_flow(flow, {"method": way, "email": ada.email})
        mail = next(mail for mail in await scene.mails() if flow["id"] in mail.body)
        assert (await ada.change(email=new_address("new"))).status_code == 200
        if way == "code":
            [code] = set(re.findall(r"\b\d{6}\b", mail.body))
            told = (await browser.send_flow(flow, {"method": "code", "code": code})).json()
        else:
            answer = await browser.get(re.findall(r"/self-service/verification\?\S+", mail.body)[0])
            fresh = answer.headers["location"].partition("flow=")[2]
            told = await stage.flow(browser, "verification", fresh)
        assert messages(told) == [{"code": 4070006, "link": 4070001}[way]]
