"""Forward authentication: a gateway asks here about each request before it passes the request on.

    ANY /forward-auth             200 with headers about the customer, or 401, 403, 503
    ANY /forward-auth-optional    200 for visitors who are no customers, too, with the same headers, empty

A customer has a session of ours, or a token or session that a provider of the store vouches for, as in GraphQL.

nginx (`auth_request`) and Traefik ask one address; Envoy (`ext_authz`) appends the path of the original request to it.
What is asked for is never read: every path below gives the same answer, and only the gateway's own address, without
anything appended, may have options in its query, because the rest is the visitor's to choose.
"""

from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import quote, urlencode

from starlette.datastructures import Headers, QueryParams
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from shopkeeper.clock import Clock
from shopkeeper.commerce.stores import STORE, TENANT, Stores
from shopkeeper.errors import Forbidden, IdentityDisabled, StoreUnknown, TooManyRequests, Unauthenticated
from shopkeeper.http.authentication import RequestAuthenticator
from shopkeeper.http.request_log import note
from shopkeeper.http.responses import NO_STORE, error_response, in_each_language, redirect
from shopkeeper.http.whoami import OK, TOKENIZE_AS
from shopkeeper.identity.values import Identity, Via
from shopkeeper.parsing import parse_accept
from shopkeeper.sessions.cache import CachedSession
from shopkeeper.sessions.tokenizer import SessionTokenizer
from shopkeeper.sessions.values import Principal, Session

PATH: Final = "/forward-auth"
OPTIONAL_PATH: Final = "/forward-auth-optional"
"""An address of its own: as a path below the other one, a visitor could append it."""
_LONGEST_FORWARDED: Final = 2_048
_LOGIN: Final = "login"
_PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")
Headers_ = Sequence[tuple[bytes, bytes]]


