"""How often tokens of unknown keys may cause the keys to be read: a stranger can write such a token."""

from collections import deque
from datetime import datetime, timedelta
from typing import Final

AT_ONCE: Final = 10
PER: Final = timedelta(seconds=10)


class ReloadAllowance:
    """Allows `AT_ONCE` readings in each `PER`."""

    def __init__(self) -> None:
        self._taken: deque[datetime] = deque(maxlen=AT_ONCE)

    def take(self, now: datetime) -> bool:
        """Return whether the keys may be read now."""
        if len(self._taken) == AT_ONCE and timedelta() <= now - self._taken[0] < PER:
            return False
        self._taken.append(now)
        return True
