"""The application: everything put together, once at the start, and again for each change of the configuration."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from starlette.types import ASGIApp

from shopkeeper.app.accounts import Accounts, build_accounts
from shopkeeper.app.admin_routes import build_admin
from shopkeeper.app.authentication import build_authenticator, build_sign_out_authenticator, session_body
from shopkeeper.app.background import Background
from shopkeeper.app.commerce import Commerce, build_commerce
from shopkeeper.app.extensions import Extensions
from shopkeeper.app.health import build_health
from shopkeeper.app.infrastructure import Infrastructure, build_infrastructure, build_infrastructure_again
from shopkeeper.app.introspection import build_introspection
from shopkeeper.app.lasting import Lasting, build_lasting
from shopkeeper.app.oauth import build_oauth
from shopkeeper.app.routes import build_public
from shopkeeper.app.token_sources import build_token_sources
from shopkeeper.clock import Clock, SystemClock
from shopkeeper.commerce.port import HasSampleData
from shopkeeper.errors import UpstreamFailed
from shopkeeper.flows import store as flow_store
from shopkeeper.http.request_limits import BodyBudget
from shopkeeper.identity.address_changes import KEPT_FOR
from shopkeeper.oauth import refresh_token_store, revoked_token_store
from shopkeeper.oauth.introspection import Introspection
from shopkeeper.sessions import impersonation_store
from shopkeeper.settings import Settings
from shopkeeper.storage.cleanup import Cleanup, RetentionRule
from shopkeeper.storage.database import Unit
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
    lasting: Lasting
    infrastructure: Infrastructure
    accounts: Accounts
    commerce: Commerce
    introspection: Introspection
    extensions: Extensions

    @property
    def background(self) -> Background:
        """The background tasks."""
        return self.lasting.background

    @property
    def bodies(self) -> BodyBudget:
        """The bytes of all request bodies."""
        return self.lasting.bodies

    async def listen(self) -> None:
        """Begin to cache sessions, and to hear of their ends in other processes."""
        await self.accounts.sessions.listen()
        await self.accounts.session_servers.answers.listen()

    async def close(self, *, other: "Application | None" = None) -> None:
        """Close what belongs to this application alone, and leave open what the `other` one shares with it."""
        await self.accounts.sessions.close()
        await self.accounts.session_servers.answers.close()
        await self.accounts.identity_providers.close()
        if other is None or other.infrastructure.http_client is not self.infrastructure.http_client:
            await self.infrastructure.http_client.close()
        if other is None:
            await self.infrastructure.jsonnet.close()
        self.accounts.hasher.close()
        self.accounts.policy.close()


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
        raise _misconfigured(refused) from refused


def _misconfigured(refused: Exception) -> Misconfigured:
    sentence = str(refused).rstrip(".")
    return Misconfigured(f"The server cannot work with this configuration: {sentence}.")


async def _build(settings: Settings, *, clock: Clock, extensions: Extensions, with_graphql: bool) -> Application:
    infrastructure = build_infrastructure(settings, clock, listeners=LISTENERS)
    lasting = build_lasting(infrastructure)
    try:
        parts = await _parts(infrastructure, lasting, extensions, with_graphql=with_graphql)
    except BaseException:
        await infrastructure.jsonnet.close()
        await infrastructure.http_client.close()
        raise
    return Application(
        public=parts.public,
        admin=parts.admin,
        worker=_worker(infrastructure, parts.commerce),
        cleanup=Cleanup(
            infrastructure.database,
            _retention_rules(infrastructure, parts.accounts, parts.commerce),
            clock=infrastructure.clock,
            every=timedelta(minutes=1),
        ),
        lasting=lasting,
        infrastructure=infrastructure,
        accounts=parts.accounts,
        commerce=parts.commerce,
        introspection=parts.introspection,
        extensions=extensions,
    )


async def build_again(former: Application, settings: Settings) -> Application:
    """Build the application with other settings, on the same database, cache and background tasks.

    Worker and cleanup are shared; `adopt` makes them work by the new settings. Raises `Misconfigured`, and changes
    nothing then.
    """
    infrastructure = build_infrastructure_again(former.infrastructure, settings)
    infrastructure.registry.register(former.lasting.metrics)
    try:
        parts = await _parts(infrastructure, former.lasting, former.extensions)
    except (ValueError, UpstreamFailed) as refused:
        if infrastructure.http_client is not former.infrastructure.http_client:
            await infrastructure.http_client.close()
        raise _misconfigured(refused) from refused
    return replace(former, infrastructure=infrastructure, **parts._asdict())


def adopt(application: Application) -> None:
    """Make worker and cleanup work by the settings of this application."""
    infrastructure, accounts, commerce = application.infrastructure, application.accounts, application.commerce
    application.worker.replace(_subscribers(infrastructure, commerce))
    application.cleanup.replace(_retention_rules(infrastructure, accounts, commerce))


class _Parts(NamedTuple):
    """The parts of an application that depend on the settings."""

    accounts: Accounts
    commerce: Commerce
    introspection: Introspection
    public: ASGIApp
    admin: ASGIApp


async def _parts(
    infrastructure: Infrastructure, lasting: Lasting, extensions: Extensions, *, with_graphql: bool = True
) -> _Parts:
    """Build what depends on the settings."""
    accounts = await build_accounts(
        infrastructure,
        render=session_body(infrastructure),
        further_facts=extensions.facts,
        further_methods=extensions.methods,
    )
    commerce = build_commerce(infrastructure, accounts, further_hooks=extensions.hooks)
    bodies, metrics = lasting.bodies, lasting.metrics
    oauth = build_oauth(infrastructure, accounts, commerce.bound)
    sources = build_token_sources(infrastructure, accounts, oauth, commerce.bound)
    introspection = build_introspection(infrastructure, accounts, sources, commerce.stores, scopes=oauth.scope_rules)
    health = build_health(infrastructure, accounts, degraded=lasting.checks)
    public = build_public(
        infrastructure,
        accounts,
        commerce,
        build_authenticator(infrastructure, sources, commerce),
        introspection,
        sign_out=build_sign_out_authenticator(infrastructure, sources, commerce),
        oauth=oauth,
        bodies=bodies,
        metrics=metrics,
        health=health,
        further_flows=extensions.flows,
        with_graphql=with_graphql,
    )
    admin = build_admin(infrastructure, accounts, commerce, bodies=bodies, metrics=metrics, health=health)
    return _Parts(accounts, commerce, introspection, public, admin)


def _worker(infrastructure: Infrastructure, commerce: Commerce) -> OutboxWorker:
    settings = infrastructure.settings
    worker = OutboxWorker(
        infrastructure.database,
        _subscribers(infrastructure, commerce),
        clock=infrastructure.clock,
        random=random.SystemRandom().random,
        poll=settings.outbox.poll,
        give_up_after=settings.outbox.give_up_after,
    )
    infrastructure.outbox.wakes(worker.wake)
    return worker


def _subscribers(infrastructure: Infrastructure, commerce: Commerce) -> Mapping[str, Subscriber]:
    courier, retries = commerce.courier, infrastructure.settings.courier.message_retries
    mails = Subscriber(courier.deliver, give_up=courier.give_up, least_attempts=retries + 1)
    return {"mail": mails, **commerce.merges.subscribers(), **_listening(commerce)}


def _listening(commerce: Commerce) -> Mapping[str, Subscriber]:
    return {
        topic_for(name, topic): Subscriber(handler(commerce))
        for topic, listeners in LISTENERS.items()
        for name, handler in listeners.items()
    }


def _retention_rules(infrastructure: Infrastructure, accounts: Accounts, commerce: Commerce) -> Sequence[RetentionRule]:
    async def flows(unit: Unit, before: datetime, batch: int) -> int:
        return await flow_store.purge(unit, before=before, batch=batch)

    async def flow_errors(unit: Unit, before: datetime, batch: int) -> int:
        return await flow_store.purge_errors(unit, before=before, batch=batch)

    async def audited(unit: Unit, before: datetime, batch: int) -> int:
        return await infrastructure.audit.purge(unit, before=before, batch=batch)

    async def delivered(unit: Unit, before: datetime, batch: int) -> int:
        return await infrastructure.outbox.purge(unit, before=before, batch=batch)

    async def given_up(unit: Unit, before: datetime, batch: int) -> int:
        return await infrastructure.outbox.purge_dead(unit, before=before, batch=batch)

    return [
        RetentionRule("flows", timedelta(days=1), flows),
        RetentionRule("flow errors", timedelta(days=1), flow_errors),
        RetentionRule("sessions", timedelta(days=7), accounts.sessions.purge_expired),
        RetentionRule("audit", timedelta(days=400), audited),
        RetentionRule("outbox", timedelta(days=7), delivered),
        # As long as the mails: the rest of a mail that was given up must not outlive it.
        RetentionRule("dead letters", timedelta(days=30), given_up),
        RetentionRule("revoked tokens", revoked_token_store.KEPT_FOR, revoked_token_store.purge),
        RetentionRule("refresh tokens of services", timedelta(days=1), refresh_token_store.purge),
        RetentionRule("signing keys", accounts.key_rotation.kept_for, accounts.key_rotation.purge),
        RetentionRule("impersonations", timedelta(days=400), impersonation_store.purge),
        RetentionRule("address changes", KEPT_FOR, accounts.address_changes.purge),
        *commerce.retention_rules,
    ]


async def load_sample_data(application: Application) -> None:
    """Load the demo catalogue into every store that has no products, where its engine has one.

    Existing products stay as they are: a start restores neither changed prices nor sold stock.
    """
    for store in application.commerce.stores.fronts:
        engine = application.commerce.engines[store.engine]
        if isinstance(engine, HasSampleData):
            async with application.infrastructure.database.unit() as unit:
                await engine.load_sample_data(unit, store.id)
