"""Providers whose metadata cannot be read: what the settings name is enough."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from tests.attacks.scene import Scene, ask
from tests.services.openid_provider import CLIENT_SECRET, PASSWORD, OpenIDProvider
from tests.upstream.stages import API, HERE, OPAQUE

OpenShop = Callable[..., Awaitable[Scene]]
ADA = "ada@example.org"
WHO = "{ getCurrentCustomer { email } }"
ADA_S = {"getCurrentCustomer": {"email": ADA}}
METADATA = "/.well-known/openid-configuration"
OUTAGES: Mapping[str, Mapping[str, Any]] = {
    "away": {"drop": True},
    "none": {"status": 404, "body": "{}"},
    "nonsense": {"status": 200, "body": "<html>"},
}
CLIENT: Mapping[str, Any] = {"client_id": "shop", "client_secret": CLIENT_SECRET}


@pytest.fixture
def provider(openid_provider: OpenIDProvider) -> OpenIDProvider:
    openid_provider.person(ADA)
    openid_provider.faults(**{"openid-configuration": OUTAGES["away"]})
    return openid_provider


async def test_a_jwt_needs_the_keys_only(open_shop: OpenShop, provider: OpenIDProvider) -> None:
    scene = await open_shop(jwks_url=f"{provider.issuer}/jwks")
    token = provider.access_token(ADA, resource=API)
    assert (await ask(await scene.native(), token, WHO))["data"] == ADA_S
    assert METADATA not in provider.counts()


async def test_without_their_address_it_is_an_outage(open_shop: OpenShop, provider: OpenIDProvider) -> None:
    scene = await open_shop()
    token = provider.access_token(ADA, resource=API)
    (error,) = (await ask(await scene.native(), token, WHO))["errors"]
    assert error["extensions"]["code"] == "IDENTITY_PROVIDER_UNAVAILABLE"


async def test_an_opaque_token_needs_the_introspection_only(open_shop: OpenShop, provider: OpenIDProvider) -> None:
    introspection = {"opaque_tokens": "introspection", "introspection_url": f"{provider.issuer}/token/introspection"}
    scene = await open_shop(**CLIENT, **introspection, audiences=[OPAQUE])
    token = provider.access_token(ADA, resource=OPAQUE)
    assert (await ask(await scene.native(), token, WHO))["data"] == ADA_S


@pytest.mark.parametrize(
    ("outage", "scope"), [("away", ["openid", "email"]), ("none", ["email"]), ("nonsense", ["openid"])]
)
async def test_a_password_needs_token_endpoint_and_keys(
    open_shop: OpenShop, provider: OpenIDProvider, outage: str, scope: list[str]
) -> None:
    """The settings that a shop had before: issuer, token address, keys, id, secret and audience. Without `openid`, what
    comes back is an access token."""
    provider.faults(**{"openid-configuration": OUTAGES[outage]})
    grant = {**CLIENT, "enabled": True, "token_url": f"{provider.issuer}/token", "audience": API, "scope": scope}
    scene = await open_shop(jwks_url=f"{provider.issuer}/jwks", password_grant=grant)
    app = await scene.native(connector=HERE)
    for _ in range(2):
        answer = await app.post("/signin", json={"username": ADA, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
    assert provider.counts()[METADATA] == 1, "it is tried, and not at each sign-in"
