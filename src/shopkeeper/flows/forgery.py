"""Refuses forged submissions (CSRF).

A browser proves by cookie and field that the page which showed the form sends it; a native app sends neither. A script
of a known page may leave the field out where the contract has none for the method.
"""

from shopkeeper import crypto
from shopkeeper.credentials.steps import SubmissionRejected
from shopkeeper.errors import CsrfViolation
from shopkeeper.flows.flow import Caller, FlowType, Submission
from shopkeeper.flows.handler import FlowHandler, TakesScripts, Turn
from shopkeeper.ui.messages import reason

_NOT_FOR_BROWSERS = (
    "This flow is for native apps, and the request carries cookies or an Origin header as browsers send them. "
    "Open a browser flow instead."
)


def refuse_forged(handler: FlowHandler, turn: Turn) -> None:
    """Refuse a forged submission. Raises `CsrfViolation`, `SubmissionRejected` for API flows."""
    flow, submission, caller = turn.flow, turn.submission, turn.caller
    if flow.type is FlowType.API:
        if caller.from_browser:
            raise SubmissionRejected(reason("not_for_browsers", _NOT_FOR_BROWSERS))
        return
    if caller.from_foreign_page:
        raise CsrfViolation(
            "The form was sent by a page of another site, or by one that hides its site. If it is yours, add its "
            "origin to selfservice.allowed_return_urls, and set its Referrer-Policy to "
            "strict-origin-when-cross-origin.",
            details={"reject_reason": "the request comes from a page whose origin is not allowed"},
        )
    if flow.by_operator:
        return
    token = caller.csrf_for(flow)
    if token is not None and _is_script_of_known_page(submission, caller) and _omits_token(handler, turn):
        return
    if token is None or not crypto.same(crypto.unmask(submission.csrf_token), token):
        raise CsrfViolation(
            "The form was not sent by the page that showed it: send the cookies and the field 'csrf_token' of this "
            "flow, and call with credentials included.",
            details={"reject_reason": _why_forged(submission, caller)},
        )


def _omits_token(handler: FlowHandler, turn: Turn) -> bool:
    return isinstance(handler, TakesScripts) and handler.takes_scripts(turn.method)


def _is_script_of_known_page(submission: Submission, caller: Caller) -> bool:
    """Return whether a submission without a token is one that no other site's page can make a browser send: JSON needs
    the permission of CORS elsewhere (Fetch, section 3.3), and the browser says which page sends it."""
    return submission.is_json and "csrf_token" not in submission.fields and caller.from_known_page


def _why_forged(submission: Submission, caller: Caller) -> str:
    if caller.csrf is None:
        return "the anti-CSRF cookie is missing"
    return "the csrf_token does not match" if submission.csrf_token else "the csrf_token is missing from the body"
