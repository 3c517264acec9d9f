"""`POST /signin` with an access token of the store's provider: one visitor, one cart, and a session of ours."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from tests.attacks.scene import CART, Scene, ask, fill_cart, sign_up, visit
from tests.services.openid_provider import OpenIDProvider
from tests.upstream.stages import API, ELSEWHERE, HERE, OPAQUE

OpenShop = Callable[..., Awaitable[Scene]]
ADA = "ada@example.org"
LIFESPAN = 1800
"""Seconds that the signed tokens last."""


def signed(provider: OpenIDProvider, *, typ: str = "at+jwt", **claims: Any) -> str:
    """Return an access token that says anything."""
    now = int(time.time())
    said = {"aud": API, "client_id": "app", "sub": "sub-ada", "email": ADA, "iat": now, "exp": now + LIFESPAN, **claims}
    return provider.sign(said, header={"typ": typ})


async def sign_in(app: httpx2.AsyncClient, token: str, *, guest: str | None = None, **hint: Any) -> httpx2.Response:
    headers = {"authorization": f"Bearer {guest}"} if guest else {}
    return await app.post("/signin", json={"authHint": {"token": token, **hint}}, headers=headers)


async def end_of(app: httpx2.AsyncClient, token: str) -> datetime:
    """Return when a session ends, as whoami says."""
    answer = await app.get("/sessions/whoami", headers={"x-session-token": token})
    assert answer.status_code == 200, answer.text
    return datetime.fromisoformat(answer.json()["expires_at"])


def code_of(answer: httpx2.Response) -> str:
    return str(answer.json()["errors"][0]["extensions"]["code"])


async def test_the_guests_cart_becomes_the_customers(open_shop: OpenShop, openid_provider: OpenIDProvider) -> None:
    """With a token that the provider has issued; the cart is there with the provider's next token, too."""
    scene = await open_shop()
    openid_provider.person(ADA)
    app = await scene.native()
    guest = (await visit(app))["authorization"]
    cart = await fill_cart(app, guest, quantity=3)
    token = await asyncio.to_thread(openid_provider.access_token, ADA, resource=API)
    answer = await sign_in(app, token, guest=guest, oldCartId=cart)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["customer"]["email"] == ADA
    assert told["authorization"].startswith("shk_st_")
    assert told["cart"]["outcome"] == "adopted"
    for each in (told["authorization"], token, signed(openid_provider)):
        found = await ask(app, each, CART, id=told["cart"]["id"])
        assert found["data"]["getCart"]["totalQuantity"] == 3
    another = (await visit(app))["authorization"]
    cart = await fill_cart(app, another, quantity=5)
    told = (await sign_in(app, signed(openid_provider), guest=another, oldCartId=cart)).json()
    assert told["cart"]["outcome"] == "merged"
    assert (await ask(app, token, CART, id=told["cart"]["id"]))["data"]["getCart"]["totalQuantity"] == 5
    third = (await visit(app))["authorization"]
    hint = {"oldCartId": await fill_cart(app, third), "mergeWithExistingCustomerCart": False}
    told = (await sign_in(app, signed(openid_provider), guest=third, **hint)).json()
    assert told["cart"]["outcome"] == "replaced"
    assert (await ask(app, token, CART, id=told["cart"]["id"]))["data"]["getCart"]["totalQuantity"] == 1
    assert len(await scene.rows("identities")) == 1


async def test_the_session_ends_with_the_token(open_shop: OpenShop, openid_provider: OpenIDProvider) -> None:
    """It is neither refreshed nor extended beyond that."""
    scene = await open_shop(settings={"tokens": {"refresh": {"enabled": True}}})
    app, admin = await scene.native(), await scene.admin()
    ends = int(time.time()) + LIFESPAN
    ours = (await sign_in(app, signed(openid_provider, exp=ends))).json()["authorization"]
    until = await end_of(app, ours)
    assert until == datetime.fromtimestamp(ends, UTC)
    scene.clock.advance(seconds=LIFESPAN - 100)
    refreshed = await app.post("/signin", json={"type": "refresh"}, headers={"authorization": f"Bearer {ours}"})
    assert refreshed.status_code == 200, refreshed.text
    ours = refreshed.json()["authorization"]
    [session] = [row for row in await scene.rows("sessions") if row["revoked_at"] is None]
    await admin.patch(f"/admin/sessions/{session['id']}/extend")
    assert await end_of(app, ours) == until
    scene.clock.advance(seconds=200)
    assert (await app.get("/sessions/whoami", headers={"x-session-token": ours})).status_code == 401
    again = await app.post("/signin", json={"type": "refresh"}, headers={"authorization": f"Bearer {ours}"})
    assert again.status_code == 403


async def test_it_lasts_as_others_where_the_settings_say_so(
    open_shop: OpenShop, openid_provider: OpenIDProvider
) -> None:
    scene = await open_shop(sessions_outlive_tokens=True)
    app = await scene.native()
    ours = (await sign_in(app, signed(openid_provider))).json()["authorization"]
    assert await end_of(app, ours) - scene.clock.now() > timedelta(hours=23)


