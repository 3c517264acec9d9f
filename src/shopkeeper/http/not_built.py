"""Routes of Kratos' contract that are not built yet. They answer 501 with a sentence, so that no client takes a missing
feature for a mistyped address. Remove an entry when its feature is added.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.errors import NotBuilt

_PROVIDERS: Final = "Signing in with a provider is not built yet: offer a password or a one-time code."
_KEYS: Final = "Passkeys and security keys are not built yet: offer a password or a one-time code."
_TEST_LOGIN: Final = "Test logins are not built yet: try a provider's settings with an ordinary login flow."

PUBLIC: Final[Mapping[tuple[str, str], str]] = {
    ("GET", "/.well-known/ory/webauthn.js"): _KEYS,
    ("GET", "/self-service/fed-cm/parameters"): _PROVIDERS,
    ("POST", "/self-service/fed-cm/token"): _PROVIDERS,
    ("DELETE", "/self-service/login/test"): _TEST_LOGIN,
}
ADMIN: Final[Mapping[tuple[str, str], str]] = {
    ("POST", "/test-login-flows"): _TEST_LOGIN,
}


def not_built_routes(instead: Mapping[tuple[str, str], str]) -> Sequence[Route]:
    """List the routes; `instead` is what to use instead, by method and path."""
    return [_route(method, path, reason) for (method, path), reason in instead.items()]


def _route(method: str, path: str, reason: str) -> Route:
    async def refuse(request: Request) -> Response:
        raise NotBuilt(reason)

    return Route(path, refuse, methods=[method])
