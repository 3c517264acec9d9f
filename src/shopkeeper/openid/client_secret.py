"""Client secrets that are made on demand: JWTs signed by our own key, as Sign in with Apple asks for."""

from datetime import datetime, timedelta
from typing import Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from shopkeeper.clock import Clock
from shopkeeper.openid.provider import SigningSecret

RESERVE: Final = timedelta(minutes=1)
"""How long before its end a secret is replaced: for the time on the way, and for clocks that differ."""


class ClientSecret:
    """The secret of one client, as text."""

    def __init__(self, client_id: str, secret: str | SigningSecret | None, clock: Clock) -> None:
        self._client_id, self._secret, self._clock = client_id, secret, clock
        self._made: tuple[str, datetime] | None = None

    def get(self) -> str | None:
        """Return the secret; a signed one is used again until shortly before its end."""
        if not isinstance(self._secret, SigningSecret):
            return self._secret
        now = self._clock.now()
        if self._made is None or not now < self._made[1] - RESERVE or self._made[1] - now > self._secret.lifetime:
            self._made = _sign(self._secret, self._client_id, now), now + self._secret.lifetime
        return self._made[0]


def require_signing_key(secret: SigningSecret) -> None:
    """Raise `ValueError` where the key cannot sign client secrets. The sentence does not repeat the key."""
    try:
        key = ECKey.import_key(secret.key)
    except (JoseError, ValueError, TypeError) as broken:
        raise ValueError("is no private key in PEM, as the file AuthKey_….p8 has it") from broken
    if not key.is_private or key.curve_name != "P-256":
        raise ValueError("is no private key of the curve P-256, as Apple makes them")


def _sign(secret: SigningSecret, client_id: str, now: datetime) -> str:
    claims = {
        "iss": secret.issuer,
        "sub": client_id,
        "aud": secret.audience,
        "iat": int(now.timestamp()),
        "exp": int((now + secret.lifetime).timestamp()),
    }
    header = {"alg": secret.algorithm, "kid": secret.key_id}
    return jwt.encode(header, claims, ECKey.import_key(secret.key), algorithms=[secret.algorithm])
