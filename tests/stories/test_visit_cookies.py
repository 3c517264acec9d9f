"""A visit in a browser: the tokens are in cookies, and the self-service flows merge the cart."""

from collections.abc import Iterator
from http.cookiejar import Cookie
from typing import Any

import httpx2 as httpx
import pytest

from tests.stories.places import Place
from tests.stories.shopping import ADD, CART, CUSTOMER
from tests.stories.visitor import PASSWORD, PATIENCE, Guests, new_address

MUG, PLATE = "QK-MUG-BLU", "QK-PLATE-21"
SESSION, VISIT = "ory_kratos_session", "shopkeeper_visit"
OWN_PAGE = {"sec-fetch-site": "same-origin"}
JSON = {"accept": "application/json"}


class Browser:
    """A browser on one of our pages: it keeps cookies, and sends the origin of its requests."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, headers={**OWN_PAGE, "origin": url}, timeout=PATIENCE)

    @property
    def cookies(self) -> dict[str, Cookie]:
        return {cookie.name: cookie for cookie in self.http.cookies.jar}

    def sign_in_at_the_shop(self, **body: Any) -> httpx.Response:
        return self.http.post("/signin", json=body)

    def ask(self, query: str, **variables: Any) -> Any:
        told = self.http.post("/graphql", json={"query": query, "variables": variables}).json()
        assert "errors" not in told, told
        [value] = told["data"].values()
        return value

    def put(self, sku: str, quantity: int = 1) -> Any:
        return self.ask(ADD, input={"itemId": sku, "quantity": quantity})["cart"]

    def goods(self) -> dict[str, int]:
        cart = self.ask(CART)
        entries = cart["entries"] if cart else []
        return {entry["items"][0]["itemId"]["code"]: entry["quantity"] for entry in entries}

    def go_through(self, kind: str, **fields: Any) -> httpx.Response:
        """Complete a self-service flow as a single-page app does."""
        flow = self.http.get(f"/self-service/{kind}/browser", headers=JSON).json()
        [csrf] = [node for node in flow["ui"]["nodes"] if node["attributes"]["name"] == "csrf_token"]
        body = {"method": "password", "csrf_token": csrf["attributes"]["value"], "password": PASSWORD, **fields}
        return self.http.post(flow["ui"]["action"], json=body, headers=JSON)

    def sign_out(self) -> None:
        link = self.http.get("/self-service/logout/browser", headers=JSON).json()["logout_url"]
        assert self.http.get(link, headers=JSON).status_code == 204


@pytest.fixture
def browser(place: Place) -> Iterator[Browser]:
    browser = Browser(place.public)
    yield browser
    browser.http.close()


class TestTheHandOver:
    def test_registering_keeps_the_cart(self, browser: Browser) -> None:
        browser.sign_in_at_the_shop()
        cart, email = browser.put(MUG, 2), new_address()
        answer = browser.go_through("registration", traits={"email": email})
        assert answer.status_code == 200, answer.text
        assert browser.ask(CUSTOMER)["email"] == email
        assert browser.ask(CART)["id"] == cart["id"]
        assert browser.goods() == {MUG: 2}

    def test_signing_in_merges_the_cart(self, guests: Guests, browser: Browser) -> None:
        _, email = guests.customer(**{MUG: 1, PLATE: 4})
        browser.sign_in_at_the_shop()
        browser.put(MUG, 3)
        answer = browser.go_through("login", identifier=email)
        assert answer.status_code == 200, answer.text
        assert browser.goods() == {MUG: 3, PLATE: 4}

    def test_signing_in_without_a_cart_is_a_plain_sign_in(self, guests: Guests, browser: Browser) -> None:
        _, email = guests.customer(**{PLATE: 4})
        assert browser.go_through("login", identifier=email).status_code == 200
        assert browser.goods() == {PLATE: 4}

    def test_a_wrong_password_leaves_the_cart_with_the_guest(self, guests: Guests, browser: Browser) -> None:
        customer, email = guests.customer(**{PLATE: 4})
        browser.sign_in_at_the_shop()
        browser.put(MUG, 3)
        assert browser.go_through("login", identifier=email, password="wrong").status_code == 400
        assert browser.goods() == {MUG: 3}
        assert customer.goods() == {PLATE: 4}

    def test_another_visitor_of_the_browser_begins_anew(self, browser: Browser) -> None:
        browser.sign_in_at_the_shop()
        browser.put(MUG, 2)
        browser.go_through("registration", traits={"email": new_address()})
        browser.sign_out()
        browser.sign_in_at_the_shop()
        assert browser.ask(CUSTOMER) is None
        assert browser.goods() == {}
        assert browser.put(PLATE)["totalQuantity"] == 1


class TestTheShopsOwnSignIn:
    def test_the_cookies_are_hidden_from_scripts(self, guests: Guests, browser: Browser) -> None:
        _, email = guests.customer()
        browser.sign_in_at_the_shop()
        visit = browser.cookies[VISIT]
        assert visit.has_nonstandard_attr("HttpOnly")
        assert visit.get_nonstandard_attr("SameSite") == "Lax"
        cart = browser.put(MUG, 2)
        told = browser.sign_in_at_the_shop(username=email, password=PASSWORD, authHint={"oldCartId": cart["id"]})
        assert told.json()["cart"]["outcome"] == "adopted"
        assert browser.cookies[SESSION].has_nonstandard_attr("HttpOnly")
        assert VISIT not in browser.cookies
        assert browser.goods() == {MUG: 2}

    def test_signing_out_takes_the_session_and_begins_a_visit(self, guests: Guests, browser: Browser) -> None:
        _, email = guests.customer(**{PLATE: 1})
        browser.sign_in_at_the_shop(username=email, password=PASSWORD)
        token = browser.cookies[SESSION].value
        assert browser.http.post("/signout", json={}).status_code == 200
        assert SESSION not in browser.cookies
        assert VISIT in browser.cookies
        assert browser.goods() == {}
        assert browser.http.get("/sessions/whoami", headers={"x-session-token": str(token)}).status_code == 401

    def test_signing_in_leaves_the_shop_and_the_pages_with_one_session(self, guests: Guests, browser: Browser) -> None:
        _, email = guests.customer()
        browser.sign_in_at_the_shop(username=email, password=PASSWORD)
        assert browser.http.get("/sessions/whoami").json()["identity"]["traits"]["email"] == email


class TestForeignPages:
    """Cookies travel with requests that other sites' pages cause; such requests have no effect."""

    @pytest.fixture
    def signed_in(self, guests: Guests, browser: Browser) -> Browser:
        _, email = guests.customer(**{PLATE: 1})
        browser.sign_in_at_the_shop(username=email, password=PASSWORD)
        return browser

    @pytest.mark.parametrize(
        "headers",
        [
            {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
            {"origin": "http://neighbour.localhost", "sec-fetch-site": "same-site"},
            {"origin": "null", "sec-fetch-site": "cross-site"},
            {"origin": "https://evil.example", "sec-fetch-site": ""},
        ],
        ids=["cross-site", "same-site", "sandboxed", "old browser"],
    )
    @pytest.mark.parametrize("path", ["/graphql", "/signin", "/signout"])
    def test_are_refused(self, signed_in: Browser, path: str, headers: dict[str, str]) -> None:
        body = {"query": CART} if path == "/graphql" else {}
        answer = signed_in.http.post(path, json=body, headers=headers)
        assert answer.status_code == 403
        assert answer.json()["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        assert "set-cookie" not in answer.headers
        assert signed_in.goods() == {PLATE: 1}

    @pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
    def test_cannot_send_a_body_that_is_read(self, signed_in: Browser, kind: str) -> None:
        for path in ("/graphql", "/signin", "/signout"):
            answer = signed_in.http.post(
                path, content=b'{"query": "{ getCart { id } }"}', headers={"content-type": kind}
            )
            assert answer.status_code == 400
        assert signed_in.goods() == {PLATE: 1}

    def test_signing_in_from_elsewhere_gives_the_browser_no_cookies(self, guests: Guests, place: Place) -> None:
        """Otherwise a page could sign its visitors in to an account of its choice."""
        _, email = guests.customer()
        headers = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
        body = {"username": email, "password": PASSWORD}
        answer = httpx.post(f"{place.public}/signin", json=body, headers=headers, timeout=PATIENCE)
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers
