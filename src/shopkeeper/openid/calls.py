"""Calls to one provider: bounded in time, number and size, never redirected, behind circuit breakers."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from shopkeeper.clock import Clock
from shopkeeper.errors import MalformedBody
from shopkeeper.http_client import GuardedClient, HttpCallFailed, HttpCallRefused, HttpResponse, HttpResponseTooLarge
from shopkeeper.openid.circuit_breaker import Call, CircuitBreakers
from shopkeeper.openid.errors import ProviderAnswerInvalid, ProviderAskedTooOften, ProviderUnavailable
from shopkeeper.parsing import parse_json

MAX_ANSWER: Final = 256 * 1024
MAX_VALUES: Final = 5_000
LONGEST_RETRY_AFTER: Final = 120
"""Seconds that a provider may have us tell others to wait."""
_AWAY: Final = frozenset(
    {
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""Statuses that say the provider is away. A 500 may be caused by what a caller sent, so it opens no breaker."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what is asked of one provider.

    Args:
        call: seconds for one call; and for the wait until it may begin.
        patience: seconds after which a call that is cancelled counts as one without an answer: callers that can go on
            without the provider wait for a shorter time than `call`.
        conversation: seconds for a whole sign-in or verification, whatever calls it takes.
        places: calls at a time. All providers share the connections of one HTTP client.
        waiting: calls that wait for a place.
    """

    call: float = 5.0
    patience: float = 1.0
    conversation: float = 10.0
    places: int = 20
    waiting: int = 200


class ProviderCalls:
    """Sends the requests of one provider."""

    def __init__(self, http: GuardedClient, clock: Clock, limits: Limits) -> None:
        self._http, self._limits = http, limits
        self._breakers = CircuitBreakers(clock)
        self._places = asyncio.Semaphore(limits.places)
        self._waiting = 0

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        max_bytes: int = MAX_ANSWER,
    ) -> HttpResponse:
        """Send a request; return an answer of any status below 500 that is no redirect.

        Raises:
            ProviderUnavailable: no answer came in time, or one that says to come later.
            ProviderAnswerInvalid: the answer is a redirect or too large.
        """
        return _usable(
            await self.exchange(method, url, endpoint=url, headers=headers, content=content, max_bytes=max_bytes)
        )

    async def exchange(
        self,
        method: str,
        url: str,
        *,
        endpoint: str,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        max_bytes: int = MAX_ANSWER,
    ) -> HttpResponse:
        """Send a request; return the answer of any status. A redirect is returned, not followed.

        Args:
            endpoint: names the circuit breaker. Addresses that callers choose share one.

        Raises:
            ProviderUnavailable: no answer came in time.
            ProviderAnswerInvalid: the answer is too large.
        """
        async with self._place():
            with self._breakers.of(endpoint).call() as call:
                return await self._request(call, method, url, headers=headers, content=content, max_bytes=max_bytes)

    async def _request(self, call: Call, method: str, url: str, *, max_bytes: int, **request: Any) -> HttpResponse:
        headers = {"Accept": "application/json", **(request["headers"] or {})}
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            response = await self._http.request(
                method, url, headers=headers, content=request["content"], timeout=self._limits.call, max_bytes=max_bytes
            )
        except HttpCallRefused as refused:
            raise ProviderUnavailable(refused.detail, cause="address_refused") from refused
        except HttpResponseTooLarge as large:
            call.succeeded()
            raise ProviderAnswerInvalid(large.detail, cause="too_large") from large
        except HttpCallFailed as failed:
            call.broke()
            raise ProviderUnavailable(failed.detail, cause="no_answer") from failed
        except asyncio.CancelledError:
            if loop.time() - began >= self._limits.patience:
                call.broke()
            raise
        if response.status == HTTPStatus.TOO_MANY_REQUESTS:
            call.came_too_often()
        elif response.status in _AWAY:
            call.broke()
        else:
            call.succeeded()
        return response

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if self._waiting >= self._limits.waiting:
            raise ProviderUnavailable(cause="too_many_calls", retry_after=1)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._limits.call):
                await self._places.acquire()
        except TimeoutError as late:
            raise ProviderUnavailable(cause="too_many_calls", retry_after=1) from late
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._places.release()


def parse_object(body: bytes, *, what: str) -> dict[str, Any]:
    """Parse an answer that must be a JSON object; `what` names it in the sentence. Raises `ProviderAnswerInvalid`."""
    document = parse_answer(body, what=what)
    if not isinstance(document, dict):
        raise ProviderAnswerInvalid(f"{what} is not a JSON object.", cause="not_an_object")
    return document


def parse_answer(body: bytes, *, what: str) -> Any:
    """Parse an answer of bounded depth and number of values. Raises `ProviderAnswerInvalid`."""
    try:
        return parse_json(body, most_values=MAX_VALUES)
    except MalformedBody as broken:
        raise ProviderAnswerInvalid(
            f"{what} is not JSON, or has too many or too deep values.", cause="not_json"
        ) from broken


def _usable(response: HttpResponse) -> HttpResponse:
    if response.status == HTTPStatus.TOO_MANY_REQUESTS:
        raise ProviderAskedTooOften(cause="status", retry_after=_retry_after(response))
    if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise ProviderUnavailable(
            f"The provider answered with {response.status}.", cause="status", retry_after=_retry_after(response)
        )
    if HTTPStatus.MULTIPLE_CHOICES <= response.status < HTTPStatus.BAD_REQUEST:
        # What we send holds secrets, which must not follow a redirect to another server.
        raise ProviderAnswerInvalid("The provider redirected a call of this server.", cause="redirected")
    return response


def _retry_after(response: HttpResponse) -> int | None:
    """Return the seconds of `Retry-After` (RFC 9110 section 10.2.3), shortened; a date counts as unknown."""
    value = response.headers.get("retry-after", "")
    readable = value.isascii() and value.isdecimal() and len(value) <= 6
    return min(int(value), LONGEST_RETRY_AFTER) if readable else None
