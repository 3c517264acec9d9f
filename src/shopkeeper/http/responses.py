"""Responses: JSON bodies, redirects, and refusals in the shape of Kratos' error object (contract page section 1.3)."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Scope

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
from shopkeeper.languages.choice import LANGUAGES, SOURCE, preferred
from shopkeeper.languages.refusals import headers_of, message_of, told

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


def error_response(refusal: Refusal, *, clock: Clock, language: str = SOURCE) -> Response:
    """Return a refusal as Kratos' error object, in a language.

    Its code is always in a header, and in the body if the contract has it.
    """
    headers = {**refusal.headers, **headers_of(language)}
    return Response(refusal_body(refusal, clock=clock, language=language), refusal.status, headers, "application/json")


def in_each_language(refusal: Refusal, *, clock: Clock) -> Mapping[str, Response]:
    """Return a refusal as `error_response` does, by language."""
    return {language: error_response(refusal, clock=clock, language=language) for language in LANGUAGES}


def language_in(scope: Scope) -> str:
    """Return the language that a request asks for in `Accept-Language`, else English: for refusals that come before
    anything else of the request is read."""
    asked = next((value for name, value in scope["headers"] if name == b"accept-language"), b"")
    return preferred(asked.decode("latin-1")) or SOURCE


def refusal_body(refusal: Refusal, *, clock: Clock, language: str = SOURCE) -> bytes:
    """Return Kratos' error object, encoded."""
    return encode({"error": error_object(refusal, language=language), **_beside(refusal, clock)})


def error_object(refusal: Refusal, *, language: str = SOURCE) -> dict[str, Any]:
    """Return the inner object: id, code, status, reason, details, message. Empty members are omitted."""
    reason = told(refusal, language) if refusal.reason else None
    optional = {"reason": reason, "details": refusal.details}
    status = refusal.status_in_body or refusal.status
    return {
        **({"id": refusal.code} if refusal.named_in_kratos else {}),
        "code": status,
        "status": HTTPStatus(status).phrase,
        **{name: value for name, value in optional.items() if value},
        "message": message_of(refusal, language),
    }


def _beside(refusal: Refusal, clock: Clock) -> dict[str, Any]:
    """Return the members besides the error: where the browser must or can go, or a flow's end and replacement."""
    if isinstance(refusal, BrowserLocationChangeRequired | SessionRefreshRequired):
        return {"redirect_browser_to": refusal.redirect_browser_to}
    if isinstance(refusal, SecondFactorRequired):
        return {"redirect_browser_to": refusal.details["redirect_browser_to"]}
    if isinstance(refusal, FlowReplaced):
        return {"use_flow_id": refusal.use_flow_id}
    if not isinstance(refusal, FlowExpired) or (refusal.details and refusal.use_flow_id is None):
        return {}
    since = clock.now() - refusal.expired_at
    return {
        "expired_at": moment(refusal.expired_at),
        "since": int(since.total_seconds() * 1_000_000_000),
        **({"use_flow_id": refusal.use_flow_id} if refusal.use_flow_id else {}),
    }
