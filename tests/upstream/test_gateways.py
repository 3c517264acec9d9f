"""Gateways let the customers of a store's provider through, as GraphQL does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from uuid import UUID

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import OWN_PAGE, Scene, ask, new_address, sign_up, visit
from tests.conftest import Run
from tests.services.openid_provider import OpenIDProvider
from tests.upstream.kratos_scene import IDP, InFront, in_front
from tests.upstream.stages import API, ELSEWHERE, HERE
from tests.upstream.test_external_customers import ADA, WHO, signed, token_of

OpenShop = Callable[..., Awaitable[Scene]]
PATHS = ("/forward-auth", "/forward-auth-optional")
ABOUT = ("identity-id", "session-id", "store", "aal", "actor", "email", "email-verified", "provider", "issuer")


def told(answer: httpx2.Response) -> dict[str, str]:
    """Return what the headers tell; every one of them is there."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-kratos-authenticated-identity-id"] == answer.headers["x-shopkeeper-identity-id"]
    return {name: answer.headers[f"x-shopkeeper-{name}"] for name in ABOUT}


async def identity_of(scene: Scene) -> str:
    (row,) = await scene.rows("identities")
    return str(UUID(str(row["id"])))


async def said(client: httpx2.AsyncClient, **headers: str) -> list[int]:
    return [(await client.get(path, headers=headers)).status_code for path in PATHS]


