"""Resolves the principal of a request, once, from the tokens that it presents.

    X-Session-Token   a session, of ours or of the store's session server, or the request is refused
    Bearer            a session, an anonymous visit or a subject of another issuer, or the request is refused
    session cookie    a session; ignored where it is not valid, as browsers keep cookies longer than sessions live
    its cookies       a session of the store's session server; ignored where it is not valid
    visit cookie      an anonymous visit; ignored where it is not valid
    none of these     an unknown caller

A cookie that comes several times counts where exactly one of its values is valid, or where all that are valid belong to
one identity: then the session that was authenticated last is meant. Sessions of different identities, or visits of
different guests, count for nothing, because it is unknown which of them was planted.

The first one that is present decides, in this order: a header, which a client sends deliberately, precedes a cookie,
which a browser sends automatically. So the published client, which always sends a bearer, acts as the principal of its
bearer regardless of its host's cookies. On Kratos' own paths (`tokens_of`) the session cookie precedes the bearer, as
in Kratos.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from uuid import UUID

from shopkeeper.client import Client
from shopkeeper.errors import TokenInvalid
from shopkeeper.identity.values import Identity
from shopkeeper.sessions.cache import CachedSession
from shopkeeper.sessions.errors import SessionEnded
from shopkeeper.sessions.token_sources import SESSION, External, TokenSource, source_of
from shopkeeper.sessions.values import Principal, PrincipalKind, Voucher
from shopkeeper.tokens.sealed import AnonymousVisit

KnownSessions = dict[str, CachedSession | None]
"""The sessions of a request's tokens, so that each token is resolved once."""


class ServerCookie(NamedTuple):
    """A session cookie of a session server, by the id of its provider, under the name that the server gave it."""

    server: str
    name: str
    value: str


class PresentedTokens(NamedTuple):
    """The tokens of a request, by their place; an empty text counts as `None`. A cookie can have several values."""

    session_token: str | None = None
    session_cookies: Sequence[str] = ()
    bearer: str | None = None
    visit_cookies: Sequence[str] = ()
    server_cookie: ServerCookie | None = None

    @property
    def on_purpose(self) -> str | None:
        """The token in a header, which no page can make a browser send automatically."""
        return self.session_token or self.bearer or None

    @property
    def by_cookie(self) -> bool:
        """Whether there is a token in a cookie, which a browser sends automatically."""
        return any(self.session_cookies) or any(self.visit_cookies) or self.server_cookie is not None


def tokens_of(presented: PresentedTokens) -> Sequence[Sequence[str]]:
    """Return the possible session tokens by their place, in the order to try them; `X-Session-Token` is the only one.

    >>> tokens_of(PresentedTokens(session_token="", session_cookies=("c", "d"), bearer="b"))
    [('c', 'd'), ('b',)]
    """
    if presented.session_token:
        return [(presented.session_token,)]
    return [tokens for tokens in (presented.session_cookies, (presented.bearer or "",)) if any(tokens)]


@dataclass(frozen=True, slots=True)
class _Place:
    store: str
    client: Client


class Vouching(Protocol):
    """Finds the identity of a person for whom another issuer vouches."""

    async def customer_of(self, external: External, *, token: str | None, client: Client) -> Identity:
        """Return the identity of a verified subject, which may be made now, where the gate of identities lets it pass.
        Raises a `Refusal`.

        Args:
            token: the token that was verified; None for the subject of a cookie.
        """
        ...


class ServerSessions(Protocol):
    """The sessions that session servers keep for stores of ours."""

    def takes(self, token: str, store: str) -> bool:
        """Whether a session server of the store has tokens of this form. No I/O."""
        ...

    async def verify(self, token: str, store: str, *, client: Client) -> External:
        """Return the subject of a session. Raises `TokenInvalid`, `SecondFactorRequired`, or that it is unknown."""
        ...

    async def verify_cookie(self, cookie: ServerCookie, *, client: Client) -> External:
        """Return the subject of a session cookie. Raises as `verify` does."""
        ...


