"""Responses: JSON bodies, redirects, and refusals in the shape of Kratos' error object (contract page section 1.3)."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.responses import Response

from shopkeeper.clock import Clock
from shopkeeper.errors import (
    BrowserLocationChangeRequired,
    FlowExpired,
    FlowReplaced,
    Refusal,
    SecondFactorRequired,
    SessionRefreshRequired,
)
from shopkeeper.flows.return_to import percent_encoded
from shopkeeper.http.serializers import moment

NO_STORE = "private, no-cache, no-store, must-revalidate"
_encoder = msgspec.json.Encoder()


def encode(document: Any) -> bytes:
    """Return a document as JSON bytes."""
    return _encoder.encode(document)


def json_response(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response."""
    return Response(encode(document), status, dict(headers or {}), "application/json; charset=utf-8")


def empty_response(status: int = 204, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response without a body."""
    return Response(None, status, dict(headers or {}))


def redirect(location: str, status: int = 303, *, body: bool = False) -> Response:
    """Return a redirect, with a small body for GET requests, in case the client does not follow it."""
    headers = {"Location": percent_encoded(location)}  # configured addresses may not be ASCII
    if body:
        return Response("See other.\n", status, headers, "text/html")
    return Response(status_code=status, headers=headers)


def error_response(refusal: Refusal, *, clock: Clock) -> Response:
    """Return a refusal as Kratos' error object.

    Its code is always in a header, and in the body if the contract has it.
    """
    headers = dict(refusal.headers)
    return Response(refusal_body(refusal, clock=clock), refusal.status, headers, "application/json")


def refusal_body(refusal: Refusal, *, clock: Clock) -> bytes:
    """Return Kratos' error object, encoded."""
    return encode({"error": error_object(refusal), **_beside(refusal, clock)})


def error_object(refusal: Refusal) -> dict[str, Any]:
    """Return the inner object: id, code, status, reason, details, message. Empty members are omitted."""
    optional = {"reason": refusal.reason, "details": refusal.details}
    status = refusal.status_in_body or refusal.status
    return {
        **({"id": refusal.code} if refusal.named_in_kratos else {}),
        "code": status,
        "status": HTTPStatus(status).phrase,
        **{name: value for name, value in optional.items() if value},
        "message": refusal.message,
    }


def _beside(refusal: Refusal, clock: Clock) -> dict[str, Any]:
    """Return the members besides the error: where the browser must or can go, or a flow's end and replacement."""
    if isinstance(refusal, BrowserLocationChangeRequired | SessionRefreshRequired):
        return {"redirect_browser_to": refusal.redirect_browser_to}
    if isinstance(refusal, SecondFactorRequired):
        return {"redirect_browser_to": refusal.details["redirect_browser_to"]}
    if isinstance(refusal, FlowReplaced):
        return {"use_flow_id": refusal.use_flow_id}
    if not isinstance(refusal, FlowExpired) or refusal.details:
        return {}
    since = clock.now() - refusal.expired_at
    return {
        "expired_at": moment(refusal.expired_at),
        "since": int(since.total_seconds() * 1_000_000_000),
        **({"use_flow_id": refusal.use_flow_id} if refusal.use_flow_id else {}),
    }
