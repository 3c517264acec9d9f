"""A circuit breaker: while a server is silent, one caller at a time tries it, and all others are refused at once.

Without it each request would wait for its own deadlines, one after the other, and hold its place in every queue.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from shopkeeper.storage.unavailable import DatabaseUnavailable


class CircuitBreaker:
    """Open while the server is silent: from a new connection that it did not answer until somebody reaches it."""

    def __init__(self) -> None:
        self._cause: BaseException | None = None
        self._probing = False

    @property
    def is_open(self) -> bool:
        return self._cause is not None

    def open(self, cause: BaseException) -> None:
        """Refuse callers from now on, because a wait ran out."""
        self._cause = cause

    def require_closed(self) -> None:
        """Raise `DatabaseUnavailable` while another caller tries the silent server."""
        if self._cause is not None and self._probing:
            raise DatabaseUnavailable(retry_after=1) from self._cause

    @contextmanager
    def connecting(self) -> Iterator[None]:
        """Connect inside this context: success closes the breaker. Raises `DatabaseUnavailable` as above."""
        if self._cause is None:
            yield
            return
        self.require_closed()
        self._probing = True
        try:
            yield
            self._cause = None
        finally:
            self._probing = False
