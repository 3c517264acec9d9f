"""A bounded number of PostgreSQL connections, for reads that stand alone and for transactions.

What fails for a passing reason is tried once more where nothing can have happened yet: a read, or the beginning of a
transaction with its first statement. Everything else is refused, and the caller may send the request again.
"""

import asyncio
import time
from collections import deque
from typing import Any

from sqlalchemy import Executable

from shopkeeper.storage.connection_generation import ConnectionGeneration
from shopkeeper.storage.postgres_connection import PostgresConnection, PostgresServer
from shopkeeper.storage.statements import Parameters, Result
from shopkeeper.storage.time_budget import TimeBudget
from shopkeeper.storage.turns import Turns
from shopkeeper.storage.unavailable import DatabaseUnavailable, RetryAtOnce


class PostgresPool:
    """Connections that are handed out first come, first served, and the one that was used last first."""

    def __init__(self, server: PostgresServer, generation: ConnectionGeneration, *, size: int) -> None:
        self._server, self._generation = server, generation
        self.turns = Turns(size)
        self._idle: deque[PostgresConnection] = deque()
        self._closing: set[asyncio.Task[None]] = set()

    async def read(self, query: Executable, parameters: Parameters, budget: TimeBudget) -> Result:
        """Run a query outside any transaction."""
        try:
            return await self._read(query, parameters, budget)
        except RetryAtOnce:
            return await self._read(query, parameters, budget)

    async def take(self, budget: TimeBudget) -> "PostgresTransaction":
        """Wait for a free connection and return it; the caller gives it back. Raises `DatabaseUnavailable`."""
        return PostgresTransaction(self, await self._take(budget), budget)

    async def give_back(self, transaction: "PostgresTransaction") -> None:
        self._give_back(transaction.connection)

    async def replace(self, connection: PostgresConnection, budget: TimeBudget) -> PostgresConnection:
        """Drop a connection and return another one in its place. Raises `DatabaseUnavailable`."""
        connection.terminate()
        return await self._usable(budget)

    async def close(self) -> None:
        """Close all connections."""
        await self._server.close()
        await asyncio.gather(*(connection.close() for connection in self._idle), *self._closing)
        self._idle.clear()

    async def _read(self, query: Executable, parameters: Parameters, budget: TimeBudget) -> Result:
        connection = await self._take(budget)
        try:
            return await connection.execute(query, parameters)
        finally:
            self._give_back(connection)

    async def _take(self, budget: TimeBudget) -> PostgresConnection:
        if self.turns.locked():
            await self._wait_for_turn(budget)
        else:
            await self.turns.acquire()
        try:
            return await self._usable(budget)
        except BaseException:
            self.turns.release()
            raise

    async def _wait_for_turn(self, budget: TimeBudget) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(budget.at_most(self._server.deadlines.turn)):
                await self.turns.acquire()
        except TimeoutError as failed:
            raise DatabaseUnavailable(retry_after=1) from failed
        finally:
            budget.spend(time.monotonic() - began)

    async def _usable(self, budget: TimeBudget) -> PostgresConnection:
        connection = await self._idle_one(budget) or await self._server.connect(self._generation, budget)
        connection.lend(budget)
        return connection

    async def _idle_one(self, budget: TimeBudget) -> PostgresConnection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_usable:
                connection.terminate()
            elif await self._still_answers(connection, budget):
                return connection
            else:  # the others have been idle for even longer
                self._drop_idle()
        return None

    async def _still_answers(self, connection: PostgresConnection, budget: TimeBudget) -> bool:
        """Ask a connection that was idle for long: a firewall may have forgotten it, so that no answer ever comes."""
        deadlines, began = self._server.deadlines, time.monotonic()
        if began - connection.used_at < deadlines.idle:
            return True
        try:
            return await connection.answers(within=budget.at_most(deadlines.probe))
        except BaseException:
            connection.terminate()
            raise
        finally:
            budget.spend(time.monotonic() - began)

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().terminate()

    def _give_back(self, connection: PostgresConnection) -> None:
        """Keep a connection, or drop it. One on which a cancelled statement still runs keeps its turn until the server
        has ended that."""
        if connection.was_interrupted:
            closing = asyncio.create_task(connection.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closed)
            return
        if connection.is_usable:
            connection.used_at = time.monotonic()
            self._idle.append(connection)
        else:
            connection.terminate()
        self.turns.release()

    def _closed(self, closing: "asyncio.Task[None]") -> None:
        self._closing.discard(closing)
        self.turns.release()


class PostgresTransaction:
    """A transaction on one connection; until its first statement has succeeded, on whichever connection works."""

    def __init__(self, pool: PostgresPool, connection: PostgresConnection, budget: TimeBudget) -> None:
        self._pool, self.connection, self._budget = pool, connection, budget
        self._is_blank = True

    async def begin(self) -> None:
        try:
            await self.connection.begin()
        except RetryAtOnce:
            await self._begin_again()

    async def execute(self, statement: Executable, parameters: Any = None) -> Result:
        was_blank, self._is_blank = self._is_blank, False
        try:
            return await self.connection.execute(statement, parameters)
        except RetryAtOnce:
            if not was_blank:
                raise
        await self._begin_again()
        return await self.connection.execute(statement, parameters)

    async def commit(self) -> None:
        await self.connection.commit()

    async def rollback(self) -> None:
        """Roll back. Where the connection is lost, the server does it."""
        if self.connection.was_interrupted or not self.connection.is_open:
            return
        try:
            await self.connection.roll_back()
        except DatabaseUnavailable:
            self.connection.terminate()

    async def _begin_again(self) -> None:
        self.connection = await self._pool.replace(self.connection, self._budget)
        await self.connection.begin()
