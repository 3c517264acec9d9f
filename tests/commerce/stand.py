"""A shop to test with: an engine on a real database, and a few articles whose stock and prices are known."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Executable, Row, func, select, update
from sqlalchemy.sql.schema import Table

from shopkeeper.clock import Clock
from shopkeeper.commerce.binding import engine_session
from shopkeeper.commerce.embedded.demo import Catalogue, DemoCategory, DemoProduct, DemoShop, DemoVariant
from shopkeeper.commerce.embedded.engine import EmbeddedEngine
from shopkeeper.commerce.embedded.load import load
from shopkeeper.commerce.embedded.store import variants
from shopkeeper.commerce.port import CartMergeReport, Carts, Engine, EngineSession, Grant, Profile, Shopper, ShopperKind
from shopkeeper.storage.database import Database, Unit
from shopkeeper.storage.outbox import Outbox, outbox
from tests.commerce.remote_engine import remote_engine

STORES = ("north", "south")

PLENTY, PLENTY_TOO, FEW, SOLD_OUT, EUROS_ONLY = "PLENTY", "PLENTY-TOO", "FEW", "SOLD-OUT", "EUROS-ONLY"
FEW_LEFT = 5


def guest(name: str = "ann", *, store: str = "north", currency: str = "EUR") -> Shopper:
    return Shopper(ShopperKind.GUEST, f"guest-{name}", store, currency)


def customer(name: str = "cleo", *, store: str = "north", currency: str = "EUR") -> Shopper:
    return Shopper(ShopperKind.CUSTOMER, f"identity-{name}", store, currency)


def variant(sku: str, *, stock: int = 1000, name: str = "", price: Mapping[str, int] | None = None) -> DemoVariant:
    return DemoVariant(sku=sku, name=name, price=price or {"EUR": 250, "USD": 300}, stock=stock, weight=1)


def product(id_: str, *variants_: DemoVariant, **words: Any) -> DemoProduct:
    told: dict[str, Any] = {
        "name": id_.replace("-", " ").capitalize(),
        "category": "pantry",
        "alt": "",
        "description": "",
        "keywords": (),
        "attributes": {},
    }
    return DemoProduct(id=id_, variants=variants_, **{**told, **words})


def catalogue(*products: DemoProduct, categories: tuple[str, ...] = ("pantry", "kitchen")) -> Catalogue:
    shelves = tuple(
        DemoCategory(id=name, name=name.capitalize(), description="", cover=products[0].id) for name in categories
    )
    shop = DemoShop(name="A test", tagline="", welcome="", currencies=("EUR", "USD"))
    return Catalogue(shop=shop, categories=shelves, products=products)


ARTICLES = catalogue(
    product("tea", variant(PLENTY, name="100 g"), variant(PLENTY_TOO, name="200 g", price={"EUR": 499, "USD": 550})),
    product("honey", variant(FEW, stock=FEW_LEFT)),
    product("jam", variant(SOLD_OUT, stock=0)),
    product("stove", variant(EUROS_ONLY, price={"EUR": 99_900}), category="kitchen"),
)


@dataclass(frozen=True)
class CartsOnlySession:
    """A session of an engine that has no part beside its carts."""

    shopper: Shopper
    carts: Carts
    catalogue: None = None
    orders: None = None
    customers: None = None


class CartsOnly:
    """The smallest possible engine: the embedded one without its catalogue, orders and customers."""

    name = "carts-only"
    shares_transaction = True

    def __init__(self, clock: Clock) -> None:
        self._engine = EmbeddedEngine(clock)

    def bind(self, unit: Unit | None, shopper: Shopper, grant: Grant | None = None) -> CartsOnlySession:
        return CartsOnlySession(shopper, self._engine.bind(unit, shopper).carts)

    async def merge_guest_cart(self, unit: Unit | None, **named: Any) -> CartMergeReport:
        return await self._engine.merge_guest_cart(unit, **named)

    async def forget(self, unit: Unit | None, identity_id: str) -> None:
        """Delete nothing: this engine keeps nothing that a customer's record would lead to."""


class Bound:
    """A part of an engine whose every call opens a session of its own, bound to the shopper in its first argument."""

    def __init__(self, database: Database, engine: Engine, part: str) -> None:
        self._database, self._engine, self._part = database, engine, part

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(shopper: Shopper, *arguments: Any, **named: Any) -> Any:
            async with engine_session(self._engine, shopper, open_unit=self._database.unit) as session:
                return await getattr(getattr(session, self._part), name)(*arguments, **named)

        return call


