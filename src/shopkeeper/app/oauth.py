"""Build the OAuth endpoints: clients, grants, revocation, and what verifies access tokens of our own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shopkeeper.app.accounts import Accounts
from shopkeeper.app.authentication_gate import build_gate
from shopkeeper.app.client_authentication import CLIENT_METHODS, build_client_authentication
from shopkeeper.app.commerce import build_stores
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.app.scope_rules import build_scope_rules
from shopkeeper.http.oauth_token import REVOCATION_PATH, TOKEN_PATH
from shopkeeper.jose.algorithms import ASYMMETRIC
from shopkeeper.oauth import grant_types
from shopkeeper.oauth.access_token_source import AccessTokenSource
from shopkeeper.oauth.client_credentials import ClientCredentialsGrant
from shopkeeper.oauth.client_sessions import ClientSessions, PersonScopes
from shopkeeper.oauth.clients import OAuthClient
from shopkeeper.oauth.grants import Grant
from shopkeeper.oauth.refresh_tokens import RefreshTokenFamilies, RefreshTokenGrant
from shopkeeper.oauth.revoked_tokens import RevokedTokens
from shopkeeper.oauth.scope_rules import ScopeRules
from shopkeeper.oauth.token_endpoint import TokenEndpoint
from shopkeeper.oauth.token_exchange import TokenExchangeGrant
from shopkeeper.oauth.token_facts import subject_facts_of
from shopkeeper.oauth.token_revocation import TokenRevocation
from shopkeeper.sessions.authentication_gate import AuthenticationGate
from shopkeeper.sessions.token_sources import SessionTokens, VisitTokens
from shopkeeper.sessions.values import Session
from shopkeeper.settings import Settings
from shopkeeper.settings.oauth_clients import OAuthClient as ConfiguredClient
from shopkeeper.signin.bound_sessions import BoundSessions
from shopkeeper.tokens.access_tokens import AccessTokens

GRANTS: Final = {
    "client_credentials": grant_types.CLIENT_CREDENTIALS,
    "token_exchange": grant_types.TOKEN_EXCHANGE,
    "refresh_token": grant_types.REFRESH_TOKEN,
}
"""The values of `grant_type`, by their names in the settings."""


@dataclass(frozen=True, slots=True)
class OAuth:
    """What serves the OAuth endpoints.

    Args:
        scope_rules: the rules of the settings, compiled; introspection gives scopes by the same ones.
    """

    endpoint: TokenEndpoint
    revocation: TokenRevocation
    access_tokens: AccessTokenSource
    gate: AuthenticationGate
    scope_rules: ScopeRules


def build_oauth(infrastructure: Infrastructure, accounts: Accounts, bound: BoundSessions | None = None) -> OAuth:
    """Build the endpoints. `bound` says which sessions have ended with those that they are bound to.

    Raises `ValueError` where a client cannot work.
    """
    settings, database, clock = infrastructure.settings, infrastructure.database, infrastructure.clock
    clients = {each.id: each for each in _clients(settings)}
    issuer = infrastructure.base_url
    gate = build_gate(infrastructure)
    tokens = AccessTokens(accounts.signing_keys, issuer=issuer, clock=clock, lifespan=settings.tokens.access.lifespan)
    revoked = RevokedTokens(database, sessions=accounts.sessions, clock=clock)
    goes_on = bound.goes_on if bound is not None else None
    source = AccessTokenSource(
        tokens, revoked=revoked, sessions=accounts.sessions, gate=gate, clients=clients, goes_on=goes_on
    )
    authentication = build_client_authentication(infrastructure, accounts)
    families = RefreshTokenFamilies(
        database,
        tokens=tokens,
        revoked=revoked,
        audit=infrastructure.audit,
        clock=clock,
        lifespan=settings.tokens.refresh.lifespan,
    )
    rules = build_scope_rules(settings.tokens.scope_rules, build_stores(settings))
    person_scopes = _person_scopes(rules)
    sessions = ClientSessions(accounts.sessions, gate=gate, person_scopes=person_scopes, goes_on=goes_on)
    exchange = TokenExchangeGrant(tokens, source=source, sessions=sessions, families=families)
    refresh = RefreshTokenGrant(
        database,
        tokens=tokens,
        families=families,
        sessions=sessions,
        replay_window=settings.tokens.refresh.replay_window,
        budget=accounts.throttles["refresh_session"],
        clock=clock,
    )
    revocation = TokenRevocation(
        database,
        authentication=authentication,
        tokens=tokens,
        revoked=revoked,
        families=families,
        others=[SessionTokens(accounts.sessions), VisitTokens(accounts.sealed)],
        providers=[*accounts.identity_providers.sources.values(), *accounts.session_servers.sessions.values()],
        clock=clock,
    )
    grants: Sequence[Grant] = [ClientCredentialsGrant(tokens), exchange, refresh]
    endpoint = TokenEndpoint(clients, authentication=authentication, grants=grants)
    return OAuth(endpoint=endpoint, revocation=revocation, access_tokens=source, gate=gate, scope_rules=rules)


def oauth_metadata(infrastructure: Infrastructure, _algorithms: Sequence[str]) -> Mapping[str, object]:
    """Return the members of the server's metadata about services (RFC 8414 section 2)."""
    methods, algorithms = list(CLIENT_METHODS), sorted(ASYMMETRIC)
    return {
        "token_endpoint": f"{infrastructure.base_url}{TOKEN_PATH}",
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint": f"{infrastructure.base_url}{REVOCATION_PATH}",
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "grant_types_supported": list(GRANTS.values()),
    }


def _clients(settings: Settings) -> Sequence[OAuthClient]:
    fronts = [front.id for front in build_stores(settings).fronts]

    def client(configured: ConfiguredClient) -> OAuthClient:
        chosen = [front for front in fronts if {front, front.partition("@")[0]} & {*configured.stores}]
        return OAuthClient(
            configured.id,
            grants=frozenset(GRANTS[name] for name in configured.grants),
            scopes=configured.scopes,
            audiences=configured.audiences,
            stores=frozenset(chosen) if configured.stores else None,
        )

    return [client(each) for each in settings.tokens.clients]


def _person_scopes(rules: ScopeRules) -> PersonScopes:
    def scopes_of(session: Session) -> Sequence[str]:
        return [granted.scope for granted in rules.scopes_for(subject_facts_of(session))]

    return scopes_of
