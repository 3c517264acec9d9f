"""The database and the unit of work, which holds at most one transaction.

Until a unit writes, each of its reads runs alone on a connection that returns to the pool at once, so that no
connection is held during password hashing or a remote call. The first write (or `begin`) opens the transaction, and all
later statements run inside it. Returning commits, raising rolls back.

A request that must wait for something, such as another server, takes a unit for each phase: `reading()` before the
transaction, `unit()` for the transaction. While a transaction is open, clients of other servers refuse to send requests
(`transaction_guard.py`).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog
from sqlalchemy import Select, event, text
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from shopkeeper.storage.port import Reads, Writes
from shopkeeper.storage.postgres_bulk import bulk_transactions
from shopkeeper.storage.postgres_connection import Deadlines, Observe, PostgresServer
from shopkeeper.storage.postgres_pool import PostgresPool
from shopkeeper.storage.sqlite_connections import (
    PATIENCE,
    Pooled,
    PooledInMemory,
    ReadInThread,
    WriteInThread,
    begin_immediately,
    prepare_sqlite,
)
from shopkeeper.storage.statements import to_json
from shopkeeper.storage.turns import Turns
from shopkeeper.storage.unavailable import StorageUnavailable, read_only
from shopkeeper.storage.unit import Unit

log = structlog.get_logger("shopkeeper.database")

_IS_READ_ONLY = text("SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean")


# A unit ends its own transaction, so the pool need not reset a returned connection. Parameters are hashes, addresses
# and names; they must not reach the log with an error.
_OPTIONS: Mapping[str, Any] = {
    "pool_reset_on_return": None,
    "hide_parameters": True,
    "json_serializer": to_json,
    "json_deserializer": msgspec.json.decode,
}


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
        deadlines: how long to wait for PostgreSQL.
    """

    def __init__(
        self,
        url: str | URL,
        *,
        pool_size: int = 10,
        connect_args: Mapping[str, Any] | None = None,
        deadlines: Deadlines = Deadlines(),  # noqa: B008 - an immutable value
    ) -> None:
        self.url = make_url(url)
        self.kind = self.url.get_backend_name()
        self._seconds = deadlines.total
        if self.kind == "postgresql":
            self._backend = _postgresql(self.url, pool_size, connect_args or {}, deadlines)
        else:
            self._backend = _sqlite(self.url, pool_size, connect_args or {})

    @contextmanager
    def observed(self, observe: Observe) -> Iterator[None]:
        """Call `observe` with the text of each statement while the context is open, for tools and tests."""
        with self._backend.observed(observe):
            yield

    def unit(self) -> AbstractAsyncContextManager[Unit]:
        """Open a unit of work: commit on return, roll back on any exception.

        Raises `DatabaseUnavailable` where the database cannot be reached or does not answer in time.

        >>> async with database.unit() as unit:  # doctest: +SKIP
        ...     await carts.add_line(unit, cart, line)
        """
        return _Lifetime(Unit(self.kind, self._backend.reads, self._backend.writes, seconds=self._seconds))

    def reading(self) -> AbstractAsyncContextManager[Unit]:
        """Open a unit of work that holds no transaction, so that the caller may wait for other servers.

        `write`, `begin` and `collect` raise `RuntimeError`. Statements passed to `always` are written at the end, in
        one transaction, whether the body returns or raises.

        >>> async with database.reading() as unit:  # doctest: +SKIP
        ...     proof = await method.submit_login(unit, submitted)
        """
        backend = self._backend
        return _Lifetime(Unit(self.kind, backend.reads, backend.writes, seconds=self._seconds, reads_only=True))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Open a bare transaction, for migrations and bulk loading: its statements take as long as they need.

        Waits for a connection, a lock or the commit end; then it raises `DatabaseUnavailable`, or `CommitUnknown`.
        """
        async with self._backend.bulk() as connection:
            yield connection

    async def require_writable(self) -> None:
        """Raise `StorageUnavailable` where PostgreSQL accepts no writes, as a standby after a failover; the driver's
        exception or `DatabaseUnavailable` where it does not answer."""
        if self.kind != "postgresql":
            return
        async with self.unit() as unit:
            await unit.begin()  # on a connection for writing
            if await unit.scalar(_IS_READ_ONLY):
                self._backend.retire_writers()  # the next connection may reach the primary
                raise StorageUnavailable(read_only(self.url))

    @property
    def pools(self) -> Mapping[str, Turns]:
        """The turns at the connections for reading and for writing. Files of SQLite have none."""
        found = {"read": self._backend.reads, "write": self._backend.writes}
        return {name: side.turns for name, side in found.items() if isinstance(side, Pooled | PostgresPool)}

    async def close(self) -> None:
        """Close all connections."""
        await self._backend.close()


@dataclass(frozen=True, slots=True)
class _Backend:
    """How a kind of database is reached."""

    reads: Reads
    writes: Writes
    bulk: Callable[[], AbstractAsyncContextManager[AsyncConnection]]
    observed: Callable[[Observe], AbstractContextManager[None]]
    further: tuple[AsyncEngine, ...]
    retire_writers: Callable[[], object] = lambda: None
    """Use no connection for writing again that was made until now; at most once a second."""

    async def close(self) -> None:
        await self.reads.close()
        await self.writes.close()
        for engine in self.further:
            await engine.dispose()


def _postgresql(url: URL, pool_size: int, connect_args: Mapping[str, Any], deadlines: Deadlines) -> _Backend:
    dialect: Any = PGDialect_asyncpg
    _, options = dialect().create_connect_args(url)
    server = PostgresServer({**options, **connect_args}, deadlines)
    # Migrations and bulk loading are rare and need SQLAlchemy's own connection. An unnamed statement leaves nothing
    # behind on a pooler's connection.
    unnamed = {"statement_cache_size": 0, "prepared_statement_cache_size": 0, "prepared_statement_name_func": str}
    bulk = create_async_engine(
        url,
        poolclass=NullPool,
        isolation_level="READ COMMITTED",
        connect_args={"timeout": deadlines.connect, **connect_args, **unnamed},
        **_OPTIONS,
    )
    return _Backend(
        reads=PostgresPool(server, server.readers, size=pool_size),
        writes=PostgresPool(server, server.writers, size=pool_size),
        bulk=bulk_transactions(bulk, deadlines),
        observed=server.observed,
        further=(bulk,),
        retire_writers=server.found_read_only,
    )


def _sqlite(url: URL, pool_size: int, connect_args: Mapping[str, Any]) -> _Backend:
    options = {"connect_args": dict(connect_args), **_OPTIONS}
    engine = create_async_engine(url, pool_size=1, max_overflow=0, **options)
    prepare_sqlite(engine.sync_engine, patience=PATIENCE)
    begin_immediately(engine.sync_engine)
    reads: PooledInMemory | ReadInThread
    writes: PooledInMemory | WriteInThread
    if _in_memory(url):
        readers = create_async_engine(url, pool_size=pool_size, max_overflow=0, isolation_level="AUTOCOMMIT", **options)
        prepare_sqlite(readers.sync_engine, patience=PATIENCE)
        reads, writes = PooledInMemory(readers, size=pool_size), PooledInMemory(engine, size=1)
        pooled: Pooled = writes
    else:
        reads, writes = ReadInThread(url, **options), WriteInThread(url, **options)
        pooled = Pooled(engine, size=1)
    return _Backend(
        reads=reads,
        writes=writes,
        bulk=pooled.transaction,
        observed=partial(_observed, (reads.for_events, writes.for_events)),
        further=(engine,),
    )


@contextmanager
def _observed(engines: Sequence[Engine], observe: Observe) -> Iterator[None]:
    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        observe(statement)

    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)


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


def _in_memory(url: URL) -> bool:
    """Whether an SQLite database is in memory. It has no WAL, so its readers wait for the writer."""
    return url.query.get("vfs") == "memdb"


def sqlite_path(url: URL) -> Path | None:
    """Return the file of an SQLite URL, or None for other databases."""
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


__all__ = ["Database", "Select", "Unit", "broken_constraint", "sqlite_path", "to_the_end"]
