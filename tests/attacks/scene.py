"""The scene of the attacks: a whole application as in production, and its clients."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2

from shopkeeper.app import Application, Extensions, build
from shopkeeper.clock import StoppedClock
from shopkeeper.commerce.embedded import demo
from shopkeeper.commerce.embedded.load import load as load_catalogue
from shopkeeper.notify.values import CourierMessage
from shopkeeper.settings import load

ADDRESS = "https://shop.test"
ADMIN_ADDRESS = "https://admin.shop.test"
EVIL = "https://evil.test"
APP = "https://app.test"
KEY = "7Vt0cHnB3qLx9sRw5yZk2mJd8fGp4aEu"
PASSWORD = "a kettle on the plum shelf"
HERE = "203.0.113.7"
THERE = "198.51.100.9"
HTML = "text/html,application/xhtml+xml,*/*;q=0.8"

SETTINGS: dict[str, Any] = {
    "serve": {"public": {"base_url": f"{ADDRESS}/"}, "admin": {"base_url": f"{ADMIN_ADDRESS}/"}},
    "secrets": {"default": ["b8f2c7d91e04a36f"], "cipher": ["0f9e8d7c6b5a49382716051423324150"]},
    "admin": {"api_keys": [KEY]},
    "hashers": {"argon2": {"memory": "8KB", "iterations": 1}, "pool": {"workers": 2, "queue": 500}},
    "selfservice": {
        "allowed_return_urls": [APP],
        "methods": {"password": {"config": {"haveibeenpwned_enabled": False}}},
        "flows": {"registration": {"style": "unified", "after": {"password": {"hooks": [{"hook": "session"}]}}}},
    },
}
OWN_PAGE = {"sec-fetch-site": "same-origin", "origin": ADDRESS}
OTHER_PAGE = {"sec-fetch-site": "cross-site", "origin": EVIL}


@dataclass(frozen=True)
class Scene:
    """An application, and ways to open clients of it."""

    application: Application
    clock: StoppedClock
    _clients: AsyncExitStack = field(repr=False)
    _said: dict[UUID, CourierMessage] = field(default_factory=dict, repr=False)

    async def native(self, *, ip: str = HERE, **headers: str) -> httpx2.AsyncClient:
        """Open a client of the public port that sends the headers of an app, not of a browser."""
        return await self._client(self.application.public, ADDRESS, ip, headers)

    async def browser(self, *, ip: str = HERE, **headers: str) -> "Browser":
        """Open a browser without cookies."""
        transport = httpx2.ASGITransport(app=self.application.public, client=(ip, 40_000))
        browser = Browser(transport=transport, base_url=ADDRESS, headers={"accept": HTML, **_dashed(headers)})
        return await self._clients.enter_async_context(browser)

    async def admin(self, *, key: str | None = KEY) -> httpx2.AsyncClient:
        """Open a client of the admin port; with None as `key` it sends no key."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return await self._client(self.application.admin, ADMIN_ADDRESS, HERE, headers)

    async def rows(self, table: str) -> list[dict[str, Any]]:
        """Return every row of a table."""
        async with self.application.infrastructure.database.transaction() as connection:
            found = await connection.exec_driver_sql(f"SELECT * FROM {table}")
            return [dict(row) for row in found.mappings()]

    async def mails(self) -> list[CourierMessage]:
        """Deliver every due event of the outbox, and return the mails as they were sent."""
        await self.waiting_mails()
        while await self.application.worker.run_once():
            pass
        return [self._as_sent(mail) for mail in await self.waiting_mails()]

    async def waiting_mails(self) -> list[CourierMessage]:
        """Return the mails as they are stored, newest first, and opened where they are sealed."""
        courier = self.application.commerce.courier
        async with self.application.infrastructure.database.unit() as unit:
            stored = (await courier.messages(unit, limit=100)).items
        mails = [courier.as_sent(mail) for mail in stored]
        self._said.update({mail.id: mail for mail in mails if mail.body})
        return mails

    def _as_sent(self, mail: CourierMessage) -> CourierMessage:
        """Return a mail with what it said, which is deleted where it was a code."""
        said = self._said.get(mail.id, mail)
        return replace(mail, subject=said.subject, body=said.body, html=said.html)

    async def _client(self, app: Any, address: str, ip: str, headers: Mapping[str, str]) -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(app=app, client=(ip, 40_000))
        client = httpx2.AsyncClient(transport=transport, base_url=address, headers=_dashed(headers))
        return await self._clients.enter_async_context(client)


