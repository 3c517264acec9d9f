"""Tokens of real issuers: this server's access tokens, and those of an OpenID provider from another author."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shopkeeper_asgi import Authenticator, Introspect, ProviderUnavailable, TokenInvalid, User, jwks
from shopkeeper_asgi.jwt import Jwt
from tests.conftest import Run
from tests.services.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIDProvider
from tests.services.shopkeeper_server import Commerce, start_shopkeeper
from tests.shopkeeper_asgi.conftest import Customer, Make, register

API = "https://api.shop.example"
OPAQUE = f"{API}/opaque"
SECRET, KEY = "q8Wm3Zx6Rt1Lp5Vk9Nc2Bf7Hd4Jy0GsTu", "t5Yh8Kq1Xn4Mv7Wz2Lr6Pd9Cb3Fj0SgXy"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
SESSION_TOKEN = "urn:shopkeeper:params:oauth:token-type:session_token"
SETTINGS: dict[str, Any] = {
    "tokens": {
        "clients": [{"id": "app", "secrets": [SECRET], "grants": ["token_exchange"], "audiences": [API]}],
    },
    "introspection": {"callers": [{"id": "api", "keys": [KEY], "audiences": [API]}]},
}


async def user(authenticator: Authenticator, token: str) -> User:
    found = await authenticator.authenticate([("authorization", f"Bearer {token}")])
    assert found is not None
    return found


@pytest.fixture(scope="module")
def server(run: Run) -> Iterator[Commerce]:
    """A demo shop at which an app may exchange sessions, and an API may introspect."""
    folder = Path(tempfile.mkdtemp(prefix="issuer-", dir=run.folder))
    server = start_shopkeeper(folder, owner=run.owner, config=SETTINGS, demo=True)
    yield server
    server.stop()


class TestThisServer:
    @pytest.fixture
    def customer(self, server: Commerce) -> Customer:
        return register(server)

    @pytest.fixture
    def token(self, server: Commerce, customer: Customer) -> str:
        """An access token of the customer for the API."""
        asked = {"grant_type": EXCHANGE, "subject_token": customer.token, "subject_token_type": SESSION_TOKEN}
        done = httpx2.post(f"{server.public}/oauth2/token", data={**asked, "audience": API}, auth=("app", SECRET))
        assert done.status_code == 200, done.text
        return str(done.json()["access_token"])

    async def test_its_access_token_is_verified_by_its_published_keys(
        self, server: Commerce, customer: Customer, token: str, make: Make
    ) -> None:
        headers = {"x-session-token": customer.token}
        identity = httpx2.get(f"{server.public}/sessions/whoami", headers=headers).json()["identity"]
        found = await user(make(Jwt(issuer=f"{server.public}", audience=API)), token)
        assert found.id == identity["id"]
        with pytest.raises(TokenInvalid, match="another audience"):
            await user(make(Jwt(issuer=f"{server.public}", audience="https://other.example")), token)

    async def test_its_introspection_endpoint_knows_when_the_session_has_ended(
        self, server: Commerce, customer: Customer, token: str, make: Make
    ) -> None:
        asking = make(Introspect(url=f"{server.public}/oauth2/introspect", bearer=KEY, audience=API, cache_seconds=0))
        assert (await user(asking, token)).id
        left = httpx2.request(
            "DELETE", f"{server.public}/self-service/logout/api", json={"session_token": customer.token}
        )
        assert left.status_code == 204
        with pytest.raises(TokenInvalid):
            await user(asking, token)

    async def test_a_caller_that_it_does_not_know_is_the_application_s_mistake(
        self, server: Commerce, token: str, make: Make
    ) -> None:
        with pytest.raises(ProviderUnavailable):
            await user(make(Introspect(url=f"{server.public}/oauth2/introspect", bearer="unknown")), token)


class TestAnOpenIDProvider:
    @pytest.fixture
    def provider(self, openid_provider: OpenIDProvider) -> OpenIDProvider:
        openid_provider.client(redirect_uris=["http://127.0.0.1/callback"])
        openid_provider.person("ada@example.org", groups=["retail"])
        return openid_provider

    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        now = [1000.0]
        monkeypatch.setattr(jwks, "monotonic", lambda: now[0])
        return now

    async def test_its_access_token_is_verified_by_discovery(self, provider: OpenIDProvider, make: Make) -> None:
        found = await user(
            make(Jwt(issuer=provider.issuer, audience=API)), provider.access_token("ada@example.org", resource=API)
        )
        assert (found.id, found.email, found.verified) == ("sub-ada", "ada@example.org", True)
        assert found.traits["groups"] == ("retail",)

    async def test_its_keys_may_rotate_without_an_outage(
        self, provider: OpenIDProvider, make: Make, clock: list[float]
    ) -> None:
        asking = make(Jwt(issuer=provider.issuer, audience=API), cache_seconds=0)
        before = provider.access_token("ada@example.org", resource=API)
        await user(asking, before)
        provider.rotate()
        clock[0] += jwks.PAUSE + 1
        after = provider.access_token("ada@example.org", resource=API)
        assert (await user(asking, after)).id == (await user(asking, before)).id == "sub-ada"

    async def test_while_its_keys_cannot_be_fetched_known_ones_go_on(
        self, provider: OpenIDProvider, make: Make, clock: list[float]
    ) -> None:
        asking = make(Jwt(issuer=provider.issuer, audience=API), cache_seconds=0)
        token = provider.access_token("ada@example.org", resource=API)
        await user(asking, token)
        provider.faults(jwks={"status": 500})
        clock[0] += jwks.FRESH + 1
        assert (await user(asking, token)).id == "sub-ada"

    async def test_an_id_token_is_no_access_token(self, provider: OpenIDProvider, make: Make) -> None:
        now = 2_000_000_000
        told = {"iss": provider.issuer, "aud": CLIENT_ID, "sub": "sub-ada", "exp": now, "iat": 1_000_000_000}
        token = provider.sign(told, header={"typ": "JWT"})
        with pytest.raises(TokenInvalid, match="another audience"):
            await user(make(Jwt(issuer=provider.issuer, audience=API)), token)

    async def test_an_opaque_token_is_introspected_until_it_is_revoked(
        self, provider: OpenIDProvider, make: Make
    ) -> None:
        url = f"{provider.issuer}/token/introspection"
        mode = Introspect(url=url, client_id=CLIENT_ID, client_secret=CLIENT_SECRET, audience=OPAQUE, cache_seconds=0)
        asking = make(mode)
        token = provider.access_token("ada@example.org", resource=OPAQUE)
        assert (await user(asking, token)).id == "sub-ada"
        provider.revoke(token)
        with pytest.raises(TokenInvalid):
            await user(asking, token)
