"""Keys of the admin API: what they may do, and which stores they see."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.settings.root import Settings
from shopkeeper.settings.serving import ApiKey
from tests.attacks.scene import KEY, Scene, new_address, opened, sign_in, sign_up

READER, WRITER = "r9Kx2mQ7tLw4vZp8sDj3nBc6hFg1yAe5", "w3Hn8bTq5xRk1mZs7vCd9pLf2jGy4aEo"
FRUIT, BOOKS = "f6Yt4cWm9zQk2xLs8vRn1hDp7bJg3aEu", "b1Zr5nKx8qTw3mVc7yLs2pHd9fJg6aEi"


def key(name: str, secret: str, **limits: Any) -> dict[str, Any]:
    return {"id": name, "hash": hashlib.sha256(secret.encode()).hexdigest(), **limits}


KEYS = [
    KEY,
    key("reader", READER, scopes=["read"]),
    key("writer", WRITER, scopes=["write"]),
    key("fruit", FRUIT, stores=["fruit"]),
    key("books", BOOKS, stores=["books@eu"], scopes=["read"]),
]
STORES = [{"id": "fruit"}, {"id": "books", "tenants": ["eu", "us"]}]


@pytest.fixture
async def scene(dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[Scene]:
    settings = {"admin": {"api_keys": KEYS}, "stores": STORES, "default_store": "fruit"}
    async with opened(dsn, tmp_path, clock, settings=settings) as scene:
        yield scene


def code(answer: httpx2.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.headers.get("x-error-code")


NOBODY = "6f1c1d0e-0000-4000-8000-000000000000"
MISSING = (403, "admin_scope_missing")
CHANGES = [
    ("POST", "/admin/identities"),
    ("PATCH", "/admin/identities"),
    ("PUT", f"/admin/identities/{NOBODY}"),
    ("PATCH", f"/admin/identities/{NOBODY}"),
    ("DELETE", f"/admin/identities/{NOBODY}"),
    ("DELETE", f"/admin/identities/{NOBODY}/credentials/password"),
    ("POST", "/admin/recovery/code"),
    ("POST", "/admin/recovery/link"),
    ("POST", "/something/new"),
]
ENDING = [
    ("POST", "/admin/sessions"),
    ("DELETE", f"/admin/sessions/{NOBODY}"),
    ("PATCH", f"/admin/sessions/{NOBODY}/extend"),
    ("DELETE", f"/admin/identities/{NOBODY}/sessions"),
]


class TestScopes:
    async def test_row_091_a_key_that_reads_changes_nothing(self, scene: Scene) -> None:
        reader = await scene.admin(key=READER)
        for method, path in (*CHANGES, *ENDING):
            answer = await reader.request(method, path, json={})
            assert code(answer) == MISSING, path
            assert "'write'" in answer.json()["error"]["reason"]

    async def test_row_091_a_key_that_writes_only_reads_nothing(self, scene: Scene) -> None:
        writer, reader = await scene.admin(key=WRITER), await scene.admin(key=READER)
        for path in ("/admin/identities", "/admin/sessions", "/admin/courier/messages", "/metrics"):
            assert code(await writer.get(path)) == MISSING, path
            assert (await reader.get(path)).status_code == 200, path

    async def test_row_030_and_091_a_key_that_reads_sees_no_credentials(self, scene: Scene) -> None:
        account = await sign_up(await scene.native(), new_address())
        both, reader = await scene.admin(), await scene.admin(key=READER)
        for path in (f"/{account['identity']['id']}", "", "/by/external/x"):
            url = f"/admin/identities{path}?include_credential="
            for kind in ("password", "code"):
                refused = await reader.get(f"{url}{kind}")
                assert code(refused) == MISSING
                assert "'write'" in refused.json()["error"]["reason"]
                assert (await both.get(f"{url}{kind}")).status_code == (404 if "external" in path else 200)
        assert "argon2" in (await both.get("/admin/identities?include_credential=password")).text
        assert (await reader.get("/admin/identities")).status_code == 200

    async def test_both_scopes_are_enough_for_all(self, scene: Scene) -> None:
        body = {"schema_id": "default", "traits": {"email": new_address()}}
        for secret in (KEY, WRITER):
            body["traits"] = {"email": new_address()}
            assert (await (await scene.admin(key=secret)).post("/admin/identities", json=body)).status_code == 201


class TestStores:
    async def test_row_031_and_091_a_key_sees_and_ends_the_sessions_of_its_store_only(self, scene: Scene) -> None:
        fruit, books, other = [
            await sign_up(await scene.native(**headers), new_address())
            for headers in ({}, {"connector": "books"}, {"connector": "books", "br_acct_env": "us"})
        ]
        seller, reader = await scene.admin(key=FRUIT), await scene.admin(key=BOOKS)
        assert [each["id"] for each in (await seller.get("/admin/sessions")).json()] == [fruit["session"]["id"]]
        assert [each["id"] for each in (await reader.get("/admin/sessions")).json()] == [books["session"]["id"]]
        for foreign in (books, other):
            path = f"/admin/sessions/{foreign['session']['id']}"
            assert {
                (await seller.get(path)).status_code,
                (await seller.delete(path)).status_code,
                (await seller.patch(f"{path}/extend")).status_code,
                (await seller.delete(f"/admin/identities/{foreign['identity']['id']}/sessions")).status_code,
            } == {404}
        everything = {"action": "delete", "identities": ["*"]}
        assert (await seller.post("/admin/sessions", json=everything)).json() == {"processed": 1, "more": False}
        left = (await (await scene.admin()).get("/admin/sessions")).json()
        assert {each["id"] for each in left} == {books["session"]["id"], other["session"]["id"]}

    async def test_row_031_and_091_a_key_sees_the_identities_with_a_session_in_its_store(self, scene: Scene) -> None:
        app, elsewhere = await scene.native(), await scene.native(connector="books")
        both, email = await sign_up(app, shared := new_address()), new_address()
        await sign_in(elsewhere, shared)
        books = await sign_up(elsewhere, email)
        seller, reader = await scene.admin(key=FRUIT), await scene.admin(key=BOOKS)
        mine, theirs = both["identity"]["id"], books["identity"]["id"]
        assert [each["id"] for each in (await seller.get("/admin/identities")).json()] == [mine]
        assert {each["id"] for each in (await reader.get("/admin/identities")).json()} == {mine, theirs}
        for query in (f"ids={theirs}", f"credentials_identifier={email}", f"traits.email={email}"):
            assert (await seller.get(f"/admin/identities?{query}")).json() == []
            assert [each["id"] for each in (await reader.get(f"/admin/identities?{query}")).json()] == [theirs]
        assert (await seller.get(f"/admin/identities/{mine}")).status_code == 200
        assert (await seller.get(f"/admin/identities/{theirs}")).status_code == 404
        sessions = (await seller.get(f"/admin/identities/{mine}/sessions")).json()
        assert [each["id"] for each in sessions] == [both["session"]["id"]]

    async def test_row_091_a_key_of_a_store_does_nothing_that_concerns_all_stores(self, scene: Scene) -> None:
        seller = await scene.admin(key=FRUIT)
        for method, path in (*CHANGES, ("GET", "/admin/courier/messages"), ("GET", "/metrics")):
            assert code(await seller.request(method, path)) == MISSING, path

    async def test_row_091_a_key_of_a_store_sees_no_credentials(self, scene: Scene) -> None:
        account = await sign_up(await scene.native(), new_address())
        seller = await scene.admin(key=FRUIT)
        for path in ("", f"/{account['identity']['id']}", "/by/external/x"):
            assert code(await seller.get(f"/admin/identities{path}?include_credential=password")) == MISSING

    def test_an_unknown_store_stops_the_start(self) -> None:
        keys = [ApiKey.model_validate(key("fruit", FRUIT, stores=["vegetables"]))]
        with pytest.raises(ValueError, match="'vegetables', which is not among the stores"):
            Settings.model_validate({"admin": {"api_keys": keys}})
