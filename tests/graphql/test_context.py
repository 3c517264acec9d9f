"""What a resolver reads with: kept for an operation, new for each event of a subscription and after each mutation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import strawberry
from graphql import ExecutionResult, Executor, create_source_event_stream, map_source_to_response_event, parse
from graphql.execution import execute_subscription_event
from sqlalchemy import update
from strawberry.schema.config import StrawberryConfig

from shopkeeper.client import Client as Caller
from shopkeeper.commerce.embedded.store import products
from shopkeeper.commerce.port import Shopper
from shopkeeper.graphql.carts import Cart, cart_of
from shopkeeper.graphql.context import Context, Info, Operation, Operations
from shopkeeper.graphql.fields import resolved
from shopkeeper.graphql.items import Item, ItemVariant
from shopkeeper.graphql.money import SCALARS
from shopkeeper.graphql.schema import Query
from shopkeeper.sessions.values import Principal, PrincipalKind
from shopkeeper.storage.database import Database, Unit
from tests.graphql.shop import Stand

ITEM = "QK-KETTLE-NAV"
WATCH = "subscription { ticks { number cart { totalQuantity entries { items { displayName } } } } }"


@dataclass
class Units:
    """Opens units of a database, and records which are open and which were."""

    database: Database
    open: list[Unit] = field(default_factory=list)
    closed: list[Unit] = field(default_factory=list)

    @asynccontextmanager
    async def unit(self) -> AsyncIterator[Unit]:
        async with self.database.unit() as unit:
            self.open.append(unit)
            yield unit
        self.open.remove(unit)
        self.closed.append(unit)


@dataclass
class Ticks:
    """The source of events, and the values that each of them was resolved with."""

    operations: list[Operation] = field(default_factory=list)
    open_meanwhile: list[int] = field(default_factory=list)


@strawberry.type
class Tick:
    number: int
    ticks: strawberry.Private[Ticks]
    units: strawberry.Private[Units]

    @resolved("The cart at this moment.")
    async def cart(self, info: Info) -> Cart | None:
        self.ticks.operations.append(info.context.operation)
        self.ticks.open_meanwhile.append(len(self.units.open))
        cart = await info.context.engine.carts.current()
        return await cart_of(cart, info.context) if cart else None


@dataclass(frozen=True)
class Watched:
    """A subscription that runs on the shop of a test."""

    stand: Stand
    units: Units
    ticks: Ticks
    shopper: Shopper

    @property
    def operations(self) -> Operations:
        return Operations(self.units.unit, self.stand.shop.engines["embedded"], self.shopper)

    def context(self, unit: Unit) -> Context:
        return Context(
            operations=self.operations,
            operation=self.operations.within(unit),
            principal=Principal(PrincipalKind.ANONYMOUS, self.shopper.id, self.shopper.store, Caller(ip="203.0.113.7")),
            registration=None,  # type: ignore[arg-type] # there is no mutation in a subscription
            pictures=lambda name: name,
            locale="en",
            asked=frozenset({"items"}),
        )

    async def fill(self, quantity: int) -> None:
        async with self.operations.change() as engine:
            await engine.carts.add(cart_id=None, variant_id=ITEM, quantity=quantity)

    async def rename(self, name: str) -> None:
        async with self.stand.infrastructure.database.unit() as unit:
            await unit.write(update(products).where(products.c.id == "whistling-kettle").values(name=name))

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[ExecutionResult]]:
        """Yield the answers of a subscription, each made when it is asked for."""
        ticks, units = self.ticks, self.units

        @strawberry.type
        class Subscription:
            @strawberry.subscription
            async def ticks(self) -> AsyncIterator[Tick]:
                for number in range(2):
                    yield Tick(number=number, ticks=ticks, units=units)

        schema = strawberry.Schema(
            query=Query,
            subscription=Subscription,
            types=[Item, ItemVariant],
            config=StrawberryConfig(scalar_map=SCALARS),
        )
        async with units.unit() as unit:
            executor = Executor.build(schema._schema, parse(WATCH), context_value=self.context(unit))
            assert isinstance(executor, Executor)
            source = create_source_event_stream(executor)
            yield map_source_to_response_event(executor, await source, execute_event)


async def execute_event(executor: Executor) -> ExecutionResult:
    """Do what a transport of subscriptions does for each event: `executor` belongs to the event, its context does
    not."""
    async with executor.context_value.event() as context:
        executor.context_value = context
        return await execute_subscription_event(executor)


def shown(result: ExecutionResult) -> tuple[int, str]:
    assert result.errors is None, result.errors
    cart = result.data["ticks"]["cart"]
    return cart["totalQuantity"], cart["entries"][0]["items"][0]["displayName"].partition(",")[0]


@pytest.fixture
async def watched(small_stand: Stand) -> Watched:
    shopper = small_stand.shop.stores.require("kettle").guest("ann")
    watched = Watched(small_stand, Units(small_stand.infrastructure.database), Ticks(), shopper)
    await watched.fill(1)
    return watched


class TestASubscription:
    async def test_reads_each_event_anew(self, watched: Watched) -> None:
        await watched.rename("A kettle")
        async with watched.events() as events:
            first = shown(await anext(events))
            await watched.rename("Another kettle")
            await watched.fill(2)
            second = shown(await anext(events))
        assert (first, second) == ((1, "A kettle"), (3, "Another kettle"))

    async def test_gives_each_event_a_unit_a_session_and_loaders_of_its_own(self, watched: Watched) -> None:
        async with watched.events() as events:
            await anext(events)
            await anext(events)
        one, two = watched.ticks.operations
        assert one.unit is not two.unit
        assert one.engine is not two.engine
        assert one.loaders is not two.loaders

    async def test_closes_the_unit_of_an_event_with_the_event(self, watched: Watched) -> None:
        async with watched.events() as events:
            [of_the_subscription] = watched.units.open
            await anext(events)
            [first] = watched.ticks.operations
            assert watched.units.open == [of_the_subscription]
            assert first.unit in watched.units.closed
            await anext(events)
        assert watched.ticks.open_meanwhile == [2, 2]
        assert watched.units.open == []


class TestAMutation:
    async def test_has_a_session_of_its_own(self, watched: Watched) -> None:
        async with watched.units.unit() as unit:
            context = watched.context(unit)
            async with context.change() as engine:
                assert engine is not context.engine
                assert watched.units.open[0] is unit
                assert len(watched.units.open) == 2
            assert watched.units.open == [unit]

    @pytest.mark.parametrize("fails", [False, True], ids=["done", "failed"])
    async def test_has_what_was_read_before_read_again_after_it(self, watched: Watched, fails: bool) -> None:
        async with watched.units.unit() as unit:
            context = watched.context(unit)
            before = await context.loaders.product("whistling-kettle")
            await watched.rename("Another kettle")
            assert await context.loaders.product("whistling-kettle") is before
            await _change(context, fails=fails)
            after = await context.loaders.product("whistling-kettle")
        assert (before is not None, after is not None and after.name) == (True, "Another kettle")


async def _change(context: Context, *, fails: bool) -> None:
    try:
        async with context.change():
            if fails:
                raise LookupError
    except LookupError:
        pass
