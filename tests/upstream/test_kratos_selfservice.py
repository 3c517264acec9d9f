"""Self-service for a store whose identities another server proves: passed on, redirected, or refused."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from starlette.types import Message, Receive, Scope, Send

from shopkeeper.app.session_servers import PASSED_ON
from shopkeeper.clock import StoppedClock
from shopkeeper.http.session_server_cookies import ServerCookies
from tests.attacks.scene import ADDRESS, EVIL, ME, OTHER_PAGE, OWN_PAGE, PASSWORD, ask, csrf_of, new_address, sign_up
from tests.conftest import Run
from tests.flows.watching import statements
from tests.upstream.kratos_scene import IDP, InFront, in_front

JSON = {"accept": "application/json"}
KETTLE = {"connector": "kettle"}
JWT = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJodHRwczovL3Nob3AudGVzdCJ9.c2ln"


@pytest.fixture
async def scene(run: Run, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[InFront]:
    async with in_front(run, tmp_path, clock) as scene:
        yield scene


async def test_an_app_registers_signs_in_and_out_through_us(scene: InFront) -> None:
    app, email = await scene.shop.native(), new_address()
    flow = (await app.get("/self-service/registration/api")).json()
    assert flow["ui"]["action"].startswith(f"{ADDRESS}/self-service/registration?flow=")
    assert flow["request_url"].startswith(ADDRESS)
    registered = await sign_up(app, email)
    token = registered["session_token"]
    known = await app.get("/sessions/whoami", headers={"x-session-token": token})
    assert known.json()["identity"]["traits"]["email"] == email
    assert known.json()["identity"]["schema_url"].startswith(f"{ADDRESS}/schemas/")
    async with httpx2.AsyncClient(base_url=scene.url) as direct:
        there = await direct.get("/sessions/whoami", headers={"x-session-token": token})
        assert there.json()["identity"]["id"] == known.json()["identity"]["id"]
        ended = await app.request("DELETE", "/self-service/logout/api", json={"session_token": token})
        assert ended.status_code == 204, ended.text
        assert (await direct.get("/sessions/whoami", headers={"x-session-token": token})).status_code == 401
    assert (await app.get("/sessions/whoami", headers={"authorization": f"Bearer {token}"})).status_code == 401
    assert await scene.shop.rows("identities") == []


async def test_a_browser_keeps_the_servers_cookies_under_names_of_their_own(scene: InFront) -> None:
    browser, email = await scene.shop.browser(), new_address()
    answer = await browser.sign_up(email)
    names = set(browser.cookies)
    assert ServerCookies(IDP, secure=True).name("ory_kratos_session") in names
    assert all(name.startswith("__Host-kratos_") for name in names)
    assert "ory_kratos_session" not in names
    lines = answer.headers.get_list("set-cookie")
    assert all("Path=/" in line and "Secure" in line and "HttpOnly" in line and "Domain" not in line for line in lines)
    assert await browser.whoami()
    listed = await browser.get("/sessions", headers=JSON)
    assert (listed.status_code, listed.json()) == (200, [])
    settings = await browser.open_flow("settings")
    assert settings["ui"]["action"].startswith(ADDRESS)
    leaving = (await browser.get("/self-service/logout/browser", headers=JSON)).json()
    assert leaving["logout_url"].startswith(f"{ADDRESS}/self-service/logout?token=")
    gone = await browser.get(leaving["logout_url"], headers=JSON)
    assert gone.status_code == 204
    assert await browser.whoami() is None


async def test_a_form_without_scripts_is_led_to_the_pages_that_are_configured(
    run: Run, tmp_path: Path, clock: StoppedClock
) -> None:
    pages = {"login": f"{ADDRESS}/in?x=1"}
    async with in_front(run, tmp_path, clock, provider={"ui": pages}) as scene:
        browser = await scene.shop.browser()
        answer = await browser.get("/self-service/login/browser")
        assert answer.status_code == 303
        assert answer.headers["location"].startswith(f"{ADDRESS}/in?x=1&flow=")


async def test_sign_out_through_us_is_seen_at_once(scene: InFront) -> None:
    app = await scene.shop.native()
    token = (await sign_up(app, new_address()))["session_token"]
    sessions = scene.shop.application.accounts.session_servers.sessions[IDP]
    await sessions.verify(token, None)
    assert len(scene.shop.application.accounts.session_servers.answers) == 1
    await app.request("DELETE", "/self-service/logout/api", json={"session_token": token})
    assert len(scene.shop.application.accounts.session_servers.answers) == 0


async def test_where_a_browser_returns_to_is_checked_here(scene: InFront) -> None:
    app = await scene.shop.native()
    answer = await app.get(f"/self-service/login/api?return_to={EVIL}")
    assert (answer.status_code, answer.json()["error"]["id"]) == (400, "self_service_flow_return_to_forbidden")
    kept = await app.get(f"/self-service/login/api?return_to={ADDRESS}/welcome")
    assert kept.json()["return_to"] == f"{ADDRESS}/welcome"


async def test_the_form_of_another_sites_page_is_not_passed_on(scene: InFront) -> None:
    browser = await scene.shop.browser()
    flow = await browser.open_flow("registration")
    form = {"method": "password", "password": PASSWORD, "traits": {"email": new_address()}, "csrf_token": csrf_of(flow)}
    for page, status in ((OTHER_PAGE, 403), (OWN_PAGE, 200)):
        answer = await browser.post(flow["ui"]["action"], json=form, headers={**JSON, **page})
        assert answer.status_code == status, answer.text


async def test_other_stores_have_flows_of_their_own(scene: InFront) -> None:
    app = await scene.shop.native(connector="kettle")
    await sign_up(app, new_address())
    assert len(await scene.shop.rows("identities")) == 1
    assert await scene.remote.rows("identities") == []


async def test_the_server_is_not_told_which_of_our_stores_it_is(scene: InFront) -> None:
    """It has stores of its own, if any, and would refuse ours as unknown."""
    app = await scene.shop.native()
    for query in ("?store=default", "?store=default&refresh=true", "?refresh=true&store=default&tenant="):
        opened = await app.get(f"/self-service/login/api{query}")
        assert opened.status_code == 200, opened.text
        assert opened.json()["request_url"].endswith("?refresh=true" if "refresh" in query else "/api")


async def test_a_token_of_ours_is_not_sent_there(scene: InFront) -> None:
    app, kettle = await scene.shop.native(), await scene.shop.native(**KETTLE)
    token = (await sign_up(kettle, new_address()))["session_token"]
    answer = await app.get("/sessions", headers={"x-session-token": token})
    assert answer.status_code == 401


async def test_row_032_nothing_of_ours_is_sent_there(scene: InFront) -> None:
    """No token but those of the server's form, in no header, and not as the session to end."""
    app, kettle = await scene.shop.native(), await scene.shop.native(**KETTLE)
    visit = (await kettle.post("/signin", json={})).json()["authorization"]
    own = (await sign_up(kettle, new_address()))["session_token"]
    theirs = (await sign_up(app, new_address()))["session_token"]
    behind, sent = scene.faults.app, list[str]()

    async def recording(request: Scope, receive: Receive, send: Send) -> None:
        sent.extend(value.decode() for _, value in request["headers"])

        async def received() -> Message:
            message = await receive()
            sent.append(message.get("body", b"").decode())
            return message

        await behind(request, received, send)

    scene.faults.app = recording
    secret = [
        visit,
        own,
        "shk_rt_" + "a" * 43,
        JWT,
        "x" * 43,
    ]
    for token in secret:
        for headers in ({"x-session-token": token}, {"authorization": f"Bearer {token}"}):
            for path in ("/sessions", "/sessions/whoami", "/self-service/login/api"):
                await app.get(path, headers=headers)
        await app.request("DELETE", "/self-service/logout/api", json={"session_token": token})
    assert not [token for token in secret if any(token in each for each in sent)]
    assert (await app.get("/sessions", headers={"x-session-token": theirs})).status_code == 200
    assert any(theirs in each for each in sent)


