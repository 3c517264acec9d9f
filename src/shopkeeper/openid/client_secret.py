"""Client secrets that are made on demand: JWTs signed by our own key, as Sign in with Apple asks for."""

from datetime import datetime, timedelta
from typing import Final

from shopkeeper.clock import Clock
from shopkeeper.jose.errors import KeysInvalid
from shopkeeper.jose.keys import PrivateKey
from shopkeeper.jose.sign import sign
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
    _private_key(secret)


def _private_key(secret: SigningSecret) -> PrivateKey:
    try:
        return PrivateKey.of_pem(secret.key, kid=secret.key_id, algorithm=secret.algorithm)
    except KeysInvalid as broken:
        raise ValueError(f"{broken}, as the file AuthKey_….p8 has it") from broken


def _sign(secret: SigningSecret, client_id: str, now: datetime) -> str:
    claims = {
        "iss": secret.issuer,
        "sub": client_id,
        "aud": secret.audience,
        "iat": int(now.timestamp()),
        "exp": int((now + secret.lifetime).timestamp()),
    }
    return sign(claims, _private_key(secret), "JWT")
