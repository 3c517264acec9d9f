"""A circuit breaker for one provider: while it does not answer, one call at a time tries it, and others fail at once.

Without it every sign-in would wait for its own deadline, and hold its connection meanwhile.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

from shopkeeper.clock import Clock
from shopkeeper.openid.errors import ProviderUnavailable

FAILURES: Final = 5
"""Failures one after the other until the breaker opens. A single slow answer opens nothing."""
PAUSE: Final = timedelta(seconds=10)
LONGEST_PAUSE: Final = timedelta(minutes=2)
"""The longest time for which a provider's `Retry-After` is followed."""


class CircuitBreaker:
    """Closed while calls succeed; open for a pause after `FAILURES`; half open after it, until one probe has ended.

    The pause is `PAUSE`, or what `Retry-After` of the last failure said.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._open_until: datetime | None = None
        self._probing = False

    @contextmanager
    def call(self) -> Iterator["Call"]:
        """Make one call inside this context, and say on the `Call` how it ended.

        A call of which nothing was said, because it was cancelled, changes nothing.

        Raises:
            ProviderUnavailable: the breaker is open, or half open and another call is the probe.
        """
        probe = self._enter()
        call = Call()
        try:
            yield call
        finally:
            if probe:
                self._probing = False
            self._judge(call)

    def _enter(self) -> bool:
        """Return whether this call is the probe."""
        if self._open_until is None:
            return False
        left = self._open_until - self._clock.now()
        # A clock that was set back must not keep a breaker open for longer than a pause can be.
        if self._probing or timedelta(0) < left <= LONGEST_PAUSE:
            raise ProviderUnavailable(cause="circuit_open", retry_after=max(1, round(left.total_seconds())))
        self._probing = True
        return True

    def _judge(self, call: "Call") -> None:
        if call.answered:
            self._failures, self._open_until = 0, None
        elif call.failed:
            self._failures += 1
            if self._failures >= FAILURES:
                pause = PAUSE if call.retry_after is None else timedelta(seconds=call.retry_after)
                self._open_until = self._clock.now() + min(max(pause, PAUSE), LONGEST_PAUSE)


class Call:
    """How one call ended."""

    __slots__ = ("answered", "failed", "retry_after")

    def __init__(self) -> None:
        self.answered = self.failed = False
        self.retry_after: int | None = None

    def succeeded(self) -> None:
        """The provider answered, whatever it said."""
        self.answered = True

    def broke(self, *, retry_after: int | None = None) -> None:
        """The provider did not answer, or said that it cannot. `retry_after` is in seconds."""
        self.failed, self.retry_after = True, retry_after
