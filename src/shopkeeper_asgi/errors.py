"""Why a request is not authenticated.

AuthenticationFailed
├── TokenMissing           400  no token in any of the places
├── TokenAmbiguous         400  several tokens in one place
├── TokenInvalid           401  wrong, expired, revoked or malformed
├── SecondFactorRequired   403  valid, but the identity has a second factor that was not used
├── AccessDenied           403  the provider refuses for another reason
├── CrossSiteRequest       403  a session cookie that another site's page has sent
└── ProviderUnavailable    503  the provider did not answer in time, or not as it should
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar


class AuthenticationFailed(Exception):
    """Raised when a request is not authenticated.

    Args:
        message: a sentence for people; the provider's own, where it has sent one.
        reason: a second sentence of the provider, None without one.
    """

    status: ClassVar[int] = 401
    id: ClassVar[str] = "authentication_failed"
    """A stable code, for programs."""
    default: ClassVar[str] = "The request is not authenticated."

    def __init__(self, message: str | None = None, *, reason: str | None = None) -> None:
        self.message, self.reason = message or self.default, reason
        super().__init__(self.message)

    @property
    def headers(self) -> dict[str, str]:
        """The headers that belong to the answer."""
        return {"cache-control": "no-store"}

    def as_dict(self) -> dict[str, Any]:
        """Return the body of the answer, in the shape of Ory's errors."""
        told: dict[str, Any] = {"id": self.id, "code": self.status, "status": HTTPStatus(self.status).phrase}
        told["message"] = self.message
        return {"error": {**told, **({"reason": self.reason} if self.reason else {}), **self._details()}}

    def _details(self) -> Mapping[str, Any]:
        return {}


class TokenMissing(AuthenticationFailed):
    """Raised when a request has no token."""

    status, id, default = 400, "session_token_missing", "The request has no session token."


class TokenAmbiguous(AuthenticationFailed):
    """Raised when a request has several tokens in one place, of which a proxy may have checked another one."""

    status, id, default = 400, "session_token_ambiguous", "The request has several session tokens in one header."


class TokenInvalid(AuthenticationFailed):
    """Raised when a token is wrong, expired, revoked, malformed, or meant for another audience."""

    status, id, default = 401, "session_token_invalid", "The session token is not valid."

    @property
    def headers(self) -> dict[str, str]:
        return {**super().headers, "www-authenticate": 'Bearer error="invalid_token"'}


class SecondFactorRequired(AuthenticationFailed):
    """Raised when a session is valid, and its identity must confirm it with a second factor first.

    Args:
        redirect_browser_to: where a browser does that, None where the provider does not say.
    """

    status, id, default = 403, "session_aal2_required", "The session must be confirmed with a second factor."

    def __init__(
        self, message: str | None = None, *, reason: str | None = None, redirect_browser_to: str | None = None
    ) -> None:
        super().__init__(message, reason=reason)
        self.redirect_browser_to = redirect_browser_to

    def _details(self) -> Mapping[str, Any]:
        return {"redirect_browser_to": self.redirect_browser_to} if self.redirect_browser_to else {}


class AccessDenied(AuthenticationFailed):
    """Raised when the provider refuses a session for another reason."""

    status, id, default = 403, "access_denied", "The provider refuses this session."


class CrossSiteRequest(AuthenticationFailed):
    """Raised when a page of another site has sent a session cookie along (cross-site request forgery)."""

    status, id = 403, "cross_site_request"
    default = "A session cookie is not accepted from another site's page: send the token in a header."


class ProviderUnavailable(AuthenticationFailed):
    """Raised when the provider did not answer in time, or not as it should.

    Args:
        retry_after: seconds after which another try makes sense.
        cause: what happened, for the log; it is not part of the answer.
    """

    status, id = 503, "provider_unavailable"
    default = "The session cannot be checked at the moment: try again in a few seconds."

    def __init__(self, cause: str = "", *, retry_after: int = 5) -> None:
        super().__init__()
        self.retry_after, self.cause = retry_after, cause

    @property
    def headers(self) -> dict[str, str]:
        return {**super().headers, "retry-after": str(self.retry_after)}
