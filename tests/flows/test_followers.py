"""A mailed link is followed elsewhere, by a scanner or a phone: the client that opened the form can go on with it."""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from tests.attacks.scene import THERE, Browser, csrf_of, new_address, sign_up
from tests.flows.conftest import JSON, Stage, Staging

FLOWS = {"verification": {"enabled": True}}


@dataclass(frozen=True)
class Asked:
    """A verification whose code was mailed: the client that opened it, its form, and the link and code of the mail."""

    client: httpx2.AsyncClient
    flow: Mapping[str, Any]
    link: str
    code: str

    async def fetched(self, client: httpx2.AsyncClient) -> httpx2.Response:
        answer = await client.get(f"/self-service/verification/flows?id={self.flow['id']}", headers=JSON)
        if not isinstance(client, Browser):
            client.cookies.clear()  # apps keep none
        return answer

    async def submit(self, client: httpx2.AsyncClient, code: str, *, token: str | None) -> httpx2.Response:
        fields = {"method": "code", "code": code, **({"csrf_token": token} if token is not None else {})}
        return await client.post(self.flow["ui"]["action"], json=fields, headers=JSON)

    def token(self) -> str | None:
        """The anti-CSRF token of the form as it was before anybody followed the link; apps have none."""
        return csrf_of(self.flow) if isinstance(self.client, Browser) else None


@pytest.fixture
async def stage(staging: Staging, sqlite_dsn: str) -> AsyncIterator[Stage]:
    async with staging(sqlite_dsn, selfservice={"flows": FLOWS}) as stage:
        yield stage


async def asked(stage: Stage, client: httpx2.AsyncClient) -> Asked:
    email, kind = new_address(), "browser" if isinstance(client, Browser) else "api"
    await sign_up(await stage.scene.native(), email)
    flow = (await client.get(f"/self-service/verification/{kind}", headers=JSON)).json()
    fields = {"method": "code", "email": email}
    if kind == "browser":
        fields["csrf_token"] = csrf_of(flow)
    flow = (await client.post(flow["ui"]["action"], json=fields, headers=JSON)).json()
    mails = await stage.scene.mails()
    mail = next(m for m in mails if m.recipient == email and str(flow["id"]) in m.body)
    [link] = re.findall(r"/self-service/verification\?\S+", mail.body)
    return Asked(client, flow, link, re.findall(r"code=(\d{6})", link)[0])


@pytest.fixture(params=["browser", "app"])
async def verification(request: pytest.FixtureRequest, stage: Stage) -> Asked:
    client = await (stage.scene.browser() if request.param == "browser" else stage.scene.native())
    return await asked(stage, client)


def code_in(flow: Mapping[str, Any]) -> str | None:
    """Return the code that a form shows."""
    [node] = [node for node in flow["ui"]["nodes"] if node["attributes"].get("name") == "code" and _is_text(node)]
    return str(node["attributes"]["value"]) if node["attributes"].get("value") else None


def _is_text(node: Mapping[str, Any]) -> bool:
    return bool(node["attributes"]["type"] == "text")


async def test_the_client_that_opened_the_form_goes_on_after_a_scanner(stage: Stage, verification: Asked) -> None:
    scanner = await stage.scene.browser(ip=THERE)
    assert (await scanner.get(verification.link)).status_code == 303
    fetched = await verification.fetched(verification.client)
    assert fetched.status_code == 200
    assert fetched.json()["type"] == verification.flow["type"]
    done = await verification.submit(verification.client, verification.code, token=verification.token())
    assert (done.status_code, done.json()["state"]) == (200, "passed_challenge")
    assert (await verification.fetched(verification.client)).json()["state"] == "passed_challenge"


async def test_the_phone_that_follows_the_link_verifies_with_the_code_filled_in(
    stage: Stage, verification: Asked
) -> None:
    phone = await stage.scene.browser(ip=THERE)
    await (await stage.scene.browser()).get(verification.link)  # a scanner was first
    page = await phone.get(verification.link, follow_redirects=True)
    assert (page.status_code, f'value="{verification.code}"' in page.text) == (200, True)
    shown = (await verification.fetched(phone)).json()
    assert (shown["type"], code_in(shown)) == ("browser", verification.code)
    wrong = await verification.submit(phone, f"{(int(verification.code) + 1) % 10**6:06d}", token=csrf_of(shown))
    assert (wrong.status_code, code_in(wrong.json())) == (200, None)
    done = await verification.submit(phone, verification.code, token=csrf_of(wrong.json()))
    assert (done.status_code, done.json()["state"]) == (200, "passed_challenge")


async def test_who_opened_the_form_does_not_see_the_code_of_the_link(stage: Stage, verification: Asked) -> None:
    """They may have asked for a mail to an address that is not theirs."""
    phone = await stage.scene.browser(ip=THERE)
    await phone.get(verification.link)
    assert code_in((await verification.fetched(verification.client)).json()) is None
    wrong = await verification.submit(verification.client, "", token=verification.token())
    assert verification.code not in wrong.text
    assert verification.code not in (await verification.fetched(verification.client)).text


async def test_another_browser_can_do_nothing_with_a_followed_form(stage: Stage, verification: Asked) -> None:
    phone, other = await stage.scene.browser(ip=THERE), await stage.scene.browser()
    await phone.get(verification.link)
    shown = (await verification.fetched(phone)).json()
    await other.open_flow("verification")
    refused = await verification.submit(other, verification.code, token=csrf_of(shown))
    assert refused.status_code in {400, 403}
    forged = await verification.submit(phone, verification.code, token="")
    assert forged.status_code == 403
