"""Mailed links: what looks ahead spends nothing, and one click can be asked for."""

import re

import pytest

from tests.attacks.scene import Scene, csrf_of, new_address, sign_up
from tests.flows.conftest import JSON, Staging

FLOWS = {name: {"enabled": True, "use": "link"} for name in ("recovery", "verification")}


async def mailed_link(scene: Scene) -> str:
    """Register, ask for a recovery in a browser, and return the path of the mailed link."""
    email = new_address()
    await sign_up(await scene.native(), email)
    browser = await scene.browser()
    flow = await browser.open_flow("recovery")
    asked = {"method": "link", "email": email, "csrf_token": csrf_of(flow)}
    answer = await browser.post(flow["ui"]["action"], json=asked, headers=JSON)
    assert (answer.status_code, answer.json()["state"]) == (200, "sent_email")
    [link] = {found for mail in await scene.mails() for found in re.findall(r"/self-service/recovery\?\S+", mail.body)}
    return str(link)


@pytest.mark.parametrize("confirm", [False, True])
async def test_a_link_is_spent_by_a_reader_only(staging: Staging, sqlite_dsn: str, confirm: bool) -> None:
    link = {"enabled": True, "config": {"confirm_by_click": confirm}}
    async with staging(sqlite_dsn, selfservice={"methods": {"link": link}, "flows": FLOWS}) as stage:
        path, phone = await mailed_link(stage.scene), await stage.scene.browser()
        assert (await phone.head(path)).status_code == 200
        for header in ("sec-purpose", "purpose", "x-moz"):
            ahead = await phone.get(path, headers={header: "prefetch", **JSON})
            assert (ahead.status_code, ahead.headers["x-error-code"]) == (503, "link_looked_ahead")
        if confirm:
            assert (await phone.get(path)).status_code == 200
            assert (await phone.post(path, headers={"sec-fetch-site": "cross-site"})).status_code == 303
            assert (await phone.get("/sessions/whoami", headers=JSON)).status_code == 401
        done = await (phone.post(path) if confirm else phone.get(path))
        assert (done.status_code, "/account?flow=" in done.headers["location"]) == (303, True)
        session = (await phone.get("/sessions/whoami", headers=JSON)).json()
        assert [each["method"] for each in session["authentication_methods"]] == ["link_recovery"]
        other = await stage.scene.browser()
        again = await (other.post(path) if confirm else other.get(path))
        assert "/recovery?flow=" in again.headers["location"]


HEADINGS = {
    "en": "This link waits for your click",
    "de": "Dieser Link wartet auf Ihren Klick",
    "es": "Este enlace espera a que lo pulses",
}


async def test_a_browser_that_looks_ahead_is_refused_where_it_is(staging: Staging, sqlite_dsn: str) -> None:
    """Behind a redirect it would keep the error page of a reader who has not followed the link yet."""
    link = {"enabled": True}
    async with staging(sqlite_dsn, selfservice={"methods": {"link": link}, "flows": FLOWS}) as stage:
        path, phone = await mailed_link(stage.scene), await stage.scene.browser()
        for language, heading in HEADINGS.items():
            looking = {"accept": "text/html", "sec-purpose": "prefetch;prerender", "accept-language": language}
            ahead = await phone.get(path, headers=looking)
            assert (ahead.status_code, ahead.headers["x-error-code"]) == (503, "link_looked_ahead")
            assert ahead.headers["cache-control"] == "no-store"
            assert ahead.headers.get_list("set-cookie") == []
            assert f"<h1>{heading}</h1>" in ahead.text
        assert await stage.scene.rows("flow_errors") == []
        assert "/account?flow=" in (await phone.get(path)).headers["location"]
