"""The cache in process: for a single worker, for development, and as fallback. Its values are lost with the process."""

import asyncio
import heapq
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from shopkeeper.clock import Clock

MAX_ENTRIES = 100_000
SLACK = 1_000
"""How many outdated heap entries are tolerated before the heap is rebuilt."""


@dataclass(frozen=True, slots=True)
class _Entry:
    value: bytes
    ends: datetime


class MemoryCache:
    """Keeps values in a dictionary of bounded size.

    Each kind of key, which is what a key has before its first colon, is bounded on its own and never evicts another.
    Otherwise values that live for a day, and that any client can make many of, would evict the counters of failed
    sign-ins, which live for minutes. Kinds are written in our code, so that there are few.

    When a kind is full, its value that expires first is evicted, so that expired values are always evicted before live
    ones.

    Args:
        clock: decides whether a value has expired.
        max_entries: how many values of each kind to keep.
    """

    shared = False

    def __init__(self, clock: Clock, *, max_entries: int = MAX_ENTRIES) -> None:
        if max_entries < 1:
            raise ValueError("a cache holds at least one entry")
        self._clock = clock
        self._kinds: defaultdict[str, _Kind] = defaultdict(lambda: _Kind(clock, max_entries))
        self._subscribers: defaultdict[str, list[Callable[[bytes], None]]] = defaultdict(list)

    async def get(self, key: str) -> bytes | None:
        entry = self._kind(key).live(key)
        return entry.value if entry else None

    async def set(self, key: str, value: bytes, *, ttl: timedelta) -> None:
        self._kind(key).keep(key, _Entry(value, self._clock.now() + ttl))

    async def add(self, key: str, value: bytes, *, ttl: timedelta) -> bool:
        kind = self._kind(key)
        if kind.live(key):
            return False
        kind.keep(key, _Entry(value, self._clock.now() + ttl))
        return True

    async def delete(self, *keys: str) -> None:
        for key in keys:
            self._kind(key).entries.pop(key, None)

    async def increment(self, key: str, *, ttl: timedelta, by: int = 1) -> int:
        kind = self._kind(key)
        entry = kind.live(key)
        if entry is None:
            kind.keep(key, _Entry(b"%d" % by, self._clock.now() + ttl))
            return by
        count = int(entry.value) + by
        kind.entries[key] = _Entry(b"%d" % count, entry.ends)
        return count

    async def time_left(self, key: str) -> timedelta | None:
        entry = self._kind(key).live(key)
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
        self._kinds.clear()
        self._subscribers.clear()

    def _kind(self, key: str) -> "_Kind":
        kind, colon, _ = key.partition(":")
        return self._kinds[kind if colon else ""]


class _Kind:
    """Entries with a bound of their own."""

    def __init__(self, clock: Clock, max_entries: int) -> None:
        self._clock, self._max = clock, max_entries
        self.entries: dict[str, _Entry] = {}
        self.endings: list[tuple[datetime, str]] = []

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
