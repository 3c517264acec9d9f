"""The table of changed addresses: what a former address may still do, and its queries."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    Row,
    String,
    Table,
    and_,
    delete,
    or_,
    select,
    update,
)

from shopkeeper.identity.normalise import LONGEST
from shopkeeper.storage.database import Unit
from shopkeeper.storage.row_changes import insert_later, update_later
from shopkeeper.storage.tables import Id, Json, Moment, metadata

address_changes = Table(
    "address_changes",
    metadata,
    Column("id", Id, primary_key=True),
    Column("identity_id", Id, ForeignKey("identities.id", ondelete="CASCADE"), nullable=False),
    Column("via", String(16), nullable=False),
    # The former address: it can undo the change, and recover the account until the new one is confirmed. One that was
    # never verified has no right: its change has ended at once, and is only counted.
    Column("address", String(LONGEST), nullable=False),
    # The traits that the change replaced, by their names; a missing one is removed again.
    Column("former_traits", Json, nullable=False),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    # The digest of the password at the time of the change; None without one.
    Column("password_digest", LargeBinary),
    Column("created_at", Moment, nullable=False),
    Column("ended_at", Moment),
    Index("ix_address_changes_identity_id_created_at", "identity_id", "created_at"),
    Index("ix_address_changes_address", "address"),
    Index("ix_address_changes_created_at", "created_at"),
)


async def add(unit: Unit, rows: Collection[dict[str, object]]) -> None:
    """Insert the rights of former addresses right before the unit commits."""
    insert_later(unit, address_changes, list(rows))


async def changes_since(
    unit: Unit, identity_id: UUID, addresses: Collection[str], since: datetime
) -> Sequence[Row[Any]]:
    """Return an identity's changes since a moment, the latest first, and those of others that one of these addresses
    still has a right from."""
    table = address_changes.c
    own, reserved = table.identity_id == identity_id, and_(table.address.in_(list(addresses)), table.ended_at.is_(None))
    wanted = table.id, table.identity_id, table.address, table.former_traits, table.created_at, table.ended_at
    return await unit.all(
        select(*wanted).where(table.created_at > since, or_(own, reserved)).order_by(table.created_at.desc())
    )


def end_later(unit: Unit, ids: Iterable[UUID], at: datetime) -> None:
    """End changes right before the unit commits."""
    update_later(unit, address_changes, [{"id": each, "ended_at": at} for each in ids])


async def end_all(unit: Unit, identity_id: UUID, at: datetime, *, spared: Collection[str] = ()) -> None:
    """End all changes of an identity, except those that one of these addresses has a right from."""
    table = address_changes.c
    mine = table.identity_id == identity_id, table.ended_at.is_(None), table.address.not_in(list(spared))
    await unit.write(update(address_changes).where(*mine).values(ended_at=at))


async def by_token(unit: Unit, token_hash: bytes) -> Row[object] | None:
    """Return a change by the digest of its token."""
    return await unit.first(select(address_changes).where(address_changes.c.token_hash == token_hash))


async def end_from(unit: Unit, change: Row[object], at: datetime) -> bool:
    """End a change and all later ones of its identity; return False where it has ended before. The database decides, so
    that a change is undone once."""
    table = address_changes.c
    mine = update(address_changes).where(table.id == change.id, table.ended_at.is_(None)).values(ended_at=at)
    if (await unit.write(mine)).rowcount != 1:
        return False
    later = table.identity_id == change.identity_id, table.created_at >= change.created_at, table.ended_at.is_(None)
    await unit.write(update(address_changes).where(*later).values(ended_at=at))
    return True


async def purge(unit: Unit, *, before: datetime, batch: int) -> int:
    """Delete changes that were made before a moment, at most `batch`; return how many."""
    old = select(address_changes.c.id).where(address_changes.c.created_at < before).limit(batch)
    return (await unit.write(delete(address_changes).where(address_changes.c.id.in_(old)))).rowcount
