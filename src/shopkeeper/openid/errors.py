"""What goes wrong between us and an identity provider.

::

    UpstreamFailed                   502
    └── ProviderError                502 something is wrong at a provider, or between us and it
        ├── ProviderUnavailable      502 it is down or slow, or was so a moment ago
        │   └── ProviderAskedTooOften    502 it says that it is asked too often
        ├── ProviderAnswerInvalid    502 it answered something that we cannot use
        ├── AuthorizationRefused     400 it sent the shopper back without a sign-in
        └── ProviderTokenInvalid     400 an ID token or logout token is not valid

Shoppers read the message of the class. `detail` says what happened, for the log; `cause` says it in one word. Neither
repeats a token, a code, a secret, or what a provider answered, but for the issuer that its metadata names (bounded);
`AuthorizationRefused.description` is for the log, too.
"""

from collections.abc import Mapping
from typing import ClassVar, Final

from shopkeeper.errors import UpstreamFailed

CIRCUIT_OPEN: Final = "circuit_open"
"""The cause where nothing was sent, because the provider did not answer a moment ago."""


class ProviderError(UpstreamFailed):
    """Something is wrong at an identity provider, or between us and it. Only its subclasses are raised.

    `retry_after` is in seconds, and None where it is unknown.
    """

    code = "provider_failed"
    at_fault: ClassVar[bool] = True
    """Whether it is for the operator to look at; False where a person has typed something wrong."""
    message = "The sign-in with this provider did not work. Try again, or choose another way."

    retry_after: int | None = None

    def __init__(self, detail: str | None = None, *, cause: str = "failed") -> None:
        super().__init__(detail)
        self.cause = cause


class ProviderUnavailable(ProviderError):
    """The provider does not answer, answers too slowly, or did so a moment ago and is left alone since."""

    code = "provider_unavailable"
    message = "The sign-in with this provider is not available at the moment. Try again later, or choose another way."

    def __init__(
        self, detail: str | None = None, *, cause: str = "unavailable", retry_after: int | None = None
    ) -> None:
        super().__init__(detail, cause=cause)
        self.retry_after = retry_after

    @property
    def headers(self) -> Mapping[str, str]:
        if self.retry_after is None:
            return super().headers
        return {**super().headers, "Retry-After": str(self.retry_after)}


class ProviderAskedTooOften(ProviderUnavailable):
    """The provider itself says that it is asked too often (429)."""


class ProviderAnswerInvalid(ProviderError):
    """The provider answered, but not as its protocol says, or with something that we must not accept."""

    code = "provider_answer_invalid"
    message = "The provider's answer cannot be used. Try again, or choose another way."


class AuthorizationRefused(ProviderError):
    """The provider sent the shopper back without a sign-in (RFC 6749 section 4.1.2.1): `access_denied`, for example.

    Args:
        error: the error code of the answer, such as `access_denied` or `login_required`.
        description: the provider's text, shortened and without control characters. Anybody can write it into the
            address of the callback: log it, but never show it to a shopper.
    """

    code, status = "provider_refused", 400
    message = "The provider did not sign you in. Try again, or choose another way."

    def __init__(self, error: str, description: str | None = None) -> None:
        super().__init__(cause=error)
        self.error, self.description = error, description


class ProviderTokenInvalid(ProviderError):
    """An ID token or a logout token is not one of this provider for us, or is not valid now.

    Answers tell the `cause`: who builds an app that sends tokens has to know what is wrong with them.
    """

    code, status = "provider_token_invalid", 400
    message = "The provider's token is not valid. Sign in at the provider again."

    def __init__(self, detail: str | None = None, *, cause: str = "failed") -> None:
        super().__init__(detail, cause=cause)
        self.details = {"cause": cause}
