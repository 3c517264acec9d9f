"""Errors that are stored for the error page: the refusals that a browser got."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from shopkeeper.clock import Clock
from shopkeeper.crypto import new_id
from shopkeeper.errors import NotFound
from shopkeeper.flows import store
from shopkeeper.storage.database import Unit

LARGEST: Final = 4_000
"""Bytes of a stored error."""
_NUL: Final = b"\\u0000"
"""A NUL in JSON, which PostgreSQL cannot store."""
_GENERAL: Final = ("id", "code", "status", "message")


@dataclass(frozen=True, slots=True)
class StoredError:
    """A refusal in the contract's shape, and when it was stored."""

    id: UUID
    error: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime


async def keep(unit: Unit, error: Mapping[str, Any], *, clock: Clock) -> StoredError:
    """Store an error until the cleanup deletes it.

    Of one that is too large, or that cannot be stored as it is, only code, status and message are stored: what is
    particular to it may be from the request.
    """
    encoded = msgspec.json.encode(error)
    if len(encoded) > LARGEST or _NUL in encoded:
        error = {name: error[name] for name in _GENERAL if name in error}
    now = clock.now()
    kept = StoredError(id=new_id(), error=error, created_at=now, updated_at=now)
    await store.add_error(unit, error_id=kept.id, error=kept.error, at=now)
    return kept


async def get(unit: Unit, error_id: UUID | None) -> StoredError | None:
    """Return a stored error; None where it is unknown."""
    row = await store.get_error(unit, error_id) if error_id else None
    return StoredError(row.id, row.error, row.created_at, row.updated_at) if row else None


async def require(unit: Unit, error_id: UUID | None) -> StoredError:
    """Return a stored error. Raises `NotFound`."""
    kept = await get(unit, error_id)
    if kept is None:
        raise NotFound
    return kept
