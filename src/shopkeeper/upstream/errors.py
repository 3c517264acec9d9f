"""What goes wrong between a caller's token, session or password, and the provider that has to vouch for it.

::

    ProviderUnavailable              502
    ├── IdentityProviderUnavailable  503 the provider of a token or password does not answer
    └── SessionServerUnavailable     503 the server of a session does not answer
    Forbidden                        403
    ├── SubjectUnknown               403 a person of a provider without an identity here
    ├── SecondFactorAtProvider       403 a password alone is not enough for the account
    └── AddressUnverified            403 signing in so needs a verified address
"""

from shopkeeper.errors import Forbidden
from shopkeeper.openid.errors import ProviderError, ProviderUnavailable


class IdentityProviderUnavailable(ProviderUnavailable):
    """The identity provider gave no usable answer, so it is unknown whether a token or a password is valid."""

    code, status = "identity_provider_unavailable", 503
    graphql_code = "IDENTITY_PROVIDER_UNAVAILABLE"
    message = "The identity provider does not answer at the moment. Try again in a moment."

    @classmethod
    def because(cls, failed: ProviderError) -> "IdentityProviderUnavailable":
        """Return this refusal for what went wrong; its cause stays for the log."""
        return cls(failed.detail, cause=failed.cause, retry_after=failed.retry_after or 1)


class SessionServerUnavailable(ProviderUnavailable):
    """The server that knows whether a session is valid gave no usable answer. Nothing is known of the session then, so
    it counts neither as valid nor as ended."""

    code, status = "session_server_unavailable", 503
    graphql_code = "SESSION_SERVER_UNAVAILABLE"
    message = "Whether you are signed in cannot be checked at the moment. Try again in a moment."

    @classmethod
    def because(cls, failed: ProviderError) -> "SessionServerUnavailable":
        """Return this refusal for what went wrong."""
        return cls(failed.detail, cause=failed.cause, retry_after=failed.retry_after or 1)


class SubjectUnknown(Forbidden):
    """The provider vouches for a person who has no identity here, and none may be, or can be, made of its claims."""

    code = "identity_provider_subject_unknown"
    message = "This shop does not know your account at the identity provider."


class SecondFactorAtProvider(Forbidden):
    """The account has a second factor, so a password alone does not sign in (`mfa_required` of the provider)."""

    code = "identity_provider_second_factor"
    message = "This account needs a second factor: sign in at the identity provider itself."


class AddressUnverified(Forbidden):
    """The provider vouches for a person whose identity has no verified address, where signing in needs one."""

    code = "identity_provider_address_unverified"
    graphql_code = "VERIFIED_ADDRESS_REQUIRED"
    message = (
        "None of your e-mail addresses is confirmed yet. Sign in to this shop once: you get a mail to confirm one."
    )
