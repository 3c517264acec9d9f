"""The table of the tokens of others that were received, so that each has an effect once.

Logout tokens, ID tokens of native apps, and the assertions by which clients authenticate. Each is kept as a digest,
until it would not be accepted any more.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Column, LargeBinary, Table, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from shopkeeper.storage.database import Unit
from shopkeeper.storage.tables import Moment, metadata

received_tokens = Table(
    "received_tokens",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("expires_at", Moment, nullable=False, index=True),
)
_INSERT: Final[Mapping[str, Any]] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}


async def is_first(unit: Unit, digest: bytes, *, expires_at: datetime) -> bool:
    """Remember a token until it expires; return whether it was not known. Of concurrent calls one returns True, once
    its unit commits."""
    adding = _INSERT[unit.dialect](received_tokens).values(digest=digest, expires_at=expires_at)
    added: Any = await unit.write(adding.on_conflict_do_nothing(index_elements=["digest"]))
    return bool(added.rowcount)


async def purge(unit: Unit, before: datetime, batch: int) -> int:
    """Forget at most `batch` tokens that expired before a moment; return how many."""
    old = (
        select(received_tokens.c.digest)
        .where(received_tokens.c.expires_at < before)
        .order_by(received_tokens.c.expires_at)
        .limit(batch)
    )
    return (await unit.write(delete(received_tokens).where(received_tokens.c.digest.in_(old)))).rowcount
