"""Authenticates requests: the store, the client, the session and the principal of a request, read alike by all routes.

The headers that identify a caller are read once, in one pass, and cached with the request (`RequestCredentials`). A
token that several functions need is resolved once.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import chain
from uuid import UUID

from starlette.datastructures import QueryParams
from starlette.requests import HTTPConnection
from starlette.types import Scope

from shopkeeper.client import Client
from shopkeeper.commerce.stores import STORE, TENANT, Store, Stores
from shopkeeper.errors import Forbidden, StoreUnknown, TokenInvalid
from shopkeeper.http.cookies import LANGUAGE, CookiePolicy, Cookies, cookies_in
from shopkeeper.http.leftover_cookies import delete_session_cookies
from shopkeeper.http.origins import Origins, Sender, sender_of
from shopkeeper.http.request_log import note
from shopkeeper.http.requests import JSON, bearer_of, client_of
from shopkeeper.languages.choice import LANGUAGE_PARAMETER, SOURCE, offered, preferred, storable
from shopkeeper.parsing import media_type_of
from shopkeeper.sessions.cache import CachedSession
from shopkeeper.sessions.errors import SessionEnded
from shopkeeper.sessions.principal import KnownSessions, PresentedTokens, PrincipalResolver, ServerCookie
from shopkeeper.sessions.values import Principal, Session
from shopkeeper.upstream.errors import AddressUnverified

_KEPT_AS = "shopkeeper.credentials"
_COOKIE, _SESSION_TOKEN = b"cookie", b"x-session-token"
_OF_THE_PAGE = frozenset({b"origin", b"sec-fetch-site", b"referer"})
_LANGUAGE = b"accept-language"
_READ = frozenset({_COOKIE, _SESSION_TOKEN, _LANGUAGE, b"authorization", b"host", b"content-type"}) | _OF_THE_PAGE
_MAY_CALL = frozenset({Sender.OWN_PAGE, Sender.TRUSTED_PAGE, Sender.PROGRAM})
"""Whose requests may rely on cookies without a token against forgery."""


ServerCookieOf = Callable[[Cookies, str], ServerCookie | None]
"""Returns the session cookie of the session server of a store, by the store's id."""


class RequestCredentials:
    """The headers that identify the caller. The first of a repeated header counts; of `Cookie`, all do.

    Args:
        scope: the ASGI scope of the request.
        read: the names of the headers to read, in lower case.
    """

    __slots__ = ("bearer", "cookie_lines", "header", "scope")

    def __init__(self, scope: Scope, *, read: frozenset[bytes]) -> None:
        first: dict[bytes, str] = {}
        cookie_lines: list[str] = []
        for name, value in scope["headers"]:
            if name in read:
                if name == _COOKIE:
                    cookie_lines.append(value.decode("latin-1"))
                else:
                    first.setdefault(name, value.decode("latin-1"))
        self.scope = scope
        self.header = first.get
        self.cookie_lines = cookie_lines
        self.bearer = bearer_of(first.get(b"authorization"))

    @property
    def cookies(self) -> Cookies:
        """The cookies, by name."""
        return cookies_in(self.cookie_lines) if self.cookie_lines else {}

    def named_store(self, store_header: bytes, tenant_header: bytes) -> tuple[str | None, str | None]:
        """Return the names of a store and a tenant: from headers, else from the query, which a browser can send."""
        name, tenant = self.header(store_header), self.header(tenant_header)
        query = self.scope["query_string"]
        if name or tenant or not query:
            return name, tenant
        parameters = QueryParams(query)
        return parameters.get(STORE), parameters.get(TENANT)


class KeptCredentials(RequestCredentials):
    """Credentials that are cached with a request: client, store, cookies and sessions are determined once."""

    __slots__ = ("_cookies", "client", "known_sessions", "store")

    def __init__(self, scope: Scope, *, read: frozenset[bytes]) -> None:
        super().__init__(scope, read=read)
        self._cookies: Cookies | None = None
        self.store: Store | None = None
        self.client: Client | None = None
        self.known_sessions: KnownSessions = {}

    @property
    def cookies(self) -> Cookies:
        """The cookies, by name; parsed at the first call."""
        if self._cookies is None:
            self._cookies = super().cookies
        return self._cookies


