"""Errors that are kept for the error page: what a browser was refused, until somebody looks at the page."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from shopkeeper.clock import Clock
from shopkeeper.crypto import new_id
from shopkeeper.errors import NotFound
from shopkeeper.flows import store
from shopkeeper.storage.database import Unit


@dataclass(frozen=True, slots=True)
class StoredError:
    """A refusal in the contract's shape, and since when it is kept."""

    id: UUID
    error: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime


async def keep(unit: Unit, error: Mapping[str, Any], *, clock: Clock) -> StoredError:
    """Keeps an error until it is tidied away."""
    now = clock.now()
    kept = StoredError(id=new_id(), error=error, created_at=now, updated_at=now)
    await store.add_error(unit, error_id=kept.id, error=kept.error, at=now)
    return kept


async def get(unit: Unit, error_id: UUID | None) -> StoredError | None:
    """An error that was kept."""
    row = await store.get_error(unit, error_id) if error_id else None
    return StoredError(row.id, row.error, row.created_at, row.updated_at) if row else None


async def require(unit: Unit, error_id: UUID | None) -> StoredError:
    """An error that was kept. Raises `NotFound`."""
    kept = await get(unit, error_id)
    if kept is None:
        raise NotFound
    return kept
