"""The HTTP endpoint of GraphQL: an ASGI application for `/graphql`.

It follows GraphQL over HTTP. An operation is POSTed. As `application/json`, its result has status 200, also where it is
a refusal; only a request that is not a GraphQL request at all (wrong HTTP method, unreadable, too large, forged) has
another status. As `application/graphql-response+json`, which a client asks for with `Accept`, a result without data has
the status of its refusal (section 6.4.2). Batches and persisted queries are not supported.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from inspect import isawaitable
from typing import Any, Protocol

import msgspec
import structlog
from graphql import ExecutionResult, Executor
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from shopkeeper.commerce.port import Engine
from shopkeeper.commerce.stores import Stores
from shopkeeper.errors import Busy, Forbidden, MalformedBody, MethodNotAllowed, Refusal
from shopkeeper.graphql.context import Context, Operations, RecordOrder
from shopkeeper.graphql.documents import Documents, Operation, Prepared
from shopkeeper.graphql.errors import formatted, told
from shopkeeper.graphql.execution import FastPathExecutor
from shopkeeper.graphql.limits import Limits
from shopkeeper.graphql.media_types import GRAPHQL, JSON, media_type
from shopkeeper.graphql.money import format_locale
from shopkeeper.graphql.playground import playground_page
from shopkeeper.graphql.registration import CustomerRegistration
from shopkeeper.graphql.schema import core_schema, print_schema
from shopkeeper.languages.choice import SOURCE
from shopkeeper.languages.refusals import headers_of
from shopkeeper.parsing import gather, media_type_of, require_bounded
from shopkeeper.sessions.values import Principal, PrincipalKind
from shopkeeper.storage.database import Database, Unit

SHOPPERS = frozenset({PrincipalKind.ANONYMOUS, PrincipalKind.CUSTOMER})

Identify = Callable[[Request], Awaitable[Principal]]
"""Returns the principal.

Raises `TokenInvalid`, `StoreUnknown`, or `Forbidden` for a request from another site's page.
"""

Observe = Callable[[Operation, float, bool], None]
"""Counts an operation: which one, the seconds it took, and whether it was answered without errors."""


class Languages(Protocol):
    """The languages of requests. `http.authentication.RequestAuthenticator` implements it."""

    def language_of(self, request: Request) -> str:
        """Return the language of what the sender of a request reads."""
        ...

    def wished_language_of(self, request: Request) -> str | None:
        """Return the language that the sender has chosen or asks for."""
        ...


class OnlyEnglish:
    """Answers in English."""

    def language_of(self, request: Request) -> str:
        return SOURCE

    def wished_language_of(self, request: Request) -> str | None:
        return None


MOST_VALUES = 4_000
"""Of variables and extensions together: converting an input object takes longer than reading a whole product."""

INVALID_REQUEST = 400
"""The status of an operation that cannot be executed: its document or its variables are wrong."""

log = structlog.get_logger("shopkeeper.graphql")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a request, and its status and headers as `application/graphql-response+json`."""

    result: Mapping[str, Any]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class Asked(msgspec.Struct, frozen=True, rename="camel"):
    """The body of a request. Other members are ignored, as GraphQL over HTTP requires."""

    query: str | None = None
    operation_name: str | None = None
    variables: dict[str, Any] | None = None
    extensions: dict[str, Any] | None = None


class NoPersistedQueries(MalformedBody):
    """The request has a hash in place of the query. Clients that see this code send the query."""

    code = "persisted_query_not_supported"
    message = "PersistedQueryNotSupported"


