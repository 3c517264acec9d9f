"""The application: everything put together, its background tasks, and how it starts and stops."""

import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from starlette.types import ASGIApp

from shopkeeper.app.accounts import Accounts, build_accounts
from shopkeeper.app.background import Background
from shopkeeper.app.commerce import Commerce, build_commerce
from shopkeeper.app.extensions import Extensions
from shopkeeper.app.infrastructure import Infrastructure, build_infrastructure
from shopkeeper.app.routes import build_admin, build_authenticator, build_health, build_public, session_body
from shopkeeper.clock import Clock, SystemClock
from shopkeeper.commerce.port import HasSampleData
from shopkeeper.errors import UpstreamFailed
from shopkeeper.flows import store as flow_store
from shopkeeper.http.metrics import Metrics
from shopkeeper.http.request_limits import BodyBudget
from shopkeeper.settings import Settings
from shopkeeper.storage.cleanup import Cleanup, RetentionRule
from shopkeeper.storage.database import Unit
from shopkeeper.storage.migrate import migrate
from shopkeeper.storage.outbox import topic_for
from shopkeeper.storage.outbox_worker import Handler, OutboxWorker, Subscriber

LISTENERS: Mapping[str, Mapping[str, Callable[[Commerce], Handler]]] = {
    "order.placed": {"mail": lambda commerce: commerce.courier.on_order_placed},
    "cart.handed_over": {},
    "identity.changed": {},
    "identity.deleted": {},
}
"""The listeners of each topic, by topic and name. Each listener has deliveries of its own; an event of a topic without
listeners is not written.
"""


class Misconfigured(Exception):
    """The application cannot be built with these settings; the sentence gives the reason."""


@dataclass(frozen=True, slots=True)
class Application:
    """The application, ready to be served."""

    public: ASGIApp
    admin: ASGIApp
    worker: OutboxWorker
    cleanup: Cleanup
    background: Background
    bodies: BodyBudget
    infrastructure: Infrastructure
    accounts: Accounts
    commerce: Commerce


async def build(
    settings: Settings,
    *,
    clock: Clock | None = None,
    extensions: Extensions | None = None,
    with_graphql: bool = True,
) -> Application:
    """Build the application without starting anything. Raises `Misconfigured` where the settings are not usable."""
    try:
        return await _build(
            settings, clock=clock or SystemClock(), extensions=extensions or Extensions(), with_graphql=with_graphql
        )
    except (ValueError, UpstreamFailed) as refused:
        sentence = str(refused).rstrip(".")
        raise Misconfigured(f"The server cannot work with this configuration: {sentence}.") from refused


async def _build(settings: Settings, *, clock: Clock, extensions: Extensions, with_graphql: bool) -> Application:
    infrastructure = build_infrastructure(settings, clock, listeners=LISTENERS)
    accounts = await build_accounts(
        infrastructure,
        render=session_body(infrastructure),
        further_facts=extensions.facts,
        further_methods=extensions.methods,
    )
    commerce = build_commerce(infrastructure, accounts, further_hooks=extensions.hooks)
    authenticator = build_authenticator(infrastructure, accounts, commerce)
    metrics = Metrics(infrastructure.registry)
    bodies, background = BodyBudget(settings.http.max_bodies), Background()
    health = build_health(infrastructure, accounts, background)
    return Application(
        public=build_public(
            infrastructure,
            accounts,
            commerce,
            authenticator,
            bodies=bodies,
            metrics=metrics,
            health=health,
            further_flows=extensions.flows,
            with_graphql=with_graphql,
        ),
        admin=build_admin(infrastructure, accounts, bodies=bodies, metrics=metrics, health=health),
        worker=_worker(infrastructure, commerce),
        cleanup=_cleanup(infrastructure, accounts, commerce),
        background=background,
        bodies=bodies,
        infrastructure=infrastructure,
        accounts=accounts,
        commerce=commerce,
    )


