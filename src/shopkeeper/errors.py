"""The error tree: every refusal of the server.

    Refusal                      code, status, sentence
    ├── BadRequest               400
    │   ├── MalformedBody            the body cannot be read
    │   │   └── BodyIncomplete           the body ends before its announced end
    │   ├── UnknownField             an unknown field, where those are refused
    │   ├── InvalidInput             a value breaks a rule
    │   ├── InvalidCursor            a page token that is not ours
    │   ├── SessionAlreadyAvailable  signed in already
    │   ├── FlowDisabled             disabled by configuration
    │   ├── ReturnToForbidden        return_to is not on the allow-list
    │   └── StoreUnknown             no such store or tenant
    ├── Unauthenticated          401 the caller is not signed in
    │   ├── SessionInactive          a session is needed
    │   ├── FirstFactorRequired      aal2 asked for without a session
    │   ├── InvalidCredentials       wrong account or password, never said which
    │   │   └── AnotherAccount           a provider's sign-in of another account than the one that is confirmed
    │   ├── IdentityDisabled         the account is disabled
    │   ├── AdminKeyRequired         the admin API needs a key
    │   └── TokenInvalid             a token that is not ours, ended, or used up
    ├── Forbidden                403
    │   ├── CsrfViolation            the request was not made by our own page
    │   ├── VerifiedAddressRequired  no address of the account is verified yet
    │   ├── SecondFactorRequired     the session has one factor, its identity has two
    │   ├── AdminScopeMissing        the admin key may not do this
    │   ├── SessionRefreshRequired   the last sign-in is too old for this change
    │   ├── IdentityMismatch         a form of another account
    │   └── NotYours                 it does not belong to the caller
    ├── NotFound                 404
    ├── MethodNotAllowed         405
    ├── Conflict                 409
    ├── RequestTimeout           408 the body does not arrive in time
    ├── FlowExpired              410 carries when, and the flow that replaces it
    ├── FlowReplaced             410 carries the flow that replaces it
    ├── ReturnToApp              410 a browser has come back for an app, which goes on itself
    ├── PreconditionFailed       412 it was changed since the version that the request names
    ├── PayloadTooLarge          413
    ├── AddressTooLong           414 the query is too long
    ├── HostNotAllowed           421 the request is addressed to a host that is not ours
    ├── HeadersTooLarge          431 the headers are too large together
    ├── BrowserLocationChangeRequired  422 carries where the browser must go
    ├── TooManyRequests          429 carries when to come back
    ├── InternalError            500 our fault
    ├── NotBuilt                 501 part of the contract, and not built yet
    ├── LinkLookedAhead          503 a mailed link was fetched ahead; it is not spent
    ├── UpstreamFailed           502 another server failed (kinds in `http_client.py` and `openid/errors.py`)
    └── Busy                     503 carries when to come back

A refusal is raised deep inside and rendered once, by the route, in the shape of that route's contract. `code` is for
programs and never changes; `status` is for HTTP; `message` is the sentence for people; `reason` says what to do in this
case; `detail`, which `UpstreamFailed` has, is for the log. None of them ever contains a secret.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Final, Self

ERROR_HEADER: Final = "X-Error-Code"


@dataclass(frozen=True, slots=True)
class Wording:
    """What a refusal says, for translation: never its English sentence.

    `topic` tells several sentences of one code apart. `parameters` fill the gaps of the sentence.
    """

    code: str
    topic: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def to_wire(self) -> dict[str, Any]:
        """Return the wording as it is stored."""
        return {"code": self.code, "topic": self.topic, "parameters": dict(self.parameters)}

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> "Wording":
        """Return the wording that `to_wire` wrote."""
        return cls(wire["code"], wire.get("topic"), wire.get("parameters") or {})


class Refusal(Exception):
    """A request that is refused. Only its subclasses are raised.

    Args:
        reason: says in English what to do in this case.
        message: replaces the sentence of the class.
        topic: names the sentence for translation, where a code has several that shoppers read.
        parameters: the values in the sentence, by the names of its gaps.
    """

    code: ClassVar[str] = "refused"
    status: ClassVar[int] = 500
    message: str = "The request was refused."
    graphql_code: ClassVar[str | None] = None
    status_in_body: ClassVar[int | None] = None
    """The status that the body names, where the contract has another one there."""
    named_in_kratos: ClassVar[bool] = True
    """Whether Kratos' contract puts the code into the body; where it does not, it goes into a header only."""
    topic: str | None = None

    def __init__(
        self,
        reason: str | None = None,
        *,
        message: str | None = None,
        details: Mapping[str, Any] | None = None,
        topic: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(reason or message or self.message)
        self.message = message or self.message
        self.reason = reason
        self.details = dict(details or {})
        self.topic = topic or self.topic
        self.parameters = dict(parameters or {})

    def anew(self) -> Self:
        """Return the same refusal as a further exception, to be raised for a further caller.

        `copy` would call its class, whose arguments it does not know.
        """
        further = type(self).__new__(type(self), *self.args)
        further.__dict__.update(self.__dict__)
        return further

    @property
    def topic_of_class(self) -> str | None:
        """The topic of every refusal of this class."""
        return type(self).topic

    @property
    def wording(self) -> Wording:
        """What the refusal says, for translation."""
        return Wording(self.code, self.topic, self.parameters)

    @property
    def sentence(self) -> str:
        """The most specific sentence: `reason`, or else `message`."""
        return self.reason or self.message

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the response: the code, and when to come back (RFC 9110 section 10.2.3)."""
        return {ERROR_HEADER: self.code}


class BadRequest(Refusal):
    """The request cannot be served as it is."""

    code, status, named_in_kratos = "bad_request", 400, False
    message = "The request was malformed or contained invalid parameters."


class MalformedBody(BadRequest):
    """The body is not what its content type says, or nests too deep, or has too many fields."""

    code = "malformed_body"
    message = "The request body could not be read."


class BodyIncomplete(MalformedBody):
    """The client hung up in the middle of the body, or its chunks are broken (RFC 9112 sections 6.3 and 7.1)."""

    code = "body_incomplete"
    message = "The request body ends before its announced end, or its chunks cannot be read."


class UnknownField(BadRequest):
    """An unknown field in the input of the admin API, of GraphQL, or of `/signin`."""

    code = "unknown_field"
    message = "The request body has an unknown field: remove it, or correct its name."


class InvalidInput(BadRequest):
    """A value breaks a rule; the reason names the field and the rule."""

    code = "invalid_input"


class InvalidCursor(BadRequest):
    """A page token that we did not seal, or for another list."""

    code = "invalid_page_token"


class SessionAlreadyAvailable(BadRequest):
    """A login or registration was opened by a caller who is signed in."""

    code, named_in_kratos = "session_already_available", True
    message = "You are signed in already; sign out first, or ask for a refresh."


class FlowDisabled(BadRequest):
    """The flow is disabled in the configuration."""

    code, named_in_kratos = "self_service_flow_disabled", True
    message = "This flow is switched off here."


class ReturnToForbidden(BadRequest):
    """`return_to` leads to a place that is not on the allow-list."""

    code, named_in_kratos = "self_service_flow_return_to_forbidden", True
    message = "The return address is not on the list of allowed addresses."


class StoreUnknown(BadRequest):
    """The store or tenant headers name no configured store."""

    code, named_in_kratos = "store_unknown", True
    graphql_code = "STORE_UNKNOWN"
    message = "There is no such store: check the name in the request."


class Unauthenticated(Refusal):
    """The caller is not signed in, but has to be."""

    code, status, named_in_kratos = "unauthenticated", 401, False
    graphql_code = "UNAUTHENTICATED"
    message = "This needs authentication: sign in first."


class SessionInactive(Unauthenticated):
    """A valid session is needed and there is none."""

    code, named_in_kratos = "session_inactive", True
    message = "No active session was found with this request."


class FirstFactorRequired(Unauthenticated):
    """A second factor was asked for by a caller without a session."""

    code, named_in_kratos = "session_aal1_required", True
    message = "Sign in with a first factor before asking for a second."


class InvalidCredentials(Unauthenticated):
    """Wrong account or wrong password: the same answer for both, on every route."""

    code = "invalid_credentials"
    message = "Authentication failed: the e-mail address or the password is not right."


class AnotherAccount(InvalidCredentials):
    """A sign-in at a provider by another account than the one whose session is confirmed."""


class IdentityDisabled(Unauthenticated):
    """The right password for an account that is disabled."""

    code = "identity_disabled"
    message = "This account has been switched off."


class AdminKeyRequired(Unauthenticated):
    """An admin call without a valid API key."""

    code, named_in_kratos = "admin_key_required", True
    message = "The admin API needs a valid key: send it as 'Authorization: Bearer <key>'."


class TokenInvalid(Unauthenticated):
    """A token that is not ours, was changed, has ended, or was used up."""

    code, named_in_kratos = "token_invalid", True
    graphql_code = "TOKEN_INVALID"
    message = "The access token is not valid any more: POST /signin without it gives a new one."


class Forbidden(Refusal):
    """The caller is known, and not allowed to do this."""

    code, status, named_in_kratos = "forbidden", 403, False
    graphql_code = "FORBIDDEN"
    message = "You are not allowed to do this."


class CsrfViolation(Forbidden):
    """The anti-CSRF cookie and the token in the body do not belong together, or one is missing, or a page of another
    site sent the form.
    """

    code, named_in_kratos = "security_csrf_violation", True
    message = "The request may come from another site. Open a new form and send it from there."


class VerifiedAddressRequired(Forbidden):
    """Signing in needs a verified address. `details.continue_with` shows the verification that was begun.

    The contract's body says 400, beside the status 403.
    """

    code, named_in_kratos, status_in_body = "session_verified_address_required", True, 400
    message = "Please confirm your e-mail address first, and sign in then: a mail with the next step is on its way."
    graphql_code = "VERIFIED_ADDRESS_REQUIRED"


class SecondFactorRequired(Forbidden):
    """The session was authenticated with one factor, and its identity has a second one. Says where to give it."""

    code, named_in_kratos = "session_aal2_required", True
    message = "This session needs a second factor: sign in with it, then try again."

    def __init__(self, reason: str | None = None, *, redirect_browser_to: str) -> None:
        super().__init__(reason, details={"redirect_browser_to": redirect_browser_to})


class AdminScopeMissing(Forbidden):
    """An admin key whose scopes or stores do not cover the request; the reason says which key does."""

    code, named_in_kratos = "admin_scope_missing", True
    message = "This admin key may not do this."


class SessionRefreshRequired(Forbidden):
    """The sign-in is too old for this change. Says where a browser confirms that it is the owner."""

    code, named_in_kratos = "session_refresh_required", True
    message = "Please confirm that it is you: sign in again, then repeat the change."

    def __init__(self, *, redirect_browser_to: str) -> None:
        super().__init__("The last sign-in is too long ago for this change. Sign in again with refresh=true.")
        self.redirect_browser_to = redirect_browser_to
        self.continuity: str | None = None
        """The value of the cookie that binds the browser to what it submitted, where that is kept."""


class IdentityMismatch(Forbidden):
    """The form belongs to another account than the one that is signed in."""

    code, named_in_kratos = "security_identity_mismatch", True
    message = "This form belongs to another account. Open a new one."


class NotYours(Forbidden):
    """It belongs to another caller or does not exist; the answer does not say which."""

    code, named_in_kratos = "not_yours", True
    message = "This does not belong to you, or does not exist."


class NotFound(Refusal):
    """The resource does not exist."""

    code, status, named_in_kratos = "not_found", 404, False
    message = "The requested resource could not be found."


class MethodNotAllowed(Refusal):
    """The path exists, but not for this HTTP method."""

    code, status, named_in_kratos = "method_not_allowed", 405, False
    message = "This path does not support this HTTP method."


class PreconditionFailed(Refusal):
    """The version that `If-Match` names is not the one that is stored (RFC 9110, section 13.1.1)."""

    code, status, named_in_kratos = "precondition_failed", 412, False
    message = "This was changed since you read it."


class Conflict(Refusal):
    """It conflicts with something that exists."""

    code, status, named_in_kratos = "conflict", 409, False
    message = "This conflicts with something that exists already."


class FlowExpired(Refusal):
    """The flow took too long or is finished; open a new one."""

    code, status = "self_service_flow_expired", 410
    message = "This form is no longer valid; open a new one."

    def __init__(self, reason: str, *, expired_at: datetime, use_flow_id: str | None = None, **details: Any) -> None:
        super().__init__(reason, details=details)
        self.expired_at = expired_at
        self.use_flow_id = use_flow_id


class FlowReplaced(Refusal):
    """The flow cannot continue; another one has taken its place."""

    code, status = "self_service_flow_replaced", 410
    message = "This form was replaced by a new one; continue with that."

    def __init__(self, *, use_flow_id: str) -> None:
        super().__init__("Too many attempts, or the form was used already: continue with the flow in 'use_flow_id'.")
        self.use_flow_id = use_flow_id


class ReturnToApp(Refusal):
    """A browser has come back once more for an app, which was led to its session, or to the reason, the first time."""

    code, status, named_in_kratos = "return_to_app", 410, False
    message = "This sign-in goes on in the app: return to it. If it has not signed you in, begin there once more."


class BrowserLocationChangeRequired(Refusal):
    """A JSON client must send the browser to another address: another server's sign-in, or a page that comes next."""

    code, status = "browser_location_change_required", 422
    message = "The browser has to go to another address to continue."

    def __init__(self, *, redirect_browser_to: str) -> None:
        super().__init__("Send the browser to the address in 'redirect_browser_to'.")
        self.redirect_browser_to = redirect_browser_to


class RequestTimeout(Refusal):
    """The rest of the body did not arrive within the time limit."""

    code, status, named_in_kratos = "body_too_slow", 408, False
    message = "The request body did not arrive in time; send it again."


class PayloadTooLarge(Refusal):
    """The body is larger than the limit."""

    code, status = "body_too_large", 413
    message = "The request body is too large."


class HostNotAllowed(Refusal):
    """The request is addressed to a host that this port does not answer for (RFC 9110 section 15.5.20)."""

    code, status, named_in_kratos = "host_not_allowed", 421, False
    message = "This server does not answer for that host."


class AddressTooLong(Refusal):
    """The query of the address is longer than the limit."""

    code, status, named_in_kratos = "address_too_long", 414, False
    message = "The address of the request is too long: shorten its query."


class HeadersTooLarge(Refusal):
    """The headers of the request are larger together than the limit; cookies are the usual cause."""

    code, status, named_in_kratos = "headers_too_large", 431, False
    message = "The headers of the request are too large: delete the cookies of this site."


def in_seconds(count: float) -> str:
    """Return a number of seconds in words.

    >>> in_seconds(1), in_seconds(2), in_seconds(0.5)
    ('1 second', '2 seconds', '0.5 seconds')
    """
    return "1 second" if count == 1 else f"{count:.12g} seconds"


class _ComeBack(Refusal):
    def __init__(self, reason: str | None = None, *, retry_after: int) -> None:
        self.retry_after = max(1, retry_after)
        super().__init__(
            reason or f"{self.message} Try again in {in_seconds(self.retry_after)}.",
            parameters={"retry_after": self.retry_after},
        )

    @property
    def headers(self) -> Mapping[str, str]:
        return {**super().headers, "Retry-After": str(self.retry_after)}


class TooManyRequests(_ComeBack):
    """Too many attempts; wait for `retry_after` seconds."""

    code, status = "too_many_requests", 429
    graphql_code = "TOO_MANY_REQUESTS"
    message = "Too many attempts."


class InternalError(Refusal):
    """Something failed that should not have. The cause is in the log, under the request's id."""

    code, status, named_in_kratos = "internal_error", 500, False
    message = "An internal error occurred. The log has its cause under the request id."


class NotBuilt(Refusal):
    """A part of Kratos' contract that is not built yet; the reason names what to use instead."""

    code, status = "not_implemented", 501
    message = "This part of the contract is not built yet."


class UpstreamFailed(Refusal):
    """Another server did not answer as it should.

    Args:
        detail: says in English what happened, for logs and for commands. It names servers of the shop and faults of its
            configuration, so no answer and no form has it.
        reason: for people, with its `topic`.
    """

    code, status = "upstream_failed", 502
    message = "A server that is needed for this did not answer. Try again later."

    def __init__(self, detail: str | None = None, *, reason: str | None = None, topic: str | None = None) -> None:
        super().__init__(reason, topic=topic)
        self.detail = detail
        if detail is not None:
            self.args = (detail,)


class LinkLookedAhead(Refusal):
    """A mailed link was fetched ahead of a click. It is not spent; a browser opens it again when it is followed."""

    code, status, named_in_kratos = "link_looked_ahead", 503, False
    message = "This link is for being followed, not for being fetched ahead: open it by a click."

    @property
    def headers(self) -> Mapping[str, str]:
        # The link does something else once it is followed; and its address, which has the secret, is in no Referer.
        return {**super().headers, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


class Busy(_ComeBack):
    """The server has more work than it accepts; wait for `retry_after` seconds."""

    code, status = "busy", 503
    graphql_code = "BUSY"
    message = "The server is busy."
