"""The smallest application with GraphQL: the real modules, `/signin`, and clients that shop in it."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import yaml
from starlette.applications import Starlette
from starlette.routing import Route

from shopkeeper.app.accounts import Accounts, build_accounts
from shopkeeper.app.application import LISTENERS
from shopkeeper.app.authentication import (
    build_authenticator,
    build_cookie_policy,
    build_sign_out_authenticator,
    session_body,
)
from shopkeeper.app.commerce import Commerce, build_commerce
from shopkeeper.app.flows import build_registrar
from shopkeeper.app.graphql import build_limits
from shopkeeper.app.infrastructure import Infrastructure, build_infrastructure
from shopkeeper.app.oauth import build_oauth
from shopkeeper.app.token_sources import build_token_sources
from shopkeeper.clock import Clock
from shopkeeper.commerce.embedded.demo import Catalogue, read_catalogue
from shopkeeper.commerce.embedded.load import load as load_catalogue
from shopkeeper.graphql.endpoint import GraphQLEndpoint
from shopkeeper.graphql.registration import CustomerRegistration
from shopkeeper.http.storefront import Storefront
from shopkeeper.settings import load
from shopkeeper.settings.serving import GraphQL
from shopkeeper.storage.database import Database

BASE_URL = "http://shop.example"
PASSWORD = "a-long-walk-to-the-orchard"

CONFIGURATION: dict[str, Any] = {
    "serve": {"public": {"base_url": f"{BASE_URL}/"}},
    "secrets": {"default": ["a secret that is long enough for tests"]},
    "selfservice": {"methods": {"password": {"config": {"haveibeenpwned_enabled": False}}}},
    "stores": [
        {"id": "kettle", "currency": "EUR", "locale": "en"},
        {"id": "pence", "currency": "GBP", "locale": "en-GB"},
    ],
}


LIMITS = build_limits(GraphQL())
"""The limits of one request with default settings."""


@dataclass(frozen=True)
class Client:
    """One browser, or one app: a token, and the headers that the published client sends with it."""

    http: httpx2.AsyncClient
    headers: dict[str, str] = field(default_factory=dict)

    async def sign_in(self, **fields: Any) -> dict[str, Any]:
        """Call `/signin`; the token of its answer is sent from then on."""
        answer = await self.http.post("/signin", json=fields, headers=self.headers)
        assert answer.status_code == 200, answer.text
        self.headers["authorization"] = f"Bearer {answer.json()['authorization']}"
        return dict(answer.json())

    async def post(self, query: str, /, **variables: Any) -> httpx2.Response:
        """Send one operation; return the whole answer."""
        return await self.http.post("/graphql", json={"query": query, "variables": variables}, headers=self.headers)

    async def ask(self, query: str, /, **variables: Any) -> dict[str, Any]:
        """Send one operation that is executed; return its answer, with data or errors or both."""
        answer = await self.post(query, **variables)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def data(self, query: str, /, **variables: Any) -> dict[str, Any]:
        """Send one operation that succeeds; return its data."""
        answer = await self.ask(query, **variables)
        assert "errors" not in answer, answer["errors"]
        return dict(answer["data"])

    async def refusal(self, query: str, /, **variables: Any) -> dict[str, Any]:
        """Send one operation that is refused; return its single error."""
        answer = await self.ask(query, **variables)
        [error] = answer["errors"]
        return dict(error)


@dataclass(frozen=True)
class Stand:
    """An open shop."""

    infrastructure: Infrastructure
    accounts: Accounts
    shop: Commerce
    door: GraphQLEndpoint
    app: Starlette

    async def stock(self, store: str) -> None:
        """Fill a store with the demo's products."""
        async with self.infrastructure.database.unit() as unit:
            await load_catalogue(unit, store=store, catalogue=_catalogue())

    def client(self, **headers: str) -> Client:
        """Return a client without a token."""
        transport = httpx2.ASGITransport(app=self.app, client=("203.0.113.7", 40000))
        return Client(httpx2.AsyncClient(transport=transport, base_url=BASE_URL), dict(headers))

    async def visitor(self, **headers: str) -> Client:
        """Return a client of an anonymous visitor."""
        client = self.client(**headers)
        await client.sign_in()
        return client

    async def customer(self, email: str, **headers: str) -> Client:
        """Register and sign in; return the customer's client."""
        client = await self.visitor(**headers)
        await client.data(SIGN_UP, input={"email": email, "password": PASSWORD, "firstName": "Ada", "lastName": "L"})
        await client.sign_in(username=email, password=PASSWORD)
        return client


