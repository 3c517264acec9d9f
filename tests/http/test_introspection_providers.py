"""Introspection of tokens that another server issued, and what its outage leads to."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.introspect_command import ANY_CALLER
from tests.attacks.scene import PASSWORD, Scene, new_address, opened, sign_up, visit
from tests.conftest import Run
from tests.services.server import free_port
from tests.upstream.kratos_scene import InFront, in_front

KEY, OTHER = "p7Xk2vQ9dLw4sT6yB1nM8cRj5hZf3gAe", "a3Gf9Kd1Pq7Ws5Ze2Rt8Yu4Io6Lk0JhX"
CALLERS: dict[str, Any] = {
    "callers": [{"id": "engine", "keys": [KEY]}, {"id": "kettles", "keys": [OTHER], "stores": ["kettle"]}]
}


async def ask(shop: Scene, token: str, key: str = KEY, query: str = "") -> httpx2.Response:
    headers = {"authorization": f"Bearer {key}"}
    return await (await shop.native()).post(f"/oauth2/introspect{query}", data={"token": token}, headers=headers)


@pytest.fixture
async def both(run: Run, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[InFront]:
    rules = [{"when": {"provider": ["idp"]}, "scopes": ["view_products:tea"]}]
    async with in_front(run, tmp_path, clock, introspection=CALLERS, tokens={"scope_rules": rules}) as both:
        yield both


async def test_a_session_of_a_session_server(both: InFront) -> None:
    signed_up = await sign_up(await both.remote.native(), new_address())
    token = signed_up["session_token"]
    told = (await ask(both.shop, token, query="?store=default")).json()
    assert told["active"] is True
    assert told["sub"] == signed_up["session"]["identity"]["id"]
    assert told["iss"] == both.url
    assert told["scope"].startswith("view_products:tea customer_id:")
    assert (await ask(both.shop, token, OTHER)).json() == {"active": False}, "no store of this caller has the provider"
    assert (await ask(both.shop, token, OTHER, "?store=default")).json() == {"active": False}


async def test_a_session_that_ended_there(both: InFront, clock: StoppedClock) -> None:
    app = await both.remote.native()
    token = (await sign_up(app, new_address()))["session_token"]
    assert (await ask(both.shop, token, query="?store=default")).json()["active"] is True
    await app.request("DELETE", "/self-service/logout/api", json={"session_token": token})
    clock.advance(seconds=11)  # how long its answers are cached
    assert (await ask(both.shop, token, query="?store=default")).json() == {"active": False}


async def test_the_command_answers_as_the_server_for_a_session_that_ended_there(
    both: InFront, clock: StoppedClock
) -> None:
    app = await both.shop.native()
    theirs = (await sign_up(await both.remote.native(), new_address()))["session_token"]
    ours = (await visit(app, authHint={"token": theirs}))["authorization"]
    explain = both.shop.application.introspection.explain
    assert (await explain(ours, ANY_CALLER)).active
    await (await both.remote.native()).request("DELETE", "/self-service/logout/api", json={"session_token": theirs})
    clock.advance(seconds=11)
    assert not (await explain(ours, ANY_CALLER)).active
    assert (await ask(both.shop, ours)).json() == {"active": False}


async def test_a_server_that_never_answers_is_a_503_and_own_tokens_go_on(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
) -> None:
    asked = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        asked.set()
        await reader.read()
        writer.close()

    port = free_port()
    settings = {
        "providers": [{"kind": "kratos", "id": "idp", "public_url": f"http://127.0.0.1:{port}/"}],
        "clients": {"http": {"private_ip_exception_urls": [f"http://127.0.0.1:{port}/**"]}},
        "introspection": {"callers": CALLERS["callers"][:1]},
    }
    async with (
        await asyncio.start_server(say_nothing, "127.0.0.1", port),
        opened(sqlite_dsn, tmp_path, clock, settings=settings) as scene,
    ):
        async with asyncio.timeout(20):
            answer = await ask(scene, "ory_st_" + "a" * 32)
        assert asked.is_set()
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["error"] == "temporarily_unavailable"
        own = (await sign_up(await scene.native(), new_address(), password=PASSWORD))["session_token"]
        assert (await ask(scene, own)).json()["active"] is True
