"""Caches sessions in process, so that resolving a token costs no query, and drops them as soon as they change.

A change to a session announces the session's id, or its identity's, after the commit; every process that hears it drops
what it has cached under that id. A cached session is never older than the last announcement:

- A process that may miss announcements caches nothing: losing the connection empties the cache until it is restored.
- A session whose id is announced while it is being read is not cached: it may have been read before the change.
- A process that cannot publish an announcement repeats it until it can (`invalidation.py`).
- If anything else fails, a session is still cached for a minute at most.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

import msgspec

from shopkeeper.clock import Clock
from shopkeeper.crypto import new_id
from shopkeeper.sessions.invalidation import CHANNEL, EVERYTHING, Invalidation, InvalidationPublisher
from shopkeeper.sessions.memory import FIXED, memory_of
from shopkeeper.sessions.values import Session, WhoamiAnswer
from shopkeeper.storage.cache.port import Cache

STALE_AFTER = timedelta(seconds=60)
LARGEST = 1_000_000
"""Bytes of a session that is cached: a larger one would evict hundreds of others."""


@dataclass(frozen=True, slots=True)
class CachedSession:
    """The session of a token, and its answer to whoami, rendered once.

    `until` is when the token stops being valid for the session: at the session's end, or earlier for a replaced token.
    `read_at` is when the session, or what it was made from, was read.
    """

    session: Session
    whoami: WhoamiAnswer
    until: datetime
    read_at: datetime

    def valid_at(self, now: datetime) -> bool:
        """Whether the token may still be used."""
        return now < self.until and self.session.valid_at(now)


class Observer(Protocol):
    """Receives the announcements that the cache sends and hears. Its methods must not block."""

    def changed(self, ids: Iterable[UUID]) -> None: ...

    def all_changed(self) -> None: ...

    def set_hearing(self, hearing: bool) -> None: ...


@dataclass(eq=False, slots=True)
class Reading:
    """A session that is being read, and the ids announced meanwhile."""

    began_at: datetime
    announced: set[UUID] = field(default_factory=set)
    in_vain: bool = False


class SessionCache:
    """The sessions cached in this process, by the hash of their tokens; the least recently used is evicted first.

    Each is charged the memory that it takes. One that takes more than `LARGEST` is not cached.

    Args:
        cache: carries the announcements.
        clock: decides whether a cached session is too old.
        capacity: the bytes that all cached sessions may take.
        observer: is called with every change, before a changed session can be read again; so are those of `observe`.
    """

    def __init__(self, cache: Cache, *, clock: Clock, capacity: int, observer: Observer | None = None) -> None:
        if capacity < FIXED:
            raise ValueError("a session cache has room for at least one session")
        self._cache, self._clock, self._capacity = cache, clock, capacity
        self._origin = new_id()
        self._announcer = InvalidationPublisher(cache, clock=clock, origin=self._origin, worth_telling=STALE_AFTER)
        self._observers = [observer] if observer is not None else []
        self._hearing = False
        self._leave: Callable[[], Awaitable[None]] | None = None
        self._entries: OrderedDict[bytes, CachedSession] = OrderedDict()
        self._sizes: dict[bytes, int] = {}
        self._size = 0
        self._known_by: dict[UUID, set[bytes]] = {}
        self._readings: set[Reading] = set()

    @property
    def size(self) -> int:
        """The bytes that the cached sessions are charged."""
        return self._size

    def __len__(self) -> int:
        return len(self._entries)

    def observe(self, observer: Observer) -> None:
        """Call one more observer with every change from now on."""
        self._observers.append(observer)
        observer.set_hearing(self._hearing)

    async def listen(self) -> None:
        """Begin to cache sessions as soon as announcements are heard."""
        self._leave = await self._cache.subscribe(CHANNEL, on_message=self._hear, on_state=self._set_hearing)

    async def close(self) -> None:
        """Stop listening and caching, after a last attempt to publish what is left."""
        if self._leave is not None:
            await self._leave()
            self._leave = None
        self._set_hearing(False)
        await self._announcer.close()

    def get(self, key: bytes) -> CachedSession | None:
        """Return the cached session for the hash of a token, or None."""
        resolved = self._entries.get(key)
        if resolved is None:
            return None
        now = self._clock.now()
        # Another process may have seen a session that seems unused here.
        if resolved.read_at + STALE_AFTER <= now or resolved.session.idle_at(now):
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return resolved

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """Open this before the first query for a session, so that announcements meanwhile are noticed."""
        reading = Reading(self._clock.now())
        self._readings.add(reading)
        try:
            yield reading
        finally:
            self._readings.discard(reading)

    def keep(self, key: bytes, resolved: CachedSession, reading: Reading) -> None:
        """Cache what was read, unless it may have changed since."""
        if self._may_keep(resolved, reading):
            self._insert(key, resolved)

    def set_idle_end(self, ids: Iterable[UUID], ends_at: datetime | None, *, now: datetime) -> None:
        """Note when cached sessions end unless they are used. It was stored before; nobody else is told."""
        for key in [key for each in ids for key in self._known_by.get(each, ())]:
            resolved = self._entries[key]
            if not resolved.session.idle_at(now):
                self._entries[key] = replace(resolved, session=replace(resolved.session, idle_ends_at=ends_at))

    async def announce(self, ids: Iterable[UUID]) -> None:
        """Drop changed sessions here at once, then in all processes. Call it after the commit, never before."""
        changed = list(ids)
        self._let_go(changed)
        await self._announcer.tell(changed)

    async def announce_and_keep(self, key: bytes, resolved: CachedSession, reading: Reading) -> None:
        """Announce a session that changed, and cache its new state here."""
        may_keep = self._may_keep(resolved, reading)
        self._let_go([resolved.session.id])
        if may_keep:
            self._insert(key, resolved)
        await self._announcer.tell([resolved.session.id])

    def _hear(self, message: bytes) -> None:
        try:
            heard = _ANNOUNCEMENT.decode(message)
        except msgspec.MsgspecError:
            self._let_go_everything()
            return
        if heard.origin == self._origin:
            return
        self._let_go(heard.ids)

    def _set_hearing(self, hearing: bool) -> None:
        self._hearing = hearing
        self._let_go_everything()
        for observer in self._observers:
            observer.set_hearing(hearing)

    def _may_keep(self, resolved: CachedSession, reading: Reading) -> bool:
        return self._hearing and not reading.in_vain and reading.announced.isdisjoint(_ids(resolved))

    def _insert(self, key: bytes, resolved: CachedSession) -> None:
        self._drop(key)
        most = min(LARGEST, self._capacity)
        size = memory_of(resolved, most=most)
        if size > most:
            return
        while self._size + size > self._capacity:
            self._drop(next(iter(self._entries)))
        self._entries[key], self._sizes[key] = resolved, size
        self._size += size
        for each in _ids(resolved):
            self._known_by.setdefault(each, set()).add(key)

    def _let_go(self, ids: Sequence[UUID]) -> None:
        if EVERYTHING in ids:
            self._let_go_everything()
            return
        for each in ids:
            for reading in self._readings:
                reading.announced.add(each)
            for key in list(self._known_by.get(each, ())):
                self._drop(key)
        for observer in self._observers:
            observer.changed(ids)

    def _let_go_everything(self) -> None:
        for reading in self._readings:
            reading.in_vain = True
        self._entries.clear()
        self._sizes.clear()
        self._size = 0
        self._known_by.clear()
        for observer in self._observers:
            observer.all_changed()

    def _drop(self, key: bytes) -> None:
        resolved = self._entries.pop(key, None)
        if resolved is None:
            return
        self._size -= self._sizes.pop(key)
        for each in _ids(resolved):
            keys = self._known_by[each]
            keys.discard(key)
            if not keys:
                del self._known_by[each]


def _ids(resolved: CachedSession) -> tuple[UUID, ...]:
    """Return the ids under which a session is announced: what ends an agent's session drops what it acts in, too."""
    session = resolved.session
    if session.actor is None:
        return session.id, session.identity.id
    acting = (session.actor.session_id, session.actor.identity_id)
    return (session.id, session.identity.id, *(each for each in acting if each is not None))


_ANNOUNCEMENT = msgspec.json.Decoder(Invalidation)
