"""The time, as an argument. Rooms take a `Clock`; tests give them one that stands still."""

from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the time. Every datetime in this house is aware and in UTC."""

    def now(self) -> datetime:
        """The present moment in UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class StoppedClock:
    """A clock that moves only when told to: for tests, and for replaying events at the time they happened.

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
        """Moves the time on; takes what `timedelta` takes."""
        self._at += timedelta(**by)
