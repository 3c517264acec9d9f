"""A shop under test, and what the benchmarks need of it: visitors, customers, carts, its tables."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.database import count_rows
from bench.hashing import hash_of
from bench.load import Request
from bench.outcome import Unmeasured
from bench.servers import Running

PASSWORD = "a kettle of quinces, well boiled"
JSON = {"content-type": "application/json"}

# The queries of a shop's pages, as the published clients write them.
CART = """query Cart { getCart {
  id totalQuantity revision active
  entries { id quantity purchasePrice { ...Amounts } items { itemId { id code } displayName } }
  totalPurchasePrice { ...Amounts }
} }
fragment Amounts on Price { moneyAmounts { amount currency displayValue } }"""
CUSTOMER = "query CurrentCustomer { getCurrentCustomer { id email firstName lastName } }"
PAGE = """query Page { findItemsByKeyword(text: "", limit: 20) {
  count total
  items {
    itemId { id code } displayName slug imageSet { thumbnail { link { href } } }
    purchasePrice { moneyAmounts { amount currency displayValue } }
  }
} }"""
ADD = """mutation Add($item: String!) { addToCart(addToCartInput: {itemId: $item, quantity: 1}) {
  code success cart { id totalQuantity }
} }"""
VARIANTS = """query Variants { findItemsByKeyword(text: "", limit: 5) {
  items { variants { itemId { id } availability { availableQuantity } } }
} }"""


@dataclass(frozen=True, slots=True)
class Commerce:
    """A running shop and its database."""

    server: Running
    dsn: str

    def post(self, path: str, body: Any, *, token: str | None = None) -> Any:
        """POST JSON to the public API; return the answer."""
        return _ask(self.server.url, _posted(path, body, token))

    def get(self, path: str, *, token: str | None = None) -> Any:
        """GET from the public API; return the answer."""
        return _ask(self.server.url, Request(path, headers=bearer(token)))

    def graphql(self, query: str, *, token: str, variables: Mapping[str, Any] | None = None) -> Any:
        """Return the data of a GraphQL operation."""
        answer = self.post("/graphql", {"query": query, "variables": variables or {}}, token=token)
        if "errors" in answer:
            raise Unmeasured(f"GraphQL refused: {answer['errors'][0]['message']}")
        return answer["data"]

    def anonymous(self) -> str:
        """Return a guest's token."""
        return str(self.post("/signin", {"scope": "public"})["authorization"])

    def sign_in(self, email: str) -> str:
        """Return a customer's token."""
        return str(self.post("/signin", {"username": email, "password": PASSWORD})["authorization"])

    def register(self, emails: Sequence[str]) -> None:
        """Create customers that can sign in, all with one hash."""
        hashed = hash_of(PASSWORD)
        for email in emails:
            identity = {
                "schema_id": "default",
                "traits": {"email": email, "name": {"first": "Ada", "last": "Quince"}},
                "credentials": {"password": {"config": {"hashed_password": hashed}}},
            }
            _ask(self.server.admin, _posted("/admin/identities", identity, self.server.admin_key))

    def article(self) -> str:
        """Return the id of an article that can be put into many carts."""
        items = self.graphql(VARIANTS, token=self.anonymous())["findItemsByKeyword"]["items"]
        variants = [variant for item in items for variant in item["variants"]]
        return str(max(variants, key=lambda one: one["availability"]["availableQuantity"] or 0)["itemId"]["id"])

    def fill_cart(self, token: str, article: str) -> None:
        """Put an article into the cart."""
        self.graphql(ADD, token=token, variables={"item": article})

    def rows(self) -> dict[str, int]:
        """Return how many rows every table has."""
        return count_rows(self.dsn)


def bearer(token: str | None) -> dict[str, str]:
    """Return the header with a token."""
    return {"authorization": f"Bearer {token}"} if token else {}


def answer_to(url: str, request: Request) -> bytes:
    """Return the body of the answer to one request."""
    body = request.body.encode() if request.body is not None else None
    asked = urllib.request.Request(url + request.path, body, dict(request.headers), method=request.method)
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as refused:
        told = refused.read()[:200].decode(errors="replace")
        raise Unmeasured(f"{request.method} {request.path} answered {refused.code}: {told}") from refused


def _ask(url: str, request: Request) -> Any:
    return json.loads(answer_to(url, request) or b"null")


def _posted(path: str, body: Any, token: str | None) -> Request:
    return Request(path, "POST", {**JSON, **bearer(token)}, json.dumps(body))
