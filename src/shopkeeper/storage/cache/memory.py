"""The cache in process: for a single worker, for development, and as fallback. Its values are lost with the process."""

import asyncio
import heapq
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from shopkeeper.clock import Clock

MAX_ENTRIES = 100_000
SEPARATE = ("code_recipient:", "code_pair:")
"""The beginnings of keys that are kept apart: counters that live for hours and that any client can make many of."""
SLACK = 1_000
"""How many outdated heap entries are tolerated before the heap is rebuilt."""


@dataclass(frozen=True, slots=True)
class _Entry:
    value: bytes
    ends: datetime


class MemoryCache:
    """Keeps values in a dictionary of bounded size.

    When it is full, the value that expires first is evicted, so that expired values are always evicted before live
    ones. The keys of each beginning in `separate` are bounded on their own and never evict others. Otherwise counters
    that live for hours would evict those of failed sign-ins, which live for minutes.

    Args:
        clock: decides whether a value has expired.
        max_entries: how many values to keep: of each beginning in `separate`, and of all others together.
        separate: the beginnings of keys that are bounded on their own.
    """

    shared = False

    def __init__(self, clock: Clock, *, max_entries: int = MAX_ENTRIES, separate: Sequence[str] = SEPARATE) -> None:
        if max_entries < 1:
            raise ValueError("a cache holds at least one entry")
        self._clock = clock
        self._others = _Part(clock, max_entries)
        self._parts = {beginning: _Part(clock, max_entries) for beginning in separate}
        self._subscribers: defaultdict[str, list[Callable[[bytes], None]]] = defaultdict(list)

    async def get(self, key: str) -> bytes | None:
        entry = self._part(key).live(key)
        return entry.value if entry else None

    async def set(self, key: str, value: bytes, *, ttl: timedelta) -> None:
        self._part(key).keep(key, _Entry(value, self._clock.now() + ttl))

    async def add(self, key: str, value: bytes, *, ttl: timedelta) -> bool:
        part = self._part(key)
        if part.live(key):
            return False
        part.keep(key, _Entry(value, self._clock.now() + ttl))
        return True

    async def delete(self, *keys: str) -> None:
        for key in keys:
            self._part(key).entries.pop(key, None)

    async def increment(self, key: str, *, ttl: timedelta, by: int = 1) -> int:
        part = self._part(key)
        entry = part.live(key)
        if entry is None:
            part.keep(key, _Entry(b"%d" % by, self._clock.now() + ttl))
            return by
        count = int(entry.value) + by
        part.entries[key] = _Entry(b"%d" % count, entry.ends)
        return count

    async def time_left(self, key: str) -> timedelta | None:
        entry = self._part(key).live(key)
        return entry.ends - self._clock.now() if entry else None

    async def publish(self, channel: str, message: bytes) -> None:
        # Called through the event loop, so that an exception of a subscriber is reported there and not raised to the
        # publisher.
        for tell in self._subscribers.get(channel, ()):
            asyncio.get_running_loop().call_soon(tell, message)

    async def subscribe(
        self, channel: str, *, on_message: Callable[[bytes], None], on_state: Callable[[bool], None]
    ) -> Callable[[], Awaitable[None]]:
        self._subscribers[channel].append(on_message)
        on_state(True)

        async def leave() -> None:
            if on_message in self._subscribers[channel]:
                self._subscribers[channel].remove(on_message)

        return leave

    async def ping(self) -> None:
        """Do nothing: this cache always answers."""

    async def close(self) -> None:
        for part in (self._others, *self._parts.values()):
            part.clear()
        self._subscribers.clear()

    def _part(self, key: str) -> "_Part":
        return next((part for beginning, part in self._parts.items() if key.startswith(beginning)), self._others)


class _Part:
    """Entries with a bound of their own."""

    def __init__(self, clock: Clock, max_entries: int) -> None:
        self._clock, self._max = clock, max_entries
        self.entries: dict[str, _Entry] = {}
        self.endings: list[tuple[datetime, str]] = []

    def clear(self) -> None:
        self.entries.clear()
        self.endings.clear()

    def live(self, key: str) -> _Entry | None:
        entry = self.entries.get(key)
        if entry is not None and entry.ends <= self._clock.now():
            del self.entries[key]
            return None
        return entry

    def keep(self, key: str, entry: _Entry) -> None:
        if key not in self.entries:
            self._make_room()
        self.entries[key] = entry
        heapq.heappush(self.endings, (entry.ends, key))
        if len(self.endings) > 2 * len(self.entries) + SLACK:
            self.endings = [(kept.ends, name) for name, kept in self.entries.items()]
            heapq.heapify(self.endings)

    def _make_room(self) -> None:
        """Evict what expires first. Heap entries whose value was deleted or given a new expiry are skipped."""
        while len(self.entries) >= self._max:
            ends, key = heapq.heappop(self.endings)
            entry = self.entries.get(key)
            if entry is not None and entry.ends == ends:
                del self.entries[key]
