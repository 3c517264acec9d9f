"""The backend for Starlette's `AuthenticationMiddleware`: `request.user` and `request.auth`.

>>> from starlette.middleware import Middleware
>>> from starlette.middleware.authentication import AuthenticationMiddleware
>>> Middleware(AuthenticationMiddleware, backend=SessionBackend(authenticator), on_error=on_error)  # doctest: +SKIP
"""

from typing import cast

from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, BaseUser
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse

from shopkeeper_asgi.asgi import headers_of
from shopkeeper_asgi.authenticator import Authenticator
from shopkeeper_asgi.errors import AuthenticationFailed

SCOPE = "authenticated"
"""The scope that `requires` asks for."""


class SessionRefused(AuthenticationError):
    """Raised for `on_error`; `failed` is why."""

    def __init__(self, failed: AuthenticationFailed) -> None:
        super().__init__(failed.message)
        self.failed = failed


class SessionBackend(AuthenticationBackend):
    """Gives a `User` the scope `authenticated`. Requests that may pass without one get Starlette's own stranger."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        """Return who sends a request. Raises `SessionRefused`."""
        try:
            user = await self._authenticator.authenticate(
                headers_of(conn.scope),
                method=conn.scope.get("method", "GET"),
                websocket=conn.scope["type"] == "websocket",
            )
        except AuthenticationFailed as failed:
            raise SessionRefused(failed) from failed
        # A `User` has all that Starlette asks of one, and the package itself must not need Starlette.
        return None if user is None else (AuthCredentials([SCOPE]), cast(BaseUser, user))


def on_error(conn: HTTPConnection, error: Exception) -> JSONResponse:
    """Answer a request that is not authenticated, with the status and the sentence of its error."""
    if not isinstance(error, SessionRefused):
        raise error
    return JSONResponse(error.failed.as_dict(), status_code=error.failed.status, headers=error.failed.headers)
