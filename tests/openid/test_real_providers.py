"""Whole sign-ins at real providers of two authors."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shopkeeper.clock import SystemClock
from shopkeeper.http_client import GuardedClient
from shopkeeper.openid.client import OpenIDClient
from shopkeeper.openid.errors import (
    AuthorizationRefused,
    ProviderAnswerInvalid,
    ProviderTokenInvalid,
    ProviderUnavailable,
)
from shopkeeper.openid.provider import Provider
from tests.services.openid_provider import CLIENT_SECRET, Arrival, OpenIDProvider, Walker
from tests.services.other_openid_provider import OtherProvider

BACK = "https://shop.example/self-service/methods/oidc/callback/idp"
NONCE, VERIFIER = "of-this-flow", "a" * 64
EMAIL = "ada@example.org"
LOGOUT = "http://schemas.openid.net/event/backchannel-logout"


@pytest.fixture
async def http() -> AsyncIterator[GuardedClient]:
    async with GuardedClient(private_allowed=True) as http:
        yield http


def client_of(issuer: str, http: GuardedClient, *, client_id: str = "shop", **changed: Any) -> OpenIDClient:
    settings = {"scope": ("openid", "email", "profile"), "client_secret": CLIENT_SECRET, **changed}
    provider = Provider(id="idp", preset="generic", label="IdP", client_id=client_id, issuer=issuer, **settings)
    return OpenIDClient(provider, http=http, clock=SystemClock())


@pytest.fixture
def client(openid_provider: OpenIDProvider, http: GuardedClient) -> OpenIDClient:
    openid_provider.client(redirect_uris=[BACK])
    openid_provider.person(EMAIL, name="Ada Pear")
    return client_of(openid_provider.issuer, http)


async def walk(client: OpenIDClient, provider: OpenIDProvider, *, answer: str = "yes", **parameters: str) -> Arrival:
    """Go to the provider, sign in there, and come back."""
    url = await client.authorization_url(
        redirect_uri=BACK, state="s", nonce=NONCE, code_verifier=VERIFIER, parameters=parameters
    )
    with Walker(provider.issuer) as walker:
        return await asyncio.to_thread(walker.walk, url, EMAIL, answer=answer)


async def redeem(client: OpenIDClient, arrival: Arrival, **changed: str) -> Any:
    arriving = {"redirect_uri": BACK, "nonce": NONCE, "code_verifier": VERIFIER, **changed}
    return await client.authenticate(arrival.query, **arriving)


@pytest.mark.parametrize("claims_source", ["id_token", "userinfo"])
@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("way", ["client_secret_basic", "client_secret_post"])
async def test_a_sign_in(
    openid_provider: OpenIDProvider, http: GuardedClient, claims_source: Any, algorithm: str, way: Any
) -> None:
    client_id = f"shop {algorithm}:{way}"
    openid_provider.client(
        client_id,
        redirect_uris=[BACK],
        id_token_signed_response_alg=algorithm,
        token_endpoint_auth_method=way,
    )
    openid_provider.person(EMAIL, name="Ada Pear")
    client = client_of(
        openid_provider.issuer,
        http,
        client_id=client_id,
        claims_source=claims_source,
        algorithms=(algorithm,),
        token_auth=way,
    )
    found = await redeem(client, await walk(client, openid_provider))
    assert found.issuer == openid_provider.issuer
    assert (found.claims["email"], found.claims["email_verified"], found.claims["name"]) == (EMAIL, True, "Ada Pear")
    assert found.subject == found.claims["sub"]
    assert found.claims["aud"] == client_id
    assert found.access_token


async def test_another_author(other_openid_provider: OtherProvider, http: GuardedClient) -> None:
    other_openid_provider.person("ada", email=EMAIL)
    client = client_of(other_openid_provider.issuer, http, claims_source="userinfo")
    url = await client.authorization_url(redirect_uri=BACK, state="s", nonce=NONCE, code_verifier=VERIFIER)
    found = await redeem(client, await asyncio.to_thread(other_openid_provider.sign_in, url, "ada"))
    assert (found.issuer, found.subject, found.claims["email"]) == (other_openid_provider.issuer, "ada", EMAIL)


async def test_what_does_not_belong_together(openid_provider: OpenIDProvider, client: OpenIDClient) -> None:
    arrival = await walk(client, openid_provider)
    with pytest.raises(AuthorizationRefused) as refused:
        await redeem(client, arrival, code_verifier="b" * 64)
    assert refused.value.error == "invalid_grant"
    with pytest.raises(ProviderTokenInvalid) as invalid:
        await redeem(client, await walk(client, openid_provider), nonce="of-another-flow")
    assert invalid.value.cause == "nonce"
    arrival = await walk(client, openid_provider)
    await redeem(client, arrival)
    with pytest.raises(AuthorizationRefused):
        await redeem(client, arrival)


async def test_a_person_declines_and_is_not_asked_silently(
    openid_provider: OpenIDProvider, client: OpenIDClient
) -> None:
    with pytest.raises(AuthorizationRefused) as refused:
        await redeem(client, await walk(client, openid_provider, answer="no"))
    assert refused.value.error == "access_denied"
    with pytest.raises(AuthorizationRefused) as refused:
        await redeem(client, await walk(client, openid_provider, prompt="none"))
    assert refused.value.error == "login_required"


async def test_the_answer_of_one_provider_at_the_callback_of_another(
    openid_provider: OpenIDProvider, client: OpenIDClient, other_openid_provider: OtherProvider, http: GuardedClient
) -> None:
    other = client_of(other_openid_provider.issuer, http)
    with pytest.raises(ProviderAnswerInvalid) as refused:
        await redeem(other, await walk(client, openid_provider))
    assert refused.value.cause == "mix_up"


async def test_keys_rotate_without_an_outage(openid_provider: OpenIDProvider, client: OpenIDClient) -> None:
    first = await redeem(client, await walk(client, openid_provider))
    openid_provider.rotate(at_once=True)
    again = await redeem(client, await walk(client, openid_provider))
    assert first.subject == again.subject
    with pytest.raises(ProviderTokenInvalid):
        await client.verify_id_token(first.id_token, nonce=NONCE)


async def test_a_clock_that_is_wrong_by_five_minutes(openid_provider: OpenIDProvider, client: OpenIDClient) -> None:
    openid_provider.clock(300)
    with pytest.raises(ProviderTokenInvalid, match="clock") as refused:
        await redeem(client, await walk(client, openid_provider))
    assert refused.value.cause == "clock"


async def test_an_outage_ends(openid_provider: OpenIDProvider, client: OpenIDClient) -> None:
    arrival = await walk(client, openid_provider)
    openid_provider.faults(all={"drop": True})
    with pytest.raises(ProviderUnavailable):
        await redeem(client, arrival)
    openid_provider.faults()
    assert (await redeem(client, await walk(client, openid_provider))).claims["email"] == EMAIL


async def test_a_logout_token_of_the_provider(openid_provider: OpenIDProvider, client: OpenIDClient) -> None:
    now = int(time.time())
    claims = {"iss": openid_provider.issuer, "aud": "shop", "sub": "ada", "iat": now, "exp": now + 120, "jti": "j"}
    token = openid_provider.sign({**claims, "events": {LOGOUT: {}}}, header={"typ": "logout+jwt"})
    assert (await client.verify_logout_token(token)).subject == "ada"


async def test_where_a_person_signs_out(openid_provider: OpenIDProvider, client: OpenIDClient) -> None:
    url = await client.end_session_url(id_token_hint=None, post_logout_redirect_uri=None, state="s")
    assert url == f"{openid_provider.issuer}/session/end?client_id=shop&state=s"
