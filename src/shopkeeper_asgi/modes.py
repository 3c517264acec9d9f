"""What every mode is: how a token is verified."""

from collections.abc import Sequence
from typing import Protocol

from shopkeeper_asgi.cache import Clock, Verified
from shopkeeper_asgi.credentials import Credential
from shopkeeper_asgi.http_client import HttpClient


class TokenVerifier(Protocol):
    """Verifies tokens. It lives on one event loop and may keep state there."""

    async def verify(self, credential: Credential) -> Verified:
        """Return whose token it is. Raises `AuthenticationFailed`."""


class Mode(Protocol):
    """The settings of a way to verify tokens: `WhoAmI`, `Jwt`, `Introspect`, or one of your own."""

    @property
    def cookies(self) -> Sequence[str]:
        """The names of the cookies that hold a token, where the application does not say."""

    @property
    def cache_seconds(self) -> float:
        """How long a verified token is remembered at most, where the application does not say."""

    def verifier(self, http: HttpClient, now: Clock) -> TokenVerifier:
        """Return what verifies; called once in each process. It runs on one event loop."""