def _worker(infrastructure: Infrastructure, commerce: Commerce) -> OutboxWorker:
    settings, courier = infrastructure.settings, commerce.courier
    mails = Subscriber(courier.deliver, give_up=courier.give_up, least_attempts=settings.courier.message_retries + 1)
    worker = OutboxWorker(
        infrastructure.database,
        {"mail": mails, **commerce.merges.subscribers(), **_listening(commerce)},
        clock=infrastructure.clock,
        random=random.SystemRandom().random,
        poll=settings.outbox.poll,
        give_up_after=settings.outbox.give_up_after,
    )
    infrastructure.outbox.wakes(worker.wake)
    return worker


def _listening(commerce: Commerce) -> Mapping[str, Subscriber]:
    return {
        topic_for(name, topic): Subscriber(handler(commerce))
        for topic, listeners in LISTENERS.items()
        for name, handler in listeners.items()
    }


def _cleanup(infrastructure: Infrastructure, accounts: Accounts, commerce: Commerce) -> Cleanup:
    async def flows(unit: Unit, before: datetime, batch: int) -> int:
        return await flow_store.purge(unit, before=before, batch=batch)

    async def flow_errors(unit: Unit, before: datetime, batch: int) -> int:
        return await flow_store.purge_errors(unit, before=before, batch=batch)

    async def audited(unit: Unit, before: datetime, batch: int) -> int:
        return await infrastructure.audit.purge(unit, before=before, batch=batch)

    async def delivered(unit: Unit, before: datetime, batch: int) -> int:
        return await infrastructure.outbox.purge(unit, before=before, batch=batch)

    retention_rules = [
        RetentionRule("flows", timedelta(days=1), flows),
        RetentionRule("flow errors", timedelta(days=1), flow_errors),
        RetentionRule("sessions", timedelta(days=7), accounts.sessions.purge_expired),
        RetentionRule("audit", timedelta(days=400), audited),
        RetentionRule("outbox", timedelta(days=7), delivered),
        *commerce.retention_rules,
    ]
    return Cleanup(infrastructure.database, retention_rules, clock=infrastructure.clock, every=timedelta(minutes=1))


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Application]:
    """Run the application until the context ends: receive session invalidations, deliver the outbox, run the
    cleanup."""
    async with AsyncExitStack() as closing:
        application = await closing.enter_async_context(_built(settings))
        if settings.dsn.kind == "memory":
            # A database in memory begins with the process that opens it, so it cannot have been migrated before.
            await migrate(application.infrastructure.database)
        await application.accounts.sessions.listen()
        closing.push_async_callback(application.accounts.sessions.close)
        if settings.demo:
            await load_sample_data(application)
        closing.push_async_callback(application.background.end)
        application.background.start("upkeep", application.cleanup.run())
        if settings.outbox.worker == "in_process":
            application.background.start("outbox", application.worker.run())
        yield application


async def dry_run(settings: Settings) -> None:
    """Build the application and discard it, without opening anything. Raises what a start would raise.

    The GraphQL API is left out: no setting makes it refuse to be built, and importing it takes long.
    """
    async with _built(settings, with_graphql=False):
        pass


@asynccontextmanager
async def _built(settings: Settings, *, with_graphql: bool = True) -> AsyncIterator[Application]:
    application = await build(settings, with_graphql=with_graphql)
    async with AsyncExitStack() as closing:
        closing.push_async_callback(application.infrastructure.database.close)
        closing.push_async_callback(application.infrastructure.cache.close)
        closing.push_async_callback(application.infrastructure.http_client.close)
        closing.callback(application.accounts.hasher.close)
        closing.callback(application.accounts.policy.close)
        yield application


async def load_sample_data(application: Application) -> None:
    """Load the demo catalogue into every store that has no products, where its engine has one.

    Existing products stay as they are: a start restores neither changed prices nor sold stock.
    """
    for store in application.commerce.stores.fronts:
        engine = application.commerce.engines[store.engine]
        if isinstance(engine, HasSampleData):
            async with application.infrastructure.database.unit() as unit:
                await engine.load_sample_data(unit, store.id)
