"""Who is asking: decided once for each request, from what it carries.

    X-Session-Token   a session, or the request is refused
    Bearer            a session or an anonymous visit, or the request is refused
    session cookie    a session, or as if it were not there: browsers keep cookies longer than sessions live
    visit cookie      an anonymous visit, or as if it were not there
    nothing           nobody

The first that is there decides, in this order: what a client sends on purpose, before what a browser sends by itself.
So the published client, which always sends its bearer, acts as whom it says, whatever cookies its page's host has.
Kratos' own paths (`tokens_of`) look at the session cookie before the bearer, as Kratos does.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from shopkeeper.errors import TokenInvalid
from shopkeeper.identity.values import Client
from shopkeeper.sessions.cache import Resolved
from shopkeeper.sessions.refusals import SessionEnded
from shopkeeper.sessions.service import Sessions
from shopkeeper.sessions.values import Principal, PrincipalKind
from shopkeeper.tokens.sealed import AnonymousVisit, SealedTokens

_BEARER = re.compile(r"Bearer +(?:Bearer +)?([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)


def bearer_of(header: str | None) -> str | None:
    """The token of an `Authorization` header (RFC 6750 section 2.1); nothing for other schemes and for nonsense.

    The scheme may stand there twice: the published shop client sends it so when it refreshes.

    >>> bearer_of("Bearer Bearer abc"), bearer_of("Basic abc"), bearer_of("Bearer a b")
    ('abc', None, None)
    """
    found = _BEARER.fullmatch(header.strip(" ")) if header else None
    return found[1] if found else None


@dataclass(frozen=True, slots=True)
class Carriers:
    """What a request carries to say who is asking. The door takes it out of headers; an empty text is nothing."""

    session_token: str | None = None
    session_cookie: str | None = None
    bearer: str | None = None
    visit_cookie: str | None = None


def tokens_of(carriers: Carriers) -> Sequence[str]:
    """What may be a session's token, in the order to try: one that was sent on purpose stands alone.

    >>> tokens_of(Carriers(session_token="", session_cookie="c", bearer="b"))
    ('c', 'b')
    """
    if carriers.session_token:
        return (carriers.session_token,)
    return tuple(token for token in (carriers.session_cookie, carriers.bearer) if token)


@dataclass(frozen=True, slots=True)
class _Place:
    store: str
    client: Client


class PrincipalResolver:
    """Turns what a request carries into a principal."""

    def __init__(self, sessions: Sessions, sealed: SealedTokens) -> None:
        self._sessions, self._sealed = sessions, sealed

    async def session(self, carriers: Carriers, *, store: str | None = None) -> Resolved | None:
        """The session that a request carries: the first that is good, and at home in a store where one is named."""
        for token in tokens_of(carriers):
            resolved = await self._sessions.resolve(token)
            if resolved is not None and (store is None or resolved.session.at_home_in(store)):
                return resolved
        return None

    def guests(self, bearer: str | None, visits: Mapping[str, str | None]) -> Mapping[str, str]:
        """The guests of a request, by the store they count in: those of each store's cookie, and the bearer's, which
        goes before. A visit counts under the cookie of its own store only: any other was planted."""
        found: dict[str, str] = {}
        for store, token in (*visits.items(), (None, bearer)):
            if token and not self._sessions.is_ours(token):
                with suppress(TokenInvalid):
                    visit = self._sealed.read(token)
                    if store in {None, visit.store}:
                        found[visit.store] = str(visit.guest)
        return found

    async def resolve(self, carriers: Carriers, *, store: str, client: Client) -> Principal:
        """Who is asking. Raises `TokenInvalid` where a token was presented on purpose and is not good here, and
        `SessionEnded` where it was a session's."""
        place = _Place(store, client)
        if carriers.session_token:
            return await self._by_session(carriers.session_token, place)
        if carriers.bearer:
            return await self._by_bearer(carriers.bearer, place)
        if carriers.session_cookie:
            customer = await self._customer(carriers.session_cookie, place, by_cookie=True)
            if customer is not None:
                return customer
        if carriers.visit_cookie:
            return self._by_visit_cookie(carriers.visit_cookie, place)
        return _nobody(place)

    async def _by_session(self, token: str, place: _Place) -> Principal:
        customer = await self._customer(token, place)
        if customer is not None:
            return customer
        if self._sessions.is_ours(token) and await self._sessions.resolve(token) is None:
            raise SessionEnded
        raise TokenInvalid

    async def _by_bearer(self, token: str, place: _Place) -> Principal:
        if self._sessions.is_ours(token):
            return await self._by_session(token, place)
        return _guest(self._sealed.verify(token, store=place.store), place)

    def _by_visit_cookie(self, token: str, place: _Place) -> Principal:
        try:
            return _guest(self._sealed.verify(token, store=place.store), place, by_cookie=True)
        except TokenInvalid:
            return _nobody(place)

    async def _customer(self, token: str, place: _Place, *, by_cookie: bool = False) -> Principal | None:
        resolved = await self._sessions.resolve(token)
        if resolved is None or not resolved.session.at_home_in(place.store):
            return None
        return Principal(
            kind=PrincipalKind.CUSTOMER,
            subject=str(resolved.session.identity.id),
            store=place.store,
            client=place.client,
            session=resolved.session,
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


def _nobody(place: _Place) -> Principal:
    return Principal(kind=PrincipalKind.NOBODY, subject="", store=place.store, client=place.client)
