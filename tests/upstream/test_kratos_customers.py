"""Sessions of another server are customers of the store: at the storefront and in GraphQL, by token and by cookie."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import (
    CART,
    ME,
    OTHER_PAGE,
    OWN_PAGE,
    PASSWORD,
    SIGN_UP,
    Browser,
    ask,
    fill_cart,
    new_address,
    sign_in,
    sign_up,
    visit,
)
from tests.conftest import Run
from tests.upstream.kratos_scene import IDP, InFront, in_front

JSON = {"accept": "application/json", "content-type": "application/json"}
KETTLE = {"connector": "kettle"}


@pytest.fixture
async def scene(run: Run, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[InFront]:
    async with in_front(run, tmp_path, clock) as scene:
        yield scene


async def me(client: httpx2.AsyncClient, **headers: str) -> Any:
    """Return who the caller is in GraphQL, or the code of the refusal."""
    answer = (await client.post("/graphql", json={"query": ME}, headers={**JSON, **headers})).json()
    if "errors" in answer:
        return answer["errors"][0]["extensions"]["code"]
    return answer["data"]["getCurrentCustomer"]


class TestTokens:
    async def test_the_servers_token_is_a_customer(self, scene: InFront) -> None:
        app, email = await scene.shop.native(), new_address()
        token = (await sign_up(app, email))["session_token"]
        by_bearer = await me(app, authorization=f"Bearer {token}")
        assert by_bearer["email"] == email
        assert await me(app, **{"x-session-token": token}) == by_bearer
        [identity] = await scene.shop.rows("identities")
        assert by_bearer["id"] in str(identity["id"]) or by_bearer["id"].replace("-", "") in str(identity["id"])
        assert await scene.shop.rows("sessions") == []

    async def test_who_comes_again_is_the_same_customer(self, scene: InFront) -> None:
        app, email = await scene.shop.native(), new_address()
        first = await me(app, authorization=f"Bearer {(await sign_up(app, email))['session_token']}")
        again = (await sign_in(app, email)).json()["session_token"]
        assert await me(app, authorization=f"Bearer {again}") == first
        assert len(await scene.shop.rows("identities")) == 1

    async def test_a_customers_cart_is_there_with_every_session(self, scene: InFront) -> None:
        app, email = await scene.shop.native(), new_address()
        cart = await fill_cart(app, (await sign_up(app, email))["session_token"], quantity=2)
        again = (await sign_in(app, email)).json()["session_token"]
        assert (await ask(app, again, CART, id=cart))["data"]["getCart"]["totalQuantity"] == 2

    async def test_a_sign_out_through_us_counts_at_once(self, scene: InFront) -> None:
        app = await scene.shop.native()
        token = (await sign_up(app, new_address()))["session_token"]
        assert await me(app, authorization=f"Bearer {token}")
        await app.request("DELETE", "/self-service/logout/api", json={"session_token": token})
        assert await me(app, authorization=f"Bearer {token}") == "UNAUTHENTICATED"

    async def test_a_sign_out_there_counts_within_the_ceiling(self, scene: InFront) -> None:
        app = await scene.shop.native()
        token = (await sign_up(app, new_address()))["session_token"]
        assert await me(app, authorization=f"Bearer {token}")
        async with httpx2.AsyncClient(base_url=scene.url) as direct:
            gone = await direct.request("DELETE", "/self-service/logout/api", json={"session_token": token})
            assert gone.status_code == 204
        scene.shop.clock.advance(seconds=10)
        assert await me(app, authorization=f"Bearer {token}") == "UNAUTHENTICATED"

    async def test_a_token_counts_in_the_stores_that_take_it_only(self, scene: InFront) -> None:
        app = await scene.shop.native()
        token = (await sign_up(app, new_address()))["session_token"]
        assert await me(app, authorization=f"Bearer {token}", **KETTLE) == "UNAUTHENTICATED"

    async def test_a_token_of_ours_counts_in_its_own_store_only(self, scene: InFront) -> None:
        kettle = await scene.shop.native(**KETTLE)
        token = (await sign_up(kettle, new_address()))["session_token"]
        assert (await me(kettle, authorization=f"Bearer {token}"))["email"]
        assert await me(await scene.shop.native(), authorization=f"Bearer {token}") == "TOKEN_INVALID"

    async def test_a_switched_off_identity_is_no_customer(self, scene: InFront) -> None:
        app, admin = await scene.shop.native(), await scene.shop.admin()
        token = (await sign_up(app, new_address()))["session_token"]
        known = await me(app, authorization=f"Bearer {token}")
        off = [{"op": "replace", "path": "/state", "value": "inactive"}]
        assert (await admin.patch(f"/admin/identities/{known['id']}", json=off)).status_code == 200
        assert isinstance(await me(app, authorization=f"Bearer {token}"), str)


class TestCookies:
    async def test_the_cookie_that_was_passed_on_is_a_customer(self, scene: InFront) -> None:
        browser, email = await scene.shop.browser(), new_address()
        await browser.sign_up(email)
        assert (await me(browser, **OWN_PAGE))["email"] == email

    async def test_a_page_of_another_site_cannot_use_it(self, scene: InFront) -> None:
        browser = await scene.shop.browser()
        await browser.sign_up(new_address())
        assert await me(browser, **OTHER_PAGE) == "FORBIDDEN"

    async def test_a_cookie_of_the_server_itself_is_a_customer(self, scene: InFront) -> None:
        email = new_address()
        async with Browser(base_url=scene.url, headers={"accept": "application/json"}) as there:
            await there.sign_up(email)
            value = there.session_cookie
        app = await scene.shop.native(cookie=f"ory_kratos_session={value}")
        assert (await me(app))["email"] == email

    async def test_a_cookie_that_has_ended_is_ignored(self, scene: InFront) -> None:
        app = await scene.shop.native(cookie="ory_kratos_session=shk_st_ended")
        assert await me(app) == "UNAUTHENTICATED"
        assert (await app.post("/signin", json={})).status_code == 200


async def test_an_outage_makes_nobody_a_guest(run: Run, tmp_path: Path, clock: StoppedClock) -> None:
    gone = "http://127.0.0.1:9"
    async with in_front(
        run,
        tmp_path,
        clock,
        provider={"public_url": gone},
        clients={"http": {"private_ip_exception_urls": [f"{gone}/**"]}},
    ) as dark:
        app = await dark.shop.native()
        assert await me(app, authorization="Bearer shk_st_unknown") == "SESSION_SERVER_UNAVAILABLE"
        assert await me(app, cookie="ory_kratos_session=shk_st_unknown") == "SESSION_SERVER_UNAVAILABLE"
        guest = (await visit(app))["authorization"]
        assert await me(app, authorization=f"Bearer {guest}") is None


async def test_whom_the_shop_does_not_take_is_told(run: Run, tmp_path: Path, clock: StoppedClock) -> None:
    async with in_front(run, tmp_path, clock, provider={"provisioning": {"create": False}}) as scene:
        app = await scene.shop.native()
        token = (await sign_up(app, new_address()))["session_token"]
        assert await me(app, authorization=f"Bearer {token}") == "FORBIDDEN"
        assert await scene.shop.rows("identities") == []


def test_the_provider_is_named(scene: InFront) -> None:
    assert [*scene.shop.application.accounts.session_servers.sessions] == [IDP]


async def test_no_account_of_this_server_is_made_for_the_store(scene: InFront) -> None:
    app = await scene.shop.native()
    guest = (await visit(app))["authorization"]
    answer = await ask(app, guest, SIGN_UP, i={"email": new_address(), "password": PASSWORD})
    assert answer["errors"][0]["extensions"]["code"] == "SELF_SERVICE_FLOW_DISABLED"
    assert await scene.shop.rows("identities") == []
    by_password = await app.post("/signin", json={"username": "ada@example.org", "password": PASSWORD})
    assert by_password.status_code == 400


class TestSigningIn:
    """`POST /signin` with the server's token gives a session of ours."""

    async def signed_in(self, scene: InFront) -> tuple[httpx2.AsyncClient, str, str]:
        app, email = await scene.shop.native(), new_address()
        theirs = (await sign_up(app, email))["session_token"]
        given = await visit(app, authHint={"token": theirs})
        assert given["customer"]["email"] == email
        return app, theirs, given["authorization"]

    async def test_the_guests_cart_becomes_the_customers(self, scene: InFront) -> None:
        app = await scene.shop.native()
        guest = (await visit(app))["authorization"]
        cart = await fill_cart(app, guest, quantity=3)
        theirs = (await sign_up(app, new_address()))["session_token"]
        hint = {"token": theirs, "oldCartId": cart}
        answer = await app.post("/signin", json={"authHint": hint}, headers={"authorization": f"Bearer {guest}"})
        assert answer.status_code == 200, answer.text
        merged = answer.json()["cart"]["id"]
        for token in (answer.json()["authorization"], theirs):
            found = await ask(app, token, CART, id=merged)
            assert found["data"]["getCart"]["totalQuantity"] == 3

    async def test_the_session_is_ours_and_used_everywhere(self, scene: InFront) -> None:
        app, theirs, ours = await self.signed_in(scene)
        assert ours != theirs
        known = await app.get("/sessions/whoami", headers={"x-session-token": ours})
        assert known.json()["authentication_methods"][0]["provider"] == IDP
        assert (await me(app, authorization=f"Bearer {ours}"))["email"]

    async def test_it_ends_with_the_session_there(self, scene: InFront) -> None:
        app, theirs, ours = await self.signed_in(scene)
        async with httpx2.AsyncClient(base_url=scene.url) as direct:
            await direct.request("DELETE", "/self-service/logout/api", json={"session_token": theirs})
        scene.shop.clock.advance(seconds=10)
        assert (await app.get("/sessions/whoami", headers={"x-session-token": ours})).status_code == 401
        assert await me(app, authorization=f"Bearer {ours}") == "UNAUTHENTICATED"
        [row] = await scene.shop.rows("sessions")
        assert row["revoked_at"] is not None

    async def test_it_cannot_be_refreshed_beyond_that(self, scene: InFront) -> None:
        app, theirs, ours = await self.signed_in(scene)
        await app.request("DELETE", "/self-service/logout/api", json={"session_token": theirs})
        answer = await app.post("/signin", json={"type": "refresh"}, headers={"authorization": f"Bearer {ours}"})
        assert answer.status_code == 403

    async def test_a_sign_out_through_us_ends_it_at_once(self, scene: InFront) -> None:
        app, theirs, ours = await self.signed_in(scene)
        assert (await me(app, authorization=f"Bearer {ours}"))["email"]
        await app.request("DELETE", "/self-service/logout/api", json={"session_token": theirs})
        assert await me(app, authorization=f"Bearer {ours}") == "UNAUTHENTICATED"

    async def test_signing_out_here_signs_out_there(self, scene: InFront) -> None:
        app, theirs, ours = await self.signed_in(scene)
        assert (await app.post("/signout", json={}, headers={"authorization": f"Bearer {ours}"})).status_code == 200
        async with httpx2.AsyncClient(base_url=scene.url) as direct:
            there = await direct.get("/sessions/whoami", headers={"x-session-token": theirs})
            assert there.status_code == 401

    async def test_the_servers_own_token_signs_out_too(self, scene: InFront) -> None:
        app = await scene.shop.native()
        theirs = (await sign_up(app, new_address()))["session_token"]
        assert (await me(app, authorization=f"Bearer {theirs}"))["email"]
        assert (await app.post("/signout", json={}, headers={"authorization": f"Bearer {theirs}"})).status_code == 200
        assert await me(app, authorization=f"Bearer {theirs}") == "UNAUTHENTICATED"

    async def test_the_published_client_sends_a_user_s_id_and_an_empty_password_beside_it(self, scene: InFront) -> None:
        app = await scene.shop.native()
        theirs = await sign_up(app, email := new_address())
        hint = {"token": theirs["session_token"]}
        given = await visit(app, username=theirs["identity"]["id"], password="", authHint=hint)
        known = await app.get("/sessions/whoami", headers={"x-session-token": given["authorization"]})
        assert known.json()["identity"]["traits"]["email"] == email

    async def test_what_is_no_token_of_the_server_signs_nobody_in(self, scene: InFront) -> None:
        app = await scene.shop.native()
        unknown = await app.post("/signin", json={"authHint": {"token": "shk_st_unknown"}})
        assert unknown.status_code == 401
        other = await app.post("/signin", json={"authHint": {"token": "x"}})
        assert other.status_code == 400
        both = await app.post("/signin", json={"username": "a", "password": "b", "authHint": {"token": "shk_st_x"}})
        assert both.status_code == 400
        elsewhere = await app.post("/signin", json={"authHint": {"token": "shk_st_x"}}, headers=KETTLE)
        assert elsewhere.status_code == 400


