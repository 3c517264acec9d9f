"""Answers of introspection as signed tokens (RFC 9701)."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.jose.keys import KeySet
from shopkeeper.jose.verify import JwtRules, unverified_header, verify
from tests.attacks.scene import ADDRESS, Scene, new_address, opened, sign_up

PATH = "/oauth2/introspect"
SIGNED = "application/token-introspection+jwt"
KEYS = {"allowed": "p7Xk2vQ9dLw4sT6yB1nM8cRj5hZf3gAe", "always": "a3Gf9Kd1Pq7Ws5Ze2Rt8Yu4Io6Lk0JhX"}
NEVER = "z9Yb4Nc7Vx1Mq6Wt3Ek8Rs5Gd2Ju0HfP"
SETTINGS: dict[str, Any] = {
    "introspection": {
        "callers": [{"id": name, "keys": [key], "signed": name} for name, key in {**KEYS, "never": NEVER}.items()]
    },
}


@pytest.fixture
async def scene(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[Scene]:
    async with opened(sqlite_dsn, tmp_path, clock, settings=SETTINGS) as scene:
        yield scene


async def ask(scene: Scene, token: str, key: str, accept: str) -> httpx2.Response:
    headers = {"authorization": f"Bearer {key}", "accept": accept}
    return await (await scene.native()).post(PATH, data={"token": token}, headers=headers)


async def claims_of(scene: Scene, answer: httpx2.Response) -> dict[str, Any]:
    jwks = (await (await scene.native()).get("/.well-known/jwks.json")).json()
    rules = JwtRules(types=frozenset({"token-introspection+jwt"}), max_bytes=8_192)
    return dict(verify(answer.text, KeySet.of_jwks(jwks), rules))


async def test_an_answer_for_its_caller(scene: Scene, clock: StoppedClock) -> None:
    token = (await sign_up(await scene.native(), new_address()))["session_token"]
    plain = await ask(scene, token, KEYS["allowed"], "application/json")
    signed = await ask(scene, token, KEYS["allowed"], SIGNED)
    assert plain.headers["content-type"] == "application/json"
    assert signed.headers["content-type"] == SIGNED
    assert unverified_header(signed.text)["typ"] == "token-introspection+jwt"
    assert await claims_of(scene, signed) == {
        "iss": ADDRESS,
        "aud": "allowed",
        "iat": int(clock.now().timestamp()),
        "token_introspection": plain.json(),
    }


async def test_an_inactive_token_is_signed_too(scene: Scene) -> None:
    claims = await claims_of(scene, await ask(scene, "unknown", KEYS["always"], "*/*"))
    assert (claims["aud"], claims["token_introspection"]) == ("always", {"active": False})


@pytest.mark.parametrize(
    ("accept", "signed"),
    [
        (f"{SIGNED}, application/json", True),
        (f"{SIGNED}; q=0.5, application/json", False),
        (f"{SIGNED}; q=0", False),
        ("*/*", False),
        ("", False),
        (SIGNED.upper(), True),
    ],
)
async def test_it_is_signed_where_the_caller_prefers_it(scene: Scene, accept: str, signed: bool) -> None:
    answer = await ask(scene, "unknown", KEYS["allowed"], accept)
    assert (answer.headers["content-type"] == SIGNED) is signed
    assert (await ask(scene, "unknown", NEVER, accept)).headers["content-type"] == "application/json"
