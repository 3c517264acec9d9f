"""A browser whose anti-CSRF cookie is gone: the form that takes the place of its own is bound to the cookie it gets."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx2
import pytest

from tests.attacks.scene import OTHER_PAGE, Browser, csrf_of, new_address, set_cookies
from tests.flows.conftest import JSON, Stage, Staging

FLOWS = {"recovery": {"enabled": True}, "verification": {"enabled": True}}
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
CSRF = "csrf_token"


@pytest.fixture
async def stage(staging: Staging, sqlite_dsn: str) -> AsyncIterator[Stage]:
    async with staging(sqlite_dsn, selfservice={"flows": FLOWS}) as stage:
        yield stage


async def sent_without_cookies(stage: Stage, kind: str, *, html: bool, later: timedelta) -> tuple[Browser, str, str]:
    """Submit the form of another browser; return the one that sent it, the form's id, and the id of its replacement."""
    flow = await (await stage.scene.browser()).open_flow(kind)
    stage.scene.clock.advance(seconds=later.total_seconds())
    browser = await stage.scene.browser()
    fields = {"method": "code", "email": new_address(), CSRF: csrf_of(flow)}
    if html:
        answer = await browser.post(flow["ui"]["action"], data=fields)
    else:
        answer = await browser.post(flow["ui"]["action"], json=fields, headers=JSON)
    return browser, flow["id"], replacement_in(answer, flow["id"])


def replacement_in(answer: httpx2.Response, old: str) -> str:
    named = [each for each in ID.findall(answer.text + answer.headers.get("location", "")) if each != old]
    assert named, answer.text
    return named[0]


CASES = [
    ("recovery", timedelta()),
    ("recovery", timedelta(hours=2)),
    ("verification", timedelta(hours=2)),
    ("login", timedelta(hours=2)),
    ("registration", timedelta(hours=2)),
]


@pytest.mark.parametrize("html", [True, False], ids=["page", "spa"])
@pytest.mark.parametrize(("kind", "later"), CASES)
async def test_the_replacement_can_be_fetched_and_sent(stage: Stage, kind: str, later: timedelta, html: bool) -> None:
    browser, _, fresh = await sent_without_cookies(stage, kind, html=html, later=later)
    fetched = await browser.get(f"/self-service/{kind}/flows?id={fresh}", headers=JSON)
    assert fetched.status_code == 200, fetched.text
    flow = fetched.json()
    sent = {"method": "code", "email": new_address(), CSRF: csrf_of(flow)}
    answer = await browser.post(flow["ui"]["action"], json=sent, headers=JSON)
    assert (answer.status_code, answer.json().get("id")) == ({"login": 400, "registration": 400}.get(kind, 200), fresh)


async def test_the_cookie_that_is_given_does_not_open_the_form_that_was_sent(stage: Stage) -> None:
    browser, old, _ = await sent_without_cookies(stage, "recovery", html=False, later=timedelta())
    refused = await browser.get(f"/self-service/recovery/flows?id={old}", headers=JSON)
    assert refused.status_code == 403


async def test_a_page_of_another_site_cannot_have_the_cookie_replaced(stage: Stage) -> None:
    flow = await (await stage.scene.browser()).open_flow("verification")
    stage.scene.clock.advance(hours=2)
    victim = await stage.scene.browser()
    form = {"method": "code", "email": new_address(), CSRF: csrf_of(flow)}
    answer = await victim.post(flow["ui"]["action"], data=form, headers=OTHER_PAGE)
    assert not any(CSRF in name for name in set_cookies(answer))
