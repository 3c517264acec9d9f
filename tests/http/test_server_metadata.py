"""The published keys and the server's metadata: what verifiers and clients read, and may keep."""

import json
from datetime import timedelta

import pytest
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata

from shopkeeper.clock import StoppedClock
from shopkeeper.jose.keys import KeySet
from shopkeeper.jose.sign import sign
from shopkeeper.jose.verify import JwtRules, verify
from shopkeeper.tokens.key_rotation import FRESH
from tests.attacks.scene import ADDRESS, Scene
from tests.http.conftest import Opening

KEYS, METADATA = f"{ADDRESS}/.well-known/jwks.json", f"{ADDRESS}/.well-known/oauth-authorization-server"


async def test_the_published_keys_verify_what_is_signed_and_hold_nothing_private(opening: Opening, dsn: str) -> None:
    async with opening(dsn) as scene:
        http = await scene.native()
        answer = await http.get(KEYS)
        key = await scene.application.accounts.signing_keys.current()
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        published = answer.json()["keys"]
        assert all(set(each) == {"kty", "crv", "x", "y", "kid", "alg", "use"} for each in published)
        assert published[0]["kid"] == key.kid
        token = sign({"sub": "ada"}, key, "at+jwt")
        assert verify(token, KeySet.parse(answer.content), JwtRules(types={"at+jwt"})) == {"sub": "ada"}


async def rotate(scene: Scene, clock: StoppedClock, algorithm: str | None = None) -> None:
    """Rotate as the command does, and wait until the server knows it."""
    await scene.application.accounts.key_rotation.rotate(algorithm, at_once=True)
    clock.advance(seconds=FRESH.total_seconds())


@pytest.mark.parametrize("url", [KEYS, METADATA])
async def test_who_has_the_document_gets_it_once(opening: Opening, sqlite_dsn: str, url: str) -> None:
    async with opening(sqlite_dsn) as scene:
        http = await scene.native()
        first = await http.get(url)
        assert first.headers["cache-control"] == "public, max-age=300"
        tag = first.headers["etag"]
        for known in (tag, f'W/{tag}, "other"', "*"):
            again = await http.get(url, headers={"If-None-Match": known})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert (await http.get(url, headers={"If-None-Match": '"other"'})).status_code == 200
        head = await http.head(url)
        assert (head.status_code, head.headers["etag"], head.content) == (200, tag, b"")
        assert (await http.post(url)).status_code == 405


async def test_another_key_has_another_tag(opening: Opening, sqlite_dsn: str, clock: StoppedClock) -> None:
    async with opening(sqlite_dsn) as scene:
        http = await scene.native()
        first = await http.get(KEYS)
        await rotate(scene, clock)
        second = await http.get(KEYS, headers={"If-None-Match": first.headers["etag"]})
        assert second.status_code == 200
        before = {each["kid"] for each in first.json()["keys"]}
        assert len(before - {each["kid"] for each in second.json()["keys"]}) == 0
        assert len(second.json()["keys"]) == 3


async def test_the_metadata_say_what_is_there(opening: Opening, sqlite_dsn: str) -> None:
    async with opening(sqlite_dsn) as scene:
        http = await scene.native()
        document = (await http.get(METADATA)).json()
        assert document["issuer"] == ADDRESS
        assert document["response_types_supported"] == []
        assert "authorization_endpoint" not in document
        keys = (await http.get(document["jwks_uri"])).json()["keys"]
        assert keys
        assert {"client_credentials", "refresh_token"} < set(document["grant_types_supported"])
        endpoints = [value for name, value in document.items() if name.endswith("_endpoint")]
        assert len(endpoints) == 3
        for address in endpoints:
            assert (await http.post(address)).status_code not in {404, 405}, address


async def test_the_algorithms_are_those_of_the_keys(opening: Opening, sqlite_dsn: str, clock: StoppedClock) -> None:
    name = "introspection_signing_alg_values_supported"
    async with opening(sqlite_dsn) as scene:
        http = await scene.native()
        first = await http.get(METADATA)
        assert first.json()[name] == ["ES256"]
        await rotate(scene, clock, "RS256")
        second = await http.get(METADATA, headers={"If-None-Match": first.headers["etag"]})
        assert second.json()[name] == ["ES256", "RS256"]


async def test_authlib_validates_the_metadata_but_for_a_list_that_must_be_empty(
    opening: Opening, sqlite_dsn: str
) -> None:
    """Authlib takes an empty list for a missing one; there are no response types without an authorization endpoint."""
    async with opening(sqlite_dsn) as scene:
        metadata = AuthorizationServerMetadata((await (await scene.native()).get(METADATA)).json())
    with pytest.raises(ValueError, match="response_types_supported"):
        metadata.validate()
    AuthorizationServerMetadata({**metadata, "response_types_supported": ["none"]}).validate()


async def test_introspection_that_is_off_is_not_told_of(opening: Opening, sqlite_dsn: str) -> None:
    for settings, told in (({"path": "/tokens"}, f"{ADDRESS}/tokens"), ({"enabled": False}, None)):
        async with opening(sqlite_dsn, introspection=settings) as scene:
            http = await scene.native()
            assert (await http.get(METADATA)).json().get("introspection_endpoint") == told


async def test_an_issuer_with_a_path_is_found_behind_the_well_known_name(opening: Opening, sqlite_dsn: str) -> None:
    base = f"{ADDRESS}/auth"
    async with opening(sqlite_dsn, serve={"public": {"base_url": f"{base}/"}}) as scene:
        http = await scene.native()
        for url in (METADATA, f"{METADATA}/auth"):
            assert (await http.get(url)).json()["issuer"] == base
        assert (await http.get(f"{METADATA}/other")).status_code == 404


async def test_old_keys_are_cleaned_up(opening: Opening, sqlite_dsn: str, clock: StoppedClock) -> None:
    async with opening(sqlite_dsn) as scene:
        http = await scene.native()
        keys = scene.application.accounts.key_rotation
        for _ in range(3):
            await keys.rotate(at_once=True)
            clock.advance(seconds=1)
        clock.advance(seconds=keys.kept_for.total_seconds() + timedelta(minutes=1).total_seconds())
        assert (await scene.application.cleanup.run_once())["signing keys"] == 3
        assert len(json.loads((await http.get(KEYS)).content)["keys"]) == 2
