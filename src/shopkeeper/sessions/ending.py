"""Ends many sessions, in batches of bounded size, so that no request holds locks on all sessions at once."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, delete, select, true

from shopkeeper.sessions.revocation import Revocation
from shopkeeper.sessions.store import NOT_REVOKED, in_stores, sessions
from shopkeeper.storage.database import Unit

BATCH: Final = 5_000


@dataclass(frozen=True, slots=True)
class ChosenSessions:
    """The sessions to end: those with these ids, or of these identities, in these stores; all where all are None."""

    sessions: Sequence[UUID] | None = None
    identities: Sequence[UUID] | None = None
    stores: Sequence[str] | None = None

    @property
    def condition(self) -> ColumnElement[bool]:
        """The condition on the table of sessions."""
        chosen: ColumnElement[bool] = true()
        if self.sessions is not None:
            chosen &= sessions.c.id.in_(self.sessions)
        if self.identities is not None:
            chosen &= sessions.c.identity_id.in_(self.identities)
        return chosen if self.stores is None else chosen & in_stores(self.stores)


@dataclass(frozen=True, slots=True)
class EndedSessions:
    """The sessions that one batch has ended, their number by identity, and whether more are chosen."""

    ids: Sequence[UUID]
    by_identity: Mapping[UUID, int]
    more: bool

    @property
    def count(self) -> int:
        return len(self.ids)


async def end(
    unit: Unit, chosen: ChosenSessions, *, delete: bool, revocation: Revocation, batch: int = BATCH
) -> EndedSessions:
    """Revoke or delete the first sessions that are chosen, locked in the order of their ids (`store.lock_in_order`)."""
    await unit.begin()
    wanted = chosen.condition if delete else chosen.condition & NOT_REVOKED
    query = select(sessions.c.id, sessions.c.identity_id).where(wanted).order_by(sessions.c.id).limit(batch + 1)
    found = await unit.all(query.with_for_update())
    ended = found[:batch]
    ids = [row.id for row in ended]
    if ids:
        those = sessions.c.id.in_(ids)
        if delete:
            await revocation.end_acting(unit, those)
            await _delete(unit, ids)
        else:
            await revocation.revoke(unit, those)
    return EndedSessions(ids, Counter(row.identity_id for row in ended), more=len(found) > batch)


async def _delete(unit: Unit, ids: Sequence[UUID]) -> int:
    return (await unit.write(delete(sessions).where(sessions.c.id.in_(ids)))).rowcount