class ForwardAuth:
    """Answers gateways. It is called as a plain ASGI app, for every method.

    Args:
        store_headers: the headers that name a store or a tenant, which are the visitor's here.
        tokenizer: makes the JSON Web Token that `tokenize_as` asks for, sent as `Authorization`.
        login_url: the address that begins a sign-in.
        returns: returns an address that a sign-in may return to, or None where it may not.
        optional: whether requests without a session are let through.
    """

    def __init__(
        self,
        *,
        authenticator: RequestAuthenticator,
        stores: Stores,
        store_headers: Sequence[str],
        tokenizer: SessionTokenizer,
        login_url: str,
        returns: Callable[[str | None], str | None],
        clock: Clock,
        optional: bool = False,
    ) -> None:
        self._authenticator, self._stores = authenticator, stores
        self._store_headers = frozenset(name.lower().encode() for name in store_headers)
        self._tokenizer = tokenizer
        self._login_url = login_url
        self._returns = returns
        self._clock = clock
        self._optional = optional
        self._path = OPTIONAL_PATH if optional else PATH
        self._refusals = in_each_language(Unauthenticated("There is no valid session with this request."), clock=clock)

    def routes(self) -> list[BaseRoute]:
        """List the routes below the gateway's address."""
        return [Route(f"{self._path}/{{rest:path}}", self)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._answer(scope)
        await answer(scope, receive, send)

    async def _answer(self, scope: Scope) -> ASGIApp:
        # What is appended to the gateway's own address is the visitor's.
        options = QueryParams(scope["query_string"] if scope["path"] == self._path else b"")
        customer = await self._customer(scope, options)
        if isinstance(customer, Principal):
            return self._allowed_by_provider(customer, options)
        if customer is not None and customer.whoami.status == OK:
            return await self._allowed(customer, options)
        if customer is not None and customer.whoami.refusal is not None:
            return error_response(customer.whoami.refusal, clock=self._clock, language=self._language(scope))
        if self._optional:
            return _empty(_headers())
        if options.get("redirect") == _LOGIN and _shows_page(scope):
            return self._to_login(scope)
        return self._refusals[self._language(scope)]

    async def _customer(self, scope: Scope, options: QueryParams) -> CachedSession | Principal | None:
        """Return the session of a request, or the customer of a provider, that counts in the gateway's store: the one
        that its address names, else that of the host, else the default. A visitor's query and headers name none."""
        try:
            host = Headers(scope=scope).get("host")
            store = self._stores.choose(name=options.get(STORE), tenant=options.get(TENANT), host=host)
        except StoreUnknown:
            return None
        name, _, tenant = store.id.partition("@")
        headers = [header for header in scope["headers"] if header[0] not in self._store_headers]
        query = urlencode({STORE: name, **({TENANT: tenant} if tenant else {})}).encode()
        try:
            return await self._authenticator.customer_in({**scope, "headers": headers, "query_string": query})
        except IdentityDisabled:
            return None  # as their sessions, which have ended
        except TooManyRequests:
            if self._optional:
                raise
            return None  # gateways turn every other status than 401 and 403 into a failure of their own

    async def _allowed(self, cached: CachedSession, options: QueryParams) -> ASGIApp:
        session, headers = cached.session, [*_of_session(cached.session)]
        note(principal=str(session.identity.id))
        template = options.get(TOKENIZE_AS)
        if template:
            token = await self._tokenizer.tokenize(session, template, shown=cached.whoami.body)
            headers.append((b"authorization", b"Bearer " + token.encode()))
        return _empty(headers)

    def _allowed_by_provider(self, customer: Principal, options: QueryParams) -> ASGIApp:
        note(principal=customer.subject)
        if options.get(TOKENIZE_AS):
            raise Forbidden(
                "This gateway asks for a token that is made of a session of this server. Sign in here first."
            )
        return _empty(_of_provider(customer))

    def _to_login(self, scope: Scope) -> ASGIApp:
        wanted = self._returns(_original_address(Headers(scope=scope)))
        query = f"?{urlencode({'return_to': wanted})}" if wanted else ""
        return redirect(f"{self._login_url}{query}", 302)

    def _language(self, scope: Scope) -> str:
        return self._authenticator.language_of(HTTPConnection(scope))


def _of_session(session: Session) -> Headers_:
    return _headers(
        session.identity,
        session=str(session.id),
        store=session.store or "",
        aal=session.aal,
        actor=session.actor.subject if session.actor else "",
    )


def _of_provider(customer: Principal) -> Headers_:
    voucher = customer.voucher
    return _headers(
        customer.identity,
        store=customer.store,
        aal=(voucher.aal or "") if voucher else "",
        provider=voucher.provider if voucher else "",
        issuer=voucher.issuer if voucher else "",
    )


def _headers(
    identity: Identity | None = None,
    *,
    session: str = "",
    store: str = "",
    aal: str = "",
    actor: str = "",
    provider: str = "",
    issuer: str = "",
) -> Headers_:
    """Return the headers about a customer, all of them also where there is none: a gateway that copies those that are
    there would otherwise leave in place what the visitor has sent under these names."""
    mail = next((a for a in identity.verifiable_addresses if a.via is Via.EMAIL), None) if identity else None
    values = {
        "x-kratos-authenticated-identity-id": str(identity.id) if identity else "",
        "x-shopkeeper-identity-id": str(identity.id) if identity else "",
        "x-shopkeeper-session-id": session,
        "x-shopkeeper-store": store,
        "x-shopkeeper-aal": aal,
        "x-shopkeeper-actor": actor,
        "x-shopkeeper-email": mail.value if mail else "",
        "x-shopkeeper-email-verified": str(mail.verified).lower() if mail else "",
        "x-shopkeeper-provider": provider,
        "x-shopkeeper-issuer": issuer,
    }
    return [(name.encode(), quote(value, safe=_PRINTABLE).encode()) for name, value in values.items()]


def _empty(headers: Headers_) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        usual = ((b"content-length", b"0"), (b"cache-control", NO_STORE.encode()))
        await send({"type": "http.response.start", "status": OK, "headers": [*usual, *headers]})
        await send({"type": "http.response.body", "body": b""})

    return answer


def _shows_page(scope: Scope) -> bool:
    """Return whether a browser shows the answer to the original request as a page, so that it can show a sign-in."""
    headers = Headers(scope=scope)
    if headers.get("x-forwarded-method", scope["method"]) != "GET":
        return False
    mode = headers.get("sec-fetch-mode")
    return mode == "navigate" if mode else "text/html" in dict(parse_accept(headers.get("accept", "")))


def _original_address(headers: Headers) -> str | None:
    """Return the address that the visitor asked the gateway for, as Traefik, Caddy and others send it. It is only ever
    offered as a return address, which is checked like all others."""
    scheme, host, path = (headers.get(f"x-forwarded-{name}", "") for name in ("proto", "host", "uri"))
    if not scheme or not host or not path.startswith("/") or len(host) + len(path) > _LONGEST_FORWARDED:
        return None
    return f"{scheme}://{host}{path}"
