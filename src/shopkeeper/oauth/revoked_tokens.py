"""Which access tokens were revoked before they expire, and what they come from.

Each is stored until nothing issued with it is valid any more. A process asks the database once, and hears the others
through the announcements of sessions: what it has cached is never older than the last announcement.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from shopkeeper.clock import Clock
from shopkeeper.oauth import revoked_token_store as store
from shopkeeper.sessions.announced_cache import AnnouncedCache
from shopkeeper.sessions.cache import STALE_AFTER
from shopkeeper.sessions.service import Sessions
from shopkeeper.storage.database import Database, Unit

MOST_KNOWN: Final = 50_000
"""Ids of which a process remembers whether they were revoked."""


class RevokedTokens:
    """Revokes by id, and says what was revoked.

    Args:
        sessions: whose announcements carry the ids.
        most: how many ids a process remembers.
    """

    def __init__(self, database: Database, *, sessions: Sessions, clock: Clock, most: int = MOST_KNOWN) -> None:
        self._database, self._sessions = database, sessions
        self._known = AnnouncedCache[UUID, bool](lambda token_id, _: (token_id,), clock=clock, most=most)
        sessions.observe(self._known)

    async def revoke(self, unit: Unit, token_id: UUID, *, expires_at: datetime) -> None:
        """Revoke what has an id, or was issued by it; nothing of that is valid after `expires_at`."""
        await store.add(unit, token_id, expires_at=expires_at)
        self._sessions.announce(unit, token_id)  # also where it was revoked before: that announcement may be lost

    async def is_revoked(self, ids: Sequence[UUID]) -> bool:
        """Return whether one of some ids was revoked."""
        known = [self._known.get(each) for each in ids]
        return any(known) if None not in known else await self._look_up(ids)

    async def _look_up(self, ids: Sequence[UUID]) -> bool:
        with self._known.reading() as reading:
            async with self._database.unit() as unit:
                revoked = await store.find(unit, ids)
        for each in ids:
            self._known.keep(each, each in revoked, reading, until=reading.began_at + STALE_AFTER)
        return bool(revoked)
