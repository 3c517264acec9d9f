"""Access tokens that are exchanged from a session that is bound to one at a session server end with that one."""

import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.oauth.grants import ACCESS_TOKEN_TYPE, SESSION_TOKEN_TYPE
from tests.attacks.scene import new_address, sign_up, visit
from tests.conftest import Run
from tests.upstream.kratos_scene import InFront, in_front

SECRET = "kR4vT9mZ2pL7xW5qB8nD3sF6hJ1cG0yU"
KEY = "p7Xk2vQ9dLw4sT6yB1nM8cRj5hZf3gAe"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
SETTINGS: dict[str, Any] = {
    "tokens": {
        "clients": [
            {
                "id": "orders",
                "secrets": [{"hash": hashlib.sha256(SECRET.encode()).hexdigest()}],
                "grants": ["token_exchange", "refresh_token"],
                "scopes": ["orders:read"],
                "audiences": ["orders"],
            }
        ],
        "scope_rules": [{"when": {"kind": "customer"}, "scopes": ["orders:read"]}],
    },
    "introspection": {"callers": [{"id": "engine", "keys": [KEY], "audiences": ["orders"]}]},
}


@pytest.fixture
async def scene(run: Run, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[InFront]:
    async with in_front(run, tmp_path, clock, **SETTINGS) as scene:
        yield scene


async def signed_in(scene: InFront) -> tuple[httpx2.AsyncClient, str, str]:
    """Return an app, the server's session token, and that of the session which is bound to it."""
    app = await scene.shop.native()
    theirs = (await sign_up(app, new_address()))["session_token"]
    return app, theirs, (await visit(app, authHint={"token": theirs}))["authorization"]


async def ask_for(app: httpx2.AsyncClient, **fields: str) -> httpx2.Response:
    basic = base64.b64encode(f"orders:{SECRET}".encode()).decode()
    return await app.post("/oauth2/token", data=fields, headers={"authorization": f"Basic {basic}"})


async def exchange(app: httpx2.AsyncClient, token: str, kind: str = SESSION_TOKEN_TYPE) -> httpx2.Response:
    subject = {"subject_token": token, "subject_token_type": kind}
    return await ask_for(app, grant_type=EXCHANGE, audience="orders", **subject)


async def introspect(app: httpx2.AsyncClient, token: str) -> httpx2.Response:
    return await app.post("/oauth2/introspect", data={"token": token}, headers={"authorization": f"Bearer {KEY}"})


async def test_row_040_what_was_exchanged_ends_with_the_session_there(scene: InFront) -> None:
    app, theirs, ours = await signed_in(scene)
    issued = (await exchange(app, ours)).json()
    assert (await introspect(app, issued["access_token"])).json()["active"] is True
    async with httpx2.AsyncClient(base_url=scene.url) as direct:
        await direct.request("DELETE", "/self-service/logout/api", json={"session_token": theirs})
    scene.shop.clock.advance(seconds=10)
    assert (await introspect(app, issued["access_token"])).json() == {"active": False}
    refreshed = await ask_for(app, grant_type="refresh_token", refresh_token=issued["refresh_token"])
    assert (refreshed.status_code, refreshed.json()["error"]) == (400, "invalid_grant")
    for token, kind in ((issued["access_token"], ACCESS_TOKEN_TYPE), (ours, SESSION_TOKEN_TYPE)):
        again = await exchange(app, token, kind)
        assert (again.status_code, again.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("first", ["refresh", "exchange"])
async def test_row_040_no_use_of_the_session_itself_is_needed(scene: InFront, first: str) -> None:
    """The first to ask after the end is a grant."""
    app, theirs, ours = await signed_in(scene)
    issued = (await exchange(app, ours)).json()
    async with httpx2.AsyncClient(base_url=scene.url) as direct:
        await direct.request("DELETE", "/self-service/logout/api", json={"session_token": theirs})
    scene.shop.clock.advance(seconds=10)
    if first == "refresh":
        answer = await ask_for(app, grant_type="refresh_token", refresh_token=issued["refresh_token"])
    else:
        answer = await exchange(app, ours)
    assert answer.status_code == 400
    [session] = await scene.shop.rows("sessions")
    assert session["revoked_at"] is not None


async def test_while_the_server_is_away_it_is_unknown(scene: InFront) -> None:
    app, _, ours = await signed_in(scene)
    issued = (await exchange(app, ours)).json()
    scene.faults.how = "away"
    scene.shop.clock.advance(seconds=10)
    assert (await introspect(app, issued["access_token"])).status_code == 503
    assert (await exchange(app, ours)).status_code == 503
    scene.faults.how = ""
    scene.shop.clock.advance(seconds=10)
    assert (await introspect(app, issued["access_token"])).json()["active"] is True
