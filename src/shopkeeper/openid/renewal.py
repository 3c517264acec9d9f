"""When a provider is read again: its metadata and keys are values that are renewed."""

import math
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, TypeVar

from shopkeeper.clock import Clock
from shopkeeper.openid.errors import CIRCUIT_OPEN, ProviderError, ProviderUnavailable
from shopkeeper.renewal import NO_PAUSE, RETRY, Renewed

FLOOR: Final = timedelta(seconds=10)
"""The time between two readings that callers can cause by tokens that they have written themselves."""
FIRST_PAUSE: Final = timedelta(seconds=1)
"""The same after one reading that found the server away: one that just starts is there soon. Each further failure in a
row doubles it, up to the floor."""

T = TypeVar("T")


class RenewedFromProvider(Renewed[T]):
    """Keeps what a provider tells. A failure that may be over soon says in `retry_after` when it is read again.

    What did answer, with something that is no such value, will not answer better at once, and no circuit breaker counts
    that: it is left alone for `RETRY`.
    """

    def __init__(self, read: Callable[[], Awaitable[T]], *, clock: Clock, fresh: timedelta, usable: timedelta) -> None:
        super().__init__(read, clock=clock, fresh=fresh, usable=usable, failures=ProviderError)

    def pause(self, failure: Exception, *, in_row: int, floor: timedelta) -> timedelta:
        if not isinstance(failure, ProviderUnavailable):
            return max(floor, RETRY)
        if failure.cause == CIRCUIT_OPEN:
            return NO_PAUSE  # nothing was sent, and the breaker knows when something may be
        return min(floor, FIRST_PAUSE * (1 << min(in_row - 1, 10)))

    def told(self, failure: ProviderError, *, left: timedelta) -> ProviderError:
        further = failure.anew()
        if further.retry_after is None and left > NO_PAUSE:
            further.retry_after = max(1, math.ceil(left.total_seconds()))
        return further
