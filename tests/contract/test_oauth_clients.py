"""Published clients serve a service: openid-client and jose (npm), Authlib."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from joserfc.jwk import KeySet

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import ADDRESS, Scene, new_address, opened, sign_up
from tests.attacks.test_oauth import EXCHANGE, KEY, SECRET, SETTINGS, STOCK_KEY, exchanging
from tests.services.asgi import listening
from tests.services.node import install_clients, node
from tests.services.server import free_port

PATIENCE = 120


def opening(dsn: str, folder: Path, **settings: Any) -> AbstractAsyncContextManager[Scene]:
    """Open an application with the time of these clients, which is the machine's."""
    return opened(dsn, folder, StoppedClock(datetime.now(UTC)), settings={**SETTINGS, **settings})


async def test_openid_client_and_jose_serve_a_service(sqlite_dsn: str, tmp_path: Path) -> None:
    port = free_port()
    issuer = f"http://127.0.0.1:{port}"
    async with opening(sqlite_dsn, tmp_path, serve={"public": {"base_url": f"{issuer}/"}}) as scene:
        session = (await sign_up(await scene.native(host=f"127.0.0.1:{port}"), new_address()))["session_token"]
        told = {"secret": SECRET, "introspecting": STOCK_KEY, "jwk": KEY.private_jwk(), "session": session}
        async with listening(scene.application.public, port):
            script = install_clients() / "services.mjs"
            done = await asyncio.create_subprocess_exec(
                node(), script, issuer, json.dumps(told), stderr=asyncio.subprocess.PIPE
            )
            _, said = await asyncio.wait_for(done.communicate(), PATIENCE)
            assert done.returncode == 0, said.decode()


@pytest.fixture
async def scene(sqlite_dsn: str, tmp_path: Path) -> AsyncIterator[Scene]:
    async with opening(sqlite_dsn, tmp_path) as scene:
        yield scene


async def published(scene: Scene) -> tuple[Any, Any]:
    """Return the server's metadata, and its keys."""
    anybody = await scene.native()
    found = (await anybody.get("/.well-known/oauth-authorization-server")).json()
    return found, (await anybody.get(found["jwks_uri"])).json()


def client_of(scene: Scene, client_id: str, secret: Any, method: str = "client_secret_basic") -> AsyncOAuth2Client:
    """Return Authlib's client of the application."""
    client = AsyncOAuth2Client(
        client_id,
        secret,
        token_endpoint_auth_method=method,
        revocation_endpoint_auth_method=method,
        transport=httpx2.ASGITransport(app=scene.application.public),
    )
    client.register_client_auth_method(PrivateKeyJWT(f"{ADDRESS}/oauth2/token", alg=KEY.algorithm))
    return client


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "private_key_jwt"])
async def test_authlib_obtains_verifies_introspects_and_revokes(scene: Scene, method: str) -> None:
    signed = method == "private_key_jwt"
    who, secret = ("signed", KEY.key) if signed else ("orders", SECRET)
    async with client_of(scene, who, secret, method) as client, client_of(scene, "stock", STOCK_KEY) as stock:
        found, keys = await published(scene)
        assert method in found["token_endpoint_auth_methods_supported"]
        assert found["issuer"] == ADDRESS
        token = await client.fetch_token(found["token_endpoint"], grant_type="client_credentials", scope="orders:read")
        claims = ResourceServer(keys).authenticate_token(token["access_token"])
        ResourceServer(keys).validate_token(claims, ["orders:read"], None)
        assert (claims["sub"], claims["client_id"]) == (who, who)
        seen = (await stock.introspect_token(found["introspection_endpoint"], token=token["access_token"])).json()
        assert (seen["active"], seen["scope"]) == (True, "orders:read")
        revoked = await client.revoke_token(found["revocation_endpoint"], token=token["access_token"])
        assert revoked.status_code == 200
        again = await stock.introspect_token(found["introspection_endpoint"], token=token["access_token"])
        assert again.json() == {"active": False}


async def test_authlib_exchanges_and_refreshes(scene: Scene) -> None:
    session = (await sign_up(await scene.native(), new_address()))["session_token"]
    async with client_of(scene, "orders", SECRET) as client:
        parameters = {name: value for name, value in exchanging(session).items() if name != "grant_type"}
        token = await client.fetch_token(f"{ADDRESS}/oauth2/token", grant_type=EXCHANGE, **parameters)
        renewed = await client.refresh_token(f"{ADDRESS}/oauth2/token", refresh_token=token["refresh_token"])
        assert renewed["refresh_token"] != token["refresh_token"]
        with pytest.raises(OAuthError, match="invalid_scope"):
            await client.fetch_token(f"{ADDRESS}/oauth2/token", grant_type="client_credentials", scope="admin")


class ResourceServer(JWTBearerTokenValidator):  # type: ignore[misc]  # Authlib carries no types
    """A service that accepts access tokens, as Authlib has it (RFC 9068 section 4)."""

    def __init__(self, keys: Any) -> None:
        super().__init__(issuer=ADDRESS, resource_server="stock")
        self._keys = keys

    def get_jwks(self) -> Any:
        return KeySet.import_key_set(self._keys)