class PrincipalResolver:
    """Resolves the tokens of a request to a principal.

    Args:
        sessions: verifies session tokens, from `X-Session-Token` and the session cookie.
        visits: verifies anonymous visits, from the visit cookies.
        bearers: the token sources for bearers; the first that recognises one decides.
        vouching: finds the identities of other issuers' subjects, where such tokens are among the bearers.
        server_sessions: the sessions that session servers keep; a token that is a session of ours is not shown to them.

    Resolved tokens are stored in `known`, for further questions about the same request.
    """

    def __init__(
        self,
        *,
        sessions: TokenSource,
        visits: TokenSource,
        bearers: Sequence[TokenSource],
        vouching: Vouching | None = None,
        server_sessions: ServerSessions | None = None,
    ) -> None:
        self._sessions, self._visits, self._bearers = sessions, visits, tuple(bearers)
        self._vouching, self._server_sessions = vouching, server_sessions

    async def session(
        self, presented: PresentedTokens, *, store: str | None = None, known: KnownSessions | None = None
    ) -> CachedSession | None:
        """Return the first valid session of a request that counts in the store, or in any where `store` is None."""
        for tokens in tokens_of(presented):
            found = await self._meant(tokens, store, known)
            if found is not None:
                return found[1]
        return None

    async def live_sessions(
        self, tokens: Sequence[str], *, store: str | None = None, known: KnownSessions | None = None
    ) -> Mapping[str, CachedSession]:
        """Return the valid sessions among some tokens, of a store or of any, by their token."""
        found = {}
        for token in tokens:
            cached = await self._resolved(token, known)
            if cached is not None and (store is None or cached.session.at_home_in(store)):
                found[token] = cached
        return found

    async def mean_one_identity(self, tokens: Sequence[str], known: KnownSessions | None = None) -> bool:
        """Return whether the valid sessions among some tokens are those of one identity."""
        live = await self.live_sessions(tokens, known=known)
        return len({cached.session.identity.id for cached in live.values()}) == 1

    async def token_by_cookie(
        self, presented: PresentedTokens, *, store: str, known: KnownSessions | None = None
    ) -> str | None:
        """Return the token in a cookie that a request relies on. A single one is not verified."""
        sessions, visits = presented.session_cookies, presented.visit_cookies
        if len(sessions) > 1:
            found = await self._meant(sessions, store, known)
            sessions = (found[0],) if found else sessions
        if len(visits) > 1:
            visit = await self._visit_meant(visits, store)
            visits = (visit[0],) if visit else visits
        return next((token for token in (*sessions[:1], *visits[:1]) if token), None)

    async def guests(self, bearer: str | None, visits: Mapping[str, Sequence[str]]) -> Mapping[str, str]:
        """Return the guests of a request by their store: those of each store's cookie, overridden by the bearer's.

        A visit counts only in the cookie of its own store: in another store's cookie it was planted.
        """
        found: dict[str, str] = {}
        for store, tokens in (*visits.items(), (None, (bearer,) if bearer else ())):
            meant = await self._visit_meant(tokens, store) if tokens else None
            if meant is not None:
                found[meant[1].store] = str(meant[1].guest)
        return found

    async def impersonation(self, presented: PresentedTokens, *, known: KnownSessions | None = None) -> UUID | None:
        """Return the impersonation of any token of a request, in any store; None where there is none.

        All tokens count, not only those of the principal: a request with two of them changes nothing by either.
        """
        bearer = (presented.bearer,) if presented.bearer else ()
        header = (presented.session_token,) if presented.session_token else ()
        tokens = (*header, *presented.session_cookies, *bearer)
        for cached in (await self.live_sessions(tokens, known=known)).values():
            if cached.session.actor is not None:
                return cached.session.id
        for token in (*presented.visit_cookies, *bearer):
            visit = await self._visit(token, None)
            if visit is not None and visit.impersonation is not None:
                return visit.impersonation
        return None

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
        session = await self._meant(presented.session_cookies, store, known)
        if session is not None:
            return _customer(session[1], place, by_cookie=True)
        if presented.server_cookie is not None:
            principal = await self._by_server_cookie(presented.server_cookie, place)
            if principal is not None:
                return principal
        visit = await self._visit_meant(presented.visit_cookies, store)
        if visit is not None:
            return _guest(visit[1], place, by_cookie=True)
        return self.nobody(store=store, client=client)

    @staticmethod
    def nobody(*, store: str, client: Client) -> Principal:
        """Return an unknown caller."""
        return Principal(kind=PrincipalKind.NOBODY, subject="", store=store, client=client)

    async def vouched_for(
        self, presented: PresentedTokens, *, store: str, client: Client, known: KnownSessions | None = None
    ) -> Principal | None:
        """Return the customer for whom another issuer vouches, on the paths that ask for a session; None where no token
        of the request is one's. As there, the cookie precedes the bearer. A token that is a session of ours counts for
        nothing.

        Raises the refusals of `Vouching.customer_of`, and that a provider is away.
        """
        place, principal = _Place(store, client), None
        try:
            if presented.session_token:
                principal = await self._by_session(presented.session_token, place, known)
            elif presented.server_cookie is not None:
                principal = await self._by_server_cookie(presented.server_cookie, place)
            if principal is None and presented.bearer and not presented.session_token:
                principal = await self._by_bearer(presented.bearer, place, known)
        except TokenInvalid:
            return None
        return principal if principal is not None and principal.vouched is not None else None

    async def _meant(
        self, tokens: Sequence[str], store: str | None, known: KnownSessions | None
    ) -> tuple[str, CachedSession] | None:
        """Return the token and the session that some tokens of one place mean, or None."""
        if len(tokens) == 1:  # nearly always
            cached = await self._resolved(tokens[0], known)
            at_home = cached is not None and (store is None or cached.session.at_home_in(store))
            return (tokens[0], cached) if cached is not None and at_home else None
        live = await self.live_sessions(tokens, store=store, known=known)
        if len({cached.session.identity.id for cached in live.values()}) != 1:
            return None
        return max(live.items(), key=lambda each: each[1].session.authenticated_at)

    async def _visit_meant(self, tokens: Sequence[str], store: str | None) -> tuple[str, AnonymousVisit] | None:
        """Return the token and the visit that some tokens of one place mean, or None; the one that lasts longest."""
        found = [(token, visit) for token in tokens if (visit := await self._visit(token, store)) is not None]
        if len({visit.guest for _, visit in found}) != 1:
            return None
        return max(found, key=lambda each: each[1].expires_at)

    async def _by_session(self, token: str, place: _Place, known: KnownSessions | None) -> Principal:
        cached = await self._resolved(token, known)
        if cached is None and self._server_sessions is not None and self._server_sessions.takes(token, place.store):
            external = await self._server_sessions.verify(token, place.store, client=place.client)
            return await self._vouched_for(external, token, place)
        if cached is None:
            raise SessionEnded if self._sessions.recognises(token) else TokenInvalid
        if not cached.session.at_home_in(place.store):
            raise TokenInvalid
        return _customer(cached, place)

    async def _by_bearer(self, token: str, place: _Place, known: KnownSessions | None) -> Principal:
        if self._server_sessions is not None and self._server_sessions.takes(token, place.store):
            return await self._by_session(token, place, known)
        source = source_of(self._bearers, token)
        if source is self._sessions:
            return await self._by_session(token, place, known)
        verified = await source.verify(token, place.store, client=place.client)
        if isinstance(verified, External):
            return await self._vouched_for(verified, token, place)
        if not isinstance(verified, AnonymousVisit):
            raise TokenInvalid
        return _guest(verified, place)

    async def _by_server_cookie(self, cookie: ServerCookie, place: _Place) -> Principal | None:
        """Return the customer of a session server's cookie; None where it is not valid."""
        if self._server_sessions is None:
            return None
        try:
            external = await self._server_sessions.verify_cookie(cookie, client=place.client)
        except TokenInvalid:
            return None
        return await self._vouched_for(external, None, place, by_cookie=True)

    async def _vouched_for(
        self, external: External, token: str | None, place: _Place, *, by_cookie: bool = False
    ) -> Principal:
        if self._vouching is None:
            raise TokenInvalid
        identity = await self._vouching.customer_of(external, token=token, client=place.client)
        return _vouched(identity, external, place, by_cookie=by_cookie)

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
        impersonation=cached.session.id if cached.session.actor is not None else None,
    )


def _vouched(identity: Identity, external: External, place: _Place, *, by_cookie: bool = False) -> Principal:
    aal = external.claims.get("acr") if external.token_type == SESSION else None
    return Principal(
        kind=PrincipalKind.CUSTOMER,
        subject=str(identity.id),
        store=place.store,
        client=place.client,
        vouched=identity,
        voucher=Voucher(external.provider, external.issuer, aal=aal),
        by_cookie=by_cookie,
    )


def _guest(visit: AnonymousVisit, place: _Place, *, by_cookie: bool = False) -> Principal:
    return Principal(
        kind=PrincipalKind.ANONYMOUS,
        subject=str(visit.guest),
        store=place.store,
        client=place.client,
        by_cookie=by_cookie,
        impersonation=visit.impersonation,
    )
