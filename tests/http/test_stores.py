"""Stores and tenants on every route: which store a request is for, and what may not cross from one to another."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.attacks.scene import (
    ADDRESS,
    APP,
    CART,
    FIRST,
    ME,
    OTHER_PAGE,
    OWN_PAGE,
    PASSWORD,
    Browser,
    Scene,
    ask,
    fill_cart,
    new_address,
    set_cookies,
    sign_up,
    visit,
)
from tests.http.conftest import Opening

STORES = {
    "stores": [
        {"id": "kettle"},
        {"id": "quince", "tenants": ["eu", "us"], "hosts": ["quince.test"]},
    ],
    "default_store": "kettle",
}
JSON = {"accept": "application/json"}
EU = {"connector": "quince", "br-acct-env": "eu"}
SIBLING = {"origin": APP, "sec-fetch-site": "same-site"}
US = {"connector": "quince", "br-acct-env": "us"}


@pytest.fixture
async def shops(opening: Opening, dsn: str) -> AsyncIterator[Scene]:
    async with opening(dsn, **STORES) as scene:
        yield scene


async def code_at(scene: Scene, token: str, **headers: str) -> str | None:
    app = await scene.native(**headers)
    told = await ask(app, token, CART)
    return str(told["errors"][0]["extensions"]["code"]) if "errors" in told else None


async def go_through(browser: Browser, kind: str, query: str, fields: dict[str, Any]) -> Any:
    """Complete a self-service flow whose first address may name a store; later requests name it only by the flow."""
    answer = await browser.send_flow(await browser.open_flow(kind, query), fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def guest_with_cart(browser: Browser, **headers: str) -> str:
    """Begin a visit by cookie, as the shop's own pages do, and fill a cart; return its id."""
    own = {**OWN_PAGE, **headers}
    answer = await browser.post("/signin", json={}, headers=own)
    first = await _asked(browser, FIRST, own)
    item = first["findItemsByKeyword"]["items"][0]["variants"][0]["itemId"]["id"]
    added = await _asked(
        browser, f'mutation {{ addToCart(addToCartInput: {{itemId: "{item}"}}) {{ cart {{ id }} }} }}', own
    )
    assert answer.status_code == 200
    return str(added["addToCart"]["cart"]["id"])


async def _asked(browser: Browser, query: str, headers: dict[str, str]) -> Any:
    told = (await browser.post("/graphql", json={"query": query}, headers=headers)).json()
    assert "errors" not in told, told
    return told["data"]