async def test_row_036_who_must_be_verified_is_refused_as_at_a_sign_in(
    run: Run, tmp_path: Path, clock: StoppedClock
) -> None:
    """The session server lets an unverified person in; this shop asks for a verified address."""
    required = {"login": {"after": {"oidc": {"hooks": [{"hook": "require_verified_address"}]}}}}
    async with in_front(
        run, tmp_path, clock, selfservice={"flows": {**required, "verification": {"enabled": True}}}
    ) as scene:
        app = await scene.shop.native()
        token = (await sign_up(app, new_address()))["session_token"]
        assert await me(app, authorization=f"Bearer {token}") == "VERIFIED_ADDRESS_REQUIRED"
        assert await me(app, cookie=f"ory_kratos_session={token}") == "VERIFIED_ADDRESS_REQUIRED"
        for shown in ({}, {"authorization": f"Bearer {token}"}, {"cookie": f"ory_kratos_session={token}"}):
            answer = await app.post("/signin", json={"authHint": {"token": token}}, headers=shown)
            refused = answer.json()["errors"][0]["extensions"]
            assert refused["code"] == "VERIFIED_ADDRESS_REQUIRED"
            assert refused["continue_with"]
        assert await scene.shop.rows("sessions") == []


class TestSigningOutByCookie:
    """`POST /signout` with the server's cookie ends the session there."""

    async def test_the_cookie_signs_out_there(self, scene: InFront) -> None:
        browser = await scene.shop.browser()
        await browser.sign_up(new_address())
        assert (await me(browser, **OWN_PAGE))["email"]
        assert (await browser.post("/signout", json={}, headers=OWN_PAGE)).status_code == 200
        assert await me(browser, **OWN_PAGE) is None
        assert [row["revoked_at"] is None for row in await scene.remote.rows("sessions")] == [False]

    async def test_a_page_of_another_site_signs_nobody_out(self, scene: InFront) -> None:
        browser = await scene.shop.browser()
        await browser.sign_up(new_address())
        await browser.post("/signout", json={}, headers=OTHER_PAGE)
        assert (await me(browser, **OWN_PAGE))["email"]

    async def test_it_is_ended_beside_a_session_of_ours_too(self, scene: InFront) -> None:
        """Otherwise the browser would go on as the customer of the cookie."""
        browser, app, email = await scene.shop.browser(), await scene.shop.native(), new_address()
        await browser.sign_up(email)
        theirs = (await sign_in(app, email)).json()["session_token"]
        signed_in = await browser.post("/signin", json={"authHint": {"token": theirs}}, headers=OWN_PAGE)
        assert signed_in.json()["customer"]["email"] == email
        assert (await browser.post("/signout", json={}, headers=OWN_PAGE)).status_code == 200
        assert await me(browser, **OWN_PAGE) is None

    async def test_an_outage_there_does_not_keep_anybody_signed_in_here(self, scene: InFront) -> None:
        app, email = await scene.shop.native(), new_address()
        theirs = (await sign_up(app, email))["session_token"]
        browser = await scene.shop.browser()
        await browser.post("/signin", json={"authHint": {"token": theirs}}, headers=OWN_PAGE)
        scene.faults.how = "unavailable"
        assert (await browser.post("/signout", json={}, headers=OWN_PAGE)).status_code == 200
        assert await me(browser, **OWN_PAGE) is None
