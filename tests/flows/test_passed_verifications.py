"""A verification that has passed tells who brings its secret again that the address is confirmed, and nobody else."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import THERE, Browser, csrf_of, new_address, sign_up
from tests.flows.conftest import JSON, Stage, Staging
from tests.flows.test_callbacks import messages

CONFIRMED, USED, WRONG_LINK = 1080002, 4070002, 4070001


@dataclass(frozen=True)
class Mailed:
    """A verification in a browser or an app, and what was mailed for it."""

    stage: Stage
    client: httpx2.AsyncClient
    flow: Mapping[str, Any]
    link: str
    code: str

    async def give(self, code: str, *, html: bool = False) -> httpx2.Response:
        fields = {"method": "code", "code": code}
        if isinstance(self.client, Browser):
            fields["csrf_token"] = csrf_of(self.flow)
        if html:
            return await self.client.post(self.flow["ui"]["action"], data=fields)
        return await self.client.post(self.flow["ui"]["action"], json=fields, headers=JSON)

    async def shown(self, client: httpx2.AsyncClient, answer: httpx2.Response) -> dict[str, Any]:
        """Return the form that an answer leads to."""
        where = answer.headers.get("location") or f"?flow={answer.json()['use_flow_id']}"
        fetched = await client.get(f"/self-service/verification/flows?id={where.partition('flow=')[2]}", headers=JSON)
        assert fetched.status_code == 200, fetched.text
        return dict(fetched.json())


async def mailed(stage: Stage, *, way: str = "code", native: bool = False) -> Mailed:
    email, client = new_address(), await (stage.scene.native() if native else stage.scene.browser())
    await sign_up(await stage.scene.native(), email)
    flow = (await client.get(f"/self-service/verification/{'api' if native else 'browser'}", headers=JSON)).json()
    fields = {"method": way, "email": email, **({} if native else {"csrf_token": csrf_of(flow)})}
    flow = (await client.post(flow["ui"]["action"], json=fields, headers=JSON)).json()
    mail = next(mail for mail in await stage.scene.mails() if str(flow["id"]) in mail.body)
    [link] = re.findall(r"/self-service/verification\?\S+", mail.body)
    return Mailed(stage, client, flow, link, link.partition("code=")[2])


@pytest.fixture
def by_code() -> dict[str, Any]:
    return {"flows": {"verification": {"enabled": True}}}


@pytest.fixture
def by_link() -> dict[str, Any]:
    return {"methods": {"link": {"enabled": True}}, "flows": {"verification": {"enabled": True, "use": "link"}}}


def is_end(flow: Mapping[str, Any]) -> bool:
    """Return whether a form says that the address is confirmed, with the way on and no field."""
    fields = [node["attributes"].get("name") for node in flow["ui"]["nodes"] if node["type"] == "input"]
    return flow["state"] == "passed_challenge" and messages(flow)[0] == CONFIRMED and fields == ["csrf_token"]


async def test_the_link_of_the_mail_after_its_code_was_typed(
    staging: Staging, sqlite_dsn: str, by_code: dict[str, Any]
) -> None:
    async with staging(sqlite_dsn, selfservice=by_code) as stage:
        for native in (False, True):
            asked, phone = await mailed(stage, native=native), await stage.scene.browser(ip=THERE)
            assert (await asked.give(asked.code)).json()["state"] == "passed_challenge"
            answer = await phone.get(asked.link)
            assert is_end(await asked.shown(phone, answer))
            wrong = asked.link.replace(asked.code, f"{(int(asked.code) + 1) % 10**6:06d}")
            assert messages(await asked.shown(phone, await phone.get(wrong))) == [WRONG_LINK]


async def test_a_link_that_is_followed_twice(
    staging: Staging, sqlite_dsn: str, clock: StoppedClock, by_link: dict[str, Any]
) -> None:
    async with staging(sqlite_dsn, selfservice=by_link) as stage:
        asked = await mailed(stage, way="link")
        for _ in range(3):
            phone = await stage.scene.browser(ip=THERE)
            assert is_end(await asked.shown(phone, await phone.get(asked.link)))
        wrong = await phone.get(f"{asked.link[:-1]}{'A' if asked.link[-1] != 'A' else 'B'}")
        assert messages(await asked.shown(phone, wrong)) == [WRONG_LINK]
        marked = [event.details["status"] for event in await stage.events("identity.address_marked")]
        assert marked.count("completed") == 1


@pytest.mark.parametrize("html", [False, True])
async def test_the_form_that_is_sent_again(
    staging: Staging, sqlite_dsn: str, by_code: dict[str, Any], html: bool
) -> None:
    async with staging(sqlite_dsn, selfservice=by_code) as stage:
        asked = await mailed(stage)
        await asked.give(asked.code, html=html)
        again = await asked.give(asked.code, html=html)
        assert again.status_code == (303 if html else 410)
        assert is_end(await asked.shown(asked.client, again))
        for wrong in (f"{(int(asked.code) + 1) % 10**6:06d}", ""):
            told = await asked.shown(asked.client, await asked.give(wrong, html=html))
            assert (told["state"], messages(told)) == ("choose_method", [USED])


async def test_the_form_that_is_sent_twice_at_once(staging: Staging, dsn: str, by_code: dict[str, Any]) -> None:
    async with staging(dsn, selfservice=by_code) as stage:
        asked = await mailed(stage)
        answers = await asyncio.gather(*(asked.give(asked.code, html=True) for _ in range(3)))
        ends = [await asked.shown(asked.client, answer) for answer in answers]
        assert [is_end(end) for end in ends] == [True] * 3


async def test_a_code_that_has_run_out_says_nothing_more(
    staging: Staging, sqlite_dsn: str, clock: StoppedClock, by_code: dict[str, Any]
) -> None:
    async with staging(sqlite_dsn, selfservice=by_code) as stage:
        asked = await mailed(stage)
        await asked.give(asked.code)
        clock.advance(minutes=11)
        assert messages(await asked.shown(asked.client, await asked.give(asked.code))) == [USED]
