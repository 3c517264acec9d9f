"""Tokens that are made up cost their sender's budget, and not the other server, nor the places of others."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.datastructures import Headers
from starlette.types import Receive, Send
from starlette.types import Scope as ASGIScope

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import ME, Scene, new_address, sign_up, visit
from tests.conftest import Run
from tests.services.openid_provider import CLIENT_SECRET, OpenIDProvider
from tests.upstream.kratos_scene import Faults, in_front
from tests.upstream.stages import API, ELSEWHERE, OPAQUE

OpenShop = Callable[..., Awaitable[Scene]]
FEW = {"throttle": {"token": {"per_ip": "3/minute"}}}
HERE, THERE = "192.0.2.10", "192.0.2.20"


async def code_of(app: httpx2.AsyncClient, **headers: str) -> str | None:
    """Return the code of the refusal in GraphQL, None where there is none."""
    answer = (await app.post("/graphql", json={"query": ME}, headers=headers)).json()
    code = answer["errors"][0]["extensions"]["code"] if "errors" in answer else None
    assert code is None or isinstance(code, str)
    return code


def guess(number: int) -> dict[str, str]:
    return {"authorization": f"Bearer shk_st_guess{number}"}


async def test_made_up_session_tokens_cost_few_calls(run: Run, tmp_path: Path, clock: StoppedClock) -> None:
    async with in_front(run, tmp_path, clock, **FEW) as scene:
        stranger, shopper = await scene.shop.native(ip=HERE), await scene.shop.native(ip=THERE)
        token = (await sign_up(shopper, new_address()))["session_token"]
        codes = [await code_of(stranger, **guess(number)) for number in range(6)]
        assert codes == ["UNAUTHENTICATED"] * 3 + ["TOO_MANY_REQUESTS"] * 3
        by_sign_in = await stranger.post("/signin", json={"authHint": {"token": "shk_st_guess"}})
        assert by_sign_in.status_code == 429
        assert int(by_sign_in.headers["retry-after"]) >= 1
        assert await code_of(stranger, cookie="ory_kratos_session=shk_st_guess") == "TOO_MANY_REQUESTS"
        assert await code_of(shopper, authorization=f"Bearer {token}") is None
        clock.advance(minutes=2)
        assert await code_of(stranger, **guess(7)) == "UNAUTHENTICATED"


async def test_made_up_session_tokens_cost_few_calls_at_whoami(
    run: Run, tmp_path: Path, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is told whose question it is."""
    async with in_front(run, tmp_path, clock, **FEW) as scene:
        stranger, shopper = await scene.shop.native(ip=HERE), await scene.shop.native(ip=THERE)
        known = {"x-session-token": (await sign_up(shopper, new_address()))["session_token"]}
        told = forwarded(scene.faults, monkeypatch)
        for number in range(6):
            guessed = {"x-session-token": f"shk_st_guess{number}"}
            answer = await stranger.get("/sessions/whoami", headers=guessed)
            assert answer.status_code == (401 if number < 3 else 429), answer.text
        assert (await shopper.get("/sessions/whoami", headers=known)).status_code == 200
        assert told == [HERE] * 3 + [THERE]


