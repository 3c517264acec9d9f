"""Callbacks: `/self-service/methods/{method}/callback`, where another server sends the browser back.

Kratos' addresses have the provider's id at their end; the form without it is served too (contract page 1.1). A server
may have the browser come back by a redirect, or by a form that is posted (OAuth 2.0 Form Post Response Mode), which
Apple does.
"""

from collections.abc import Callable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.errors import InvalidInput, SessionAlreadyAvailable
from shopkeeper.flows.flow import LOGIN, Caller, Flow
from shopkeeper.flows.outcomes import FlowInvalid, FlowRefused
from shopkeeper.flows.pipeline import Pipeline
from shopkeeper.flows.returning import Returning
from shopkeeper.flows.silent_sign_on import stays
from shopkeeper.http.caller_reader import CallerReader
from shopkeeper.http.error_page import ErrorPage
from shopkeeper.http.outcome_responses import OutcomeResponses
from shopkeeper.http.refused_flows import RefusedFlows
from shopkeeper.http.requests import parse_fields, read_body
from shopkeeper.http.responses import empty_response, redirect
from shopkeeper.http.speculation import RefusedPage, is_speculative, refuse_speculative

CALLBACKS: Final = "/self-service/methods"
LARGEST_FORM: Final = 32_000
"""Bytes of a form that is posted. Apple's has a code, the state, and a name."""
MOST_FIELDS: Final = 32
REPEATED: Final = "shopkeeper_repeated"
"""The field that our own page adds to the form. It only says that the page need not be shown again."""

RepeatForm = Callable[[Request, Mapping[str, str]], Response]
"""Shows a page of ours that posts the fields to its own address."""


class CallbackRoutes:
    """Continues flows when other servers send the browser back."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        returning: Returning,
        callers: CallerReader,
        responses: OutcomeResponses,
        refusals: RefusedFlows,
        error_page: ErrorPage,
        repeat_form: RepeatForm,
        refused_page: RefusedPage,
    ) -> None:
        self._pipeline = pipeline
        self._returning = returning
        self._callers = callers
        self._responses = responses
        self._refusals = refusals
        self._error_page = error_page
        self._repeat_form = repeat_form
        self._refused_page = refused_page

    def routes(self) -> list[Route]:
        """List the routes."""
        paths = f"{CALLBACKS}/{{method}}/callback", f"{CALLBACKS}/{{method}}/callback/{{provider}}"
        return [
            Route(path, self._error_page.html_safe(endpoint), methods=[method])
            for path in paths
            for method, endpoint in (("GET", self._by_redirect), ("POST", self._by_form))
        ]

    async def _by_redirect(self, request: Request, caller: Caller) -> Response:
        """Take the answer in the query. A request that only looks ahead spends nothing."""
        if request.method == "HEAD":
            return empty_response(200)
        if is_speculative(request):
            return refuse_speculative(request, self._refused_page)
        return await self._continue(request, caller, request.query_params)

    async def _by_form(self, request: Request, caller: Caller) -> Response:
        """Take the answer in a form.

        A POST from another site brings no Lax cookies along: neither the session nor the guest's visit, and over plain
        http not the one that binds the browser. So a page of ours posts the same form again. Nothing of it stands in an
        address, where logs and other sites could read it.
        """
        body = await read_body(request, limit=LARGEST_FORM)
        fields = parse_fields(body, request.headers.get("content-type", ""))
        told = {name: value for name, value in fields.items() if isinstance(value, str)}
        if len(told) > MOST_FIELDS:
            raise InvalidInput(f"The form has more than {MOST_FIELDS} fields.")
        if told.pop(REPEATED, None) is None and told.get("state"):
            return self._repeat_form(request, {**told, REPEATED: "1"})
        return await self._continue(request, caller, told)

    async def _continue(self, request: Request, caller: Caller, told: Mapping[str, str]) -> Response:
        method, provider = request.path_params["method"], request.path_params.get("provider")
        query = {**told, **({"provider": provider} if provider else {})}
        caller = self._callers.with_fresh_csrf(caller)
        try:
            outcome = await self._returning.callback(method, query, caller)
        except SessionAlreadyAvailable:
            return redirect(self._pipeline.landing(LOGIN))
        except (FlowInvalid, FlowRefused) as stopped:
            if stays(stopped.flow):
                return self._as_it_was(stopped.flow)
            return await self._refusals.stopped(stopped, caller, as_json=False, came_back=True)
        if stays(outcome.flow, outcome):
            return self._as_it_was(outcome.flow)
        return self._responses.answer_callback(outcome, caller)

    def _as_it_was(self, flow: Flow) -> Response:
        """Send a browser back that a silent sign-on has not signed in. Its cookies stay as they are."""
        return redirect(self._pipeline.landing(flow.kind, return_to=flow.return_to))
