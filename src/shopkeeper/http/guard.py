"""The admin API's key: several at once, so that they can be rotated; kept as hashes, compared in constant time."""

import hashlib
from collections.abc import Mapping

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from shopkeeper import crypto
from shopkeeper.clock import Clock
from shopkeeper.errors import AdminKeyRequired
from shopkeeper.http.answering import refusal_answer
from shopkeeper.http.observing import note
from shopkeeper.sessions.principal import bearer_of

OPEN_TO_ALL = frozenset({"/health/alive", "/health/ready", "/version"})


class AdminGuard:
    """Lets a request in that carries one of the keys, and notes whose it is in `scope["admin"]`.

    Args:
        keys: SHA-256 of each key, by the key's id.
        open_without_key: for development: where no key is configured, everybody is let in.
    """

    def __init__(self, app: ASGIApp, *, keys: Mapping[str, bytes], open_without_key: bool, clock: Clock) -> None:
        self._app = app
        self._keys = keys
        self._open = open_without_key and not keys
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] in OPEN_TO_ALL):
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there is nothing of another kind here, and if there were, it would need a key
            await send({"type": "websocket.close", "code": 1008})
            return
        admin = "dev" if self._open else self._whose(Request(scope).headers.get("authorization"))
        if admin is None:
            answer = refusal_answer(AdminKeyRequired(), clock=self._clock)
            answer.headers["WWW-Authenticate"] = "Bearer"
            await answer(scope, receive, send)
            return
        note(principal=f"admin:{admin}")
        scope["admin"] = admin
        await self._app(scope, receive, send)

    def _whose(self, header: str | None) -> str | None:
        """The id of the key, looking at every key, so that time tells nothing."""
        given = hashlib.sha256((bearer_of(header) or "").encode()).digest()
        matching = [name for name, digest in self._keys.items() if crypto.same(given, digest)]
        return matching[0] if matching else None
