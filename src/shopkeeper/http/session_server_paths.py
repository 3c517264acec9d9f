"""The paths of Kratos' API for stores whose identities a session server proves: passed on, redirected or refused.

Only requests for such a store come here; all others are answered by this server's own flows.
"""

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shopkeeper.client import Client
from shopkeeper.errors import (
    BrowserLocationChangeRequired,
    CsrfViolation,
    FlowDisabled,
    Forbidden,
    MalformedBody,
    MethodNotAllowed,
    Refusal,
    StoreUnknown,
    TokenInvalid,
)
from shopkeeper.flows.return_to import ReturnAddresses
from shopkeeper.http.authentication import RequestAuthenticator
from shopkeeper.http.origins import Origins, Sender
from shopkeeper.http.requests import parse_object, prefers_json, read_body
from shopkeeper.http.responses import empty_response, redirect
from shopkeeper.http.selfservice import LARGEST_BODY
from shopkeeper.http.session_server_cookies import ServerCookies
from shopkeeper.http.session_server_requests import (
    ServerCredentials,
    credentials_in,
    is_server_path,
    server_headers,
    server_url,
)
from shopkeeper.http.session_server_responses import ServerAddresses, session_response, translated
from shopkeeper.http.speculation import RefusedPage
from shopkeeper.http.whoami import TOKENIZE_AS
from shopkeeper.openid.calls import ProviderCalls
from shopkeeper.openid.errors import ProviderError
from shopkeeper.sessions.token_sources import External
from shopkeeper.upstream.errors import SessionServerUnavailable
from shopkeeper.upstream.kratos import KratosSessions, SessionCookie
from shopkeeper.upstream.session_answers import SessionAnswer

