"""Answers refused submissions of a flow, for each kind of client: browsers are redirected to where they can continue.

Addresses and statuses are Kratos' (contract page sections 2.1 and 2.5).
"""

from urllib.parse import urlencode
from uuid import UUID

from starlette.responses import Response

from shopkeeper.clock import Clock
from shopkeeper.commerce.stores import STORE, TENANT
from shopkeeper.errors import (
    Busy,
    CsrfViolation,
    FlowExpired,
    IdentityMismatch,
    Refusal,
    SecondFactorRequired,
    SessionAlreadyAvailable,
    SessionInactive,
    SessionRefreshRequired,
    TooManyRequests,
    UpstreamFailed,
    VerifiedAddressRequired,
)
from shopkeeper.flows.flow import Caller, Flow, FlowType, Submission
from shopkeeper.flows.outcomes import FlowInvalid, FlowRefused
from shopkeeper.flows.paused_submissions import PAUSED_FOR
from shopkeeper.flows.pipeline import Pipeline
from shopkeeper.http.caller_reader import CallerReader
from shopkeeper.http.cookies import CookiePolicy
from shopkeeper.http.outcome_responses import OutcomeResponses, continuing
from shopkeeper.http.responses import redirect


class RefusedFlows:
    """Makes the responses of refused submissions.

    Args:
        pipeline: stores a reason in a flow that can be submitted again.
    """

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        responses: OutcomeResponses,
        callers: CallerReader,
        cookies: CookiePolicy,
        clock: Clock,
        base_url: str,
    ) -> None:
        self._pipeline = pipeline
        self._responses = responses
        self._callers = callers
        self._cookies = cookies
        self._clock = clock
        self._base_url = base_url

    async def stopped(
        self,
        stopped: FlowInvalid | FlowRefused,
        caller: Caller,
        submission: Submission | None = None,
        *,
        as_json: bool,
        came_back: bool = False,
        by_link: bool = False,
    ) -> Response:
        """Return the answer where a flow does not go on: its form with messages, or where a browser can continue, with
        the cookie that a form there is bound to. Raises the refusal if there is no such page.

        `came_back` says that another server has sent the browser back: it has no form to return to, so that its flow
        shows the reason, unless the flow is none of its own. The flow stays open, for another attempt. `by_link` says
        that the browser has followed a mailed link, and need not be the one that the flow was opened in.
        """
        if isinstance(stopped, FlowInvalid):
            return self._responses.show_again(stopped.flow, caller, as_json=as_json, status=FlowInvalid.status)
        answer = await self._refused(
            stopped, submission or Submission(), language=caller.locale, as_json=as_json, came_back=came_back
        )
        if by_link:
            return self._responses.with_csrf_cookie(answer, caller, when=True)
        return self._responses.with_cookie_of_replacement(answer, caller, stopped)

    async def _refused(
        self, refused: FlowRefused, submission: Submission, *, language: str, as_json: bool, came_back: bool
    ) -> Response:
        """Redirect a browser to where it can continue. Raises the refusal if there is no such page.

        Native apps are answered in JSON, as the contract requires for their flows, even if their headers prefer HTML.
        """
        flow, refusal = refused.flow, refused.refusal
        if isinstance(refusal, SessionRefreshRequired):
            return self._confirm_first(flow, refusal, language=language, as_json=as_json)
        if as_json or flow.type is FlowType.API:
            return self._refused_in_json(flow, refusal, language)
        if isinstance(refusal, TooManyRequests | Busy | UpstreamFailed):
            return await self._show_reason(flow, submission, refusal)
        onward = self._where_to_continue(flow, refusal)
        if onward is not None:
            return redirect(onward)
        if came_back and not isinstance(refusal, CsrfViolation | IdentityMismatch):
            return await self._show_reason(flow, submission, refusal)
        raise refusal

    def _where_to_continue(self, flow: Flow, refusal: Refusal) -> str | None:
        """Return the address where a browser can continue after a refusal, None where there is no such page."""
        match refusal:
            case FlowExpired(use_flow_id=str(fresh)):
                return self._responses.ui(flow.kind, fresh)
            case FlowExpired() | SessionAlreadyAvailable():
                return self._opening_again(flow)
            case SessionInactive() if flow.identity_id is not None:
                back = urlencode({"return_to": f"{self._base_url}/self-service/{flow.kind}/browser"})
                return f"{self._base_url}/self-service/login/browser?{back}"
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
            self._responses.of(flow.kind),
        )
        if replaced and shown.continues and flow.type is FlowType.API:
            refusal.details = continuing(refusal, UUID(replaced))
        elif replaced and shown.fetches_expired:
            return redirect(self._responses.fetching(flow.kind, replaced))
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

    async def _show_reason(self, flow: Flow, submission: Submission, refusal: Refusal) -> Response:
        """Show the reason in the form, which keeps what was typed and can be sent again."""
        await self._pipeline.show_reason(flow, submission, refusal=refusal)
        return redirect(self._responses.ui(flow.kind, flow.id), status=self._responses.of(flow.kind).invalid_status)

    def _opening_again(self, flow: Flow) -> str:
        """Return the address for the second of two clicks, or of two tabs: the flow has ended, or a session has started
        elsewhere.

        A signed-in browser is redirected from there to the end of the flow, any other to a new form. Only the next
        request shows which it is: this one may have been sent before the session's cookie arrived.
        """
        url = f"{self._base_url}/self-service/{flow.kind}/browser"
        query = urlencode(flow.opened_with)
        return f"{url}?{query}" if query else url

    def with_next_address(self, refusal: Refusal, kind: str) -> Refusal:
        """Add to an expired flow's refusal where to open another one, as the contract requires for fetching."""
        if not isinstance(refusal, FlowExpired):
            return refusal
        base = f"{self._base_url}/self-service/{kind}"
        native = refusal.details.get("flow_type") == FlowType.API
        opened_with = refusal.details.get("opened_with", {})
        store = urlencode({name: opened_with[name] for name in (STORE, TENANT) if name in opened_with})
        again = f"{base}/browser?{store}" if store else f"{base}/browser"
        browser = {"redirect_to": again, "return_to": opened_with.get("return_to", "")}
        refusal.details = {"api": f"{base}/api"} if native else browser
        return refusal
