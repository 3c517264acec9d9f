"""How statements reach SQLite: in the event loop's thread for a file, over a pool of connections for one in memory.

Connections are handed out first come, first served. SQLAlchemy's own queue gives a free connection to the task that
runs next, so that one busy task can starve all others.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import structlog
from sqlalchemy import Executable, create_engine, event
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import NullPool, StaticPool

from shopkeeper.storage.sqlite_file import OpenFile
from shopkeeper.storage.sqlite_statements import PreparedQueries
from shopkeeper.storage.statements import Parameters, Result
from shopkeeper.storage.time_budget import TimeBudget
from shopkeeper.storage.turns import Turns
from shopkeeper.storage.unavailable import DATABASE_ERRORS

Value = TypeVar("Value")

PATIENCE = 30_000
"""Milliseconds that SQLite waits for a lock in a thread of its own."""
PATIENCE_IN_PLACE = 5
"""Milliseconds that SQLite waits for a lock in the event loop's thread, where it blocks all tasks."""
TRIES_IN_PLACE = 500
PAUSE_IN_PLACE = 0.02
LONGEST_WAIT = 20.0
"""Seconds to wait for a free connection; after that the database counts as unavailable."""
CHECKPOINT_EVERY = 250
"""Transactions after which the write-ahead log is moved into the database file."""
WAL_TRIES = 100
_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "cache_size=-16000")

log = structlog.get_logger("shopkeeper.database")


