"""The table of provider sessions, with all its queries.

Issuer, subject and `sid` are stored as digests: they are only compared, and a digest has one length.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Column, ColumnElement, ForeignKey, Index, LargeBinary, Select, String, Table, delete, or_, select

from shopkeeper.sessions.store import NOT_REVOKED, sessions
from shopkeeper.storage.database import Unit
from shopkeeper.storage.row_changes import put_later
from shopkeeper.storage.tables import Id, Moment, metadata

LONGEST_PROVIDER_ID: Final = 255

provider_sessions = Table(
    "provider_sessions",
    metadata,
    Column("session_id", Id, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("provider", String(LONGEST_PROVIDER_ID), primary_key=True),
    Column("subject_digest", LargeBinary(32), nullable=False),
    Column("sid_digest", LargeBinary(32)),
    Column("id_token", LargeBinary),
    Column("began_at", Moment, nullable=False),
    Index("ix_provider_sessions_subject", "provider", "subject_digest"),
    Index("ix_provider_sessions_sid", "provider", "sid_digest"),
)


@dataclass(frozen=True, slots=True)
class ProviderSessionRow:
    """A row: our session, and the provider's session that it began with. `id_token` is sealed."""

    session_id: UUID
    provider: str
    subject_digest: bytes
    sid_digest: bytes | None
    id_token: bytes | None
    began_at: datetime


def put(unit: Unit, row: ProviderSessionRow) -> None:
    """Store a provider session right before the unit commits, in place of the one that our session had at this
    provider. The unit has started our session or locked it."""
    put_later(unit, provider_sessions, [asdict(row)])


async def of_sessions(unit: Unit, session_ids: Sequence[UUID]) -> list[ProviderSessionRow]:
    """Return the provider sessions of our sessions."""
    rows = await unit.all(select(provider_sessions).where(provider_sessions.c.session_id.in_(session_ids)))
    return [ProviderSessionRow(**row._mapping) for row in rows]


async def forget(unit: Unit, ended: ColumnElement[bool]) -> None:
    """Delete the provider sessions of our sessions that this unit has revoked.

    Sessions are locked first everywhere, so that no two transactions deadlock.
    """
    revoked = select(sessions.c.id).where(ended, ~NOT_REVOKED)
    await unit.write(delete(provider_sessions).where(provider_sessions.c.session_id.in_(revoked)))


async def sessions_of(
    unit: Unit, provider: str, *, subject: bytes | None, sid: bytes | None, limit: int, after: UUID | None
) -> Sequence[UUID]:
    """Return the ids of our sessions that began at a provider with this subject, this `sid`, or both, if given; in
    order, those beyond `after`.

    Where both are given, sessions of the subject whose `sid` is not known count, too: the provider did not tell it when
    they began, so they may be the one that is meant, and one that stays signed in would be worse than one too few.
    """
    found: Select[Any] = select(provider_sessions.c.session_id).where(provider_sessions.c.provider == provider)
    if subject is not None:
        found = found.where(provider_sessions.c.subject_digest == subject)
    if sid is not None:
        named = provider_sessions.c.sid_digest == sid
        found = found.where(named if subject is None else or_(named, provider_sessions.c.sid_digest.is_(None)))
    if after is not None:
        found = found.where(provider_sessions.c.session_id > after)
    return [row.session_id for row in await unit.all(found.order_by(provider_sessions.c.session_id).limit(limit))]
