"""Resolves the principal of a request, once, from the tokens that it presents.

    X-Session-Token   a session, or the request is refused
    Bearer            a session or an anonymous visit, or the request is refused
    session cookie    a session; ignored where it is not valid, as browsers keep cookies longer than sessions live
    visit cookie      an anonymous visit; ignored where it is not valid
    none of these     an unknown caller

The first one that is present decides, in this order: a header, which a client sends deliberately, precedes a cookie,
which a browser sends automatically. So the published client, which always sends a bearer, acts as the principal of its
bearer regardless of its host's cookies. On Kratos' own paths (`tokens_of`) the session cookie precedes the bearer, as
in Kratos.
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
"""The sessions of a request's tokens, so that each token is resolved once."""


class PresentedTokens(NamedTuple):
    """The tokens of a request, by their place; an empty text counts as `None`."""

    session_token: str | None = None
    session_cookie: str | None = None
    bearer: str | None = None
    visit_cookie: str | None = None

    @property
    def on_purpose(self) -> str | None:
        """The token in a header, which no page can make a browser send automatically."""
        return self.session_token or self.bearer or None

    @property
    def by_cookie(self) -> str | None:
        """The token in a cookie, which a browser sends automatically."""
        return self.session_cookie or self.visit_cookie or None


def tokens_of(presented: PresentedTokens) -> Sequence[str]:
    """Return the possible session tokens in the order to try them; one in `X-Session-Token` is the only one.

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
    """Resolves the tokens of a request to a principal.

    Args:
        sessions: verifies session tokens, from `X-Session-Token` and the session cookie.
        visits: verifies anonymous visits, from the visit cookies.
        bearers: the token sources for bearers; the first that recognises one decides.

    Resolved tokens are stored in `known`, for further questions about the same request.
    """

    def __init__(self, *, sessions: TokenSource, visits: TokenSource, bearers: Sequence[TokenSource]) -> None:
        self._sessions, self._visits, self._bearers = sessions, visits, tuple(bearers)

    async def session(
        self, presented: PresentedTokens, *, store: str | None = None, known: KnownSessions | None = None
    ) -> CachedSession | None:
        """Return the first valid session of a request that counts in the store, or in any where `store` is None."""
        for token in tokens_of(presented):
            cached = await self._resolved(token, known)
            if cached is not None and (store is None or cached.session.at_home_in(store)):
                return cached
        return None

    async def guests(self, bearer: str | None, visits: Mapping[str, str | None]) -> Mapping[str, str]:
        """Return the guests of a request by their store: those of each store's cookie, overridden by the bearer's.

        A visit counts only in the cookie of its own store: in another store's cookie it was planted.
        """
        found: dict[str, str] = {}
        for store, token in (*visits.items(), (None, bearer)):
            visit = await self._visit(token, store) if token else None
            if visit is not None:
                found[visit.store] = str(visit.guest)
        return found

    async def resolve(
        self, presented: PresentedTokens, *, store: str, client: Client, known: KnownSessions | None = None
    ) -> Principal:
        """Return the principal.

        Raises `TokenInvalid` where a token in a header is not valid here, and `SessionEnded` where it is a session's.
        """
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
        """Return the session of a token for any store, or `None` where the token is not that of a valid session."""
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
