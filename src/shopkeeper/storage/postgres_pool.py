"""A bounded number of PostgreSQL connections, for reads that stand alone and for transactions.

What fails for a passing reason is tried once more where nothing can have happened yet: a read, or the beginning of a
transaction with its first statement. Everything else is refused, and the caller may send the request again.
"""

import asyncio
from collections import deque
from typing import Any

from sqlalchemy import Executable

from shopkeeper.storage.compiled import Parameters, Result
from shopkeeper.storage.postgres_connection import PostgresConnection, PostgresServer
from shopkeeper.storage.turns import Turns
from shopkeeper.storage.unavailable import DatabaseInterrupted, DatabaseUnavailable


class PostgresPool:
    """Connections that are handed out first come, first served, and the one that was used last first."""

    def __init__(self, server: PostgresServer, *, size: int) -> None:
        self._server = server
        self.turns = Turns(size)
        self._idle: deque[PostgresConnection] = deque()
        self._closing: set[asyncio.Task[None]] = set()

    async def read(self, query: Executable, parameters: Parameters = None) -> Result:
        """Run a query outside any transaction."""
        try:
            return await self._read(query, parameters)
        except DatabaseInterrupted:
            return await self._read(query, parameters)

    async def take(self) -> "PostgresTransaction":
        """Wait for a free connection and return it; the caller gives it back. Raises `DatabaseUnavailable`."""
        return PostgresTransaction(self, await self._take())

    async def give_back(self, transaction: "PostgresTransaction") -> None:
        self._give_back(transaction.connection)

    async def replace(self, connection: PostgresConnection) -> PostgresConnection:
        """Drop a connection and return another one in its place. Raises `DatabaseUnavailable`."""
        connection.terminate()
        return await self._usable()

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(connection.close() for connection in self._idle), *self._closing)
        self._idle.clear()

    async def _read(self, query: Executable, parameters: Parameters) -> Result:
        connection = await self._take()
        try:
            return await connection.execute(query, parameters)
        finally:
            self._give_back(connection)

    async def _take(self) -> PostgresConnection:
        loop, waited = asyncio.get_running_loop(), 0.0
        if self.turns.locked() or not self._idle:
            began = loop.time()
            await self._wait_for_turn()
            connection = await self._or_release()
            waited = loop.time() - began
        else:
            await self.turns.acquire()
            connection = await self._or_release()
        connection.lend(waited=waited)
        return connection

    async def _wait_for_turn(self) -> None:
        try:
            async with asyncio.timeout(self._server.deadlines.turn):
                await self.turns.acquire()
        except TimeoutError as failed:
            raise DatabaseUnavailable(retry_after=1) from failed

    async def _or_release(self) -> PostgresConnection:
        try:
            return await self._usable()
        except BaseException:
            self.turns.release()
            raise

    async def _usable(self) -> PostgresConnection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
            connection.terminate()
        return await self._server.connect()

    def _give_back(self, connection: PostgresConnection) -> None:
        """Keep a connection, or drop it. One on which a cancelled statement still runs keeps its turn until the server
        has ended that."""
        if connection.was_interrupted:
            closing = asyncio.create_task(connection.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closed)
            return
        if connection.is_usable:
            self._idle.append(connection)
        else:
            connection.terminate()
        self.turns.release()

    def _closed(self, closing: "asyncio.Task[None]") -> None:
        self._closing.discard(closing)
        self.turns.release()


class PostgresTransaction:
    """A transaction on one connection; until its first statement has succeeded, on whichever connection works."""

    def __init__(self, pool: PostgresPool, connection: PostgresConnection) -> None:
        self._pool, self.connection = pool, connection
        self._is_blank = True

    async def begin(self) -> None:
        try:
            await self.connection.begin()
        except DatabaseInterrupted:
            await self._begin_again()

    async def execute(self, statement: Executable, parameters: Any = None) -> Result:
        was_blank, self._is_blank = self._is_blank, False
        try:
            return await self.connection.execute(statement, parameters)
        except DatabaseInterrupted:
            if not was_blank:
                raise
        await self._begin_again()
        return await self.connection.execute(statement, parameters)

    async def commit(self) -> None:
        await self.connection.end("COMMIT")

    async def rollback(self) -> None:
        """Roll back. Where the connection is lost, the server does it."""
        if self.connection.was_interrupted or not self.connection.is_open:
            return
        try:
            await self.connection.end("ROLLBACK")
        except DatabaseUnavailable:
            self.connection.terminate()

    async def _begin_again(self) -> None:
        self.connection = await self._pool.replace(self.connection)
        await self.connection.begin()
