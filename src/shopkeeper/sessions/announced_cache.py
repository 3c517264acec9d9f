"""Caches what was read from the database, until a change of it is announced (`cache.py`).

The rules are those of the session cache: a process that may miss announcements caches nothing, and what was being read
while its id was announced is not cached.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar
from uuid import UUID

from shopkeeper.clock import Clock
from shopkeeper.sessions.cache import Reading

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class _Entry(Generic[V]):
    value: V
    ids: frozenset[UUID]
    until: datetime


class AnnouncedCache(Generic[K, V]):
    """Values by their keys; the least recently used is dropped first. Satisfies `sessions.cache.Observer`.

    Args:
        ids: the ids whose announcement drops a value.
        most: how many values are cached.
    """

    def __init__(self, ids: Callable[[K, V], Iterable[UUID]], *, clock: Clock, most: int) -> None:
        self._ids, self._clock, self._most = ids, clock, most
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._known_by: dict[UUID, set[K]] = {}
        self._readings: set[Reading] = set()
        self._hearing = False

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """Return the value, None where it must be read."""
        entry = self._entries.get(key)
        if entry is None or entry.until <= self._clock.now():
            return None
        self._entries.move_to_end(key)
        return entry.value

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """Open this before the first query for a value, so that announcements meanwhile are noticed."""
        reading = Reading(self._clock.now())
        self._readings.add(reading)
        try:
            yield reading
        finally:
            self._readings.discard(reading)

    def keep(self, key: K, value: V, reading: Reading, *, until: datetime) -> None:
        """Cache what was read, unless it may have changed since."""
        ids = frozenset(self._ids(key, value))
        if not self._hearing or reading.in_vain or not reading.announced.isdisjoint(ids):
            return
        self._drop(key)
        while len(self._entries) >= self._most:
            self._drop(next(iter(self._entries)))
        self._entries[key] = _Entry(value, ids, until)
        for each in ids:
            self._known_by.setdefault(each, set()).add(key)

    def exchange(self, key: K, value: V) -> None:
        """Put another form of a cached value in its place: what was read is the same."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries[key] = _Entry(value, entry.ids, entry.until)

    def changed(self, ids: Iterable[UUID]) -> None:
        """Drop the values of changed ids."""
        for each in ids:
            for reading in self._readings:
                reading.announced.add(each)
            for key in list(self._known_by.get(each, ())):
                self._drop(key)

    def all_changed(self) -> None:
        """Drop everything."""
        for reading in self._readings:
            reading.in_vain = True
        self._entries.clear()
        self._known_by.clear()

    def set_hearing(self, hearing: bool) -> None:
        """Set whether announcements of other processes are heard; without them, nothing is cached."""
        self._hearing = hearing
        self.all_changed()

    def _drop(self, key: K) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        for each in entry.ids:
            keys = self._known_by[each]
            keys.discard(key)
            if not keys:
                del self._known_by[each]