async def test_an_outage_is_said(scene: InFront, run: Run, tmp_path: Path, clock: StoppedClock) -> None:
    (tmp_path / "other").mkdir()
    gone = "http://127.0.0.1:9"
    async with in_front(
        run,
        tmp_path / "other",
        clock,
        provider={"public_url": gone},
        clients={"http": {"private_ip_exception_urls": [f"{gone}/**"]}},
    ) as dark:
        answer = await (await dark.shop.native()).get("/self-service/login/api")
        assert (answer.status_code, answer.headers["x-error-code"]) == (503, "session_server_unavailable")
        page = await (await dark.shop.browser()).get("/self-service/login/browser")
        assert page.status_code == 503
        assert "text/html" in page.headers["content-type"]


async def test_redirecting_sends_browsers_there(run: Run, tmp_path: Path, clock: StoppedClock) -> None:
    async with in_front(run, tmp_path, clock, provider={"self_service": "redirect"}) as scene:
        browser, app = await scene.shop.browser(), await scene.shop.native()
        path = f"/self-service/login/browser?return_to={ADDRESS}/welcome"
        answer = await browser.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, f"{scene.url}{path}")
        as_json = await browser.get(path, headers=JSON)
        assert (as_json.status_code, as_json.json()["redirect_browser_to"]) == (422, f"{scene.url}{path}")
        forbidden = await browser.get(f"/self-service/login/browser?return_to={EVIL}")
        assert forbidden.status_code == 400
        assert (await app.get("/self-service/login/api")).json()["error"]["id"] == "self_service_flow_disabled"
        assert (await app.post("/self-service/login?flow=1", json={})).status_code == 400
        own = await app.get("/self-service/login/api", headers=KETTLE)
        assert own.status_code == 200


