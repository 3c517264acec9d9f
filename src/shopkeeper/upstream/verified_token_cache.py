"""Caches the tokens of identity providers that were verified: bounded in time and in bytes."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from shopkeeper.cancellation import end_tasks
from shopkeeper.clock import Clock
from shopkeeper.crypto import digest
from shopkeeper.errors import Refusal
from shopkeeper.sessions.token_sources import External

MAX_BYTES: Final = 16 * 1024 * 1024
_OF_PYTHON: Final = 4
"""How many bytes the objects of some claims take, for each byte of them as JSON."""
_OF_ENTRY: Final = 1024

Verify = Callable[[], Awaitable[External]]


@dataclass(frozen=True, slots=True)
class _Entry:
    external: External
    until: datetime
    size: int


class VerifiedTokenCache:
    """Verifies each token once for its time; callers with the same token wait for one verification.

    A verification goes on where its callers have gone, because the next ones need what it reads: otherwise a provider
    that is slower than a caller's patience would never be read. The deadlines of the provider's client bound it.

    Args:
        ceiling: how long a token counts without being verified again; zero caches none.
        max_bytes: what all cached tokens may take together; those that were not used for the longest time go first.
    """

    def __init__(self, *, clock: Clock, ceiling: timedelta, max_bytes: int = MAX_BYTES) -> None:
        self._clock, self._ceiling, self._max_bytes = clock, ceiling, max_bytes
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._running: dict[bytes, asyncio.Task[External]] = {}
        self._size = 0

    @property
    def size(self) -> int:
        """The bytes of all cached tokens, as far as they can be told."""
        return self._size

    def holds(self, token: str) -> bool:
        """Whether a token is cached, and its time has not ended."""
        return self._found(digest(token)) is not None

    async def get(self, token: str, verify: Verify) -> External:
        """Return what a token was verified as, or what `verify` returns. Raises what `verify` raises."""
        key = digest(token)
        found = self._found(key)
        if found is not None:
            return found
        running = self._running.get(key)
        if running is None:
            running = self._running[key] = asyncio.create_task(self._verified(key, verify))
            running.add_done_callback(lambda task: self._ended(key, task))
        try:
            return await asyncio.shield(running)
        except Refusal as refusal:
            # One error for each caller: an exception that is raised twice grows, and keeps what its frames held.
            raise refusal.anew() from None

    async def close(self) -> None:
        """End the verifications that still run."""
        await end_tasks(list(self._running.values()))

    async def _verified(self, key: bytes, verify: Verify) -> External:
        external = await verify()
        self._keep(key, external)
        return external

    def _ended(self, key: bytes, task: "asyncio.Task[External]") -> None:
        self._running.pop(key, None)
        if not task.cancelled():
            task.exception()  # its callers may have gone, and asyncio reports what was never asked for

    def _found(self, key: bytes) -> External | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        # A clock that was set back must not make a token count for longer than the ceiling.
        if not timedelta() < entry.until - self._clock.now() <= self._ceiling:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.external

    def _keep(self, key: bytes, external: External) -> None:
        now = self._clock.now()
        until, size = min(external.expires_at, now + self._ceiling), _size_of(external.claims)
        if until <= now or size > self._max_bytes:
            return
        self._drop(key)
        self._entries[key] = _Entry(external, until, size)
        self._size += size
        while self._size > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size -= entry.size


def _size_of(claims: Mapping[str, Any]) -> int:
    return _OF_ENTRY + _OF_PYTHON * len(msgspec.json.encode(claims))
