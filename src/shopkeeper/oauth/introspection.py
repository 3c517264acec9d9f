"""Introspection (RFC 7662): what a caller may know of a token.

    first source that recognises the token -> verified, from a cache or not -> facts -> answer for this caller

No engine is asked, so that an engine may ask from within its own request. An answer is rendered once for a caller and a
verified token, and used again while both stay the same: a session that changes is another object in the cache
(`sessions/cache.py`), so that its old answers are found no more. So are tokens and subjects of providers.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec

from shopkeeper.clock import Clock
from shopkeeper.commerce.stores import Stores
from shopkeeper.crypto import digest
from shopkeeper.errors import SecondFactorRequired, TokenInvalid
from shopkeeper.oauth.introspection_answers import INACTIVE, Explanation, Scopes, answer_about
from shopkeeper.oauth.introspection_callers import IntrospectionCaller
from shopkeeper.oauth.linked_subjects import LinkedSubject, LinkedSubjects
from shopkeeper.oauth.token_facts import OWN, TokenFacts, facts_of
from shopkeeper.sessions.authentication_gate import AuthenticationGate
from shopkeeper.sessions.token_sources import External, TokenSource, Verified
from shopkeeper.tokens.sealed import AnonymousVisit

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


_Verified = Verified | LinkedSubject


@dataclass(frozen=True, slots=True)
class _Rendered:
    """An answer, with what it was made of, which it keeps alive so that its id names nothing else."""

    introspected: Introspected
    about: _Verified
    until: datetime


_INACTIVE: Final = Introspected(active=False, body=msgspec.json.encode(INACTIVE))
_encoder: Final = msgspec.json.Encoder()


class Introspection:
    """Answers questions about tokens.

    Args:
        sources: the sources of own tokens by their name; the first that recognises a token decides.
        providers: the sources of providers' tokens by the provider's id, which are asked after them.
        fronts_of_provider: the fronts that take the tokens of each provider.
        session_servers: those of them that keep sessions with tokens like our own.
        subjects: the local identities of their subjects.
        scopes: the scope rules.
        stores: the fronts, for the one in which an answer is given.
        issuer: our own issuer.
        gate: decides whether a person may use what stands for a sign-in.
    """

    def __init__(
        self,
        sources: Mapping[str, TokenSource],
        *,
        providers: Mapping[str, TokenSource],
        session_servers: Mapping[str, TokenSource],
        fronts_of_provider: Mapping[str, Sequence[str]],
        subjects: LinkedSubjects,
        scopes: Scopes,
        stores: Stores,
        issuer: str,
        gate: AuthenticationGate,
        clock: Clock,
    ) -> None:
        self._sources = (*sources.items(), *providers.items())
        self._subjects, self._scopes = subjects, scopes
        self._issuer, self._gate, self._clock = issuer, gate, clock
        self._rendered: OrderedDict[tuple[str, str | None, int], _Rendered] = OrderedDict()
        self._fronts = [front.id for front in stores.fronts]
        self._source_of: OrderedDict[bytes, tuple[str, TokenSource]] = OrderedDict()
        self._only_front = self._fronts[0] if len(self._fronts) == 1 else None
        self._session_servers = dict(session_servers)
        self._providers_of_fronts = {front.id: front.provider for front in stores.fronts}
        self._fronts_of_provider = dict(fronts_of_provider)

    async def answer(self, token: str, caller: IntrospectionCaller, *, store: str | None = None) -> Introspected:
        """Return the answer about a token to a caller.

        Args:
            store: the front that the caller names, for which alone the answer then counts; None where it names none.

        Raises `UpstreamFailed`, `Busy` or what the database raises where it is unknown whether the token is good.
        """
        for name, source in self._recognised(token, caller, store):
            try:
                verified = await self._verify(source, token)
            except (TokenInvalid, SecondFactorRequired):
                continue
            return self._answer_again(verified, caller, store) or self._render(name, verified, caller, store)
        return _INACTIVE

    async def explain(self, token: str, caller: IntrospectionCaller, *, store: str | None = None) -> Explanation:
        """Return the same answer, with what it is made of. Raises as `answer` does."""
        explanation = Explanation(INACTIVE, refused="No source recognises the form of this token.")
        for name, source in self._recognised(token, caller, store):
            try:
                return self._explanation(name, await self._verify(source, token), caller, store)
            except (TokenInvalid, SecondFactorRequired) as invalid:
                explanation = Explanation(INACTIVE, name, refused=invalid.sentence)
        return explanation

    def _recognised(
        self, token: str, caller: IntrospectionCaller, store: str | None
    ) -> Iterator[tuple[str, TokenSource]]:
        """Yield the first source that recognises a token; behind it, the session server of the caller's only store,
        whose tokens may have the form of our own."""
        if not token or len(token) > LONGEST_TOKEN:
            return
        first = self._first_source(token)
        if first is None:
            return
        yield first
        front = store or (next(iter(caller.stores)) if len(caller.stores) == 1 else self._only_front)
        provider = self._providers_of_fronts.get(front or "", OWN)
        server = self._session_servers.get(provider)
        if server is not None and provider != first[0] and server.recognises(token):
            yield provider, server

    def _first_source(self, token: str) -> tuple[str, TokenSource] | None:
        """Return the first source that recognises a token. For a JWT it is remembered, because each source would decode
        the header again, and its form never changes."""
        key = digest(token) if "." in token else b""
        first = self._source_of.get(key)
        if first is not None:
            return first
        first = next((named for named in self._sources if named[1].recognises(token)), None)
        if key and first is not None:
            if len(self._source_of) >= MOST_RENDERED:
                self._source_of.popitem(last=False)
            self._source_of[key] = first
        return first

    async def _verify(self, source: TokenSource, token: str) -> _Verified:
        verified = await source.verify(token, None)
        return await self._subjects.of(verified) if isinstance(verified, External) else verified

    def _answer_again(self, verified: _Verified, caller: IntrospectionCaller, store: str | None) -> Introspected | None:
        rendered = self._rendered.get((caller.id, store, id(verified)))
        return rendered.introspected if rendered is not None and self._clock.now() < rendered.until else None

    def _render(self, name: str, verified: _Verified, caller: IntrospectionCaller, store: str | None) -> Introspected:
        explanation = self._explanation(name, verified, caller, store)
        facts = explanation.facts
        if not explanation.active or facts is None:
            return _INACTIVE
        introspected = Introspected(active=True, body=_encoder.encode(explanation.answer), subject=facts.subject)
        if not isinstance(verified, AnonymousVisit):  # which is another object each time
            until = min(facts.expires_at, self._clock.now() + AS_FRESH_AS)
            self._keep((caller.id, store, id(verified)), _Rendered(introspected, verified, until))
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

    def _explanation(
        self, name: str, verified: _Verified, caller: IntrospectionCaller, store: str | None
    ) -> Explanation:
        facts = facts_of(verified, own_issuer=self._issuer, gate=self._gate)
        return answer_about(
            facts,
            caller,
            source=name,
            fronts=self._fronts_in(facts),
            front=store,
            scopes=self._scopes,
            now=self._clock.now(),
        )

    def _fronts_in(self, facts: TokenFacts) -> Sequence[str]:
        """Return the fronts in which a token counts."""
        if facts.stores:
            return facts.stores
        return self._fronts_of_provider.get(facts.provider, self._fronts)
