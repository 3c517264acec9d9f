"""The unique constraints of identities, and what it means to break one."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import IntegrityError

from shopkeeper.errors import Conflict
from shopkeeper.storage.database import broken_constraint


@contextmanager
def uniqueness() -> Iterator[None]:
    """Turns a broken unique constraint into `Conflict`; anything else that breaks is our own mistake and passes."""
    try:
        yield
    except IntegrityError as error:
        broken = broken_constraint(error)
        for part, sentence in _TAKEN:
            if part in broken:
                raise Conflict(sentence) from error
        raise


_TAKEN = (
    ("credential_identifiers", "Another account signs in with this identifier already."),
    ("verifiable_addresses", "Another account has this address already."),
    ("recovery_addresses", "Another account has this recovery address already."),
    ("external_id", "Another account has this external id already."),
    ("pk_identities", "There is an account of this id already."),
    ("identities.id", "There is an account of this id already."),
)
"""What stands in the name of a constraint, and what it means. The first that fits."""