async def test_a_session_of_ours_that_ends_before_the_token_ends_then(
    open_shop: OpenShop, openid_provider: OpenIDProvider
) -> None:
    scene = await open_shop(settings={"session": {"lifespan": "5m"}})
    app = await scene.native()
    ours = (await sign_in(app, signed(openid_provider))).json()["authorization"]
    assert await end_of(app, ours) - scene.clock.now() <= timedelta(minutes=5)


async def test_signing_out_ends_it(open_shop: OpenShop, openid_provider: OpenIDProvider) -> None:
    scene = await open_shop()
    app = await scene.native()
    ours = (await sign_in(app, signed(openid_provider))).json()["authorization"]
    assert (await app.post("/signout", json={}, headers={"authorization": f"Bearer {ours}"})).status_code == 200
    assert (await app.get("/sessions/whoami", headers={"x-session-token": ours})).status_code == 401
    assert await scene.rows("provider_sessions") == []


async def test_a_second_factor_at_the_provider_is_none_here(
    open_shop: OpenShop, openid_provider: OpenIDProvider
) -> None:
    """The session has one factor, so that an account with a second one here is asked for it."""
    scene = await open_shop()
    app = await scene.native()
    ours = (await sign_in(app, signed(openid_provider, amr=["pwd", "mfa"], acr="aal2"))).json()["authorization"]
    known = (await app.get("/sessions/whoami", headers={"x-session-token": ours})).json()
    assert known["authenticator_assurance_level"] == "aal1"
    assert [(each["method"], each["provider"]) for each in known["authentication_methods"]] == [("oidc", "idp")]


REFUSED: Mapping[str, Mapping[str, Any]] = {
    "for another audience": {"aud": "https://other.example"},
    "for another client": {"client_id": "another-shop"},
    "of an application": {"sub": "app"},
    "an ID token": {"typ": "JWT", "aud": "shop", "client_id": None, "nonce": "n"},
    "without a subject": {"sub": None},
}


@pytest.mark.parametrize("what", [*REFUSED, "expired", "expired a moment ago", "changed"])
async def test_row_083_what_is_not_for_us_signs_nobody_in(
    open_shop: OpenShop, openid_provider: OpenIDProvider, what: str
) -> None:
    """And the guest goes on as before."""
    scene = await open_shop(allowed_clients=["app"])
    app = await scene.native()
    guest = (await visit(app))["authorization"]
    cart = await fill_cart(app, guest)
    now = int(time.time())
    ends = {"expired": now - 3600, "expired a moment ago": now - 10}
    claims = REFUSED.get(what) or ({"iat": now - 7200, "exp": ends[what]} if what in ends else {})
    token = signed(openid_provider, **claims)
    answer = await sign_in(app, f"{token[:-8]}AAAAAAAA" if what == "changed" else token, guest=guest, oldCartId=cart)
    assert (answer.status_code, code_of(answer)) == (401, "TOKEN_INVALID")
    assert await scene.rows("sessions") == await scene.rows("identities") == []
    assert (await ask(app, guest, CART, id=cart))["data"]["getCart"]["totalQuantity"] == 1


async def test_a_store_takes_the_tokens_of_its_own_provider(
    open_shop: OpenShop, openid_provider: OpenIDProvider
) -> None:
    other = {"id": "odp", "kind": "oidc", "issuer": "https://odp.example", "audiences": [API]}
    stores = [{"id": HERE, "provider": "idp"}, {"id": ELSEWHERE, "provider": "odp"}]
    scene = await open_shop(other, settings={"stores": stores})
    token = signed(openid_provider)
    assert (await sign_in(await scene.native(connector=ELSEWHERE), token)).status_code == 400
    unknown = await sign_in(await scene.native(), "a.token.of-nobody")
    assert unknown.status_code == 400
    assert (await sign_in(await scene.native(), token)).status_code == 200


async def test_row_029_a_disabled_identity_is_refused(open_shop: OpenShop, openid_provider: OpenIDProvider) -> None:
    scene = await open_shop()
    app, admin = await scene.native(), await scene.admin()
    ours = (await sign_in(app, signed(openid_provider))).json()["authorization"]
    [identity] = await scene.rows("identities")
    off = [{"op": "replace", "path": "/state", "value": "inactive"}]
    assert (await admin.patch(f"/admin/identities/{identity['id']}", json=off)).status_code == 200
    assert (await app.get("/sessions/whoami", headers={"x-session-token": ours})).status_code == 401
    answer = await sign_in(app, signed(openid_provider))
    assert (answer.status_code, code_of(answer)) == (401, "UNAUTHENTICATED")