async def test_switched_off_nobody_signs_in_here(run: Run, tmp_path: Path, clock: StoppedClock) -> None:
    async with in_front(run, tmp_path, clock, provider={"self_service": "off"}) as scene:
        for path in ("/self-service/registration/api", "/self-service/login/browser", "/self-service/settings/browser"):
            answer = await (await scene.shop.native()).get(path)
            assert answer.json()["error"]["id"] == "self_service_flow_disabled", path


async def test_slow_pages_of_the_server_make_no_session_wait(scene: InFront) -> None:
    app = await scene.shop.native()
    token = (await sign_up(app, new_address()))["session_token"]
    begun, go_on, behind = asyncio.Semaphore(0), asyncio.Event(), scene.faults.app

    async def slow(request: Scope, receive: Receive, send: Send) -> None:
        if request["path"].startswith("/self-service/recovery"):
            begun.release()
            await go_on.wait()
        await behind(request, receive, send)

    scene.faults.app = slow
    pages = [asyncio.create_task(app.get("/self-service/recovery/api")) for _ in range(2 * PASSED_ON)]
    for _ in range(PASSED_ON):
        await begun.acquire()
    answer = await ask(app, token, ME)
    go_on.set()
    assert "errors" not in answer, answer
    assert {(await page).status_code for page in pages} <= {200, 400, 503}


