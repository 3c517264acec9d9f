"""Tokens and cookies that another server has refused a moment ago: a page with an old cookie costs one call."""

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final

from shopkeeper.clock import Clock

LONGEST: Final = timedelta(seconds=2)
"""A session that has just begun may be unknown for a moment to one of the server's replicas."""
MOST: Final = 10_000


class RefusedTokens:
    """Keeps the hashes of what was refused.

    Args:
        ceiling: how long answers of the server are kept at most.
    """

    def __init__(self, *, clock: Clock, ceiling: timedelta) -> None:
        self._clock, self._lifespan = clock, min(ceiling, LONGEST)
        self._until: OrderedDict[bytes, datetime] = OrderedDict()

    def has(self, key: bytes) -> bool:
        """Whether this was refused a moment ago."""
        until = self._until.get(key)
        if until is None:
            return False
        # A clock that was set back must not keep a refusal for longer than its lifespan.
        if timedelta() < until - self._clock.now() <= self._lifespan:
            return True
        del self._until[key]
        return False

    def add(self, key: bytes) -> None:
        """Keep a refusal. The oldest go first."""
        if self._lifespan <= timedelta():
            return
        self._until[key] = self._clock.now() + self._lifespan
        while len(self._until) > MOST:
            self._until.popitem(last=False)
