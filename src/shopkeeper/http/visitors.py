"""Who is at the door: the store, the client, the session and the principal of a request, read alike for all."""

from starlette.requests import HTTPConnection

from shopkeeper.commerce.stores import Store, Stores
from shopkeeper.errors import Forbidden
from shopkeeper.http.observing import note
from shopkeeper.http.origins import Origins
from shopkeeper.http.reading import JSON, client_of
from shopkeeper.identity.values import Client
from shopkeeper.sessions.cookies import VISIT, CookiePolicy, cookies_in
from shopkeeper.sessions.principal import Carriers, PrincipalResolver, bearer_of
from shopkeeper.sessions.values import Principal, Session


class Visitors:
    """Reads what every door needs to know of a visitor.

    `trusted_origins` are the origins whose pages may act with our cookies.
    """

    def __init__(
        self,
        *,
        stores: Stores,
        resolver: PrincipalResolver,
        cookies: CookiePolicy,
        trusted_proxies: int,
        trusted_origins: Origins,
        store_header: str,
        tenant_header: str,
    ) -> None:
        self._stores = stores
        self._resolver = resolver
        self._cookies = cookies
        self._trusted_proxies = trusted_proxies
        self._trusted_origins = trusted_origins
        self._store_header = store_header
        self._tenant_header = tenant_header

    def client_of(self, request: HTTPConnection) -> Client:
        """Where the request comes from."""
        return client_of(request.scope, trusted_proxies=self._trusted_proxies)

    def tenant_of(self, request: HTTPConnection) -> str | None:
        """The tenant that the request names."""
        return request.headers.get(self._tenant_header) or None

    def store_of(self, request: HTTPConnection) -> Store:
        """The store the request is for; raises `StoreUnknown`."""
        return self._stores.choose(
            name=request.headers.get(self._store_header),
            tenant=self.tenant_of(request),
            host=request.headers.get("host"),
        )

    def carriers_of(self, request: HTTPConnection) -> Carriers:
        """Every token the request carries, by where it stands."""
        cookies = cookies_in(request.headers.getlist("cookie"))
        return Carriers(
            session_token=request.headers.get("x-session-token"),
            session_cookie=cookies.get(self._cookies.session_name),
            bearer=bearer_of(request.headers.get("authorization")),
            visit_cookie=cookies.get(VISIT),
        )

    def token_of(self, request: HTTPConnection) -> str | None:
        """The one token that a request relies on, be it good or not: what is to be refreshed."""
        carriers = self.carriers_of(request)
        if not carriers.bearer and not carriers.session_token:
            self._require_own_page(request)
        return carriers.session_token or carriers.bearer or carriers.session_cookie or carriers.visit_cookie

    async def session_of(self, request: HTTPConnection) -> Session | None:
        """The session of a request, wherever its token stands; none if there is none that is valid."""
        resolved = await self._resolver.session(self.carriers_of(request))
        if resolved is None:
            return None
        note(principal=str(resolved.session.identity.id))
        return resolved.session

    def guest_of(self, request: HTTPConnection, *, store: Store) -> str | None:
        """The anonymous visitor that a request carries, as bearer or in a browser's cookie."""
        found = self.carriers_of(request)
        return self._resolver.guest(found.bearer, found.visit_cookie, store=store.id, tenant=self.tenant_of(request))

    async def principal_of(self, request: HTTPConnection) -> Principal:
        """Who is asking. Raises `TokenInvalid` for a bad token, and `Forbidden` for another site's page.

        A request that is believed for its cookies must have been made by one of our own pages: JSON, and not foreign.
        """
        principal = await self._resolver.resolve(
            self.carriers_of(request),
            store=self.store_of(request).id,
            client=self.client_of(request),
            tenant=self.tenant_of(request),
        )
        if principal.by_cookie:
            self._require_own_page(request)
        note(principal=principal.subject)
        return principal

    def same_origin(self, request: HTTPConnection) -> bool:
        """Whether a browser says that one of our own pages makes this request. Pages cannot set this header."""
        return request.headers.get("sec-fetch-site") == "same-origin"

    def refuse_foreign_page(self, request: HTTPConnection) -> None:
        """Raises `Forbidden` where a browser says that another site's page makes this request with our cookies.

        What carries a token on purpose, in a header that no page can make a browser send, needs no such proof.
        """
        carriers = self.carriers_of(request)
        if not carriers.session_token and not carriers.bearer:
            self._require_own_origin(request)

    def _require_own_page(self, request: HTTPConnection) -> None:
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.scope["method"] != "GET" and content_type != JSON:
            raise Forbidden(f"A request that relies on cookies must be sent as {JSON}.")
        self._require_own_origin(request)

    def _require_own_origin(self, request: HTTPConnection) -> None:
        origin = request.headers.get("origin")
        if self.same_origin(request) or (origin is None and "sec-fetch-site" not in request.headers):
            return
        if origin not in self._trusted_origins:
            raise Forbidden("The request comes from a page of another site.")
