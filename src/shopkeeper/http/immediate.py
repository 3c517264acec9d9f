"""Immediate answers: the simplest of the most frequent requests, answered ahead of every layer of the app.

An immediate route answers within one function call, or not at all: where anything about a request is unusual, the app
answers it, with the same bytes (`tests/http/test_immediate.py` compares them). So the rules of the app are not repeated
here; a request that one of them might concern is left to the app.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import structlog
from starlette.types import Receive, Scope, Send

from shopkeeper.http.cookies import LANGUAGE, MOST_COOKIES
from shopkeeper.http.request_log import DEFAULT_HEADERS_OF_GET, RequestLog, request_id_of
from shopkeeper.http.requests import bearer_of

log = structlog.get_logger("shopkeeper.http")

Header = tuple[bytes, bytes]


LARGEST_SIMPLE_HEADERS: Final = 8_192
"""Bytes of all headers; the app decides how many more it accepts."""


class ImmediateAnswer(Protocol):
    """A whole response, rendered before."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Sequence[Header]: ...

    @property
    def body(self) -> bytes: ...

    @property
    def error(self) -> str:
        """The error code of a refusal; empty otherwise."""
        ...

    @property
    def principal(self) -> str:
        """The id of the identity that the request is about, for the log."""
        ...


class ImmediateRoute(Protocol):
    """Answers simple requests."""

    def __call__(self, token: str, *, host: str) -> ImmediateAnswer | None:
        """Return the answer to a request with this token and `Host`, or None where the app has to answer."""
        ...


_AUTHORIZATION, _COOKIE, _SESSION_TOKEN = b"authorization", b"cookie", b"x-session-token"
_HOST, _REQUEST_ID, _CREDENTIAL, _LANGUAGE, _UNUSUAL = range(5)
_MEANINGS: Mapping[bytes, int] = {
    b"host": _HOST,
    b"x-request-id": _REQUEST_ID,
    b"accept-language": _LANGUAGE,
    **dict.fromkeys((_AUTHORIZATION, _COOKIE, _SESSION_TOKEN), _CREDENTIAL),
    # A body, an upgrade, or a page whose origin has to be looked at.
    **dict.fromkeys((b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"origin"), _UNUSUAL),
}
"""What a header means for an immediate answer; the others mean nothing."""


class ImmediateAnswers:
    """Tries the immediate routes, and hands everything else on to the app.

    Args:
        app: the request log, with all other layers inside.
        routes: the immediate routes, by exact path.
        session_cookie: the name of the session cookie.
        store_headers: the headers that name a store or a tenant.
        accepts: whether the app answers requests with this `Host`.
        further: the headers that the app's layers add to every response, in their order.
    """

    def __init__(
        self,
        app: RequestLog,
        *,
        routes: Mapping[str, ImmediateRoute],
        session_cookie: str,
        store_headers: Sequence[str],
        accepts: Callable[[bytes], bool] = lambda host: True,
        further: Sequence[Header] = (),
    ) -> None:
        self._app = app
        self._routes = dict(routes)
        self._accepts = accepts
        self._further = tuple(further)
        self._in_cookies = re.compile(rb"(?:^|;)[ \t]*" + re.escape(session_cookie.encode()) + rb"=([^;]*)")
        self._tokens: Mapping[bytes, Callable[[bytes], str | None]] = {
            _AUTHORIZATION: _bearer,
            _COOKIE: self._token_in_cookie,
            _SESSION_TOKEN: _plain,
        }
        self._meanings = {**_MEANINGS, **{name.lower().encode(): _UNUSUAL for name in store_headers}}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get(scope.get("path", ""))
        if route is None or not await self._answered(route, scope, send):
            await self._app(scope, receive, send)

    async def _answered(self, route: ImmediateRoute, scope: Scope, send: Send) -> bool:
        """Answer a request, unless the app has to. Returns whether it is answered."""
        begun = time.perf_counter()
        found = self._read(scope)
        answer = self._ask(route, found) if found is not None else None
        if found is None or answer is None:
            return False
        request_id = request_id_of(found[_REQUEST_ID][1])
        headers = [*answer.headers, *self._further, *DEFAULT_HEADERS_OF_GET, (b"x-request-id", request_id.encode())]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})
        about = {"request_id": request_id, "principal": answer.principal}
        self._app.record("GET", scope["path"], answer.status, time.perf_counter() - begun, about, error=answer.error)
        return True

    def _read(self, scope: Scope) -> Sequence[Header] | None:
        """Return the headers by their meaning, or None where the request is not simple: it is a GET without a query and
        without a body, with one `Host` and one token, and names no store."""
        if scope["method"] != "GET" or scope["query_string"]:
            return None
        found, size = [_NONE, _NONE, _NONE, _NONE], 0
        for header in scope["headers"]:
            size += len(header[0]) + len(header[1])
            meaning = self._meanings.get(header[0])
            if meaning is not None:
                if meaning == _UNUSUAL or found[meaning] is not _NONE:
                    return None
                found[meaning] = header
        complete = found[_HOST] is not _NONE and found[_CREDENTIAL] is not _NONE
        return found if complete and size <= LARGEST_SIMPLE_HEADERS else None

    def _ask(self, route: ImmediateRoute, found: Sequence[Header]) -> ImmediateAnswer | None:
        host, (name, value) = found[_HOST][1], found[_CREDENTIAL]
        token = self._tokens[name](value)
        if token is None or not self._accepts(host):
            return None
        try:
            answer = route(token, host=host.decode("latin-1"))
            return None if answer is not None and answer.error and _names_language(found) else answer
        except Exception:  # the app answers in its place, and tells the client if it meets the error as well
            log.exception("immediate answer failed")
            return None

    def _token_in_cookie(self, value: bytes) -> str | None:
        """Return the token of the session cookie. Where there are several, the app decides which one counts."""
        if value.count(b";") >= MOST_COOKIES:  # the app does not read all of them
            return None
        tokens = self._in_cookies.findall(value)
        return tokens[0].rstrip(b" \t").decode("latin-1") if len(tokens) == 1 else None


def _names_language(found: Sequence[Header]) -> bool:
    """Return whether a request may wish a language: refusals are worded in it by the app."""
    return found[_LANGUAGE] is not _NONE or LANGUAGE.encode() in found[_CREDENTIAL][1]


def _bearer(value: bytes) -> str | None:
    return bearer_of(value.decode("latin-1"))


def _plain(value: bytes) -> str:
    return value.decode("latin-1")


_NONE: Final = (b"", b"")
