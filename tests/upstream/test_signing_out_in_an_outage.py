"""Who has a session of ours can always sign out, also where the session server that it is bound to is away."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import ADDRESS, OWN_PAGE, Browser, new_address, sign_up
from tests.conftest import Run
from tests.upstream.kratos_scene import InFront, in_front

JSON = {"accept": "application/json"}
BOTH = {"stores": ["default", "kettle"]}
"""Both stores take the server's sessions; the paths of self-service are this server's own in the second one."""


@pytest.fixture
async def scene(run: Run, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[InFront]:
    async with in_front(run, tmp_path, clock, provider=BOTH) as scene:
        yield scene


async def by_bearer(client: Browser, token: str) -> httpx2.Response:
    return await client.post("/signout", json={}, headers={"authorization": f"Bearer {token}"})


async def by_session_token(client: Browser, token: str) -> httpx2.Response:
    return await client.post("/signout", json={}, headers={"x-session-token": token})


async def by_cookie(client: Browser, token: str) -> httpx2.Response:
    return await client.post("/signout", json={}, headers={**OWN_PAGE, "cookie": f"ory_kratos_session={token}"})


async def by_app(client: Browser, token: str) -> httpx2.Response:
    return await client.request("DELETE", "/self-service/logout/api", json={"session_token": token})


async def by_app_that_shows_it(client: Browser, token: str) -> httpx2.Response:
    shown = {"x-session-token": token}
    return await client.request("DELETE", "/self-service/logout/api", json={"session_token": token}, headers=shown)


async def by_link(client: Browser, token: str) -> httpx2.Response:
    cookie = {**JSON, "cookie": f"ory_kratos_session={token}"}
    link = (await client.get("/self-service/logout/browser", headers=cookie)).json()["logout_url"]
    return await client.get(link.removeprefix(ADDRESS), headers=cookie)


WAYS: list[tuple[Callable[[Browser, str], Awaitable[httpx2.Response]], str]] = [
    *((way, store) for way in (by_bearer, by_session_token, by_cookie, by_app) for store in ("default", "kettle")),
    (by_app_that_shows_it, "default"),
    (by_app_that_shows_it, "kettle"),
    (by_link, "kettle"),
]


async def bound(scene: InFront, *stores: str) -> list[str]:
    """Return the tokens of sessions of ours, in some stores, that are bound to one at the server."""
    app = await scene.shop.native()
    theirs = (await sign_up(app, new_address()))["session_token"]
    sign_in = {"authHint": {"token": theirs}}
    answers = [await app.post("/signin", json=sign_in, headers={"connector": store}) for store in stores]
    return [answer.json()["authorization"] for answer in answers]


@pytest.mark.parametrize("fault", ["away", "unavailable", "nonsense"])
async def test_signing_out_needs_no_session_server(scene: InFront, fault: str) -> None:
    tokens = await bound(scene, *(store for _, store in WAYS))
    scene.shop.clock.advance(seconds=20)
    scene.faults.how = fault
    for (way, store), token in zip(WAYS, tokens, strict=True):
        browser = await scene.shop.browser(connector=store)
        assert (await browser.get("/sessions/whoami", headers={"x-session-token": token})).status_code == 503
        answer = await way(browser, token)
        assert answer.status_code in {200, 204}, (way.__name__, store, answer.text)
    assert all(row["revoked_at"] is not None for row in await scene.shop.rows("sessions"))
    scene.faults.how = ""
    scene.shop.clock.advance(seconds=60)
    app = await scene.shop.native()
    for token in tokens:
        assert (await app.get("/sessions/whoami", headers={"x-session-token": token})).status_code == 401


async def test_a_session_server_that_hangs_delays_a_sign_out_only(
    run: Run, tmp_path: Path, clock: StoppedClock
) -> None:
    async with in_front(run, tmp_path, clock, provider={"deadline": "700ms"}) as scene:
        [token] = await bound(scene, "default")
        scene.shop.clock.advance(seconds=20)
        scene.faults.how = "slow"
        assert (await by_bearer(await scene.shop.browser(), token)).status_code == 200
        [row] = await scene.shop.rows("sessions")
        assert row["revoked_at"] is not None


@pytest.mark.parametrize("mode", ["proxy", "redirect", "off"])
async def test_an_app_ends_a_session_of_ours_whatever_the_servers_paths_do(
    run: Run, tmp_path: Path, clock: StoppedClock, mode: str
) -> None:
    async with in_front(run, tmp_path, clock, provider={"self_service": mode}) as scene:
        async with httpx2.AsyncClient(base_url=scene.url) as there:
            theirs = (await sign_up(there, new_address()))["session_token"]
        app = await scene.shop.native()
        signed_in = await app.post("/signin", json={"authHint": {"token": theirs}})
        token = signed_in.json()["authorization"]
        for _ in range(2):  # repeating it changes nothing
            assert (await by_app(app, token)).status_code == 204
        [row] = await scene.shop.rows("sessions")
        assert row["revoked_at"] is not None


async def test_nothing_else_counts_a_session_whose_server_is_away(scene: InFront) -> None:
    [token] = await bound(scene, "default")
    app = await scene.shop.native()
    scene.shop.clock.advance(seconds=20)
    scene.faults.how = "away"
    for way in (
        app.get("/forward-auth", headers={"x-session-token": token}),
        app.post("/graphql", json={"query": "{ getCart { id } }"}, headers={"authorization": f"Bearer {token}"}),
        app.post("/signin", json={}, headers={"authorization": f"Bearer {token}"}),
    ):
        answer = await way
        assert answer.status_code == 503 or "SESSION_SERVER_UNAVAILABLE" in answer.text, answer.text
