"""Verified tokens, for a few seconds: with a ceiling, and never beyond the expiry of a session."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from shopkeeper_asgi.user import User

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Verified:
    """A verified token.

    Args:
        expires_at: when the session or the token ends, in seconds since 1970; None where the provider does not say.
        cache_for: seconds for which the provider allows to remember the answer; None where it does not say.
    """

    user: User
    expires_at: float | None = None
    cache_for: float | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    user: User
    until: float  # of the monotonic clock: setting the machine's clock back makes nothing live longer
    expires_at: float | None


class UserCache:
    """Remembers verified tokens under their digest.

    Any thread may read; one thread alone writes, so no lock is needed. The oldest entry goes first. Only successes are
    remembered: a failure may be an outage, and a session may be confirmed in the next moment.

    Args:
        seconds: the longest time for which an answer is used again; 0 switches the cache off.
        entries: how many answers are kept at most.
    """

    def __init__(
        self, *, seconds: float, entries: int, now: Clock = time.time, monotonic: Clock = time.monotonic
    ) -> None:
        if seconds < 0 or entries < 1:
            raise ValueError("a cache keeps at least one entry, for 0 seconds or more")
        self._seconds, self._most = seconds, entries
        self._now, self._monotonic = now, monotonic
        self._entries: dict[bytes, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> User | None:
        """Return the user of a token that was verified a moment ago, None for others."""
        entry = self._entries.get(key)
        if entry is None or entry.until <= self._monotonic():
            return None
        return entry.user if entry.expires_at is None or self._now() < entry.expires_at else None

    def put(self, key: bytes, verified: Verified) -> None:
        """Remember a verified token. To be called in one thread alone."""
        seconds = self._seconds if verified.cache_for is None else min(self._seconds, verified.cache_for)
        if seconds <= 0:
            return
        now = self._monotonic()
        self._entries.pop(key, None)
        self._make_room(now)
        self._entries[key] = _Entry(verified.user, now + seconds, verified.expires_at)

    def _make_room(self, now: float) -> None:
        while self._entries:
            oldest = next(iter(self._entries))
            if len(self._entries) < self._most and self._entries[oldest].until > now:
                return
            del self._entries[oldest]
