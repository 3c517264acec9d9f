"""What an agent who acts as a customer may not do: everything that is not on a list.

The gate stands in front of every public route. A new route is closed to agents until it is listed here, so that none
can forget it. What a session must not change is refused once more where it is changed (`sessions/errors.py`); GraphQL
has a list of its own (`graphql/access.py`).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol, runtime_checkable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from shopkeeper.errors import Refusal
from shopkeeper.http.authentication import RequestAuthenticator
from shopkeeper.http.requests import prefers_json
from shopkeeper.sessions.errors import NotWhileImpersonating

READS: Final = frozenset({"GET", "HEAD"})
EVERY: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
OPEN_TO_AGENTS: Final[Mapping[str, frozenset[str]]] = {
    "/": READS,
    "/account": READS,  # without the forms
    "/error": READS,
    # Gateways ask with the visitor's method; the answer names the agent, and changes nothing.
    "/forward-auth/{rest:path}": EVERY,
    "/forward-auth-optional/{rest:path}": EVERY,
    "/graphql": frozenset({"GET", "HEAD", "POST"}),
    "/health/alive": READS,
    "/health/ready": READS,
    "/impersonation": frozenset({"GET", "HEAD", "POST"}),
    "/impersonation/end": frozenset({"POST"}),
    "/inbox": READS,  # a development server's
    "/inbox/{id}": READS,
    "/schemas": READS,
    "/schemas/{id:path}": READS,
    "/self-service/errors": READS,
    "/self-service/logout": READS,
    "/self-service/logout/api": frozenset({"DELETE"}),
    "/self-service/logout/browser": READS,
    "/sessions": READS,
    "/shop/mark.svg": READS,
    "/shop/pictures/{name}": READS,
    "/signed-out": READS,
    "/signout": frozenset({"POST"}),
    "/static/{version}/{name}": READS,
    "/static/{version}/{folder}/{name}": READS,
}
"""The routes that agents may use, with their methods. `/sessions/whoami` is answered ahead of all routes."""
Answer = Callable[[Request, Refusal], Response]
"""Answers a refusal in the shape that the clients of a route read."""
Page = Callable[[Request, Refusal], Awaitable[Response]]
"""Answers a refusal by a page."""


@runtime_checkable
class _HasApp(Protocol):
    """A route that calls an app, in front of which another one can stand."""

    app: ASGIApp


class ImpersonationGate:
    """Refuses agents who act as customers or guests, except on the routes of the list.

    Args:
        authenticator: finds out whether an agent acts; it resolves each token once for the whole request.
        page: answers browsers that ask for a page.
        shapes: answers those of some paths in another shape than the router does.
    """

    def __init__(self, *, authenticator: RequestAuthenticator, page: Page, shapes: Mapping[str, Answer]) -> None:
        self._authenticator, self._page, self._shapes = authenticator, page, shapes

    def guard(self, routes: Sequence[BaseRoute]) -> list[BaseRoute]:
        """Return the routes with the gate in front of those that agents may not use, wholly or in part."""
        return [self._guarded(route) for route in routes]

    def _guarded(self, route: BaseRoute) -> BaseRoute:
        path, methods = (route.path, route.methods) if isinstance(route, Route) else ("", None)
        if (methods or EVERY) <= OPEN_TO_AGENTS.get(path, frozenset()):
            return route
        if not isinstance(route, _HasApp):
            raise TypeError(f"{route} is no route that the gate can stand in front of")
        route.app = _Guarded(route.app, self._authenticator, page=self._page, shape=self._shapes.get(path))
        return route


class _Guarded:
    """An endpoint that agents may not use."""

    def __init__(self, app: ASGIApp, authenticator: RequestAuthenticator, *, page: Page, shape: Answer | None) -> None:
        self._app, self._authenticator, self._page, self._shape = app, authenticator, page, shape

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        if await self._authenticator.impersonation_of(request) is None:
            await self._app(scope, receive, send)
            return
        refusal = NotWhileImpersonating()
        if self._shape is not None:
            await self._shape(request, refusal)(scope, receive, send)
        elif "text/html" in request.headers.get("accept", "") and not prefers_json(request.headers):
            await (await self._page(request, refusal))(scope, receive, send)
        else:
            raise refusal
