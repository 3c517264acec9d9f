"""What an ID token must say (OpenID Connect Core 1.0 section 3.1.3.7)."""

import base64
import hashlib
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from shopkeeper.crypto import same
from shopkeeper.openid.authenticated import OneUse
from shopkeeper.openid.errors import ProviderTokenInvalid
from shopkeeper.openid.logout_token import LOGOUT_EVENT
from shopkeeper.openid.provider import Provider
from shopkeeper.openid.token_claims import (
    acceptable_until,
    require_audience,
    require_current,
    require_issuer,
    require_text,
    text_claim,
)
from shopkeeper.openid.tokens import SignedToken

TYPES: Final = frozenset({None, "jwt"})
MAX_AGE: Final = timedelta(days=1)
_OF_A_REDIRECT: Final = "redirect-"
"""How nonces begin that browsers are sent to providers with."""
_HASHES: Final = {
    **dict.fromkeys(("RS256", "PS256", "ES256"), hashlib.sha256),
    **dict.fromkeys(("RS384", "PS384", "ES384"), hashlib.sha384),
    **dict.fromkeys(("RS512", "PS512", "ES512", "EdDSA"), hashlib.sha512),
}
"""The hash of `at_hash` by the algorithm of the signature; of EdDSA the one that Ed25519 uses."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What an ID token must match.

    Args:
        audiences: our client ids.
        issuer: the issuer in the provider's metadata, None where it has none.
        nonce: what we sent, or what the app says that it sent; None accepts tokens without a nonce only.
        access_token: the access token that came with it.
        redeemed: whether the token came for a code of ours, and not from a native app. An app may have sent the
            provider the SHA-256 of its nonce, as lower-case hexadecimal digits or as base64url without padding.
    """

    audiences: Collection[str]
    issuer: str | None
    nonce: str | None
    access_token: str | None = None
    redeemed: bool = True


def redirect_nonce() -> str:
    """Return a nonce for a browser that is sent to a provider. A native app's token must not have such a one."""
    return _OF_A_REDIRECT + secrets.token_urlsafe(32)


def one_use(token: SignedToken, issuer: str, *, now: datetime) -> OneUse:
    """Return what an ID token that was checked is remembered by."""
    issued, expires = require_current(token.claims, now=now, max_age=MAX_AGE)
    digest = hashlib.sha256(f"id_token/{len(issuer)}:{issuer}".encode() + token.digest).digest()
    return OneUse(digest, acceptable_until(issued, expires, max_age=MAX_AGE))


def check_id_token(token: SignedToken, expected: Expected, *, provider: Provider, now: datetime) -> tuple[str, str]:
    """Return issuer and subject of an ID token whose signature was verified. Raises `ProviderTokenInvalid`."""
    claims = token.claims
    issuer = require_issuer(token, provider, announced=expected.issuer)
    audiences = require_audience(claims, expected.audiences)
    _require_authorized_party(claims.get("azp"), audiences, expected)
    require_current(claims, now=now, max_age=MAX_AGE)
    _require_nonce(claims.get("nonce"), expected)
    if expected.access_token is not None and "at_hash" in claims:
        _require_hash(claims["at_hash"], token.algorithm, expected.access_token)
    events = claims.get("events")
    if isinstance(events, dict) and LOGOUT_EVENT in events:
        raise ProviderTokenInvalid("This is a logout token and no ID token.", cause="typ")
    require_text(claims, "sub")
    text_claim(claims, "sid")
    return issuer, require_text(claims, provider.subject_claim)


def _require_authorized_party(party: Any, audiences: Sequence[str], expected: Expected) -> None:
    """A token for several audiences says which of them asked for it.

    With one audience, Google's tokens for Android apps name the app, which the shop need not know; a token that came
    for our own code names us, or nothing.
    """
    needed = len(audiences) > 1 or (expected.redeemed and party is not None)
    if needed and (not isinstance(party, str) or party not in expected.audiences):
        raise ProviderTokenInvalid("The token was made at the request of another application.", cause="azp")


def _require_nonce(nonce: Any, expected: Expected) -> None:
    if nonce is None and expected.nonce is None:
        return
    # All are compared, so that the time tells nothing of which it was.
    matches = [same(nonce, each) for each in _spellings(expected)] if isinstance(nonce, str) else []
    if not isinstance(nonce, str) or not any(matches):
        raise ProviderTokenInvalid("The token was not made for this sign-in: its nonce is another one.", cause="nonce")
    if not expected.redeemed and nonce.startswith(_OF_A_REDIRECT):
        # It travels on to the provider when its user signs out, in an address that others may read.
        raise ProviderTokenInvalid("The token was made for a sign-in in a browser.", cause="nonce")


def _spellings(expected: Expected) -> Sequence[str]:
    """Return what the nonce of a token may be."""
    if expected.nonce is None or expected.redeemed:
        return [] if expected.nonce is None else [expected.nonce]
    digest = hashlib.sha256(expected.nonce.encode("utf-8", "surrogatepass")).digest()
    return [expected.nonce, digest.hex(), base64.urlsafe_b64encode(digest).rstrip(b"=").decode()]


def _require_hash(at_hash: Any, algorithm: str, access_token: str) -> None:
    digest = _HASHES[algorithm](access_token.encode()).digest()
    half = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
    if not isinstance(at_hash, str) or not same(at_hash, half):
        raise ProviderTokenInvalid("ID token and access token do not belong together.", cause="at_hash")
