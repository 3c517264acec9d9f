"""The middleware for every ASGI application: `scope["user"]` is who sends the request.

>>> app = SessionMiddleware(app, authenticator=authenticator)  # doctest: +SKIP
"""

import json
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, Final

from shopkeeper_asgi.authenticator import Authenticator
from shopkeeper_asgi.credentials import Header
from shopkeeper_asgi.errors import AuthenticationFailed, ProviderUnavailable

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY_VIOLATION: Final = 1008
TRY_AGAIN_LATER: Final = 1013
MOST_OF_REASON: Final = 123
"""Bytes of a close frame's reason (RFC 6455 section 5.5)."""


class SessionMiddleware:
    """Puts the user into `scope["user"]` and answers requests that are not authenticated.

    Where the authenticator is `optional`, requests without a token pass with None. A WebSocket that is not
    authenticated is refused with the status, where the server can do that, or closed before it is accepted.

    Args:
        app: the application.
        authenticator: who verifies the tokens.
    """

    def __init__(self, app: App, *, authenticator: Authenticator) -> None:
        self._app, self._authenticator = app, authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        websocket = scope["type"] == "websocket"
        try:
            user = await self._authenticator.authenticate(
                headers_of(scope), method=scope.get("method", "GET"), websocket=websocket
            )
        except AuthenticationFailed as failed:
            await (_refuse_websocket if websocket else _refuse)(failed, scope, receive, send)
            return
        scope["user"] = user
        await self._app(scope, receive, send)


def headers_of(scope: Scope) -> Iterator[Header]:
    """Return the headers of an ASGI scope as texts."""
    return ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])


def close_code(failed: AuthenticationFailed) -> int:
    """Return the code with which a WebSocket is closed (RFC 6455 section 7.4.1, and its registry for 1013)."""
    return TRY_AGAIN_LATER if isinstance(failed, ProviderUnavailable) else POLICY_VIOLATION


def close_reason(failed: AuthenticationFailed) -> str:
    """Return the sentence of a close frame, cut to what fits."""
    return failed.message.encode()[:MOST_OF_REASON].decode(errors="ignore")


async def _refuse(failed: AuthenticationFailed, scope: Scope, _: Receive, send: Send, *, kind: str = "http") -> None:
    body = json.dumps(failed.as_dict()).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **failed.headers}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": f"{kind}.response.start", "status": failed.status, "headers": raw})
    await send({"type": f"{kind}.response.body", "body": b"" if scope.get("method") == "HEAD" else body})


async def _refuse_websocket(failed: AuthenticationFailed, scope: Scope, receive: Receive, send: Send) -> None:
    await receive()  # websocket.connect, before which nothing may be sent
    if "websocket.http.response" in scope.get("extensions", {}):
        await _refuse(failed, scope, receive, send, kind="websocket.http")
    else:
        await send({"type": "websocket.close", "code": close_code(failed), "reason": close_reason(failed)})
