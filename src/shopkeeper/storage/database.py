"""The database and the unit of work: one transaction per request, opened by the door, by its first write.

Until a unit writes, each of its reads runs alone on a connection that goes straight back to the pool; so nothing is
held while a password is hashed or another server is asked. The first write (or `begin`) opens the transaction, and all
that follows runs inside it. Returning commits, raising rolls back.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import CursorResult, Executable, Row, Select, create_engine, event, text
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool

CONNECT_TIMEOUT = 5.0
"""Seconds to wait for a PostgreSQL server that swallows packets; the driver would wait a minute."""

WAL_TRIES = 100

AfterCommit = Callable[[], Awaitable[None]]

PATIENCE = 30_000
"""Milliseconds that SQLite waits, in a thread of its own, for a lock that somebody else holds."""
PATIENCE_IN_PLACE = 5
"""The same where it would stop everybody else in this process; the rest of the waiting is done asleep."""
TRIES_IN_PLACE = 200
PAUSE_IN_PLACE = 0.05

_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=NORMAL",
    "foreign_keys=ON",
    "cache_size=-16000",
)


class Lane:
    """An engine and a fair queue for its connections, first come, first served.

    SQLAlchemy's own queue lets whoever runs take the next connection, so that one busy task can starve all others.
    """

    def __init__(self, engine: AsyncEngine, *, size: int) -> None:
        self.engine = engine
        self._turns = asyncio.Semaphore(size)

    async def take(self) -> AsyncConnection:
        """A connection, once it is our turn; to be given back."""
        await self._turns.acquire()
        try:
            return await self.engine.connect()
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

    async def read(self, query: Executable) -> CursorResult[Any]:
        """Runs a query alone, on a connection that goes straight back."""
        async with self.connection() as connection:
            return await connection.execute(query)

    async def close(self) -> None:
        await self.engine.dispose()


class ReadInPlace:
    """Reads SQLite in this very thread: a lookup takes less time than handing it to another thread and back.

    In WAL mode a reader hardly ever waits: only while the file is being recovered, or brought to that mode. One
    connection serves all, because nothing else can happen between a query and its last row.
    """

    def __init__(self, url: URL, **options: Any) -> None:
        self.engine = create_engine(
            url.set(drivername="sqlite"), poolclass=StaticPool, isolation_level="AUTOCOMMIT", **options
        )
        self._connection: Connection | None = None

    async def read(self, query: Executable) -> CursorResult[Any]:
        """Runs a query; the result must be fetched before anything is awaited."""
        for _ in range(TRIES_IN_PLACE):
            try:
                return self._read(query)
            except (OperationalError, sqlite3.OperationalError) as failed:
                if not _is_busy(failed):
                    raise
            await asyncio.sleep(PAUSE_IN_PLACE)
        return self._read(query)

    def _read(self, query: Executable) -> CursorResult[Any]:
        if self._connection is None:
            self._connection = self.engine.connect()
        return self._connection.execute(query)

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self.engine.dispose()


class Unit:
    """One unit of work. Rooms read and write through it; only the door that opened it ends it."""

    def __init__(self, reads: Lane | ReadInPlace, writes: Lane) -> None:
        self._reads, self._writes = reads, writes
        self._open: AsyncConnection | None = None
        self._after_commit: list[AfterCommit] = []
        self._always: list[Executable] = []

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._writes.engine.dialect.name

    async def all(self, query: Executable) -> Sequence[Row[Any]]:
        """Every row of a query."""
        return (await self._read(query)).all()

    async def first(self, query: Executable) -> Row[Any] | None:
        """The first row of a query, or none."""
        return (await self._read(query)).first()

    async def scalar(self, query: Executable) -> Any:
        """The first column of the first row, or none."""
        return (await self._read(query)).scalar()

    async def write(self, statement: Executable, rows: Sequence[dict[str, Any]] | None = None) -> CursorResult[Any]:
        """Executes a statement inside the transaction, which it opens if need be.

        Raises SQLAlchemy's `IntegrityError` where a constraint breaks; `broken_constraint` tells which.
        """
        await self.begin()
        assert self._open is not None  # noqa: S101 - `begin` has just opened it; this tells the type checker
        return await self._open.execute(statement, rows)

    async def begin(self) -> None:
        """Opens the transaction now: what is read from here on stays true until the end, given row locks."""
        if self._open is None:
            self._open = await self._writes.take()
            await self._open.begin()

    def after_commit(self, action: AfterCommit) -> None:
        """Does something once the change is safe: publish an invalidation, wake the outbox. Not done on rollback."""
        self._after_commit.append(action)

    def always(self, statement: Executable) -> None:
        """Writes at the end whether the unit commits or rolls back: the audit of a refused attempt."""
        self._always.append(statement)

    async def _read(self, query: Executable) -> CursorResult[Any]:
        if self._open is not None:
            return await self._open.execute(query)
        return await self._reads.read(query)

    @property
    def _is_idle(self) -> bool:
        """Whether nothing was written, and nothing is to be told."""
        return self._open is None and not self._always and not self._after_commit

    async def _finish(self) -> None:
        try:
            await self._commit()
        except BaseException:
            await self._roll_back()
            raise
        for action in self._after_commit:
            await action()

    async def _commit(self) -> None:
        for statement in self._always:
            await self.write(statement)
        if self._open is not None:
            await self._open.commit()
            await self._close()

    async def _roll_back(self) -> None:
        if self._open is not None:
            try:
                await self._open.rollback()
            finally:
                await self._close()
        if self._always:
            async with self._writes.connection() as connection, connection.begin():
                for statement in self._always:
                    await connection.execute(statement)

    async def _close(self) -> None:
        connection, self._open = self._open, None
        if connection is not None:
            await self._writes.give_back(connection)


class Database:
    """SQLite or PostgreSQL behind the same few verbs.

    Args:
        url: an SQLAlchemy URL with an async driver: `sqlite+aiosqlite:///path`, `postgresql+asyncpg://…`.
        pool_size: connections for reading and, on PostgreSQL, as many again for transactions. SQLite has one writer.
        connect_args: passed to the driver.
    """

    def __init__(self, url: str | URL, *, pool_size: int = 10, connect_args: dict[str, Any] | None = None) -> None:
        self.url = make_url(url)
        self.kind = self.url.get_backend_name()
        arguments = dict(connect_args or {})
        if self.kind == "postgresql":
            arguments.setdefault("timeout", CONNECT_TIMEOUT)
        writers = 1 if self.kind == "sqlite" else pool_size
        # A unit ends what it begins, so the pool has nothing to undo when a connection comes back. Parameters are
        # hashes, addresses and names; an error that ends in the log must not bring them there.
        options = {"connect_args": arguments, "pool_reset_on_return": None, "hide_parameters": True}
        writes = create_async_engine(self.url, pool_size=writers, max_overflow=0, **options)
        self._writes = Lane(writes, size=writers)
        self._reads: Lane | ReadInPlace
        if self.kind == "sqlite" and not _in_memory(self.url):
            self._reads = ReadInPlace(self.url, **options)
        else:
            reads = create_async_engine(
                self.url, pool_size=pool_size, max_overflow=0, isolation_level="AUTOCOMMIT", **options
            )
            self._reads = Lane(reads, size=pool_size)
        if self.kind == "sqlite":
            in_place = isinstance(self._reads, ReadInPlace)
            for_reading, for_writing = self.engines
            _prepare_sqlite(for_reading, patience=PATIENCE_IN_PLACE if in_place else PATIENCE)
            _prepare_sqlite(for_writing, patience=PATIENCE)
            # So that a writer never has to upgrade its lock.
            event.listen(for_writing, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))

    @property
    def engines(self) -> tuple[Engine, Engine]:
        """For reading and for writing: for whoever listens to what is sent to them."""
        reads = self._reads.engine
        return reads.sync_engine if isinstance(reads, AsyncEngine) else reads, self._writes.engine.sync_engine

    @asynccontextmanager
    async def unit(self) -> AsyncIterator[Unit]:
        """Opens a unit of work: commits on return, rolls back on any exception.

        >>> async with database.unit() as unit:  # doctest: +SKIP
        ...     await carts.add_line(unit, cart, line)
        """
        unit = Unit(self._reads, self._writes)
        try:
            yield unit
        except BaseException:
            await unit._roll_back()
            raise
        if not unit._is_idle:
            # What is committed must be told, even if whoever asked for it has gone meanwhile.
            await to_the_end(unit._finish())

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A bare transaction, for migrations and bulk loading."""
        async with self._writes.connection() as connection, connection.begin():
            yield connection

    async def ping(self) -> None:
        """Raises what the driver raises when the database does not answer."""
        (await self._reads.read(text("SELECT 1"))).all()

    async def close(self) -> None:
        """Gives every connection back."""
        await self._reads.close()
        await self._writes.close()


def broken_constraint(error: IntegrityError) -> str:
    """Names what an `IntegrityError` broke: the constraint on PostgreSQL, `table.column` on SQLite.

    The database decides uniqueness; the room that wrote translates what broke into its own refusal.
    """
    original: Any = getattr(error.orig, "__cause__", None) or error.orig
    named = getattr(original, "constraint_name", None)
    return str(named or error.orig)


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Finishes what it does even when cancelled meanwhile, and is cancelled then."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def _prepare_sqlite(engine: Engine, *, patience: int) -> None:
    """WAL, foreign keys, and how long to wait for a lock."""
    event.listen(engine, "connect", lambda connection, _record: _set_pragmas(connection, patience=patience))


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


def _in_memory(url: URL) -> bool:
    """Whether an SQLite database lives in this process only. It has no WAL, so its readers do wait for the writer."""
    return url.query.get("vfs") == "memdb"


def sqlite_path(url: URL) -> Path | None:
    """The file behind an SQLite URL."""
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


__all__ = ["Database", "Select", "Unit", "broken_constraint", "sqlite_path", "to_the_end"]
