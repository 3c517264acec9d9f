"""Authenticating requests: the store, the client, the session and the principal of a request, read alike by all routes.

What a request says of its caller is read once, in one pass over its headers, and kept with the request
(`RequestCredentials`); a token that several functions ask about is resolved once.
"""

from collections.abc import Awaitable, Mapping, Sequence

from starlette.datastructures import QueryParams
from starlette.requests import HTTPConnection
from starlette.types import Scope

from shopkeeper.client import Client
from shopkeeper.commerce.stores import STORE, TENANT, Store, Stores
from shopkeeper.errors import Forbidden, TokenInvalid
from shopkeeper.http.origins import Origins
from shopkeeper.http.request_log import note
from shopkeeper.http.requests import JSON, client_of
from shopkeeper.sessions.cache import CachedSession
from shopkeeper.sessions.cookies import CookiePolicy, cookies_in
from shopkeeper.sessions.errors import SessionEnded
from shopkeeper.sessions.principal import KnownSessions, PresentedTokens, PrincipalResolver
from shopkeeper.sessions.token_sources import bearer_of
from shopkeeper.sessions.values import Principal, Session

_KEPT_AS = "shopkeeper.credentials"
_COOKIE, _SESSION_TOKEN = b"cookie", b"x-session-token"
_READ = frozenset({_COOKIE, _SESSION_TOKEN, b"authorization", b"host", b"origin", b"sec-fetch-site", b"content-type"})


