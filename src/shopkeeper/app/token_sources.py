"""The list of token sources: every kind of token that this server accepts from shoppers, each built once.

Introspection asks all of them; other routes take the lists that they need. A new kind is one line in
`build_token_sources`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from shopkeeper.app.accounts import Accounts
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.app.oauth import OAuth
from shopkeeper.http.authentication import ServerCookieOf
from shopkeeper.oauth.access_token_source import AccessTokenSource
from shopkeeper.sessions.principal import ServerSessions, Vouching
from shopkeeper.sessions.token_sources import SessionTokens, TokenSource, VisitTokens
from shopkeeper.signin.bound_sessions import BoundSessions

SESSION, VISIT, ACCESS = "session", "visit", "access"


@dataclass(frozen=True, slots=True)
class TokenSources:
    """The token sources.

    Args:
        sessions: the tokens of own sessions.
        visits: the tokens of anonymous visits.
        access: access tokens of our own.
        providers: the tokens of identity providers, by the provider's id.
        vouching: finds the identities of the subjects of identity providers.
        server_sessions: the sessions that session servers keep, by the stores that take them.
        server_cookie: finds the cookies of such sessions.
    """

    sessions: SessionTokens
    visits: VisitTokens
    access: AccessTokenSource
    providers: Mapping[str, TokenSource] = field(default_factory=dict)
    vouching: Vouching | None = None
    server_sessions: ServerSessions | None = None
    server_cookie: ServerCookieOf | None = None

    @property
    def own(self) -> Mapping[str, TokenSource]:
        """The sources of tokens that this server issued, by their names."""
        return {SESSION: self.sessions, VISIT: self.visits, ACCESS: self.access}

    @property
    def bearers(self) -> Sequence[TokenSource]:
        """The sources of bearer tokens at the storefront and in GraphQL."""
        return self.sessions, self.visits, *self.providers.values()

    @property
    def for_sign_out(self) -> "TokenSources":
        """The same, for requests that only end sessions: whether a session server still has them is not asked."""
        return replace(self, sessions=self.sessions.unasked())


def build_token_sources(
    infrastructure: Infrastructure, accounts: Accounts, oauth: OAuth, bound: BoundSessions | None = None
) -> TokenSources:
    """Build the list. `bound` says which sessions have ended with those that they are bound to."""
    agent_in = accounts.acting.agent_in if accounts.acting is not None else None
    return TokenSources(
        sessions=SessionTokens(accounts.sessions, goes_on=bound.goes_on if bound is not None else None),
        visits=VisitTokens(accounts.sealed, agent_in=agent_in),
        access=oauth.access_tokens,
        providers={**accounts.identity_providers.sources, **accounts.session_servers.sessions},
        vouching=accounts.identity_providers.provisioning,
        server_sessions=accounts.session_servers.by_store,
        server_cookie=accounts.session_servers.cookies,
    )
