"""The self-service API: `/self-service/{login,registration,recovery,verification,settings}`.

Paths are Kratos' (contract page sections 1.1, 2.1, 2.5). What a submission ends in is answered by
`outcome_responses.py` and `refused_flows.py`.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.commerce.stores import STORE, TENANT
from shopkeeper.errors import (
    CsrfViolation,
    InvalidInput,
    MalformedBody,
    NotBuilt,
    Refusal,
    SecondFactorRequired,
    SessionAlreadyAvailable,
    SessionInactive,
)
from shopkeeper.flows.flow import LOGIN, REGISTRATION, Caller, FlowType, Opening, Submission
from shopkeeper.flows.handler import LinkHandler, OwnedFlowHandler
from shopkeeper.flows.outcomes import (
    Completed,
    FlowInvalid,
    FlowOutcome,
    FlowRefused,
    RedirectedAway,
    Updated,
)
from shopkeeper.flows.pipeline import Pipeline
from shopkeeper.http.caller_reader import CallerReader
from shopkeeper.http.cookies import CookiePolicy
from shopkeeper.http.error_page import ErrorPage
from shopkeeper.http.outcome_responses import OutcomeResponses
from shopkeeper.http.refused_flows import RefusedFlows
from shopkeeper.http.requests import has_fields, is_json, parse_fields, prefers_json, read_body
from shopkeeper.http.responses import empty_response, json_response, redirect
from shopkeeper.http.speculation import RefusedPage, is_speculative, refuse_speculative
from shopkeeper.languages.refusals import headers_of
from shopkeeper.parsing import uuid_or_none

OneClick = Callable[[Request, str, str], Awaitable[Response]]
"""Shows a page with one button for a link of a kind of flow, which sends its form to an address."""
Leaving = Callable[[Response, Request, Caller], Response]
"""Makes a page of a redirect to another server, where a page of ours has sent the form."""
LARGEST_BODY = 100_000
"""Bytes of a submission, in every format. The flows are open to everybody, and no form needs more."""
LONGEST_URL = 8_192
"""Characters: every flow stores the address that opened it."""


_SIGNING_IN = frozenset({LOGIN, REGISTRATION})
"""The flows that an app can exchange for a session token."""
_BY_GET = "A flow that is sent by GET is not built: submit it by POST."


class SelfService:
    """The routes of the self-service flows."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        callers: CallerReader,
        cookies: CookiePolicy,
        responses: OutcomeResponses,
        refusals: RefusedFlows,
        error_page: ErrorPage,
        base_url: str,
        kinds: Sequence[str],
        max_body: int,
        refused_page: RefusedPage,
        leaving: Leaving,
        one_click: OneClick | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._callers = callers
        self._cookies = cookies
        self._responses = responses
        self._refusals = refusals
        self._error_page = error_page
        self._base_url = base_url
        self._kinds = kinds
        self._max_body = max_body
        self._refused_page = refused_page
        self._leaving = leaving
        self._one_click = one_click
        self._prefix = urlsplit(base_url).path

    def routes(self) -> list[Route]:
        """List the routes."""
        return [route for kind in self._kinds for route in self._flow_routes(kind)]

    def _flow_routes(self, kind: str) -> list[Route]:
        path = f"/self-service/{kind}"

        async def open_native(request: Request) -> Response:
            return await self._open_native(request, kind)

        async def open_browser(request: Request, caller: Caller) -> Response:
            return await self._open_browser(request, caller, kind)

        async def fetch(request: Request) -> Response:
            return await self._fetch(request, kind)

        async def submit(request: Request, caller: Caller) -> Response:
            return await self._submit(request, caller, kind)

        async def follow_link(request: Request, caller: Caller) -> Response:
            return await self._link(request, caller, kind)

        async def resume(request: Request, caller: Caller) -> Response:
            return await self._resume(request, caller, kind)

        async def show(request: Request, caller: Caller) -> Response:
            return self._show_page(request, kind)

        handler, by_get = self._pipeline.handler(kind), show
        if isinstance(handler, LinkHandler):
            by_get = follow_link
        elif isinstance(handler, OwnedFlowHandler):
            by_get = resume
        return [
            Route(f"{path}/api", open_native, methods=["GET"]),
            Route(f"{path}/browser", self._error_page.html_safe(open_browser), methods=["GET"]),
            Route(f"{path}/flows", fetch, methods=["GET"]),
            Route(path, self._error_page.html_safe(submit), methods=["POST"]),
            Route(path, self._error_page.html_safe(by_get), methods=["GET"]),
        ]

    def _show_page(self, request: Request, kind: str) -> Response:
        """Lead somebody who has reloaded or kept the address of a form's submission to the form, or to a new one."""
        if prefers_json(request.headers):
            raise NotBuilt(_BY_GET)
        flow_id = uuid_or_none(request.query_params.get("flow", ""))
        return redirect(
            f"{self._base_url}/self-service/{kind}/browser" if flow_id is None else self._responses.ui(kind, flow_id),
            body=True,
        )

    async def _open_native(self, request: Request, kind: str) -> Response:
        caller = await self._callers.of(request)
        flow = await self._pipeline.open(kind, self._opening(request, kind, FlowType.API), caller)
        return json_response(self._responses.flow(flow, caller), headers=headers_of(caller.locale))

    async def _open_browser(self, request: Request, caller: Caller, kind: str) -> Response:
        try:
            flow = await self._pipeline.open(kind, self._opening(request, kind, FlowType.BROWSER), caller)
        except SessionInactive:
            if prefers_json(request.headers):
                raise
            kept = {name: value for name, value in request.query_params.items() if name in {"return_to", STORE, TENANT}}
            query = f"?{urlencode(kept)}" if kept else ""
            return redirect(f"{self._base_url}/self-service/login/browser{query}", body=True)
        except SecondFactorRequired as second:
            if prefers_json(request.headers):
                raise
            return redirect(second.details["redirect_browser_to"], body=True)
        except SessionAlreadyAvailable:
            if prefers_json(request.headers):
                raise
            return redirect(self._pipeline.landing(kind, return_to=request.query_params.get("return_to")), body=True)
        if prefers_json(request.headers):
            return json_response(self._responses.flow(flow, caller), headers=headers_of(caller.locale))
        return redirect(self._responses.ui(flow.kind, flow.id), body=True)

    def _opening(self, request: Request, kind: str, type_: FlowType) -> Opening:
        query, url = request.query_params, self._callers.public_url(request)
        if len(url) > LONGEST_URL:
            raise InvalidInput(f"The address with its query has more than {LONGEST_URL} characters.")
        return Opening(
            type=type_,
            request_url=url,
            return_to=query.get("return_to"),
            refresh=query.get("refresh") == "true",
            aal=query.get("aal") or None,
            schema_id=query.get("identity_schema") or None,
            exchanges=type_ is FlowType.API
            and kind in _SIGNING_IN
            and query.get("return_session_token_exchange_code") == "true",
        )

    async def _fetch(self, request: Request, kind: str) -> Response:
        caller, cookie = self._callers.with_csrf(await self._callers.of(request))
        headers = {"Set-Cookie": cookie} if cookie else {}
        try:
            flow = await self._pipeline.fetch(kind, request.query_params.get("id"), caller)
        except FlowRefused as refused:
            refusal = self._refusals.with_next_address(refused.refusal, kind)
            return self._callers.refuse(refusal, headers=headers, language=caller.locale)
        except Refusal as refusal:
            return self._callers.refuse(refusal, headers=headers, language=caller.locale)
        return json_response(
            self._responses.flow(flow, caller), headers={**headers, **self._responses.language_headers(flow, caller)}
        )

    async def _submit(self, request: Request, caller: Caller, kind: str) -> Response:
        if "token" in request.query_params and isinstance(self._pipeline.handler(kind), LinkHandler):
            return await self._follow_confirmed(request, caller, kind)
        submission, as_json = Submission(), prefers_json(request.headers)
        caller = self._callers.with_fresh_csrf(caller)

        async def read() -> Submission:
            nonlocal submission
            submission = await self._submission(request)
            return submission

        try:
            outcome = await self._pipeline.submit(kind, request.query_params.get("flow"), read, caller)
        except (FlowInvalid, FlowRefused) as stopped:
            return await self._refusals.stopped(stopped, caller, submission, as_json=as_json)
        return self._followed_by_form(request, outcome, caller, as_json=as_json)

    def _followed_by_form(self, request: Request, outcome: FlowOutcome, caller: Caller, *, as_json: bool) -> Response:
        """Return the response to what a form has led to, by redirects or at once."""
        answer = self._responses.answer(outcome, caller, as_json=as_json)
        return self._leaving(answer, request, caller) if isinstance(outcome, RedirectedAway) else answer

    async def _resume(self, request: Request, caller: Caller, kind: str) -> Response:
        """Do what was submitted before its sender had to sign in again. Nothing is done for requests that only look
        ahead."""
        as_json, flow_id = prefers_json(request.headers), request.query_params.get("flow")
        if is_speculative(request):
            return redirect(self._responses.ui(kind, flow_id or ""))
        caller = self._callers.with_fresh_csrf(caller)
        try:
            outcome = await self._pipeline.resume(kind, flow_id, caller)
        except (FlowInvalid, FlowRefused) as stopped:
            answer = await self._refusals.stopped(stopped, caller, as_json=as_json)
            if isinstance(stopped, FlowRefused):
                return answer
        else:
            answer = self._followed_by_form(request, outcome, caller, as_json=as_json)
        if caller.continuity_cookies:
            answer.headers.append("Set-Cookie", self._cookies.delete_continuity())
        return answer

    async def _link(self, request: Request, caller: Caller, kind: str) -> Response:
        """Answer a mailed link. Programs that look ahead spend nothing; where one click is asked for, the page with the
        button comes first."""
        if request.method == "HEAD":
            return empty_response(200)
        if is_speculative(request):
            return refuse_speculative(request, self._refused_page)
        if self._one_click is not None and "token" in request.query_params:
            action = f"{self._prefix}/self-service/{kind}?{urlencode(dict(request.query_params))}"
            return await self._one_click(request, kind, action)
        return await self._follow_link(request, caller, kind)

    async def _follow_confirmed(self, request: Request, caller: Caller, kind: str) -> Response:
        """Follow a link by the button of our page. A page of another site must not sign its visitors in."""
        if caller.from_foreign_page:
            raise CsrfViolation("The form was sent by a page of another site. Follow the link of the mail instead.")
        return await self._follow_link(request, caller, kind)

    async def _follow_link(self, request: Request, caller: Caller, kind: str) -> Response:
        as_json = prefers_json(request.headers)
        had_cookie = caller.csrf is not None
        caller, _ = self._callers.with_csrf(caller)
        try:
            outcome = await self._pipeline.follow_link(kind, dict(request.query_params), caller)
        except (FlowInvalid, FlowRefused) as stopped:
            return await self._refusals.stopped(stopped, caller, as_json=as_json, by_link=True)
        if isinstance(outcome, Completed):
            outcome = replace(outcome, flow=replace(outcome.flow, type=FlowType.BROWSER))
        bound = isinstance(outcome, Updated) and outcome.flow.type is FlowType.BROWSER
        answer = self._responses.answer(outcome, caller, as_json=as_json, by_link=True)
        return self._responses.with_csrf_cookie(answer, caller, when=bound and not had_cookie)

    async def _submission(self, request: Request) -> Submission:
        kind = request.headers.get("content-type", "")
        # A body of another type is not read at all; one that breaks off is a refusal, not a form with a message.
        body = await read_body(request, limit=self._max_body) if has_fields(kind) else b""
        try:
            fields = parse_fields(body, kind)
        except MalformedBody as broken:
            return Submission(broken=broken)
        token = fields.get("csrf_token")
        return Submission(fields=fields, csrf_token=token if isinstance(token, str) else "", is_json=is_json(kind))
