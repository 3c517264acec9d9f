"""Introspection (RFC 7662): what a caller may know of a token.

    first source that recognises the token -> verified, from a cache or not -> facts -> answer for this caller

No engine is asked, so that an engine may ask from within its own request. An answer is rendered once for a caller and a
verified token, and used again while both stay the same: a session that changes is another object in the cache
(`sessions/cache.py`), so that its old answers are found no more.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec

from shopkeeper.clock import Clock
from shopkeeper.commerce.stores import Stores
from shopkeeper.errors import TokenInvalid
from shopkeeper.oauth.introspection_answers import INACTIVE, Explanation, Scopes, explained
from shopkeeper.oauth.introspection_callers import IntrospectionCaller
from shopkeeper.oauth.remembered_tokens import KnownToken, RememberedTokens
from shopkeeper.oauth.token_facts import TokenFacts, facts_of
from shopkeeper.sessions.cache import CachedSession
from shopkeeper.sessions.token_sources import TokenSource
from shopkeeper.tokens.access_tokens import AccessToken

LONGEST_TOKEN: Final = 16_384
"""Characters of a token that is looked at."""
MOST_RENDERED: Final = 5_000
"""Answers that are kept to be used again."""
AS_FRESH_AS: Final = timedelta(seconds=5)
"""How long a rendered answer is used again; `exp` is that much nearer at most than the setting allows."""


@dataclass(frozen=True, slots=True)
class Introspected:
    """An answer, encoded. `subject` is for the log."""

    active: bool
    body: bytes
    subject: str = ""


@dataclass(frozen=True, slots=True)
class _Rendered:
    """An answer, with what it was made of, which it keeps alive so that its id names nothing else."""

    introspected: Introspected
    about: CachedSession | AccessToken | KnownToken
    until: datetime


_INACTIVE: Final = Introspected(active=False, body=msgspec.json.encode(INACTIVE))
_encoder: Final = msgspec.json.Encoder()


class Introspection:
    """Answers questions about tokens.

    Args:
        sources: the sources of own tokens by their name; the first that recognises a token decides.
        providers: the sources of providers' tokens by the provider's id, which are asked after them.
        remembered: the verified tokens of providers.
        scopes: the scope rules.
        stores: the fronts, for the one in which an answer is given.
        issuer: our own issuer.
    """

    def __init__(
        self,
        sources: Mapping[str, TokenSource],
        *,
        providers: Mapping[str, TokenSource],
        remembered: RememberedTokens,
        scopes: Scopes,
        stores: Stores,
        issuer: str,
        clock: Clock,
    ) -> None:
        self._sources, self._of_providers = (*sources.items(), *providers.items()), frozenset(providers)
        self._remembered, self._scopes = remembered, scopes
        self._issuer, self._clock = issuer, clock
        self._rendered: OrderedDict[tuple[str, str | None, int], _Rendered] = OrderedDict()
        self._fronts = [front.id for front in stores.fronts]
        self._fronts_of_provider = {
            name: [front.id for front in stores.fronts if front.provider == name] or self._fronts for name in providers
        }

    async def answer(self, token: str, caller: IntrospectionCaller, *, store: str | None = None) -> Introspected:
        """Return the answer about a token to a caller.

        Args:
            store: the front that the caller names, for which alone the answer then counts; None where it names none.

        Raises `UpstreamFailed`, `Busy` or what the database raises where it is unknown whether the token is good.
        """
        found = self._recognised(token)
        if found is None:
            return _INACTIVE
        name, source = found
        try:
            known = await self._known(name, source, token)
            return self._answer_again(known, caller, store) or self._render(name, known, caller, store)
        except TokenInvalid:
            return _INACTIVE

    async def explain(self, token: str, caller: IntrospectionCaller, *, store: str | None = None) -> Explanation:
        """Return the same answer, with what it is made of. Raises as `answer` does."""
        found = self._recognised(token)
        if found is None:
            return Explanation(INACTIVE, refused="No source recognises the form of this token.")
        name, source = found
        try:
            return self._explained(name, await self._known(name, source, token), caller, store)
        except TokenInvalid as invalid:
            return Explanation(INACTIVE, name, refused=invalid.sentence)

    def _recognised(self, token: str) -> tuple[str, TokenSource] | None:
        if not token or len(token) > LONGEST_TOKEN:
            return None
        return next(((name, source) for name, source in self._sources if source.recognises(token)), None)

    async def _known(self, name: str, source: TokenSource, token: str) -> CachedSession | AccessToken | KnownToken:
        if name in self._of_providers:
            return await self._remembered.verify(source, token)
        verified = await source.verify(token, None)
        return verified if isinstance(verified, CachedSession | AccessToken) else KnownToken(verified)

    def _answer_again(
        self, known: CachedSession | AccessToken | KnownToken, caller: IntrospectionCaller, store: str | None
    ) -> Introspected | None:
        rendered = self._rendered.get((caller.id, store, id(known)))
        return rendered.introspected if rendered is not None and self._clock.now() < rendered.until else None

    def _render(
        self, name: str, known: CachedSession | AccessToken | KnownToken, caller: IntrospectionCaller, store: str | None
    ) -> Introspected:
        told = self._explained(name, known, caller, store)
        if not told.active or told.facts is None:
            return _INACTIVE
        introspected = Introspected(active=True, body=_encoder.encode(told.answer), subject=told.facts.subject)
        until = min(told.facts.expires_at, self._clock.now() + AS_FRESH_AS)
        self._keep((caller.id, store, id(known)), _Rendered(introspected, known, until))
        return introspected

    def _keep(self, key: tuple[str, str | None, int], rendered: _Rendered) -> None:
        """Keep an answer, and drop the oldest ones that are stale or too many."""
        now = self._clock.now()
        while self._rendered:
            oldest = next(iter(self._rendered))
            if self._rendered[oldest].until > now and len(self._rendered) < MOST_RENDERED:
                break
            del self._rendered[oldest]
        self._rendered.pop(key, None)
        self._rendered[key] = rendered

    def _explained(
        self, name: str, known: CachedSession | AccessToken | KnownToken, caller: IntrospectionCaller, store: str | None
    ) -> Explanation:
        if isinstance(known, KnownToken):
            facts = facts_of(known.verified, known.identity, own_issuer=self._issuer)
        else:
            facts = facts_of(known, None, own_issuer=self._issuer)
        return explained(
            facts,
            caller,
            source=name,
            fronts=self._fronts_in(facts),
            asked=store,
            scopes=self._scopes,
            own_issuer=self._issuer,
            now=self._clock.now(),
        )

    def _fronts_in(self, facts: TokenFacts) -> Sequence[str]:
        """Return the fronts in which a token counts: its own; of a provider's token, those that name the provider, or
        all where none does."""
        if facts.store is not None:
            return (facts.store, *facts.further_stores)
        return self._fronts_of_provider.get(facts.provider, self._fronts)
