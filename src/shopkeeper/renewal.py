"""A value that is read from elsewhere, kept for a while, and read again by one caller at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Generic, TypeVar

from shopkeeper.clock import Clock
from shopkeeper.errors import Refusal

RETRY: Final = timedelta(seconds=10)
"""How long a failed reading is not repeated while the former value can still be used."""
NO_PAUSE: Final = timedelta(0)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Kept(Generic[T]):
    value: T
    read_at: datetime


class Renewed(Generic[T]):
    """Keeps what `read` returns.

    Callers that need the same reading wait for one of them, under a lock rather than for a task: where that one is
    cancelled, the next one reads, and nothing runs on for callers that have gone. A reading that failed has failed for
    all that waited for it.

    Args:
        read: reads the value.
        fresh: the age up to which the value is used without a question.
        usable: the age up to which it is still used where it cannot be read again.
        failures: what `read` raises where it fails. Other exceptions are raised to the caller that read.
        stale_meanwhile: whether a usable value is returned while another caller reads, and for `RETRY` after a failure.
            Otherwise each caller waits for a reading, and a value that is not fresh is used only where that one failed.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[T]],
        *,
        clock: Clock,
        fresh: timedelta,
        usable: timedelta,
        failures: type[Refusal],
        stale_meanwhile: bool = True,
    ) -> None:
        self._read, self._clock, self._fresh, self._usable = read, clock, fresh, usable
        self._raises, self._stale_meanwhile = failures, stale_meanwhile
        self._lock = asyncio.Lock()
        self._kept: _Kept[T] | None = None
        self._failure: Refusal | None = None
        self._begun = self._ended = 0
        """The number of the reading that began last, and of the one that ended last and was not cancelled."""
        self._tried_at: datetime | None = None
        self._failures = 0
        self._failed_at = clock.now()

    def pause(self, failure: Any, *, in_row: int, floor: timedelta) -> timedelta:
        """Return how long there is no further reading after the end of one that failed, for callers of a floor.

        Args:
            in_row: how many have failed one after another.
        """
        return floor

    def told(self, failure: Any, *, left: timedelta) -> Refusal:
        """Return a failure for one more caller: an exception that is raised twice grows, and keeps what its frames
        held.

        Args:
            left: what is left of the pause.
        """
        further: Refusal = failure.anew()
        return further

    async def get(self, *, floor: timedelta = NO_PAUSE) -> T:
        """Return the value.

        Raises what `read` raises where no usable value is there, or what it raised, in the pause after it.

        Args:
            floor: the longest pause after an outage; none where the caller can be trusted to need it.
        """
        fresh, usable = self._younger(self._fresh), self._younger(self._usable)
        if fresh is not None:
            return fresh.value
        busy = self._lock.locked() or (self._failure is not None and self._tried_within(RETRY))
        if usable is not None and self._stale_meanwhile and busy:
            return usable.value
        if usable is not None or self._lock.locked() or not self._left(floor):
            await self._read_once(after=self._ended)
        usable = self._younger(self._usable)
        return usable.value if self._failure is not None and usable is not None else self.last(floor=floor)

    async def renew(self, *, floor: timedelta = NO_PAUSE) -> T:
        """Return a value whose reading began after this call, or the outcome of the last reading where that one began
        within `floor`. Raises what `read` raises: the former value is not returned in its place.
        """
        if self._lock.locked():
            await self._read_once(after=self._ended if floor else self._begun)
        elif not (self._left(floor) if self._failure is not None else self._tried_within(floor)):
            await self._read_once(after=self._begun)
        return self.last(floor=floor)

    def last(self, *, floor: timedelta = NO_PAUSE) -> T:
        """Return what the last reading returned, of whatever age, or raise what it raised."""
        if self._failure is not None:
            raise self.told(self._failure, left=self._left(floor))
        if self._kept is None:
            raise RuntimeError("nothing was read yet")
        return self._kept.value

    async def _read_once(self, *, after: int) -> None:
        """Wait for a reading of a higher number, and read where none has ended."""
        async with self._lock:
            if self._ended <= after:
                await self._read_now()

    async def _read_now(self) -> None:
        self._begun += 1
        started = self._clock.now()
        try:
            self._kept, self._failure, self._failures = _Kept(await self._read(), started), None, 0
        except self._raises as failure:
            self._failure, self._failures = failure.anew(), self._failures + 1
            self._failed_at = self._clock.now()
        self._tried_at, self._ended = started, self._begun

    def _left(self, floor: timedelta) -> timedelta:
        """Return what is left of the pause after a failure."""
        if self._failure is None:
            return NO_PAUSE
        pause = self.pause(self._failure, in_row=self._failures, floor=floor)
        return pause - (self._clock.now() - self._failed_at) if self._within(self._failed_at, pause) else NO_PAUSE

    def _younger(self, age: timedelta) -> _Kept[T] | None:
        """Return what is kept, None where it is older."""
        return self._kept if self._kept is not None and self._within(self._kept.read_at, age) else None

    def _tried_within(self, age: timedelta) -> bool:
        return self._tried_at is not None and self._within(self._tried_at, age)

    def _within(self, since: datetime, age: timedelta) -> bool:
        # A moment in the future means that the clock was set back: its age is unknown.
        return timedelta(0) <= self._clock.now() - since < age
