"""The error page of the self-service API: refusals are stored for it, and `/self-service/errors` answers them.

Source: contract page section 2.4.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper import crypto
from shopkeeper.clock import Clock
from shopkeeper.errors import (
    Refusal,
    TooManyRequests,
)
from shopkeeper.flows import stored_errors
from shopkeeper.flows.flow import Caller
from shopkeeper.http.caller_reader import CallerReader
from shopkeeper.http.requests import prefers_json
from shopkeeper.http.responses import error_object, json_response, redirect
from shopkeeper.http.serializers import (
    moment,
)
from shopkeeper.languages.choice import SOURCE
from shopkeeper.languages.refusals import headers_of, sentence_of
from shopkeeper.parsing import uuid_or_none
from shopkeeper.refunds import refunded_when_busy
from shopkeeper.storage.database import Database
from shopkeeper.storage.unavailable import DatabaseUnavailable

Answer = Callable[[Request, Caller], Awaitable[Response]]


class ErrorBudget(Protocol):
    """Limits how many errors of an address are stored for the error page."""

    async def spend(self, source: str) -> None:
        """Count one. Raises `TooManyRequests`."""
        ...


class ErrorPage:
    """Redirects browsers to the error page, which fetches the stored error.

    Args:
        url: the address of the page.
    """

    def __init__(
        self, *, database: Database, callers: CallerReader, clock: Clock, url: str, budget: ErrorBudget
    ) -> None:
        self._database = database
        self._callers = callers
        self._clock = clock
        self._url = url
        self._budget = budget

    def routes(self) -> list[Route]:
        """List the routes."""
        return [Route("/self-service/errors", self._error, methods=["GET"])]

    def html_safe(self, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        """Wrap an endpoint: read the caller, set the cookies of a form and of a chosen language, redirect HTML clients
        to the error page."""

        async def endpoint(request: Request) -> Response:
            cookie = None
            try:
                caller, cookie = self._callers.with_csrf(await self._callers.of(request), when=_opens_browser(request))
                response = await answer(request, caller)
            except Refusal as refusal:
                response = await self._refused(request, refusal)
            # Apps keep no cookies, and send no GET that leads a browser on.
            language = self._callers.language_cookie(request) if request.method == "GET" else None
            for line in (cookie, language):
                if line:
                    response.headers.append("Set-Cookie", line)
            return response

        return endpoint

    async def _refused(self, request: Request, refusal: Refusal) -> Response:
        # An error cannot be stored in the database that caused it: the browser would only wait twice.
        if prefers_json(request.headers) or isinstance(refusal, DatabaseUnavailable):
            return self._callers.refuse(refusal, language=self._callers.language_of(request))
        async with refunded_when_busy():
            try:
                await self._budget.spend(self._callers.client_of(request).ip)
            except TooManyRequests:  # the refusal itself, which says more
                return self._callers.refuse(refusal, language=self._callers.language_of(request))
            async with self._database.unit() as unit:
                kept = await stored_errors.keep(unit, error_object(refusal), wording=refusal.wording, clock=self._clock)
        answer = redirect(f"{self._url}?id={kept.id}", body=request.method == "GET")
        answer.headers["X-Error-Code"] = refusal.code
        return answer

    async def _error(self, request: Request) -> Response:
        wanted = request.query_params.get("id") or request.query_params.get("error") or ""
        if wanted == "stub:500":
            return json_response(_sample(self._clock))
        async with self._database.unit() as unit:
            kept = await stored_errors.require(unit, uuid_or_none(wanted))
        language = self._callers.language_of(request)
        # By its wording, which is stored with it; where that has no translation, it stays English.
        sentence = sentence_of(kept.wording, language) if kept.wording else None
        document = {
            "id": str(kept.id),
            "error": _saying(sentence, kept.error) if sentence else kept.error,
            "created_at": moment(kept.created_at),
            "updated_at": moment(kept.updated_at),
        }
        return json_response(document, headers=headers_of(language if sentence else SOURCE))


def _saying(sentence: str, error: Mapping[str, object]) -> Mapping[str, object]:
    return {**error, **{name: sentence for name in ("reason", "message") if name in error}}


def _opens_browser(request: Request) -> bool:
    path = request.scope["path"]  # not request.url: a malformed Host changes its path
    return path.endswith("/browser") and "/logout/" not in path


def _sample(clock: Clock) -> dict[str, object]:
    """Return the contract's response to `id=stub:500`: an example for developers of an error page."""
    now = moment(clock.now())
    error = {
        "code": 500,
        "status": "Internal Server Error",
        "reason": "This is an example, made to try an error page with.",
        "message": "Something went wrong on our side.",
    }
    return {"id": str(crypto.new_id()), "error": error, "created_at": now, "updated_at": now}
