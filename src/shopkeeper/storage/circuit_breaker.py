"""A circuit breaker: while a server is silent, one caller at a time tries it, and all others are refused at once.

Without it each request would wait for its own deadlines, one after the other, and hold its place in every queue.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from shopkeeper.storage.unavailable import DatabaseUnavailable


class CircuitBreaker:
    """Open while the server is silent: from the first wait that ran out until somebody reaches it again."""

    def __init__(self) -> None:
        self._cause: BaseException | None = None
        self._probing = False
        self.generation = 0
        """Raised where connections that were made earlier are not to be used again."""

    def open(self, cause: BaseException) -> None:
        """Refuse callers from now on, because a wait ran out."""
        self._cause = cause
        self.distrust()

    def distrust(self) -> None:
        """Use no connection again that was made until now, such as those to a server that became read-only."""
        self.generation += 1

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
