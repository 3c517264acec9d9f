"""The guard for Litestar: `request.user` is who sends the request.

>>> @get("/users/profile", guards=[session_guard(authenticator)])  # doctest: +SKIP
... async def profile(request: Request[User, Any, Any]) -> dict[str, Any]: ...
"""

from collections.abc import Awaitable, Callable
from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException, WebSocketException
from litestar.handlers import BaseRouteHandler

from shopkeeper_asgi.asgi import close_code, close_reason, headers_of
from shopkeeper_asgi.authenticator import Authenticator
from shopkeeper_asgi.errors import AuthenticationFailed

Guard = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Awaitable[None]]


def session_guard(authenticator: Authenticator, *, optional: bool | None = None) -> Guard:
    """Return a guard that puts the user into the connection's scope.

    Args:
        authenticator: who verifies the tokens.
        optional: whether requests without a token pass, with None for the user; the authenticator's where None.

    The guard raises Litestar's `HTTPException`, whose `extra` says why, with `id`, `code` and `message`;
    or `WebSocketException` with the code 1008 or, for an outage, 1013.
    """

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        scope: dict[str, Any] = connection.scope  # type: ignore[assignment]
        websocket = scope["type"] == "websocket"
        try:
            user = await authenticator.authenticate(
                headers_of(scope), method=scope.get("method", "GET"), websocket=websocket, optional=optional
            )
        except AuthenticationFailed as failed:
            if websocket:
                raise WebSocketException(detail=close_reason(failed), code=close_code(failed)) from failed
            raise HTTPException(
                failed.message, status_code=failed.status, headers=failed.headers, extra=failed.as_dict()["error"]
            ) from failed
        scope["user"] = user

    return guard
