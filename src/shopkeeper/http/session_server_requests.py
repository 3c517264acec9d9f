"""Translates requests of our callers for a session server: an allow-list of headers, its own cookies, its own address.

Nothing that a caller writes decides where a request goes: the address is the configured one with a path of plain
characters. `Host`, `X-Forwarded-*` and the headers of one connection (RFC 9110 section 7.6.1) are never passed on.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_plus

from starlette.requests import Request

from shopkeeper.commerce.stores import STORE, TENANT
from shopkeeper.errors import BadRequest
from shopkeeper.http.cookies import Cookies
from shopkeeper.http.origins import origin_of
from shopkeeper.http.requests import bearer_of
from shopkeeper.http.session_server_cookies import ServerCookies
from shopkeeper.upstream.kratos import SessionCookie, SessionServer

_PASSED: Final = ("accept", "accept-language", "content-type", "user-agent", "sec-purpose", "purpose")
_SEGMENT: Final = r"/[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,254}"
_PATH: Final = re.compile(rf"/(?:self-service|sessions|schemas|\.well-known/ory)(?:{_SEGMENT}){{0,6}}", re.ASCII)
_QUERY: Final = re.compile(r"[!\"$-~]*", re.ASCII)
_VALUE: Final = re.compile(r"[ -~]{0,1024}", re.ASCII)


def is_server_path(path: str) -> bool:
    """Whether a path belongs to the API of a session server.

    >>> [is_server_path(path) for path in ("/self-service/login", "/sessions/../admin", "/sessions//x", "/shop")]
    [True, False, False, False]
    """
    return _PATH.fullmatch(path) is not None


def server_url(server: SessionServer, request: Request) -> str:
    """Return the address at the session server, without what names a store of ours. Raises `BadRequest` where the query
    has other characters than addresses have."""
    whole = request.scope["query_string"].decode("latin-1")
    if not _QUERY.fullmatch(whole):
        raise BadRequest("The query has characters that must be encoded in an address.")
    query = "&".join(pair for pair in whole.split("&") if unquote_plus(pair.partition("=")[0]) not in {STORE, TENANT})
    return f"{server.public_url}{request.scope['path']}" + (f"?{query}" if query else "")


@dataclass(frozen=True, slots=True)
class ServerCredentials:
    """What a request has for the session server: its tokens, unless they are ours, and its cookies.

    `tokens` are the session tokens by the header that they came in.
    """

    tokens: Mapping[str, str] = field(default_factory=dict)
    cookies: Sequence[tuple[str, str]] = ()

    @property
    def session_token(self) -> str | None:
        """The first of the tokens."""
        return next(iter(self.tokens.values()), None)

    def session_cookie(self, server: SessionServer) -> SessionCookie | None:
        """The session cookie of the server, if there is exactly one."""
        found = [SessionCookie(name, value) for name, value in self.cookies if server.names(name)]
        return found[0] if len(found) == 1 else None

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that carry them."""
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies)
        sent = {name: f"Bearer {token}" if name == "Authorization" else token for name, token in self.tokens.items()}
        return {**sent, **({"Cookie": cookies} if cookies else {})}


def credentials_in(request: Request, cookies: Cookies, server_cookies: ServerCookies) -> ServerCredentials:
    """Return the credentials of a request."""
    token, bearer = request.headers.get("x-session-token"), bearer_of(request.headers.get("authorization"))
    presented = {"X-Session-Token": token, "Authorization": bearer}
    tokens = {name: value for name, value in presented.items() if value and _VALUE.fullmatch(value)}
    return ServerCredentials(tokens, tuple(server_cookies.sent(cookies)))


def server_headers(request: Request, server: SessionServer, *, client: str, trusted: bool) -> dict[str, str]:
    """Return the headers that are passed on, besides credentials.

    Args:
        client: the address of the caller.
        trusted: whether a page that may use our cookies makes the request. Its origin is told as the server's own,
            because the server need not know ours; any other is told as it is.
    """
    headers = {name: request.headers[name] for name in _PASSED if name in request.headers}
    headers = {name.title(): value for name, value in headers.items() if _VALUE.fullmatch(value)}
    origin = request.headers.get("origin")
    if origin is not None:
        own = origin_of(server.public_url) or ""
        headers["Origin"] = own if trusted else origin if origin_of(origin) == origin else "null"
    # What the caller wrote into this header itself is not passed on.
    return {**headers, "X-Forwarded-For": client}
