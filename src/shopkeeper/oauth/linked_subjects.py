"""Remembers the local identities of external subjects: a provider's token costs one query, and not one each time.

The token itself is remembered by its source, for as long as the provider's settings say. A change to a local identity
is announced (`sessions/cache.py`), and drops what is remembered of it at once in every process.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from shopkeeper.clock import Clock
from shopkeeper.identity.values import Identity
from shopkeeper.sessions.token_sources import External

MOST: Final = 20_000
"""Subjects that are remembered; the least recently used is dropped first."""
UNLINKED_FOR: Final = timedelta(seconds=5)
"""How long it is remembered that a subject has no local identity: a new link is announced under an id that is not
known here."""

IdentityOf = Callable[[External], Awaitable[Identity | None]]


@dataclass(frozen=True, slots=True, eq=False)
class LinkedSubject:
    """A verified subject, and its local identity. The same object while neither changes."""

    external: External
    identity: Identity | None = None


@dataclass(slots=True, eq=False)
class _Reading:
    """An identity that is being read, and the ids that were announced meanwhile."""

    announced: set[UUID] = field(default_factory=set)
    in_vain: bool = False


@dataclass(frozen=True, slots=True)
class _Remembered:
    subject: LinkedSubject
    until: datetime


class LinkedSubjects:
    """The local identities of external subjects. Satisfies `sessions.cache.Observer`.

    Args:
        identity_of: finds the local identity of a subject, None where there is none.
        lifespan: how long one is remembered at most.
    """

    def __init__(self, identity_of: IdentityOf, *, clock: Clock, lifespan: timedelta, most: int = MOST) -> None:
        self._identity_of, self._clock, self._lifespan, self._most = identity_of, clock, lifespan, most
        self._entries: OrderedDict[tuple[str, str], _Remembered] = OrderedDict()
        self._by_identity: dict[UUID, set[tuple[str, str]]] = {}
        self._readings: set[_Reading] = set()
        self._hearing = False

    def __len__(self) -> int:
        return len(self._entries)

    async def of(self, external: External) -> LinkedSubject:
        """Return a verified subject with its local identity."""
        key = (external.issuer, external.subject)
        found = self._entries.get(key)
        if found is None or found.until <= self._clock.now():
            return await self._read(key, external)
        self._entries.move_to_end(key)
        if found.subject.external is external:
            return found.subject
        again = LinkedSubject(external, found.subject.identity)
        self._entries[key] = _Remembered(again, found.until)
        return again

    def changed(self, ids: Iterable[UUID]) -> None:
        """Forget the subjects of changed identities."""
        for each in ids:
            for reading in self._readings:
                reading.announced.add(each)
            for key in list(self._by_identity.get(each, ())):
                self._drop(key)

    def all_changed(self) -> None:
        """Forget everything."""
        for reading in self._readings:
            reading.in_vain = True
        self._entries.clear()
        self._by_identity.clear()

    def set_hearing(self, hearing: bool) -> None:
        """Set whether announcements of other processes are heard; without them, nothing is remembered."""
        self._hearing = hearing
        self.all_changed()

    async def _read(self, key: tuple[str, str], external: External) -> LinkedSubject:
        reading, began_at = _Reading(), self._clock.now()
        self._readings.add(reading)
        try:
            subject = LinkedSubject(external, await self._identity_of(external))
        finally:
            self._readings.discard(reading)
        changed = subject.identity is not None and subject.identity.id in reading.announced
        if self._hearing and not reading.in_vain and not changed:
            lifespan = self._lifespan if subject.identity else min(self._lifespan, UNLINKED_FOR)
            self._insert(key, _Remembered(subject, began_at + lifespan))
        return subject

    def _insert(self, key: tuple[str, str], entry: _Remembered) -> None:
        self._drop(key)
        while len(self._entries) >= self._most:
            self._drop(next(iter(self._entries)))
        self._entries[key] = entry
        if entry.subject.identity is not None:
            self._by_identity.setdefault(entry.subject.identity.id, set()).add(key)

    def _drop(self, key: tuple[str, str]) -> None:
        entry = self._entries.pop(key, None)
        if entry is None or entry.subject.identity is None:
            return
        keys = self._by_identity[entry.subject.identity.id]
        keys.discard(key)
        if not keys:
            del self._by_identity[entry.subject.identity.id]