@asynccontextmanager
async def opened(
    dsn: str,
    folder: Path,
    clock: StoppedClock,
    *,
    settings: Mapping[str, Any],
    dev: bool = False,
    extensions: Extensions | None = None,
) -> AsyncIterator[Scene]:
    """Open an application with a stocked shop."""
    file = folder / "shop.json"
    file.write_text(json.dumps(_merged({**SETTINGS, "dsn": dsn}, settings)))
    application = await build(load([file], {}, dev=dev, demo=False), clock=clock, extensions=extensions)
    async with AsyncExitStack() as closing:
        closing.push_async_callback(application.infrastructure.database.close)
        closing.push_async_callback(application.infrastructure.cache.close)
        closing.push_async_callback(application.infrastructure.http_client.close)
        closing.push_async_callback(application.infrastructure.jsonnet.close)
        closing.callback(application.accounts.hasher.close)
        await application.listen()
        closing.push_async_callback(application.accounts.sessions.close)
        closing.push_async_callback(application.accounts.session_servers.answers.close)
        async with application.infrastructure.database.unit() as unit:
            for store in application.commerce.stores.fronts:
                await load_catalogue(unit, store=store.id, catalogue=demo.read_catalogue())
        yield Scene(application, clock, await closing.enter_async_context(AsyncExitStack()))


def _merged(one: Any, other: Any) -> Any:
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        return other
    return {**one, **{name: _merged(one.get(name, {}), value) for name, value in other.items()}}


