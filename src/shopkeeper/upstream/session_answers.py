"""Caches what session servers have answered about sessions: for a short time, and never past a sign-out through us.

The rules are those of `sessions/cache.py`: a sign-out is announced to every process, a process that may miss
announcements caches nothing, and an answer that was asked for before an announcement is not cached after it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from shopkeeper.clock import Clock
from shopkeeper.crypto import digest, new_id
from shopkeeper.errors import Refusal
from shopkeeper.sessions.invalidation import EVERYTHING, Invalidation, InvalidationPublisher
from shopkeeper.sessions.token_sources import External
from shopkeeper.storage.cache.port import Cache

CHANNEL: Final = "remote-sessions"
CAPACITY: Final = 16 * 1024 * 1024
"""Bytes of all answers in a process."""
MOST_ENTRIES: Final = 50_000
OF_AN_ENTRY: Final = 1_500
"""Bytes of an entry besides its document."""
OF_A_BYTE: Final = 9
"""Bytes of memory for each byte of a JSON document, with the document itself: small values cost the most."""


@dataclass(frozen=True, slots=True)
class SessionAnswer:
    """A valid session at a session server.

    Args:
        body: the document that it was read from.
        until: how long it may be used; None where it must be asked for again each time.
    """

    external: External
    body: bytes
    until: datetime | None


@dataclass(frozen=True, slots=True)
class _Kept:
    answer: SessionAnswer
    asked_at: datetime
    until: datetime


@dataclass(eq=False, slots=True)
class _Flight:
    """A question that is under way, and how many wait for its answer."""

    task: "asyncio.Task[SessionAnswer]"
    waiting: int = 0


def subject_id(external: External) -> UUID:
    """Return the id under which all sessions of a person at a session server are announced."""
    return _id(digest(f"{external.issuer}\0{external.subject}"))


class SessionAnswers:
    """The answers of all session servers in this process, by the hash of the question.

    Args:
        cache: carries the announcements.
        longest: the longest time that any server's answers are cached.
        capacity: the bytes that all cached answers may take.
    """

    def __init__(self, cache: Cache, *, clock: Clock, longest: timedelta, capacity: int = CAPACITY) -> None:
        self._cache, self._clock, self._capacity = cache, clock, capacity
        self._origin = new_id()
        self._publisher = InvalidationPublisher(
            cache, clock=clock, origin=self._origin, worth_telling=longest, channel=CHANNEL
        )
        self._hearing = False
        self._leave: Callable[[], Awaitable[None]] | None = None
        self._entries: OrderedDict[bytes, _Kept] = OrderedDict()
        self._known_by: dict[UUID, set[bytes]] = {}
        self._size = 0
        self._flights: dict[bytes, _Flight] = {}
        self._changes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """The bytes that the cached answers are charged."""
        return self._size

    async def listen(self) -> None:
        """Begin to cache answers as soon as announcements are heard."""
        self._leave = await self._cache.subscribe(CHANNEL, on_message=self._hear, on_state=self._set_hearing)

    async def close(self) -> None:
        """Stop listening and caching."""
        if self._leave is not None:
            await self._leave()
            self._leave = None
        self._set_hearing(False)
        await self._publisher.close()

    async def get(self, key: bytes, ask: Callable[[], Awaitable[SessionAnswer]]) -> SessionAnswer:
        """Return the cached answer, or ask; whoever asks the same at the same time gets the same answer.

        Nothing waits for a question that was sent before an announcement. Raises what `ask` raises.
        """
        return self.cached(key) or await self._asked_once(key, ask)

    def cached(self, key: bytes) -> SessionAnswer | None:
        """Return the cached answer, None where it must be asked for."""
        kept = self._entries.get(key)
        # An answer from the future means that the clock was set back: its age is unknown.
        if kept is None or not kept.asked_at <= self._clock.now() < kept.until:
            return None
        self._entries.move_to_end(key)
        return kept.answer

    async def forget(self, keys: Iterable[bytes], externals: Iterable[External] = ()) -> None:
        """Drop the answers to questions, and all about some persons, here at once and then in all processes."""
        ids = [*map(_id, keys), *map(subject_id, externals)]
        if ids:
            self._drop_all_of(ids)
            await self._publisher.tell(ids)

    async def _asked_once(self, key: bytes, ask: Callable[[], Awaitable[SessionAnswer]]) -> SessionAnswer:
        flight = self._flights.get(key)
        if flight is None:
            flight = self._begin(key, ask)
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        except Refusal as refusal:
            # One error for each caller: an exception that is raised twice grows, and keeps what its frames held.
            raise refusal.anew() from None
        finally:
            flight.waiting -= 1
            if not flight.waiting:
                # Before it has ended: a caller that comes now asks anew, and is not cancelled with the last one.
                self._land(key, flight)
                flight.task.cancel()

    def _begin(self, key: bytes, ask: Callable[[], Awaitable[SessionAnswer]]) -> _Flight:
        flight = _Flight(asyncio.create_task(self._ask(key, ask), name="ask session server"))
        self._flights[key] = flight
        flight.task.add_done_callback(lambda _: self._land(key, flight))
        return flight

    async def _ask(self, key: bytes, ask: Callable[[], Awaitable[SessionAnswer]]) -> SessionAnswer:
        asked_at, changes = self._clock.now(), self._changes
        answer = await ask()
        if answer.until is not None and self._hearing and changes == self._changes:
            self._keep(key, _Kept(answer, asked_at, answer.until))
        return answer

    def _land(self, key: bytes, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    def _keep(self, key: bytes, kept: _Kept) -> None:
        self._drop(key)
        size = _charge(kept)
        if size > self._capacity:
            return
        while self._entries and (self._size + size > self._capacity or len(self._entries) >= MOST_ENTRIES):
            self._drop(next(iter(self._entries)))
        self._entries[key] = kept
        self._size += size
        for each in _ids(key, kept):
            self._known_by.setdefault(each, set()).add(key)

    def _drop(self, key: bytes) -> None:
        kept = self._entries.pop(key, None)
        if kept is None:
            return
        self._size -= _charge(kept)
        for each in _ids(key, kept):
            keys = self._known_by[each]
            keys.discard(key)
            if not keys:
                del self._known_by[each]

    def _drop_all_of(self, ids: Iterable[UUID]) -> None:
        self._begin_anew()
        for each in ids:
            for key in list(self._known_by.get(each, ())):
                self._drop(key)

    def _drop_everything(self) -> None:
        self._begin_anew()
        self._entries.clear()
        self._known_by.clear()
        self._size = 0

    def _begin_anew(self) -> None:
        """Cache nothing that is under way, and let no further caller wait for it: it may be from before a sign-out."""
        self._changes += 1
        self._flights.clear()

    def _hear(self, message: bytes) -> None:
        try:
            heard = _ANNOUNCEMENT.decode(message)
        except msgspec.MsgspecError:
            self._drop_everything()
            return
        if heard.origin == self._origin:
            return
        if EVERYTHING in heard.ids:
            self._drop_everything()
        else:
            self._drop_all_of(heard.ids)

    def _set_hearing(self, hearing: bool) -> None:
        self._hearing = hearing
        self._drop_everything()


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long an answer may be cached.

    >>> from shopkeeper.clock import SystemClock
    >>> Lifetime(ceiling=timedelta(0)).until(SystemClock().now(), SystemClock().now() + timedelta(hours=1)) is None
    True
    """

    ceiling: timedelta
    allowed: timedelta | None = field(default=None)
    """What the answer says of itself, in `Ory-Session-Cache-For`."""

    def until(self, asked_at: datetime, expires_at: datetime) -> datetime | None:
        """Return when the answer must not be used any more; None where it must not be used again."""
        longest = self.ceiling if self.allowed is None else min(self.ceiling, self.allowed)
        return min(asked_at + longest, expires_at) if longest > timedelta(0) else None


def _charge(kept: _Kept) -> int:
    return OF_AN_ENTRY + OF_A_BYTE * len(kept.answer.body)


def _ids(key: bytes, kept: _Kept) -> tuple[UUID, UUID]:
    return _id(key), subject_id(kept.answer.external)


def _id(key: bytes) -> UUID:
    return UUID(bytes=key[:16])


_ANNOUNCEMENT = msgspec.json.Decoder(Invalidation)
