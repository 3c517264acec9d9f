"""Reads and answers requests of the OAuth endpoints (RFC 6749 sections 3.2, 5.1 and 5.2).

Only forms are read, with each parameter once; nothing in the address counts, because addresses are written to logs.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from shopkeeper.errors import Refusal
from shopkeeper.http.oauth_errors import refusal_response
from shopkeeper.http.requests import FORM, read_body
from shopkeeper.oauth.errors import InvalidRequest, OAuthRefused
from shopkeeper.parsing import media_type_of

LARGEST_FORM: Final = 65_536
MOST_PARAMETERS: Final = 32


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
    except (OAuthRefused, Refusal) as refused:
        return refusal_response(refused)
