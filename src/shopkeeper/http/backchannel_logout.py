"""The route by which providers sign people out here.

Source: OpenID Connect Back-Channel Logout 1.0, sections 2.5 to 2.8.
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.errors import MalformedBody, PayloadTooLarge
from shopkeeper.flows.backchannel_logout import BackchannelLogout
from shopkeeper.http.caller_reader import CallerReader
from shopkeeper.http.requests import FORM, parse_fields, read_body
from shopkeeper.http.responses import json_response
from shopkeeper.openid.errors import ProviderError, ProviderTokenInvalid
from shopkeeper.parsing import media_type_of

PATH: Final = "/self-service/methods/oidc/backchannel-logout/{provider}"
LARGEST_BODY: Final = 16_384
"""Bytes of a request, whose token is percent-encoded at most where its dots are."""
_HEADERS: Final = {"Cache-Control": "no-store"}


class BackchannelLogoutRoutes:
    """The route. Requests come from the provider, so cookies, sessions and `Origin` mean nothing here."""

    def __init__(self, *, logout: BackchannelLogout, callers: CallerReader) -> None:
        self._logout = logout
        self._callers = callers

    def routes(self) -> list[Route]:
        """List the routes."""
        return [Route(PATH, self._end, methods=["POST"])]

    async def _end(self, request: Request) -> Response:
        try:
            token = await self._token(request)
            await self._logout.end(request.path_params["provider"], token, client=self._callers.client_of(request))
        except (MalformedBody, PayloadTooLarge) as unreadable:
            return _refused("invalid_request", unreadable.sentence)
        except ProviderTokenInvalid:
            return _refused(
                "invalid_request", "The logout token is not valid for this provider, or was received before."
            )
        except ProviderError:
            return _refused("temporarily_unavailable", "The keys of the provider could not be fetched; send it again.")
        return Response(status_code=200, headers=_HEADERS)

    async def _token(self, request: Request) -> str:
        kind = request.headers.get("content-type", "")
        body = await read_body(request, limit=LARGEST_BODY)
        token = parse_fields(body, kind).get("logout_token") if media_type_of(kind) == FORM else None
        if not isinstance(token, str) or not token:
            raise MalformedBody(f"Send the parameter logout_token once, as {FORM}.")
        return token


def _refused(error: str, description: str) -> Response:
    """Return a refusal in the shape of section 2.8."""
    return json_response({"error": error, "error_description": description}, 400, _HEADERS)
