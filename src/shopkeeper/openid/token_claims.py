"""What the claims of every token of a provider must say (RFC 7519 section 4.1)."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from shopkeeper.openid.errors import ProviderTokenInvalid
from shopkeeper.openid.provider import TENANT, Provider
from shopkeeper.openid.tokens import SignedToken

LEEWAY: Final = timedelta(seconds=60)
"""How much the clocks of a provider and of this server may differ."""
LONGEST_SUBJECT: Final = 255
"""Characters of a subject (OpenID Connect Core 1.0 section 2)."""


def require_issuer(token: SignedToken, provider: Provider, *, announced: str | None) -> str:
    """Return the issuer: the provider's own, or its tenant's. Raises `ProviderTokenInvalid`.

    `announced` is the issuer in the metadata: where it is one tenant's, others are refused.
    """
    issuer = token.claims.get("iss")
    if provider.issuer_template is not None:
        return _tenant_issuer(token, provider, announced)
    if issuer == provider.issuer or (isinstance(issuer, str) and issuer in provider.issuer_aliases):
        return provider.issuer
    raise ProviderTokenInvalid("The token was issued by another provider.", cause="issuer")


def _tenant_issuer(token: SignedToken, provider: Provider, announced: str | None) -> str:
    issuer, tenant = token.claims.get("iss"), token.claims.get("tid")
    if not isinstance(issuer, str) or not isinstance(tenant, str) or provider.tenant_of(issuer) != tenant:
        raise ProviderTokenInvalid("The token was issued by another provider.", cause="issuer")
    of_all = {None, provider.issuer, provider.issuer_template}
    if tenant in provider.refused_tenants or (announced not in of_all and announced != issuer):
        raise ProviderTokenInvalid("The token was issued by a tenant that is not accepted.", cause="tenant")
    signer = token.key_issuer.replace(TENANT, tenant) if token.key_issuer is not None else issuer
    if signer != issuer:
        raise ProviderTokenInvalid("The token was signed by a key of another tenant.", cause="key_issuer")
    return issuer


def require_audience(claims: Mapping[str, Any], ours: Collection[str]) -> Sequence[str]:
    """Return the audiences, of which one is ours. Raises `ProviderTokenInvalid`."""
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or not all(isinstance(each, str) for each in audiences):
        raise ProviderTokenInvalid("The token does not say for which application it is.", cause="audience")
    if not set(audiences) & set(ours):
        raise ProviderTokenInvalid("The token was made for another application.", cause="audience")
    return audiences


def require_current(
    claims: Mapping[str, Any], *, now: datetime, max_age: timedelta, without_exp: bool = False
) -> tuple[datetime, datetime]:
    """Return when the token was issued and when it expires. Raises `ProviderTokenInvalid` where it is not valid now.

    Args:
        max_age: how old it may be, whatever it says of its end.
        without_exp: whether it need not say when it ends; it does at `max_age` then.
    """
    issued = _time(claims, "iat", now)
    ends = None if without_exp and "exp" not in claims else _time(claims, "exp", now)
    begins = _time(claims, "nbf", now) if "nbf" in claims else issued
    ahead = max(issued, begins) - now
    if ahead > LEEWAY:
        raise ProviderTokenInvalid(
            f"The token becomes valid in {ahead.total_seconds():.0f} seconds only: "
            "the clock of this server or that of the provider is wrong.",
            cause="clock",
        )
    expires = ends if ends is not None else issued + max_age
    if now - expires >= LEEWAY:
        raise ProviderTokenInvalid(
            f"The token expired {(now - expires).total_seconds():.0f} seconds ago. If it was issued just now, "
            "the clock of this server or that of the provider is wrong.",
            cause="expired",
        )
    if now - issued > max_age + LEEWAY:
        raise ProviderTokenInvalid("The token was issued too long ago.", cause="too_old")
    return issued, expires


def acceptable_until(issued: datetime, expires: datetime, *, max_age: timedelta) -> datetime:
    """Return the end of the time in which `require_current` accepts a token, with both clocks' leeway."""
    return min(expires, issued + max_age) + 2 * LEEWAY


def _time(claims: Mapping[str, Any], name: str, now: datetime) -> datetime:
    """Return a NumericDate (RFC 7519 section 2). Raises `ProviderTokenInvalid` also where no date is that large."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ProviderTokenInvalid(f"The token has no readable '{name}'.", cause=name)
    try:
        return datetime.fromtimestamp(value, tz=now.tzinfo)
    except (OverflowError, OSError, ValueError) as odd:  # also of NaN and Infinity
        raise ProviderTokenInvalid(f"The token has no readable '{name}'.", cause=name) from odd


def time_claim(claims: Mapping[str, Any], name: str, *, now: datetime) -> datetime | None:
    """Return a claim that is a NumericDate; None where there is none that can be read."""
    try:
        return _time(claims, name, now)
    except ProviderTokenInvalid:
        return None


def text_claim(claims: Mapping[str, Any], name: str) -> str | None:
    """Return a claim that is a text of 1 to 255 characters, None where there is none. Raises `ProviderTokenInvalid`."""
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_SUBJECT or not value.isprintable():
        raise ProviderTokenInvalid(f"The token has no readable '{name}'.", cause=name)
    return value


def require_text(claims: Mapping[str, Any], name: str) -> str:
    """Return a claim that is a text of 1 to 255 characters. Raises `ProviderTokenInvalid`."""
    value = text_claim(claims, name)
    if value is None:
        raise ProviderTokenInvalid(f"The token has no '{name}'.", cause=name)
    return value
