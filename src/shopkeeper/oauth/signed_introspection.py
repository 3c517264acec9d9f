"""Answers of introspection as signed tokens (RFC 9701), which a caller can keep as evidence."""

from typing import Final

import msgspec

from shopkeeper.clock import Clock
from shopkeeper.jose.sign import sign
from shopkeeper.oauth.introspection import Introspected
from shopkeeper.oauth.introspection_callers import IntrospectionCaller
from shopkeeper.tokens.signing_keys import SigningKeys

TYPE: Final = "token-introspection+jwt"
MEDIA_TYPE: Final = f"application/{TYPE}"


class SignedAnswers:
    """Signs answers with the server's own key, which its JWK set publishes.

    Args:
        issuer: the `iss` of the answers.
    """

    def __init__(self, keys: SigningKeys, *, issuer: str, clock: Clock) -> None:
        self._keys, self._issuer, self._clock = keys, issuer, clock

    async def sign(self, introspected: Introspected, caller: IntrospectionCaller) -> bytes:
        """Return an answer as a token for its caller.

        It has neither `sub` nor `exp`, so that it is not taken for an access token (section 5). Raises
        `SigningKeyUnreadable`, or `Busy` where the database is away.
        """
        claims = {
            "iss": self._issuer,
            "aud": caller.id,
            "iat": int(self._clock.now().timestamp()),
            "token_introspection": msgspec.json.decode(introspected.body),
        }
        return sign(claims, await self._keys.current(), TYPE).encode()
