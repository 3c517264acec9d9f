"""How long a unit of work may wait for the database, over all of its statements together."""

from shopkeeper.storage.unavailable import DatabaseUnavailable


class TimeBudget:
    """Seconds that are left for waiting. What a unit does between its statements does not count.

    Without it, each of many statements could wait for its own deadline.
    """

    __slots__ = ("left",)

    def __init__(self, seconds: float) -> None:
        self.left = seconds

    def spend(self, seconds: float) -> None:
        self.left -= seconds

    def at_most(self, seconds: float) -> float:
        """Return how long to wait for something that may take `seconds`.

        Raises `DatabaseUnavailable` where no time is left.
        """
        if self.left <= 0:
            raise DatabaseUnavailable(retry_after=1) from TimeoutError("the time of this unit of work is used up")
        return min(seconds, self.left)
