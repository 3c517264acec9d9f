"""The table of replaced tokens, and its queries."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, ForeignKey, Index, LargeBinary, Table, bindparam, insert, select, update

from shopkeeper.storage.database import Unit
from shopkeeper.storage.tables import Id, Moment, metadata

replaced_tokens = Table(
    "replaced_tokens",
    metadata,
    Column("token_hash", LargeBinary(32), primary_key=True),
    # A family is a session; its replaced tokens are deleted with it.
    Column("family", Id, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    Column("replaced_at", Moment, nullable=False),
    Column("successor", LargeBinary, nullable=False),
    Index("ix_replaced_tokens_family", "family"),
)


@dataclass(frozen=True, slots=True)
class Replaced:
    """A token that has a successor, which is sealed with a key that only the replaced token yields.

    `successor` is empty where it was withdrawn.
    """

    family: UUID
    replaced_at: datetime
    successor: bytes


async def add(unit: Unit, token_hash: bytes, replaced: Replaced) -> None:
    """Store that a token was replaced."""
    row = {
        "token_hash": token_hash,
        "family": replaced.family,
        "replaced_at": replaced.replaced_at,
        "successor": replaced.successor,
    }
    await unit.write(_ADD, [row])


async def get(unit: Unit, token_hash: bytes) -> Replaced | None:
    """Return the replacement of a token, or None where it was never replaced."""
    row = await unit.first(_GET, {"of_token": token_hash})
    return Replaced(row.family, row.replaced_at, row.successor) if row else None


async def withdraw_successors(unit: Unit, family: UUID) -> None:
    """Remove the successors of a family's replaced tokens; that they were replaced stays stored."""
    await unit.write(update(replaced_tokens).where(replaced_tokens.c.family == family).values(successor=b""))


# Built once: building a frequent statement costs as much as sending it.
_ADD = insert(replaced_tokens)
_GET = select(replaced_tokens.c.family, replaced_tokens.c.replaced_at, replaced_tokens.c.successor).where(
    replaced_tokens.c.token_hash == bindparam("of_token", type_=LargeBinary)
)