class Pooled:
    """A bounded number of connections of an engine, for reads and for writes."""

    def __init__(self, engine: AsyncEngine, *, size: int) -> None:
        self._engine = engine
        self.turns = Turns(size)

    @property
    def for_events(self) -> Engine:
        return self._engine.sync_engine

    async def take(self, _budget: TimeBudget | None = None) -> AsyncConnection:
        async with asyncio.timeout(LONGEST_WAIT):
            await self.turns.acquire()
        try:
            return await self._engine.connect()
        except BaseException:
            self.turns.release()
            raise

    async def give_back(self, connection: AsyncConnection) -> None:
        try:
            await connection.close()
        finally:
            self.turns.release()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """Take a connection and give it back when the context ends."""
        connection = await self.take()
        try:
            yield connection
        finally:
            await self.give_back(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that commits on return."""
        async with self.connection() as connection, connection.begin():
            yield connection

    async def read(self, query: Executable, parameters: Parameters = None, _budget: TimeBudget | None = None) -> Result:
        async with self.connection() as connection:
            return await connection.execute(query, parameters)

    async def close(self) -> None:
        await self._engine.dispose()


class PooledInMemory(Pooled):
    """Connections to an SQLite database in memory, whose readers and writer lock each other.

    A statement that a cancellation interrupts stays open until its cursor is collected, and keeps its locks until then,
    even where its connection is closed. So every statement runs to its end; the cancellation is raised after it.
    """

    async def take(self, _budget: TimeBudget | None = None) -> Any:
        return UninterruptedConnection(await super().take())

    async def give_back(self, connection: Any) -> None:
        await super().give_back(connection.inner)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        async with super().connection() as connection:
            yield connection.inner  # type: ignore[attr-defined]  # what `take` of this class returns

    async def read(self, query: Executable, parameters: Parameters = None, _budget: TimeBudget | None = None) -> Result:
        async with super().connection() as connection:
            return await connection.execute(query, parameters)


class UninterruptedConnection:
    """A connection whose statements run to their end although the caller is cancelled meanwhile."""

    def __init__(self, inner: AsyncConnection) -> None:
        self.inner = inner

    async def begin(self) -> None:
        await _uninterrupted(self._begin())

    async def execute(self, statement: Executable, parameters: Any = None) -> Result:
        return await _uninterrupted(self.inner.execute(statement, parameters))

    async def commit(self) -> None:
        await _uninterrupted(self.inner.commit())

    async def rollback(self) -> None:
        await _uninterrupted(self.inner.rollback())

    async def _begin(self) -> None:
        await self.inner.begin()


async def _uninterrupted(work: Coroutine[Any, Any, Value]) -> Value:
    """Let work run to its end when the caller is cancelled, and raise the cancellation then."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


class InThread:
    """One connection to an SQLite file, used in the event loop's thread: most statements take less time than handing
    them to another thread and back."""

    def __init__(self, url: URL, **options: Any) -> None:
        self._engine = create_engine(url.set(drivername="sqlite"), poolclass=StaticPool, **options)
        self._connection: Connection | None = None
        self._file = OpenFile(url)
        prepare_sqlite(self._engine, patience=PATIENCE_IN_PLACE)

    @property
    def for_events(self) -> Engine:
        return self._engine

    @property
    def connection(self) -> Connection:
        """The connection, opened again where another file has taken the place of the one that was opened.

        Raises `FileGone` where there is no file any more.
        """
        if self._connection is not None and self._file.was_replaced():
            self._disconnect()
        if self._connection is None:
            self._file.require()  # SQLite would make an empty database in its place
            self._connection = self._engine.connect()
            self._file.opened()
        return self._connection

    async def close(self) -> None:
        self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._engine.dispose()


class ReadInThread(InThread):
    """Runs queries on one connection, which all tasks share: no other task runs between a query and its last row.

    In WAL mode a reader waits only while the file is recovered or switched to that mode.
    """

    def __init__(self, url: URL, **options: Any) -> None:
        super().__init__(url, isolation_level="AUTOCOMMIT", **options)
        self._prepared = PreparedQueries(self._engine.dialect)

    async def read(self, query: Executable, parameters: Parameters = None, _budget: TimeBudget | None = None) -> Result:
        prepared = self._prepared.of(query)
        # Whoever listens to the statements hears of those that SQLAlchemy executes.
        if prepared is not None and not self._engine.dispatch.before_cursor_execute:
            driver: Any = self.connection.connection.driver_connection
            try:
                return prepared.run(driver, parameters or {})  # type: ignore[arg-type] # queries take one mapping
            except (LookupError, sqlite3.Error):  # SQLAlchemy runs it again, or raises in its own words
                pass
        return await _patiently(lambda: self.connection.execute(query, parameters))


class WriteInThread(InThread):
    """Runs transactions one after the other: SQLite has one writer.

    A commit appends to the write-ahead log and does not wait for the disk. Moving the log into the file does wait, so
    that happens in another thread, and neither readers nor the writer stop for it.
    """

    def __init__(self, url: URL, **options: Any) -> None:
        super().__init__(url, **options)
        event.listen(self._engine, "connect", _checkpoint_by_hand)
        begin_immediately(self._engine)
        self._turn = asyncio.Semaphore(1)
        self._beside = create_engine(url.set(drivername="sqlite"), poolclass=NullPool, isolation_level="AUTOCOMMIT")
        self._since_checkpoint = 0
        self._checkpointing: asyncio.Task[None] | None = None

    async def take(self, _budget: TimeBudget | None = None) -> "TransactionInThread":
        async with asyncio.timeout(LONGEST_WAIT):
            await self._turn.acquire()
        try:
            return TransactionInThread(self.connection)
        except BaseException:
            self._turn.release()
            raise

    async def give_back(self, connection: "TransactionInThread") -> None:
        self._turn.release()
        self._since_checkpoint += 1
        if self._since_checkpoint >= CHECKPOINT_EVERY and (self._checkpointing is None or self._checkpointing.done()):
            self._since_checkpoint = 0
            self._checkpointing = asyncio.create_task(self._move_the_log())

    async def close(self) -> None:
        if self._checkpointing is not None:
            await asyncio.wait([self._checkpointing])
        await super().close()

    async def _move_the_log(self) -> None:
        """Move most of the log while the writer runs, then the rest while no transaction is open.

        SQLite restarts the log only once all of it was moved. Under load that would never happen by itself.
        """
        await asyncio.to_thread(self._checkpoint, "PASSIVE")
        async with self._turn:
            await asyncio.to_thread(self._checkpoint, "RESTART")

    def _checkpoint(self, mode: str) -> None:
        try:
            self._file.require()
            with self._beside.connect() as connection:
                connection.exec_driver_sql(f"PRAGMA wal_checkpoint({mode})")
        except DATABASE_ERRORS as failed:  # the log grows until the next attempt; no data is lost
            log.warning("database.checkpoint_failed", error=type(failed).__name__)


class TransactionInThread:
    """An asynchronous interface over a synchronous connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def begin(self) -> None:
        await _patiently(self._connection.begin)

    async def execute(self, statement: Executable, parameters: Any = None) -> Result:
        return self._connection.execute(statement, parameters)

    async def commit(self) -> None:
        self._connection.commit()

    async def rollback(self) -> None:
        self._connection.rollback()
        driver: Any = self._connection.connection.driver_connection
        if driver.in_transaction:  # after a failed commit SQLAlchemy's transaction has ended, but SQLite's has not
            driver.rollback()


async def _patiently(do: Callable[[], Value]) -> Value:
    """Call `do`, and repeat it while another connection holds the lock; other tasks run between attempts."""
    for _ in range(TRIES_IN_PLACE):
        try:
            return do()
        except (OperationalError, sqlite3.OperationalError) as failed:
            if not _is_busy(failed):
                raise
        await asyncio.sleep(PAUSE_IN_PLACE)
    return do()


def prepare_sqlite(engine: Engine, *, patience: int) -> None:
    """Switch to WAL, enforce foreign keys, and set how long to wait for a lock."""
    event.listen(engine, "connect", lambda connection, _record: _set_pragmas(connection, patience=patience))


def begin_immediately(engine: Engine) -> None:
    """Make every transaction take the write lock at its beginning, so that none has to upgrade a read lock."""
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))


def _checkpoint_by_hand(connection: Any, _record: Any) -> None:
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute("PRAGMA wal_autocheckpoint=0")


def _set_pragmas(connection: Any, *, patience: int) -> None:
    connection.isolation_level = None
    try:
        cursor = connection.cursor()
        for pragma in (f"busy_timeout={patience}", *_PRAGMAS):
            _set_pragma(cursor, pragma)
        cursor.close()
    except sqlite3.Error:  # not a database, or a read-only folder: an open connection would keep its thread alive
        connection.close()
        raise


def _set_pragma(cursor: Any, pragma: str) -> None:
    """Set a pragma, and repeat it while the file is locked: switching to WAL ignores SQLite's busy timeout."""
    for _ in range(WAL_TRIES - 1):
        try:
            cursor.execute(f"PRAGMA {pragma}")
        except sqlite3.OperationalError as failed:
            if not _is_busy(failed):
                raise
            time.sleep(0.05)
        else:
            return
    cursor.execute(f"PRAGMA {pragma}")


def _is_busy(failed: OperationalError | sqlite3.OperationalError) -> bool:
    """Whether an error only means that another connection holds a lock: the primary error code, without its details."""
    error = failed.orig if isinstance(failed, OperationalError) else failed
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
