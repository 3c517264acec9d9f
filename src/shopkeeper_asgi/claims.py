"""What the claims of a token say of its user (RFC 7519, OpenID Connect Core section 5.1)."""

import math
from collections.abc import Mapping
from typing import Any, Final

from shopkeeper_asgi.errors import TokenInvalid
from shopkeeper_asgi.token_kinds import require_person
from shopkeeper_asgi.user import User, frozen, frozen_object

LONGEST_SUBJECT: Final = 255
"""OpenID Connect Core section 2."""
PERSONAL: Final = frozenset(
    {
        *("name", "given_name", "family_name", "middle_name", "nickname", "preferred_username", "gender", "birthdate"),
        *("email", "email_verified", "phone_number", "phone_number_verified", "address", "zoneinfo", "locale"),
        *("profile", "picture", "website", "updated_at", "groups", "roles"),
    }
)
"""The claims that become traits, where the token has no claim `traits`."""


def user_of(claims: Mapping[str, Any]) -> User:
    """Return the user whom verified claims name.

    Raises `TokenInvalid` where they name none: an application that has a token for itself, and a guest, are no user.
    """
    require_person(claims)
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT:
        raise TokenInvalid("The token names no user.")
    traits = claims.get("traits")
    if not isinstance(traits, dict):
        traits = {name: value for name, value in claims.items() if name in PERSONAL}
    email = claims.get("email", traits.get("email"))
    email = email if isinstance(email, str) and email else None
    # The claim is about the claim `email` and no other address. Some providers send the word instead of the value.
    verified = claims.get("email_verified") is True or claims.get("email_verified") == "true"
    verified = verified and email is not None and email == claims.get("email")
    return User(subject, email, verified, frozen(traits), frozen(claims), _actor(claims))


def _actor(claims: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return who acts as the user (RFC 8693 section 4.1). An actor that cannot be read must not count as none."""
    actor = claims.get("act")
    if actor is None:
        return None
    if not isinstance(actor, dict) or not actor:
        raise TokenInvalid("It cannot be read who acts as the user.")
    return frozen_object(actor)


def audiences(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the members of `aud`, which may be one text or a list. Raises `TokenInvalid` for something else."""
    value = claims.get("aud", [])
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise TokenInvalid("The token's audience cannot be read.")
    return tuple(listed)


def number(value: Any) -> float | None:
    """Return a moment in seconds since 1970, None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None
