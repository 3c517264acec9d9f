"""A fresh database for every test, cheaply: the tables are created once a run, and each test gets a copy."""

import asyncio
import shutil
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg

from shopkeeper.storage.database import Database
from shopkeeper.storage.migrate import load_tables, migrate, revisions
from tests.services.server import Server, locked

TEMPLATE = "template"


def sqlalchemy_url(dsn: str) -> str:
    """Convert Kratos' notation of a database into SQLAlchemy's."""
    address = dsn.partition("?")[0]
    return address.replace("sqlite://", "sqlite+aiosqlite:///").replace("postgres://", "postgresql+asyncpg://")


def new_sqlite(folder: Path, place: Path) -> str:
    """Copy the template file; return a data source name."""
    template = folder / f"{TEMPLATE}.db"
    with locked(folder / "sqlite.lock"):
        if not template.exists():
            half_made = folder / "half-made.db"
            in_a_loop_of_its_own(_make_tables, f"sqlite+aiosqlite:///{half_made}")
            half_made.rename(template)
    shutil.copyfile(template, place / "shopkeeper.db")
    return f"sqlite://{place / 'shopkeeper.db'}"


def new_postgres(folder: Path, server: Server) -> str:
    """Copy the template database; return a data source name."""
    done = folder / "template.done"
    with locked(folder / "template.lock"):
        if not done.exists():
            in_a_loop_of_its_own(_execute, server, f"CREATE DATABASE {TEMPLATE}")
            in_a_loop_of_its_own(_make_tables, sqlalchemy_url(f"{server.url}/{TEMPLATE}"))
            done.touch()
    return empty_postgres(server, template=TEMPLATE)


def empty_postgres(server: Server, *, template: str = "template0") -> str:
    """Create a database; return a data source name."""
    name = f"test_{uuid4().hex}"
    # FILE_COPY takes 12 ms where the default takes 50; it is only unwise for large templates on durable servers.
    in_a_loop_of_its_own(_execute, server, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    return f"{server.url}/{name}?sslmode=disable"


def drop_postgres(server: Server, dsn: str) -> None:
    """Drop a database, also while clients are connected."""
    name = dsn.partition("?")[0].rpartition("/")[2]
    in_a_loop_of_its_own(_execute, server, f"DROP DATABASE {name} WITH (FORCE)")


def in_a_loop_of_its_own(act: Callable[..., Awaitable[None]], *arguments: Any) -> None:
    """Run a coroutine from a plain fixture, also where the loop of this thread is running."""
    failures: list[BaseException] = []

    def body() -> None:
        try:
            asyncio.run(_awaited(act, *arguments))
        except BaseException as failed:
            failures.append(failed)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


async def _awaited(act: Callable[..., Awaitable[None]], *arguments: Any) -> None:
    await act(*arguments)


async def _execute(server: Server, statement: str) -> None:
    connection = await asyncpg.connect(f"{server.url}/postgres?sslmode=disable")
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _make_tables(url: str) -> None:
    database = Database(url)
    try:
        if revisions():
            await migrate(database)
            return
        metadata = load_tables()
        async with database.transaction() as connection:
            await connection.run_sync(metadata.create_all)
    finally:
        await database.close()
