"""What a logout token must say (OpenID Connect Back-Channel Logout 1.0 section 2.6)."""

from datetime import datetime, timedelta
from typing import Final

from shopkeeper.openid.authenticated import LogoutToken
from shopkeeper.openid.errors import ProviderTokenInvalid
from shopkeeper.openid.provider import Provider
from shopkeeper.openid.token_claims import (
    require_audience,
    require_current,
    require_issuer,
    require_text,
    text_claim,
)
from shopkeeper.openid.tokens import SignedToken

LOGOUT_EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
TYPES: Final = frozenset({"logout+jwt", "jwt", None})
"""The type of its own is recommended only (section 2.4), and Keycloak before version 25, for example, sends `JWT`.

What tells a logout token from an ID token is that it has `events`, and no nonce.
"""
MAX_AGE: Final = timedelta(minutes=10)


def check_logout_token(token: SignedToken, *, provider: Provider, announced: str | None, now: datetime) -> LogoutToken:
    """Return what a logout token whose signature was verified says. Raises `ProviderTokenInvalid`.

    `announced` is the issuer in the provider's metadata.
    """
    claims = token.claims
    issuer = require_issuer(token, provider, announced=announced)
    require_audience(claims, {provider.client_id})
    # Drafts had no `exp`, and Keycloak, authentik and Hydra have long left it out, or do so still.
    issued_at, expires_at = require_current(claims, now=now, max_age=MAX_AGE, without_exp=True)
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict):
        raise ProviderTokenInvalid("The token announces no logout.", cause="events")
    # An ID token has a nonce, and must never end a session (section 2.4).
    if "nonce" in claims:
        raise ProviderTokenInvalid("This is an ID token and no logout token.", cause="nonce")
    jti = require_text(claims, "jti")
    subject, sid = text_claim(claims, provider.subject_claim), text_claim(claims, "sid")
    if subject is None and sid is None:
        raise ProviderTokenInvalid("The token names neither a subject nor a session.", cause="sub")
    return LogoutToken(issuer, subject, sid, jti, issued_at, expires_at)
