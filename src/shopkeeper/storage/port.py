"""What a unit of work needs of a database, whichever kind that is."""

from collections.abc import Awaitable
from typing import Any, Protocol

from sqlalchemy import Executable

from shopkeeper.storage.statements import Parameters, Result
from shopkeeper.storage.time_budget import TimeBudget


class Transacting(Protocol):
    """A connection that one unit of work uses until it gives it back."""

    def begin(self) -> Awaitable[object]: ...

    async def execute(self, statement: Executable, parameters: Any = None) -> Result: ...

    async def commit(self) -> None: ...

    async def rollback(self) -> None: ...


class Reads(Protocol):
    """Runs single queries."""

    async def read(self, query: Executable, parameters: Parameters, budget: TimeBudget) -> Result:
        """Run a query outside any transaction; the result must be fetched before anything is awaited.

        `budget` bounds the waits for another server; a file is waited for as long as its lock allows.
        """
        ...

    async def close(self) -> None: ...


class Writes(Protocol):
    """Provides connections for transactions."""

    async def take(self, budget: TimeBudget) -> Transacting:
        """Wait for a free connection and return it; the caller gives it back."""
        ...

    async def give_back(self, connection: Any) -> None: ...

    async def close(self) -> None: ...