def _dashed(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def written_schema(folder: Path, traits: Mapping[str, Any]) -> str:
    """Write an identity schema with these traits; return its address."""
    file = folder / "schema.json"
    document = {"type": "object", "properties": {"traits": {"type": "object", "properties": dict(traits)}}}
    file.write_text(json.dumps(document))
    return file.as_uri()


def new_address(name: str = "ada") -> str:
    return f"{name}-{uuid4().hex[:12]}@example.org"


# -- what apps do ------------------------------------------------------------------------------------------------------


async def submit(app: httpx2.AsyncClient, kind: str, fields: Mapping[str, Any]) -> httpx2.Response:
    """Open a native flow and submit it."""
    flow = (await app.get(f"/self-service/{kind}/api")).json()
    return await app.post(f"/self-service/{kind}?flow={flow['id']}", json=fields)


async def sign_up(app: httpx2.AsyncClient, email: str, *, password: str = PASSWORD, **traits: Any) -> dict[str, Any]:
    """Register; return the answer with its session."""
    answer = await submit(
        app, "registration", {"method": "password", "password": password, "traits": {"email": email, **traits}}
    )
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def sign_in(app: httpx2.AsyncClient, email: str, password: str = PASSWORD) -> httpx2.Response:
    """Submit a native login flow."""
    return await submit(app, "login", {"method": "password", "identifier": email, "password": password})


async def visit(app: httpx2.AsyncClient, **fields: Any) -> dict[str, Any]:
    """Call `/signin`, which must succeed."""
    answer = await app.post("/signin", json=fields)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def ask(app: httpx2.AsyncClient, token: str, query: str, **variables: Any) -> dict[str, Any]:
    """Send a GraphQL operation with a token; return the whole answer."""
    answer = await app.post(
        "/graphql", json={"query": query, "variables": variables}, headers={"authorization": f"Bearer {token}"}
    )
    return dict(answer.json())


async def fill_cart(app: httpx2.AsyncClient, token: str, *, quantity: int = 1) -> str:
    """Put something into a new cart; return its id."""
    found = await ask(app, token, FIRST)
    variant = found["data"]["findItemsByKeyword"]["items"][0]["variants"][0]["itemId"]["id"]
    added = await ask(app, token, ADD, item=variant, quantity=quantity)
    assert "errors" not in added, added
    return str(added["data"]["addToCart"]["cart"]["id"])


FIRST = '{ findItemsByKeyword(text: "", limit: 1) { items { variants { itemId { id } } } } }'
ADD = """
mutation Add($item: String!, $quantity: Int) {
  addToCart(addToCartInput: {itemId: $item, quantity: $quantity}) { code cart { id totalQuantity } }
}
"""
CART = "query Cart($id: String) { getCart(id: $id) { id totalQuantity } }"
ME = "{ getCurrentCustomer { id email } }"
SIGN_UP = "mutation Up($i: CustomerSignUpInput!) { signUp(customerSignUpInput: $i) { code problems { id message } } }"
ORDER = "mutation Check($cart: String!) { checkOut(cartId: $cart) { code order { id } } }"
PLACE = "mutation Place($order: String!) { placeOrder(id: $order) { code order { id orderNumber } } }"
ORDERS = "{ findOrders { total orders { id } } }"


# -- what browsers do --------------------------------------------------------------------------------------------------


class Browser(httpx2.AsyncClient):
    """A browser: it keeps cookies and fills in forms. Redirects are followed where the test says so."""

    async def open_flow(self, kind: str, query: str = "") -> dict[str, Any]:
        """Open a flow as a single-page app, with the CSRF token that its page would have."""
        answer = await self.get(f"/self-service/{kind}/browser{query}", headers={"accept": "application/json"})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def send_flow(self, flow: Mapping[str, Any], fields: Mapping[str, Any]) -> httpx2.Response:
        """Submit the flow's form with the CSRF token in it."""
        whole = {"method": "password", "csrf_token": csrf_of(flow), **fields}
        return await self.post(flow["ui"]["action"], json=whole, headers={"accept": "application/json"})

    async def sign_up(self, email: str) -> httpx2.Response:
        """Register; this browser is signed in afterwards."""
        flow = await self.open_flow("registration")
        answer = await self.send_flow(flow, {"password": PASSWORD, "traits": {"email": email}})
        assert answer.status_code == 200, answer.text
        return answer

    async def sign_in(self, email: str, *, query: str = "") -> httpx2.Response:
        flow = await self.open_flow("login", query)
        return await self.send_flow(flow, {"identifier": email, "password": PASSWORD})

    async def form_of(self, path: str) -> dict[str, str]:
        """Return the hidden fields of the first form on a page."""
        page = _Hidden()
        page.feed((await self.get(path, follow_redirects=True)).text)
        return page.fields

    @property
    def session_cookie(self) -> str | None:
        return self.cookies.get("ory_kratos_session")

    async def whoami(self) -> str | None:
        """Return the id of the identity that this browser is signed in as, or None."""
        answer = await self.get("/sessions/whoami")
        return str(answer.json()["identity"]["id"]) if answer.status_code == 200 else None


class _Hidden(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "input" and given.get("type") == "hidden" and given.get("name"):
            self.fields.setdefault(str(given["name"]), given.get("value") or "")


def csrf_of(flow: Mapping[str, Any]) -> str:
    """Return the anti-CSRF token in a flow's form."""
    [value] = [n["attributes"]["value"] for n in flow["ui"]["nodes"] if n["attributes"]["name"] == "csrf_token"]
    return str(value)


def set_cookies(answer: httpx2.Response) -> dict[str, str]:
    """Return the `Set-Cookie` lines of an answer by cookie name, without the prefix for exact hosts, and without the
    digest that ends the anti-CSRF cookie's name."""
    lines = answer.headers.get_list("set-cookie")
    return {re.sub(r"^__Host-|_[0-9a-f]{64}$", "", line.partition("=")[0]): line for line in lines}
