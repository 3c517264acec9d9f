"""The database and the unit of work, which holds at most one transaction.

Until a unit writes, each of its reads runs alone on a connection that returns to the pool at once, so that no
connection is held during password hashing or a remote call. The first write (or `begin`) opens the transaction, and all
later statements run inside it. Returning commits, raising rolls back.

A request that must wait for something, such as another server, takes a unit for each phase: `reading()` before the
transaction, `unit()` for the transaction. While a transaction is open, clients of other servers refuse to send requests
(`transaction_guard.py`).
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import structlog
from sqlalchemy import Select, text
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from shopkeeper.storage.connections import (
    PATIENCE,
    Pooled,
    PooledInMemory,
    ReadInThread,
    Reads,
    WriteInThread,
    Writes,
    begin_immediately,
    prepare_sqlite,
)
from shopkeeper.storage.unit import Unit

log = structlog.get_logger("shopkeeper.database")

CONNECT_TIMEOUT = 5.0
"""Seconds to wait for a PostgreSQL server that drops packets; the driver's default is a minute."""

_PATIENCE_OF_POSTGRESQL = {
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
}
"""Limits for one request, so that it cannot block others for long; migrations and bulk loading have no limits."""


class _Lifetime:
    """Opens and ends a unit of work. A class, because a generator would double the cost of an empty unit."""

    __slots__ = ("_unit",)

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def __aenter__(self) -> Unit:
        self._unit._scope.enter()
        return self._unit

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        try:
            if error is not None:
                await self._unit._roll_back()
            elif not self._unit._is_idle:
                # A cancelled request still finishes: subscribers must learn of what is committed.
                await to_the_end(self._unit._finish())
        finally:
            self._unit._scope.leave()


class Database:
    """A SQLite or PostgreSQL database, with one interface for both.

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
        # A unit ends its own transaction, so the pool need not reset a returned connection. Parameters are hashes,
        # addresses and names; they must not reach the log with an error.
        options: dict[str, Any] = {
            "connect_args": arguments,
            "pool_reset_on_return": None,
            "hide_parameters": True,
            "json_serializer": _to_json,
            "json_deserializer": msgspec.json.decode,
        }
        writers = 1 if self.kind == "sqlite" else pool_size
        pool = create_async_engine(self.url, pool_size=writers, max_overflow=0, **options)
        pooled = PooledInMemory if _in_memory(self.url) else Pooled
        self._pool = pooled(pool, size=writers)
        if self.kind == "sqlite":
            prepare_sqlite(pool.sync_engine, patience=PATIENCE)
            begin_immediately(pool.sync_engine)
        self._reads: Reads
        self._writes: Writes = self._pool
        if self.kind == "sqlite" and not _in_memory(self.url):
            self._reads, self._writes = ReadInThread(self.url, **options), WriteInThread(self.url, **options)
            return
        reads = create_async_engine(
            self.url, pool_size=pool_size, max_overflow=0, isolation_level="AUTOCOMMIT", **options
        )
        self._reads = pooled(reads, size=pool_size)
        if self.kind == "sqlite":
            prepare_sqlite(reads.sync_engine, patience=PATIENCE)

    @property
    def engines(self) -> tuple[Engine, Engine]:
        """The engines for reading and for writing, so that tools can listen to the statements."""
        return self._reads.for_events, self._writes.for_events

    def unit(self) -> AbstractAsyncContextManager[Unit]:
        """Open a unit of work: commit on return, roll back on any exception.

        Raises `DatabaseUnavailable` where the database cannot be reached or does not answer in time.

        >>> async with database.unit() as unit:  # doctest: +SKIP
        ...     await carts.add_line(unit, cart, line)
        """
        return _Lifetime(Unit(self.kind, self._reads, self._writes))

    def reading(self) -> AbstractAsyncContextManager[Unit]:
        """Open a unit of work that holds no transaction, so that the caller may wait for other servers.

        `write`, `begin` and `collect` raise `RuntimeError`. Statements passed to `always` are written at the end, in
        one transaction, whether the body returns or raises.

        >>> async with database.reading() as unit:  # doctest: +SKIP
        ...     proof = await method.submit_login(unit, submitted)
        """
        return _Lifetime(Unit(self.kind, self._reads, self._writes, reads_only=True))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Open a bare transaction without time limits, for migrations and bulk loading."""
        async with self._pool.connection() as connection, connection.begin():
            if self.kind == "postgresql":
                for setting in ("statement_timeout", "lock_timeout"):
                    await connection.execute(text(f"SET LOCAL {setting} = 0"))
            yield connection

    async def ping(self) -> None:
        """Run a query. Raises the driver's exception where the database does not answer."""
        (await self._reads.read(text("SELECT 1"))).all()

    async def close(self) -> None:
        """Close all connections."""
        await self._reads.close()
        await self._writes.close()
        await self._pool.close()


def broken_constraint(error: IntegrityError) -> str:
    """Return what an `IntegrityError` broke: the constraint on PostgreSQL, `table.column` on SQLite.

    The database decides uniqueness; the module that wrote translates the broken constraint into a refusal of its own.
    """
    original: Any = getattr(error.orig, "__cause__", None) or error.orig
    named = getattr(original, "constraint_name", None)
    return str(named or error.orig)


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Finish `work` even if the caller is cancelled meanwhile; then raise the cancellation."""
    task, cancelled = asyncio.create_task(work), None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as gone:
            cancelled = gone
        except Exception:  # raised by `task.result()` below
            break
    task.result()
    if cancelled is not None:
        raise cancelled


def _to_json(document: Any) -> str:
    return msgspec.json.encode(document).decode()


def _in_memory(url: URL) -> bool:
    """Whether an SQLite database is in memory. It has no WAL, so its readers wait for the writer."""
    return url.query.get("vfs") == "memdb"


def sqlite_path(url: URL) -> Path | None:
    """Return the file of an SQLite URL, or None for other databases."""
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


__all__ = ["Database", "Select", "Unit", "broken_constraint", "sqlite_path", "to_the_end"]
