"""The time, as an argument: code takes a `Clock`, and tests pass one that stands still."""

from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Returns the time. Every datetime in Shopkeeper is aware and in UTC."""

    def now(self) -> datetime:
        """Return the current time in UTC."""
        ...


class SystemClock:
    """The system's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class StoppedClock:
    """A clock that moves only when `advance` is called, for tests and for replaying events at their original times.

    >>> clock = StoppedClock(datetime(2026, 1, 1, tzinfo=UTC))
    >>> clock.advance(minutes=5)
    >>> clock.now().minute
    5
    """

    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self) -> datetime:
        return self._at

    def advance(self, **by: float) -> None:
        """Advance the time by the arguments of a `timedelta`."""
        self._at += timedelta(**by)
