"""Circuit breakers: while an endpoint does not answer, one call at a time tries it, and others fail at once.

Without them every sign-in would wait for its own deadline, and hold its connection meanwhile.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

from shopkeeper.clock import Clock
from shopkeeper.openid.errors import CIRCUIT_OPEN, ProviderUnavailable

FAILURES: Final = 5
"""Failures one after the other until the breaker opens. A single slow answer opens nothing."""
PAUSE: Final = timedelta(seconds=10)
"""The pause after a failure. `Retry-After` does not lengthen it: whoever can make a provider send one, by codes that it
never gave out, would keep everybody else from signing in. One call in each pause is little for a provider."""
BUSY_PAUSE: Final = timedelta(seconds=3)
"""The pause after the answer that calls come too often. The provider is there, and any stranger can cause that."""
MOST_ENDPOINTS: Final = 32
"""A provider has about seven; metadata that name others every hour must not fill the memory."""


class CircuitBreakers:
    """A breaker for each endpoint of a provider, because one may be away while the others answer."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._breakers: dict[str, CircuitBreaker] = {}

    def of(self, url: str) -> "CircuitBreaker":
        """Return the breaker of an endpoint; the query does not count."""
        endpoint = url.partition("?")[0]
        if endpoint not in self._breakers:
            if len(self._breakers) >= MOST_ENDPOINTS:
                del self._breakers[next(iter(self._breakers))]
            self._breakers[endpoint] = CircuitBreaker(self._clock)
        return self._breakers[endpoint]


class CircuitBreaker:
    """Closed while calls succeed; open for a pause after `FAILURES`; half open after it, until one probe has ended."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._open_until: datetime | None = None
        self._probing = False

    @contextmanager
    def call(self) -> Iterator["Call"]:
        """Make one call inside this context, and say on the `Call` how it ended.

        A call of which nothing was said, because it was cancelled early, changes nothing.

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
        if self._probing or timedelta(0) < left <= PAUSE:
            raise ProviderUnavailable(cause=CIRCUIT_OPEN, retry_after=max(1, math.ceil(left.total_seconds())))
        self._probing = True
        return True

    def _judge(self, call: "Call") -> None:
        if call.answered:
            self._failures, self._open_until = 0, None
        elif call.failed:
            self._failures += 1
            if self._failures >= FAILURES:
                self._open_until = self._clock.now() + call.pause


class Call:
    """How one call ended."""

    __slots__ = ("answered", "failed", "pause")

    def __init__(self) -> None:
        self.answered = self.failed = False
        self.pause = PAUSE

    def succeeded(self) -> None:
        """The provider answered, with success or with a refusal."""
        self.answered = True

    def broke(self) -> None:
        """The provider did not answer, or said that it cannot."""
        self.failed = True

    def came_too_often(self) -> None:
        """The provider answered that it is called too often."""
        self.failed, self.pause = True, BUSY_PAUSE
