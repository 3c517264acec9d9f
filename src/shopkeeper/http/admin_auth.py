"""Authenticates requests to the admin port: several keys are valid at once, so that they can be rotated."""

from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from shopkeeper.clock import Clock
from shopkeeper.errors import AdminKeyRequired, TokenInvalid
from shopkeeper.http.admin_scopes import refusal_of
from shopkeeper.http.request_log import note
from shopkeeper.http.requests import bearer_of
from shopkeeper.http.responses import error_response
from shopkeeper.sessions.token_sources import ServiceKey, ServiceKeys, verify

OPEN_TO_ALL: Final = frozenset({"/health/alive", "/health/ready", "/version"})
DEVELOPMENT_KEY: Final = ServiceKey("dev", impersonates=True)


class AdminAuthentication:
    """Admits a request that presents one of the keys and is within its scopes.

    Notes the key's id in `scope["admin"]`, the stores that it is limited to in `scope["admin_stores"]`, and whether it
    may change anything in `scope["admin_writes"]`.

    Args:
        keys: the keys, as hashes.
        open_without_key: for development: every request is admitted where no key is configured.
    """

    def __init__(self, app: ASGIApp, *, keys: ServiceKeys, open_without_key: bool, clock: Clock) -> None:
        self._app = app
        self._sources = (keys,)
        self._open = open_without_key and not len(keys)
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] in OPEN_TO_ALL):
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no other protocol is served; a new one would need a key
            await send({"type": "websocket.close", "code": 1008})
            return
        key = DEVELOPMENT_KEY if self._open else await self._presented_key(scope)
        if key is None:
            answer = error_response(AdminKeyRequired(), clock=self._clock)
            answer.headers["WWW-Authenticate"] = "Bearer"
            await answer(scope, receive, send)
            return
        note(principal=f"admin:{key.id}")
        if refusal := refusal_of(key, method=scope["method"], path=scope["path"]):
            await error_response(refusal, clock=self._clock)(scope, receive, send)
            return
        scope["admin"], scope["admin_stores"], scope["admin_writes"] = key.id, key.stores, key.writes
        await self._app(scope, receive, send)

    async def _presented_key(self, scope: Scope) -> ServiceKey | None:
        """Return the key of the request, or None if it has none or an unknown one."""
        token = bearer_of(Headers(scope=scope).get("authorization"))
        if token is None:
            return None
        try:
            verified = await verify(self._sources, token, None)
        except TokenInvalid:
            return None
        return verified if isinstance(verified, ServiceKey) else None
