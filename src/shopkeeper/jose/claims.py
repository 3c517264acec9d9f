"""What the registered claims of a token say (RFC 7519 section 4.1)."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from shopkeeper.jose.errors import TokenRefused

LEEWAY: Final = timedelta(seconds=60)
"""How much the clocks of an issuer and of this server may differ."""
LONGEST_TEXT: Final = 255
"""Characters of a subject (OpenID Connect Core 1.0 section 2), and of other ids."""


def require_audience(claims: Mapping[str, Any], ours: Collection[str]) -> Sequence[str]:
    """Return the audiences, of which one is ours. Raises `TokenRefused`."""
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or not all(isinstance(each, str) for each in audiences):
        raise TokenRefused("The token does not say for which application it is.", cause="audience")
    if not set(audiences) & set(ours):
        raise TokenRefused("The token was made for another application.", cause="audience")
    return audiences


def require_times(
    claims: Mapping[str, Any], *, now: datetime, leeway: timedelta = LEEWAY, issued: bool = True
) -> datetime:
    """Return when the token expires: it has begun, and has not expired.

    Args:
        leeway: how much the clocks may differ: none for our own tokens.
        issued: whether it must say when it was issued.

    Raises:
        TokenRefused: a time is missing or unreadable, or the token is not valid now.
    """
    expires = require_time(claims, "exp", now=now)
    if issued or "iat" in claims:
        _require_begun(require_time(claims, "iat", now=now), now, leeway)
    if "nbf" in claims:
        _require_begun(require_time(claims, "nbf", now=now), now, leeway)
    if now - expires >= leeway:
        raise TokenRefused(
            f"The token expired {(now - expires).total_seconds():.0f} seconds ago. If it was issued just now, "
            "the clock of this server or that of the issuer is wrong.",
            cause="expired",
        )
    return expires


def require_time(claims: Mapping[str, Any], name: str, *, now: datetime) -> datetime:
    """Return a NumericDate (RFC 7519 section 2). Raises `TokenRefused` also where no date is that large."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenRefused(f"The token has no readable '{name}'.", cause=name)
    try:
        return datetime.fromtimestamp(value, tz=now.tzinfo)
    except (OverflowError, OSError, ValueError) as odd:  # also of NaN and Infinity
        raise TokenRefused(f"The token has no readable '{name}'.", cause=name) from odd


def text_claim(claims: Mapping[str, Any], name: str) -> str | None:
    """Return a claim that is a text of 1 to 255 characters, None where there is none. Raises `TokenRefused`."""
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_TEXT or not value.isprintable():
        raise TokenRefused(f"The token has no readable '{name}'.", cause=name)
    return value


def require_text(claims: Mapping[str, Any], name: str) -> str:
    """Return a claim that is a text of 1 to 255 characters. Raises `TokenRefused`."""
    value = text_claim(claims, name)
    if value is None:
        raise TokenRefused(f"The token has no '{name}'.", cause=name)
    return value


def _require_begun(begins: datetime, now: datetime, leeway: timedelta) -> None:
    if begins - now > leeway:
        raise TokenRefused(
            f"The token becomes valid in {(begins - now).total_seconds():.0f} seconds only: "
            "the clock of this server or that of the issuer is wrong.",
            cause="clock",
        )
