"""Who is asking: decided once for each request, from the tokens it presents.

    X-Session-Token   a session, or the request is refused
    Bearer            a session or an anonymous visit, or the request is refused
    session cookie    a session, or as if it were not there: browsers keep cookies longer than sessions live
    visit cookie      an anonymous visit, or as if it were not there
    nothing           an unknown caller

The first that is there decides, in this order: what a client sends on purpose, before what a browser sends by itself.
So the published client, which always sends its bearer, acts as whom it says, whatever cookies its page's host has.
Kratos' own paths (`tokens_of`) look at the session cookie before the bearer, as Kratos does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from shopkeeper.client import Client
from shopkeeper.errors import TokenInvalid
from shopkeeper.sessions.cache import CachedSession
from shopkeeper.sessions.errors import SessionEnded
from shopkeeper.sessions.token_sources import TokenSource, source_of
from shopkeeper.sessions.values import Principal, PrincipalKind
from shopkeeper.tokens.sealed import AnonymousVisit

KnownSessions = dict[str, CachedSession | None]
"""What session tokens of one request led to, so that each is resolved once."""


class PresentedTokens(NamedTuple):
    """The tokens of a request, by where they stand; an empty text counts as `None`."""

    session_token: str | None = None
    session_cookie: str | None = None
    bearer: str | None = None
    visit_cookie: str | None = None

    @property
    def on_purpose(self) -> str | None:
        """The token in a header, which no page can make a browser send by itself."""
        return self.session_token or self.bearer or None

    @property
    def by_cookie(self) -> str | None:
        """The token in a cookie, which a browser sends by itself."""
        return self.session_cookie or self.visit_cookie or None


def tokens_of(presented: PresentedTokens) -> Sequence[str]:
    """What may be a session's token, in the order to try: one in `X-Session-Token` stands alone.

    >>> tokens_of(PresentedTokens(session_token="", session_cookie="c", bearer="b"))
    ('c', 'b')
    """
    if presented.session_token:
        return (presented.session_token,)
    return tuple(token for token in (presented.session_cookie, presented.bearer) if token)


@dataclass(frozen=True, slots=True)
class _Place:
    store: str
    client: Client


class PrincipalResolver:
    """Turns the tokens of a request into a principal.

    Args:
        sessions: session tokens: what `X-Session-Token` and the session cookie may hold.
        visits: anonymous visits: what the visit cookies may hold.
        bearers: what a bearer may be; the first that recognises it decides.

    What was resolved for a request is kept in `known`, for further questions about the same request.
    """

    def __init__(self, *, sessions: TokenSource, visits: TokenSource, bearers: Sequence[TokenSource]) -> None:
        self._sessions, self._visits, self._bearers = sessions, visits, tuple(bearers)

    async def session(
        self, presented: PresentedTokens, *, store: str | None = None, known: KnownSessions | None = None
    ) -> CachedSession | None:
        """The session that a request presents: the first that is good, and at home in a store where one is named."""
        for token in tokens_of(presented):
            cached = await self._resolved(token, known)
            if cached is not None and (store is None or cached.session.at_home_in(store)):
                return cached
        return None

    async def guests(self, bearer: str | None, visits: Mapping[str, str | None]) -> Mapping[str, str]:
        """The guests of a request, by the store they count in: those of each store's cookie, and the bearer's, which
        goes before. A visit counts under the cookie of its own store only: any other was planted."""
        found: dict[str, str] = {}
        for store, token in (*visits.items(), (None, bearer)):
            visit = await self._visit(token, store) if token else None
            if visit is not None:
                found[visit.store] = str(visit.guest)
        return found

    async def resolve(
        self, presented: PresentedTokens, *, store: str, client: Client, known: KnownSessions | None = None
    ) -> Principal:
        """Who is asking. Raises `TokenInvalid` where a token was presented on purpose and is not good here, and
        `SessionEnded` where it was a session's."""
        place = _Place(store, client)
        if presented.session_token:
            return await self._by_session(presented.session_token, place, known)
        if presented.bearer:
            return await self._by_bearer(presented.bearer, place, known)
        if presented.session_cookie:
            cached = await self._resolved(presented.session_cookie, known)
            if cached is not None and cached.session.at_home_in(store):
                return _customer(cached, place, by_cookie=True)
        visit = await self._visit(presented.visit_cookie, store) if presented.visit_cookie else None
        if visit is not None:
            return _guest(visit, place, by_cookie=True)
        return Principal(kind=PrincipalKind.NOBODY, subject="", store=store, client=client)

    async def _by_session(self, token: str, place: _Place, known: KnownSessions | None) -> Principal:
        cached = await self._resolved(token, known)
        if cached is None:
            raise SessionEnded if self._sessions.recognises(token) else TokenInvalid
        if not cached.session.at_home_in(place.store):
            raise TokenInvalid
        return _customer(cached, place)

    async def _by_bearer(self, token: str, place: _Place, known: KnownSessions | None) -> Principal:
        source = source_of(self._bearers, token)
        if source is self._sessions:
            return await self._by_session(token, place, known)
        verified = await source.verify(token, place.store)
        if not isinstance(verified, AnonymousVisit):
            raise TokenInvalid
        return _guest(verified, place)

    async def _visit(self, token: str, store: str | None) -> AnonymousVisit | None:
        if not self._visits.recognises(token):
            return None
        try:
            verified = await self._visits.verify(token, store)
        except TokenInvalid:
            return None
        return verified if isinstance(verified, AnonymousVisit) else None

    async def _resolved(self, token: str, known: KnownSessions | None) -> CachedSession | None:
        """The session of a token, wherever it is at home; `None` for every token that is not a good session's."""
        if known is not None and token in known:
            return known[token]
        cached = None
        if self._sessions.recognises(token):
            try:
                verified = await self._sessions.verify(token, None)
                cached = verified if isinstance(verified, CachedSession) else None
            except TokenInvalid:
                pass
        if known is not None:
            known[token] = cached
        return cached


def _customer(cached: CachedSession, place: _Place, *, by_cookie: bool = False) -> Principal:
    return Principal(
        kind=PrincipalKind.CUSTOMER,
        subject=str(cached.session.identity.id),
        store=place.store,
        client=place.client,
        session=cached.session,
        by_cookie=by_cookie,
    )


def _guest(visit: AnonymousVisit, place: _Place, *, by_cookie: bool = False) -> Principal:
    return Principal(
        kind=PrincipalKind.ANONYMOUS,
        subject=str(visit.guest),
        store=place.store,
        client=place.client,
        by_cookie=by_cookie,
    )
