"""Remembers the local identities of external subjects: a provider's token costs one query, and not one each time.

The token itself is remembered by its source, for as long as the provider's settings say. A change to a local identity
is announced (`sessions/cache.py`), and drops what is remembered of it at once in every process.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from shopkeeper.clock import Clock
from shopkeeper.identity.values import Identity
from shopkeeper.sessions.announced_cache import AnnouncedCache
from shopkeeper.sessions.token_sources import External

MOST: Final = 20_000
"""Subjects that are remembered; the least recently used is dropped first."""
UNLINKED_FOR: Final = timedelta(seconds=5)
"""How long it is remembered that a subject has no local identity: a new link is announced under an id that is not
known here."""

_Key = tuple[str, str]
IdentityOf = Callable[[External], Awaitable[Identity | None]]


@dataclass(frozen=True, slots=True, eq=False)
class LinkedSubject:
    """A verified subject, and its local identity. The same object while neither changes."""

    external: External
    identity: Identity | None = None


class LinkedSubjects:
    """The local identities of external subjects.

    Args:
        identity_of: finds the local identity of a subject, None where there is none.
        lifespan: how long one is remembered at most.
    """

    def __init__(self, identity_of: IdentityOf, *, clock: Clock, lifespan: timedelta, most: int = MOST) -> None:
        self._identity_of, self._lifespan = identity_of, lifespan
        self.remembered = AnnouncedCache[_Key, LinkedSubject](
            lambda _, subject: () if subject.identity is None else (subject.identity.id,), clock=clock, most=most
        )
        """Must observe the announcements of sessions."""

    async def of(self, external: External) -> LinkedSubject:
        """Return a verified subject with its local identity."""
        key = (external.issuer, external.subject)
        found = self.remembered.get(key)
        if found is None:
            return await self._read(key, external)
        if found.external is external:
            return found
        again = LinkedSubject(external, found.identity)
        self.remembered.exchange(key, again)
        return again

    async def _read(self, key: _Key, external: External) -> LinkedSubject:
        with self.remembered.reading() as reading:
            subject = LinkedSubject(external, await self._identity_of(external))
        lifespan = self._lifespan if subject.identity else min(self._lifespan, UNLINKED_FOR)
        self.remembered.keep(key, subject, reading, until=reading.began_at + lifespan)
        return subject