async def test_row_036_a_verified_address_is_asked_for_as_at_every_sign_in(
    open_shop: OpenShop, openid_provider: OpenIDProvider
) -> None:
    """The refusal begins the verification: a mail is on its way."""
    hooks = {"login": {"after": {"oidc": {"hooks": [{"hook": "require_verified_address"}]}}}}
    required = {**hooks, "verification": {"enabled": True}}
    scene = await open_shop(settings={"selfservice": {"flows": required}})
    app = await scene.native()
    answer = await sign_in(app, signed(openid_provider, email_verified=False))
    assert (answer.status_code, code_of(answer)) == (403, "VERIFIED_ADDRESS_REQUIRED")
    assert answer.json()["errors"][0]["extensions"]["continue_with"]
    assert await scene.rows("sessions") == []
    assert len(await scene.waiting_mails()) == 1
    verified = signed(openid_provider, sub="sub-grace", email="grace@example.org", email_verified=True)
    assert (await sign_in(app, verified)).status_code == 200


async def test_row_083_an_address_never_finds_an_account(open_shop: OpenShop, openid_provider: OpenIDProvider) -> None:
    scene = await open_shop()
    await sign_up(await scene.native(connector=ELSEWHERE), ADA)
    answer = await sign_in(await scene.native(), signed(openid_provider))
    assert (answer.status_code, code_of(answer)) == (403, "FORBIDDEN")


async def test_an_outage_is_a_503(open_shop: OpenShop, openid_provider: OpenIDProvider) -> None:
    scene = await open_shop()
    openid_provider.faults(jwks={"status": 503, "body": "{}"})
    app = await scene.native()
    guest = (await visit(app))["authorization"]
    answer = await sign_in(app, signed(openid_provider), guest=guest)
    assert (answer.status_code, code_of(answer)) == (503, "IDENTITY_PROVIDER_UNAVAILABLE")
    assert int(answer.headers["retry-after"]) >= 1
    assert await scene.rows("sessions") == []


async def test_an_opaque_token_signs_in_until_it_is_revoked(
    open_shop: OpenShop, openid_provider: OpenIDProvider
) -> None:
    openid_provider.client("shop", redirect_uris=["https://shop.example/callback"])
    openid_provider.person(ADA)
    scene = await open_shop(
        client_id="shop",
        client_secret="shop-secret",
        opaque_tokens="userinfo",
        opaque_cache="0s",
        audiences=[API, OPAQUE],
        claims_from="userinfo",
    )
    app = await scene.native()
    token = await asyncio.to_thread(openid_provider.access_token, ADA, resource=None)
    answer = await sign_in(app, token)
    assert answer.json()["customer"]["email"] == ADA
    assert datetime.fromisoformat(answer.json()["expiresAt"]) > datetime.now(UTC)
    await asyncio.to_thread(openid_provider.revoke, token)
    assert (await sign_in(app, token)).status_code == 401


async def groups_of(scene: Scene) -> Any:
    admin = await scene.admin()
    [identity] = (await admin.get("/admin/identities")).json()
    full = (await admin.get(f"/admin/identities/{identity['id']}")).json()
    return full.get("groups", [])


async def test_a_sign_in_replaces_the_groups_that_the_provider_gives(
    open_shop: OpenShop, openid_provider: OpenIDProvider
) -> None:
    """A bearer alone changes nothing of the account."""
    scene = await open_shop(groups_claim="groups")
    app = await scene.native()
    await sign_in(app, signed(openid_provider, groups=["wholesale", "vip"]))
    assert await groups_of(scene) == ["vip", "wholesale"]
    moved = signed(openid_provider, groups=["retail"])
    await ask(app, moved, CART, id="none")
    assert await groups_of(scene) == ["vip", "wholesale"]
    await sign_in(app, moved)
    assert await groups_of(scene) == ["retail"]


@pytest.mark.parametrize("setting", ["never", "automatic"])
async def test_a_sign_in_brings_the_identity_up_to_date_where_the_settings_say_so(
    open_shop: OpenShop, openid_provider: OpenIDProvider, setting: str
) -> None:
    """But for its address, which is the owner's to change."""
    scene = await open_shop(update_identity_on_login=setting)
    app = await scene.native()
    await sign_in(app, signed(openid_provider, given_name="Ada", family_name="Fox"))
    changed = signed(openid_provider, given_name="Ada", family_name="Pear", email="moved@example.org")
    told = (await sign_in(app, changed)).json()["customer"]
    assert (told["lastName"], told["email"]) == ("Pear" if setting == "automatic" else "Fox", ADA)


async def test_an_address_that_the_provider_verifies_later_is_verified_here_by_a_sign_in(
    open_shop: OpenShop, openid_provider: OpenIDProvider
) -> None:
    required = {"login": {"after": {"oidc": {"hooks": [{"hook": "require_verified_address"}]}}}}
    scene = await open_shop(settings={"selfservice": {"flows": required}})
    app = await scene.native()
    assert (await sign_in(app, signed(openid_provider, email_verified=False))).status_code == 403
    verified = signed(openid_provider, email_verified=True)
    assert (await ask(app, verified, CART, id="none"))["errors"][0]["extensions"]["code"] == "VERIFIED_ADDRESS_REQUIRED"
    assert (await sign_in(app, verified)).status_code == 200
    assert (await ask(app, verified, CART, id="none"))["data"] == {"getCart": None}
