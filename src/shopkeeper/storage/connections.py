"""How statements get to the database: over a pool of connections, or, for an SQLite file, in this very thread.

A lane hands out connections first come, first served. SQLAlchemy's own queue lets whoever runs take the next one, so
that one busy task can starve all others.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import structlog
from sqlalchemy import CursorResult, Executable, create_engine, event
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import NullPool, StaticPool

from shopkeeper.storage.unavailable import DATABASE_ERRORS

Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
"""The values of a statement's named places, or those of many executions of it."""
Result = TypeVar("Result")

PATIENCE = 30_000
"""Milliseconds that SQLite waits, in a thread of its own, for a lock that somebody else holds."""
PATIENCE_IN_PLACE = 5
"""The same where it would stop everybody else in this process; the rest of the waiting is done asleep."""
TRIES_IN_PLACE = 500
PAUSE_IN_PLACE = 0.02
LONGEST_WAIT = 20.0
"""Seconds to wait for one of so many connections; then the database is as good as away."""
CHECKPOINT_EVERY = 250
"""Transactions after which what they wrote is moved from the write-ahead log into the database's file."""
WAL_TRIES = 100
_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "cache_size=-16000")

log = structlog.get_logger("shopkeeper.database")


class Transacting(Protocol):
    """A connection that belongs to one unit of work for a while."""

    def begin(self) -> Awaitable[object]: ...

    async def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]: ...

    async def commit(self) -> None: ...

    async def rollback(self) -> None: ...


class Reads(Protocol):
    """Where single queries go."""

    @property
    def for_events(self) -> Engine: ...

    async def read(self, query: Executable, parameters: Parameters = None) -> CursorResult[Any]:
        """Runs a query alone; the result must be fetched before anything is awaited."""
        ...

    async def close(self) -> None: ...


class Writes(Protocol):
    """Where transactions go."""

    @property
    def for_events(self) -> Engine: ...

    async def take(self) -> Transacting:
        """A connection, once it is our turn; to be given back."""
        ...

    async def give_back(self, connection: Any) -> None: ...

    async def close(self) -> None: ...


class Pooled:
    """Connections of an engine, so many at once. Reads and writes alike."""

    def __init__(self, engine: AsyncEngine, *, size: int) -> None:
        self._engine = engine
        self._turns = asyncio.Semaphore(size)

    @property
    def for_events(self) -> Engine:
        return self._engine.sync_engine

    async def take(self) -> AsyncConnection:
        async with asyncio.timeout(LONGEST_WAIT):
            await self._turns.acquire()
        try:
            return await self._engine.connect()
        except BaseException:
            self._turns.release()
            raise

    async def give_back(self, connection: AsyncConnection) -> None:
        try:
            await connection.close()
        finally:
            self._turns.release()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """A connection for as long as the context lasts."""
        connection = await self.take()
        try:
            yield connection
        finally:
            await self.give_back(connection)

    async def read(self, query: Executable, parameters: Parameters = None) -> CursorResult[Any]:
        async with self.connection() as connection:
            try:
                return await connection.execute(query, parameters)
            except asyncio.CancelledError:
                if self._engine.dialect.name == "sqlite":
                    # The interrupted statement may still be open. It would keep the writer of an in-memory database out
                    # for as long as the connection waits in the pool.
                    await connection.invalidate()
                raise

    async def close(self) -> None:
        await self._engine.dispose()


class InThread:
    """One connection to an SQLite file, used in this very thread: a statement takes less time than handing it to
    another thread and back."""

    def __init__(self, url: URL, **options: Any) -> None:
        self._engine = create_engine(url.set(drivername="sqlite"), poolclass=StaticPool, **options)
        self._connection: Connection | None = None
        prepare_sqlite(self._engine, patience=PATIENCE_IN_PLACE)

    @property
    def for_events(self) -> Engine:
        return self._engine

    @property
    def connection(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._engine.dispose()


class ReadInThread(InThread):
    """Reads. In WAL mode a reader hardly ever waits: only while the file is being recovered, or brought to that mode.
    One connection serves all, because nothing else can happen between a query and its last row."""

    def __init__(self, url: URL, **options: Any) -> None:
        super().__init__(url, isolation_level="AUTOCOMMIT", **options)

    async def read(self, query: Executable, parameters: Parameters = None) -> CursorResult[Any]:
        return await _patiently(lambda: self.connection.execute(query, parameters))


class WriteInThread(InThread):
    """Transactions, one after the other: SQLite has one writer anyhow.

    A commit appends to the write-ahead log and waits for no disk. Moving the log into the file does wait, so that is
    done beside, in a thread, and neither readers nor the writer stop for it.
    """

    def __init__(self, url: URL, **options: Any) -> None:
        super().__init__(url, **options)
        event.listen(self._engine, "connect", _checkpoint_by_hand)
        begin_immediately(self._engine)
        self._turn = asyncio.Semaphore(1)
        self._beside = create_engine(url.set(drivername="sqlite"), poolclass=NullPool, isolation_level="AUTOCOMMIT")
        self._since_checkpoint = 0
        self._checkpointing: asyncio.Task[None] | None = None

    async def take(self) -> "TransactionInThread":
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
        """Most of it while the writer goes on, and the little that came meanwhile while nobody writes: SQLite begins
        the log anew only where all of it was moved, and under load that moment would never come by itself."""
        await asyncio.to_thread(self._checkpoint, "PASSIVE")
        async with self._turn:
            await asyncio.to_thread(self._checkpoint, "RESTART")

    def _checkpoint(self, mode: str) -> None:
        try:
            with self._beside.connect() as connection:
                connection.exec_driver_sql(f"PRAGMA wal_checkpoint({mode})")
        except DATABASE_ERRORS as failed:  # the log grows meanwhile, and nothing is lost
            log.warning("database.checkpoint_failed", error=type(failed).__name__)


class TransactionInThread:
    """The verbs of an asynchronous connection over one that is not."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def begin(self) -> None:
        await _patiently(self._connection.begin)

    async def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        return self._connection.execute(statement, parameters)

    async def commit(self) -> None:
        self._connection.commit()

    async def rollback(self) -> None:
        self._connection.rollback()
        driver: Any = self._connection.connection.driver_connection
        if driver.in_transaction:  # a commit that failed has ended it for SQLAlchemy, and not for SQLite
            driver.rollback()


async def _patiently(do: Callable[[], Result]) -> Result:
    """Does something that somebody else's lock may stand in the way of; all others in this process go on meanwhile."""
    for _ in range(TRIES_IN_PLACE):
        try:
            return do()
        except (OperationalError, sqlite3.OperationalError) as failed:
            if not _is_busy(failed):
                raise
        await asyncio.sleep(PAUSE_IN_PLACE)
    return do()


def prepare_sqlite(engine: Engine, *, patience: int) -> None:
    """WAL, foreign keys, and how long to wait for a lock."""
    event.listen(engine, "connect", lambda connection, _record: _set_pragmas(connection, patience=patience))


def begin_immediately(engine: Engine) -> None:
    """Every transaction takes the writer's lock at once, so that none ever has to upgrade a reader's."""
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
    except sqlite3.Error:  # not a database, a read-only folder: nobody else would end this connection's thread
        connection.close()
        raise


def _set_pragma(cursor: Any, pragma: str) -> None:
    """Switching a new file to WAL does not wait for others who do the same; so we do."""
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
    """Whether somebody else only holds a lock: the primary code of the error, without its details."""
    error = failed.orig if isinstance(failed, OperationalError) else failed
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
