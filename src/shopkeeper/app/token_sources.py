"""The list of token sources: every kind of token that this server accepts from shoppers, each built once.

Introspection asks all of them; other routes take the lists that they need. A new kind is one line in
`build_token_sources`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shopkeeper.app.accounts import Accounts
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.sessions.token_sources import SessionTokens, TokenSource, VisitTokens

SESSION, VISIT = "session", "visit"


@dataclass(frozen=True, slots=True)
class TokenSources:
    """The token sources.

    Args:
        sessions: the tokens of own sessions.
        visits: the tokens of anonymous visits.
        further: the other sources by name, such as a provider's id, in the order in which they are asked.
    """

    sessions: SessionTokens
    visits: VisitTokens
    further: Mapping[str, TokenSource] = field(default_factory=dict)

    @property
    def by_name(self) -> Mapping[str, TokenSource]:
        """Every source by its name; the first that recognises a token decides."""
        return {SESSION: self.sessions, VISIT: self.visits, **self.further}

    @property
    def bearers(self) -> Sequence[TokenSource]:
        """The sources of bearer tokens at the storefront and in GraphQL."""
        return self.sessions, self.visits


def build_token_sources(infrastructure: Infrastructure, accounts: Accounts) -> TokenSources:
    """Build the list."""
    return TokenSources(sessions=SessionTokens(accounts.sessions), visits=VisitTokens(accounts.sealed))