class RequestCredentials:
    """What a request says of its caller. Of a header that comes twice the first one counts, of `Cookie` all do.

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
    def cookies(self) -> Mapping[str, str]:
        """The cookies, by name."""
        return cookies_in(self.cookie_lines) if self.cookie_lines else {}

    def named_store(self, store_header: bytes, tenant_header: bytes) -> tuple[str | None, str | None]:
        """The names of a store and a tenant: in headers, or in an address that a browser goes to."""
        name, tenant = self.header(store_header), self.header(tenant_header)
        query = self.scope["query_string"]
        if name or tenant or not query:
            return name, tenant
        parameters = QueryParams(query)
        return parameters.get(STORE), parameters.get(TENANT)


class KeptCredentials(RequestCredentials):
    """The same, kept with a request that several functions ask about: what was found out is not found out again."""

    __slots__ = ("_cookies", "client", "known_sessions", "store")

    def __init__(self, scope: Scope, *, read: frozenset[bytes]) -> None:
        super().__init__(scope, read=read)
        self._cookies: Mapping[str, str] | None = None
        self.store: Store | None = None
        self.client: Client | None = None
        self.known_sessions: KnownSessions = {}

    @property
    def cookies(self) -> Mapping[str, str]:
        """The cookies, by name; parsed at the first call."""
        if self._cookies is None:
            self._cookies = super().cookies
        return self._cookies


class RequestAuthenticator:
    """Says who is asking, from where, and for which store.

    `trusted_origins` are the origins whose pages may act with our cookies, `own_origin` is that of our own pages.
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
    ) -> None:
        self._stores = stores
        self._resolver = resolver
        self._cookies = cookies
        self._trusted_proxies = trusted_proxies
        self._trusted_origins = trusted_origins
        self._own_origin = own_origin
        self._store_header = store_header.lower().encode()
        self._tenant_header = tenant_header.lower().encode()
        self._read = _READ | {self._store_header, self._tenant_header}

    def client_of(self, request: HTTPConnection) -> Client:
        """Where the request comes from."""
        kept = self._credentials(request)
        if kept.client is None:
            kept.client = client_of(request.scope, trusted_proxies=self._trusted_proxies)
        return kept.client

    def store_of(self, request: HTTPConnection) -> Store:
        """The store the request is for; raises `StoreUnknown`."""
        kept = self._credentials(request)
        if kept.store is None:
            name, tenant = kept.named_store(self._store_header, self._tenant_header)
            kept.store = self._stores.choose(name=name, tenant=tenant, host=kept.header(b"host"))
        return kept.store

    def cookies_of(self, request: HTTPConnection) -> Mapping[str, str]:
        """The cookies of the request."""
        return self._credentials(request).cookies

    def cookie_lines_of(self, request: HTTPConnection) -> Sequence[str]:
        """The `Cookie` headers of the request, as they were sent."""
        return self._credentials(request).cookie_lines

    def session_in(self, scope: Scope) -> Awaitable[CachedSession | None]:
        """The session of a request, as `session_of`, with its encoded answer: for hot paths, which ask once and keep
        nothing in the scope."""
        return self._session(RequestCredentials(scope, read=self._read))

    async def session_of(self, request: HTTPConnection) -> Session | None:
        """The session of a request, wherever its token stands; `None` if there is none that is valid.

        Where the request names a store, a session that is not at home there does not count; raises `StoreUnknown`.
        Where it names none, the session decides: signing out and looking at one's account work for every store.
        """
        kept = self._credentials(request)
        cached = await self._session(kept, known=kept.known_sessions)
        if cached is None:
            return None
        note(principal=str(cached.session.identity.id))
        return cached.session

    async def any_session_of(self, request: HTTPConnection) -> Session | None:
        """The session whose token comes first, wherever it is at home: the one that ends where another takes its
        place."""
        credentials = self._credentials(request)
        presented = self._presented(credentials)
        cached = await self._resolver.session(presented, known=credentials.known_sessions)
        return cached.session if cached else None

    async def guests_of(self, request: HTTPConnection) -> Mapping[str, str]:
        """The anonymous visitors that a request presents, as bearer or in a browser's cookies, by their stores."""
        credentials = self._credentials(request)
        cookies = credentials.cookies
        visits = {store.id: cookies.get(self._cookies.visit_name(store.id)) for store in self._stores.fronts}
        return await self._resolver.guests(credentials.bearer, visits)

    async def principal_of(self, request: HTTPConnection) -> Principal:
        """Who is asking. Raises `TokenInvalid` or `SessionEnded` for a bad token; `Forbidden` for another site's page.

        A request that is believed for its cookies must have been made by one of our own pages: JSON, and not foreign.
        """
        credentials, store = self._credentials(request), self.store_of(request)
        principal = await self._resolver.resolve(
            self._presented(credentials, store=store),
            store=store.id,
            client=self.client_of(request),
            known=credentials.known_sessions,
        )
        if principal.by_cookie:
            self._require_own_page(request)
        note(principal=principal.subject)
        return principal

    async def principal_signing_in(self, request: HTTPConnection) -> Principal:
        """As `principal_of`, for signing in and out. Any bad token is `TokenInvalid` there: the published client then
        asks once more without it, and would give up at anything else."""
        try:
            return await self.principal_of(request)
        except SessionEnded as ended:
            raise TokenInvalid from ended

    async def session_to_end(self, request: HTTPConnection, principal: Principal) -> Session | None:
        """The session that ends where this principal signs in or out: theirs, or the one whose cookie is replaced.

        A guest's bearer hides that cookie, or it is of another store of this host; once the cookie is replaced, its
        session could not be ended any more.
        """
        if principal.session is not None or not self.may_have_cookies(request):
            return principal.session
        credentials = self._credentials(request)
        presented = PresentedTokens(session_cookie=credentials.cookies.get(self._cookies.session_name))
        cached = await self._resolver.session(presented, known=credentials.known_sessions)
        return cached.session if cached is not None else None

    def token_to_refresh(self, request: HTTPConnection) -> str | None:
        """The one token that a request relies on, be it good or not. Raises `Forbidden` as `principal_of`."""
        presented = self._presented(self._credentials(request), store=self.store_of(request))
        if not presented.on_purpose:
            self._require_own_page(request)
        return presented.on_purpose or presented.by_cookie

    def may_have_cookies(self, request: HTTPConnection) -> bool:
        """Whether the answer may change the browser's cookies: for our own pages, and for pages of trusted origins
        that were believed for their cookies and would otherwise be left with a token that was replaced."""
        credentials = self._credentials(request)
        if self._from_own_page(credentials):
            return True
        presented = self._presented(credentials, store=self.store_of(request))
        return not presented.on_purpose and bool(presented.by_cookie) and self._from_trusted_page(credentials)

    def refuse_foreign_page(self, request: HTTPConnection) -> None:
        """Raises `Forbidden` where a browser says that another site's page makes this request with our cookies.

        What carries a token on purpose, in a header that no page can make a browser send, needs no such proof.
        """
        credentials = self._credentials(request)
        if not credentials.header(_SESSION_TOKEN) and not credentials.bearer:
            self._require_trusted_page(credentials)

    def _credentials(self, request: HTTPConnection) -> KeptCredentials:
        """What the request says of its caller: read at the first call, and kept with the request."""
        kept: KeptCredentials | None = request.scope.get(_KEPT_AS)
        if kept is None:
            kept = request.scope[_KEPT_AS] = KeptCredentials(request.scope, read=self._read)
        return kept

    def _presented(self, credentials: RequestCredentials, *, store: Store | None = None) -> PresentedTokens:
        """The tokens of a request; a visit's only where it is said for which store."""
        cookies = credentials.cookies
        return PresentedTokens(
            session_token=credentials.header(_SESSION_TOKEN),
            session_cookie=cookies.get(self._cookies.session_name),
            bearer=credentials.bearer,
            visit_cookie=cookies.get(self._cookies.visit_name(store.id)) if store else None,
        )

    async def _session(
        self, credentials: RequestCredentials, *, known: KnownSessions | None = None
    ) -> CachedSession | None:
        name, tenant = credentials.named_store(self._store_header, self._tenant_header)
        store = self._stores.named(name=name, tenant=tenant, host=credentials.header(b"host"))
        presented = self._presented(credentials)
        return await self._resolver.session(presented, store=store.id if store else None, known=known)

    def _require_own_page(self, request: HTTPConnection) -> None:
        credentials = self._credentials(request)
        content_type = (credentials.header(b"content-type") or "").partition(";")[0].strip().lower()
        if request.scope["method"] != "GET" and content_type != JSON:
            raise Forbidden(f"A request that relies on cookies must be sent as {JSON}.")
        self._require_trusted_page(credentials)

    def _require_trusted_page(self, credentials: RequestCredentials) -> None:
        if not self._from_trusted_page(credentials):
            raise Forbidden("The request comes from a page of another site.")

    def _from_own_page(self, credentials: RequestCredentials) -> bool:
        """Whether a browser says that one of our own pages makes this request. No page can set these headers.

        Over plain http browsers leave `Sec-Fetch-Site` out, but for this machine; what they POST has an `Origin`.
        """
        site = credentials.header(b"sec-fetch-site")
        return site == "same-origin" or (site is None and credentials.header(b"origin") == self._own_origin)

    def _from_trusted_page(self, credentials: RequestCredentials) -> bool:
        """Whether this is one of our own pages, a page of an origin that is let in, or no browser at all."""
        origin = credentials.header(b"origin")
        no_browser = origin is None and credentials.header(b"sec-fetch-site") is None
        return no_browser or self._from_own_page(credentials) or origin in self._trusted_origins
