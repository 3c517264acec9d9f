"""A shop with a remote engine: everything works, and the engine is never called while a transaction is open."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from shopkeeper.client import Client as Caller
from shopkeeper.clock import StoppedClock
from shopkeeper.commerce.port import Profile
from shopkeeper.sessions.values import Principal, PrincipalKind
from tests.commerce.stand import statements
from tests.conftest import Run
from tests.graphql.elsewhere import CalledInsideATransaction, ElsewhereEngine, elsewhere
from tests.graphql.shop import (
    ADD,
    CHECK_OUT,
    GET_CART,
    GET_ORDER,
    ME,
    ORDERS,
    PLACE,
    REMOVE,
    SIGN_UP,
    UPDATE,
    Client,
    Stand,
    opened,
)
from tests.services.databases import new_sqlite, sqlalchemy_url

ITEM = "QK-KETTLE-NAV"
CREATE = "mutation($c: String) { createCart(createCartInput: {currency: $c}) { cart { id } } }"
PLACE_NUMBERED = "mutation($order: String!, $number: String) { placeOrder(id: $order, orderNumber: $number) { code } }"


@dataclass(frozen=True)
class Scene:
    """Our side, the engine's side, and a client who is known by name alone."""

    stand: Stand
    engine: ElsewhereEngine

    def visitor(self) -> Client:
        return self.stand.client(**{"x-subject": "ann", "x-kind": "anonymous"})

    def customer(self, name: str = "ada") -> Client:
        return self.stand.client(**{"x-subject": name, "x-kind": "customer"})


async def _identify(request: Request) -> Principal:
    kind = PrincipalKind(request.headers["x-kind"])
    return Principal(kind, request.headers["x-subject"], "kettle", Caller(ip="203.0.113.7"))


@pytest.fixture
async def scene(
    run: Run, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Scene]:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "theirs"
    place.mkdir()
    theirs = Path(new_sqlite(run.folder, place).removeprefix("sqlite://"))
    ours = Path(sqlalchemy_url(sqlite_dsn).removeprefix("sqlite+aiosqlite:///"))
    async with (
        elsewhere(theirs, ours, clock) as engine,
        opened(sqlite_dsn, tmp_path, clock, engines={"embedded": engine}, identify=_identify) as stand,
    ):
        yield Scene(stand, engine)


async def filled(client: Client, quantity: int = 2) -> dict[str, Any]:
    return dict((await client.data(ADD, input={"itemId": ITEM, "quantity": quantity}))["addToCart"]["cart"])


class TestTheDouble:
    async def test_refuses_calls_while_a_transaction_is_open(self, scene: Scene) -> None:
        carts = scene.engine.bind(None, scene.stand.shop.stores.require("kettle").guest("ann")).carts
        async with scene.stand.infrastructure.database.unit() as unit:
            assert await carts.current() is None
            await unit.begin()
            with pytest.raises(CalledInsideATransaction):
                await carts.current()


class TestAnEngineElsewhere:
    async def test_fills_carts_and_shows_them(self, scene: Scene) -> None:
        visitor = scene.visitor()
        cart = await filled(visitor)
        assert (cart["totalQuantity"], cart["entries"][0]["items"][0]["itemId"]["code"]) == (2, ITEM)
        changes = {"cartId": cart["id"], "entryId": cart["entries"][0]["id"]}
        more = (await visitor.data(UPDATE, input={**changes, "quantity": 5}))["updateCart"]["cart"]
        assert (await visitor.data(GET_CART))["getCart"] == more
        assert more["totalQuantity"] == 5
        assert (await visitor.data(REMOVE, input=changes))["removeFromCart"]["cart"]["totalQuantity"] == 0

    async def test_is_bound_to_the_currency_of_a_new_cart(self, scene: Scene) -> None:
        begun = (await scene.visitor().data(CREATE, c="USD"))["createCart"]["cart"]
        theirs = scene.engine.bind(None, scene.stand.shop.stores.require("kettle").guest("ann"))
        assert (await theirs.carts.require(begun["id"])).currency == "USD"

    async def test_takes_several_mutations_of_one_request(self, scene: Scene) -> None:
        one = f'addToCart(addToCartInput: {{itemId: "{ITEM}"}}) {{ cart {{ totalQuantity }} }}'
        both = await scene.visitor().data(f"mutation {{ first: {one} second: {one} }}")
        assert [both[name]["cart"]["totalQuantity"] for name in ("first", "second")] == [1, 2]

    async def test_takes_orders(self, scene: Scene) -> None:
        customer = scene.customer()
        draft = (await customer.data(CHECK_OUT, cart=(await filled(customer))["id"]))["checkOut"]["order"]
        placed = (await customer.data(PLACE, order=draft["id"]))["placeOrder"]["order"]
        assert (draft["status"], placed["status"]) == ("DRAFT", "PLACED")
        assert (await customer.data(GET_ORDER, id=draft["id"]))["getOrderById"] == placed
        assert (await customer.data(ORDERS))["findOrders"]["orders"] == [placed]

    async def test_places_no_order_whose_number_is_wrong(self, scene: Scene) -> None:
        """A remote engine rolls nothing back, so the number is compared before the call."""
        customer = scene.customer()
        draft = (await customer.data(CHECK_OUT, cart=(await filled(customer))["id"]))["checkOut"]["order"]
        refused = await customer.refusal(PLACE_NUMBERED, order=draft["id"], number="S-0000-0000-0000")
        assert "orderNumber" in refused["message"]
        assert (await customer.data(GET_ORDER, id=draft["id"]))["getOrderById"]["status"] == "DRAFT"
        await customer.data(PLACE_NUMBERED, order=draft["id"], number=draft["orderNumber"])
        assert (await customer.data(GET_ORDER, id=draft["id"]))["getOrderById"]["status"] == "PLACED"

    async def test_shows_its_catalogue_and_its_customers(self, scene: Scene) -> None:
        found = await scene.visitor().data('{ findItemsByKeyword(text: "kettle", limit: 1) { items { slug } } }')
        assert found["findItemsByKeyword"]["items"] == [{"slug": "whistling-kettle"}]
        theirs = scene.engine.bind(None, scene.stand.shop.stores.require("kettle").customer("ada"))
        await theirs.customers.ensure(Profile("ada", "ada@example.org", "Ada", "Lovelace"))
        assert (await scene.customer().data(ME))["getCurrentCustomer"]["firstName"] == "Ada"

    async def test_writes_nothing_to_our_database(self, scene: Scene) -> None:
        with statements(scene.stand.infrastructure.database) as seen:
            await filled(scene.visitor())
        assert [statement for statement in seen if not statement.lstrip().startswith("SELECT")] == []

    async def test_is_not_asked_where_an_account_is_made(self, scene: Scene) -> None:
        """Registering writes to our database, inside a transaction."""
        who = {"email": "ada@example.org", "password": "a-long-walk-to-the-orchard"}
        assert (await scene.visitor().data(SIGN_UP, input=who))["signUp"]["success"]
        assert scene.engine.calls == 0