@dataclass
class Stand:
    """The shop, and queries of its tables."""

    database: Database
    engine: Engine

    def __post_init__(self) -> None:
        self.carts = Bound(self.database, self.engine, "carts")
        self.catalogue = Bound(self.database, self.engine, "catalogue")
        self.orders = Bound(self.database, self.engine, "orders")
        self.customers = Bound(self.database, self.engine, "customers")

    def session(self, shopper: Shopper) -> AbstractAsyncContextManager[EngineSession]:
        """Open a session for several calls."""
        return engine_session(self.engine, shopper, open_unit=self.database.unit)

    async def merge_guest_cart(self, **named: Any) -> CartMergeReport:
        """Merge in a unit of its own, where the engine shares it."""
        async with self._unit() as unit:
            return await self.engine.merge_guest_cart(unit, **named)

    async def forget(self, identity_id: str) -> None:
        async with self._unit() as unit:
            await self.engine.forget(unit, identity_id)

    @asynccontextmanager
    async def _unit(self) -> AsyncIterator[Unit | None]:
        if not self.engine.shares_transaction:
            yield None
            return
        async with self.database.unit() as unit:
            yield unit

    async def add(
        self, shopper: Shopper, variant_id: str = PLENTY, quantity: int = 1, cart_id: str | None = None
    ) -> Any:
        return await self.carts.add(shopper, cart_id=cart_id, variant_id=variant_id, quantity=quantity)

    async def place(self, shopper: Shopper, order_id: str, profile: Profile | None = None) -> Any:
        return await self.orders.place(shopper, order_id=order_id, profile=profile)

    async def set_stock(self, variant_id: str, stock: int) -> None:
        async with self.database.unit() as unit:
            await unit.write(update(variants).where(variants.c.id == variant_id).values(stock=stock))

    async def stock(self, variant_id: str, *, store: str = "north") -> int:
        return (await self.catalogue.variants(guest(store=store), [variant_id]))[variant_id][1].stock

    async def events(self, topic: str) -> list[Row[Any]]:
        return await self.rows(select(outbox).where(outbox.c.topic == topic).order_by(outbox.c.sequence))

    async def rows(self, query: Executable) -> list[Row[Any]]:
        async with self.database.unit() as unit:
            return list(await unit.all(query))

    async def count(self, *tables: Table) -> int:
        async with self.database.unit() as unit:
            return sum([await unit.scalar(select(func.count()).select_from(table)) for table in tables])


async def embedded(database: Database, clock: Clock) -> Stand:
    async with database.unit() as unit:
        for store in STORES:
            await load(unit, store=store, catalogue=ARTICLES)
    return Stand(database, EmbeddedEngine(clock, events=Outbox(clock)))


@asynccontextmanager
async def local(database: Database, clock: Clock) -> AsyncIterator[Stand]:
    """The embedded engine, called directly."""
    yield await embedded(database, clock)


@asynccontextmanager
async def remote(database: Database, clock: Clock) -> AsyncIterator[Stand]:
    """The embedded engine behind HTTP, called through its connector."""
    shop = await embedded(database, clock)
    async with remote_engine(shop.engine, database) as (server, engine):
        yield Stand(database, engine)
    assert server.failures == []


ENGINES: Mapping[str, Callable[[Database, Clock], AbstractAsyncContextManager[Stand]]] = {
    "embedded": local,
    "remote": remote,
}
"""Every engine that exists: the conformance suite runs on each."""


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """Collect the statements that a database is sent while the context is open."""
    seen: list[str] = []

    def note(statement: str) -> None:
        if not statement.startswith("BEGIN"):
            seen.append(statement)

    with database.observed(note):
        yield seen


def contents(cart: Any) -> dict[str, int]:
    """Return the contents of a cart: quantity by variant."""
    return {line.variant_id: line.quantity for line in cart.lines}


def report(cart_merge: Any) -> dict[str, tuple[int, int, int, str]]:
    """Return a cart merge's lines by variant: before, wanted, after, change."""
    return {line.variant_id: (line.before, line.wanted, line.after, line.change.value) for line in cart_merge.lines}