MAX_ANSWER: Final = 1024 * 1024
"""Bytes of an answer that is passed on."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_SESSION_TOKEN: Final = "X-Session-Token"  # noqa: S105 - a header
_SENDS: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_FLOWS: Final = "/self-service/"
_LOGOUT: Final = "/self-service/logout"
_LOGOUT_BY_TOKEN: Final = f"{_LOGOUT}/api"
_CALLBACKS: Final = "/self-service/methods/"
"""Providers send browsers back here by a form of their own page (`response_mode=form_post`)."""
_MAY_SEND: Final = frozenset({Sender.OWN_PAGE, Sender.TRUSTED_PAGE, Sender.USER, Sender.PROGRAM})
_TRUSTED: Final = frozenset({Sender.OWN_PAGE, Sender.TRUSTED_PAGE})
_RETURNS: Final = ("return_to", "after_verification_return_to")

Mode = Literal["redirect", "proxy", "off"]
IsOwn = Callable[[str], Awaitable[Any]]
"""Returns the session of ours that a token has, or None."""
Answer = TypeVar("Answer")
EndOwn = Callable[[str, Client], Awaitable[bool]]
"""Ends the session of ours that a token has or had; returns whether there is one."""


@dataclass(frozen=True, slots=True)
class ProxiedServer:
    """A session server, and what its stores' paths of self-service do.

    Args:
        calls: send the requests that are passed on; questions about sessions have calls of their own.
    """

    sessions: KratosSessions
    calls: ProviderCalls
    mode: Mode
    addresses: ServerAddresses
    cookies: ServerCookies


class SessionServerPaths:
    """Answers the paths of Kratos' API for the stores of session servers.

    Args:
        servers: the servers, by the id of their provider.
        form_origins: the origins whose pages may send forms.
        return_addresses: which return addresses a caller may ask for.
        own_session: finds sessions of ours, whose tokens are sent nowhere.
        end_own: ends them, for apps that sign out by their token.
        refused_page: renders refusals for browsers.
    """

    def __init__(
        self,
        servers: Mapping[str, ProxiedServer],
        *,
        authenticator: RequestAuthenticator,
        form_origins: Origins,
        return_addresses: ReturnAddresses,
        own_session: IsOwn,
        end_own: EndOwn,
        refused_page: RefusedPage,
    ) -> None:
        self._servers = servers
        self._authenticator = authenticator
        self._form_origins = form_origins
        self._return_addresses = return_addresses
        self._own_session, self._end_own = own_session, end_own
        self._refused_page = refused_page

    def routes(self) -> Sequence[BaseRoute]:
        """List the route, which comes before this server's own."""
        return [_OfStores(self)] if self._servers else []

    def server_of(self, request: Request) -> ProxiedServer | None:
        """Return the session server of the store of a request, None where the store is another provider's."""
        try:
            return self._servers.get(self._authenticator.store_of(request).provider)
        except StoreUnknown:
            return None

    async def answer(self, request: Request) -> Response:
        """Answer a request for which `server_of` has a server. Raises refusals for programs."""
        server = self.server_of(request)
        if server is None:
            raise StoreUnknown
        return await self._refusing(request, self._answer(request, server))

    async def _refusing(self, request: Request, answer: Awaitable[Answer]) -> Answer | Response:
        """Return an answer, or a page that says why there is none, to who reads pages. Raises refusals for programs."""
        try:
            return await answer
        except ProviderError as failed:
            unavailable = SessionServerUnavailable.because(failed)
            if not _reads_pages(request):
                raise unavailable from failed
            return self._refused_page(request, unavailable)
        except Refusal as refusal:
            if not _reads_pages(request):
                raise
            return self._refused_page(request, refusal)

    async def whoami(self, scope: Scope) -> Response | None:
        """Answer `/sessions/whoami`, for every method, by what the session server says; None for a store whose paths
        are not passed on."""
        request, server = self._asking_whoami(scope)
        if server is None:
            return None
        credentials = await self._credentials(request, server)
        presented = self._session_in(credentials, server)
        if presented is None or TOKENIZE_AS in request.query_params:
            return await self.answer(request) if credentials.headers else None
        try:
            client = self._authenticator.client_of(request)
            found = await self._refusing(request, server.sessions.answer(presented, client=client))
        except TokenInvalid:
            return None
        return session_response(found, server.addresses) if isinstance(found, SessionAnswer) else found

    def cached_whoami(self, scope: Scope) -> Response | None:
        """Answer as `whoami` does, from what is cached, where the request has no session of ours; None otherwise."""
        request, server = self._asking_whoami(scope)
        if server is None or TOKENIZE_AS in request.query_params:
            return None
        if not request.headers.get("x-session-token") and self._authenticator.has_session_cookie(request):
            return None  # a session of ours precedes
        found = credentials_in(request, self._authenticator.cookies_of(request), server.cookies)
        presented = self._session_in(found, server)
        answer = server.sessions.cached(presented) if presented is not None else None
        return session_response(answer, server.addresses) if answer is not None else None

    def _asking_whoami(self, scope: Scope) -> tuple[Request, ProxiedServer | None]:
        # Gateways send the method, and sometimes the body, of the request that they ask about.
        request = Request({**scope, "method": "GET"}, _no_body)
        server = self.server_of(request)
        return request, server if server is not None and server.mode == "proxy" else None

    @staticmethod
    def _session_in(credentials: ServerCredentials, server: ProxiedServer) -> str | SessionCookie | None:
        """Return the credential that Kratos would look at, None where that is none of the usual form: the token in its
        own header, else the cookie, else the bearer."""
        cookie = credentials.session_cookie(server.sessions.server)
        if _SESSION_TOKEN not in credentials.tokens and cookie is not None:
            return cookie
        token = credentials.session_token
        return token if token is not None and server.sessions.recognises(token) else None

    async def _answer(self, request: Request, server: ProxiedServer) -> Response:
        if request.method not in _METHODS:
            raise MethodNotAllowed
        for name in _RETURNS:
            self._return_addresses.check(request.query_params.get(name))
        body = await read_body(request, limit=LARGEST_BODY)
        if await self._ends_own(request, body):
            return empty_response()
        if server.mode == "proxy":
            return await self._pass_on(request, server, body)
        if server.mode == "redirect" and request.method == "GET" and _opens_browser(request):
            url = server_url(server.sessions.server, request)
            if prefers_json(request.headers):
                raise BrowserLocationChangeRequired(redirect_browser_to=url)
            return redirect(url)
        raise FlowDisabled("This store's customers sign in, and manage their accounts, at another server.")

    async def _ends_own(self, request: Request, body: bytes) -> bool:
        """End a session of ours by its token, whatever the session server's paths do: it would not know the token."""
        if (request.method, request.scope["path"]) != ("DELETE", _LOGOUT_BY_TOKEN):
            return False
        token = _token_in(body)
        return token is not None and await self._end_own(token, self._authenticator.client_of(request))

    async def _pass_on(self, request: Request, server: ProxiedServer, body: bytes) -> Response:
        path = request.scope["path"]
        if request.method == "HEAD" and path.startswith(_FLOWS):
            return empty_response(200)  # what looks ahead spends no link
        if (
            path == _LOGOUT_BY_TOKEN
            and (token := _token_in(body)) is not None
            and not server.sessions.recognises(token)
        ):
            raise Forbidden("There is no session with this token.")
        sender = self._authenticator.sender_of(request, self._form_origins)
        credentials = await self._credentials(request, server)
        if (
            request.method in _SENDS
            and credentials.cookies
            and not path.startswith(_CALLBACKS)
            and sender not in _MAY_SEND
        ):
            raise CsrfViolation("The request was sent by a page of another site.")
        headers = server_headers(
            request,
            server.sessions.server,
            client=self._authenticator.client_of(request).ip,
            trusted=sender in _TRUSTED,
        )
        ending = await _Ending.of(request, credentials, body, server.sessions)
        try:
            response = await server.calls.exchange(
                request.method,
                server_url(server.sessions.server, request),
                endpoint=server.sessions.server.public_url,
                headers={**headers, **credentials.headers},
                content=body or None,
                max_bytes=MAX_ANSWER,
            )
        finally:
            # Also where no answer came: the session may have ended.
            await ending.forget()
        return translated(response, addresses=server.addresses, cookies=server.cookies, kind=_kind(path))

    async def _credentials(self, request: Request, server: ProxiedServer) -> ServerCredentials:
        """Return what the session server gets: tokens of its own form, and none of a session of ours, which may have
        the same form. Visits, access and refresh tokens, and what other servers have issued are sent nowhere."""
        found = credentials_in(request, self._authenticator.cookies_of(request), server.cookies)
        tokens = {name: token for name, token in found.tokens.items() if server.sessions.recognises(token)}
        foreign = {name: token for name, token in tokens.items() if await self._own_session(token) is None}
        return ServerCredentials(foreign, found.cookies)


