"""Answers what has become of a submission, for each kind of client.

Statuses, headers and cookies are Kratos' (contract page sections 2.1 and 2.5). The three kinds of client differ here:
HTML is redirected, JSON is answered, native apps get a session token.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from starlette.responses import Response

from shopkeeper import crypto
from shopkeeper.clock import Clock
from shopkeeper.commerce.port import Outcome
from shopkeeper.errors import (
    ERROR_HEADER,
    BrowserLocationChangeRequired,
    FlowExpired,
    FlowReplaced,
    InvalidInput,
    Refusal,
)
from shopkeeper.flows.continue_with import ContinueWith, ShowRecovery, ShowSettings
from shopkeeper.flows.flow import VERIFICATION, Caller, Flow, FlowState, FlowType
from shopkeeper.flows.outcomes import (
    BackToApp,
    Completed,
    Diverted,
    FlowInvalid,
    FlowOutcome,
    FlowRefused,
    LedOn,
    RedirectedAway,
    Replaced,
    Updated,
)
from shopkeeper.http.caller_reader import CallerReader
from shopkeeper.http.cookies import CookiePolicy
from shopkeeper.http.flow_responses import FlowResponses
from shopkeeper.http.responses import json_response, redirect
from shopkeeper.http.serializers import (
    Serializers,
    Wire,
    cart_merge_shape,
    continue_with,
    set_session_token,
    ui_flow,
)
from shopkeeper.languages.refusals import headers_of
from shopkeeper.signin.completion import SignedIn

_USED_UP = "The code was used already, or a wrong one too often. Continue with the flow in 'details.continue_with'."


class OutcomeResponses:
    """Makes the responses of the outcomes of submissions.

    Args:
        caller_in: returns the caller as the store of a flow knows them, with the language that it is shown in.
    """

    def __init__(
        self,
        *,
        callers: CallerReader,
        cookies: CookiePolicy,
        serializers: Serializers,
        clock: Clock,
        flow_responses: Mapping[str, FlowResponses],
        caller_in: Callable[[Flow, Caller], Caller],
    ) -> None:
        self._callers = callers
        self._cookies = cookies
        self._serializers = serializers
        self._clock = clock
        self._flow_responses = flow_responses
        self._caller_in = caller_in

    def of(self, kind: str) -> FlowResponses:
        """Return how a kind of flow is shown."""
        return self._flow_responses[kind]

    def flow(self, flow: Flow, caller: Caller) -> dict[str, object]:
        token = caller.csrf_for(flow) if flow.type is FlowType.BROWSER else None
        return self._serializers.flow(
            flow,
            own=self._flow_responses[flow.kind].own(flow),
            language=self._language(flow, caller),
            csrf_token=crypto.mask(token) if token else "",
        )

    def language_headers(self, flow: Flow, caller: Caller) -> Mapping[str, str]:
        """Return the headers of the language that a flow is shown in."""
        return headers_of(self._language(flow, caller))

    def answer(self, outcome: FlowOutcome, caller: Caller, *, as_json: bool, by_link: bool = False) -> Response:
        """Return the response to a submission, for this kind of client."""
        match outcome:
            case Updated():
                return self._updated(outcome, caller, as_json=as_json, by_link=by_link)
            case RedirectedAway():
                return self._redirected_away(outcome, language=caller.locale, as_json=as_json)
            case Replaced():
                answer = self._replaced(outcome, language=caller.locale, as_json=as_json, by_link=by_link)
                renews = self._flow_responses[outcome.flow.kind].fetches_expired
                return self.with_csrf_cookie(answer, caller, when=renews or _needs_cookie(outcome.fresh.type, caller))
            case BackToApp() | LedOn():
                return redirect(outcome.url)
            case Diverted():
                answer = self.show_again(outcome.fresh, caller, as_json=as_json, status=FlowInvalid.status)
                return self.with_csrf_cookie(answer, caller, when=_needs_cookie(outcome.fresh.type, caller))
            case Completed():
                return self._finish(outcome, caller, as_json=as_json, by_link=by_link)

    def answer_callback(self, outcome: FlowOutcome, caller: Caller) -> Response:
        """Return the response to a callback. It comes in a browser, also where an app has begun the flow."""
        if isinstance(outcome, RedirectedAway):
            return self._binding(redirect(outcome.url), outcome)
        return self.answer(outcome, caller, as_json=False)

    def show_again(self, flow: Flow, caller: Caller, *, as_json: bool, status: int) -> Response:
        if as_json or flow.type is FlowType.API:
            code = {ERROR_HEADER: FlowInvalid.code} if status == FlowInvalid.status else {}
            return json_response(self.flow(flow, caller), status, {**code, **self.language_headers(flow, caller)})
        return redirect(self.ui(flow.kind, flow.id), status=self._flow_responses[flow.kind].invalid_status)

    def with_csrf_cookie(self, answer: Response, caller: Caller, *, when: bool) -> Response:
        """Set the anti-CSRF cookie that the form of a replacement is bound to, as the contract does."""
        if when and caller.csrf_for_new is not None:
            answer.headers.append("Set-Cookie", self._cookies.set_csrf(caller.csrf_for_new))
        return answer

    def with_cookie_of_replacement(self, answer: Response, caller: Caller, refused: FlowRefused) -> Response:
        """Set the anti-CSRF cookie where a refusal leads to another flow: always where the contract does, else for a
        browser without one."""
        flow, refusal = refused.flow, refused.refusal
        if not isinstance(refusal, FlowExpired):
            return answer
        needs = refusal.use_flow_id is not None and _needs_cookie(flow.type, caller)
        return self.with_csrf_cookie(answer, caller, when=needs or flow.kind == VERIFICATION)

    def _language(self, flow: Flow, caller: Caller) -> str:
        """Return the language that a flow is shown in: where the caller's is not known, that of the flow's store."""
        return self._caller_in(flow, caller).locale

    def _updated(self, outcome: Updated, caller: Caller, *, as_json: bool, by_link: bool) -> Response:
        if by_link and not as_json:
            return redirect(self.ui(outcome.flow.kind, outcome.flow.id), body=True)
        if outcome.saved:
            return self._saved(outcome, caller, as_json=as_json)
        answer = self.show_again(outcome.flow, caller, as_json=as_json, status=outcome.status)
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
            return json_response({**self.flow(flow, caller), **own}, headers=self.language_headers(flow, caller))
        if outcome.csrf_token is not None:
            caller = replace(caller, csrf_tokens=(outcome.csrf_token,))
            cookies.append(self._cookies.set_csrf(outcome.csrf_token))
        next_url = outcome.next or self.ui(flow.kind, flow.id)
        if as_json:
            further.append({"action": "redirect_browser_to", "redirect_browser_to": next_url})
            shown = {**self.flow(flow, caller), "continue_with": further}
            answer = json_response(shown, headers=self.language_headers(flow, caller))
        else:
            answer = redirect(next(iter(self._shown_next(outcome)), next_url))
        for cookie in cookies:
            answer.headers.append("Set-Cookie", cookie)
        return answer

    def exchanged(self, signed_in: SignedIn) -> Wire:
        """Return the session that waited for an app, with its token."""
        return {"session_token": signed_in.token, **self._session_of(signed_in)}

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
        return self._binding(answer, outcome)

    def _binding(self, answer: Response, outcome: RedirectedAway) -> Response:
        """Set the cookie that binds the client to its flow, where there is one."""
        if outcome.cookie is not None:
            answer.headers.append("Set-Cookie", self._cookies.set_callback(outcome.cookie))
        return answer

    def _replaced(self, outcome: Replaced, *, language: str, as_json: bool, by_link: bool) -> Response:
        kind = outcome.fresh.kind
        if by_link and not as_json:
            return redirect(self.ui(kind, outcome.fresh.id), body=True)
        if as_json or outcome.flow.type is FlowType.API:
            refusal: Refusal = FlowReplaced(use_flow_id=str(outcome.fresh.id))
            if self._flow_responses[kind].continues:
                refusal = outcome.refusal or InvalidInput(_USED_UP)
                refusal.details = continuing(refusal, outcome.fresh.id)
            elif self._flow_responses[kind].fetches_replaced:
                return redirect(self.fetching(kind, outcome.fresh.id))
            return self._callers.refuse(refusal, language=language)
        return redirect(self.ui(outcome.fresh.kind, outcome.fresh.id))

    def _finish(self, done: Completed, caller: Caller, *, as_json: bool, by_link: bool = False) -> Response:
        language, native = caller.locale, done.flow.type is FlowType.API
        if done.follow is not None and self._flow_responses[done.flow.kind].continues and (as_json or native):
            return self._followed(done, done.follow, language=language)
        if native and done.follow is not None:
            url = self.ui(done.follow.kind, done.follow.id)
            return self._callers.refuse(BrowserLocationChangeRequired(redirect_browser_to=url), language=language)
        if native:
            return json_response(self._native_success(done))
        if done.follow is not None:
            url = self.ui(done.follow.kind, done.follow.id)
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
        further.append(continue_with(ShowSettings(follow.id), url=self.ui(follow.kind, follow.id)))
        answer = json_response({**shown, "continue_with": further}, headers=headers_of(language))
        for cookie in [] if native else self._new_cookies(done):
            answer.headers.append("Set-Cookie", cookie)
        return answer

    def _html_next(self, done: Completed) -> str:
        """Return where a browser goes: to the verification that the configuration has it shown, or where it wanted."""
        shown = self._shown_next(done)
        if done.sign_in is not None:
            shown.append(self.ui(done.sign_in.kind, done.sign_in.id))
        return next(iter(shown), done.next)

    def _shown_next(self, outcome: Completed | Updated) -> list[str]:
        """Return the pages that a browser without JavaScript is shown next."""
        return [self.ui(ui_flow(each), each.flow_id) for each in outcome.continue_with if outcome.shows_next]

    def _native_success(self, done: Completed) -> dict[str, object]:
        token = done.signed_in.token if done.signed_in else None
        own = self._flow_responses[done.ended_as].success(self._serializers, done)
        further = [*self._continue_with(done.flow, done.continue_with), *(own.pop("continue_with", None) or ())]
        shown = {"session_token": token} if token else {}
        return {**shown, **self._session_of(done.signed_in), **own, "continue_with": further or None}

    def _spa_success(self, done: Completed) -> dict[str, object]:
        further = [
            *self._continue_with(done.flow, done.continue_with),
            {"action": "redirect_browser_to", "redirect_browser_to": done.next},
        ]
        own = self._flow_responses[done.ended_as].success(self._serializers, done)
        return {**self._session_of(done.signed_in), **own, "continue_with": further}

    def _continue_with(self, flow: Flow, actions: Sequence[ContinueWith]) -> list[Wire]:
        """Return what the client can show next; a browser's actions have the addresses of the pages."""
        linked = flow.type is FlowType.BROWSER
        return [
            continue_with(action, url=self.ui(ui_flow(action), action.flow_id) if linked else None)
            for action in actions
        ]

    def _session_of(self, signed_in: SignedIn | None) -> dict[str, object]:
        """Return the new session, and the result of the cart merge, if there was a cart."""
        if signed_in is None:
            return {}
        report = signed_in.cart_merge
        told = {"cart": cart_merge_shape(report)} if report and report.outcome is not Outcome.NOTHING else {}
        return {"session": self._serializers.session(signed_in.session), **told}

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

    def fetching(self, kind: str, flow_id: UUID | str) -> str:
        return f"{self._serializers.base_url}/self-service/{kind}/flows?id={flow_id}"

    def ui(self, kind: str, flow_id: UUID | str) -> str:
        return f"{self._flow_responses[kind].ui_url}?flow={flow_id}"


def _needs_cookie(type_: FlowType, caller: Caller) -> bool:
    """Return whether a browser has to get the anti-CSRF cookie that its new flow is bound to."""
    return type_ is FlowType.BROWSER and caller.csrf is None and caller.fresh_csrf is not None


def continuing(refusal: Refusal, fresh: UUID) -> dict[str, object]:
    """Return a refusal's details with the flow to continue with."""
    return {**refusal.details, "continue_with": [continue_with(ShowRecovery(fresh), url=None)]}
