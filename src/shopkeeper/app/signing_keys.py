"""Build the signing keys, for the server and for its command."""

from dataclasses import dataclass

from shopkeeper.clock import Clock
from shopkeeper.crypto import KeyRing
from shopkeeper.settings import Settings
from shopkeeper.storage.audit import Audit
from shopkeeper.storage.database import Database
from shopkeeper.tokens.access_tokens import LONGEST_LIFESPAN
from shopkeeper.tokens.key_rotation import KeyRotation
from shopkeeper.tokens.sealed_keys import PURPOSE, SealedKeys
from shopkeeper.tokens.signing_keys import USABLE, SigningKeys


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """The keys that sign, and what changes them."""

    signing: SigningKeys
    rotation: KeyRotation


def build_signing_keys(settings: Settings, database: Database, clock: Clock, *, audit: Audit) -> OwnKeys:
    """Build the signing keys. They are read, and made, when one is needed first."""
    signing = settings.tokens.signing
    sealed = SealedKeys(KeyRing(settings.secrets.for_sealing(), purpose=PURPOSE))
    rotation = KeyRotation(
        database,
        sealed=sealed,
        clock=clock,
        algorithm=signing.algorithm,
        rotate_after=signing.rotate_after or None,
        # A process whose database is away goes on signing with a key that was replaced.
        kept_for=LONGEST_LIFESPAN + USABLE,
        audit=audit,
    )
    return OwnKeys(SigningKeys(rotation, sealed=sealed, clock=clock), rotation)