@pytest.fixture
async def in_front_of(run: Run, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[InFront]:
    async with in_front(run, tmp_path, clock) as scene:
        yield scene


class TestOpenIDProviders:
    @pytest.mark.parametrize("kind", ["jwt", "opaque"])
    async def test_a_bearer_is_a_customer(
        self, open_shop: OpenShop, openid_provider: OpenIDProvider, kind: str
    ) -> None:
        opaque = {"client_id": "shop", "opaque_tokens": "userinfo", "claims_from": "userinfo"}
        scene = await open_shop(**(opaque if kind == "opaque" else {}))
        openid_provider.person(ADA)
        resource = None if kind == "opaque" else API
        token = await asyncio.to_thread(openid_provider.access_token, ADA, resource=resource)
        app = await scene.native()
        for path in PATHS:
            found = told(await app.get(path, headers={"authorization": f"Bearer {token}"}))
            assert found == {
                "identity-id": await identity_of(scene),
                "session-id": "",
                "store": HERE,
                "aal": "",
                "actor": "",
                "email": ADA,
                "email-verified": found["email-verified"],
                "provider": "idp",
                "issuer": openid_provider.issuer,
            }
        assert (await ask(app, token, WHO))["data"] == {"getCurrentCustomer": {"email": ADA}}

    async def test_a_token_counts_in_the_gateways_store_only(
        self, open_shop: OpenShop, openid_provider: OpenIDProvider
    ) -> None:
        scene, token = await open_shop(stores=[HERE]), await token_of(openid_provider)
        app, headers = await scene.native(), {"authorization": f"Bearer {token}"}
        assert (await app.get(f"/forward-auth?store={HERE}", headers=headers)).status_code == 200
        assert (await app.get(f"/forward-auth?store={ELSEWHERE}", headers=headers)).status_code == 401
        assert (await app.get(f"/forward-auth/?store={ELSEWHERE}", headers=headers)).status_code == 200

    async def test_what_vouches_for_nobody_is_nobody(
        self, open_shop: OpenShop, openid_provider: OpenIDProvider
    ) -> None:
        scene, token = await open_shop(), await token_of(openid_provider)
        app = await scene.native()
        guest = (await visit(app))["authorization"]
        application = signed(openid_provider, sub="app", client_id="app", email=None)
        for bearer in (
            f"{token[:-8]}AAAAAAAA",
            guest,
            application,
            signed(openid_provider, aud="https://other.example"),
        ):
            assert await said(app, authorization=f"Bearer {bearer}") == [401, 200], bearer
        assert await said(app, **{"x-session-token": token}) == [401, 200]
        empty = told(await app.get(PATHS[1], headers={"authorization": f"Bearer {guest}"}))
        assert set(empty.values()) == {""}

    async def test_who_may_have_no_identity_is_refused(
        self, open_shop: OpenShop, openid_provider: OpenIDProvider
    ) -> None:
        scene, token = await open_shop(provisioning={"create": False}), await token_of(openid_provider)
        app = await scene.native()
        assert await said(app, authorization=f"Bearer {token}") == [403, 403]

    async def test_row_029_a_disabled_identity_is_no_customer(
        self, open_shop: OpenShop, openid_provider: OpenIDProvider
    ) -> None:
        scene, token = await open_shop(), await token_of(openid_provider)
        app, admin = await scene.native(), await scene.admin()
        assert await said(app, authorization=f"Bearer {token}") == [200, 200]
        off = [{"op": "replace", "path": "/state", "value": "inactive"}]
        assert (await admin.patch(f"/admin/identities/{await identity_of(scene)}", json=off)).status_code == 200
        assert await said(app, authorization=f"Bearer {token}") == [401, 200]

    async def test_a_session_of_ours_comes_first(self, open_shop: OpenShop, openid_provider: OpenIDProvider) -> None:
        scene, token = await open_shop(), await token_of(openid_provider)
        kettle = await scene.native(connector=ELSEWHERE)
        own = await sign_up(kettle, new_address())
        headers = {"cookie": f"ory_kratos_session={own['session_token']}", "authorization": f"Bearer {token}"}
        found = told(await kettle.get(f"/forward-auth?store={ELSEWHERE}", headers=headers))
        assert (found["session-id"], found["provider"], found["issuer"]) == (own["session"]["id"], "", "")

    async def test_no_token_of_a_session_is_made_without_one(
        self, open_shop: OpenShop, openid_provider: OpenIDProvider
    ) -> None:
        """The gateway would leave the visitor's own `Authorization` in place."""
        scene, token = await open_shop(), await token_of(openid_provider)
        app = await scene.native()
        answer = await app.get("/forward-auth?tokenize_as=orders", headers={"authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.headers.get("authorization")) == (403, None)


class TestSessionServers:
    async def test_a_token_and_a_cookie_are_customers(self, in_front_of: InFront) -> None:
        email, shop = new_address(), in_front_of.shop
        app, browser = await shop.native(), await shop.browser()
        token = (await sign_up(app, email))["session_token"]
        by_token: list[Mapping[str, str]] = [{"x-session-token": token}, {"authorization": f"Bearer {token}"}]
        expected = {
            "session-id": "",
            "store": "default",
            "aal": "aal1",
            "actor": "",
            "email": email,
            "email-verified": "false",
            "provider": IDP,
            "issuer": in_front_of.url,
        }
        await app.get("/forward-auth", headers=by_token[0])
        identity = await identity_of(shop)
        for headers in (*by_token, {"cookie": f"ory_kratos_session={token}"}):
            for path in PATHS:
                found = told(await app.get(path, headers=headers))
                assert found == {"identity-id": identity, **expected}
        await browser.sign_up(other := new_address())
        assert told(await browser.get("/forward-auth"))["email"] == other
        assert await shop.rows("sessions") == []

    async def test_a_sign_out_counts_at_once(self, in_front_of: InFront) -> None:
        app = await in_front_of.shop.native()
        token = (await sign_up(app, new_address()))["session_token"]
        assert await said(app, **{"x-session-token": token}) == [200, 200]
        await app.request("DELETE", "/self-service/logout/api", json={"session_token": token})
        assert await said(app, **{"x-session-token": token}) == [401, 200]

    async def test_a_cookie_that_has_ended_hides_no_bearer(self, in_front_of: InFront) -> None:
        app = await in_front_of.shop.native()
        token = (await sign_up(app, new_address()))["session_token"]
        headers = {"cookie": "ory_kratos_session=shk_st_ended", "authorization": f"Bearer {token}"}
        assert await said(app, **headers) == [200, 200]

    async def test_a_session_of_ours_is_not_shown_there(self, in_front_of: InFront) -> None:
        shop = in_front_of.shop
        token = (await sign_up(await shop.native(connector="kettle"), new_address()))["session_token"]
        in_front_of.faults.how = "unavailable"  # a question would be answered with 503
        app = await shop.native()
        for headers in ({"x-session-token": token}, {"authorization": f"Bearer {token}"}):
            assert await said(app, **headers) == [401, 200]

    async def test_an_outage_lets_nobody_through(self, in_front_of: InFront) -> None:
        app = await in_front_of.shop.native()
        token = (await sign_up(app, new_address()))["session_token"]
        in_front_of.faults.how = "unavailable"
        assert await said(app, **{"x-session-token": token}) == [503, 503]
        assert await said(app, **OWN_PAGE) == [401, 200]
