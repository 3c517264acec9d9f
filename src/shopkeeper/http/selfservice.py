"""The self-service API: `/self-service/{login,registration,logout}`, its callbacks and `/self-service/errors`.

Paths, statuses and headers are Kratos' (contract page sections 1.1, 2.1, 2.5). The three kinds of client differ in this
module only: HTML is redirected, JSON is answered, native apps get a session token.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol
from urllib.parse import urlencode, urlsplit
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper import crypto
from shopkeeper.clock import Clock
from shopkeeper.commerce.port import Outcome
from shopkeeper.commerce.stores import STORE, TENANT
from shopkeeper.errors import (
    ERROR_HEADER,
    BrowserLocationChangeRequired,
    Busy,
    CsrfViolation,
    FlowExpired,
    FlowReplaced,
    InvalidInput,
    LinkLookedAhead,
    MalformedBody,
    Refusal,
    SecondFactorRequired,
    SessionAlreadyAvailable,
    SessionInactive,
    SessionRefreshRequired,
    TooManyRequests,
    VerifiedAddressRequired,
)
from shopkeeper.flows import stored_errors
from shopkeeper.flows.continue_with import ContinueWith, ShowRecovery, ShowSettings
from shopkeeper.flows.flow import Caller, Flow, FlowState, FlowType, Opening, Submission
from shopkeeper.flows.handler import LinkHandler, OwnedFlowHandler
from shopkeeper.flows.logout import Logout
from shopkeeper.flows.outcomes import (
    Completed,
    FlowInvalid,
    FlowOutcome,
    FlowRefused,
    RedirectedAway,
    Replaced,
    Updated,
)
from shopkeeper.flows.paused_submissions import PAUSED_FOR
from shopkeeper.flows.pipeline import Pipeline
from shopkeeper.flows.stored_errors import StoredError
from shopkeeper.http.caller_reader import CallerReader
from shopkeeper.http.cookies import CookiePolicy
from shopkeeper.http.flow_responses import FlowResponses
from shopkeeper.http.requests import has_fields, parse_fields, prefers_json, read_body
from shopkeeper.http.responses import empty_response, error_object, json_response, redirect
from shopkeeper.http.serializers import (
    Serializers,
    Wire,
    cart_merge_shape,
    continue_with,
    moment,
    set_session_token,
    ui_flow,
)
from shopkeeper.http.speculation import is_speculative
from shopkeeper.languages.refusals import headers_of, sentence_of
from shopkeeper.parsing import uuid_or_none
from shopkeeper.refunds import refunded_when_busy
from shopkeeper.signin.completion import SignedIn
from shopkeeper.storage.database import Database
from shopkeeper.storage.unavailable import DatabaseUnavailable

Answer = Callable[[Request, Caller], Awaitable[Response]]
OneClick = Callable[[Request, str, str], Awaitable[Response]]
"""Shows a page with one button for a link of a kind of flow, which sends its form to an address."""
CALLBACKS = "/self-service/methods"
LARGEST_BODY = 100_000
"""Bytes of a submission, in every format. The flows are open to everybody, and no form needs more."""
LONGEST_URL = 8_192
"""Characters: every flow stores the address that opened it."""


class ErrorBudget(Protocol):
    """Limits how many errors of an address are stored for the error page."""

    async def spend(self, source: str) -> None:
        """Count one. Raises `TooManyRequests`."""
        ...


class SelfService:
    """The routes of the self-service flows."""

    def __init__(
        self,
        *,
        database: Database,
        pipeline: Pipeline,
        logout: Logout,
        callers: CallerReader,
        cookies: CookiePolicy,
        serializers: Serializers,
        clock: Clock,
        flow_responses: Mapping[str, FlowResponses],
        error_url: str,
        error_budget: ErrorBudget,
        max_body: int,
        one_click: OneClick | None = None,
    ) -> None:
        self._database = database
        self._pipeline = pipeline
        self._logout = logout
        self._callers = callers
        self._cookies = cookies
        self._serializers = serializers
        self._clock = clock
        self._flow_responses = flow_responses
        self._error_url = error_url
        self._error_budget = error_budget
        self._max_body = max_body
        self._one_click = one_click
        self._prefix = urlsplit(serializers.base_url).path

    def routes(self) -> list[Route]:
        """List the routes."""
        flows = [route for kind in self._flow_responses for route in self._flow_routes(kind)]
        return [
            *flows,
            *self._callback_routes(f"{CALLBACKS}/{{method}}/callback"),
            *self._callback_routes(f"{CALLBACKS}/{{method}}/callback/{{provider}}"),
            Route("/self-service/logout/browser", self._html_safe(self._logout_link), methods=["GET"]),
            Route("/self-service/logout/api", self._logout_native, methods=["DELETE"]),
            Route("/self-service/logout", self._html_safe(self._logout_by_link), methods=["GET"]),
            Route("/self-service/errors", self._error, methods=["GET"]),
        ]

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

        linked = isinstance(self._pipeline.handler(kind), LinkHandler)
        owned = isinstance(self._pipeline.handler(kind), OwnedFlowHandler)
        return [
            Route(f"{path}/api", open_native, methods=["GET"]),
            Route(f"{path}/browser", self._html_safe(open_browser), methods=["GET"]),
            Route(f"{path}/flows", fetch, methods=["GET"]),
            Route(path, self._html_safe(submit), methods=["POST"]),
            *([Route(path, self._html_safe(follow_link), methods=["GET"])] if linked else ()),
            *([Route(path, self._html_safe(resume), methods=["GET"])] if owned else ()),
        ]

    def _callback_routes(self, path: str) -> list[Route]:
        return [
            Route(path, self._html_safe(self._callback), methods=["GET"]),
            Route(path, self._html_safe(self._callback_by_form), methods=["POST"]),
        ]

    # -- opening and fetching ------------------------------------------------------------------------------------------

    async def _open_native(self, request: Request, kind: str) -> Response:
        caller = await self._callers.of(request)
        flow = await self._pipeline.open(kind, self._opening(request, FlowType.API), caller)
        return json_response(self._flow_for(flow, caller), headers=headers_of(caller.locale))

    async def _open_browser(self, request: Request, caller: Caller, kind: str) -> Response:
        try:
            flow = await self._pipeline.open(kind, self._opening(request, FlowType.BROWSER), caller)
        except SessionInactive:
            if prefers_json(request.headers):
                raise
            return redirect(f"{self._serializers.base_url}/self-service/login/browser", body=True)
        except SecondFactorRequired as second:
            if prefers_json(request.headers):
                raise
            return redirect(second.details["redirect_browser_to"], body=True)
        except SessionAlreadyAvailable:
            if prefers_json(request.headers):
                raise
            return redirect(self._pipeline.landing(kind, return_to=request.query_params.get("return_to")), body=True)
        if prefers_json(request.headers):
            return json_response(self._flow_for(flow, caller), headers=headers_of(caller.locale))
        return redirect(self._ui(flow.kind, flow.id), body=True)

    def _opening(self, request: Request, type_: FlowType) -> Opening:
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
        )

    async def _fetch(self, request: Request, kind: str) -> Response:
        caller, cookie = self._callers.with_csrf(await self._callers.of(request))
        headers = {"Set-Cookie": cookie} if cookie else {}
        try:
            flow = await self._pipeline.fetch(kind, request.query_params.get("id"), caller)
        except FlowRefused as refused:
            refusal = self._with_next_address(refused.refusal, kind)
            return self._callers.refuse(refusal, headers=headers, language=caller.locale)
        except Refusal as refusal:
            return self._callers.refuse(refusal, headers=headers, language=caller.locale)
        return json_response(self._flow_for(flow, caller), headers={**headers, **headers_of(caller.locale)})

    def _with_next_address(self, refusal: Refusal, kind: str) -> Refusal:
        """Add to an expired flow's refusal where to open another one, as the contract requires for fetching."""
        if not isinstance(refusal, FlowExpired):
            return refusal
        base = f"{self._serializers.base_url}/self-service/{kind}"
        native = refusal.details.get("flow_type") == FlowType.API
        opened_with = refusal.details.get("opened_with", {})
        store = urlencode({name: opened_with[name] for name in (STORE, TENANT) if name in opened_with})
        again = f"{base}/browser?{store}" if store else f"{base}/browser"
        browser = {"redirect_to": again, "return_to": opened_with.get("return_to", "")}
        refusal.details = {"api": f"{base}/api"} if native else browser
        return refusal

    def _flow_for(self, flow: Flow, caller: Caller) -> dict[str, object]:
        token = caller.csrf_for(flow) if flow.type is FlowType.BROWSER else None
        return self._serializers.flow(
            flow,
            own=self._flow_responses[flow.kind].own(flow),
            language=caller.locale,
            csrf_token=crypto.mask(token) if token else "",
        )

    # -- submitting ----------------------------------------------------------------------------------------------------

    async def _submit(self, request: Request, caller: Caller, kind: str) -> Response:
        if "token" in request.query_params and isinstance(self._pipeline.handler(kind), LinkHandler):
            return await self._follow_confirmed(request, caller, kind)
        submission, as_json = Submission(), prefers_json(request.headers)

        async def read() -> Submission:
            nonlocal submission
            submission = await self._submission(request)
            return submission

        try:
            outcome = await self._pipeline.submit(kind, request.query_params.get("flow"), read, caller)
        except FlowInvalid as invalid:
            return self._show_again(invalid.flow, caller, as_json=as_json, status=FlowInvalid.status)
        except FlowRefused as refused:
            return self._with_csrf_cookie(
                await self._refused_in(refused, submission, language=caller.locale, as_json=as_json),
                caller,
                when=_renews_csrf(refused, kind),
            )
        return self._answer(outcome, caller, as_json=as_json)

    async def _resume(self, request: Request, caller: Caller, kind: str) -> Response:
        """Do what was submitted before its sender had to sign in again. Nothing is done for requests that only look
        ahead."""
        as_json, flow_id = prefers_json(request.headers), request.query_params.get("flow")
        if is_speculative(request):
            return redirect(self._ui(kind, flow_id or ""))
        try:
            outcome = await self._pipeline.resume(kind, flow_id, caller)
        except FlowInvalid as invalid:
            answer = self._show_again(invalid.flow, caller, as_json=as_json, status=FlowInvalid.status)
        except FlowRefused as refused:
            return await self._refused_in(refused, Submission(), language=caller.locale, as_json=as_json)
        else:
            answer = self._answer(outcome, caller, as_json=as_json)
        if caller.continuity_cookies:
            answer.headers.append("Set-Cookie", self._cookies.delete_continuity())
        return answer

    async def _link(self, request: Request, caller: Caller, kind: str) -> Response:
        """Answer a mailed link. Programs that look ahead spend nothing; where one click is asked for, the page with the
        button comes first."""
        if request.method == "HEAD":
            return empty_response(200)
        if is_speculative(request):
            raise LinkLookedAhead
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
        except FlowInvalid as invalid:
            return self._show_again(invalid.flow, caller, as_json=as_json, status=FlowInvalid.status)
        except FlowRefused as refused:
            return self._with_csrf_cookie(
                await self._refused_in(refused, Submission(), language=caller.locale, as_json=as_json),
                caller,
                when=True,
            )
        if isinstance(outcome, Completed):
            outcome = replace(outcome, flow=replace(outcome.flow, type=FlowType.BROWSER))
        bound = isinstance(outcome, Updated) and outcome.flow.type is FlowType.BROWSER
        answer = self._answer(outcome, caller, as_json=as_json, by_link=True)
        return self._with_csrf_cookie(answer, caller, when=bound and not had_cookie)

    def _with_csrf_cookie(self, answer: Response, caller: Caller, *, when: bool) -> Response:
        """Set the anti-CSRF cookie that the form of a replacement is bound to, as the contract does."""
        if when:
            answer.headers.append("Set-Cookie", self._cookies.set_csrf(caller.csrf or crypto.new_csrf_token()))
        return answer

    async def _callback(self, request: Request, caller: Caller) -> Response:
        """Continue a flow when another server sends the browser back."""
        method, provider = request.path_params["method"], request.path_params.get("provider")
        query = {**request.query_params, **({"provider": provider} if provider else {})}
        try:
            outcome = await self._pipeline.callback(method, query, caller)
        except SessionAlreadyAvailable:
            return redirect(self._pipeline.landing("login"))
        except FlowInvalid as invalid:
            return self._show_again(invalid.flow, caller, as_json=False, status=FlowInvalid.status)
        except FlowRefused as refused:
            return await self._refused_in(refused, Submission(), language=caller.locale, as_json=False)
        return self._answer(outcome, caller, as_json=False)

    async def _callback_by_form(self, request: Request, caller: Caller) -> Response:
        """Redirect a callback by form (OAuth 2.0 Form Post Response Mode) to the same address by GET.

        A cross-site POST carries no Lax cookies: neither the session nor the guest's visit.
        """
        fields = parse_fields(await read_body(request, limit=self._max_body), request.headers.get("content-type", ""))
        address = self._callers.public_url(request).partition("?")[0]
        url = f"{address}?{urlencode({name: value for name, value in fields.items() if isinstance(value, str)})}"
        if len(url) > LONGEST_URL:
            raise InvalidInput(f"The address with its query has more than {LONGEST_URL} characters.")
        return redirect(url)

    def _answer(self, outcome: FlowOutcome, caller: Caller, *, as_json: bool, by_link: bool = False) -> Response:
        """Return the response to a submission, for this kind of client."""
        match outcome:
            case Updated():
                if by_link and not as_json:
                    return redirect(self._ui(outcome.flow.kind, outcome.flow.id), body=True)
                return self._updated(outcome, caller, as_json=as_json)
            case RedirectedAway():
                return self._redirected_away(outcome, language=caller.locale, as_json=as_json)
            case Replaced():
                answer = self._replaced(outcome, language=caller.locale, as_json=as_json, by_link=by_link)
                return self._with_csrf_cookie(
                    answer, caller, when=self._flow_responses[outcome.flow.kind].fetches_expired
                )
            case Completed():
                return self._finish(outcome, caller, as_json=as_json, by_link=by_link)

    async def _submission(self, request: Request) -> Submission:
        kind = request.headers.get("content-type", "")
        # A body of another type is not read at all; one that breaks off is a refusal, not a form with a message.
        body = await read_body(request, limit=self._max_body) if has_fields(kind) else b""
        try:
            fields = parse_fields(body, kind)
        except MalformedBody as broken:
            return Submission(broken=broken)
        token = fields.get("csrf_token")
        return Submission(fields=fields, csrf_token=token if isinstance(token, str) else "")

    async def _refused_in(
        self, refused: FlowRefused, submission: Submission, *, language: str, as_json: bool
    ) -> Response:
        """Redirect a browser to where it can continue. Raises the refusal if there is no such page.

        Native apps are answered in JSON, as the contract requires for their flows, even if their headers prefer HTML.
        """
        flow, refusal = refused.flow, refused.refusal
        if isinstance(refusal, SessionRefreshRequired):
            return self._confirm_first(flow, refusal, language=language, as_json=as_json)
        if as_json or flow.type is FlowType.API:
            return self._refused_in_json(flow, refusal, language)
        if isinstance(refusal, TooManyRequests | Busy):
            return await self._ask_to_wait(flow, submission, refusal)
        onward = self._where_to_continue(flow, refusal)
        if onward is None:
            raise refusal
        return redirect(onward)

    def _where_to_continue(self, flow: Flow, refusal: Refusal) -> str | None:
        """Return the address where a browser can continue after a refusal, None where there is no such page."""
        match refusal:
            case FlowExpired(use_flow_id=str(fresh)):
                return self._ui(flow.kind, fresh)
            case FlowExpired() | SessionAlreadyAvailable():
                return self._opening_again(flow)
            case SessionInactive() if flow.identity_id is not None:
                back = urlencode({"return_to": f"{self._serializers.base_url}/self-service/{flow.kind}/browser"})
                return f"{self._serializers.base_url}/self-service/login/browser?{back}"
            case SecondFactorRequired(details={"redirect_browser_to": str(url)}):
                return url
            case VerifiedAddressRequired(details={"continue_with": [{"flow": {"url": str(url)}}]}):
                return url
            case _:
                return None

    def _refused_in_json(self, flow: Flow, refusal: Refusal, language: str) -> Response:
        """Answer in JSON; some flows send such a client to the replacement of an expired one."""
        replaced, shown = (
            refusal.use_flow_id if isinstance(refusal, FlowExpired) else None,
            self._flow_responses[flow.kind],
        )
        if replaced and shown.continues and flow.type is FlowType.API:
            refusal.details = _continuing(refusal, UUID(replaced))
        elif replaced and shown.fetches_expired:
            return redirect(self._fetching(flow.kind, replaced))
        return self._callers.refuse(refusal, language=language)

    def _confirm_first(self, flow: Flow, refusal: SessionRefreshRequired, *, language: str, as_json: bool) -> Response:
        """Send a browser to a new sign-in, from which it comes back to what it has submitted."""
        as_json = as_json or flow.type is FlowType.API
        answer = self._callers.refuse(refusal, language=language) if as_json else redirect(refusal.redirect_browser_to)
        if refusal.continuity is not None:
            now = self._clock.now()
            cookie = self._cookies.set_continuity(refusal.continuity, expires_at=now + PAUSED_FOR, now=now)
            answer.headers.append("Set-Cookie", cookie)
        return answer

    async def _ask_to_wait(self, flow: Flow, submission: Submission, later: TooManyRequests | Busy) -> Response:
        """Show the reason in the form, which keeps what was typed and can be sent again."""
        await self._pipeline.show_reason(flow, submission, refusal=later)
        return redirect(self._ui(flow.kind, flow.id), status=self._flow_responses[flow.kind].invalid_status)

    def _opening_again(self, flow: Flow) -> str:
        """Return the address for the second of two clicks, or of two tabs: the flow has ended, or a session has started
        elsewhere.

        A signed-in browser is redirected from there to the end of the flow, any other to a new form. Only the next
        request shows which it is: this one may have been sent before the session's cookie arrived.
        """
        url = f"{self._serializers.base_url}/self-service/{flow.kind}/browser"
        query = urlencode(flow.opened_with)
        return f"{url}?{query}" if query else url

    def _show_again(self, flow: Flow, caller: Caller, *, as_json: bool, status: int) -> Response:
        if as_json or flow.type is FlowType.API:
            code = {ERROR_HEADER: FlowInvalid.code} if status == FlowInvalid.status else {}
            return json_response(self._flow_for(flow, caller), status, {**code, **headers_of(caller.locale)})
        return redirect(self._ui(flow.kind, flow.id), status=self._flow_responses[flow.kind].invalid_status)

    def _updated(self, outcome: Updated, caller: Caller, *, as_json: bool) -> Response:
        if outcome.saved:
            return self._saved(outcome, caller, as_json=as_json)
        answer = self._show_again(outcome.flow, caller, as_json=as_json, status=outcome.status)
        for cookie in self._session_cookies(outcome.signed_in):
            answer.headers.append("Set-Cookie", cookie)
        return answer

    def _saved(self, outcome: Updated, caller: Caller, *, as_json: bool) -> Response:
        """Answer a change: the form for JSON, with what the client can show next; HTML goes there, or back to its
        page."""
        flow, cookies = outcome.flow, self._session_cookies(outcome.signed_in)
        further = self._continue_with(flow, outcome.continue_with)
        if flow.type is FlowType.API:
            own = {"continue_with": further} if further else {}
            return json_response({**self._flow_for(flow, caller), **own})
        if outcome.csrf_token is not None:
            caller = replace(caller, csrf_tokens=(outcome.csrf_token,))
            cookies.append(self._cookies.set_csrf(outcome.csrf_token))
        next_url = outcome.next or self._ui(flow.kind, flow.id)
        if as_json:
            further.append({"action": "redirect_browser_to", "redirect_browser_to": next_url})
            answer = json_response({**self._flow_for(flow, caller), "continue_with": further})
        else:
            answer = redirect(next(iter(self._shown_next(outcome)), next_url))
        for cookie in cookies:
            answer.headers.append("Set-Cookie", cookie)
        return answer

    def _redirected_away(self, outcome: RedirectedAway, *, language: str, as_json: bool) -> Response:
        """Redirect HTML clients by 303.

        JSON clients cannot follow to another origin: their response has the address.
        """
        if as_json or outcome.flow.type is FlowType.API:
            answer = self._callers.refuse(
                BrowserLocationChangeRequired(redirect_browser_to=outcome.url), language=language
            )
        else:
            answer = redirect(outcome.url)
        if outcome.flow.type is FlowType.API:  # an app with a cookie would be refused as a browser
            return answer
        answer.headers.append("Set-Cookie", self._cookies.set_callback(outcome.cookie))
        return answer

    def _replaced(self, outcome: Replaced, *, language: str, as_json: bool, by_link: bool) -> Response:
        kind = outcome.fresh.kind
        if by_link and not as_json:
            return redirect(self._ui(kind, outcome.fresh.id), body=True)
        if as_json or outcome.flow.type is FlowType.API:
            refusal: Refusal = FlowReplaced(use_flow_id=str(outcome.fresh.id))
            if self._flow_responses[kind].continues:
                refusal = outcome.refusal or refusal
                refusal.details = _continuing(refusal, outcome.fresh.id)
            elif self._flow_responses[kind].fetches_replaced:
                return redirect(self._fetching(kind, outcome.fresh.id))
            return self._callers.refuse(refusal, language=language)
        return redirect(self._ui(outcome.fresh.kind, outcome.fresh.id))

    def _fetching(self, kind: str, flow_id: UUID | str) -> str:
        return f"{self._serializers.base_url}/self-service/{kind}/flows?id={flow_id}"

    def _finish(self, done: Completed, caller: Caller, *, as_json: bool, by_link: bool = False) -> Response:
        language, native = caller.locale, done.flow.type is FlowType.API
        if done.follow is not None and self._flow_responses[done.flow.kind].continues and (as_json or native):
            return self._followed(done, done.follow, language=language)
        if native and done.follow is not None:
            url = self._ui(done.follow.kind, done.follow.id)
            return self._callers.refuse(BrowserLocationChangeRequired(redirect_browser_to=url), language=language)
        if native:
            return json_response(self._native_success(done))
        if done.follow is not None:
            url = self._ui(done.follow.kind, done.follow.id)
            elsewhere = BrowserLocationChangeRequired(redirect_browser_to=url)
            answer = self._callers.refuse(elsewhere, language=language) if as_json else redirect(url, body=by_link)
        else:
            answer = json_response(self._spa_success(done)) if as_json else redirect(self._html_next(done))
        for cookie in self._new_cookies(done):
            answer.headers.append("Set-Cookie", cookie)
        return answer

    def _followed(self, done: Completed, follow: Flow, *, language: str) -> Response:
        """Show a flow that has ended, with the flow that follows it; a native app gets its session token there."""
        native, token = done.flow.type is FlowType.API, done.signed_in.token if done.signed_in else None
        shown = self._serializers.flow(
            replace(done.flow, state=FlowState.PASSED_CHALLENGE, messages=()),
            own=self._flow_responses[done.flow.kind].own(done.flow),
            language=language,
            csrf_token=crypto.mask(done.csrf_token) if done.csrf_token and not native else "",
        )
        further = [set_session_token(token)] if native and token else []
        further.append(continue_with(ShowSettings(follow.id), url=self._ui(follow.kind, follow.id)))
        answer = json_response({**shown, "continue_with": further}, headers=headers_of(language))
        for cookie in [] if native else self._new_cookies(done):
            answer.headers.append("Set-Cookie", cookie)
        return answer

    def _html_next(self, done: Completed) -> str:
        """Return where a browser goes: to the verification that the configuration has it shown, or where it wanted."""
        shown = self._shown_next(done)
        if done.sign_in is not None:
            shown.append(self._ui(done.sign_in.kind, done.sign_in.id))
        return next(iter(shown), done.next)

    def _shown_next(self, outcome: Completed | Updated) -> list[str]:
        """Return the pages that a browser without JavaScript is shown next."""
        return [self._ui(ui_flow(each), each.flow_id) for each in outcome.continue_with if outcome.shows_next]

    def _native_success(self, done: Completed) -> dict[str, object]:
        token = done.signed_in.token if done.signed_in else None
        own = self._flow_responses[done.flow.kind].success(self._serializers, done)
        further = [*self._continue_with(done.flow, done.continue_with), *(own.pop("continue_with", None) or ())]
        shown = {"session_token": token} if token else {}
        return {**shown, **self._session_of(done), **own, "continue_with": further or None}

    def _spa_success(self, done: Completed) -> dict[str, object]:
        further = [
            *self._continue_with(done.flow, done.continue_with),
            {"action": "redirect_browser_to", "redirect_browser_to": done.next},
        ]
        own = self._flow_responses[done.flow.kind].success(self._serializers, done)
        return {**self._session_of(done), **own, "continue_with": further}

    def _continue_with(self, flow: Flow, actions: Sequence[ContinueWith]) -> list[Wire]:
        """Return what the client can show next; a browser's actions have the addresses of the pages."""
        linked = flow.type is FlowType.BROWSER
        return [
            continue_with(action, url=self._ui(ui_flow(action), action.flow_id) if linked else None)
            for action in actions
        ]

    def _session_of(self, done: Completed) -> dict[str, object]:
        """Return the new session, and the result of the cart merge, if there was a cart."""
        if done.signed_in is None:
            return {}
        report = done.signed_in.cart_merge
        told = {"cart": cart_merge_shape(report)} if report and report.outcome is not Outcome.NOTHING else {}
        return {"session": self._serializers.session(done.signed_in.session), **told}

    def _new_cookies(self, done: Completed) -> list[str]:
        """Return the cookies of a change of privilege: a new anti-CSRF token, the session, no anonymous visit."""
        cookies = [
            self._cookies.set_csrf(done.csrf_token or crypto.new_csrf_token()),
            *self._session_cookies(done.signed_in),
        ]
        if done.signed_in and done.guest:
            cookies += self._cookies.delete_visit(store=done.flow.store)
        return cookies

    def _session_cookies(self, signed_in: SignedIn | None) -> list[str]:
        if signed_in is None or signed_in.token is None:
            return []
        session, now = signed_in.session, self._clock.now()
        return [self._cookies.set_session(signed_in.token, expires_at=session.expires_at, now=now, kept=session.kept)]

    # -- logout and errors ---------------------------------------------------------------------------------------------

    async def _logout_link(self, request: Request, caller: Caller) -> Response:
        return_to = request.query_params.get("return_to")
        token = self._logout.token(caller, return_to=return_to)
        url = f"{self._serializers.base_url}/self-service/logout?token={token}"
        return json_response({"logout_url": self._callers.add_return_to(url, return_to), "logout_token": token})

    async def _logout_by_link(self, request: Request, caller: Caller) -> Response:
        query = request.query_params
        async with self._database.unit() as unit:
            target = await self._logout.by_link(
                unit, caller, token=query.get("token", ""), return_to=query.get("return_to")
            )
        answer = empty_response() if prefers_json(request.headers) else redirect(target, body=True)
        if self._callers.carries_session_cookie(request):
            for cookie in (*self._cookies.delete_session(), self._cookies.set_csrf(crypto.new_csrf_token())):
                answer.headers.append("Set-Cookie", cookie)
        return answer

    async def _logout_native(self, request: Request) -> Response:
        fields = parse_fields(await read_body(request, limit=self._max_body), "application/json")
        token = fields.get("session_token")
        if token is not None and not isinstance(token, str):
            raise InvalidInput("The field 'session_token' must be a text.")
        async with self._database.unit() as unit:
            caller = await self._callers.of(request)
            await self._logout.native(unit, caller, session_token=token or "")
        return empty_response()

    async def _error(self, request: Request) -> Response:
        wanted = request.query_params.get("id") or request.query_params.get("error") or ""
        if wanted == "stub:500":
            return json_response(_sample(self._clock))
        async with self._database.unit() as unit:
            kept = await stored_errors.require(unit, uuid_or_none(wanted))
        shown = _in_language(kept, self._callers.language_of(request))
        document = {"id": str(kept.id), "error": shown}
        return json_response({**document, "created_at": moment(kept.created_at), "updated_at": moment(kept.updated_at)})

    # -- HTML clients see refusals on the error page -------------------------------------------------------------------

    def _html_safe(self, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        """Wrap an endpoint: read the caller, set an anti-CSRF cookie, redirect HTML clients to the error page."""

        async def endpoint(request: Request) -> Response:
            cookie = None
            try:
                caller, cookie = self._callers.with_csrf(await self._callers.of(request), when=_opens_browser(request))
                response = await answer(request, caller)
            except Refusal as refusal:
                response = await self._refused(request, refusal)
            if cookie:
                response.headers.append("Set-Cookie", cookie)
            return response

        return endpoint

    async def _refused(self, request: Request, refusal: Refusal) -> Response:
        # An error cannot be stored in the database that caused it: the browser would only wait twice.
        if prefers_json(request.headers) or isinstance(refusal, DatabaseUnavailable):
            return self._callers.refuse(refusal, language=self._callers.language_of(request))
        async with refunded_when_busy():
            try:
                await self._error_budget.spend(self._callers.client_of(request).ip)
            except TooManyRequests:  # the refusal itself, which says more
                return self._callers.refuse(refusal, language=self._callers.language_of(request))
            async with self._database.unit() as unit:
                kept = await stored_errors.keep(unit, error_object(refusal), wording=refusal.wording, clock=self._clock)
        answer = redirect(f"{self._error_url}?id={kept.id}", body=request.method == "GET")
        answer.headers["X-Error-Code"] = refusal.code
        return answer

    def _ui(self, kind: str, flow_id: UUID | str) -> str:
        return f"{self._flow_responses[kind].ui_url}?flow={flow_id}"


def _in_language(kept: StoredError, language: str) -> Mapping[str, object]:
    """Return a stored error in a language: by its wording, which is stored with it."""
    sentence = sentence_of(kept.wording, language) if kept.wording else None
    if sentence is None:
        return kept.error
    return {**kept.error, **{name: sentence for name in ("reason", "message") if name in kept.error}}


def _continuing(refusal: Refusal, fresh: UUID) -> dict[str, object]:
    """Return a refusal's details with the flow to continue with."""
    return {**refusal.details, "continue_with": [continue_with(ShowRecovery(fresh), url=None)]}


def _renews_csrf(refused: FlowRefused, kind: str) -> bool:
    """Return whether the contract sets the anti-CSRF cookie with a refusal: for an expired verification."""
    return kind == "verification" and isinstance(refused.refusal, FlowExpired)


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
