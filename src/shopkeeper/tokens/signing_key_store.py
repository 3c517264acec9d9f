"""The table of this server's signing keys, and its queries.

Keys are numbered. A key begins to sign at `signs_from`; the one that began last is in use, and one without that moment
waits for its turn. So all processes agree on what signs by the clock alone.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Integer, LargeBinary, String, Table, delete, func, insert, or_, select, update

from shopkeeper.storage.database import Unit
from shopkeeper.storage.tables import Json, Moment, metadata
from shopkeeper.tokens.key_schedule import StoredKey

signing_keys = Table(
    "signing_keys",
    metadata,
    # Of two processes that add a key at once, one gets the number.
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("kid", String(64), nullable=False, unique=True),
    Column("algorithm", String(16), nullable=False),
    Column("public_jwk", Json, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("signs_from", Moment),
)
_ALL = select(signing_keys).order_by(signing_keys.c.number)


async def every_key(unit: Unit) -> Sequence[StoredKey]:
    """Return all keys, the oldest first."""
    return [
        StoredKey(row.number, row.kid, row.algorithm, row.public_jwk, row.sealed, row.created_at, row.signs_from)
        for row in await unit.all(_ALL)
    ]


async def add(unit: Unit, keys: Collection[Mapping[str, Any]]) -> None:
    """Add keys. Raises SQLAlchemy's `IntegrityError` where a number is taken."""
    await unit.write(insert(signing_keys), list(keys))


async def start_signing(unit: Unit, number: int, at: datetime, *, now: datetime) -> bool:
    """Let a key sign from a moment on; return whether it was still waiting for its turn."""
    table = signing_keys.c
    waits = or_(table.signs_from.is_(None), table.signs_from > now)
    changed = await unit.write(update(signing_keys).where(table.number == number, waits).values(signs_from=at))
    return changed.rowcount == 1


async def discard(unit: Unit, number: int) -> bool:
    """Delete a key that has no turn yet; return whether it was there."""
    table = signing_keys.c
    gone = await unit.write(delete(signing_keys).where(table.number == number, table.signs_from.is_(None)))
    return gone.rowcount == 1


async def discard_all(unit: Unit, *, until: int) -> None:
    """Delete the keys up to a number."""
    await unit.write(delete(signing_keys).where(signing_keys.c.number <= until))


async def purge(unit: Unit, before: datetime, batch: int) -> int:
    """Delete the keys that were replaced before a moment; return how many. They are few: all go at once."""
    table = signing_keys.c
    successor = select(func.max(table.number)).where(table.signs_from < before).scalar_subquery()
    return (await unit.write(delete(signing_keys).where(table.number < successor))).rowcount
