"""Build introspection: its callers, its sources, and what finds the local identities of external subjects."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from shopkeeper.app.accounts import Accounts
from shopkeeper.app.authentication_gate import build_gate
from shopkeeper.app.client_authentication import CALLER_METHODS, build_caller_authentication
from shopkeeper.app.identity_providers import fronts_of
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.app.token_sources import TokenSources
from shopkeeper.commerce.stores import Stores
from shopkeeper.http.introspection import IntrospectionEndpoint
from shopkeeper.http.metrics import Metrics
from shopkeeper.identity.values import Identity
from shopkeeper.jose.algorithms import ASYMMETRIC
from shopkeeper.oauth.introspection import Introspection
from shopkeeper.oauth.introspection_callers import IntrospectionCaller, Signed
from shopkeeper.oauth.linked_subjects import IdentityOf, LinkedSubjects
from shopkeeper.oauth.scope_rules import ScopeRules
from shopkeeper.oauth.signed_introspection import SignedAnswers
from shopkeeper.sessions.token_sources import External
from shopkeeper.settings import Settings
from shopkeeper.settings.introspection_rights import IntrospectionRights


def build_introspection(
    infrastructure: Infrastructure, accounts: Accounts, sources: TokenSources, stores: Stores, *, scopes: ScopeRules
) -> Introspection:
    settings = infrastructure.settings
    subjects = LinkedSubjects(
        _identity_of(infrastructure, accounts),
        clock=infrastructure.clock,
        lifespan=settings.introspection.cache,
    )
    accounts.sessions.observe(subjects.remembered)
    return Introspection(
        sources.own,
        # An OpenID provider may take tokens of any form.
        providers={**accounts.session_servers.sessions, **sources.providers},
        fronts_of_provider={each.id: sorted(fronts_of(each, settings)) for each in settings.providers},
        session_servers=accounts.session_servers.sessions,
        subjects=subjects,
        scopes=scopes,
        stores=stores,
        issuer=infrastructure.base_url,
        gate=build_gate(infrastructure),
        clock=infrastructure.clock,
    )


def build_introspection_endpoint(
    introspection: Introspection, infrastructure: Infrastructure, accounts: Accounts, stores: Stores, metrics: Metrics
) -> IntrospectionEndpoint:
    settings = infrastructure.settings
    return IntrospectionEndpoint(
        introspection,
        callers={caller.id: caller for caller in build_callers(settings, stores)},
        authentication=build_caller_authentication(infrastructure, accounts),
        signed=SignedAnswers(accounts.signing_keys, issuer=infrastructure.base_url, clock=infrastructure.clock),
        stores=stores,
        trusted_proxies=settings.throttle.trusted_proxies,
        deadline=settings.introspection.deadline,
        metrics=metrics,
    )


def build_callers(settings: Settings, stores: Stores) -> Sequence[IntrospectionCaller]:
    """Return who may ask: the callers of the settings, in their order, and then the clients that may."""
    configured: Sequence[tuple[str, Sequence[str], IntrospectionRights]] = [
        *((caller.id, caller.stores, caller) for caller in settings.introspection.callers),
        *((each.id, each.stores, each.introspection) for each in settings.tokens.clients if each.introspection),
    ]
    lifespan = settings.introspection.lifespan
    return [_caller(name, rights, _fronts(chosen, stores), lifespan) for name, chosen, rights in configured]


def _caller(name: str, rights: IntrospectionRights, fronts: frozenset[str], lifespan: timedelta) -> IntrospectionCaller:
    return IntrospectionCaller(
        name,
        stores=fronts,
        providers=frozenset(rights.providers),
        audiences=frozenset(rights.audiences),
        clients=frozenset(rights.clients),
        subject_scopes=frozenset(rights.subject_scopes),
        username=rights.username,
        lifespan=rights.lifespan or lifespan,
        signed=Signed(rights.signed),
    )


def _fronts(chosen: Sequence[str], stores: Stores) -> frozenset[str]:
    """Return the fronts of a choice: a store's name means all its tenants."""
    return frozenset(front.id for front in stores.fronts if {front.id, front.id.partition("@")[0]} & {*chosen})


def _identity_of(infrastructure: Infrastructure, accounts: Accounts) -> IdentityOf:
    async def identity_of(external: External) -> Identity | None:
        if external.by_application:
            return None
        async with infrastructure.database.reading() as unit:
            return await accounts.identity_providers.provisioning.find(unit, external)

    return identity_of


def introspection_metadata(infrastructure: Infrastructure, algorithms: Sequence[str]) -> Mapping[str, object]:
    """Return the members of the server's metadata about introspection (RFC 8414 section 2, RFC 9701 section 7).

    Args:
        algorithms: those by which this server signs.
    """
    settings = infrastructure.settings
    if not settings.introspection.enabled:
        return {}
    return {
        "introspection_endpoint": f"{infrastructure.base_url}{settings.introspection.path}",
        "introspection_endpoint_auth_methods_supported": list(CALLER_METHODS),
        "introspection_endpoint_auth_signing_alg_values_supported": sorted(ASYMMETRIC),
        "introspection_signing_alg_values_supported": list(algorithms),
    }
