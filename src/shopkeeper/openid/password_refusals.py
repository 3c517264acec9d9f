"""Why a provider gives no tokens for a name and a password (RFC 6749 section 5.2): each has its own words for it.

    PasswordWrong           the name, the password or the account: unknown, blocked, expired, not set up
    SecondFactorWanted      the account needs more than a password
    ProviderAnswerInvalid   the provider's settings or ours: for the operator, and no fault of the person

Who signs in learns nothing else, since it could be a guess. The log tells operators more: codes of the provider, and
sentences that are known, but never its own text, which may repeat what was sent.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from shopkeeper.openid.authorization import refused
from shopkeeper.openid.errors import AuthorizationRefused, ProviderAnswerInvalid, ProviderError

MOST_CODES: Final = 10
_WRONG: Final = frozenset(
    {
        "invalid_grant",
        "access_denied",
        "unauthorized",
        "invalid_user_password",
        "password_leaked",
        "too_many_attempts",
    }
)
"""Errors about the name, the password or the account; all but `invalid_grant` are Auth0's, most for blocked accounts.

https://auth0.com/docs/libraries/common-auth0-library-authentication-errors
"""
_SECOND_FACTOR: Final = frozenset(
    {"mfa_required", "mfa_registration_required", "interaction_required", "requires_verification"}
)
"""`requires_verification` is Auth0's for a sign-in that looks odd: the person has to solve a puzzle there."""
_CONSENT: Final = "consent_required"
_ENTRA_SECOND_FACTOR: Final = frozenset({50072, 50074, 50076, 50079, 50158})
"""Entra's `error_codes` for an account that needs a second factor, or has to enrol one.

https://learn.microsoft.com/entra/identity-platform/reference-error-codes
"""
_ENTRA_CONSENT: Final = frozenset({65001, 90094, 90095})
"""The same where nobody has consented to what the application asks for; an administrator can, for all."""
_SENTENCES: Final = frozenset(
    {
        "Account disabled",
        "Account is not fully set up",
        "Invalid user credentials",
        "Resource owner password credentials authentication denied by sign on policy.",
    }
)
"""Descriptions of Keycloak and Okta that say more than their error does."""
_SUBERROR: Final = re.compile(r"[a-z_]{1,50}", re.ASCII)


class PasswordWrong(ProviderError):
    """The provider does not accept the name and the password, or does not let the account sign in now."""

    code, status, at_fault = "provider_refused", 400, False
    message = AuthorizationRefused.message


class SecondFactorWanted(ProviderError):
    """The provider wants more of the account than a password, which this grant cannot ask for."""

    code, status, at_fault = "provider_refused", 400, False
    message = AuthorizationRefused.message


def require_no_refusal(document: Mapping[str, Any]) -> None:
    """Raise what an error answer of the token endpoint means, where it is about the person or about consent.

    Raises:
        PasswordWrong, SecondFactorWanted: see the classes.
        ProviderAnswerInvalid: consent is missing.
    """
    error, codes, told = refused(document.get("error"), None).error, _codes(document), _told(document)
    if error == _CONSENT or document.get("suberror") == _CONSENT or _ENTRA_CONSENT.intersection(codes):
        raise ProviderAnswerInvalid(
            f"Consent to what the application asks for is missing: an administrator has to grant it ({told}).",
            cause=_CONSENT,
        )
    if error in _SECOND_FACTOR or _ENTRA_SECOND_FACTOR.intersection(codes):
        raise SecondFactorWanted(f"The account needs more than a password ({told}).", cause="second_factor")
    if error in _WRONG:
        raise PasswordWrong(f"The provider does not accept the name or the password ({told}).", cause=error)


def _told(document: Mapping[str, Any]) -> str:
    """Return what the log may have of an error answer: names, numbers, and sentences that are known."""
    return ", ".join(_facts(document))


def _facts(document: Mapping[str, Any]) -> Iterator[str]:
    yield f"error {refused(document.get('error'), None).error}"
    suberror, description = document.get("suberror"), document.get("error_description")
    if isinstance(suberror, str) and _SUBERROR.fullmatch(suberror):
        yield f"suberror {suberror}"
    yield from (f"AADSTS{code}" for code in _codes(document))
    if isinstance(description, str) and description in _SENTENCES:
        yield description


def _codes(document: Mapping[str, Any]) -> list[int]:
    """Return Entra's `error_codes`."""
    codes = document.get("error_codes")
    numbers = codes[:MOST_CODES] if isinstance(codes, list) else []
    return [code for code in numbers if isinstance(code, int) and not isinstance(code, bool) and 0 < code < 10**9]
