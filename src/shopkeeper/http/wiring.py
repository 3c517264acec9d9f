"""The layers of an app. A request passes these only, from the outside to the inside:

1. `ImmediateAnswers`, on the public port: the simplest of the most frequent requests end here.
2. `RequestLog`: the id, the log, the metrics, and the headers of every response.
3. `HeadLimits`: the length of the query and of the headers.
4. `HostCheck`: the `Host`.
5. `PathsWithoutCors`, `VaryOrigin` and `CORSMiddleware`, on the public port where CORS is on.
6. `LeftoverCookies`, on the public port: deletes cookies that no longer count.
7. `HotPaths`, on the public port: answers without the layers below.
8. `TrimSlash`: slashes at the end of the path, and `/admin` on the admin port.
9. `BodyLimits`: the time of a body, and the bytes of all bodies.
10. `HotPaths` again, on the public port: answers that read bodies, without the router.
11. The router; on the admin port `AdminAuthentication` asks for the key first.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import structlog
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shopkeeper.clock import Clock
from shopkeeper.errors import BadRequest, InternalError, MethodNotAllowed, NotFound, Refusal
from shopkeeper.http.cookies import CookiePolicy
from shopkeeper.http.health import MONITORED
from shopkeeper.http.hosts import HostCheck, HostRules
from shopkeeper.http.leftover_cookies import LeftoverCookies
from shopkeeper.http.metrics import Metrics
from shopkeeper.http.request_limits import LARGEST_HEADERS, BodyBudget, BodyLimits, HeadLimits
from shopkeeper.http.request_log import RequestLog
from shopkeeper.http.requests import prefers_json
from shopkeeper.http.responses import error_response
from shopkeeper.http.route_labels import PathLabels, trim
from shopkeeper.languages.choice import SOURCE
from shopkeeper.parsing import parse_accept

log = structlog.get_logger("shopkeeper.http")


RefusalPage = Callable[[Request, Refusal], Awaitable[Response]]


class RouteGroup(Protocol):
    """Routes that belong together."""

    def routes(self) -> Sequence[BaseRoute]: ...


LanguageOf = Callable[[Request], str]
"""Returns the language of what the sender of a request reads."""


def in_english(request: Request) -> str:
    """The language of the admin port."""
    return SOURCE


class HotPaths:
    """Answers a few paths before the router; their refusals are rendered as the router's.

    As everywhere else, slashes at the end of a path do not matter.
    """

    def __init__(self, app: ASGIApp, *, hot: Mapping[str, ASGIApp], clock: Clock, language_of: LanguageOf) -> None:
        self._app = app
        self._hot = hot
        self._clock = clock
        self._language_of = language_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._hot.get(trim(scope.get("path", "")))
        if answer is None:
            await self._app(scope, receive, send)
            return
        try:
            await answer(scope, receive, send)
        except Refusal as refusal:
            language = self._language_of(Request(scope))
            await error_response(refusal, clock=self._clock, language=language)(scope, receive, send)


VARY_ORIGIN = (b"vary", b"Origin")
"""What `VaryOrigin` adds to a response without a `Vary`."""


class VaryOrigin:
    """Adds `Vary: Origin` to every response where CORS is on, also without an `Origin` (Fetch, 3.2.5)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_vary(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if "origin" not in headers.get("vary", "").lower():
                    headers.add_vary_header("Origin")
            await send(message)

        await self._app(scope, receive, with_vary)


class PathsWithoutCors:
    """Leaves some paths out of CORS: no page of another origin may send a service's credentials, or read a token."""

    def __init__(self, app: ASGIApp, *, plain: ASGIApp, paths: Collection[str]) -> None:
        self._app, self._plain, self._paths = app, plain, frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._plain if trim(scope.get("path", "")) in self._paths else self._app
        await app(scope, receive, send)


class TrimSlash:
    """Removes slashes at the end of a path."""

    def __init__(self, app: ASGIApp, *, prefix: str = "") -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        trimmed = trim(path, prefix=self._prefix)
        await self._app({**scope, "path": trimmed} if trimmed != path else scope, receive, send)


def public_app(
    routes: Sequence[BaseRoute],
    *,
    hot: Mapping[str, ASGIApp],
    direct: Mapping[str, ASGIApp] | None = None,
    cors: Mapping[str, Any] | None,
    without_cors: Collection[str] = (),
    hosts: HostRules,
    cookies: CookiePolicy,
    bodies: BodyBudget,
    metrics: Metrics,
    clock: Clock,
    page: RefusalPage | None = None,
    language_of: LanguageOf = in_english,
    immediate: Callable[[RequestLog], ASGIApp] = lambda app: app,
) -> ASGIApp:
    """Return the public app.

    Args:
        hot: apps by path, called before the router and before the limits of bodies.
        direct: apps by path, called in place of the router, which takes as long as a query; `routes` lists them too.
        immediate: puts the immediate routes in front of the app.
        cors: the arguments of Starlette's `CORSMiddleware`; None switches CORS off.
        without_cors: the paths that no page of another origin may call.
        hosts: how requests must be addressed.
        cookies: our cookies, whose leftovers in browsers are deleted.
        bodies: counts the bodies of both apps.
        page: renders "not found" for browsers; programs get JSON.
        language_of: the language of refusals.
    """
    router = Starlette(routes=list(routes), exception_handlers=_refusals(clock, page=page, language_of=language_of))
    router.router.redirect_slashes = False  # slashes are trimmed already; the redirect would trust `Host`
    routed = TrimSlash(
        BodyLimits(HotPaths(router, hot=direct or {}, clock=clock, language_of=language_of), budget=bodies)
    )
    answering: ASGIApp = HotPaths(routed, hot=hot, clock=clock, language_of=language_of)
    answering = LeftoverCookies(answering, policy=cookies)
    if cors:
        with_cors = VaryOrigin(CORSMiddleware(answering, **cors))
        answering = PathsWithoutCors(with_cors, plain=answering, paths=without_cors)
    labels = PathLabels(routes, further=hot)
    checked = HeadLimits(HostCheck(answering, rules=hosts, clock=clock), clock=clock)
    return immediate(RequestLog(checked, name="public", labels=labels, metrics=metrics, log=log, quiet=MONITORED))


def admin_app(
    routes: Sequence[BaseRoute],
    *,
    guard: Middleware,
    hosts: HostRules,
    bodies: BodyBudget,
    metrics: Metrics,
    clock: Clock,
) -> ASGIApp:
    """Return the admin app: every path works with and without `/admin` before it; `guard` requires a key."""
    router = Starlette(routes=list(routes), middleware=[guard], exception_handlers=_refusals(clock))
    router.router.redirect_slashes = False
    checked = HostCheck(TrimSlash(BodyLimits(router, budget=bodies), prefix="/admin"), rules=hosts, clock=clock)
    # Lists of ids are longer than any query of the public port.
    app = HeadLimits(checked, clock=clock, longest_query=LARGEST_HEADERS)
    labels = PathLabels(routes, prefix="/admin")
    return RequestLog(app, name="admin", labels=labels, metrics=metrics, log=log, quiet=MONITORED)


_FOR_PROGRAMS = ("/self-service/", "/sessions", "/schemas", "/health", "/.well-known/")
"""Paths where the contract always answers in JSON, including those that are not implemented yet."""


def _reads_pages(request: Request) -> bool:
    """Return whether a browser asks for a page. `Accept: */*` alone is a program."""
    if request.scope["path"].startswith(_FOR_PROGRAMS):
        return False
    accepted = dict(parse_accept(request.headers.get("accept", "")))
    return request.method == "GET" and "text/html" in accepted and not prefers_json(request.headers)


_BY_STATUS: Mapping[int, type[Refusal]] = {404: NotFound, 405: MethodNotAllowed}


def _refusals(clock: Clock, *, page: RefusalPage | None = None, language_of: LanguageOf = in_english) -> dict[Any, Any]:
    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)  # noqa: S101 - Starlette calls this handler for its own class only
        return error_response(error, clock=clock, language=language_of(request))

    async def unrouted(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - Starlette calls this handler for HTTPException only
        refusal = _BY_STATUS.get(error.status_code, BadRequest)()
        if page is not None and _reads_pages(request):
            return await page(request, refusal)
        answer = error_response(refusal, clock=clock, language=language_of(request))
        answer.headers.update(dict(error.headers or {}))
        return answer

    async def broken(request: Request, error: Exception) -> Response:
        # Starlette raises the error again afterwards, and `RequestLog` logs it.
        return error_response(InternalError(), clock=clock, language=language_of(request))

    return {Refusal: refused, HTTPException: unrouted, Exception: broken}