class GraphQLEndpoint:
    """Answers GraphQL requests.

    >>> Route("/graphql", endpoint=GraphQLEndpoint(...))  # doctest: +SKIP

    Args:
        database: opens the unit of work of each request.
        identify: returns the principal of a request.
        stores: the stores; the principal names one of them.
        engines: the engines by name; a store names one of them.
        registration: registers customers.
        pictures: returns the address of a picture by its name.
        limits: how much one request may ask for.
        introspection: whether clients may query the schema itself: for development.
        playground: whether GET serves a page to try queries on: for development.
        languages: returns the languages of requests; without it, all is in English.
        note: adds facts to the log lines of the request.
        observe: counts each operation for the metrics.
        placed_by_agent: records an order that an agent has placed.
    """

    def __init__(
        self,
        *,
        database: Database,
        identify: Identify,
        stores: Stores,
        engines: Mapping[str, Engine],
        registration: CustomerRegistration,
        pictures: Callable[[str], str],
        limits: Limits,
        introspection: bool = False,
        playground: bool = False,
        languages: Languages | None = None,
        note: Callable[..., None] = lambda **_: None,
        observe: Observe = lambda *_: None,
        placed_by_agent: RecordOrder | None = None,
    ) -> None:
        self._note, self._observe, self._languages = note, observe, languages or OnlyEnglish()
        self._placed_by_agent = placed_by_agent
        self._database = database
        self._identify = identify
        self._stores = stores
        self._engines = engines
        self._registration = registration
        self._pictures = pictures
        self._limits = limits
        self._suggest = introspection
        self._page = playground_page(print_schema()) if playground else None
        self._schema = core_schema()
        self._documents = Documents(self._schema, limits=self._limits, introspection=introspection)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        accepted = media_type(request.headers.get("accept"))
        try:
            answer = await self._answer(request, accepted)
        except Refusal as refusal:
            answer = _refused(refusal, accepted, self._languages.language_of(request))
        await answer(scope, receive, send)

    async def _answer(self, request: Request, accepted: str) -> Response:
        if request.method == "GET" and self._page is not None:
            return HTMLResponse(self._page.html, headers=self._page.headers)
        if request.method != "POST":
            raise MethodNotAllowed("GraphQL operations are POSTed.")
        asked = await self._read(request)
        outcome = await self._outcome(asked, request)
        if accepted != GRAPHQL:
            return _encoded(outcome.result, accepted, 200)
        return _encoded(outcome.result, accepted, outcome.status, outcome.headers)

    async def _read(self, request: Request) -> Asked:
        """Read the body as JSON only, because a form on another site cannot send that type."""
        if media_type_of(request.headers.get("content-type")) != JSON:
            raise MalformedBody(f"Send the operation as {JSON}.")
        declared = request.headers.get("content-length")
        body = await gather(request.stream(), declared=declared, limit=self._limits.body)
        try:
            asked = _ASKED.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as broken:
            raise MalformedBody(f"The body is not one GraphQL request in JSON: {broken}") from broken
        require_bounded([asked.variables, asked.extensions], most_values=MOST_VALUES)
        return asked

    async def _outcome(self, asked: Asked, request: Request) -> Outcome:
        """Return the result of a request: data, errors, or both."""
        try:
            principal = await self._identify(request)
            prepared = self._prepare(asked, principal)
            if prepared.errors:
                return Outcome({"errors": prepared.errors}, INVALID_REQUEST)
            return await self._observed(prepared, asked, principal, request)
        except Forbidden:
            raise
        except Refusal as refusal:
            log.info("graphql refused", error=refusal.code)
            language = self._languages.language_of(request)
            return Outcome({"errors": [told(refusal, language)]}, refusal.status, refusal.headers)

    async def _observed(self, prepared: Prepared, asked: Asked, principal: Principal, request: Request) -> Outcome:
        operation = prepared.chosen(asked.operation_name)
        if operation is None:
            return await self._execute(prepared, None, asked, principal, request)
        self._note(operation=operation.label or operation.field)
        begun, succeeded = time.perf_counter(), False
        try:
            outcome = await self._execute(prepared, operation, asked, principal, request)
            succeeded = "errors" not in outcome.result
            return outcome
        finally:
            self._observe(operation, time.perf_counter() - begun, succeeded)

    def _prepare(self, asked: Asked, principal: Principal) -> Prepared:
        if not asked.query:
            raise NoPersistedQueries if asked.extensions else MalformedBody("There is no 'query' in the request.")
        if principal.kind in SHOPPERS:
            return self._documents.prepare(asked.query)
        return self._documents.prepare_for_stranger(asked.query)

    async def _execute(
        self, prepared: Prepared, operation: Operation | None, asked: Asked, principal: Principal, request: Request
    ) -> Outcome:
        variables = asked.variables or {}
        if operation is not None:
            self._documents.check_cost(operation, variables)
        async with self._database.reading() as unit:
            context = self._context(prepared, principal, request, unit)
            data = await _fast(prepared, asked.operation_name, context, variables)
            if data is not None:
                return Outcome({"data": data})
            executor = FastPathExecutor.build(
                self._schema,
                prepared.document,
                context_value=context,
                raw_variable_values=variables,
                operation_name=asked.operation_name or None,
                hide_suggestions=not self._suggest,
                plans=prepared.plans.for_one_request(),
            )
            if isinstance(executor, list):
                return Outcome(
                    {"errors": [formatted(error, language=context.language) for error in executor]}, INVALID_REQUEST
                )
            assert isinstance(executor, FastPathExecutor)  # noqa: S101 - `build` returns the class it is called on
            if operation is not None:
                prepared.plans.keep(asked.operation_name, executor)
            return Outcome(_answered(await _executed(executor), context.language))

    def _context(self, prepared: Prepared, principal: Principal, request: Request, unit: Unit) -> Context:
        store = self._stores.require(principal.store)
        language = self._languages.language_of(request)
        shopper = (store.customer if principal.signed_in else store.guest)(principal.subject)
        if shopper.locale != language:
            shopper = replace(shopper, locale=language)
        if principal.impersonation is not None:
            shopper = replace(shopper, actor=_actor_of(principal))
        operations = Operations(open_unit=self._database.unit, engine=self._engines[store.engine], shopper=shopper)
        return Context(
            operations=operations,
            operation=operations.within(unit),
            principal=principal,
            registration=self._registration,
            pictures=self._pictures,
            locale=format_locale(request.headers.get("accept-language"), language=language, default=store.locale),
            language=language,
            wished_language=self._languages.wished_language_of(request),
            asked=prepared.asked,
            placed_by_agent=self._placed_by_agent,
        )