@asynccontextmanager
async def opened(
    dsn: str, folder: Path, clock: Clock, *, settings: Mapping[str, Any] | None = None, **door: Any
) -> AsyncIterator[Stand]:
    """Open a shop whose first store has the demo's products; `door` goes to the endpoint's constructor."""
    file = folder / "shop.yml"
    file.write_text(yaml.safe_dump({**CONFIGURATION, **(settings or {}), "dsn": dsn}))
    infrastructure = build_infrastructure(load([file], {}, dev=True, demo=False), clock, listeners=LISTENERS)
    accounts = await build_accounts(infrastructure, render=session_body(infrastructure))
    shop = build_commerce(infrastructure, accounts)
    sources = build_token_sources(infrastructure, accounts, build_oauth(infrastructure, accounts))
    authenticator = build_authenticator(infrastructure, sources, shop)
    registration = CustomerRegistration(
        registrar=build_registrar(infrastructure, accounts, shop),
        kept=[each.name for each in accounts.schemas.default.fields()],
    )
    given: dict[str, Any] = {
        "database": infrastructure.database,
        "identify": authenticator.principal_of,
        "languages": authenticator,
        "stores": shop.stores,
        "engines": shop.engines,
        "registration": registration,
        "limits": LIMITS,
        "pictures": lambda name: f"{BASE_URL}/shop/pictures/{name}.svg",
    }
    graphql = GraphQLEndpoint(**{**given, **door})
    signin = Storefront(
        database=infrastructure.database,
        visit=shop.visit,
        authenticator=authenticator,
        sign_out=build_sign_out_authenticator(infrastructure, sources, shop),
        cookies=build_cookie_policy(infrastructure, shop),
        clock=clock,
    )
    app = Starlette(routes=[Route("/graphql", endpoint=graphql), *signin.routes()])
    _OPEN.append(infrastructure.database)
    try:
        await accounts.sessions.listen()
        stand = Stand(infrastructure, accounts, shop, graphql, app)
        await stand.stock("kettle")
        yield stand
    finally:
        _OPEN.remove(infrastructure.database)
        await accounts.sessions.close()
        await infrastructure.http_client.close()
        await infrastructure.cache.close()
        await infrastructure.database.close()
        accounts.hasher.close()


@contextmanager
def statements() -> Iterator[list[str]]:
    """Collect every statement that is sent to the database during the block."""
    seen: list[str] = []
    with ExitStack() as listening:
        for database in _OPEN:
            listening.enter_context(database.observed(seen.append))
        yield seen


_OPEN: list[Database] = []
"""The databases of the shops that are open."""


@cache
def _catalogue() -> Catalogue:
    return read_catalogue()


SIGN_UP = """
mutation SignUp($input: CustomerSignUpInput!) {
  signUp(customerSignUpInput: $input) {
    code success message
    customer { id email firstName lastName }
    problems { field id message }
  }
}
"""

CART = """
fragment InCart on Cart {
  id active state totalQuantity revision
  totalPurchasePrice { moneyAmounts { amount centAmount currency displayValue } }
  entries { id quantity purchasePrice { moneyAmounts { centAmount } } items { itemId { id code } displayName } }
}
"""

GET_CART = "query Cart($id: String) { getCart(id: $id) { ...InCart } }" + CART

ADD = (
    "mutation Add($input: AddToCartInput!) { addToCart(addToCartInput: $input) { code success cart { ...InCart } } }"
    + CART
)

UPDATE = (
    "mutation Update($input: UpdateCartInput!) { updateCart(updateCartInput: $input) { cart { ...InCart } } }" + CART
)

REMOVE = (
    "mutation Remove($input: RemoveFromCartInput!)"
    " { removeFromCart(removeFromCartInput: $input) { cart { ...InCart } } }" + CART
)

ORDER = """
fragment InOrder on Order {
  id orderNumber draft status creationDate email
  totalAmount { centAmount currency }
  orderItems { id code displayName quantity totalPrice { moneyAmounts { centAmount } } item { itemId { id } } }
}
"""

CHECK_OUT = "mutation CheckOut($cart: String!) { checkOut(cartId: $cart) { code order { ...InOrder } } }" + ORDER
PLACE = "mutation Place($order: String!) { placeOrder(id: $order) { code order { ...InOrder } } }" + ORDER
ORDERS = "query Orders { findOrders { total count orders { ...InOrder } } }" + ORDER
GET_ORDER = "query Order($id: String!) { getOrderById(id: $id) { ...InOrder } }" + ORDER
ME = "query CurrentCustomer { getCurrentCustomer { id email firstName } }"
