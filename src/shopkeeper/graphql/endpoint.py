"""The HTTP endpoint of GraphQL: an ASGI application for `/graphql`.

It follows GraphQL over HTTP for `application/json`: an operation is POSTed, and its result has status 200, also where
it is a refusal. Only a request that is not a GraphQL request at all (wrong HTTP method, unreadable, too large, forged)
has another status. Batches and persisted queries are not supported.
"""

from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable
from typing import Any

import msgspec
import structlog
from graphql import ExecutionResult, Executor
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from shopkeeper.commerce.port import Engine
from shopkeeper.commerce.stores import Stores
from shopkeeper.errors import Busy, Forbidden, MalformedBody, MethodNotAllowed, Refusal
from shopkeeper.graphql.context import Context, Operations
from shopkeeper.graphql.documents import Documents, Prepared
from shopkeeper.graphql.errors import formatted, told
from shopkeeper.graphql.execution import FastPathExecutor
from shopkeeper.graphql.limits import Limits
from shopkeeper.graphql.money import language_of
from shopkeeper.graphql.playground import playground_page
from shopkeeper.graphql.registration import CustomerRegistration
from shopkeeper.graphql.schema import core_schema, print_schema
from shopkeeper.parsing import gather, require_bounded
from shopkeeper.sessions.values import Principal, PrincipalKind
from shopkeeper.storage.database import Database, Unit

JSON = "application/json"
SHOPPERS = frozenset({PrincipalKind.ANONYMOUS, PrincipalKind.CUSTOMER})

Identify = Callable[[Request], Awaitable[Principal]]
"""Returns the principal.

Raises `TokenInvalid`, `StoreUnknown`, or `Forbidden` for a request from another site's page.
"""

log = structlog.get_logger("shopkeeper.graphql")


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
    ) -> None:
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
        try:
            answer = await self._answer(request)
        except Refusal as refusal:
            answer = _refused(refusal)
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method == "GET" and self._page is not None:
            return HTMLResponse(self._page.html, headers=self._page.headers)
        if request.method != "POST":
            raise MethodNotAllowed("GraphQL operations are POSTed.")
        asked = await self._read(request)
        return _json(await self._outcome(asked, request))

    async def _read(self, request: Request) -> Asked:
        """Read the body as JSON only, because a form on another site cannot send that type."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
            raise MalformedBody(f"Send the operation as {JSON}.")
        declared = request.headers.get("content-length")
        body = await gather(request.stream(), declared=declared, limit=self._limits.body)
        try:
            asked = _ASKED.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as broken:
            raise MalformedBody(f"The body is not one GraphQL request in JSON: {broken}") from broken
        require_bounded([asked.variables, asked.extensions])
        return asked

    async def _outcome(self, asked: Asked, request: Request) -> Mapping[str, Any]:
        """Return the result of a request: data, errors, or both."""
        try:
            principal = await self._identify(request)
            prepared = self._prepare(asked, principal)
            if prepared.errors:
                return {"errors": prepared.errors}
            return await self._execute(prepared, asked, principal, request)
        except Forbidden:
            raise
        except Refusal as refusal:
            log.info("graphql refused", error=refusal.code)
            return {"errors": [told(refusal)]}

    def _prepare(self, asked: Asked, principal: Principal) -> Prepared:
        if not asked.query:
            raise NoPersistedQueries if asked.extensions else MalformedBody("There is no 'query' in the request.")
        if principal.kind in SHOPPERS:
            return self._documents.prepare(asked.query)
        return self._documents.prepare_for_stranger(asked.query)

    async def _execute(
        self, prepared: Prepared, asked: Asked, principal: Principal, request: Request
    ) -> Mapping[str, Any]:
        variables = asked.variables or {}
        operation = prepared.chosen(asked.operation_name)
        if operation is not None:
            self._documents.check_cost(operation, variables)
        async with self._database.reading() as unit:
            executor = FastPathExecutor.build(
                self._schema,
                prepared.document,
                context_value=self._context(prepared, principal, request, unit),
                raw_variable_values=variables,
                operation_name=asked.operation_name or None,
                hide_suggestions=not self._suggest,
                plans=prepared.plans.for_one_request(),
            )
            if isinstance(executor, list):
                return {"errors": [formatted(error) for error in executor]}
            return _answered(await _executed(executor))

    def _context(self, prepared: Prepared, principal: Principal, request: Request, unit: Unit) -> Context:
        store = self._stores.require(principal.store)
        shopper = (store.customer if principal.signed_in else store.guest)(principal.subject)
        operations = Operations(open_unit=self._database.unit, engine=self._engines[store.engine], shopper=shopper)
        return Context(
            operations=operations,
            operation=operations.within(unit),
            principal=principal,
            registration=self._registration,
            pictures=self._pictures,
            locale=language_of(request.headers.get("accept-language"), default=store.locale),
            asked=prepared.asked,
        )


async def _executed(executor: Executor[Any]) -> ExecutionResult:
    result = executor.execute_operation()
    if isawaitable(result):
        result = await result
    assert isinstance(result, ExecutionResult)  # noqa: S101 - for mypy: only @defer and @stream give another type
    return result


def _answered(result: ExecutionResult) -> Mapping[str, Any]:
    if not result.errors:
        return {"data": result.data}
    errors = [formatted(error) for error in result.errors]
    log.info("graphql refused", error=",".join(error["extensions"]["code"] for error in errors))
    return {"errors": errors, "data": result.data}


def _json(document: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response; prices are numbers with all their digits."""
    return Response(
        _ENCODER.encode(document), status, {"Cache-Control": "no-store", **(headers or {})}, f"{JSON}; charset=utf-8"
    )


def _refused(refusal: Refusal) -> Response:
    """Return the refusal of a request that is not a GraphQL request, with its usual HTTP status."""
    allow = {"Allow": "POST"} if isinstance(refusal, MethodNotAllowed) else {}
    later = {"Retry-After": str(refusal.retry_after)} if isinstance(refusal, Busy) else {}
    return _json({"errors": [told(refusal)]}, refusal.status, {"X-Error-Code": refusal.code, **allow, **later})


_ASKED = msgspec.json.Decoder(Asked)
_ENCODER = msgspec.json.Encoder(decimal_format="number")