async def _no_body() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


class _OfStores(BaseRoute):
    """Takes the requests for the stores of session servers, and has its `app` answer them."""

    def __init__(self, paths: SessionServerPaths) -> None:
        self._paths = paths
        self.app: ASGIApp = self._answer

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or not is_server_path(scope["path"]):
            return Match.NONE, {}
        found = self._paths.server_of(Request(scope)) is not None
        return (Match.FULL if found else Match.NONE), {}

    def url_path_for(self, name: str, /, **path_params: Any) -> Any:
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._paths.answer(Request(scope, receive))
        await response(scope, receive, send)


@dataclass(frozen=True, slots=True)
class _Ending:
    """What a request may end, so that what is cached of it is dropped afterwards."""

    sessions: KratosSessions
    credentials: ServerCredentials
    further_token: str | None
    external: External | None
    ends: bool

    @classmethod
    async def of(
        cls, request: Request, credentials: ServerCredentials, body: bytes, sessions: KratosSessions
    ) -> "_Ending":
        """Look at a request: one that sends a change, or follows the link for signing out, may end sessions. Other
        sessions of the person may be among them, so who it is is asked before."""
        path = request.scope["path"]
        if request.method not in _SENDS and not (path == _LOGOUT and "token" in request.query_params):
            return cls(sessions, credentials, None, None, ends=False)
        token = _token_in(body) if path == _LOGOUT_BY_TOKEN else None
        cookie = credentials.session_cookie(sessions.server)
        external = None
        with contextlib.suppress(Refusal):  # it ends nothing then, or what it ends is not known here
            if credentials.session_token or token:
                external = await sessions.verify(credentials.session_token or token or "", None)
            elif cookie is not None:
                external = await sessions.verify_cookie(cookie)
        return cls(sessions, credentials, token, external, ends=True)

    async def forget(self) -> None:
        if not self.ends:
            return
        cookie = self.credentials.session_cookie(self.sessions.server)
        await self.sessions.forget(token=self.credentials.session_token, cookie=cookie, external=self.external)
        if self.further_token:
            await self.sessions.forget(token=self.further_token)


def _token_in(body: bytes) -> str | None:
    try:
        token = parse_object(body).get("session_token")
    except MalformedBody:
        return None
    return token if isinstance(token, str) else None


def _opens_browser(request: Request) -> bool:
    path: str = request.scope["path"]
    return path.startswith(_FLOWS) and (path.endswith("/browser") or path == _LOGOUT)


def _kind(path: str) -> str:
    """Return the kind of flow of a path.

    >>> _kind("/self-service/login/browser"), _kind("/sessions")
    ('login', '')
    """
    return path.removeprefix(_FLOWS).partition("/")[0] if path.startswith(_FLOWS) else ""


def _reads_pages(request: Request) -> bool:
    if request.method not in {"GET", "POST"} or prefers_json(request.headers):
        return False
    return "text/html" in request.headers.get("accept", "")
