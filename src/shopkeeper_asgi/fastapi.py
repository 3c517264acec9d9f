"""The dependency for FastAPI, which the OpenAPI document shows as security schemes.

>>> CurrentUser = Annotated[User, Depends(session_user(authenticator))]  # doctest: +SKIP
>>> MaybeUser = Annotated[User | None, Depends(session_user(authenticator, optional=True))]  # doctest: +SKIP
"""

from collections.abc import Awaitable, Callable
from inspect import Parameter, Signature
from typing import Any, Final, Literal, overload

from fastapi import HTTPException, Security, WebSocketException
from fastapi.openapi.models import APIKey, APIKeyIn, HTTPBearer
from fastapi.openapi.models import SecurityBase as SecurityModel
from fastapi.requests import HTTPConnection
from fastapi.security.base import SecurityBase

from shopkeeper_asgi.asgi import close_code, close_reason, headers_of
from shopkeeper_asgi.authenticator import Authenticator
from shopkeeper_asgi.credentials import CredentialReader
from shopkeeper_asgi.errors import AuthenticationFailed
from shopkeeper_asgi.user import User

REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "No session token, or several."},
    401: {"description": "The session token is wrong, expired or revoked."},
    403: {"description": "The session needs a second factor first, or another site's page has sent the cookie."},
    503: {"description": "The session cannot be checked at the moment."},
}
"""What a route behind the dependency answers besides, for its `responses`."""


@overload
def session_user(authenticator: Authenticator, *, optional: Literal[True]) -> Callable[..., Awaitable[User | None]]: ...


@overload
def session_user(authenticator: Authenticator, *, optional: Literal[False] = ...) -> Callable[..., Awaitable[User]]: ...


def session_user(authenticator: Authenticator, *, optional: bool = False) -> Callable[..., Awaitable[User | None]]:
    """Return a dependency that is the user of a request or a WebSocket.

    Args:
        authenticator: who verifies the tokens.
        optional: whether requests without a token pass, with None for the user.

    The dependency raises `HTTPException`, whose `detail` says why, with `id`, `code` and `message`;
    or `WebSocketException` with the code 1008 or, for an outage, 1013.
    """

    async def user(connection: HTTPConnection, **_: None) -> User | None:
        websocket = connection.scope["type"] == "websocket"
        try:
            found = await authenticator.authenticate(
                headers_of(connection.scope),
                method=connection.scope.get("method", "GET"),
                websocket=websocket,
                optional=optional,
            )
        except AuthenticationFailed as failed:
            if websocket:
                raise WebSocketException(close_code(failed), close_reason(failed)) from failed
            raise HTTPException(failed.status, failed.as_dict()["error"], failed.headers) from failed
        connection.scope["user"] = found
        return found

    # FastAPI reads what a dependency needs, and which security schemes it has, from its signature.
    shown = [
        Parameter(f"scheme_{at}", Parameter.KEYWORD_ONLY, default=Security(scheme), annotation=None)
        for at, scheme in enumerate(_schemes(authenticator.reader))
    ]
    asked = Parameter("connection", Parameter.POSITIONAL_OR_KEYWORD, annotation=HTTPConnection)
    user.__signature__ = Signature([asked, *shown])  # type: ignore[attr-defined]
    return user


class _Shown(SecurityBase):
    """A security scheme of the OpenAPI document. The dependency itself does the work for all of them."""

    def __init__(self, name: str, model: SecurityModel) -> None:
        self.scheme_name, self.model = name, model

    async def __call__(self) -> None:
        return None


def _schemes(reader: CredentialReader) -> list[_Shown]:
    """Return the places where a token may be, as alternatives."""
    headers = [_Shown(f"header {name}", _key(name, APIKeyIn.header)) for name in reader.headers]
    bearer = [_Shown("bearer", HTTPBearer())] if reader.bearer else []
    cookies = [_Shown(f"cookie {name}", _key(name, APIKeyIn.cookie)) for name in reader.cookies]
    return [*headers, *bearer, *cookies]


def _key(name: str, place: APIKeyIn) -> APIKey:
    return APIKey.model_validate({"name": name, "in": place})
