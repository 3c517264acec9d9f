"""A value that another server tells, kept for a while, and read again by one caller at a time."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

from shopkeeper.clock import Clock
from shopkeeper.openid.errors import CIRCUIT_OPEN, ProviderError, ProviderUnavailable

RETRY: Final = timedelta(seconds=10)
"""How long a failed reading is not repeated while the former value can still be used, or where the server did answer,
with something that is no such value: it will not answer better at once, and no circuit breaker counts that."""

FLOOR: Final = timedelta(seconds=10)
"""The time between two readings that callers can cause by tokens that they have written themselves."""
FIRST_PAUSE: Final = timedelta(seconds=1)
"""The same after one reading that found the server away: one that just starts is there soon. Each further failure in a
row doubles it, up to the floor."""

_NONE: Final = timedelta(0)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Kept(Generic[T]):
    value: T
    read_at: datetime


class Renewed(Generic[T]):
    """Keeps what `read` returns.

    Callers that need the same reading wait for one of them, under a lock rather than for a task: where that one is
    cancelled, the next one reads, and nothing runs on for callers that have gone.

    Args:
        read: reads the value. Raises `ProviderError`.
        fresh: the age up to which the value is used without a question.
        usable: the age up to which it is still used where it cannot be read again.
    """

    def __init__(self, read: Callable[[], Awaitable[T]], *, clock: Clock, fresh: timedelta, usable: timedelta) -> None:
        self._read, self._clock, self._fresh, self._usable = read, clock, fresh, usable
        self._lock = asyncio.Lock()
        self._kept: _Kept[T] | None = None
        self._readings = 0
        self._tried_at: datetime | None = None
        self._failure: ProviderError | None = None
        self._failures = 0
        self._failed_at = clock.now()

    async def get(self, *, floor: timedelta = _NONE) -> T:
        """Return the value.

        Raises what `read` raises where no usable value is there, with the time in `retry_after` after which it is read
        again; or what it raised, within that time: see `FIRST_PAUSE` where the server was away, and `RETRY`.

        Args:
            floor: the longest pause after a failure; none where the caller can be trusted to need it.
        """
        fresh, usable = self._younger(self._fresh), self._younger(self._usable)
        if fresh is not None:
            return fresh.value
        if usable is not None and (self._lock.locked() or (self._failure and self._tried_within(RETRY))):
            return usable.value
        failure = self._failure if usable is None and not self._lock.locked() else None
        if failure is not None and self._within(self._failed_at, self._pause(failure, floor)):
            raise self._told(failure, floor)
        return await self._read_once(floor)

    async def renew(self, *, floor: timedelta) -> T:
        """Return a value that was read just now, or the one at hand where the last reading began within `floor`.

        Raises what `read` raises where no usable value is there.
        """
        usable = self._younger(self._usable)
        if usable is not None and self._tried_within(floor) and not self._lock.locked():
            return usable.value
        return await self._read_once(floor)

    async def _read_once(self, floor: timedelta) -> T:
        before = self._readings
        async with self._lock:
            if self._readings == before:
                await self._read_now()
        usable = self._kept if self._failure is None else self._younger(self._usable)
        if usable is not None:
            return usable.value
        raise self._told(self._failure, floor) if self._failure is not None else ProviderUnavailable()

    async def _read_now(self) -> None:
        started = self._clock.now()
        try:
            self._kept, self._failure, self._failures = _Kept(await self._read(), started), None, 0
        except ProviderError as failure:
            self._failure, self._failures = copy(failure), self._failures + 1
            self._failed_at = self._clock.now()
        self._tried_at = started
        self._readings += 1

    def _pause(self, failure: ProviderError, floor: timedelta) -> timedelta:
        """Return how long there is no further reading after the end of the last one, which failed."""
        if not isinstance(failure, ProviderUnavailable):
            return max(floor, RETRY)
        if failure.cause == CIRCUIT_OPEN:
            return _NONE  # nothing was sent, and the breaker knows when something may be
        return min(floor, FIRST_PAUSE * (1 << min(self._failures - 1, 10)))

    def _told(self, failure: ProviderError, floor: timedelta) -> ProviderError:
        """Return a failure for one more caller: an exception that is raised twice grows, and keeps what its frames
        held."""
        told = copy(failure)
        pause = self._pause(failure, floor)
        if told.retry_after is None and pause:
            left = pause - (self._clock.now() - self._failed_at)
            told.retry_after = max(1, math.ceil(left.total_seconds()))
        return told

    def _younger(self, age: timedelta) -> _Kept[T] | None:
        """Return what is kept, None where it is older."""
        return self._kept if self._kept is not None and self._within(self._kept.read_at, age) else None

    def _tried_within(self, age: timedelta) -> bool:
        return self._tried_at is not None and self._within(self._tried_at, age)

    def _within(self, since: datetime, age: timedelta) -> bool:
        # A moment in the future means that the clock was set back: its age is unknown.
        return timedelta(0) <= self._clock.now() - since < age
