"""The published storefront client as observed: every request that it sends, with its habits and its mistakes.

`Client` repeats that behaviour, so that not only its requests are tried here, but also what it does after a refusal.
"""

import time
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest

from tests.services.server import wait_until
from tests.stories.conftest import Launch
from tests.stories.places import STORES, TENANTS, Ground, Place
from tests.stories.shopping import ADD, CART, CUSTOMER, ORDERS
from tests.stories.visitor import PASSWORD, PATIENCE, Visitor

MUG, PLATE = "QK-MUG-BLU", "QK-PLATE-21"
NAMED = {"connector": "quince", "BR-ACCT-ENV": TENANTS[0]}
ORIGIN = "http://shop.example"
BRIEF = 2
"""How many seconds a session lasts where a test waits for its end."""


class Refused(Exception):
    """An error that the client passes to its page."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Client:
    """What the published client does with its token. `sent` lists its requests, to see that it stops."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=PATIENCE)
        self.token: str | None = None
        self.signed_in = False
        self.sent: list[str] = []

    def query(self, query: str, **variables: Any) -> Any:
        """Send a query; without a token sign in anonymously first, and after a refusal try once more."""
        if self.token is None:
            self._anonymous(NAMED)
        told = self._graphql(query, variables)
        code = _code(told)
        if code in _WAYS_OUT:
            _WAYS_OUT[code](self)
            told = self._graphql(query, variables, forcerefresh="true")
        if code := _code(told):
            raise Refused(code)
        [value] = told["data"].values()
        return value

    def log_in(self, email: str, *, cart: str | None = None, merge: bool = True, refresh: bool = False) -> Any:
        """The client sends the flag for merging as a text; where it does not want to merge, it sends no flag."""
        flag = {"mergeWithExistingCustomerCart": "true"} if merge else {}
        hint = {"authHint": {"oldCartId": cart, **flag}} if cart else {}
        kind = {"type": "refresh"} if refresh else {}
        body = {"username": email, "password": PASSWORD, **kind, **hint, "attrs": {"referer": f"{ORIGIN}/basket"}}
        told = self._sign_in(body, {**NAMED, "authorization": f"Bearer {self.token}"})
        self.signed_in = self.query(CUSTOMER) is not None
        return told

    def log_in_elsewhere(self, user: str, token: str) -> httpx.Response:
        """Sign in federated: an empty password beside another provider's token."""
        body = {"username": user, "password": "", "authHint": {"token": token}}
        return self._post("/signin", body, {**NAMED, "authorization": f"Bearer {self.token}"})

    def log_out(self) -> None:
        """Forget the token; no request is sent."""
        self.token, self.signed_in = None, False

    def find_a_way_after_unauthenticated(self) -> None:
        headers = {**NAMED, "authorization": f"Bearer Bearer {self.token}"}
        answer = self._post("/signin", {"type": "refresh"}, headers)
        if answer.status_code == 200:
            self.token = answer.json()["authorization"]
        elif _code(answer.json()) == "FORBIDDEN":
            self._anonymous({**NAMED, "BR-ACCT-ENV": ""})
        else:
            raise Refused(_code(answer.json()) or "")

    def find_a_way_after_token_invalid(self) -> None:
        was_signed_in = self.signed_in
        self.log_out()
        if was_signed_in:
            raise Refused("TOKEN_INVALID")
        self._anonymous({**NAMED, "includeauthorization": "false"})

    def _anonymous(self, headers: dict[str, str]) -> None:
        self._sign_in({"scope": "public", "attrs": {"referer": f"{ORIGIN}/"}}, headers)

    def _sign_in(self, body: dict[str, Any], headers: dict[str, str]) -> Any:
        answer = self._post("/signin", body, headers)
        if answer.status_code == 401 and _code(answer.json()) == "TOKEN_INVALID":
            answer = self._post("/signin", body, {k: v for k, v in headers.items() if k != "authorization"})
        told = answer.json()
        if code := _code(told):
            raise Refused(code)
        self.token = told["authorization"]
        return told

    def _graphql(self, query: str, variables: dict[str, Any], **further: str) -> Any:
        headers = {**NAMED, "authorization": f"Bearer {self.token}", "accept-language": "de-DE,de", **further}
        answer = self._post("/graphql", {"query": query, "variables": variables}, headers)
        assert answer.status_code == 200, "the client reads errors out of answers with 200"
        return answer.json()

    def _post(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> httpx.Response:
        self.sent.append(path)
        return self.http.post(path, json=body, headers={**headers, "origin": ORIGIN, "sec-fetch-site": "cross-site"})


_WAYS_OUT = {
    "UNAUTHENTICATED": Client.find_a_way_after_unauthenticated,
    "TOKEN_INVALID": Client.find_a_way_after_token_invalid,
}


def _code(told: Any) -> str | None:
    errors = told.get("errors")
    return errors[0]["extensions"]["code"] if errors else None


@pytest.fixture
def client(place: Place) -> Iterator[Client]:
    client = Client(place.public)
    yield client
    client.http.close()


@pytest.fixture(scope="module")
def refreshing_place(launch_for_module: Launch, infrastructure: Ground) -> Place:
    """A server with refreshing that allows pages of the client's origin."""
    config = {
        **STORES,
        "tokens": {"refresh": {"enabled": True, "replay_window": "1s"}},
        "serve": {"public": {"cors": {"enabled": True, "allowed_origins": [ORIGIN]}}},
    }
    return Place(launch_for_module(config=config, demo=True, **infrastructure.start_with()), infrastructure)


@pytest.fixture(scope="module")
def brief_place(launch_for_module: Launch, infrastructure: Ground) -> Place:
    """A server whose sessions expire during a test, and can be refreshed."""
    config = {**STORES, "session": {"lifespan": f"{BRIEF}s"}, "tokens": {"refresh": {"enabled": True}}}
    return Place(launch_for_module(config=config, demo=True, **infrastructure.start_with()), infrastructure)


@pytest.fixture
def brief_client(brief_place: Place) -> Iterator[Client]:
    client = Client(brief_place.public)
    yield client
    client.http.close()


@pytest.fixture
def refreshing_client(refreshing_place: Place) -> Iterator[Client]:
    client = Client(refreshing_place.public)
    yield client
    client.http.close()


def fill(client: Client, sku: str = MUG) -> Any:
    return client.query(ADD, input={"itemId": sku, "quantity": 1})["cart"]


def sign_out_elsewhere(place: Place, client: Client) -> None:
    with Visitor(place.public, store="quince", tenant=TENANTS[0]) as elsewhere:
        elsewhere.token = client.token
        elsewhere.take(elsewhere.post("/signout", {}))


def new_customer(place: Place) -> str:
    with Visitor(place.public, store="quince") as visitor:
        return visitor.arrive().sign_up()


class TestItsVisit:
    def test_a_cold_query_signs_in_first(self, client: Client) -> None:
        assert client.query(CUSTOMER) is None
        assert client.sent == ["/signin", "/graphql"]

    def test_logging_in_merges_the_cart(self, place: Place, client: Client) -> None:
        cart = fill(client)
        told = client.log_in(new_customer(place), cart=cart["id"])
        assert client.signed_in
        assert told["cart"]["outcome"] == "adopted"
        assert client.query(CART)["id"] == cart["id"]

    def test_the_client_cannot_ask_not_to_merge_and_so_the_cart_is_merged(self, place: Place, client: Client) -> None:
        email = new_customer(place)
        client.query(CUSTOMER)
        client.log_in(email)
        fill(client, PLATE)
        client.log_out()
        cart = fill(client)
        assert client.log_in(email, cart=cart["id"], merge=False)["cart"]["outcome"] == "merged"
        assert len(client.query(CART)["entries"]) == 2

    def test_credentials_with_type_refresh_log_in(self, place: Place, client: Client) -> None:
        cart = fill(client)
        client.log_in(new_customer(place), cart=cart["id"], refresh=True)
        assert client.signed_in

    def test_logging_out_sends_nothing_and_begins_a_new_visit(self, place: Place, client: Client) -> None:
        client.query(CUSTOMER)
        client.log_in(new_customer(place))
        client.log_out()
        sent = len(client.sent)
        assert client.query(CUSTOMER) is None
        assert client.sent[sent:] == ["/signin", "/graphql"]

    def test_federated_sign_in_is_refused_in_its_shape(self, client: Client) -> None:
        client.query(CUSTOMER)
        answer = client.log_in_elsewhere("a-user-id", "a.foreign.token")
        assert answer.status_code == 400
        [error] = answer.json()["errors"]
        assert error["extensions"]["code"]
        assert "provider" in error["message"]

    def test_a_wrong_password_is_refused_in_its_shape(self, client: Client) -> None:
        client.query(CUSTOMER)
        with pytest.raises(Refused, match="UNAUTHENTICATED"):
            client.log_in("nobody@example.org")

    def test_an_unknown_store_is_refused_without_a_token_as_well(self, client: Client) -> None:
        """The client's connector `brsm` never signs in, and sends no token."""
        answer = client.http.post("/graphql", json={"query": CUSTOMER}, headers={"connector": "brsm"})
        assert (answer.status_code, _code(answer.json())) == (200, "STORE_UNKNOWN")


class TestItsWaysOut:
    """After any refusal the client recovers within a few requests, and a guest keeps the cart."""

    def test_an_invalid_token_is_replaced(self, client: Client) -> None:
        client.token = "not-a-token"
        assert client.query(CUSTOMER) is None
        assert client.sent == ["/graphql", "/signin", "/graphql"]

    def test_a_sign_in_with_an_invalid_token_is_repeated_without_it(self, place: Place, client: Client) -> None:
        email = new_customer(place)
        client.token = "not-a-token"
        client.log_in(email)
        assert client.signed_in
        assert client.sent == ["/signin", "/signin", "/graphql"]

    def test_a_client_whose_session_has_ended_becomes_a_guest_by_itself(self, place: Place, client: Client) -> None:
        """Regression: the answer said that the token is invalid. The client then asks its page, which cannot help, and
        not us."""
        client.query(CUSTOMER)
        client.log_in(new_customer(place))
        sign_out_elsewhere(place, client)
        sent = len(client.sent)
        assert client.query(CART) is None
        assert client.sent[sent:] == ["/graphql", "/signin", "/signin", "/graphql"]
        assert fill(client)["totalQuantity"] == 1

    def test_a_client_that_was_signed_out_elsewhere_cannot_refresh_and_becomes_a_guest(
        self, refreshing_place: Place, refreshing_client: Client
    ) -> None:
        client = refreshing_client
        client.query(CUSTOMER)
        client.log_in(new_customer(refreshing_place))
        sign_out_elsewhere(refreshing_place, client)
        assert client.query(CART) is None

    def test_a_client_whose_session_has_expired_refreshes_by_itself_and_stays_signed_in(
        self, brief_client: Client
    ) -> None:
        """Regression: after a day a signed-in shopper was stuck, because a token that could be refreshed was thrown
        away."""
        client = brief_client
        client.query(CUSTOMER)
        with Visitor(str(client.http.base_url), store="quince") as visitor:
            email = visitor.arrive().sign_up()
        client.log_in(email)
        first = client.token
        time.sleep(BRIEF + 0.5)
        sent = len(client.sent)
        assert client.query(CUSTOMER)["email"] == email
        assert client.sent[sent:] == ["/graphql", "/signin", "/graphql"]
        assert client.token != first

    def test_a_sign_in_with_the_token_of_a_session_that_has_ended_is_repeated_without_it(
        self, place: Place, client: Client
    ) -> None:
        email = new_customer(place)
        client.query(CUSTOMER)
        client.log_in(email)
        sign_out_elsewhere(place, client)
        sent = len(client.sent)
        client.log_in(email)
        assert client.signed_in
        assert client.sent[sent:] == ["/signin", "/signin", "/graphql"]

    def test_where_refreshing_is_off_what_needs_an_account_is_refused_once(self, client: Client) -> None:
        fill(client)
        sent = len(client.sent)
        with pytest.raises(Refused):
            client.query(ORDERS)
        assert len(client.sent) - sent <= 5
        assert client.query(CUSTOMER) is None

    def test_where_refreshing_is_on_a_guest_keeps_the_cart(self, refreshing_client: Client) -> None:
        cart = fill(refreshing_client)
        with pytest.raises(Refused, match="UNAUTHENTICATED"):
            refreshing_client.query(ORDERS)
        assert refreshing_client.sent[-3:] == ["/graphql", "/signin", "/graphql"]
        assert refreshing_client.query(CART)["id"] == cart["id"]

    def test_a_customer_refreshes_and_stays(self, refreshing_place: Place, refreshing_client: Client) -> None:
        client = refreshing_client
        client.query(CUSTOMER)
        client.log_in(new_customer(refreshing_place))
        first = client.token
        client.find_a_way_after_unauthenticated()
        assert client.token != first
        assert client.query(CUSTOMER) is not None
        with Visitor(refreshing_place.public, store="quince", tenant=TENANTS[0]) as late:
            late.token = first
            wait_until(lambda: "errors" in late.asked(CUSTOMER), "the end of the replaced token")
        assert client.query(CUSTOMER) is not None


class TestAcrossOrigins:
    """The client runs on another origin than ours, so browsers send preflight requests."""

    @pytest.mark.parametrize("path", ["/signin", "/signout", "/graphql"])
    def test_every_header_that_the_client_sends_is_allowed(self, refreshing_place: Place, path: str) -> None:
        wanted = "authorization,connector,br-acct-env,accept-language,content-type,forcerefresh,includeauthorization"
        asked = {
            "origin": ORIGIN,
            "access-control-request-method": "POST",
            "access-control-request-headers": wanted,
        }
        answer = httpx.options(f"{refreshing_place.public}{path}", headers=asked, timeout=PATIENCE)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        allowed = {name.strip().lower() for name in answer.headers["access-control-allow-headers"].split(",")}
        assert set(wanted.split(",")) <= allowed

    def test_the_clients_page_can_read_the_answers(self, refreshing_place: Place) -> None:
        headers = {**NAMED, "origin": ORIGIN, "sec-fetch-site": "cross-site"}
        answer = httpx.post(f"{refreshing_place.public}/signin", json={}, headers=headers, timeout=PATIENCE)
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "set-cookie" not in answer.headers, "a page of another origin gets no cookies of ours"

    def test_another_origin_is_not_allowed(self, refreshing_place: Place) -> None:
        asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
        answer = httpx.options(f"{refreshing_place.public}/signin", headers=asked, timeout=PATIENCE)
        assert answer.status_code == 400
        assert "access-control-allow-origin" not in answer.headers
