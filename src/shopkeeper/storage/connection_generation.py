"""Which connections of a pool are still trusted: those of the present generation."""

import time
from collections.abc import Callable
from typing import Final

RETIRE_AT_MOST_EVERY: Final = 1.0
"""Seconds between two generations, where what retires them is observed again and again."""


class ConnectionGeneration:
    """Numbers the generations of a pool's connections: what one connection has met, all of its generation will meet."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._retired_at = float("-inf")
        self.number = 0

    def retire(self) -> None:
        """Use no connection again that was made until now."""
        self.number += 1
        self._retired_at = self._now()

    def retire_observed(self, number: int) -> bool:
        """Retire the generation in which something was observed, once. Returns whether newer connections may differ."""
        if number != self.number:
            return True
        if self._now() - self._retired_at < RETIRE_AT_MOST_EVERY:
            return False
        self.retire()
        return True
