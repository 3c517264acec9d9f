"""Tokens of real issuers: this server's access tokens, and those of an OpenID provider from another author."""

import httpx2
import pytest

from shopkeeper_asgi import Authenticator, Introspect, ProviderUnavailable, TokenInvalid, User, key_source
from shopkeeper_asgi.jwt import Jwt
from tests.docs.conftest import STOCK_KEY
from tests.services.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIDProvider
from tests.services.shopkeeper_server import Commerce
from tests.shopkeeper_asgi.conftest import Customer, Make, register

API = "https://api.shop.example"
OPAQUE = f"{API}/opaque"
STOCK = "stock"
CLIENT = ("orders", "fec4125882aaf92b5105eb597652604e21aa602ae0bfa85107e81698edab4224")
"""As in docs/howto/tokens-for-services.md."""
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
SESSION_TOKEN = "urn:shopkeeper:params:oauth:token-type:session_token"


async def user(authenticator: Authenticator, token: str) -> User:
    found = await authenticator.authenticate([("authorization", f"Bearer {token}")])
    assert found is not None
    return found


class TestThisServer:
    @pytest.fixture
    def customer(self, shop: Commerce) -> Customer:
        """A customer of the test's own, whose session may end."""
        return register(shop)

    @pytest.fixture
    def token(self, shop: Commerce, customer: Customer) -> str:
        """An access token of the customer for a service."""
        asked = {"grant_type": EXCHANGE, "subject_token": customer.token, "subject_token_type": SESSION_TOKEN}
        done = httpx2.post(f"{shop.public}/oauth2/token", data={**asked, "audience": STOCK}, auth=CLIENT)
        assert done.status_code == 200, done.text
        return str(done.json()["access_token"])

    async def test_its_access_token_is_verified_by_its_published_keys(
        self, shop: Commerce, customer: Customer, token: str, make: Make
    ) -> None:
        headers = {"x-session-token": customer.token}
        identity = httpx2.get(f"{shop.public}/sessions/whoami", headers=headers).json()["identity"]
        found = await user(make(Jwt(issuer=shop.public, audience=STOCK)), token)
        assert found.id == identity["id"]
        with pytest.raises(TokenInvalid, match="another audience"):
            await user(make(Jwt(issuer=shop.public, audience="https://other.example")), token)

    async def test_its_introspection_endpoint_knows_when_the_session_has_ended(
        self, shop: Commerce, customer: Customer, token: str, make: Make
    ) -> None:
        asking = make(
            Introspect(url=f"{shop.public}/oauth2/introspect", bearer=STOCK_KEY, audience=STOCK, cache_seconds=0)
        )
        assert (await user(asking, token)).id
        left = httpx2.request(
            "DELETE", f"{shop.public}/self-service/logout/api", json={"session_token": customer.token}
        )
        assert left.status_code == 204
        with pytest.raises(TokenInvalid):
            await user(asking, token)

    async def test_a_caller_that_it_does_not_know_is_the_application_s_mistake(
        self, shop: Commerce, token: str, make: Make
    ) -> None:
        with pytest.raises(ProviderUnavailable):
            await user(make(Introspect(url=f"{shop.public}/oauth2/introspect", bearer="unknown")), token)


class TestAnOpenIDProvider:
    @pytest.fixture
    def provider(self, openid_provider: OpenIDProvider) -> OpenIDProvider:
        openid_provider.client(redirect_uris=["http://127.0.0.1/callback"])
        openid_provider.person("ada@example.org", groups=["retail"])
        return openid_provider

    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        now = [1000.0]
        monkeypatch.setattr(key_source, "monotonic", lambda: now[0])
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
        clock[0] += key_source.PAUSE + 1
        after = provider.access_token("ada@example.org", resource=API)
        assert (await user(asking, after)).id == (await user(asking, before)).id == "sub-ada"

    async def test_while_its_keys_cannot_be_fetched_known_ones_go_on(
        self, provider: OpenIDProvider, make: Make, clock: list[float]
    ) -> None:
        asking = make(Jwt(issuer=provider.issuer, audience=API), cache_seconds=0)
        token = provider.access_token("ada@example.org", resource=API)
        await user(asking, token)
        provider.faults(jwks={"status": 500})
        clock[0] += key_source.FRESH + 1
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

    async def test_of_all_its_kinds_of_tokens_only_a_person_s_access_token_is_a_user(
        self, provider: OpenIDProvider, make: Make
    ) -> None:
        """Regression: a refresh token, and an application's own, were users."""
        url = f"{provider.issuer}/token/introspection"
        asking = make(Introspect(url=url, client_id=CLIENT_ID, client_secret=CLIENT_SECRET))
        tokens = provider.one_of_each_kind("ada@example.org")
        assert {"AccessToken", "AuthorizationCode", "ClientCredentials", "RefreshToken"} <= tokens.keys()
        assert [name for name, token in tokens.items() if await is_user(asking, token)] == ["AccessToken"]


async def is_user(authenticator: Authenticator, token: str) -> bool:
    try:
        await user(authenticator, token)
    except TokenInvalid:
        return False
    return True
