"""Attacks on introspection: callers that ask about tokens of others, kept answers (`docs/security.md`, part B)."""

import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.attacks.conftest import Opening
from tests.attacks.scene import Scene, new_address, sign_up, visit

PATH = "/oauth2/introspect"
INACTIVE = b'{"active":false}'
KEYS = {
    "tea": "p7Xk2vQ9dLw4sT6yB1nM8cRj5hZf3gAe",
    "kettle-eu": "a3Gf9Kd1Pq7Ws5Ze2Rt8Yu4Io6Lk0JhX",
    "kettle": "z9Yb4Nc7Vx1Mq6Wt3Ek8Rs5Gd2Ju0HfP",
    "providers": "Hf5Gd7Jp3My0EXw4nRt8Ks2Vb6Qz9Lc1",
    "clients": "Qm4tVx7RzL0sKd9WcY2hNb5Pf8uGjE1a",
}
LIMITS: dict[str, dict[str, Any]] = {
    "tea": {"stores": ["tea"]},
    "kettle-eu": {"stores": ["kettle@eu"]},
    "kettle": {"stores": ["kettle"]},
    "providers": {"providers": ["idp"]},
    "clients": {"clients": ["orders"]},
}
FRONTS = {"tea": {"connector": "tea"}} | {
    f"kettle@{tenant}": {"connector": "kettle", "br_acct_env": tenant} for tenant in ("eu", "us")
}
SEES = {
    "tea": {"tea"},
    "kettle-eu": {"kettle@eu"},
    "kettle": {"kettle@eu", "kettle@us"},
    "providers": set(),
    "clients": set(),
}
SETTINGS: dict[str, Any] = {
    "stores": [{"id": "tea"}, {"id": "kettle", "tenants": ["eu", "us"]}],
    "default_store": "tea",
    "throttle": {"registration": {"per_ip": "1000/minute"}},
    "introspection": {
        "callers": [{"id": name, "keys": [KEYS[name]], **limits} for name, limits in LIMITS.items()],
    },
}


@pytest.fixture
async def shop(opening: Opening, sqlite_dsn: str) -> AsyncIterator[Scene]:
    async with opening(sqlite_dsn, **SETTINGS) as scene:
        yield scene


async def ask(shop: Scene, token: str, caller: str, query: str = "") -> bytes:
    headers = {"authorization": f"Bearer {KEYS[caller]}"}
    answer = await (await shop.native()).post(f"{PATH}{query}", data={"token": token}, headers=headers)
    assert answer.status_code == 200
    return answer.content


async def tokens_of(shop: Scene) -> dict[tuple[str, str], str]:
    """Return a session's and a visit's token for each front."""
    found = {}
    for front, headers in FRONTS.items():
        app = await shop.native(**headers)
        found["session", front] = str((await sign_up(app, new_address()))["session_token"])
        found["visit", front] = str((await visit(app))["authorization"])
    return found


async def test_row_022_a_caller_learns_of_the_tokens_of_its_stores_and_of_no_others(shop: Scene) -> None:
    tokens = await tokens_of(shop)
    for caller, (kind, front) in itertools.product(KEYS, tokens):
        told = await ask(shop, tokens[kind, front], caller)
        assert (told != INACTIVE) is (front in SEES[caller]), (caller, kind, front)


async def test_row_022_naming_a_store_opens_none(shop: Scene) -> None:
    tokens = await tokens_of(shop)
    queries = {"tea": "?store=tea", "kettle@eu": "?store=kettle&tenant=eu", "kettle@us": "?store=kettle&tenant=us"}
    for caller, (kind, front), (named, query) in itertools.product(KEYS, tokens, queries.items()):
        told = await ask(shop, tokens[kind, front], caller, query)
        assert (told != INACTIVE) is (front in SEES[caller] and front == named), (caller, kind, front, named)


async def test_row_034_what_is_kept_of_one_callers_answer_reaches_no_other(shop: Scene) -> None:
    tokens = await tokens_of(shop)
    for first, second in itertools.permutations(KEYS, 2):
        for kind, front in tokens:
            for caller in (first, second, second, first):
                told = await ask(shop, tokens[kind, front], caller)
                assert (told != INACTIVE) is (front in SEES[caller]), (caller, kind, front)


async def test_row_034_no_other_spelling_of_a_token_finds_a_kept_answer(shop: Scene) -> None:
    tokens = await tokens_of(shop)
    for token in (tokens["session", "tea"], tokens["visit", "tea"]):
        assert await ask(shop, token, "tea") != INACTIVE
        for spelling in (
            token[:-1],
            f"{token}=",
            token.swapcase(),
            f" {token}",
            f"{token} ",
            f"{token}\0",
            f"x{token}",
        ):
            assert await ask(shop, spelling, "tea") == INACTIVE, spelling


async def test_row_034_a_kept_answer_ends_with_the_session_and_with_its_account(shop: Scene) -> None:
    app, admin = await shop.native(connector="tea"), await shop.admin()
    ended, disabled = [await sign_up(app, new_address()) for _ in range(2)]
    for each in (ended, disabled, ended, disabled):
        assert await ask(shop, each["session_token"], "tea") != INACTIVE
    await app.request("DELETE", "/self-service/logout/api", json={"session_token": ended["session_token"]})
    change = [{"op": "replace", "path": "/state", "value": "inactive"}]
    await admin.patch(f"/identities/{disabled['session']['identity']['id']}", json=change)
    for each in (ended, disabled):
        assert await ask(shop, each["session_token"], "tea") == INACTIVE
