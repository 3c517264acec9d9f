"""The keys by which this server signs tokens and verifies them, as a process knows them.

Processes tell each other nothing: each reads the few keys again every `FRESH`, and when a token names one that it does
not know. They are made at the first need (`key_rotation.py`).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import structlog

from shopkeeper.clock import Clock
from shopkeeper.errors import Refusal
from shopkeeper.jose.errors import TokenRefused
from shopkeeper.jose.keys import KeySet, PrivateKey
from shopkeeper.jose.verify import JwtRules, SignedJwt, verify_signed
from shopkeeper.renewal import Renewed
from shopkeeper.storage.unavailable import DatabaseUnavailable
from shopkeeper.tokens.key_reloads import ReloadAllowance
from shopkeeper.tokens.key_rotation import FRESH, KeyRotation
from shopkeeper.tokens.key_schedule import Turn
from shopkeeper.tokens.sealed_keys import SealedKeys

USABLE: Final = timedelta(hours=1)
"""How old the keys may be while the database is away."""
CACHED_BY_VERIFIERS: Final = timedelta(minutes=5)

log = structlog.get_logger("shopkeeper.tokens")


class SigningKeyUnreadable(Refusal):
    """None of the private keys can be opened: the secret that sealed them is missing in `secrets.cipher`."""

    code, status, named_in_kratos = "signing_key_unreadable", 503, False
    message = "The server cannot sign tokens at the moment: its log says why."


@dataclass(frozen=True, slots=True)
class PublishedKeys:
    """A JWK set (RFC 7517 section 5) as it is published, and its entity tag (RFC 9110 section 8.8.3)."""

    body: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class _Known:
    """The keys as they were read."""

    read_at: datetime
    turns: Sequence[Turn]
    signing: PrivateKey | None
    verifying: KeySet
    published: PublishedKeys


class SigningKeys:
    """The signing keys.

    Args:
        rotation: tells the keys.
        sealed: opens the private ones.
    """

    def __init__(self, rotation: KeyRotation, *, sealed: SealedKeys, clock: Clock) -> None:
        self._rotation, self._sealed, self._clock = rotation, sealed, clock
        # A value that is not fresh is no answer while another caller reads: its keys may have been withdrawn since.
        self._known = Renewed(
            self._read,
            clock=clock,
            fresh=FRESH,
            usable=USABLE,
            failures=DatabaseUnavailable,
            stale_meanwhile=False,
        )
        self._reloads = ReloadAllowance()

    async def current(self) -> PrivateKey:
        """Return the key that signs now. It is made at the first call ever.

        Raises:
            SigningKeyUnreadable: none of the keys can be opened.
            DatabaseUnavailable: the database is away, and was not read before.
        """
        known = await self._fresh()
        if known.signing is None:
            raise SigningKeyUnreadable()
        return known.signing

    async def verification_keys(self) -> KeySet:
        """Return the keys that may have signed a token that is valid. Raises `DatabaseUnavailable`, as `current`."""
        return (await self._fresh()).verifying

    async def verify(self, token: str, rules: JwtRules) -> Mapping[str, Any]:
        """Return the claims of a token that this server signed. A key that this process does not know is looked for.

        Raises:
            TokenRefused: the token is not signed by one of the keys, or breaks the rules.
            DatabaseUnavailable: as `current`.
        """
        return (await self.verify_signed(token, rules)).claims

    async def verify_signed(self, token: str, rules: JwtRules) -> SignedJwt:
        """Verify a token as `verify` does; return also its header, and the key that signed it."""
        try:
            return verify_signed(token, await self.verification_keys(), rules)
        except TokenRefused as refused:
            if refused.cause != "unknown_key":
                raise
        # Where the last reading failed, the key may be one that could not be read: that is no reason to refuse.
        known = await self._known.renew() if self._reloads.take(self._clock.now()) else self._known.last()
        return verify_signed(token, known.verifying, rules)

    async def jwks(self) -> PublishedKeys:
        """Return what is published. Raises `DatabaseUnavailable`, as `current`."""
        return (await self._fresh()).published

    async def algorithms(self) -> Sequence[str]:
        """Return the algorithms of the published keys, for the server's metadata."""
        return sorted({turn.key.algorithm for turn in (await self._fresh()).turns})

    async def _fresh(self) -> _Known:
        known = await self._known.get()
        if self._clock.now() - known.read_at >= FRESH:
            log.warning("signing_keys.stale", read_at=known.read_at.isoformat())
        return known

    async def _read(self) -> _Known:
        read_at = self._clock.now()
        published = await self._rotation.complete()
        documents = [dict(turn.key.public_jwk) for turn in published]
        body = msgspec.json.encode({"keys": documents})
        return _Known(
            read_at=read_at,
            turns=published,
            signing=self._signing(published),
            verifying=KeySet.of_jwks({"keys": documents}),
            published=PublishedKeys(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'),
        )

    def _signing(self, published: Sequence[Turn]) -> PrivateKey | None:
        """Return the latest key whose turn has come and that can be opened: an earlier one is known everywhere, too."""
        taken = (self._sealed.open(turn.key) for turn in reversed(published) if turn.state != "next")
        return next((key for key in taken if key is not None), None)
