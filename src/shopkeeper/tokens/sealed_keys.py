"""Private keys as they are stored: sealed, each bound to its row."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog

from shopkeeper.crypto import KeyRing, Unsealable
from shopkeeper.jose.errors import KeysInvalid
from shopkeeper.jose.keys import PrivateKey, PrivateKeySet
from shopkeeper.tokens.key_schedule import StoredKey

PURPOSE: Final = "signing keys"
"""The purpose of the key ring that seals private keys."""
_HINT: Final = "Restore the secret in secrets.cipher, or run: shopkeeper keys rotate --now"

log = structlog.get_logger("shopkeeper.tokens")


class SealedKeys:
    """Makes keys and opens them.

    Args:
        sealing: seals the private keys.
    """

    def __init__(self, sealing: KeyRing) -> None:
        self._sealing = sealing

    async def new_row(
        self, number: int, algorithm: str, *, now: datetime, signs_from: datetime | None = None
    ) -> Mapping[str, Any]:
        """Return the row of a new key."""
        # Making an RSA key takes a second, in which this process has more to do.
        key = await asyncio.to_thread(PrivateKey.generate, algorithm)
        return {
            "number": number,
            "kid": key.kid,
            "algorithm": algorithm,
            "public_jwk": key.public_jwk(),
            "sealed": self._sealing.seal(msgspec.json.encode(key.private_jwk()), context=_context(key.kid)),
            "created_at": now,
            "signs_from": signs_from,
        }

    def open(self, key: StoredKey) -> PrivateKey | None:
        """Return the private key; None where it was sealed by a secret that is configured no more."""
        try:
            opened = self._sealing.open(key.sealed, context=_context(key.kid))
            return PrivateKeySet.parse(b'{"keys":[' + opened + b"]}").current
        except (Unsealable, KeysInvalid):
            log.error("signing_keys.unreadable", kid=key.kid, hint=_HINT)
            return None


def _context(kid: str) -> bytes:
    """Bind a sealed key to its row, so that one copied into another row cannot be opened there."""
    return f"signing_key/{kid}".encode()
