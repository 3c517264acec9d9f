"""Which access tokens were revoked before they expire, and what they come from.

Each is stored until nothing issued with it is valid any more. A process asks the database once, and hears the others
through the announcements of sessions: what it has cached is never older than the last announcement.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from shopkeeper.clock import Clock
from shopkeeper.oauth import revoked_token_store as store
from shopkeeper.sessions.cache import STALE_AFTER
from shopkeeper.sessions.service import Sessions
from shopkeeper.storage.database import Database, Unit

MOST_KNOWN: Final = 50_000
"""Ids of which a process remembers whether they were revoked."""


@dataclass(eq=False, slots=True)
class _Reading:
    """Ids that are being read, and whether what is read may be outdated by an announcement meanwhile."""

    ids: Sequence[UUID]
    in_vain: bool = False


@dataclass(frozen=True, slots=True)
class _Known:
    revoked: bool
    read_at: datetime


@dataclass(slots=True)
class _Cache:
    """What this process knows; an `Observer` of sessions."""

    entries: OrderedDict[UUID, _Known] = field(default_factory=OrderedDict)
    readings: set[_Reading] = field(default_factory=set)
    hearing: bool = False

    def changed(self, ids: Iterable[UUID]) -> None:
        changed = set(ids)
        for each in changed:
            self.entries.pop(each, None)
        for reading in self.readings:
            reading.in_vain = reading.in_vain or not changed.isdisjoint(reading.ids)

    def all_changed(self) -> None:
        self.entries.clear()
        for reading in self.readings:
            reading.in_vain = True

    def set_hearing(self, hearing: bool) -> None:
        self.hearing = hearing
        self.all_changed()


class RevokedTokens:
    """Revokes by id, and says what was revoked.

    Args:
        sessions: whose announcements carry the ids.
        most: how many ids a process remembers.
    """

    def __init__(self, database: Database, *, sessions: Sessions, clock: Clock, most: int = MOST_KNOWN) -> None:
        self._database, self._sessions, self._clock, self._most = database, sessions, clock, most
        self._cache = _Cache()
        sessions.observe(self._cache)

    async def revoke(self, unit: Unit, token_id: UUID, *, expires_at: datetime) -> None:
        """Revoke what has an id, or was issued by it; nothing of that is valid after `expires_at`."""
        await store.add(unit, token_id, expires_at=expires_at)
        self._sessions.announce(unit, token_id)  # also where it was revoked before: that announcement may be lost

    async def is_revoked(self, ids: Sequence[UUID]) -> bool:
        """Return whether one of some ids was revoked."""
        oldest = self._clock.now() - STALE_AFTER
        known = [self._cache.entries.get(each) for each in ids]
        if all(each is not None and each.read_at > oldest for each in known):
            return any(each is not None and each.revoked for each in known)
        return await self._look_up(ids)

    async def _look_up(self, ids: Sequence[UUID]) -> bool:
        reading, now = _Reading(ids), self._clock.now()
        self._cache.readings.add(reading)
        try:
            async with self._database.unit() as unit:
                revoked = await store.find(unit, ids)
        finally:
            self._cache.readings.discard(reading)
        if self._cache.hearing and not reading.in_vain:
            for each in ids:
                self._keep(each, _Known(each in revoked, now))
        return bool(revoked)

    def _keep(self, token_id: UUID, known: _Known) -> None:
        self._cache.entries.pop(token_id, None)
        while len(self._cache.entries) >= self._most:
            self._cache.entries.popitem(last=False)
        self._cache.entries[token_id] = known
