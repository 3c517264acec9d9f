"""The claims as mappers of Kratos' configuration know them: `std.extVar("claims")`.

Kratos decodes what a provider says into a structure with these members, and leaves out each that is empty, zero or
false. Its mappers rely on that: `"email_verified" in claims` means that the address is verified. What a provider says
besides is in `raw_claims`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from shopkeeper.openid.authenticated import Authenticated

_TEXTS: Final = (
    "oid",
    "name",
    "given_name",
    "family_name",
    "last_name",
    "middle_name",
    "nickname",
    "preferred_username",
    "profile",
    "picture",
    "website",
    "email",
    "gender",
    "birthdate",
    "zoneinfo",
    "phone_number",
    "hd",
    "team",
    "nonce",
)
_SWITCHES: Final = ("email_verified", "phone_number_verified", "nonce_supported")
_TRUE: Final = frozenset({"true", "TRUE", "True"})


def mapper_claims(authenticated: Authenticated) -> dict[str, Any]:
    """Return the claims for a mapper.

    >>> mapper_claims(Authenticated({"email": "a@b.example", "email_verified": "true"}, "7", "https://idp.example"))
    {'iss': 'https://idp.example', 'sub': '7', 'email': 'a@b.example', 'email_verified': True}
    """
    claims = authenticated.claims
    known = {"iss": authenticated.issuer, "sub": authenticated.subject}
    known |= {name: found for name, read in _READERS.items() if (found := read(claims.get(name)))}
    raw = dict(authenticated.raw_claims)
    return {**known, "raw_claims": raw} if raw else known


def is_true(claim: Any) -> bool:
    """Return whether a claim is true: as a boolean, or as the text that Apple writes for it."""
    return claim is True or (isinstance(claim, str) and claim in _TRUE)


def _text(claim: Any) -> str:
    return claim if isinstance(claim, str) else ""


def _seconds(claim: Any) -> int:
    """Return a time as a whole number: some providers write a fraction, others a date, which is left to raw_claims."""
    return int(claim) if isinstance(claim, int | float) and not isinstance(claim, bool) else 0


def _locale(claim: Any) -> str:
    """Return a language tag: LinkedIn writes its two parts."""
    if isinstance(claim, Mapping):
        parts = (claim.get("language"), claim.get("country"))
        return "-".join(part for part in parts if isinstance(part, str) and part)
    return _text(claim)


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(_TEXTS, _text),
    **dict.fromkeys(_SWITCHES, is_true),
    "locale": _locale,
    "updated_at": _seconds,
}
