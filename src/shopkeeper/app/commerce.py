"""Build stores, engines, providers, and the sign-ins of the storefront."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from shopkeeper.app.accounts import Accounts
from shopkeeper.app.hooks import build_hooks, no_hooks
from shopkeeper.app.identity_providers import build_password_providers
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.commerce.embedded.engine import EmbeddedEngine
from shopkeeper.commerce.port import Engine, HasRetention
from shopkeeper.commerce.stores import Store, Stores
from shopkeeper.credentials import simulated_registrations
from shopkeeper.credentials.attempts import AttemptGuard
from shopkeeper.crypto import KeyRing
from shopkeeper.identity.changes import Listener
from shopkeeper.notify import suppressions
from shopkeeper.notify.courier import Courier
from shopkeeper.settings import Settings
from shopkeeper.signin import device_store, provider_sessions
from shopkeeper.signin.bound_sessions import BoundSessions
from shopkeeper.signin.cart_merge import CartMerger
from shopkeeper.signin.completion import Hooks, SignInCompletion
from shopkeeper.signin.deferred_merge import DeferredMerges
from shopkeeper.signin.end_links import EndLinks
from shopkeeper.signin.from_elsewhere import SignInFromElsewhere, SignInTokens
from shopkeeper.signin.new_devices import KNOWN_FOR, NewDevices
from shopkeeper.signin.provider_sessions import ProviderSessions
from shopkeeper.signin.visit import Visit
from shopkeeper.storage.cleanup import RetentionRule
from shopkeeper.storage.database import Unit
from shopkeeper.tokens import received_token_store
from shopkeeper.upstream.own import OwnProvider
from shopkeeper.upstream.port import PasswordProvider
from shopkeeper.upstream.without_passwords import WithoutPasswords


def _embedded(infrastructure: Infrastructure) -> Engine:
    return EmbeddedEngine(infrastructure.clock, events=infrastructure.outbox)


ENGINES: Mapping[str, Callable[[Infrastructure], Engine]] = {"embedded": _embedded}
"""Every built-in engine, by the name that a store configures (`stores[].engine`)."""

MERGES_KEPT = timedelta(days=400)
"""The least time for which a cart merge is kept. A guest's token that was renewed just before its end lasts for twice
its lifespan, and the guest must stay closed for as long."""


@dataclass(frozen=True, slots=True)
class Commerce:
    """Stores, engines and the sign-ins of the storefront."""

    stores: Stores
    engines: Mapping[str, Engine]
    retention_rules: Sequence[RetentionRule]
    cart_merger: CartMerger
    merges: DeferredMerges
    completion: SignInCompletion
    devices: NewDevices
    provider_sessions: ProviderSessions
    visit: Visit
    bound: BoundSessions | None
    courier: Courier


def build_commerce(
    infrastructure: Infrastructure,
    accounts: Accounts,
    *,
    further_hooks: Callable[[Infrastructure, Accounts], Hooks] = no_hooks,
) -> Commerce:
    stores = build_stores(infrastructure.settings)
    engines = _engines(infrastructure)
    merges = _deferred_merges(infrastructure, accounts, stores, engines)
    accounts.on_deleted.extend([_forgetting(engines), merges.forget])
    cart_merger = CartMerger(stores=stores, engines=engines, deferred=merges)
    devices = NewDevices(
        courier=accounts.courier,
        sessions=accounts.sessions,
        audit=infrastructure.audit,
        links=EndLinks(infrastructure.settings.secrets.for_all_else(), clock=infrastructure.clock),
        clock=infrastructure.clock,
        base_url=infrastructure.base_url,
    )
    sealing = KeyRing(infrastructure.settings.secrets.for_sealing(), purpose=provider_sessions.PURPOSE)
    remembered = ProviderSessions(
        keys=sealing,
        clock=infrastructure.clock,
        keeps_id_tokens_of=[
            provider.id
            for provider in infrastructure.settings.selfservice.methods.oidc.providers
            if provider.rp_initiated_logout
        ]
        + [*accounts.session_servers.servers],
    )
    completion = SignInCompletion(
        database=infrastructure.database,
        identities=accounts.identities,
        sessions=accounts.sessions,
        cart_merger=cart_merger,
        hooks=build_hooks(infrastructure, accounts, further_hooks),
        audit=infrastructure.audit,
        tally=infrastructure.tally,
        devices=devices if infrastructure.settings.courier.notices.new_device else None,
        provider_sessions=remembered,
    )
    bound = _bound(infrastructure, accounts, remembered)
    visit = Visit(
        database=infrastructure.database,
        providers=_password_providers(infrastructure, accounts),
        completion=completion,
        sessions=accounts.sessions,
        sealed=accounts.sealed,
        refresh_enabled=infrastructure.settings.tokens.refresh.enabled,
        acting=accounts.acting,
        elsewhere=_from_elsewhere(infrastructure, accounts, bound),
    )
    guest_lifespan = infrastructure.settings.tokens.anonymous.lifespan
    retention_rules = [
        *_rules_of(engines, guest_lifespan=guest_lifespan),
        RetentionRule("mails", timedelta(days=30), accounts.courier.purge),
        RetentionRule("suppressed addresses", infrastructure.settings.courier.suppression.lifespan, suppressions.purge),
        RetentionRule("received tokens", timedelta(), received_token_store.purge),
        RetentionRule("known devices", KNOWN_FOR, device_store.purge_devices),
        RetentionRule("simulated registrations", simulated_registrations.KEPT_FOR, simulated_registrations.purge),
        RetentionRule("cart merges", max(MERGES_KEPT, 2 * guest_lifespan), merges.purge),
    ]
    return Commerce(
        stores=stores,
        engines=engines,
        retention_rules=retention_rules,
        cart_merger=cart_merger,
        merges=merges,
        completion=completion,
        devices=devices,
        provider_sessions=remembered,
        visit=visit,
        bound=bound,
        courier=accounts.courier,
    )


def _bound(infrastructure: Infrastructure, accounts: Accounts, remembered: ProviderSessions) -> BoundSessions | None:
    """Return the sessions that end with those at session servers, None where there is no such server."""
    if not accounts.session_servers.servers:
        return None
    return BoundSessions(
        accounts.session_servers.sessions,
        database=infrastructure.database,
        sessions=accounts.sessions,
        provider_sessions=remembered,
    )


def _from_elsewhere(
    infrastructure: Infrastructure, accounts: Accounts, bound: BoundSessions | None
) -> SignInFromElsewhere | None:
    """Return what signs in by tokens of providers, None where there is none."""
    providers = accounts.identity_providers
    if not infrastructure.settings.providers:
        return None
    return SignInFromElsewhere(
        servers=accounts.session_servers.by_store,
        tokens=[SignInTokens(each.source, outlived=each.section.sessions_outlive_tokens) for each in providers.oidc],
        provisioning=providers.provisioning,
        bound=bound,
        clock=infrastructure.clock,
    )


def _password_providers(infrastructure: Infrastructure, accounts: Accounts) -> Mapping[str, PasswordProvider]:
    """Return what takes a name and a password in the stores of each provider."""
    without = {section.id: WithoutPasswords(section.id) for section in infrastructure.settings.providers}
    guard = AttemptGuard(throttle=accounts.throttles["login"], audit=infrastructure.audit)
    granting = build_password_providers(accounts.identity_providers, guard=guard, assurance=accounts.assurance)
    return {OwnProvider.name: OwnProvider(accounts.methods.password), **without, **granting}


def _deferred_merges(
    infrastructure: Infrastructure, accounts: Accounts, stores: Stores, engines: Mapping[str, Engine]
) -> DeferredMerges:
    return DeferredMerges(
        stores=stores,
        engines=engines,
        identities=accounts.identities,
        database=infrastructure.database,
        outbox=infrastructure.outbox,
        clock=infrastructure.clock,
    )


def _engines(infrastructure: Infrastructure) -> Mapping[str, Engine]:
    """Return the engines that stores use."""
    return {name: ENGINES[name](infrastructure) for name in {store.engine for store in infrastructure.settings.stores}}


def _rules_of(engines: Mapping[str, Engine], *, guest_lifespan: timedelta) -> Sequence[RetentionRule]:
    """Return the retention rules of the engines that have any."""
    with_retention = [engine for engine in engines.values() if isinstance(engine, HasRetention)]
    return [rule for engine in with_retention for rule in engine.retention_rules(guest_lifespan=guest_lifespan)]


def _forgetting(engines: Mapping[str, Engine]) -> Listener:
    """Return a listener that deletes what the engines keep about a deleted identity, in the transaction that deletes
    it.

    Only engines that share the transaction are called: no other server may be called while it is open. The others are
    called after the commit, by the events that `DeferredMerges.forget` queues.
    """
    local = [engine for engine in engines.values() if engine.shares_transaction]

    async def forget(unit: Unit, identity_id: UUID) -> None:
        for engine in local:
            await engine.forget(unit, str(identity_id))

    return forget


def build_stores(settings: Settings) -> Stores:
    return Stores([Store(**store.model_dump()) for store in settings.stores], default=settings.default_store)
