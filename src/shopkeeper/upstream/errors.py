"""What goes wrong between a caller's token, or password, and the identity provider that has to vouch for it.

::

    ProviderUnavailable              502
    └── IdentityProviderUnavailable  503 the provider that vouches for a token or password does not answer
    Forbidden                        403
    ├── SubjectUnknown               403 a person of a provider without an identity here
    └── SecondFactorAtProvider       403 a password alone is not enough at the provider
"""

from shopkeeper.errors import Forbidden
from shopkeeper.openid.errors import ProviderError, ProviderUnavailable


class IdentityProviderUnavailable(ProviderUnavailable):
    """The identity provider does not answer, so it is unknown whether a token or a password is valid."""

    code, status = "identity_provider_unavailable", 503
    graphql_code = "UPSTREAM_FAILED"
    message = "The identity provider does not answer at the moment. Try again later."

    @classmethod
    def of(cls, failure: ProviderError) -> "IdentityProviderUnavailable":
        """Return the outage that a failure at a provider is to callers; the cause stays for the log."""
        retry_after = getattr(failure, "retry_after", None)
        return cls(failure.detail, cause=failure.cause, retry_after=retry_after)


class SubjectUnknown(Forbidden):
    """The provider vouches for a person who has no identity here, and none may be or can be made of its claims."""

    code = "identity_provider_subject_unknown"
    message = "This shop does not know your account at the identity provider."


class SecondFactorAtProvider(Forbidden):
    """The account has a second factor, so a password alone does not sign in (`mfa_required` of the provider)."""

    code = "identity_provider_second_factor"
    message = "This account needs a second factor: sign in at the identity provider itself."
