"""Introspection of the access tokens of a real OpenID provider, as commercetools would ask about them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.oauth.introspection_answers import customer_key
from tests.attacks.scene import Scene, opened
from tests.attacks.scene import ask as query
from tests.services.openid_provider import CLIENT_SECRET, OpenIDProvider

API = "https://api.shop.example"
OPAQUE = f"{API}/opaque"
KEYS = {
    "engine": "p7Xk2vQ9dLw4sT6yB1nM8cRj5hZf3gAe",
    "other": "a3Gf9Kd1Pq7Ws5Ze2Rt8Yu4Io6Lk0JhX",
    "api": "z8Nb4Vc2Xm6Lk9Jh3Gf7Ds1Aq5Wp0RtY",
}
SECRET = "z9Yb4Nc7Vx1Mq6Wt3Ek8Rs5Gd2Ju0HfP"
INACTIVE = {"active": False}


@pytest.fixture
async def shop(openid_provider: OpenIDProvider, sqlite_dsn: str, tmp_path: Path) -> AsyncIterator[Scene]:
    provider = openid_provider
    provider.client(redirect_uris=["https://shop.example/callback"])
    provider.person("ada@example.org", groups=["wholesale"])
    settings: dict[str, Any] = {
        "providers": [
            {
                "kind": "oidc",
                "id": "entra",
                "issuer": provider.issuer,
                "client_id": "shop",
                "client_secret": CLIENT_SECRET,
                "audiences": [API, OPAQUE],
                "allowed_clients": ["shop"],
                "opaque_tokens": "introspection",
                "groups_claim": "groups",
            }
        ],
        "clients": {"http": {"private_ip_exception_urls": [f"{provider.issuer}/**"]}},
        "stores": [{"id": "default", "project_key": "tea"}],
        "tokens": {
            "scope_rules": [{"when": {"group": ["wholesale"]}, "scopes": ["view_products:{projectKey}"]}],
            "clients": [{"id": "orders", "secrets": [SECRET], "audiences": [API]}],
        },
        "introspection": {
            "callers": [
                {"id": "engine", "keys": [KEYS["engine"]]},
                {"id": "other", "keys": [KEYS["other"]], "audiences": ["https://another.example"]},
                {"id": "api", "keys": [KEYS["api"]], "audiences": [API]},
            ]
        },
    }
    async with opened(sqlite_dsn, tmp_path, StoppedClock(datetime.now(UTC)), settings=settings) as scene:
        await scene.application.listen()
        yield scene
    provider.reset()


async def ask(shop: Scene, token: str, key: str = "engine") -> Any:
    headers = {"authorization": f"Bearer {KEYS[key]}"}
    answer = await (await shop.native()).post("/introspect", data={"token": token}, headers=headers)
    return answer.json() if answer.status_code == 200 else answer.status_code


async def test_a_jwt_is_verified_once_and_has_the_scopes_of_its_group(
    shop: Scene, openid_provider: OpenIDProvider
) -> None:
    token = openid_provider.access_token("ada@example.org", resource=API)
    told = await ask(shop, token)
    assert told["active"] is True
    assert told["iss"] == openid_provider.issuer
    assert told["aud"] == API
    key = customer_key(told["iss"], told["sub"])
    assert told["scope"].split()[:2] == ["view_products:tea", f"customer_id:{key}"]
    assert await ask(shop, token, "other") == INACTIVE, "it is for another audience than this caller's"
    openid_provider.faults(all={"status": 500})
    assert await ask(shop, token) == told, "nothing is asked again"
    assert await ask(shop, f"{token}x") == INACTIVE


async def test_revoking_it_tells_nothing_of_it_and_asks_nothing(shop: Scene, openid_provider: OpenIDProvider) -> None:
    """A client that may not introspect learns from no answer whether a provider's token is valid."""
    jwt, opaque = (openid_provider.access_token("ada@example.org", resource=each) for each in (API, OPAQUE))
    openid_provider.faults(all={"status": 500})
    app = await shop.native()
    answers = [
        await app.post("/oauth2/revoke", data={"token": token}, auth=("orders", SECRET))
        for token in (jwt, f"{jwt}x", opaque, "unknown")
    ]
    assert {(each.status_code, each.json()["error"]) for each in answers} == {(400, "unsupported_token_type")}
    assert {each.headers["cache-control"] for each in answers} == {"no-store"}
    assert len({each.content for each in answers}) == 1
    openid_provider.faults()
    assert (await ask(shop, jwt))["active"] is True, "it goes on"


