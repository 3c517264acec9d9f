"""`POST /oauth2/introspect` (RFC 7662), with answers as signed tokens (RFC 9701).

A plain ASGI callable before the router, because an engine waits for it in each of a shopper's requests. The whole
answer has a deadline, the body included; what is not known until then is a 503, never a guess.

    caller -> parameters -> answer of `oauth/introspection.py`, all within the deadline

The token may be in a form, urlencoded or multipart, or in the query, as commercetools' own endpoint takes it; further
parameters are ignored (section 2.1), `token_type_hint` among them: a token has one source, whatever a caller guesses.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shopkeeper.commerce.stores import STORE, TENANT, Stores
from shopkeeper.errors import (
    BodyIncomplete,
    Busy,
    MalformedBody,
    PayloadTooLarge,
    StoreUnknown,
    TooManyRequests,
    UpstreamFailed,
)
from shopkeeper.http.metrics import Metrics
from shopkeeper.http.multipart import is_multipart, parse_multipart
from shopkeeper.http.request_log import note
from shopkeeper.http.requests import FORM, JSON, MAX_FIELDS, client_of
from shopkeeper.http.responses import encode
from shopkeeper.oauth.client_authentication import ASSERTION, ClientAuthentication
from shopkeeper.oauth.errors import InvalidClient, InvalidRequest
from shopkeeper.oauth.introspection import Introspection
from shopkeeper.oauth.introspection_callers import CallerAuthentication, IntrospectionCaller, Signed
from shopkeeper.oauth.signed_introspection import MEDIA_TYPE as SIGNED
from shopkeeper.oauth.signed_introspection import SignedAnswers
from shopkeeper.parsing import gather, media_type_of, parse_accept
from shopkeeper.throttle import Throttle
from shopkeeper.tokens.signing_keys import SigningKeyUnreadable

ALIAS: Final = "/introspect"
LARGEST_BODY: Final = 65_536
TOKEN: Final = "token"  # noqa: S105 - the name of a parameter
RETRY_AFTER: Final = 1
"""Seconds after which an answer that was late may be in time."""
_NOT_STORED: Final = ((b"cache-control", b"no-store"), (b"pragma", b"no-cache"))
_READ: Final = frozenset({b"content-type", b"content-length", b"accept"})
_USUAL: Final = re.compile(rb"token=([A-Za-z0-9._~-]+)")
"""The form of nearly all requests, in which nothing is encoded."""
_WHO: Final = (
    "Authenticate as one of introspection.callers: with Basic, a bearer key, its Authorization value, or an assertion."
)
_CHALLENGES: Final = (
    (b"www-authenticate", b'Basic realm="introspection", charset="UTF-8"'),
    (b"www-authenticate", b'Bearer realm="introspection"'),
)

log = structlog.get_logger("shopkeeper.introspection")


class _Refused(Exception):
    """A request that gets no answer about its token.

    Args:
        outcome: for the metrics.
        error, description: the members of the body (RFC 6749 section 5.2).
    """

    def __init__(
        self,
        status: int,
        error: str,
        description: str,
        *,
        outcome: str = "refused",
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(description)
        self.status, self.outcome, self.headers = status, outcome, headers
        self.body = encode({"error": error, "error_description": description})


class _Answered(NamedTuple):
    """An answer about a token, as it is sent."""

    active: bool
    body: bytes
    media_type: str = JSON


class _Head:
    """The headers that matter here, read in one pass. The first of a repeated one counts, but for `authorization`."""

    __slots__ = ("authorizations", "first")

    def __init__(self, scope: Scope) -> None:
        self.authorizations: list[str] = []
        self.first: dict[bytes, str] = {}
        for name, value in scope["headers"]:
            if name == b"authorization":
                self.authorizations.append(value.decode("latin-1"))
            elif name in _READ:
                self.first.setdefault(name, value.decode("latin-1"))


class IntrospectionEndpoint:
    """The endpoint.

    Args:
        assertions: authenticates callers that sign (`private_key_jwt`).
        throttle: limits refused credentials of an address. Valid ones are never limited, so that a stranger behind the
            same gateway locks no caller out.
        deadline: how long a whole answer may take.
    """

    def __init__(
        self,
        introspection: Introspection,
        *,
        callers: CallerAuthentication,
        assertions: ClientAuthentication,
        signed: SignedAnswers,
        stores: Stores,
        throttle: Throttle,
        trusted_proxies: int,
        deadline: timedelta,
        metrics: Metrics,
    ) -> None:
        self._introspection, self._callers, self._assertions = introspection, callers, assertions
        self._signed, self._stores = signed, stores
        self._throttle, self._trusted_proxies = throttle, trusted_proxies
        self._deadline = deadline.total_seconds()
        self._metrics = metrics

    def at(self, path: str) -> Mapping[str, ASGIApp]:
        """Return the endpoint by its paths."""
        return {path: self, ALIAS: self}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = time.perf_counter()
        headers: Sequence[tuple[bytes, bytes]] = ()
        media_type = JSON
        try:
            answered = await self._in_time(scope, receive)
            status, body, outcome = 200, answered.body, "active" if answered.active else "inactive"
            media_type = answered.media_type
        except _Refused as refused:
            status, headers, body, outcome = refused.status, refused.headers, refused.body, refused.outcome
        self._metrics.observe_introspection(outcome, time.perf_counter() - begun)
        about = [(b"content-length", b"%d" % len(body)), (b"content-type", media_type.encode()), *_NOT_STORED, *headers]
        await send({"type": "http.response.start", "status": status, "headers": about})
        await send({"type": "http.response.body", "body": body})

    async def _in_time(self, scope: Scope, receive: Receive) -> _Answered:
        try:
            async with asyncio.timeout(self._deadline):
                return await self._answered(scope, receive)
        except TimeoutError as late:
            log.warning("introspection.late", deadline=self._deadline)
            raise _unavailable("The answer was not ready in time. Ask again.") from late

    async def _answered(self, scope: Scope, receive: Receive) -> _Answered:
        if scope["method"] != "POST":
            raise _Refused(405, "invalid_request", "Ask with POST.", headers=((b"allow", b"POST"),))
        head = _Head(scope)
        caller = self._presented(head)
        fields = await _fields(receive, head) if caller or not head.authorizations else ()
        caller = caller or await self._asserted(scope, fields)
        note(principal=f"introspection:{caller.id}")
        token, store = self._parameters(scope, fields)
        try:
            introspected = await self._introspection.answer(token, caller, store=store)
            if not _wants_signed(head, caller):
                return _Answered(introspected.active, introspected.body)
            return _Answered(introspected.active, await self._signed.sign(introspected, caller), SIGNED)
        except (UpstreamFailed, Busy, SigningKeyUnreadable) as failed:
            log.warning("introspection.unavailable", error=failed.code, caller=caller.id)
            raise _unavailable("Whether the token is active cannot be told at the moment. Ask again.") from failed

    def _presented(self, head: _Head) -> IntrospectionCaller | None:
        values = head.authorizations
        return self._callers.find(values[0]) if len(values) == 1 else None

    async def _asserted(self, scope: Scope, fields: Sequence[tuple[str, str]]) -> IntrospectionCaller:
        """Return the caller that a signed assertion proves (RFC 7523). Raises `_Refused` where there is none."""
        ip = client_of(scope, trusted_proxies=self._trusted_proxies).ip
        try:
            if any(name == ASSERTION for name, _ in fields):
                return self._callers.by_id[await self._assertions.authenticate((), _once(fields), ip=ip)]
            await self._throttle.spend(ip)
        except (InvalidClient, InvalidRequest) as refused:
            raise _Refused(401, "invalid_client", refused.description, headers=_CHALLENGES) from refused
        except TooManyRequests as many:
            retry = (b"retry-after", many.headers["Retry-After"].encode())
            raise _Refused(429, "invalid_client", "Too many wrong credentials.", headers=(retry,)) from many
        raise _Refused(401, "invalid_client", _WHO, headers=_CHALLENGES)

    def _parameters(self, scope: Scope, fields: Sequence[tuple[str, str]]) -> tuple[str, str | None]:
        """Return the token, and the id of the front that the request names."""
        try:
            if len(fields) == 1 and fields[0][0] == TOKEN and fields[0][1] and not scope["query_string"]:
                return fields[0][1], None
            query = _pairs(scope["query_string"]) if scope["query_string"] else ()
            tokens = {text for name, text in (*fields, *query) if name == TOKEN}
            if len(tokens) != 1 or not (token := tokens.pop()):
                raise _invalid("Send one parameter token, in a form or in the query.")
            return token, self._front(dict(query)) if query else None
        except (MalformedBody, StoreUnknown) as unreadable:
            raise _invalid(unreadable.sentence) from unreadable

    def _front(self, query: Mapping[str, str]) -> str | None:
        """Return the front that the address names; None where it names none. Raises `StoreUnknown`."""
        store = self._stores.named(name=query.get(STORE), tenant=query.get(TENANT), host=None)
        return store.id if store is not None else None


def _wants_signed(head: _Head, caller: IntrospectionCaller) -> bool:
    """Return whether an answer is to be signed: the caller prefers that in `Accept`, or always gets it so."""
    if caller.signed is not Signed.ALLOWED:
        return caller.signed is Signed.ALWAYS
    accept = head.first.get(b"accept", "")
    if SIGNED not in accept.lower():
        return False
    accepted = dict(parse_accept(accept))
    return accepted.get(SIGNED, 0.0) >= max(accepted.get(JSON, 0.0), 0.001)


async def _fields(receive: Receive, head: _Head) -> Sequence[tuple[str, str]]:
    """Return the fields of the body, in their order. Raises `_Refused`."""
    content_type = head.first.get(b"content-type", "")
    try:
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            usual = _USUAL.fullmatch(message.get("body", b"")) if content_type == FORM else None
            if usual is not None and len(message.get("body", b"")) <= LARGEST_BODY:
                return ((TOKEN, usual[1].decode("ascii")),)
        chunks = _chunks(receive, first=message)
        body = await gather(chunks, declared=head.first.get(b"content-length"), limit=LARGEST_BODY)
        if not body:
            return ()
        if is_multipart(content_type):
            return parse_multipart(body, content_type)
        if media_type_of(content_type) == FORM:
            return _pairs(body)
    except PayloadTooLarge as large:
        raise _Refused(413, "invalid_request", large.sentence) from large
    except MalformedBody as unreadable:
        raise _invalid(unreadable.sentence) from unreadable
    raise _invalid("Send a form, as application/x-www-form-urlencoded or multipart/form-data.")


def _pairs(text: bytes) -> Sequence[tuple[str, str]]:
    try:
        return parse_qsl(text.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError as broken:
        raise MalformedBody("The parameters cannot be read.") from broken


async def _chunks(receive: Receive, *, first: Message) -> AsyncIterator[bytes]:
    message, more = first, True
    while more:
        if message["type"] == "http.disconnect":
            raise BodyIncomplete
        more = message.get("more_body", False)
        yield message.get("body", b"")
        if more:
            message = await receive()


def _once(fields: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    """Return fields by their names. Raises `InvalidRequest` where one comes twice (RFC 6749 section 3.2)."""
    named = dict(fields)
    if len(named) < len(fields):
        raise InvalidRequest("Send each parameter once.")
    return named


def _invalid(description: str) -> _Refused:
    return _Refused(400, "invalid_request", description)


def _unavailable(description: str) -> _Refused:
    retry = (b"retry-after", b"%d" % RETRY_AFTER)
    return _Refused(503, "temporarily_unavailable", description, outcome="unavailable", headers=(retry,))
