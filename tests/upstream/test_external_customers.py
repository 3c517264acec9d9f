"""Customers whose tokens an identity provider issues: who they are here, and what they may do."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from shopkeeper.identity.values import State
from tests.attacks.scene import Scene, ask, fill_cart, sign_up
from tests.flows.watching import statements
from tests.services.openid_provider import OpenIDProvider
from tests.upstream.stages import API, ELSEWHERE, HERE, OPAQUE

OpenShop = Callable[..., Awaitable[Scene]]
ADA = "ada@example.org"
WHO = "{ getCurrentCustomer { email } }"
CART = "{ getCart { id } }"


async def token_of(provider: OpenIDProvider, email: str = ADA, **claims: Any) -> str:
    provider.person(email, **claims)
    return await asyncio.to_thread(provider.access_token, email, resource=API)


def signed(provider: OpenIDProvider, **claims: Any) -> str:
    """Return an access token that says anything."""
    said = {"aud": API, "client_id": "app", "scope": "openid", "sub": "sub-ada", "email": ADA, **claims}
    return provider.sign(said, header={"typ": "at+jwt"})


async def ids_of(scene: Scene) -> list[str]:
    return [str(row["id"]) for row in await scene.rows("identities")]


async def who(scene: Scene, token: str, *, store: str = HERE) -> Any:
    app = await scene.native(connector=store)
    return await ask(app, token, WHO)


async def test_a_token_is_a_customer_with_a_cart_that_stays(
    open_shop: OpenShop, openid_provider: OpenIDProvider
) -> None:
    scene = await open_shop()
    first, app = await token_of(openid_provider), await scene.native()
    assert (await ask(app, first, WHO))["data"] == {"getCurrentCustomer": {"email": ADA}}
    cart = await fill_cart(app, first)
    again = await token_of(openid_provider)
    assert first != again
    assert (await ask(app, again, CART))["data"] == {"getCart": {"id": cart}}
    assert len(await ids_of(scene)) == 1


async def test_several_first_requests_at_once_make_one_identity(
    open_shop: OpenShop, openid_provider: OpenIDProvider
) -> None:
    scene, token = await open_shop(), await token_of(openid_provider)
    app = await scene.native()
    answers = await asyncio.gather(*(ask(app, token, WHO) for _ in range(5)))
    assert [answer["data"]["getCurrentCustomer"]["email"] for answer in answers] == [ADA] * 5
    assert len(await ids_of(scene)) == 1


async def test_a_token_without_a_type_is_a_customer_by_its_marks(
    open_shop: OpenShop, openid_provider: OpenIDProvider
) -> None:
    scene, said = await open_shop(), {"aud": API, "sub": "sub-ada", "email": ADA}
    without_a_type = openid_provider.sign({**said, "scp": ["openid"]})
    assert (await who(scene, without_a_type))["data"] == {"getCurrentCustomer": {"email": ADA}}
    for of_a_sign_in in ({}, {"scp": ["openid"], "nonce": "n"}, {"azp": "app"}):
        (refused,) = (await who(scene, openid_provider.sign({**said, **of_a_sign_in})))["errors"]
        assert refused["extensions"]["code"] == "TOKEN_INVALID"


async def test_whoami_knows_sessions_only(open_shop: OpenShop, openid_provider: OpenIDProvider) -> None:
    scene, token = await open_shop(), await token_of(openid_provider)
    app = await scene.native()
    for header in ({"authorization": f"Bearer {token}"}, {"x-session-token": token}):
        assert (await app.get("/sessions/whoami", headers=header)).status_code == 401


async def test_row_029_a_disabled_identity_is_refused_whatever_its_provider_says(
    open_shop: OpenShop, openid_provider: OpenIDProvider
) -> None:
    scene, token = await open_shop(), await token_of(openid_provider)
    app, admin = await scene.native(), await scene.admin()
    await ask(app, token, WHO)
    (identity,) = await ids_of(scene)
    patch = [{"op": "replace", "path": "/state", "value": State.INACTIVE.value}]
    assert (await admin.patch(f"/admin/identities/{identity}", json=patch)).status_code == 200
    for each in (token, await token_of(openid_provider)):
        refused = await ask(app, each, WHO)
        assert refused["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        assert refused.get("data") is None


async def test_row_083_an_address_never_finds_an_account(open_shop: OpenShop, openid_provider: OpenIDProvider) -> None:
    scene = await open_shop()
    app = await scene.native()
    await sign_up(await scene.native(connector=ELSEWHERE), ADA)
    (refused,) = (await ask(app, signed(openid_provider), WHO))["errors"]
    assert refused["extensions"]["code"] == "FORBIDDEN"
    assert "already" in refused["message"]
    assert len(await ids_of(scene)) == 1


async def test_row_083_a_new_address_of_a_person_changes_nothing(
    open_shop: OpenShop, openid_provider: OpenIDProvider
) -> None:
    """Also where another person has the former address now."""
    scene = await open_shop()
    app = await scene.native()
    cart = await fill_cart(app, signed(openid_provider))
    moved = signed(openid_provider, email="moved@example.org", preferred_username="grace")
    assert (await ask(app, moved, CART))["data"]["getCart"]["id"] == cart
    heir = signed(openid_provider, sub="sub-grace", preferred_username="ada")
    assert (await ask(app, heir, CART)).get("data") in (None, {"getCart": None})
    assert len(await ids_of(scene)) == 1


@pytest.mark.parametrize(
    "subject", ["SUB-ADA", "sub-ada ", "sub-ad\u0430", "sub-ada\u200b", "idp:sub-ada", "sub-ad%61"]
)
async def test_row_083_a_subject_that_looks_alike_is_another_person(
    open_shop: OpenShop, openid_provider: OpenIDProvider, subject: str
) -> None:
    scene = await open_shop()
    app = await scene.native()
    cart = await fill_cart(app, signed(openid_provider))
    other = await ask(app, signed(openid_provider, sub=subject, email="other@example.org"), CART)
    assert (other.get("data") or {}).get("getCart") is None
    assert (await ask(app, signed(openid_provider), CART))["data"]["getCart"]["id"] == cart


async def test_one_subject_at_two_issuers_is_two_people(open_shop: OpenShop, openid_provider: OpenIDProvider) -> None:
    other = await asyncio.to_thread(_second_provider)
    try:
        section = {"id": "odp", "kind": "oidc", "issuer": other.issuer, "audiences": [API], "stores": [HERE]}
        scene = await open_shop(section)
        app = await scene.native()
        cart = await fill_cart(app, signed(openid_provider))
        elsewhere = signed(other, email="ada@other.example")
        assert (await ask(app, elsewhere, CART))["data"] == {"getCart": None}
        assert (await ask(app, signed(openid_provider), CART))["data"]["getCart"]["id"] == cart
        assert len(await ids_of(scene)) == 2
        # A token that one issuer has signed in the name of the other is nobody's.
        forged = other.sign({"iss": openid_provider.issuer, "aud": API, "sub": "sub-ada"}, header={"typ": "at+jwt"})
        assert (await ask(app, forged, CART))["errors"][0]["extensions"]["code"] == "TOKEN_INVALID"
    finally:
        await asyncio.to_thread(other.stop)


def _second_provider() -> OpenIDProvider:
    import os

    from tests.services.openid_provider import start_openid_provider

    return start_openid_provider(owner=os.getpid())


async def test_a_store_with_another_provider_takes_no_tokens_of_this_one(
    open_shop: OpenShop, openid_provider: OpenIDProvider
) -> None:
    other = {"id": "odp", "kind": "oidc", "issuer": "https://odp.example", "audiences": [API]}
    stores = [{"id": HERE, "provider": "idp"}, {"id": ELSEWHERE, "provider": "odp"}, {"id": "plum"}]
    scene = await open_shop(other, settings={"stores": stores})
    token = await token_of(openid_provider)
    assert (await who(scene, token, store=HERE))["data"]["getCurrentCustomer"]["email"] == ADA
    assert (await who(scene, token, store="plum"))["data"]["getCurrentCustomer"]["email"] == ADA
    refused = await who(scene, token, store=ELSEWHERE)
    assert refused["errors"][0]["extensions"]["code"] == "TOKEN_INVALID"


async def test_the_token_of_an_application_is_no_person(open_shop: OpenShop, openid_provider: OpenIDProvider) -> None:
    scene = await open_shop()
    token = signed(openid_provider, sub="app", client_id="app")
    refused = await who(scene, token)
    assert refused["errors"][0]["extensions"]["code"] == "TOKEN_INVALID"
    assert await ids_of(scene) == []


async def test_without_provisioning_only_linked_people_are_accepted(
    open_shop: OpenShop, openid_provider: OpenIDProvider
) -> None:
    scene = await open_shop(provisioning={"create": False})
    admin, token = await scene.admin(), signed(openid_provider)
    refused = await who(scene, token)
    assert refused["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    link = {"provider": "idp", "subject": "sub-ada", "issuer": openid_provider.issuer}
    new = {"schema_id": "default", "traits": {"email": "ada@shop.example"}}
    made = await admin.post(
        "/admin/identities", json={**new, "credentials": {"oidc": {"config": {"providers": [link]}}}}
    )
    assert made.status_code == 201, made.text
    assert (await who(scene, token))["data"]["getCurrentCustomer"]["email"] == "ada@shop.example"


async def test_claims_that_make_no_identity_say_so(open_shop: OpenShop, openid_provider: OpenIDProvider) -> None:
    scene = await open_shop()
    app = await scene.native()
    token = signed(openid_provider, email=None)
    assert (await ask(app, token, WHO))["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert await ids_of(scene) == []


async def test_userinfo_tells_what_the_token_does_not(open_shop: OpenShop, openid_provider: OpenIDProvider) -> None:
    """The first request asks for it, and later ones do not."""
    scene = await open_shop(
        client_id="shop", claims_from="userinfo", opaque_tokens="userinfo", opaque_cache="0s", audiences=[API, OPAQUE]
    )
    openid_provider.person("grace@example.org", name="Grace Plum")
    token = await asyncio.to_thread(openid_provider.access_token, "grace@example.org", resource=None)
    assert (await who(scene, token))["data"]["getCurrentCustomer"]["email"] == "grace@example.org"


async def test_an_outage_is_a_503(open_shop: OpenShop, openid_provider: OpenIDProvider) -> None:
    scene, token = await open_shop(), await token_of(openid_provider)
    openid_provider.faults(jwks={"status": 503, "body": "{}"})
    app = await scene.native(authorization=f"Bearer {token}")
    assert (await ask(app, token, WHO))["errors"][0]["extensions"]["code"] == "IDENTITY_PROVIDER_UNAVAILABLE"
    answer = await app.post("/signin", json={})
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1


async def test_keys_rotate_without_an_outage(open_shop: OpenShop, openid_provider: OpenIDProvider) -> None:
    scene = await open_shop()
    former = await token_of(openid_provider)
    assert "data" in await who(scene, former)
    openid_provider.rotate()
    scene.clock.advance(seconds=11)
    for token in (await token_of(openid_provider), former):
        assert (await who(scene, token))["data"]["getCurrentCustomer"]["email"] == ADA


@pytest.mark.parametrize(("skew", "accepted"), [(45, True), (-45, True), (90, False), (-90, False)])
async def test_row_010_clocks_may_differ_by_the_skew(
    open_shop: OpenShop, openid_provider: OpenIDProvider, skew: int, accepted: bool
) -> None:
    scene = await open_shop(clock_skew="60s")
    now = int(time.time())
    times = {"iat": now + skew, "exp": now + 300} if skew > 0 else {"iat": now - 600, "exp": now + skew}
    answer = await who(scene, signed(openid_provider, **times))
    assert (answer.get("data") is not None) is accepted


VERIFIED_ONLY: Mapping[str, Any] = {
    "selfservice": {"flows": {"login": {"after": {"oidc": {"hooks": [{"hook": "require_verified_address"}]}}}}}
}


async def test_row_036_who_must_be_verified_is_refused_as_at_a_sign_in(
    open_shop: OpenShop, openid_provider: OpenIDProvider
) -> None:
    """Also where no session is started: a token acts only for whom a sign-in would let in."""
    key = "p7Xk2vQ9dLw4sT6yB1nM8cRj5hZf3gAe"
    callers = {"introspection": {"callers": [{"id": "engine", "keys": [key]}]}}
    scene = await open_shop(settings={**VERIFIED_ONLY, **callers})
    app = await scene.native()
    unverified = signed(openid_provider, email_verified=False)
    verified = signed(openid_provider, sub="sub-grace", email="grace@example.org", email_verified=True)
    refused = await ask(app, unverified, WHO)
    assert refused["errors"][0]["extensions"]["code"] == "VERIFIED_ADDRESS_REQUIRED"
    assert (await ask(app, verified, WHO))["data"]["getCurrentCustomer"]["email"] == "grace@example.org"
    for token, active in ((unverified, False), (verified, True)):
        asked = {"data": {"token": token}, "headers": {"authorization": f"Bearer {key}"}}
        assert (await app.post("/oauth2/introspect", **asked)).json()["active"] is active


@pytest.mark.parametrize("cause", ["address taken", "too little"])
async def test_who_was_refused_a_moment_ago_costs_one_query(
    open_shop: OpenShop, openid_provider: OpenIDProvider, cause: str
) -> None:
    scene = await open_shop(cache="5m")
    app, clock = await scene.native(), scene.clock
    if cause == "address taken":
        await sign_up(await scene.native(connector=ELSEWHERE), ADA)
    token = signed(openid_provider, **({} if cause == "address taken" else {"email": None}))
    first = await ask(app, token, WHO)
    for _ in range(3):
        with statements(scene) as seen:
            assert await ask(app, token, WHO) == first
        assert len(seen) == 1
    clock.advance(seconds=6)
    with statements(scene) as seen:
        assert await ask(app, token, WHO) == first
    assert len(seen) > 1 or cause == "too little"


async def test_another_token_and_a_link_count_at_once(open_shop: OpenShop, openid_provider: OpenIDProvider) -> None:
    scene = await open_shop(cache="5m")
    app = await scene.native()
    assert "errors" in await ask(app, signed(openid_provider, email=None), WHO)
    assert (await ask(app, signed(openid_provider), WHO))["data"] == {"getCurrentCustomer": {"email": ADA}}
    assert (await ask(app, signed(openid_provider, email=None), WHO))["data"]["getCurrentCustomer"]


async def test_userinfo_is_not_asked_again_about_a_token_that_it_has_just_refused(
    open_shop: OpenShop, openid_provider: OpenIDProvider
) -> None:
    scene = await open_shop(cache="5m", client_id="shop", claims_from="userinfo")
    app, token = await scene.native(), signed(openid_provider)
    first = await ask(app, token, WHO)
    assert "errors" in first
    openid_provider.faults(me={"status": 503, "body": "{}"})  # a question would be answered otherwise
    for _ in range(3):
        assert await ask(app, token, WHO) == first
    scene.clock.advance(seconds=6)
    assert await ask(app, token, WHO) != first
