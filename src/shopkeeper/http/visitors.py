"""Who is at the door: the store, the client, the session and the principal of a request, read alike for all."""

from collections.abc import Mapping

from starlette.requests import HTTPConnection

from shopkeeper.commerce.stores import Store, Stores
from shopkeeper.errors import Forbidden, TokenInvalid
from shopkeeper.flows.flow import STORE, TENANT
from shopkeeper.http.observing import note
from shopkeeper.http.origins import Origins
from shopkeeper.http.reading import JSON, client_of
from shopkeeper.identity.values import Client
from shopkeeper.sessions.cookies import CookiePolicy, cookies_in
from shopkeeper.sessions.principal import Carriers, PrincipalResolver, bearer_of
from shopkeeper.sessions.refusals import SessionEnded
from shopkeeper.sessions.values import Principal, Session


class Visitors:
    """Reads what every door needs to know of a visitor.

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
        self._store_header = store_header
        self._tenant_header = tenant_header

    def client_of(self, request: HTTPConnection) -> Client:
        """Where the request comes from."""
        return client_of(request.scope, trusted_proxies=self._trusted_proxies)

    def store_of(self, request: HTTPConnection) -> Store:
        """The store the request is for; raises `StoreUnknown`."""
        return self._stores.choose(**self._names_of(request))

    def carriers_of(self, request: HTTPConnection, *, store: Store) -> Carriers:
        """Every token the request carries, by where it stands."""
        cookies = self._cookies_of(request)
        return Carriers(
            session_token=request.headers.get("x-session-token"),
            session_cookie=cookies.get(self._cookies.session_name),
            bearer=bearer_of(request.headers.get("authorization")),
            visit_cookie=cookies.get(self._cookies.visit_name(store.id)),
        )

    def token_of(self, request: HTTPConnection) -> str | None:
        """The one token that a request relies on, be it good or not: what is to be refreshed."""
        carriers = self.carriers_of(request, store=self.store_of(request))
        if not carriers.bearer and not carriers.session_token:
            self._require_own_page(request)
        return carriers.session_token or carriers.bearer or carriers.session_cookie or carriers.visit_cookie

    async def session_of(self, request: HTTPConnection) -> Session | None:
        """The session of a request, wherever its token stands; none if there is none that is valid.

        Where the request names a store, a session that is not at home there is none either. Where it names none, the
        session decides: signing out and looking at one's account work whichever store that is.
        """
        store = self._stores.named(**self._names_of(request))
        carriers = self.carriers_of(request, store=store or self._stores.default)
        resolved = await self._resolver.session(carriers, store=store.id if store else None)
        if resolved is None:
            return None
        note(principal=str(resolved.session.identity.id))
        return resolved.session

    async def any_session_of(self, request: HTTPConnection) -> Session | None:
        """The session whose token comes first, wherever it is at home: the one that ends where another takes its
        place."""
        resolved = await self._resolver.session(self.carriers_of(request, store=self._stores.default))
        return resolved.session if resolved else None

    def guests_of(self, request: HTTPConnection) -> Mapping[str, str]:
        """The anonymous visitors that a request carries, as bearer or in a browser's cookies, by their stores."""
        cookies = self._cookies_of(request)
        visits = {store.id: cookies.get(self._cookies.visit_name(store.id)) for store in self._stores.fronts}
        return self._resolver.guests(bearer_of(request.headers.get("authorization")), visits)

    async def principal_of(self, request: HTTPConnection) -> Principal:
        """Who is asking. Raises `TokenInvalid` or `SessionEnded` for a bad token; `Forbidden` for another site's page.

        A request that is believed for its cookies must have been made by one of our own pages: JSON, and not foreign.
        """
        store = self.store_of(request)
        principal = await self._resolver.resolve(
            self.carriers_of(request, store=store), store=store.id, client=self.client_of(request)
        )
        if principal.by_cookie:
            self._require_own_page(request)
        note(principal=principal.subject)
        return principal

    async def newcomer_of(self, request: HTTPConnection) -> Principal:
        """The same for who comes to sign in or out. Any bad token is `TokenInvalid` there: the published client then
        asks once more without it, and would give up at anything else."""
        try:
            return await self.principal_of(request)
        except SessionEnded as ended:
            raise TokenInvalid from ended

    async def former_session_of(self, request: HTTPConnection, visitor: Principal) -> Session | None:
        """The session that ends where this visitor signs in or out: theirs, or the one whose cookie is replaced.

        A guest's bearer hides that cookie, or it is of another store of this host; its session would go on with nobody
        left who could end it.
        """
        if visitor.session is not None or not self.may_have_cookies(request):
            return visitor.session
        cookie = self._cookies_of(request).get(self._cookies.session_name)
        resolved = await self._resolver.session(Carriers(session_cookie=cookie))
        return resolved.session if resolved is not None else None

    def may_have_cookies(self, request: HTTPConnection) -> bool:
        """Whether the answer may change the browser's cookies: one of our own pages asks, or whoever was believed for
        the cookies that they have, and would otherwise be left with a token that was replaced."""
        if self._from_own_page(request):
            return True
        carriers = self.carriers_of(request, store=self.store_of(request))
        by_cookie = not carriers.session_token and not carriers.bearer
        has_cookies = bool(carriers.session_cookie or carriers.visit_cookie)
        return by_cookie and has_cookies and self._from_trusted_page(request)

    def refuse_foreign_page(self, request: HTTPConnection) -> None:
        """Raises `Forbidden` where a browser says that another site's page makes this request with our cookies.

        What carries a token on purpose, in a header that no page can make a browser send, needs no such proof.
        """
        if not request.headers.get("x-session-token") and not bearer_of(request.headers.get("authorization")):
            self._require_trusted_page(request)

    def _names_of(self, request: HTTPConnection) -> dict[str, str | None]:
        """What a request says of its store: in headers, or in an address that a browser goes to; and its host."""
        headers, query = request.headers, request.query_params
        name, tenant = headers.get(self._store_header), headers.get(self._tenant_header)
        if not name and not tenant:
            name, tenant = query.get(STORE), query.get(TENANT)
        return {"name": name, "tenant": tenant, "host": headers.get("host")}

    def _cookies_of(self, request: HTTPConnection) -> Mapping[str, str]:
        return cookies_in(request.headers.getlist("cookie"))

    def _require_own_page(self, request: HTTPConnection) -> None:
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.scope["method"] != "GET" and content_type != JSON:
            raise Forbidden(f"A request that relies on cookies must be sent as {JSON}.")
        self._require_trusted_page(request)

    def _require_trusted_page(self, request: HTTPConnection) -> None:
        if not self._from_trusted_page(request):
            raise Forbidden("The request comes from a page of another site.")

    def _from_own_page(self, request: HTTPConnection) -> bool:
        """Whether a browser says that one of our own pages makes this request. No page can set these headers.

        Over plain http browsers leave `Sec-Fetch-Site` out, but for this machine; what they POST has an `Origin`.
        """
        site = request.headers.get("sec-fetch-site")
        return site == "same-origin" or (site is None and request.headers.get("origin") == self._own_origin)

    def _from_trusted_page(self, request: HTTPConnection) -> bool:
        """Whether this is one of our own pages, a page of an origin that is let in, or no browser at all."""
        origin = request.headers.get("origin")
        no_browser = origin is None and "sec-fetch-site" not in request.headers
        return no_browser or self._from_own_page(request) or origin in self._trusted_origins
