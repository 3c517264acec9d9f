"""`POST /oauth2/introspect` (RFC 7662), with answers as signed tokens (RFC 9701).

A plain ASGI callable before the router, because an engine waits for it in each of a shopper's requests. The whole
answer has a deadline, the body included; what is not known until then is a 503, never a guess.

    parameters -> caller -> answer of `oauth/introspection.py`, all within the deadline

The token may be in a form, urlencoded or multipart, or in the query, as commercetools' own endpoint takes it; further
parameters are ignored (section 2.1), `token_type_hint` among them: a token has one source.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Final, NamedTuple

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from shopkeeper.commerce.stores import STORE, TENANT, Stores
from shopkeeper.errors import Busy, MethodNotAllowed, Refusal
from shopkeeper.http.metrics import Metrics
from shopkeeper.http.oauth_errors import refusal_response
from shopkeeper.http.oauth_form import Head, parameters_in, read_form
from shopkeeper.http.request_log import note
from shopkeeper.http.requests import JSON, client_of
from shopkeeper.oauth.client_authentication import ClientAuthentication
from shopkeeper.oauth.errors import InvalidClient, InvalidRequest, OAuthRefused
from shopkeeper.oauth.introspection import Introspection
from shopkeeper.oauth.introspection_callers import IntrospectionCaller, Signed
from shopkeeper.oauth.signed_introspection import MEDIA_TYPE as SIGNED
from shopkeeper.oauth.signed_introspection import SignedAnswers
from shopkeeper.parsing import parse_accept

ALIAS: Final = "/introspect"
TOKEN: Final = "token"  # noqa: S105 - the name of a parameter
_NOT_STORED: Final = ((b"cache-control", b"no-store"), (b"pragma", b"no-cache"))

log = structlog.get_logger("shopkeeper.introspection")


class _Answered(NamedTuple):
    """An answer about a token, as it is sent."""

    active: bool
    body: bytes
    media_type: str = JSON


class IntrospectionEndpoint:
    """The endpoint.

    Args:
        callers: who may ask, by the id that `authentication` finds.
        authentication: of them. Right credentials are never limited, so that a stranger behind the same gateway locks
            no caller out.
        deadline: how long a whole answer may take.
    """

    def __init__(
        self,
        introspection: Introspection,
        *,
        callers: Mapping[str, IntrospectionCaller],
        authentication: ClientAuthentication,
        signed: SignedAnswers,
        stores: Stores,
        trusted_proxies: int,
        deadline: timedelta,
        metrics: Metrics,
    ) -> None:
        self._introspection, self._callers, self._authentication = introspection, dict(callers), authentication
        self._signed, self._stores = signed, stores
        self._trusted_proxies = trusted_proxies
        self._deadline = deadline.total_seconds()
        self._metrics = metrics

    def at(self, path: str) -> Mapping[str, ASGIApp]:
        """Return the endpoint by its paths."""
        return {path: self, ALIAS: self}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = time.perf_counter()
        try:
            answered = await self._in_time(scope, receive)
        except (OAuthRefused, Refusal) as refused:
            refusal = self._refusal(refused)
            outcome = "unavailable" if refusal.status_code == 503 else "refused"
            self._metrics.observe_introspection(outcome, time.perf_counter() - begun)
            await refusal(scope, receive, send)
            return
        outcome = "active" if answered.active else "inactive"
        self._metrics.observe_introspection(outcome, time.perf_counter() - begun)
        length, media_type = b"%d" % len(answered.body), answered.media_type.encode()
        headers = [(b"content-length", length), (b"content-type", media_type), *_NOT_STORED]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answered.body})

    def _refusal(self, refused: OAuthRefused | Refusal) -> Response:
        answer = refusal_response(refused, schemes=self._authentication.schemes)
        if isinstance(refused, MethodNotAllowed):
            answer.headers["Allow"] = "POST"
        if answer.status_code == 503:
            log.warning("introspection.unavailable", cause=str(refused))
        return answer

    async def _in_time(self, scope: Scope, receive: Receive) -> _Answered:
        try:
            async with asyncio.timeout(self._deadline):
                return await self._answer(scope, receive)
        except TimeoutError as late:
            log.warning("introspection.late", deadline=self._deadline)
            raise Busy("The answer was not ready in time. Ask again.", retry_after=1) from late

    async def _answer(self, scope: Scope, receive: Receive) -> _Answered:
        if scope["method"] != "POST":
            raise MethodNotAllowed
        head = Head(scope)
        parameters = await read_form(receive, head, multipart=True)
        caller = await self._caller(scope, head, parameters)
        note(principal=f"introspection:{caller.id}")
        token, store = self._question(scope["query_string"], parameters)
        introspected = await self._introspection.answer(token, caller, store=store)
        if not _wants_signed(head, caller):
            return _Answered(introspected.active, introspected.body)
        return _Answered(introspected.active, await self._signed.sign(introspected, caller), SIGNED)

    async def _caller(self, scope: Scope, head: Head, parameters: Mapping[str, str]) -> IntrospectionCaller:
        try:
            return self._callers[await self._authentication.identify(head.authorization, parameters)]
        except InvalidClient:
            await self._authentication.count_wrong(client_of(scope, trusted_proxies=self._trusted_proxies).ip)
            raise

    def _question(self, query_string: bytes, parameters: Mapping[str, str]) -> tuple[str, str | None]:
        """Return the token, and the id of the front that the address names; None where it names none."""
        query = parameters_in(query_string) if query_string else {}
        token = parameters.get(TOKEN) or query.get(TOKEN)
        if token is None or len({token, query.get(TOKEN, token)}) > 1:
            raise InvalidRequest("Send one parameter token, in a form or in the query.")
        return token, self._front(query) if query else None

    def _front(self, query: Mapping[str, str]) -> str | None:
        """Raises `StoreUnknown`."""
        store = self._stores.named(name=query.get(STORE), tenant=query.get(TENANT), host=None)
        return store.id if store is not None else None


def _wants_signed(head: Head, caller: IntrospectionCaller) -> bool:
    """Return whether an answer is to be signed: the caller prefers that in `Accept`, or always gets it so."""
    if caller.signed is not Signed.ALLOWED:
        return caller.signed is Signed.ALWAYS
    accept = head.accept
    if SIGNED not in accept.lower():
        return False
    accepted = dict(parse_accept(accept))
    return accepted.get(SIGNED, 0.0) >= max(accepted.get(JSON, 0.0), 0.001)