class TestTenants:
    """A tenant is a store of its own. Regression: tenants shared everything but the guests."""

    async def test_a_session_of_one_tenant_is_invalid_at_another(self, shops: Scene) -> None:
        eu, email = await shops.native(**EU), new_address()
        await sign_up(eu, email)
        token = (await visit(eu, username=email, password=PASSWORD))["authorization"]
        assert await code_at(shops, token, **EU) is None
        assert await code_at(shops, token, **US) == "TOKEN_INVALID"

    async def test_a_guest_of_one_tenant_is_invalid_at_another(self, shops: Scene) -> None:
        guest = (await visit(await shops.native(**EU)))["authorization"]
        assert await code_at(shops, guest, **EU) is None
        assert await code_at(shops, guest, **US) == "TOKEN_INVALID"

    async def test_a_customer_has_a_cart_in_each_tenant(self, shops: Scene) -> None:
        eu, us, email = await shops.native(**EU), await shops.native(**US), new_address()
        await sign_up(eu, email)
        tokens = [(await visit(app, username=email, password=PASSWORD))["authorization"] for app in (eu, us)]
        cart = await fill_cart(eu, tokens[0])
        assert (await ask(eu, tokens[0], CART))["data"]["getCart"]["id"] == cart
        assert (await ask(us, tokens[1], CART))["data"]["getCart"] is None
        foreign = await ask(us, tokens[1], CART, id=cart)
        assert foreign["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        assert {row["store"] for row in await shops.rows("customers")} == {"quince@eu", "quince@us"}

    @pytest.mark.parametrize("named", [{"connector": "quince"}, {"connector": "quince", "br-acct-env": ""}])
    async def test_a_request_that_names_no_tenant_is_for_the_first(self, shops: Scene, named: dict[str, str]) -> None:
        """The published client sends an empty name when it begins anew, so that must work."""
        guest = (await visit(await shops.native(**named)))["authorization"]
        assert await code_at(shops, guest, **EU) is None

    @pytest.mark.parametrize(
        "named",
        [{"connector": "quince@eu"}, {"connector": "quince", "br-acct-env": "mars"}, {"br-acct-env": "eu"}],
        ids=["by the id within", "an unknown one", "none of the default store's"],
    )
    async def test_an_unknown_tenant_is_refused(self, shops: Scene, named: dict[str, str]) -> None:
        answer = await (await shops.native(**named)).post("/signin", json={})
        assert answer.json()["errors"][0]["extensions"]["code"] == "STORE_UNKNOWN"


class TestBrowserFlows:
    """A browser that opens a page sends no header that names a store, so the address names it."""

    @pytest.mark.parametrize("kind", ["registration", "login"])
    async def test_the_cart_of_a_named_store_comes_along(self, shops: Scene, kind: str) -> None:
        """Regression: the flow belonged to the default store, where the guest was unknown, so the cart was left
        behind."""
        email, browser = new_address(), await shops.browser()
        if kind == "login":
            await sign_up(await shops.native(**US), email)
        cart = await guest_with_cart(browser, **US)
        fields = {"identifier": email, "password": PASSWORD, "traits": {"email": email}}
        told = await go_through(browser, kind, "?store=quince&tenant=us", fields)
        assert told["cart"] == {**told["cart"], "id": cart, "outcome": "adopted"}
        assert (await _asked(browser, ME, {**OWN_PAGE, **US}))["getCurrentCustomer"]["email"] == email
        session = (await shops.rows("sessions"))[-1]
        assert session["store"] == "quince@us"

    async def test_the_form_is_sent_to_the_store_it_was_opened_for(self, shops: Scene) -> None:
        browser = await shops.browser()
        flow = await browser.open_flow("login", "?store=quince&tenant=us")
        assert flow["ui"]["action"] == f"{ADDRESS}/self-service/login?flow={flow['id']}&store=quince&tenant=us"
        page = (await browser.get(f"/login?flow={flow['id']}")).text
        assert "store=quince&amp;tenant=us" in page

    async def test_a_client_that_no_longer_names_the_store_ends_in_that_of_the_flow(self, shops: Scene) -> None:
        email, browser = new_address(), await shops.browser()
        await sign_up(await shops.native(**US), email)
        cart = await guest_with_cart(browser, **US)
        flow = await browser.open_flow("login", "?store=quince&tenant=us")
        flow["ui"]["action"] = f"/self-service/login?flow={flow['id']}"
        answer = await browser.send_flow(flow, {"identifier": email, "password": PASSWORD})
        assert answer.json()["cart"]["id"] == cart

    async def test_a_session_of_another_store_is_no_session_here(self, shops: Scene) -> None:
        """Regression: the login of one shop said 'already signed in', while its GraphQL knew no session."""
        browser = await shops.browser()
        await browser.sign_up(new_address())
        again = await browser.get("/self-service/login/browser", headers=JSON)
        assert again.json()["error"]["id"] == "session_already_available"
        assert (await browser.open_flow("login", "?store=quince"))["type"] == "browser"
        link = await browser.get("/self-service/logout/browser", headers=JSON)
        assert link.status_code == 200

    async def test_a_session_of_another_store_ends_where_its_cookie_is_replaced(self, shops: Scene) -> None:
        browser, email = await shops.browser(), new_address()
        await browser.sign_up(email)
        former = browser.session_cookie or ""
        await go_through(browser, "login", "?store=quince", {"identifier": email, "password": PASSWORD})
        asked = await (await shops.native()).get("/sessions/whoami", headers={"x-session-token": former})
        assert asked.status_code == 401

    @pytest.mark.parametrize("named", ["store=quince", "store=kettle", "store=quince&tenant=us"])
    async def test_row_047_no_link_signs_out_without_the_sessions_token(self, shops: Scene, named: str) -> None:
        """Regression: a link that named another store deleted the cookie, and left the session valid for a holder of
        its token."""
        browser, email = await shops.browser(), new_address()
        await browser.sign_up(email)
        token = browser.session_cookie or ""
        page = {"accept": "text/html", "sec-fetch-site": "cross-site"}
        await browser.get(f"/self-service/logout?{named}", headers=page)
        assert browser.session_cookie == token
        link = (await browser.get("/self-service/logout/browser", headers=JSON)).json()["logout_url"]
        assert (await browser.get(f"{link}&{named}", headers=JSON)).status_code == 204
        asked = await (await shops.native()).get("/sessions/whoami", headers={"x-session-token": token})
        assert asked.status_code == 401

    async def test_an_expired_form_leads_to_one_of_the_same_store(self, shops: Scene) -> None:
        browser = await shops.browser()
        flow = await browser.open_flow("login", "?store=quince&tenant=us")
        shops.clock.advance(hours=2)
        told = await browser.get(f"/self-service/login/flows?id={flow['id']}", headers=JSON)
        assert told.json()["error"]["details"]["redirect_to"].endswith("/login/browser?store=quince&tenant=us")
        page = await browser.get(f"/login?flow={flow['id']}", headers={"accept": "text/html"})
        assert page.headers["location"].endswith("/self-service/login/browser?store=quince&tenant=us")


class TestOwnSessions:
    async def test_own_sessions_are_not_shown_at_another_store(self, shops: Scene) -> None:
        token = (await sign_up(await shops.native(**EU), new_address()))["session_token"]
        statuses = []
        for named in (EU, US, {"connector": "kettle"}, {"host": "quince.test"}, {}):
            app = await shops.native(**named)
            statuses.append((await app.get("/sessions", headers={"x-session-token": token})).status_code)
        assert statuses == [200, 401, 401, 200, 200]


class TestWhoAmI:
    """Regression: a gateway in front of one store let in callers with a session of another."""

    async def test_knows_a_session_at_its_own_store(self, shops: Scene) -> None:
        token = (await sign_up(await shops.native(**EU), new_address()))["session_token"]
        asked: list[dict[str, str]] = [{}, EU, {"connector": "quince", "br-acct-env": ""}, {"host": "quince.test"}]
        for named in asked:
            answer = await (await shops.native(**named)).get("/sessions/whoami", headers={"x-session-token": token})
            assert (answer.status_code, answer.headers["x-shopkeeper-store"]) == (200, "quince@eu")

    async def test_knows_no_session_of_another_store(self, shops: Scene) -> None:
        token = (await sign_up(await shops.native(**EU), new_address()))["session_token"]
        elsewhere: list[dict[str, str]] = [US, {"connector": "kettle"}, {"connector": "nowhere"}, {"br-acct-env": "eu"}]
        for named in elsewhere:
            answer = await (await shops.native(**named)).get("/sessions/whoami", headers={"x-session-token": token})
            assert (answer.status_code, "x-shopkeeper-store" in answer.headers) == (401, False)


class TestVisitCookies:
    async def test_a_visit_to_one_store_leaves_that_to_another(self, shops: Scene) -> None:
        """Regression: they had one name on one host, so the second shop's guest replaced the first one's."""
        browser = await shops.browser()
        carts = [await guest_with_cart(browser, **named) for named in ({}, EU, US)]
        names = {name.removeprefix("__Host-") for name in browser.cookies}
        assert names == {"shopkeeper_visit", "shopkeeper_visit_quince~eu", "shopkeeper_visit_quince~us"}
        for cart, named in zip(carts, ({}, EU, US), strict=True):
            assert (await _asked(browser, "{ getCart { id } }", {**OWN_PAGE, **named}))["getCart"]["id"] == cart

    @pytest.mark.parametrize(
        ("headers", "given"),
        [
            ({"origin": ADDRESS}, True),  # over plain http browsers send no other header about the origin of a page
            ({"origin": "https://evil.test"}, False),
            ({"origin": ADDRESS, "sec-fetch-site": "cross-site"}, False),
            ({"origin": ADDRESS, "sec-fetch-site": "none"}, False),
            ({}, False),
        ],
    )
    async def test_are_given_to_our_own_pages_over_plain_http_too(
        self, shops: Scene, headers: dict[str, str], given: bool
    ) -> None:
        """Browsers send `Sec-Fetch-Site` only over TLS and to localhost. Regression: all other pages got no cookie."""
        answer = await (await shops.native(**headers)).post("/signin", json={})
        assert ("shopkeeper_visit" in set_cookies(answer)) is given


class TestTrustedSiblings:
    """A page of an allowed origin, which acts with our cookies."""

    @pytest.fixture
    async def scene(self, opening: Opening, dsn: str) -> AsyncIterator[Scene]:
        cors = {"cors": {"enabled": True, "allowed_origins": [APP]}}
        refresh = {"tokens": {"refresh": {"enabled": True}}}
        async with opening(dsn, serve={"public": cors}, **refresh) as scene:
            yield scene

    async def test_a_page_that_refreshes_by_cookie_gets_the_new_one(self, scene: Scene) -> None:
        """Regression: the token was replaced and the browser kept the old one, which ended the session after its
        window."""
        browser = await scene.browser()
        await browser.sign_up(new_address())
        before = browser.session_cookie
        answer = await browser.post("/signin", json={"type": "refresh"}, headers=SIBLING)
        assert answer.status_code == 200
        assert browser.session_cookie == answer.json()["authorization"] != before

    async def test_a_page_that_signs_out_by_cookie_loses_it(self, scene: Scene) -> None:
        browser = await scene.browser()
        await browser.sign_up(new_address())
        await browser.post("/signout", json={}, headers=SIBLING)
        assert browser.session_cookie is None

    async def test_a_page_that_came_without_cookies_gets_none(self, scene: Scene) -> None:
        browser = await scene.browser()
        answer = await browser.post("/signin", json={}, headers=SIBLING)
        assert set_cookies(answer) == {}


class TestBearers:
    async def test_a_guests_bearer_acts_for_the_guest_beside_a_session_cookie(self, opening: Opening, dsn: str) -> None:
        """Regression: the published client always sends its bearer token, but acted as the identity of the host's
        cookie."""
        async with opening(dsn) as scene:
            browser = await scene.browser()
            await browser.sign_up(new_address())
            guest = (await visit(await scene.native()))["authorization"]
            headers = {**OTHER_PAGE, "authorization": f"Bearer {guest}"}
            told = (await browser.post("/graphql", json={"query": ME}, headers=headers)).json()
            assert told == {"data": {"getCurrentCustomer": None}}

    @pytest.mark.parametrize("path", ["/signin", "/signout"])
    async def test_a_session_whose_cookie_is_replaced_behind_a_bearer_ends(
        self, opening: Opening, dsn: str, path: str
    ) -> None:
        async with opening(dsn) as scene:
            browser, email = await scene.browser(), new_address()
            await browser.sign_up(email)
            former = browser.session_cookie or ""
            guest = (await visit(await scene.native()))["authorization"]
            body = {"username": email, "password": PASSWORD} if path == "/signin" else {}
            answer = await browser.post(path, json=body, headers={**OWN_PAGE, "authorization": f"Bearer {guest}"})
            assert answer.status_code == 200
            asked = await (await scene.native()).get("/sessions/whoami", headers={"x-session-token": former})
            assert asked.status_code == 401