class TestWhoami:
    """What the server says of a session is cached as for all other requests."""

    @pytest.fixture
    def asked(self, scene: InFront) -> list[str]:
        """The paths that the server is asked for."""
        paths: list[str] = []
        behind = scene.faults.app

        async def counting(request: Scope, receive: Receive, send: Send) -> None:
            paths.append(request["path"])
            await behind(request, receive, send)

        scene.faults.app = counting
        return paths

    async def test_a_session_is_asked_for_once_whatever_carries_it(self, scene: InFront, asked: list[str]) -> None:
        app, browser = await scene.shop.native(), await scene.shop.browser()
        token = (await sign_up(app, new_address()))["session_token"]
        await browser.sign_up(new_address())
        ways = ((app, {"x-session-token": token}), (app, {"authorization": f"Bearer {token}"}), (browser, {}))
        answers = [await client.get("/sessions/whoami", headers={**JSON, **headers}) for client, headers in ways]
        asked.clear()
        with statements(scene.shop) as seen:
            for _ in range(3):
                for (client, headers), first in zip(ways, answers, strict=True):
                    again = await client.get("/sessions/whoami", headers={**JSON, **headers})
                    assert (again.status_code, again.json()) == (200, first.json())
        assert (asked, list(seen)) == ([], [])
        assert (await ask(app, token, ME))["data"]["getCurrentCustomer"]
        assert asked == []
        scene.shop.clock.advance(seconds=10)
        await app.get("/sessions/whoami", headers={"x-session-token": token})
        assert asked == ["/sessions/whoami"]

    async def test_the_answer_is_that_of_the_server_with_our_addresses(self, scene: InFront) -> None:
        app = await scene.shop.native()
        headers = {"x-session-token": (await sign_up(app, new_address()))["session_token"]}
        ours = await app.get("/sessions/whoami", headers=headers)
        async with httpx2.AsyncClient(base_url=scene.url) as direct:
            theirs = await direct.get("/sessions/whoami", headers=headers)
        assert ours.text == theirs.text.replace(scene.url, ADDRESS)
        for name in ("content-type", "x-kratos-authenticated-identity-id"):
            assert ours.headers[name] == theirs.headers[name]
        assert "no-store" in ours.headers["cache-control"]

    async def test_a_session_of_ours_in_a_cookie_precedes(self, scene: InFront) -> None:
        app, kettle = await scene.shop.native(), await scene.shop.native(**KETTLE)
        token = (await sign_up(app, new_address()))["session_token"]
        bound = await app.post("/signin", json={"authHint": {"token": token}})
        await app.get("/sessions/whoami", headers={"x-session-token": token})
        own = bound.json()["authorization"]
        both = {"cookie": f"ory_kratos_session={own}", "authorization": f"Bearer {token}"}
        known = (await app.get("/sessions/whoami", headers=both)).json()
        assert known["authentication_methods"][0]["provider"] == IDP
        assert (await kettle.get("/sessions/whoami", headers={"x-session-token": token})).status_code == 401

    async def test_a_change_through_us_is_seen_at_once(self, scene: InFront) -> None:
        browser = await scene.shop.browser()
        await browser.sign_up(new_address())
        assert await browser.whoami()
        flow, other = await browser.open_flow("settings"), new_address()
        form = {"method": "profile", "traits": {"email": other}, "csrf_token": csrf_of(flow)}
        answer = await browser.post(flow["ui"]["action"], json=form, headers={**JSON, **OWN_PAGE})
        assert answer.status_code == 200, answer.text
        known = (await browser.get("/sessions/whoami", headers=JSON)).json()
        assert known["identity"]["traits"]["email"] == other

    async def test_what_is_no_session_is_unauthorized(self, scene: InFront, asked: list[str]) -> None:
        app = await scene.shop.native()
        for headers, asks in (
            ({}, 0),
            ({"x-session-token": "shk_st_unknown"}, 1),
            ({"authorization": "Bearer shk_st_unknown"}, 0),  # refused a moment ago
            ({"authorization": "Bearer shk_st_another"}, 1),
            ({"cookie": f"{ServerCookies(IDP, secure=True).name('ory_kratos_session')}=shk_st_unknown"}, 1),
        ):
            asked.clear()
            answer = await app.get("/sessions/whoami", headers=headers)
            assert (answer.status_code, len(asked)) == (401, asks), headers
            assert answer.json()["error"]["status"] == "Unauthorized"
