"""The house as a whole: all floors put together, what goes on in it by itself, and how it opens and closes."""

import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from starlette.types import ASGIApp

from shopkeeper.app.background import Background
from shopkeeper.app.doors import build_admin, build_authenticator, build_health, build_public, session_body
from shopkeeper.app.extensions import Extensions
from shopkeeper.app.ground import Foundation, build_foundation
from shopkeeper.app.people import People, build_people
from shopkeeper.app.shop import Shop, build_shop
from shopkeeper.clock import Clock, SystemClock
from shopkeeper.commerce.port import HasSampleData
from shopkeeper.errors import UpstreamFailed
from shopkeeper.flows import store as flow_store
from shopkeeper.http.observing import Metrics
from shopkeeper.settings import Settings
from shopkeeper.storage.database import Unit
from shopkeeper.storage.delivering import Handler, OutboxWorker, Subscriber
from shopkeeper.storage.migrate import migrate
from shopkeeper.storage.outbox import topic_for
from shopkeeper.storage.upkeep import Chore, Upkeep

LISTENERS: Mapping[str, Mapping[str, Callable[[Shop], Handler]]] = {
    "order.placed": {"mail": lambda shop: shop.courier.on_order_placed},
    "cart.handed_over": {},
    "identity.changed": {},
    "identity.deleted": {},
}
"""Who hears of what happened in the house, by topic and name. Each has deliveries of its own; a topic that nobody hears
is not written down."""


class Misconfigured(Exception):
    """No house can be built with these settings; the sentence says what is wrong with them."""


@dataclass(frozen=True, slots=True)
class House:
    """The whole of it, ready to be served."""

    public: ASGIApp
    admin: ASGIApp
    worker: OutboxWorker
    upkeep: Upkeep
    background: Background
    foundation: Foundation
    people: People
    shop: Shop


async def build(settings: Settings, *, clock: Clock | None = None, extensions: Extensions | None = None) -> House:
    """Builds the house; nothing is started yet. Raises `Misconfigured` where a room refuses its settings."""
    try:
        return await _build(settings, clock=clock or SystemClock(), extensions=extensions or Extensions())
    except (ValueError, UpstreamFailed) as refused:
        sentence = str(refused).rstrip(".")
        raise Misconfigured(f"The server cannot work with this configuration: {sentence}.") from refused


async def _build(settings: Settings, *, clock: Clock, extensions: Extensions) -> House:
    ground = build_foundation(settings, clock, listeners=LISTENERS)
    people = await build_people(
        ground,
        render=session_body(ground),
        further_facts=extensions.facts,
        further_methods=extensions.methods,
    )
    shop = build_shop(ground, people, further_hooks=extensions.hooks)
    authenticator = build_authenticator(ground, people, shop)
    metrics = Metrics(ground.registry)
    background = Background()
    health = build_health(ground, background)
    return House(
        public=build_public(
            ground,
            people,
            shop,
            authenticator,
            metrics=metrics,
            health=health,
            further_flows=extensions.flows,
        ),
        admin=build_admin(ground, people, metrics=metrics, health=health),
        worker=_worker(ground, shop),
        upkeep=_upkeep(ground, people, shop),
        background=background,
        foundation=ground,
        people=people,
        shop=shop,
    )


def _worker(ground: Foundation, shop: Shop) -> OutboxWorker:
    settings, courier = ground.settings, shop.courier
    mails = Subscriber(courier.deliver, give_up=courier.give_up, least_attempts=settings.courier.message_retries + 1)
    worker = OutboxWorker(
        ground.database,
        {"mail": mails, **shop.merges.subscribers(), **_listening(shop)},
        clock=ground.clock,
        random=random.SystemRandom().random,
        poll=settings.outbox.poll,
        give_up_after=settings.outbox.give_up_after,
    )
    ground.outbox.wakes(worker.wake)
    return worker


def _listening(shop: Shop) -> Mapping[str, Subscriber]:
    return {
        topic_for(name, topic): Subscriber(handler(shop))
        for topic, listeners in LISTENERS.items()
        for name, handler in listeners.items()
    }


def _upkeep(ground: Foundation, people: People, shop: Shop) -> Upkeep:
    async def flows(unit: Unit, before: datetime, batch: int) -> int:
        return await flow_store.purge(unit, before=before, batch=batch)

    async def flow_errors(unit: Unit, before: datetime, batch: int) -> int:
        return await flow_store.purge_errors(unit, before=before, batch=batch)

    async def audited(unit: Unit, before: datetime, batch: int) -> int:
        return await ground.audit.purge(unit, before=before, batch=batch)

    async def delivered(unit: Unit, before: datetime, batch: int) -> int:
        return await ground.outbox.purge(unit, before=before, batch=batch)

    chores = [
        Chore("flows", timedelta(days=1), flows),
        Chore("flow errors", timedelta(days=1), flow_errors),
        Chore("sessions", timedelta(days=7), people.sessions.purge_expired),
        Chore("audit", timedelta(days=400), audited),
        Chore("outbox", timedelta(days=7), delivered),
        *shop.chores,
    ]
    return Upkeep(ground.database, chores, clock=ground.clock, every=timedelta(minutes=1))


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[House]:
    """The house, at work until the context ends: it listens for news of sessions, delivers, and tidies up."""
    async with AsyncExitStack() as closing:
        house = await closing.enter_async_context(_built(settings))
        if settings.dsn.kind == "memory":
            # Such a database begins with the process that opens it: nobody can have migrated it before.
            await migrate(house.foundation.database)
        await house.people.sessions.listen()
        closing.push_async_callback(house.people.sessions.close)
        if settings.demo:
            await stock_the_shop(house)
        closing.push_async_callback(house.background.end)
        house.background.start("upkeep", house.upkeep.run())
        if settings.outbox.worker == "in_process":
            house.background.start("outbox", house.worker.run())
        yield house


async def rehearse(settings: Settings) -> None:
    """Builds the house and lets go of it again, without opening anything: raises what a start would raise."""
    async with _built(settings):
        pass


@asynccontextmanager
async def _built(settings: Settings) -> AsyncIterator[House]:
    house = await build(settings)
    async with AsyncExitStack() as closing:
        closing.push_async_callback(house.foundation.database.close)
        closing.push_async_callback(house.foundation.cache.close)
        closing.push_async_callback(house.foundation.outgoing.close)
        closing.callback(house.people.hasher.close)
        closing.callback(house.people.policy.close)
        yield house


async def stock_the_shop(house: House) -> None:
    """Loads the demo catalogue into every store whose shelves are empty, where its engine has one.

    What is on a shelf stays as it is: prices that were changed and pieces that were sold do not come back at a start.
    """
    for store in house.shop.stores.fronts:
        engine = house.shop.engines[store.engine]
        if isinstance(engine, HasSampleData):
            async with house.foundation.database.unit() as unit:
                await engine.load_sample_data(unit, store.id)
