"""The programs that may ask about tokens, and which tokens they may learn of.

A caller learns nothing of a token that is not for it: the answer is that of an unknown token (RFC 7662 section 2.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from shopkeeper.oauth.token_facts import OWN, TokenFacts


class Signed(StrEnum):
    """When an answer is a signed token (RFC 9701)."""

    ALLOWED = "allowed"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class IntrospectionCaller:
    """A program that may ask about tokens, and what it may learn. An empty condition holds for every token.

    Args:
        stores: the ids of the fronts whose tokens it may ask about.
        providers: `own`, and ids of providers.
        audiences: audiences of providers' tokens and, besides its own id, of own access tokens.
        clients: clients that tokens were issued to.
        subject_scopes: the names of the scopes that say who the subject is.
        username: whether it learns an address of the person.
        lifespan: how far ahead `exp` is at most.
    """

    id: str
    stores: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()
    audiences: frozenset[str] = frozenset()
    clients: frozenset[str] = frozenset()
    subject_scopes: frozenset[str] = frozenset()
    username: bool = False
    lifespan: timedelta = timedelta(minutes=5)
    signed: Signed = Signed.ALLOWED

    def fronts_among(self, fronts: Sequence[str]) -> Sequence[str]:
        """Return those of some fronts whose tokens it may ask about."""
        return [front for front in fronts if front in self.stores] if self.stores else fronts

    def hidden(self, facts: TokenFacts) -> str | None:
        """Return why a token is not for this caller, as a sentence for operators; None where it is."""
        if self.providers and facts.provider not in self.providers:
            return f"The caller may not ask about subjects of the provider {facts.provider}."
        if self.clients and facts.client_id not in self.clients:
            return f"The caller may not ask about tokens of {facts.client_id or 'no client'}."
        if not self._is_audience_of(facts):
            return "The token is for another audience than the caller."
        return None

    def _is_audience_of(self, facts: TokenFacts) -> bool:
        """Whether a token is for this caller. Sessions and visits of this server are for no certain audience."""
        if facts.provider == OWN:
            return not facts.audience or not {self.id, *self.audiences}.isdisjoint(facts.audience)
        return not self.audiences or not self.audiences.isdisjoint(facts.audience)
