"""What a provider has said about a user, verified."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

LONGEST_HINT: Final = 4096
"""Characters of an `id_token_hint`: it travels in an address, and servers refuse long ones."""


def usable_hint(id_token: str | None) -> str | None:
    """Return an ID token that can be an `id_token_hint`; None for a longer one, which is kept nowhere for it."""
    return id_token if id_token and len(id_token) <= LONGEST_HINT else None


@dataclass(frozen=True, slots=True)
class OneUse:
    """What a token that counts once is remembered by, and how long."""

    digest: bytes
    until: datetime


@dataclass(frozen=True, slots=True)
class Authenticated:
    """A user whom a provider has authenticated. `(issuer, subject)` is who it is; nothing else is.

    Args:
        claims: OpenID claims, at most `MAX_CLAIMS` bytes as JSON. `email_verified` is what the provider sent.
        subject: the user at the issuer, 1 to 255 characters.
        issuer: the provider's issuer, or the tenant's.
        raw_claims: what the provider sent, before `UserinfoShape` changed it.
        id_token: the ID token, for `id_token_hint`; None where there is none.
        sid: the provider's session (OpenID Connect Back-Channel Logout 1.0).
        issued_at: when the ID token was issued; None without one.
        auth_time: when the user was authenticated at the provider, by the ID token; None where it does not say.
        expires_in: seconds that the access token is valid, None where unknown.
        one_use: of an ID token that somebody has handed in, who need not be the user: it must sign in once only, which
            is the caller's to check. None where the provider gave it to us itself.
    """

    claims: Mapping[str, Any]
    subject: str
    issuer: str
    raw_claims: Mapping[str, Any] = field(default_factory=dict)
    id_token: str | None = field(default=None, repr=False)
    sid: str | None = None
    issued_at: datetime | None = None
    auth_time: datetime | None = None
    access_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    expires_in: int | None = None
    one_use: OneUse | None = None


@dataclass(frozen=True, slots=True)
class LogoutToken:
    """A verified logout token (OpenID Connect Back-Channel Logout 1.0 section 2.4): `subject` or `sid` is there.

    Whether `jti` was seen before is the caller's to check, until `expires_at`.
    """

    issuer: str
    subject: str | None
    sid: str | None
    jti: str
    issued_at: datetime
    expires_at: datetime
