"""Errors that are stored for the error page: the refusals that a browser got."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from shopkeeper.clock import Clock
from shopkeeper.crypto import new_id
from shopkeeper.errors import NotFound, Wording
from shopkeeper.flows import store
from shopkeeper.storage.database import Unit

LARGEST: Final = 4_000
"""Bytes of a stored error."""
_NUL: Final = b"\\u0000"
"""A NUL in JSON, which PostgreSQL cannot store."""
_WORDING: Final = "wording"
_GENERAL: Final = ("id", "code", "status", "message")


@dataclass(frozen=True, slots=True)
class StoredError:
    """A refusal in the contract's shape, and when it was stored."""

    id: UUID
    error: Mapping[str, Any]
    wording: Wording | None
    created_at: datetime
    updated_at: datetime


async def keep(unit: Unit, error: Mapping[str, Any], *, wording: Wording | None = None, clock: Clock) -> StoredError:
    """Store an error in English until the cleanup deletes it, with its wording, by which it is translated.

    Of one that is too large, or that cannot be stored as it is, only code, status and message are stored: what is
    particular to it may be from the request.
    """
    stored = {**error, _WORDING: wording.to_wire()} if wording else error
    encoded = msgspec.json.encode(stored)
    if len(encoded) > LARGEST or _NUL in encoded:
        stored = {name: error[name] for name in _GENERAL if name in error}
    now = clock.now()
    error_id = new_id()
    await store.add_error(unit, error_id=error_id, error=stored, at=now)
    return _read(error_id, stored, now, now)


async def get(unit: Unit, error_id: UUID | None) -> StoredError | None:
    """Return a stored error; None where it is unknown."""
    row = await store.get_error(unit, error_id) if error_id else None
    return _read(row.id, row.error, row.created_at, row.updated_at) if row else None


async def require(unit: Unit, error_id: UUID | None) -> StoredError:
    """Return a stored error. Raises `NotFound`."""
    kept = await get(unit, error_id)
    if kept is None:
        raise NotFound
    return kept


def _read(error_id: UUID, stored: Mapping[str, Any], created_at: datetime, updated_at: datetime) -> StoredError:
    error = {name: value for name, value in stored.items() if name != _WORDING}
    wording = Wording.from_wire(stored[_WORDING]) if _WORDING in stored else None
    return StoredError(error_id, error, wording, created_at, updated_at)
