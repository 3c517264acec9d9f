"""Keeps for a moment that a person of a provider got no identity, so that repeating the request costs little."""

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final

from shopkeeper.clock import Clock
from shopkeeper.errors import Refusal

LIFESPAN: Final = timedelta(seconds=5)
MOST: Final = 10_000


class RecentRefusals:
    """The refusals of the last seconds, by the hash of what was refused."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._refused: OrderedDict[bytes, tuple[datetime, Refusal]] = OrderedDict()

    def repeat(self, key: bytes) -> None:
        """Raise the refusal that is kept, if there is one."""
        until, refusal = self._refused.get(key, (None, None))
        if until is None or refusal is None:
            return
        # A clock that was set back must not keep a refusal for longer than its lifespan.
        if timedelta() < until - self._clock.now() <= LIFESPAN:
            raise refusal.anew()
        del self._refused[key]

    def keep(self, key: bytes, refusal: Refusal) -> None:
        """Keep a refusal. The oldest go first."""
        # Anew, without the traceback, which would keep what its frames held.
        self._refused[key] = (self._clock.now() + LIFESPAN, refusal.anew())
        while len(self._refused) > MOST:
            self._refused.popitem(last=False)
