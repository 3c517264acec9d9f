"""The routes of services: `POST /oauth2/token` (RFC 6749 section 3.2) and `POST /oauth2/revoke` (RFC 7009)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.errors import MethodNotAllowed, Refusal
from shopkeeper.http.authentication import RequestAuthenticator
from shopkeeper.http.oauth_errors import NO_STORE, refusal_response
from shopkeeper.http.oauth_form import Head, read_form
from shopkeeper.http.request_log import note
from shopkeeper.http.responses import json_response
from shopkeeper.oauth.errors import InvalidRequest, OAuthRefused
from shopkeeper.oauth.grants import Issued
from shopkeeper.oauth.scopes import TARGETS
from shopkeeper.oauth.token_endpoint import TokenEndpoint
from shopkeeper.oauth.token_revocation import TokenRevocation

TOKEN_PATH: Final = "/oauth2/token"  # noqa: S105 - a path
REVOCATION_PATH: Final = "/oauth2/revoke"
_OTHER_METHODS: Final = ("GET", "PUT", "PATCH", "DELETE", "OPTIONS")


class OAuthTokenRoutes:
    """The routes. Cookies and sessions mean nothing here, and pages of other origins cannot read an answer."""

    def __init__(
        self, *, endpoint: TokenEndpoint, revocation: TokenRevocation, authenticator: RequestAuthenticator
    ) -> None:
        self._endpoint, self._revocation, self._authenticator = endpoint, revocation, authenticator

    def routes(self) -> Sequence[Route]:
        """List the routes."""
        return [
            Route(TOKEN_PATH, self._issue, methods=["POST"]),
            Route(REVOCATION_PATH, self._revoke, methods=["POST"]),
            # Other methods too are refused in the shape of this protocol.
            *(Route(path, _refuse_method, methods=_OTHER_METHODS) for path in (TOKEN_PATH, REVOCATION_PATH)),
        ]

    async def _issue(self, request: Request) -> Response:
        async def issue() -> Response:
            authorization, parameters = await _read(request)
            sender = self._authenticator.client_of(request)
            issued = await self._endpoint.issue(authorization, parameters, sender=sender)
            note(principal=f"client:{issued.said.client_id}")
            return json_response(_shown(issued), 200, NO_STORE)

        return await _answered(issue)

    async def _revoke(self, request: Request) -> Response:
        async def revoke() -> Response:
            authorization, parameters = await _read(request)
            sender = self._authenticator.client_of(request)
            await self._revocation.revoke(authorization, parameters, sender=sender)
            return Response(status_code=200, headers=dict(NO_STORE))

        return await _answered(revoke)


async def _refuse_method(request: Request) -> Response:
    answer = refusal_response(MethodNotAllowed())
    answer.headers["Allow"] = "POST"
    return answer


async def _read(request: Request) -> tuple[Sequence[str], Mapping[str, str]]:
    """Return the `Authorization` headers and the parameters. Nothing in the address counts, because addresses are
    written to logs."""
    if request.scope["query_string"]:
        raise InvalidRequest("Send all parameters in the form, and none in the address.")
    head = Head(request.scope)
    return head.authorization, await read_form(request.receive, head, lists=TARGETS)


async def _answered(answer: Callable[[], Awaitable[Response]]) -> Response:
    """Return an answer, or the refusal that it raises. No error counts as success."""
    try:
        return await answer()
    except (OAuthRefused, Refusal) as refused:
        return refusal_response(refused)


def _shown(issued: Issued) -> Mapping[str, Any]:
    said = issued.said
    optional = {
        "scope": " ".join(said.scope) or None,  # section 3.3 has no empty scope
        "refresh_token": issued.refresh_token,
        "issued_token_type": issued.issued_token_type,
    }
    return {
        "access_token": issued.access_token,
        "token_type": "Bearer",
        "expires_in": int((said.expires_at - said.issued_at).total_seconds()),
        **{name: value for name, value in optional.items() if value is not None},
    }