def forwarded(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the addresses that the server behind is told from now on, by request."""
    told: list[str] = []
    app = faults.app

    async def noting(scope: ASGIScope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/sessions/whoami":
            told.append(Headers(scope=scope).get("x-forwarded-for", ""))
        await app(scope, receive, send)

    monkeypatch.setattr(faults, "app", noting)
    return told


async def test_valid_sessions_cost_nothing(run: Run, tmp_path: Path, clock: StoppedClock) -> None:
    """Also many shoppers behind one address, and with answers that are not cached."""
    async with in_front(run, tmp_path, clock, provider={"cache_for": "0s"}, **FEW) as scene:
        app = await scene.shop.native(ip=HERE)
        tokens = [(await sign_up(app, new_address()))["session_token"] for _ in range(2)]
        for token in tokens * 4:
            assert await code_of(app, authorization=f"Bearer {token}") is None


async def test_a_page_with_an_old_cookie_goes_on_as_a_guest(run: Run, tmp_path: Path, clock: StoppedClock) -> None:
    async with in_front(run, tmp_path, clock, **FEW) as scene:
        app = await scene.shop.native(ip=HERE)
        for _ in range(10):
            answer = await app.post("/signin", json={}, headers={"cookie": "ory_kratos_session=shk_st_ended"})
            assert answer.status_code == 200


async def test_an_outage_is_no_guess(run: Run, tmp_path: Path, clock: StoppedClock) -> None:
    async with in_front(run, tmp_path, clock, **FEW) as scene:
        app = await scene.shop.native(ip=HERE)
        token = (await sign_up(app, new_address()))["session_token"]
        scene.faults.how = "unavailable"
        for _ in range(4):
            assert await code_of(app, authorization=f"Bearer {token}") == "SESSION_SERVER_UNAVAILABLE"
        scene.faults.how = ""
        clock.advance(seconds=11)
        assert await code_of(app, authorization=f"Bearer {token}") is None


async def test_no_address_has_more_questions_under_way_than_it_may_ask_in_vain(
    run: Run, tmp_path: Path, clock: StoppedClock
) -> None:
    async with in_front(run, tmp_path, clock, **FEW) as scene:
        scene.faults.how = "slow"
        stranger = await scene.shop.native(ip=HERE)
        codes = await asyncio.gather(*(code_of(stranger, **guess(number)) for number in range(8)))
        assert codes.count("TOO_MANY_REQUESTS") == 5


async def test_made_up_opaque_tokens_cost_few_calls(open_shop: OpenShop, openid_provider: OpenIDProvider) -> None:
    openid_provider.client("app", redirect_uris=["https://shop.example/callback"])
    openid_provider.person("ada@example.org")
    section: dict[str, Any] = {
        "client_id": "shop",
        "client_secret": "shop-secret",
        "opaque_tokens": "userinfo",
        "audiences": [API, OPAQUE],
        "opaque_cache": "0s",
        "claims_from": "userinfo",
    }
    scene = await open_shop(settings=FEW, **section)
    app = await scene.native(ip=HERE)
    token = await asyncio.to_thread(openid_provider.access_token, "ada@example.org", resource=None)
    for _ in range(4):
        assert await code_of(app, authorization=f"Bearer {token}") is None
    asked = openid_provider.counts()["/me"]
    codes = [await code_of(app, authorization=f"Bearer guess{number}") for number in range(5)]
    assert codes == ["TOKEN_INVALID"] * 3 + ["TOO_MANY_REQUESTS"] * 2
    assert openid_provider.counts()["/me"] == asked + 3
    assert (await visit(app))["authorization"]


OPAQUE_TOKENS = {"client_id": "shop", "client_secret": CLIENT_SECRET, "opaque_tokens": "introspection"}
INTROSPECTION = "/token/introspection"


async def test_each_provider_has_a_budget_of_its_own(open_shop: OpenShop, openid_provider: OpenIDProvider) -> None:
    """Who uses up the one still gets an answer of the other. A gateway, which knows no 429, is told 401."""
    second = {"id": "second", "kind": "kratos", "public_url": f"{openid_provider.issuer}/behind", "stores": [ELSEWHERE]}
    scene = await open_shop(second, settings=FEW, **OPAQUE_TOKENS)
    app, other = await scene.native(ip=HERE), await scene.native(ip=HERE, connector=ELSEWHERE)
    codes = [await code_of(app, authorization=f"Bearer guess{number}") for number in range(4)]
    assert codes == ["TOKEN_INVALID"] * 3 + ["TOO_MANY_REQUESTS"]
    assert (await app.get("/forward-auth", headers={"authorization": "Bearer guess9"})).status_code == 401
    optional = await app.get("/forward-auth-optional", headers={"authorization": "Bearer guess9"})
    assert optional.status_code == 429, "a customer must not become a guest by it"
    assert await code_of(other, authorization="Bearer ory_st_guess") != "TOO_MANY_REQUESTS"


async def test_a_refused_opaque_token_is_not_asked_about_again_for_a_moment(
    open_shop: OpenShop, openid_provider: OpenIDProvider
) -> None:
    scene = await open_shop(settings=FEW, **OPAQUE_TOKENS)
    app = await scene.native(ip=HERE)
    codes = [await code_of(app, authorization="Bearer one-guess") for _ in range(6)]
    assert codes == ["TOKEN_INVALID"] * 6
    assert openid_provider.counts()[INTROSPECTION] == 1
    scene.clock.advance(seconds=3)
    assert await code_of(app, authorization="Bearer one-guess") == "TOKEN_INVALID"
    assert openid_provider.counts()[INTROSPECTION] == 2
