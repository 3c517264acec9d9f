"""The database and the unit of work: one transaction per request, opened by the door, by its first write.

Until a unit writes, each of its reads runs alone on a connection that goes straight back to the pool; so nothing is
held while a password is hashed or another server is asked. The first write (or `begin`) opens the transaction, and all
that follows runs inside it. Returning commits, raising rolls back.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import structlog
from sqlalchemy import CursorResult, Executable, Row, Select, text
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from shopkeeper.storage.lanes import (
    PATIENCE,
    Parameters,
    Pooled,
    ReadInPlace,
    Reads,
    Transacting,
    WriteInPlace,
    Writes,
    begin_immediately,
    prepare_sqlite,
)
from shopkeeper.storage.unavailable import DATABASE_ERRORS, DatabaseAway, is_away

log = structlog.get_logger("shopkeeper.database")

CONNECT_TIMEOUT = 5.0
"""Seconds to wait for a PostgreSQL server that swallows packets; the driver would wait a minute."""

_PATIENCE_OF_POSTGRESQL = {
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
}
"""How long a request may keep others waiting; migrations and bulk loading may take as long as they like."""

AfterCommit = Callable[[], Awaitable[None]]


class Unit:
    """One unit of work. Rooms read and write through it; only the door that opened it ends it.

    A statement that is asked often is built once, with named places for what differs, and gets its `parameters` beside:
    building one, or filling its places beforehand, takes longer than SQLite takes to answer it.
    """

    def __init__(self, dialect: str, reads: Reads, writes: Writes) -> None:
        self.dialect = dialect
        """`sqlite` or `postgresql`."""
        self._reads, self._writes = reads, writes
        self._open: Transacting | None = None
        self._after_commit: list[AfterCommit] = []
        self._always: list[tuple[Executable, Parameters]] = []

    async def all(self, query: Executable, parameters: Parameters = None) -> Sequence[Row[Any]]:
        """Every row of a query."""
        return (await self._read(query, parameters)).all()

    async def first(self, query: Executable, parameters: Parameters = None) -> Row[Any] | None:
        """The first row of a query, or none."""
        return (await self._read(query, parameters)).first()

    async def scalar(self, query: Executable, parameters: Parameters = None) -> Any:
        """The first column of the first row, or none."""
        return (await self._read(query, parameters)).scalar()

    async def write(self, statement: Executable, parameters: Parameters = None) -> CursorResult[Any]:
        """Executes a statement inside the transaction, which it opens if need be; once for each of many rows.

        Raises SQLAlchemy's `IntegrityError` where a constraint breaks; `broken_constraint` tells which.
        """
        await self.begin()
        assert self._open is not None  # noqa: S101 - `begin` has just opened it; this tells the type checker
        try:
            return await self._open.execute(statement, parameters)
        except DATABASE_ERRORS as failed:
            _refuse_if_away(failed)
            raise

    async def begin(self) -> None:
        """Opens the transaction now: what is read from here on stays true until the end, given row locks."""
        if self._open is None:
            try:
                self._open = await self._begun()
            except DATABASE_ERRORS as failed:
                _refuse_if_away(failed)
                raise

    async def _begun(self) -> Transacting:
        connection = await self._writes.take()
        try:
            await connection.begin()
        except BaseException:
            await self._writes.give_back(connection)
            raise
        return connection

    def after_commit(self, action: AfterCommit) -> None:
        """Does something once the change is safe: publish an invalidation, wake the outbox. Not done on rollback."""
        self._after_commit.append(action)

    def always(self, statement: Executable, parameters: Parameters = None) -> None:
        """Writes at the end whether the unit commits or rolls back: the audit of a refused attempt."""
        self._always.append((statement, parameters))

    async def _read(self, query: Executable, parameters: Parameters) -> CursorResult[Any]:
        try:
            if self._open is not None:
                return await self._open.execute(query, parameters)
            return await self._reads.read(query, parameters)
        except DATABASE_ERRORS as failed:
            _refuse_if_away(failed)
            raise

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
            try:
                await action()
            except Exception:  # the change is safe, and everybody else who is to hear of it must hear of it
                log.exception("database.after_commit_failed")

    async def _commit(self) -> None:
        for statement, parameters in self._always:
            await self.write(statement, parameters)
        if self._open is not None:
            try:
                await self._open.commit()
            except DATABASE_ERRORS as failed:
                _refuse_if_away(failed)
                raise
            await self._close()

    async def _roll_back(self) -> None:
        await self._undo()
        if self._always:
            try:
                await self._commit()
            except BaseException:
                await self._undo()
                raise

    async def _undo(self) -> None:
        if self._open is not None:
            try:
                await self._open.rollback()
            finally:
                await self._close()

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
            arguments["server_settings"] = {**_PATIENCE_OF_POSTGRESQL, **arguments.get("server_settings", {})}
        # A unit ends what it begins, so the pool has nothing to undo when a connection comes back. Parameters are
        # hashes, addresses and names; an error that ends in the log must not bring them there.
        options: dict[str, Any] = {
            "connect_args": arguments,
            "pool_reset_on_return": None,
            "hide_parameters": True,
            "json_serializer": _to_json,
            "json_deserializer": msgspec.json.decode,
        }
        writers = 1 if self.kind == "sqlite" else pool_size
        pool = create_async_engine(self.url, pool_size=writers, max_overflow=0, **options)
        self._pool = Pooled(pool, size=writers)
        if self.kind == "sqlite":
            prepare_sqlite(pool.sync_engine, patience=PATIENCE)
            begin_immediately(pool.sync_engine)
        self._reads: Reads
        self._writes: Writes = self._pool
        if self.kind == "sqlite" and not _in_memory(self.url):
            self._reads, self._writes = ReadInPlace(self.url, **options), WriteInPlace(self.url, **options)
            return
        reads = create_async_engine(
            self.url, pool_size=pool_size, max_overflow=0, isolation_level="AUTOCOMMIT", **options
        )
        self._reads = Pooled(reads, size=pool_size)
        if self.kind == "sqlite":
            prepare_sqlite(reads.sync_engine, patience=PATIENCE)

    @property
    def engines(self) -> tuple[Engine, Engine]:
        """For reading and for writing: for whoever listens to what is sent to them."""
        return self._reads.for_events, self._writes.for_events

    @asynccontextmanager
    async def unit(self) -> AsyncIterator[Unit]:
        """Opens a unit of work: commits on return, rolls back on any exception.

        Raises `DatabaseAway` where the database cannot be reached, or does not answer in time.

        >>> async with database.unit() as unit:  # doctest: +SKIP
        ...     await carts.add_line(unit, cart, line)
        """
        unit = Unit(self.kind, self._reads, self._writes)
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
        async with self._pool.connection() as connection, connection.begin():
            if self.kind == "postgresql":
                for setting in ("statement_timeout", "lock_timeout"):
                    await connection.execute(text(f"SET LOCAL {setting} = 0"))
            yield connection

    async def ping(self) -> None:
        """Raises what the driver raises when the database does not answer."""
        (await self._reads.read(text("SELECT 1"))).all()

    async def close(self) -> None:
        """Gives every connection back."""
        await self._reads.close()
        await self._writes.close()
        await self._pool.close()


def _refuse_if_away(failed: BaseException) -> None:
    """Raises `DatabaseAway` where that is what an error of the driver means."""
    if is_away(failed):
        log.warning("database.away", error=type(failed).__name__)
        raise DatabaseAway(retry_after=1) from failed


def broken_constraint(error: IntegrityError) -> str:
    """Names what an `IntegrityError` broke: the constraint on PostgreSQL, `table.column` on SQLite.

    The database decides uniqueness; the room that wrote translates what broke into its own refusal.
    """
    original: Any = getattr(error.orig, "__cause__", None) or error.orig
    named = getattr(original, "constraint_name", None)
    return str(named or error.orig)


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Finishes what it does even when cancelled meanwhile, and is cancelled then."""
    task, cancelled = asyncio.create_task(work), None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as gone:
            cancelled = gone
        except Exception:  # the task's own, which is raised below
            break
    task.result()
    if cancelled is not None:
        raise cancelled


def _to_json(document: Any) -> str:
    return msgspec.json.encode(document).decode()


def _in_memory(url: URL) -> bool:
    """Whether an SQLite database lives in this process only. It has no WAL, so its readers do wait for the writer."""
    return url.query.get("vfs") == "memdb"


def sqlite_path(url: URL) -> Path | None:
    """The file behind an SQLite URL."""
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


__all__ = ["Database", "Select", "Unit", "broken_constraint", "sqlite_path", "to_the_end"]
