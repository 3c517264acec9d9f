"""The door to the self-service flows: `/self-service/{login,registration,logout}` and `/self-service/errors`.

Paths, statuses and headers are Kratos' (contract page sections 1.1, 2.1, 2.5). The three kinds of client differ here
and nowhere else: HTML is redirected, JSON is answered, native apps get a session token.
"""

from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlencode
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper import crypto
from shopkeeper.clock import Clock
from shopkeeper.commerce.port import Outcome
from shopkeeper.errors import (
    Busy,
    FlowExpired,
    InvalidInput,
    MalformedBody,
    Refusal,
    SessionAlreadyAvailable,
    TooManyRequests,
)
from shopkeeper.flows import errors
from shopkeeper.flows.flow import STORE, TENANT, Caller, Flow, FlowType, Opening, Submission
from shopkeeper.flows.logout import Logout
from shopkeeper.flows.pipeline import Done, FlowInvalid, NextForm, Pipeline
from shopkeeper.http.answering import ERROR_HEADER, empty_answer, error_object, json_answer, redirect
from shopkeeper.http.caller_reader import CallerReader
from shopkeeper.http.presentations import Presentation
from shopkeeper.http.reading import parse_fields, prefers_json, read_body
from shopkeeper.http.shapes import Shapes, hand_over_shape, moment
from shopkeeper.incoming import uuid_or_none
from shopkeeper.sessions.cookies import CookiePolicy, new_csrf_token
from shopkeeper.storage.database import Database

