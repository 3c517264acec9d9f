"""The unique constraints of identities, and the errors for breaking them."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import IntegrityError

from shopkeeper.errors import Conflict
from shopkeeper.storage.database import broken_constraint


@contextmanager
def uniqueness() -> Iterator[None]:
    """Convert a broken unique constraint into `Conflict`; other broken constraints are bugs, and pass."""
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
    ("fk_group_members", "A group was deleted meanwhile. Try again."),
    ("external_id", "Another account has this external id already."),
    ("pk_identities", "There is an account of this id already."),
    ("identities.id", "There is an account of this id already."),
)
"""A part of a constraint's name, and the sentence for it. The first match counts."""
