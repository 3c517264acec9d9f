"""A visitor of a shop, with the two things that a storefront has: a token, and the requests that it sends with it."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any
from uuid import uuid4

import httpx2 as httpx

from tests.stories.shopping import ADD, CART, CHECK_OUT, PLACE, SIGN_UP

PASSWORD = "Plum-Tart-93-window"
PATIENCE = 60


def new_address(name: str = "ada") -> str:
    return f"{name}-{uuid4().hex[:12]}@example.org"


class Visitor:
    """A visitor with a token of their own. `store` and `tenant` are headers of every request, if any."""

    def __init__(self, url: str, *, store: str | None = None, tenant: str | None = None) -> None:
        named = {"connector": store, "br-acct-env": tenant}
        headers = {name: value for name, value in named.items() if value is not None}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=PATIENCE, follow_redirects=False)
        self.token: str | None = None

    def __enter__(self) -> "Visitor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    # -- what a storefront sends ---------------------------------------------------------------------------------------

    def post(self, path: str, body: Mapping[str, Any], **headers: str) -> httpx.Response:
        """Send a request with the token; an underscore in a header's name stands for a dash."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token is not None:
            given.setdefault("authorization", f"Bearer {self.token}")
        return self.http.post(path, json=body, headers=given)

    def asked(self, query: str, **variables: Any) -> dict[str, Any]:
        """Return the whole answer of GraphQL."""
        answer = self.post("/graphql", {"query": query, "variables": variables})
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def ask(self, query: str, **variables: Any) -> Any:
        """Return the one field of an answer that must succeed."""
        told = self.asked(query, **variables)
        assert "errors" not in told, told
        [value] = told["data"].values()
        return value

    def refusal(self, query: str, **variables: Any) -> dict[str, Any]:
        """Return the one error of an answer that must be refused."""
        told = self.asked(query, **variables)
        [error] = told["errors"]
        return {"message": error["message"], **error["extensions"]}

    # -- the visit -----------------------------------------------------------------------------------------------------

    def arrive(self) -> "Visitor":
        """Become an anonymous visitor."""
        self.take(self.post("/signin", {}))
        return self

    def take(self, answer: httpx.Response) -> dict[str, Any]:
        """Continue with the token of an answer, which must be good."""
        assert answer.status_code == 200, answer.text
        access: dict[str, Any] = answer.json()
        self.token = access["authorization"]
        return access

    def sign_in(self, email: str, **hint: Any) -> dict[str, Any]:
        """Sign in with what the hint says about the cart; without any, no hint is sent."""
        return self.take(self.try_to_sign_in(email, **hint))

    def try_to_sign_in(self, email: str, *, password: str = PASSWORD, **hint: Any) -> httpx.Response:
        beside = {"authHint": hint} if hint else {}
        return self.post("/signin", {"username": email, "password": password, **beside})

    def sign_up(self, email: str | None = None, **fields: Any) -> str:
        """Register through GraphQL; return the address."""
        email = email or new_address()
        made = self.ask(SIGN_UP, input={"email": email, "password": PASSWORD, **fields})
        assert (made["code"], made["problems"]) == ("OK", []), made
        return email

    # -- shopping ------------------------------------------------------------------------------------------------------

    def put(self, sku: str, quantity: int = 1, *, cart: str | None = None) -> dict[str, Any]:
        """Put so many of something into a cart."""
        done = self.ask(ADD, input={"itemId": sku, "quantity": quantity, "cartId": cart})
        return as_cart(done["cart"])

    def cart(self, cart_id: str | None = None) -> dict[str, Any] | None:
        """Return the current cart, or the one that is named."""
        found = self.ask(CART, id=cart_id)
        return as_cart(found) if found else None

    def goods(self) -> dict[str, int]:
        """Return the contents of the current cart: quantity by SKU."""
        cart = self.cart()
        return cart["goods"] if cart else {}

    def order(self) -> dict[str, Any]:
        """Order the current cart."""
        cart = self.cart()
        assert cart, "there is nothing to order"
        draft = self.ask(CHECK_OUT, cart=cart["id"])["order"]
        placed: dict[str, Any] = self.ask(PLACE, id=draft["id"])["order"]
        return placed


def as_cart(cart: Mapping[str, Any]) -> dict[str, Any]:
    """Return a cart with its quantities by SKU beside its entries."""
    goods = {entry["items"][0]["itemId"]["code"]: entry["quantity"] for entry in cart["entries"]}
    assert len(goods) == len(cart["entries"]), "a line is there twice"
    return {**cart, "goods": goods}


def report(access: Mapping[str, Any]) -> list[tuple[int, int, int, str]]:
    """Return the report of a cart merge: before, wanted, after and change of each line."""
    lines: Sequence[Mapping[str, Any]] = access["cart"]["lines"]
    return [(line["before"], line["wanted"], line["after"], line["change"]) for line in lines]


class Guests:
    """Visitors of one shop, whose connections end together."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._made: list[Visitor] = []

    def stranger(self, *, store: str | None = None, tenant: str | None = None) -> Visitor:
        """Open a visitor without a token."""
        visitor = Visitor(self._url, store=store, tenant=tenant)
        self._made.append(visitor)
        return visitor

    def guest(self, *, store: str | None = None, tenant: str | None = None) -> Visitor:
        """Open an anonymous visitor."""
        return self.stranger(store=store, tenant=tenant).arrive()

    def customer(self, **goods: int) -> tuple[Visitor, str]:
        """Create a signed-in customer with these products in the cart; return the visitor and the address."""
        visitor = self.guest()
        email = visitor.sign_up()
        visitor.sign_in(email)
        for sku, quantity in goods.items():
            visitor.put(sku, quantity)
        return visitor, email

    def go(self) -> None:
        for visitor in self._made:
            visitor.http.close()
