"""The database and the unit of work, which holds at most one transaction.

Until a unit writes, each of its reads runs alone on a connection that goes straight back to the pool; so nothing is
held while a password is hashed or another server is asked. The first write (or `begin`) opens the transaction, and all
that follows runs inside it. Returning commits, raising rolls back.

A request that must wait for something, such as another server, takes a unit for each phase: `reading()` for what comes
before the transaction, `unit()` for the transaction. While one is open, clients of other servers refuse to call
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
"""Seconds to wait for a PostgreSQL server that swallows packets; the driver would wait a minute."""

_PATIENCE_OF_POSTGRESQL = {
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
}
"""How long a request may keep others waiting; migrations and bulk loading may take as long as they like."""


class _Lifetime:
    """A unit of work from its opening to its end. No generator, which would take half of the time of an empty unit."""

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
                # What is committed must be told, even if the caller has gone meanwhile.
                await to_the_end(self._unit._finish())
        finally:
            self._unit._scope.leave()


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
            self._reads, self._writes = ReadInThread(self.url, **options), WriteInThread(self.url, **options)
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

    def unit(self) -> AbstractAsyncContextManager[Unit]:
        """Opens a unit of work: commits on return, rolls back on any exception.

        Raises `DatabaseUnavailable` where the database cannot be reached, or does not answer in time.

        >>> async with database.unit() as unit:  # doctest: +SKIP
        ...     await carts.add_line(unit, cart, line)
        """
        return _Lifetime(Unit(self.kind, self._reads, self._writes))

    def reading(self) -> AbstractAsyncContextManager[Unit]:
        """Opens a unit of work that never holds a transaction while it is in use, so that its user may wait for others.

        `write`, `begin` and `collect` raise `RuntimeError`. What is to be written `always` is written at the end, in
        one transaction, whether the body returns or raises.

        >>> async with database.reading() as unit:  # doctest: +SKIP
        ...     proof = await method.submit_login(unit, submitted)
        """
        return _Lifetime(Unit(self.kind, self._reads, self._writes, reads_only=True))

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
