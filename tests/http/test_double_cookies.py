"""Cookies that come several times: after a change of `cookies.domain` or `cookies.path`, or planted by a neighbour."""

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from itertools import permutations
from typing import Any

import httpx2
import pytest

from shopkeeper.http.cookies import CookiePolicy, names_in
from tests.attacks.scene import ADDRESS, ME, OWN_PAGE, PASSWORD, Scene, csrf_of, fill_cart, new_address, sign_up, visit
from tests.http.conftest import Opening

JSON = {"accept": "application/json"}
SESSION, VISIT = "ory_kratos_session", "__Host-shopkeeper_visit"
DEAD = "shk_st_" + "d" * 43
CART = "{ getCart { id } }"


@pytest.fixture
async def scene(opening: Opening, sqlite_dsn: str) -> AsyncIterator[Scene]:
    async with opening(sqlite_dsn, tokens={"refresh": {"enabled": True}}) as scene:
        yield scene


def sent(name: str, *values: str, further: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the header of a browser that has a cookie in several places."""
    pairs = [*((name, value) for value in values), *(further or {}).items()]
    return {"cookie": "; ".join(f"{name}={value}" for name, value in pairs)}


def deleted(answer: httpx2.Response, name: str = SESSION) -> set[tuple[str | None, str]]:
    """Return the places where an answer deletes a cookie."""
    places = set()
    for line in answer.headers.get_list("set-cookie"):
        if line.startswith(f"{name}=;"):
            assert "Max-Age=0" in line
            parts = dict(part.partition("=")[::2] for part in line.split("; ")[1:])
            places.add((parts.get("Domain"), parts["Path"]))
    return places


async def token_of(scene: Scene, email: str) -> str:
    return str((await sign_up(await scene.native(), email))["session_token"])


class TestSessions:
    @pytest.mark.parametrize("place", range(3))
    async def test_exactly_one_that_is_valid_counts(self, scene: Scene, place: int) -> None:
        """Regression: a dead cookie beside the live one was a 401, and then a 403, for a year."""
        email = new_address()
        values = [DEAD, f"{DEAD[:-1]}e"]
        values.insert(place, await token_of(scene, email))
        app, cookies = await scene.native(), sent(SESSION, *values)
        whoami = await app.get("/sessions/whoami", headers=cookies)
        assert whoami.json()["identity"]["traits"]["email"] == email
        assert "set-cookie" not in whoami.headers
        assert (await app.get("/sessions", headers=cookies)).status_code == 200
        mine = await app.post("/graphql", json={"query": ME}, headers={**cookies, **OWN_PAGE})
        assert mine.json()["data"]["getCurrentCustomer"]["email"] == email
        fresh = await app.post("/signin", json={"type": "refresh"}, headers={**cookies, **OWN_PAGE})
        assert fresh.json()["customer"]["email"] == email

    async def test_two_of_different_identities_are_nobody_and_deleted(self, scene: Scene) -> None:
        tokens = [await token_of(scene, new_address()) for _ in range(2)]
        app, before = await scene.native(), await scene.rows("sessions")
        for order in permutations(tokens):
            cookies = sent(SESSION, *order, DEAD)
            for path in ("/sessions/whoami", "/sessions/whoami/", "/sessions"):
                answer = await app.get(path, headers=cookies)
                assert answer.status_code == 401
                assert deleted(answer) == {(None, "/"), ("shop.test", "/")}
            mine = await app.post("/graphql", json={"query": ME}, headers={**cookies, **OWN_PAGE})
            assert mine.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
            assert deleted(mine) == {(None, "/"), ("shop.test", "/")}
        assert await scene.rows("sessions") == before, "whoever planted one ends nobody's session"

    @pytest.mark.parametrize("live", [False, True])
    async def test_more_than_are_looked_at_do_not_stay(self, scene: Scene, live: bool) -> None:
        """Regression: dead cookies hid the live one behind them for as long as a browser kept them."""
        dead = [f"{DEAD[:-1]}{letter}" for letter in "abcdef"]
        cookies = sent(SESSION, *dead, *([await token_of(scene, new_address())] if live else []))
        answer = await (await scene.native()).get("/sessions/whoami", headers=cookies)
        assert answer.status_code == 401
        assert deleted(answer) == {(None, "/"), ("shop.test", "/")}

    async def test_two_of_different_identities_leave_a_token_in_a_header_alone(self, scene: Scene) -> None:
        emails = [new_address() for _ in range(3)]
        tokens = [await token_of(scene, email) for email in emails]
        headers = {**sent(SESSION, *tokens[:2]), "authorization": f"Bearer {tokens[2]}"}
        answer = await (await scene.native()).get("/sessions/whoami", headers=headers)
        assert answer.json()["identity"]["traits"]["email"] == emails[2]

    async def test_of_several_of_one_identity_the_last_authenticated_counts(self, scene: Scene) -> None:
        email = new_address()
        first = await token_of(scene, email)
        scene.clock.advance(minutes=1)
        second = (await visit(await scene.native(), username=email, password=PASSWORD))["authorization"]
        app = await scene.native()
        [last] = {(await app.get("/sessions/whoami", headers={"x-session-token": second})).json()["id"]}
        for order in permutations((first, second, DEAD)):
            answer = await app.get("/sessions/whoami", headers=sent(SESSION, *order))
            assert answer.json()["id"] == last

    @pytest.mark.parametrize("way", ["by link", "from the storefront"])
    async def test_of_one_identity_all_end_when_it_signs_out(self, scene: Scene, way: str) -> None:
        email = new_address()
        tokens = [await token_of(scene, email)]
        tokens.append((await visit(await scene.native(), username=email, password=PASSWORD))["authorization"])
        app, cookies = await scene.native(), sent(SESSION, *tokens)
        if way == "by link":
            link = await app.get("/self-service/logout/browser", headers={**JSON, **cookies})
            answer = await app.get(link.json()["logout_url"], headers={**JSON, **cookies})
            assert answer.status_code == 204
        else:
            answer = await app.post("/signout", json={}, headers={**cookies, **OWN_PAGE})
            assert answer.status_code == 200
        assert deleted(answer) == {(None, "/"), ("shop.test", "/")}
        for token in tokens:
            assert (await app.get("/sessions/whoami", headers={"x-session-token": token})).status_code == 401

    async def test_signing_in_replaces_them_all(self, scene: Scene) -> None:
        email = new_address()
        await token_of(scene, email)
        app, cookies = await scene.native(), sent(SESSION, DEAD, f"{DEAD[:-1]}e")
        answer = await app.post(
            "/signin", json={"username": email, "password": PASSWORD}, headers={**cookies, **OWN_PAGE}
        )
        lines = [line for line in answer.headers.get_list("set-cookie") if line.startswith(f"{SESSION}=")]
        assert deleted(answer) == {("shop.test", "/")}
        assert re.fullmatch(rf"{SESSION}=shk_st_[\w-]+", lines[-1].split(";")[0]), "what is set now comes last"

    async def test_a_bounded_number_of_them_is_looked_at(self, scene: Scene) -> None:
        token, app = await token_of(scene, new_address()), await scene.native()
        several = [f"shk_st_{digit * 43}" for digit in "abc"]
        statuses = [
            (await app.get("/sessions/whoami", headers=sent(SESSION, *values))).status_code
            for values in ((*several, token), (*several, DEAD, token))
        ]
        assert statuses == [200, 401]


class TestForms:
    @pytest.fixture
    async def shared(self, opening: Opening, sqlite_dsn: str) -> AsyncIterator[Scene]:
        """An application whose cookies belong to a domain, so that they have no prefix."""
        async with opening(sqlite_dsn, cookies={"domain": "shop.test"}) as scene:
            yield scene

    @pytest.mark.parametrize("first", [True, False])
    async def test_a_form_is_sent_beside_a_dead_anti_csrf_cookie(
        self, opening: Opening, sqlite_dsn: str, first: bool
    ) -> None:
        """With a domain the cookie has no prefix, so that it can come twice."""
        async with opening(sqlite_dsn, cookies={"domain": "shop.test"}) as scene:
            browser, email = await scene.browser(), new_address()
            await sign_up(await scene.native(), email)
            flow = await browser.open_flow("login")
            [(name, value)] = [pair for pair in browser.cookies.items() if pair[0].startswith("csrf_token_")]
            other = "A" * 43
            headers = {**JSON, **sent(name, *((other, value) if first else (value, other)))}
            app = await scene.native()
            shown = (await app.get(f"/self-service/login/flows?id={flow['id']}", headers=headers)).json()
            body = {"method": "password", "identifier": email, "password": PASSWORD, "csrf_token": csrf_of(shown)}
            answer = await app.post(flow["ui"]["action"], json=body, headers=headers)
            assert answer.status_code == 200, answer.text
            assert deleted(answer, name) == {(None, "/")}

    async def test_a_form_opened_with_two_of_them_is_taken_with_two_of_them(self, shared: Scene) -> None:
        email = new_address()
        await sign_up(await shared.native(), email)
        name = CookiePolicy(f"{ADDRESS}/", domain="shop.test").csrf_name
        app, headers = await shared.native(), {**JSON, **sent(name, "A" * 43, "E" * 43, "broken")}
        flow = (await app.get("/self-service/login/browser", headers=headers)).json()
        body = {"method": "password", "identifier": email, "password": PASSWORD, "csrf_token": csrf_of(flow)}
        assert (await app.post(flow["ui"]["action"], json=body, headers=headers)).status_code == 200

    async def test_row_038_one_that_browsers_keep_once_is_worth_nothing_twice(self, scene: Scene) -> None:
        name = CookiePolicy(f"{ADDRESS}/").csrf_name
        app, headers = await scene.native(), {**JSON, **sent(name, "A" * 43, "E" * 43)}
        opened = await app.get("/self-service/login/browser", headers=headers)
        [line] = [line for line in opened.headers.get_list("set-cookie") if line.startswith(f"{name}=")]
        assert line.partition("=")[2][:43] not in {"A" * 43, "E" * 43}

    async def test_a_form_of_the_account_page_takes_each_of_them(self, shared: Scene) -> None:
        scene = shared
        browser, email = await scene.browser(), new_address()
        await sign_up(await scene.native(), email)
        await browser.sign_in(email)
        form = await browser.form_of("/account")
        cookies: dict[str, str] = dict(browser.cookies)
        [name] = [name for name in cookies if "csrf_token_" in name]
        token, app = cookies.pop(name), await scene.native()
        for values in ((token, "A" * 43), ("A" * 43, token)):
            answer = await app.post(
                "/account/sessions/revoke-others", data=form, headers=sent(name, *values, further=cookies)
            )
            assert answer.status_code == 303


class TestVisits:
    async def test_one_valid_visit_counts_beside_broken_ones(self, scene: Scene) -> None:
        app = await scene.native()
        token = (await visit(app))["authorization"]
        cart = await fill_cart(app, token)
        for values in ((token, "broken"), ("broken", token), (f"{token[:-4]}AAAA", token)):
            assert await _cart(app, sent(VISIT, *values)) == cart

    async def test_visits_of_two_guests_are_nobodys_until_a_new_one_begins(self, scene: Scene) -> None:
        app = await scene.native()
        tokens = [(await visit(app))["authorization"] for _ in range(2)]
        for token in tokens:
            await fill_cart(app, token)
        assert await _cart(app, sent(VISIT, *tokens)) is None
        answer = await app.post("/signin", json={}, headers={**OWN_PAGE, **sent(VISIT, *tokens)})
        assert answer.json()["authorization"] not in tokens

    async def test_several_tokens_of_one_guest_are_that_guest(self, scene: Scene) -> None:
        app = await scene.native()
        first = (await visit(app))["authorization"]
        cart = await fill_cart(app, first)
        scene.clock.advance(minutes=1)
        again = await app.post("/signin", json={}, headers={"authorization": f"Bearer {first}"})
        second = again.json()["authorization"]
        assert first != second
        assert await _cart(app, sent(VISIT, first, second)) == cart


class TestUpgrades:
    """A browser still has the cookies of a release that set no prefix, or of an address that was plain http."""

    async def test_a_cart_is_kept_and_its_cookie_renamed(self, scene: Scene) -> None:
        app = await scene.native()
        token = (await visit(app))["authorization"]
        cart, old = await fill_cart(app, token), sent("shopkeeper_visit", token)
        assert await _cart(app, old) == cart
        answer = await app.post("/signin", json={}, headers={**OWN_PAGE, **old})
        lines = answer.headers.get_list("set-cookie")
        assert lines[-1].startswith(f"{VISIT}=")
        assert deleted(answer, "shopkeeper_visit") == {(None, "/"), ("shop.test", "/")}
        fresh = lines[-1].split(";")[0].partition("=")[2]
        assert await _cart(app, sent(VISIT, fresh)) == cart

    async def test_a_cart_is_merged_at_the_sign_in(self, scene: Scene) -> None:
        app, email = await scene.native(), new_address()
        token = (await visit(app))["authorization"]
        cart, browser = await fill_cart(app, token), await scene.browser()
        await sign_up(app, email)
        browser.cookies.set("shopkeeper_visit", token, domain="shop.test", path="/")
        answer = await browser.sign_in(email)
        assert answer.json()["cart"]["outcome"] != "nothing"
        assert "shopkeeper_visit" not in browser.cookies
        mine = await browser.post("/graphql", json={"query": CART}, headers=OWN_PAGE)
        assert mine.json()["data"]["getCart"] is not None, cart

    async def test_the_cookie_with_the_prefix_comes_first(self, scene: Scene) -> None:
        app = await scene.native()
        planted, own = [(await visit(app))["authorization"] for _ in range(2)]
        carts = [await fill_cart(app, token) for token in (planted, own)]
        cookies = sent("shopkeeper_visit", planted, further={VISIT: own})
        assert await _cart(app, cookies) == carts[1]

    async def test_row_047_an_anti_csrf_cookie_without_the_prefix_opens_no_form(self, scene: Scene) -> None:
        """A neighbouring host could have set it. Whoever has only that gets a new one with the next form."""
        app, name = await scene.native(), CookiePolicy(f"{ADDRESS}/").csrf_name
        planted = sent(name.removeprefix("__Host-"), "A" * 43)
        answer = await app.get("/self-service/login/browser", headers={**JSON, **planted})
        [line] = [line for line in answer.headers.get_list("set-cookie") if line.startswith("__Host-csrf_token_")]
        assert "A" * 43 not in line
        assert deleted(answer, name.removeprefix("__Host-")) == {(None, "/"), ("shop.test", "/")}
        body = {
            "method": "password",
            "identifier": new_address(),
            "password": "x",
            "csrf_token": csrf_of(answer.json()),
        }
        refused = await app.post(answer.json()["ui"]["action"], json=body, headers={**JSON, **planted})
        assert refused.status_code == 403


class TestPolicy:
    @pytest.mark.parametrize(
        ("settings", "prefixed"),
        [
            ({"base_url": "https://shop.test/"}, True),
            ({"base_url": "https://shop.test/account/"}, True),
            ({"base_url": "https://shop.test/", "domain": "shop.test"}, False),
            ({"base_url": "https://shop.test/account/", "path": "/account"}, False),
            ({"base_url": "https://shop.test/", "secure": False}, False),
            ({"base_url": "http://127.0.0.1:4433/", "secure": False}, False),
            ({"base_url": "http://127.0.0.1:4433/", "secure": True}, False),
        ],
    )
    def test_names_have_the_prefix_where_browsers_accept_it(self, settings: dict[str, Any], prefixed: bool) -> None:
        policy = CookiePolicy(default_store="fruit", **settings)
        assert policy.session_name == SESSION
        names = (policy.csrf_name, policy.visit_name("fruit"), policy.visit_name("shoes@eu"))
        assert [name.startswith("__Host-") for name in names] == [prefixed] * 3

    def test_leftovers_are_deleted_wherever_an_earlier_configuration_may_have_set_them(self) -> None:
        policy = CookiePolicy("https://id.shop.example.org/account/", domain=".example.org", path="/account/x")
        lines = policy.delete_leftovers(SESSION, names_in([f"{SESSION}=a; {SESSION}=b"]))
        places = _places(lines)
        assert len(places) == len(lines)
        assert places >= {(None, "/"), (None, "/account/x"), ("id.shop.example.org", "/account"), ("example.org", "/")}
        assert ("example.org", "/account/x") not in places, "that is where it is set now"
        assert not any(domain == "org" for domain, _ in places)
        assert policy.delete_leftovers(SESSION, names_in([f"{SESSION}=a; x={SESSION}=b"])) == []

    @pytest.mark.parametrize("base_url", ["http://127.0.0.1:4433/", "http://localhost:4433/"])
    def test_a_host_without_parents_has_one_place(self, base_url: str) -> None:
        policy = CookiePolicy(base_url, secure=False)
        assert policy.delete_leftovers(SESSION, names_in([f"{SESSION}=a; {SESSION}=b"])) == []
        assert _places(policy.delete_session_everywhere()) == {(None, "/")}


def _places(lines: Iterable[str]) -> set[tuple[str | None, str]]:
    answer = httpx2.Response(200, headers=[("set-cookie", line) for line in lines])
    return deleted(answer)


async def _cart(app: httpx2.AsyncClient, cookies: dict[str, str]) -> str | None:
    answer = await app.post("/graphql", json={"query": CART}, headers={**OWN_PAGE, **cookies})
    data = answer.json().get("data")
    return data["getCart"]["id"] if data and data["getCart"] else None
