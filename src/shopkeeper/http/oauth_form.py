"""Reads and answers requests of the OAuth endpoints (RFC 6749 sections 3.2, 5.1 and 5.2).

Only forms are read, with each parameter once; nothing in the address counts, because addresses are written to logs.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from shopkeeper.errors import BadRequest, Busy, Refusal, TooManyRequests
from shopkeeper.http.request_log import note
from shopkeeper.http.requests import FORM, read_body
from shopkeeper.http.responses import json_response
from shopkeeper.oauth.errors import InvalidRequest, OAuthRefused
from shopkeeper.parsing import media_type_of

LARGEST_FORM: Final = 65_536
MOST_PARAMETERS: Final = 32
NO_STORE: Final[Mapping[str, str]] = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_CHALLENGE: Final = 'Basic realm="oauth2", charset="UTF-8"'


async def read_form(request: Request) -> Mapping[str, str]:
    """Return the parameters of a form. One without a value counts as missing (section 3.1).

    Raises `InvalidRequest` where a parameter is repeated, and `PayloadTooLarge`.
    """
    if request.scope["query_string"]:
        raise InvalidRequest("Send all parameters in the form, and none in the address.")
    if media_type_of(request.headers.get("content-type", "")) != FORM:
        raise InvalidRequest(f"Send the parameters as {FORM}.")
    body = await read_body(request, limit=LARGEST_FORM)
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_PARAMETERS, errors="strict")
    except ValueError as broken:
        raise InvalidRequest("The form cannot be read, or has too many parameters.") from broken
    if len({name for name, _ in pairs}) < len(pairs):
        raise InvalidRequest("Send each parameter once.")
    return {name: value for name, value in pairs if value}


def authorization_of(request: Request) -> list[str]:
    """Return every `Authorization` header of a request."""
    return request.headers.getlist("authorization")


async def answered(answer: Callable[[], Awaitable[Response]]) -> Response:
    """Return an answer, or the refusal that it raises in the shape of section 5.2. No error counts as success."""
    try:
        return await answer()
    except OAuthRefused as refused:
        headers = {"WWW-Authenticate": _CHALLENGE} if refused.status == 401 else {}
        return refusal(refused.error, refused.description, refused.status, headers)
    except Refusal as refused:
        error = _error_of(refused)
        if error is None:
            raise
        return refusal(error, refused.sentence, refused.status, refused.headers)


def refusal(error: str, description: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """Return a refusal in the shape of section 5.2."""
    note(error=error)
    body: Mapping[str, Any] = {"error": error, "error_description": description}
    return json_response(body, status, {**NO_STORE, **(headers or {})})


def _error_of(refused: Refusal) -> str | None:
    """Return the word for a refusal that is no error of OAuth; None where there is none."""
    if isinstance(refused, Busy | TooManyRequests):
        return "temporarily_unavailable"
    return "invalid_request" if isinstance(refused, BadRequest) or refused.status == 413 else None
