"""Refusals of the OAuth endpoints: all in the shape of RFC 6749 section 5.2."""

from collections.abc import Collection, Mapping
from typing import Final

from starlette.responses import Response

from shopkeeper.errors import Refusal
from shopkeeper.http.request_log import note
from shopkeeper.http.responses import json_response
from shopkeeper.oauth.errors import OAuthRefused

NO_STORE: Final[Mapping[str, str]] = {"Cache-Control": "no-store", "Pragma": "no-cache"}
RETRY_AFTER: Final = "1"
"""Seconds after which it is worth to ask again where no better time is known."""
CHALLENGES: Final[Mapping[str, str]] = {
    "Basic": 'Basic realm="oauth2", charset="UTF-8"',
    "Bearer": 'Bearer realm="oauth2"',
}


def refusal_response(refused: OAuthRefused | Refusal, *, schemes: Collection[str] = ("Basic",)) -> Response:
    """Return a refusal. Its word is in the log line of the request.

    What is no mistake of the client is `temporarily_unavailable`, with a status that says to ask again: 429, or 503 as
    RFC 7009 section 2.2.1 has it.

    Args:
        schemes: the schemes of `Authorization` that the endpoint takes, of which a 401 tells.
    """
    if isinstance(refused, OAuthRefused):
        error, status, description = refused.error, refused.status, refused.description
        headers: Mapping[str, str] = {}
    else:
        status, description = 503 if refused.status >= 500 else refused.status, refused.sentence
        error = "temporarily_unavailable" if status in {429, 503} else "invalid_request"
        headers = {**({"Retry-After": RETRY_AFTER} if status == 503 else {}), **refused.headers}
    note(error=error)
    answer = json_response({"error": error, "error_description": description}, status, {**NO_STORE, **headers})
    for scheme in schemes if status == 401 else ():
        answer.headers.append("WWW-Authenticate", CHALLENGES[scheme])
    return answer
