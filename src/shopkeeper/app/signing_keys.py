"""Build the signing keys, for the server and for its command."""

from shopkeeper.clock import Clock
from shopkeeper.crypto import KeyRing
from shopkeeper.settings import Settings
from shopkeeper.storage.audit import Audit
from shopkeeper.storage.database import Database
from shopkeeper.tokens.access_tokens import LONGEST_LIFESPAN
from shopkeeper.tokens.signing_keys import PURPOSE, USABLE, SigningKeys


def build_signing_keys(settings: Settings, database: Database, clock: Clock, *, audit: Audit) -> SigningKeys:
    """Build the signing keys. They are read, and made, when one is needed first."""
    signing = settings.tokens.signing
    return SigningKeys(
        database,
        sealing=KeyRing(settings.secrets.for_sealing(), purpose=PURPOSE),
        clock=clock,
        algorithm=signing.algorithm,
        rotate_after=signing.rotate_after or None,
        # A process whose database is away goes on signing with a key that was replaced.
        kept_for=LONGEST_LIFESPAN + USABLE,
        audit=audit,
    )