Answer = Callable[[Request, Caller], Awaitable[Response]]
LONGEST_URL = 8_192
"""Characters: every flow that is opened keeps the address it was asked for with."""


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
        shapes: Shapes,
        clock: Clock,
        presentations: Mapping[str, Presentation],
        error_url: str,
        max_body: int,
    ) -> None:
        self._database = database
        self._pipeline = pipeline
        self._logout = logout
        self._callers = callers
        self._cookies = cookies
        self._shapes = shapes
        self._clock = clock
        self._presentations = presentations
        self._error_url = error_url
        self._max_body = max_body

    def routes(self) -> list[Route]:
        """Every route of this door."""
        flows = [route for kind in self._presentations for route in self._flow_routes(kind)]
        return [
            *flows,
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

        return [
            Route(f"{path}/api", open_native, methods=["GET"]),
            Route(f"{path}/browser", self._html_safe(open_browser), methods=["GET"]),
            Route(f"{path}/flows", fetch, methods=["GET"]),
            Route(path, self._html_safe(submit), methods=["POST"]),
        ]

    # -- opening and fetching ------------------------------------------------------------------------------------------

    async def _open_native(self, request: Request, kind: str) -> Response:
        caller = await self._callers.of(request)
        flow = await self._open(kind, self._opening(request, FlowType.API), caller)
        return json_answer(self._flow_for(flow, caller))

    async def _open_browser(self, request: Request, caller: Caller, kind: str) -> Response:
        try:
            flow = await self._open(kind, self._opening(request, FlowType.BROWSER), caller)
        except SessionAlreadyAvailable:
            if prefers_json(request.headers):
                raise
            return redirect(self._pipeline.landing(kind, return_to=request.query_params.get("return_to")), body=True)
        if prefers_json(request.headers):
            return json_answer(self._flow_for(flow, caller))
        return redirect(self._ui(flow.kind, flow.id), body=True)

    async def _open(self, kind: str, opening: Opening, caller: Caller) -> Flow:
        async with self._database.unit() as unit:
            return await self._pipeline.open(unit, kind, opening, caller)

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
            async with self._database.unit() as unit:
                flow = await self._pipeline.fetch(unit, kind, request.query_params.get("id"), caller)
        except FlowExpired as over:
            return self._callers.refuse(self._told_where(over, kind), headers=headers)
        except Refusal as refusal:
            return self._callers.refuse(refusal, headers=headers)
        return json_answer(self._flow_for(flow, caller), headers=headers)

    def _told_where(self, over: FlowExpired, kind: str) -> FlowExpired:
        base = f"{self._shapes.base_url}/self-service/{kind}"
        native = over.details.get("flow_type") == FlowType.API
        opened_with = over.details.get("opened_with", {})
        store = urlencode({name: opened_with[name] for name in (STORE, TENANT) if name in opened_with})
        again = f"{base}/browser?{store}" if store else f"{base}/browser"
        told = {"redirect_to": again, "return_to": opened_with.get("return_to", "")}
        over.details = {"api": f"{base}/api"} if native else told
        return over

    def _flow_for(self, flow: Flow, caller: Caller) -> dict[str, object]:
        token = crypto.mask(caller.csrf) if flow.type is FlowType.BROWSER and caller.csrf else ""
        return self._shapes.flow(flow, own=self._presentations[flow.kind].own(flow), csrf_token=token)

    # -- submitting ----------------------------------------------------------------------------------------------------

    async def _submit(self, request: Request, caller: Caller, kind: str) -> Response:
        submission = await self._submission(request)
        as_json = prefers_json(request.headers)
        try:
            async with self._database.unit() as unit:
                outcome = await self._pipeline.submit(unit, kind, request.query_params.get("flow"), submission, caller)
        except FlowInvalid as invalid:
            return self._show_again(invalid.flow, caller, as_json=as_json, status=FlowInvalid.status)
        except Refusal as refusal:
            if as_json:
                raise
            return await self._lead_on(request, kind, submission, caller, refusal)
        if isinstance(outcome, NextForm):
            return self._show_again(outcome.flow, caller, as_json=as_json, status=outcome.status)
        return self._finish(outcome, as_json=as_json)

    async def _submission(self, request: Request) -> Submission:
        body = await read_body(request, limit=self._max_body)
        try:
            fields = parse_fields(body, request.headers.get("content-type", ""))
        except MalformedBody as broken:
            return Submission(broken=broken.sentence)
        token = fields.get("csrf_token")
        return Submission(fields=fields, csrf_token=token if isinstance(token, str) else "")

    async def _lead_on(
        self, request: Request, kind: str, submission: Submission, caller: Caller, refusal: Refusal
    ) -> Response:
        """People in front of a form are led to where they can go on; raises the refusal where there is no such place.

        Apps are answered in JSON, as the contract has it for their flows, whatever their headers say they prefer.
        """
        async with self._database.unit() as unit:
            flow = await self._pipeline.get(unit, kind, request.query_params.get("flow"))
        if flow is None:
            raise refusal
        if flow.type is FlowType.API:
            return self._callers.refuse(refusal)
        match refusal:
            case TooManyRequests() | Busy():
                return await self._ask_to_wait(flow, submission, caller, refusal)
            case FlowExpired(use_flow_id=str(fresh)):
                return redirect(self._ui(flow.kind, fresh))
            case FlowExpired() | SessionAlreadyAvailable():
                return self._begin_again(flow)
            case _:
                raise refusal

    async def _ask_to_wait(
        self, flow: Flow, submission: Submission, caller: Caller, later: TooManyRequests | Busy
    ) -> Response:
        """They are told in the form, which keeps what they wrote, and can try again there."""
        async with self._database.unit() as unit:
            await self._pipeline.tell(unit, flow.kind, str(flow.id), submission, caller, reason=later.sentence)
        return redirect(self._ui(flow.kind, flow.id), status=self._presentations[flow.kind].invalid_status)

    def _begin_again(self, flow: Flow) -> Response:
        """The second of two clicks, or of two tabs: the flow has done its work, or a session has come in another way.

        A browser that is signed in is sent on from here to where the flow was to end, and any other gets a new form.
        Which of them it is shows in its next request: the session's cookie may still have been under way to it.
        """
        url = f"{self._shapes.base_url}/self-service/{flow.kind}/browser"
        query = urlencode(flow.opened_with)
        return redirect(f"{url}?{query}" if query else url)

    def _show_again(self, flow: Flow, caller: Caller, *, as_json: bool, status: int) -> Response:
        if as_json or flow.type is FlowType.API:
            headers = {ERROR_HEADER: FlowInvalid.code} if status == FlowInvalid.status else None
            return json_answer(self._flow_for(flow, caller), status, headers)
        return redirect(self._ui(flow.kind, flow.id), status=self._presentations[flow.kind].invalid_status)

    def _finish(self, done: Done, *, as_json: bool) -> Response:
        if done.flow.type is FlowType.API:
            return json_answer(self._native_success(done))
        answer = json_answer(self._spa_success(done)) if as_json else redirect(done.return_to)
        for cookie in self._new_cookies(done):
            answer.headers.append("Set-Cookie", cookie)
        return answer

    def _native_success(self, done: Done) -> dict[str, object]:
        session = {"session_token": done.signed_in.token, **self._session_of(done)} if done.signed_in else {}
        return {**session, **self._presentations[done.flow.kind].success(self._shapes, done)}

    def _spa_success(self, done: Done) -> dict[str, object]:
        further = [{"action": "redirect_browser_to", "redirect_browser_to": done.return_to}]
        own = self._presentations[done.flow.kind].success(self._shapes, done)
        return {**self._session_of(done), **own, "continue_with": further}

    def _session_of(self, done: Done) -> dict[str, object]:
        """The new session, and what became of the guest's cart, where there was one."""
        if done.signed_in is None:
            return {}
        report = done.signed_in.hand_over
        told = {"cart": hand_over_shape(report)} if report and report.outcome is not Outcome.NOTHING else {}
        return {"session": self._shapes.session(done.signed_in.session), **told}

    def _new_cookies(self, done: Done) -> list[str]:
        """A new anti-CSRF token at every change of privilege, and the session, and no more anonymous visit."""
        cookies = [self._cookies.csrf_line(new_csrf_token())]
        if done.signed_in:
            expires_at, now = done.signed_in.session.expires_at, self._clock.now()
            cookies.append(self._cookies.session_line(done.signed_in.token, expires_at=expires_at, now=now))
            cookies.extend([self._cookies.visit_cleared(store=done.flow.store)] if done.guest else [])
        return cookies

    # -- logout and errors ---------------------------------------------------------------------------------------------

    async def _logout_link(self, request: Request, caller: Caller) -> Response:
        return_to = request.query_params.get("return_to")
        token = self._logout.token(caller, return_to=return_to)
        url = f"{self._shapes.base_url}/self-service/logout?token={token}"
        return json_answer({"logout_url": self._callers.add_return_to(url, return_to), "logout_token": token})

    async def _logout_by_link(self, request: Request, caller: Caller) -> Response:
        query = request.query_params
        async with self._database.unit() as unit:
            target = await self._logout.by_link(
                unit, caller, token=query.get("token", ""), return_to=query.get("return_to")
            )
        answer = empty_answer() if prefers_json(request.headers) else redirect(target, body=True)
        if self._callers.carries_session_cookie(request):
            answer.headers.append("Set-Cookie", self._cookies.session_cleared())
            answer.headers.append("Set-Cookie", self._cookies.csrf_line(new_csrf_token()))
        return answer

    async def _logout_native(self, request: Request) -> Response:
        fields = parse_fields(await read_body(request, limit=self._max_body), "application/json")
        token = fields.get("session_token")
        async with self._database.unit() as unit:
            caller = await self._callers.of(request)
            await self._logout.native(unit, caller, session_token=token if isinstance(token, str) else "")
        return empty_answer()

    async def _error(self, request: Request) -> Response:
        wanted = request.query_params.get("id") or request.query_params.get("error") or ""
        if wanted == "stub:500":
            return json_answer(_sample(self._clock))
        async with self._database.unit() as unit:
            kept = await errors.require(unit, uuid_or_none(wanted))
        document = {"id": str(kept.id), "error": kept.error}
        return json_answer({**document, "created_at": moment(kept.created_at), "updated_at": moment(kept.updated_at)})

    # -- HTML clients see refusals on the error page -------------------------------------------------------------------

    def _html_safe(self, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        """Reads the caller; lends browsers an anti-CSRF cookie; sends HTML clients to the error page on a refusal."""

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
        if prefers_json(request.headers):
            return self._callers.refuse(refusal)
        async with self._database.unit() as unit:
            kept = await errors.keep(unit, error_object(refusal), clock=self._clock)
        answer = redirect(f"{self._error_url}?id={kept.id}", body=request.method == "GET")
        answer.headers["X-Error-Code"] = refusal.code
        return answer

    def _ui(self, kind: str, flow_id: UUID | str) -> str:
        return f"{self._presentations[kind].ui_url}?flow={flow_id}"


def _opens_browser(request: Request) -> bool:
    path = request.scope["path"]  # never the URL object: a malformed Host changes what it says
    return path.endswith("/browser") and "/logout/" not in path


def _sample(clock: Clock) -> dict[str, object]:
    """What the contract answers to `id=stub:500`: an example for people who build an error page."""
    now = moment(clock.now())
    error = {
        "code": 500,
        "status": "Internal Server Error",
        "reason": "This is an example, made to try an error page with.",
        "message": "Something went wrong on our side.",
    }
    return {"id": str(crypto.new_id()), "error": error, "created_at": now, "updated_at": now}
