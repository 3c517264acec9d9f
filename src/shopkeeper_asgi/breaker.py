"""A circuit breaker: while the provider answers nothing, requests are not held until their deadline."""

from time import monotonic
from typing import Final

from shopkeeper_asgi.errors import ProviderUnavailable

MOST: Final = 5
"""Calls without an answer, one after another, at which the breaker opens."""
PAUSE: Final = 2.0
"""Seconds between the calls that are let through then, to see whether the provider is back."""


class Breaker:
    """Counts calls that got no answer in time. Every answer closes it again, whatever its status."""

    def __init__(self) -> None:
        self._unanswered = 0
        self._next = 0.0

    def require_closed(self) -> None:
        """Raise `ProviderUnavailable` while it is open, but for one call in each pause."""
        if self._unanswered < MOST:
            return
        now = monotonic()
        if now < self._next:
            raise ProviderUnavailable(f"the last {self._unanswered} calls got no answer", retry_after=int(PAUSE))
        self._next = now + PAUSE

    def answered(self) -> None:
        self._unanswered = 0

    def unanswered(self) -> None:
        self._unanswered += 1
        self._next = monotonic() + PAUSE