def _actor_of(principal: Principal) -> str | None:
    session = principal.session
    return session.actor.subject if session is not None and session.actor is not None else None


class Encoded(Response):
    """A response whose headers need no conversion: Starlette's takes as long as a whole query plan."""

    def __init__(self, body: bytes, status: int, media: str, headers: Mapping[str, str]) -> None:
        self.status_code, self.body, self.background = status, body, None
        self.raw_headers = [
            (b"content-length", str(len(body)).encode()),
            (b"content-type", f"{media}; charset=utf-8".encode()),
            *((name.lower().encode(), value.encode()) for name, value in headers.items()),
        ]


async def _fast(
    prepared: Prepared, name: str | None, context: Context, variables: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the data of a query that was compiled; None where graphql-core is to execute it."""
    plan = prepared.plans.queries.get(name)
    if plan is None:
        return None
    try:
        return await plan.execute(context, variables)
    except Busy:  # asking a database that does not answer a second time would take as long again
        raise
    except Exception:  # graphql-core executes the query again, and reports what it raises
        return None


async def _executed(executor: Executor[Any]) -> ExecutionResult:
    result = executor.execute_operation()
    if isawaitable(result):
        result = await result
    assert isinstance(result, ExecutionResult)  # noqa: S101 - for mypy: only @defer and @stream give another type
    return result


def _answered(result: ExecutionResult, language: str) -> Mapping[str, Any]:
    if not result.errors:
        return {"data": result.data}
    errors = [formatted(error, language=language) for error in result.errors]
    log.info("graphql refused", error=",".join(dict.fromkeys(error["extensions"]["code"] for error in errors)))
    return {"errors": errors, "data": result.data}


def _encoded(
    document: Mapping[str, Any], media: str, status: int, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response in JSON; prices are numbers with all their digits."""
    all_ = {"Cache-Control": "no-store", **(headers or {})}
    return Encoded(_ENCODER.encode(document), status, media, all_)


def _refused(refusal: Refusal, media: str, language: str) -> Response:
    """Return the refusal of a request that is not a GraphQL request, with its usual HTTP status."""
    allow = {"Allow": "POST"} if isinstance(refusal, MethodNotAllowed) else {}
    return _encoded(
        {"errors": [told(refusal, language)]},
        media,
        refusal.status,
        {**refusal.headers, **headers_of(language), **allow},
    )


_ASKED = msgspec.json.Decoder(Asked)
_ENCODER = msgspec.json.Encoder(decimal_format="number")
