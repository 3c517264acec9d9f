"""What the claims of every token of a provider must say (RFC 7519 section 4.1)."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from shopkeeper.jose import claims as registered
from shopkeeper.jose.claims import LEEWAY
from shopkeeper.openid.errors import ProviderTokenInvalid
from shopkeeper.openid.provider import TENANT, Provider
from shopkeeper.openid.tokens import SignedToken, as_provider_error


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
    iss, tenant = token.claims.get("iss"), token.claims.get("tid")
    if not isinstance(iss, str) or not isinstance(tenant, str) or provider.tenant_of_token(iss) != tenant:
        raise ProviderTokenInvalid("The token was issued by another provider.", cause="issuer")
    issuer = provider.account_issuer(iss)
    of_all = {None, provider.issuer, provider.issuer_template}
    if issuer is None or (announced not in of_all and announced != issuer):
        raise ProviderTokenInvalid("The token was issued by a tenant that is not accepted.", cause="tenant")
    signers = provider.issuers_of(tenant)
    if token.key_issuer is not None and token.key_issuer.replace(TENANT, tenant) not in signers:
        raise ProviderTokenInvalid("The token was signed by a key of another tenant.", cause="key_issuer")
    return issuer


@as_provider_error()
def require_audience(claims: Mapping[str, Any], ours: Collection[str]) -> Sequence[str]:
    """Return the audiences, of which one is ours. Raises `ProviderTokenInvalid`."""
    return registered.require_audience(claims, ours)


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


@as_provider_error()
def _time(claims: Mapping[str, Any], name: str, now: datetime) -> datetime:
    return registered.require_time(claims, name, now=now)


def time_claim(claims: Mapping[str, Any], name: str, *, now: datetime) -> datetime | None:
    """Return a claim that is a NumericDate; None where there is none that can be read."""
    try:
        return _time(claims, name, now)
    except ProviderTokenInvalid:
        return None


@as_provider_error()
def text_claim(claims: Mapping[str, Any], name: str) -> str | None:
    """Return a claim that is a text of 1 to 255 characters, None where there is none. Raises `ProviderTokenInvalid`."""
    return registered.text_claim(claims, name)


@as_provider_error()
def require_text(claims: Mapping[str, Any], name: str) -> str:
    """Return a claim that is a text of 1 to 255 characters. Raises `ProviderTokenInvalid`."""
    return registered.require_text(claims, name)
