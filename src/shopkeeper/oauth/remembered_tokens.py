"""Remembers verified tokens, so that a provider's token is verified once and not for each request.

A remembered token counts no longer than it lives, than the setting says, and than its person may use it: a change to
the local identity of its subject is announced (`sessions/cache.py`), and drops it at once in every process.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from shopkeeper.clock import Clock
from shopkeeper.crypto import digest
from shopkeeper.identity.values import Identity
from shopkeeper.sessions.token_sources import External, TokenSource, Verified

CAPACITY: Final = 32_000_000
"""Bytes that all remembered tokens may take."""
_FIXED, _PER_CHARACTER = 2_000, 6
"""What a remembered token is charged: its objects, and its claims, whose text is at most that much of the token's."""

IdentityOf = Callable[[External], Awaitable[Identity | None]]


@dataclass(frozen=True, slots=True, eq=False)
class KnownToken:
    """A verified token, and the local identity of its subject. The same object until something changes."""

    verified: Verified
    identity: Identity | None = None


@dataclass(slots=True, eq=False)
class _Verifying:
    """A token that is being verified, and the ids that were announced meanwhile."""

    announced: set[UUID] = field(default_factory=set)
    in_vain: bool = False


@dataclass(frozen=True, slots=True)
class _Remembered:
    known: KnownToken
    until: datetime
    size: int


class RememberedTokens:
    """The verified tokens of providers. Satisfies `sessions.cache.Observer`.

    Args:
        identity_of: finds the local identity of an external subject, None where there is none.
        lifespan: how long a token is remembered at most.
        capacity: bytes that all tokens may take; the least recently used are dropped first.
    """

    def __init__(self, *, identity_of: IdentityOf, clock: Clock, lifespan: timedelta, capacity: int = CAPACITY) -> None:
        self._identity_of, self._clock, self._lifespan, self._capacity = identity_of, clock, lifespan, capacity
        self._entries: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._by_identity: dict[UUID, set[bytes]] = {}
        self._verifying: set[_Verifying] = set()
        self._size = 0
        self._hearing = False

    def __len__(self) -> int:
        return len(self._entries)

    async def verify(self, source: TokenSource, token: str) -> KnownToken:
        """Return what a token says. Raises as the source does."""
        key = digest(token)
        return self._get(key) or await self._verified(source, token, key)

    def changed(self, ids: Iterable[UUID]) -> None:
        """Drop the tokens of changed identities."""
        for each in ids:
            for verifying in self._verifying:
                verifying.announced.add(each)
            for key in list(self._by_identity.get(each, ())):
                self._drop(key)

    def all_changed(self) -> None:
        """Drop everything."""
        for verifying in self._verifying:
            verifying.in_vain = True
        self._entries.clear()
        self._by_identity.clear()
        self._size = 0

    def set_hearing(self, hearing: bool) -> None:
        """Set whether announcements of other processes are heard; without them, nothing is remembered."""
        self._hearing = hearing
        self.all_changed()

    def _get(self, key: bytes) -> KnownToken | None:
        found = self._entries.get(key)
        if found is None:
            return None
        if found.until <= self._clock.now():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return found.known

    async def _verified(self, source: TokenSource, token: str, key: bytes) -> KnownToken:
        verifying, began_at = _Verifying(), self._clock.now()
        self._verifying.add(verifying)
        try:
            verified = await source.verify(token, None)
            if not isinstance(verified, External):
                return KnownToken(verified)
            known = KnownToken(verified, await self._identity_of(verified))
        finally:
            self._verifying.discard(verifying)
        may_have_changed = known.identity is not None and known.identity.id in verifying.announced
        if self._hearing and not verifying.in_vain and not may_have_changed:
            until = min(verified.expires_at, began_at + self._lifespan)
            self._insert(key, _Remembered(known, until, _FIXED + _PER_CHARACTER * len(token)))
        return known

    def _insert(self, key: bytes, entry: _Remembered) -> None:
        self._drop(key)
        if entry.size > self._capacity:
            return
        while self._size + entry.size > self._capacity:
            self._drop(next(iter(self._entries)))
        self._entries[key] = entry
        self._size += entry.size
        if entry.known.identity is not None:
            self._by_identity.setdefault(entry.known.identity.id, set()).add(key)

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self._size -= entry.size
        if entry.known.identity is not None:
            keys = self._by_identity[entry.known.identity.id]
            keys.discard(key)
            if not keys:
                del self._by_identity[entry.known.identity.id]
