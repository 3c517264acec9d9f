"""Two processes on one database and one Valkey: what one of them ends is inactive at the other within 100 ms."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import Scene, new_address, opened, sign_up
from tests.http.test_introspection import INACTIVE, KEY, ask

ROUNDS = 10
PROMISE = 0.1
"""Seconds. The machine may be busy, so a few quick rounds are enough: without messages all would be slow."""


@pytest.fixture
async def pair(
    postgres_dsn: str, valkey_url: str, tmp_path: Path, clock: StoppedClock
) -> AsyncIterator[tuple[Scene, Scene]]:
    settings = {
        "cache": {"url": valkey_url},
        "introspection": {"callers": [{"id": "engine", "keys": [KEY]}]},
        "throttle": {"registration": {"per_ip": "1000/minute"}},
    }
    async with AsyncExitStack() as closing:
        scenes = []
        for name in ("one", "other"):
            folder = tmp_path / name
            folder.mkdir()
            scenes.append(await closing.enter_async_context(opened(postgres_dsn, folder, clock, settings=settings)))
        for scene in scenes:
            await scene.application.listen()
        yield scenes[0], scenes[1]


async def seconds_until_inactive(scene: Scene, token: str) -> float:
    begun = time.monotonic()
    for _ in range(5_000):
        if (await ask(scene, token)).content == INACTIVE:
            return time.monotonic() - begun
        await asyncio.sleep(0.002)  # nothing else in the loop waits: the message must be heard meanwhile
    raise AssertionError("the token stays active")


async def test_an_ended_session_and_a_disabled_identity(pair: tuple[Scene, Scene]) -> None:
    one, other = pair
    app, admin = await one.native(), await one.admin()
    taken: dict[str, list[float]] = {"ended": [], "disabled": []}
    for _ in range(ROUNDS):
        for how, seconds in taken.items():
            signed_up = await sign_up(app, new_address())
            token, identity = signed_up["session_token"], signed_up["session"]["identity"]["id"]
            for scene in (one, other, other):
                assert (await ask(scene, token)).json()["active"] is True
            if how == "ended":
                await app.request("DELETE", "/self-service/logout/api", json={"session_token": token})
            else:
                change = [{"op": "replace", "path": "/state", "value": "inactive"}]
                assert (await admin.patch(f"/identities/{identity}", json=change)).status_code == 200
            seconds.append(await seconds_until_inactive(other, token))
    for how, seconds in taken.items():
        assert sorted(seconds)[ROUNDS // 2] < PROMISE, how
