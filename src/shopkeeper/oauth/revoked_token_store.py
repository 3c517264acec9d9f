"""The table of what was revoked before it expired, and its queries."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Column, Table, bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from shopkeeper.storage.database import Unit
from shopkeeper.storage.tables import Id, Moment, metadata

KEPT_FOR: Final = timedelta(minutes=5)
"""How long ids are kept after nothing of them is valid any more: the clocks of processes may differ."""

revoked_tokens = Table(
    "revoked_tokens",
    metadata,
    Column("id", Id, primary_key=True),
    Column("expires_at", Moment, nullable=False, index=True),
)
_INSERT: Final[Mapping[str, Any]] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
_FIND: Final = select(revoked_tokens.c.id).where(revoked_tokens.c.id.in_(bindparam("ids", type_=Id, expanding=True)))


async def add(unit: Unit, token_id: UUID, *, expires_at: datetime) -> None:
    """Store an id. It may be stored already."""
    adding = _INSERT[unit.dialect](revoked_tokens).values(id=token_id, expires_at=expires_at)
    await unit.write(adding.on_conflict_do_nothing(index_elements=["id"]))


async def find(unit: Unit, ids: Sequence[UUID]) -> AbstractSet[UUID]:
    """Return those of some ids that are stored."""
    return {row.id for row in await unit.all(_FIND, {"ids": list(ids)})}


async def purge(unit: Unit, before: datetime, batch: int) -> int:
    """Forget at most `batch` ids of which nothing is valid since before a moment; return how many."""
    old = (
        select(revoked_tokens.c.id)
        .where(revoked_tokens.c.expires_at < before)
        .order_by(revoked_tokens.c.expires_at)
        .limit(batch)
    )
    return (await unit.write(delete(revoked_tokens).where(revoked_tokens.c.id.in_(old)))).rowcount