class RequestAuthenticator:
    """Determines the caller of a request, the client, and the store.

    `trusted_origins` are the origins whose pages may use our cookies; `own_origin` is the origin of our own pages.
    `server_cookie` finds the session cookie of a store's session server. `kept_as` names where a request's credentials
    are kept in its scope: authenticators that resolve tokens in different ways must not share what they found.
    """

    def __init__(
        self,
        *,
        stores: Stores,
        resolver: PrincipalResolver,
        cookies: CookiePolicy,
        trusted_proxies: int,
        trusted_origins: Origins,
        own_origin: str,
        store_header: str,
        tenant_header: str,
        server_cookie: ServerCookieOf | None = None,
        kept_as: str = _KEPT_AS,
    ) -> None:
        self._stores = stores
        self._resolver = resolver
        self._cookies = cookies
        self._trusted_proxies = trusted_proxies
        self._trusted_origins = trusted_origins
        self._own_origin = own_origin
        self._server_cookie = server_cookie
        self._kept_as = kept_as
        self._store_header = store_header.lower().encode()
        self._tenant_header = tenant_header.lower().encode()
        self._read = _READ | {self._store_header, self._tenant_header}

    def client_of(self, request: HTTPConnection) -> Client:
        """Return the client of the request."""
        kept = self._credentials(request)
        if kept.client is None:
            kept.client = client_of(request.scope, trusted_proxies=self._trusted_proxies)
        return kept.client

    def store_of(self, request: HTTPConnection) -> Store:
        """Return the store of the request. Raises `StoreUnknown`."""
        kept = self._credentials(request)
        if kept.store is None:
            name, tenant = kept.named_store(self._store_header, self._tenant_header)
            kept.store = self._stores.choose(name=name, tenant=tenant, host=kept.header(b"host"))
        return kept.store

    def language_of(self, request: HTTPConnection) -> str:
        """Return the language of what the sender of a request reads: the wished one, else the one that is known of the
        signed-in person, else that of the store.

        The person is known where the request's session was asked for before (`session_of`, `principal_of`).
        """
        credentials = self._credentials(request)
        wished = self.wished_language_of(request)
        if wished is not None:
            return wished
        for cached in credentials.known_sessions.values():
            if cached is not None and cached.session.known_locale is not None:
                return cached.session.known_locale
        try:
            return offered(self.store_of(request).locale)
        except StoreUnknown:
            return SOURCE

    def wished_language_of(self, request: HTTPConnection) -> str | None:
        """Return the offered language that the visitor has chosen on a page, or else the one that the request asks for;
        None where there is neither."""
        chosen = self.chosen_language_of(request)
        if chosen is not None:
            return chosen
        return preferred(self._credentials(request).header(_LANGUAGE) or "")

    def chosen_language_of(self, request: HTTPConnection) -> str | None:
        """Return the offered language that the visitor has chosen: in the address, or earlier, in a cookie."""
        query = request.scope["query_string"]
        if LANGUAGE_PARAMETER.encode() in query:
            chosen = storable(QueryParams(query).get(LANGUAGE_PARAMETER))
            if chosen is not None:
                return chosen
        values = self._credentials(request).cookies.get(LANGUAGE, ())
        return next((value for value in values if storable(value)), None)

    def cookies_of(self, request: HTTPConnection) -> Cookies:
        """Return the cookies of the request."""
        return self._credentials(request).cookies

    def has_session_cookie(self, request: HTTPConnection) -> bool:
        """Return whether the request has a session cookie of ours, valid or not."""
        return any(self._credentials(request).cookies.get(self._cookies.session_name, ()))

    def cookie_lines_of(self, request: HTTPConnection) -> Sequence[str]:
        """Return the `Cookie` headers of the request, as they were sent."""
        return self._credentials(request).cookie_lines

    def session_in(self, scope: Scope) -> Awaitable[CachedSession | None]:
        """Return the session of a request with its encoded response, under the rules of `session_of`.

        For hot paths, which call it once and cache nothing in the scope.
        """
        return self._session(RequestCredentials(scope, read=self._read))

    async def customer_in(self, scope: Scope) -> CachedSession | Principal | None:
        """Return the session of a request as `session_in` does, or else the customer for whom a provider of its store
        vouches, by the token sources of GraphQL; None where there is neither.

        Raises `StoreUnknown`, and the refusals of such customers, whose token or session is valid.
        """
        credentials = RequestCredentials(scope, read=self._read)
        known: KnownSessions = {}
        cached = await self._session(credentials, known=known)
        if cached is not None:
            return cached
        name, tenant = credentials.named_store(self._store_header, self._tenant_header)
        store = self._stores.choose(name=name, tenant=tenant, host=credentials.header(b"host"))
        presented = self._presented(credentials, store=store)
        client = client_of(scope, trusted_proxies=self._trusted_proxies)
        return await self._resolver.vouched_for(presented, store=store.id, client=client, known=known)

    async def session_of(self, request: HTTPConnection) -> Session | None:
        """Return the session of a request, from a header or a cookie, or None if no token is valid.

        If the request names a store, a session of another store does not count; raises `StoreUnknown`. If it names
        none, a session of any store counts, so that signing out and the account page work for every store.
        """
        kept = self._credentials(request)
        cached = await self._session(kept, known=kept.known_sessions)
        if cached is None:
            return None
        note(principal=str(cached.session.identity.id))
        return cached.session

    async def any_session_of(self, request: HTTPConnection) -> Session | None:
        """Return the session of the first token, of any store: it ends when another session replaces it."""
        credentials = self._credentials(request)
        presented = self._presented(credentials)
        cached = await self._resolver.session(presented, known=credentials.known_sessions)
        return cached.session if cached else None

    async def doubles_of(self, request: HTTPConnection) -> Sequence[Session]:
        """Return the live sessions of a session cookie that came several times; empty where it came once.

        Those of one identity end together: otherwise a browser that keeps one of the cookies would stay signed in.
        """
        credentials = self._credentials(request)
        tokens = credentials.cookies.get(self._cookies.session_name, ())
        if len(tokens) < 2:
            return ()
        live = await self._resolver.live_sessions(tokens, known=credentials.known_sessions)
        return [cached.session for cached in live.values()]

    async def guests_of(self, request: HTTPConnection) -> Mapping[str, str]:
        """Return the guests that a request presents, as bearer token or in cookies, by store."""
        credentials = self._credentials(request)
        cookies = credentials.cookies
        visits = {store.id: self._cookies.visits_in(cookies, store=store.id) for store in self._stores.fronts}
        return await self._resolver.guests(credentials.bearer, visits)

    async def impersonation_of(self, request: HTTPConnection) -> UUID | None:
        """Return the impersonation in which an agent makes a request; None for everybody else.

        Any token of the request counts, of any store.
        """
        credentials = self._credentials(request)
        visits = [self._cookies.visits_in(credentials.cookies, store=store.id) for store in self._stores.fronts]
        presented = self._presented(credentials)._replace(visit_cookies=tuple(chain.from_iterable(visits)))
        return await self._resolver.impersonation(presented, known=credentials.known_sessions)

    async def principal_of(self, request: HTTPConnection) -> Principal:
        """Return the principal of a request.

        Raises `TokenInvalid` or `SessionEnded` for a bad token; `Forbidden` for another site's page. If the request
        relies on cookies, it must come from one of our own pages or a trusted one, or from no browser, and be JSON
        unless it is a GET.
        """
        credentials, store = self._credentials(request), self.store_of(request)
        presented = self._presented(credentials, store=store)
        principal = await self._resolver.resolve(
            presented, store=store.id, client=self.client_of(request), known=credentials.known_sessions
        )
        if principal.session is None and not presented.on_purpose:
            await self._note_conflict(credentials, presented, known=credentials.known_sessions)
        if principal.by_cookie:
            self._require_own_page(request)
        note(principal=principal.subject)
        return principal

    async def principal_signing_in(self, request: HTTPConnection) -> Principal:
        """Return the principal of a request that signs in or out.

        Raises `TokenInvalid` for every bad token, also of an ended session: the published client then retries without
        it, and would give up at any other error. A person who has to verify an address first is no customer yet, and
        signs in to begin that.
        """
        try:
            return await self.principal_of(request)
        except AddressUnverified:
            return self._resolver.nobody(store=self.store_of(request).id, client=self.client_of(request))
        except SessionEnded as ended:
            raise TokenInvalid from ended

    async def session_to_end(self, request: HTTPConnection, principal: Principal) -> Session | None:
        """Return the session that a sign-in or sign-out ends: the principal's own, or the one whose cookie is replaced.

        A guest's bearer token takes precedence over that cookie, or the cookie is of another store of this host. Once
        the cookie is replaced, its session could not be ended any more.
        """
        if principal.session is not None or not self.may_have_cookies(request):
            return principal.session
        credentials = self._credentials(request)
        presented = PresentedTokens(session_cookies=credentials.cookies.get(self._cookies.session_name, ()))
        cached = await self._resolver.session(presented, known=credentials.known_sessions)
        return cached.session if cached is not None else None

    def server_cookie_to_end(self, request: HTTPConnection) -> ServerCookie | None:
        """Return the cookie of the store's session server whose session a sign-out ends, also beside a token of ours:
        the browser would be signed in by it otherwise. Cookies that another site's page sent count for nothing."""
        if not self.may_have_cookies(request):
            return None
        return self._presented(self._credentials(request), store=self.store_of(request)).server_cookie

    async def token_to_refresh(self, request: HTTPConnection) -> str | None:
        """Return the one token that a request relies on, valid or not.

        Raises `Forbidden` if it is a cookie that another site's page sent.
        """
        credentials, store = self._credentials(request), self.store_of(request)
        presented = self._presented(credentials, store=store)
        if presented.on_purpose:
            return presented.on_purpose
        self._require_own_page(request)
        return await self._resolver.token_by_cookie(presented, store=store.id, known=credentials.known_sessions)

    def may_have_cookies(self, request: HTTPConnection) -> bool:
        """Return whether the response may change the browser's cookies.

        It may for our own pages, and for pages of trusted origins that authenticate by cookie, which would otherwise
        keep a token that was replaced.
        """
        sender = self.sender_of(request, self._trusted_origins)
        if sender is Sender.OWN_PAGE:
            return True
        presented = self._presented(self._credentials(request), store=self.store_of(request))
        return not presented.on_purpose and presented.by_cookie and sender in _MAY_CALL

    def sender_of(self, request: HTTPConnection, trusted: Origins) -> Sender:
        """Return who makes the request, with the origins whose pages may make this kind of request."""
        return sender_of(self._credentials(request).header, own=self._own_origin, trusted=trusted)

    def is_trusted_page(self, request: HTTPConnection) -> bool:
        """Return whether a page of a trusted origin makes the request, by cookie or by token."""
        return self.sender_of(request, self._trusted_origins) is Sender.TRUSTED_PAGE

    def refuse_foreign_page(self, request: HTTPConnection) -> None:
        """Raise `Forbidden` if a browser says that another site's page makes this request with our cookies.

        A request with a token in a header needs no such check: no page can make a browser send that header.
        """
        credentials = self._credentials(request)
        if not credentials.header(_SESSION_TOKEN) and not credentials.bearer:
            self._require_trusted_page(request)

    def _credentials(self, request: HTTPConnection) -> KeptCredentials:
        """Return the credentials of the request: read at the first call, then cached in its scope."""
        kept: KeptCredentials | None = request.scope.get(self._kept_as)
        if kept is None:
            kept = request.scope[self._kept_as] = KeptCredentials(request.scope, read=self._read)
        return kept

    def _presented(self, credentials: RequestCredentials, *, store: Store | None = None) -> PresentedTokens:
        """Return the tokens of a request; the token of a visit only if the store is given."""
        cookies = credentials.cookies
        return PresentedTokens(
            session_token=credentials.header(_SESSION_TOKEN),
            session_cookies=cookies.get(self._cookies.session_name, ()),
            bearer=credentials.bearer,
            visit_cookies=self._cookies.visits_in(cookies, store=store.id) if store else (),
            server_cookie=self._server_cookie(cookies, store.id) if store and self._server_cookie else None,
        )

    async def _session(
        self, credentials: RequestCredentials, *, known: KnownSessions | None = None
    ) -> CachedSession | None:
        name, tenant = credentials.named_store(self._store_header, self._tenant_header)
        store = self._stores.named(name=name, tenant=tenant, host=credentials.header(b"host"))
        presented = self._presented(credentials)
        found = await self._resolver.session(presented, store=store.id if store else None, known=known)
        if found is None:
            await self._note_conflict(credentials, presented, known=known)
        return found

    async def _note_conflict(
        self, credentials: RequestCredentials, presented: PresentedTokens, *, known: KnownSessions | None
    ) -> None:
        """Have the response delete the session cookies where several came and no session counts.

        They are live sessions of different identities, or have all ended. The browser would send them for up to a year,
        and as more values than are looked at they would hide the one that a sign-in sets.
        """
        several = presented.session_cookies if len(presented.session_cookies) > 1 else ()
        if several and not await self._resolver.mean_one_identity(several, known):
            delete_session_cookies(credentials.scope)

    def _require_own_page(self, request: HTTPConnection) -> None:
        content_type = media_type_of(self._credentials(request).header(b"content-type"))
        if request.scope["method"] != "GET" and content_type != JSON:
            raise Forbidden(f"A request that relies on cookies must be sent as {JSON}.")
        self._require_trusted_page(request)

    def _require_trusted_page(self, request: HTTPConnection) -> None:
        if self.sender_of(request, self._trusted_origins) not in _MAY_CALL:
            raise Forbidden("The request comes from a page of another site.")