async def test_an_opaque_one_is_asked_about_and_an_outage_is_a_503(
    shop: Scene, openid_provider: OpenIDProvider
) -> None:
    token, late = (openid_provider.access_token("ada@example.org", resource=OPAQUE) for _ in range(2))
    assert (await ask(shop, token))["active"] is True
    openid_provider.faults(introspection={"delay": 5})
    assert await ask(shop, late) == 503
    openid_provider.faults(introspection={"status": 500})
    assert await ask(shop, late) == 503


@pytest.mark.parametrize(("status", "pause"), [(503, 1), (500, 1), (404, 10)])
async def test_after_one_failure_it_says_when_to_ask_again_and_knows_then(
    shop: Scene, openid_provider: OpenIDProvider, status: int, pause: int
) -> None:
    token = openid_provider.access_token("ada@example.org", resource=API)
    app, headers = await shop.native(), {"authorization": f"Bearer {KEYS['engine']}"}
    openid_provider.faults(jwks={"status": status, "body": "{}"})
    for _ in range(2):
        answer = await app.post("/oauth2/introspect", data={"token": token}, headers=headers)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, str(pause))
    openid_provider.faults()
    shop.clock.advance(seconds=pause)
    assert (await ask(shop, token))["active"] is True


async def test_a_token_without_an_audience_is_for_no_caller_of_certain_audiences(
    shop: Scene, openid_provider: OpenIDProvider
) -> None:
    named = openid_provider.access_token("ada@example.org", resource=API)
    nameless = openid_provider.access_token("ada@example.org", resource=None)
    assert (await ask(shop, named, "api"))["active"] is True
    assert await ask(shop, nameless, "api") == INACTIVE
    told = await ask(shop, nameless)
    assert told["active"] is True
    assert told.get("aud") in (None, [])


ODD = (None, 10**30, "\x00", ["a", {}, None], {"a": ["b"]})
READ = (
    *("iss", "sub", "aud", "exp", "iat", "nbf", "jti", "client_id", "azp", "scope", "scp", "events", "nonce", "act"),
    *("token_use", "token_type", "typ", "groups", "_claim_names", "sid", "email", "email_verified", "name"),
    *("given_name", "family_name", "phone_number"),
)


async def test_no_claim_of_a_signed_token_breaks_anything(shop: Scene, openid_provider: OpenIDProvider) -> None:
    """What a provider signs may be anything, at introspection and at the storefront."""
    good = {"aud": API, "sub": "sub-ada", "client_id": "shop", "scope": "openid", "email": "ada@example.org"}
    app = await shop.native()
    broken = {}
    for name in READ:
        for value in ODD:
            token = openid_provider.sign({**good, name: value}, header={"typ": "JWT"})
            told = await ask(shop, token)
            answer = await query(app, token, "{ getCurrentCustomer { email } }")
            codes = {error["extensions"]["code"] for error in answer.get("errors", [])}
            if not isinstance(told, dict) or not codes <= {"TOKEN_INVALID", "FORBIDDEN"}:
                broken[name, str(value)] = told, codes
    assert broken == {}


async def test_a_subject_whose_account_here_is_disabled_is_inactive(
    shop: Scene, openid_provider: OpenIDProvider
) -> None:
    token = openid_provider.access_token("ada@example.org", resource=API)
    told = await ask(shop, token)
    admin = await shop.admin()
    account = {"provider": "entra", "subject": told["sub"], "issuer": told["iss"]}
    identity = await admin.post(
        "/identities",
        json={
            "schema_id": "default",
            "traits": {"email": "ada@example.org"},
            "credentials": {"oidc": {"config": {"providers": [account]}}},
        },
    )
    assert identity.status_code == 201, identity.text
    shop.clock.advance(seconds=6)
    again = await ask(shop, token)
    assert again["scope"] == told["scope"], "the customer stays the same"
    change = [{"op": "replace", "path": "/state", "value": "inactive"}]
    assert (await admin.patch(f"/identities/{identity.json()['id']}", json=change)).status_code == 200
    assert await ask(shop, token) == INACTIVE
