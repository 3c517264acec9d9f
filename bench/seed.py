"""Seeding: identities and sessions by the million, written directly into the tables, with a progress bar.

    python -m bench.seed --dsn postgres://… --count 1000000

Every identity has an e-mail address, a password, and one session on one device, as if it had registered and stayed
signed in. An interrupted run continues where it stopped, because a batch is written whole or not at all.

The tokens can be computed from `seeded.py`: seed a database of its own, never one that is in use.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from sqlalchemy import Table, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from bench.database import database_of
from bench.hashing import hash_of
from bench.seeded import MOST, Rows, identity_id, number_of, rows_of
from shopkeeper.crypto import new_token
from shopkeeper.identity import store as accounts
from shopkeeper.settings.dsn import parse_dsn
from shopkeeper.storage.database import Database
from shopkeeper.storage.migrate import migrate
from shopkeeper.storage.unavailable import StorageUnavailable

BATCH = 5_000
TABLES = len(rows_of(range(0), password_hash="", now=datetime.now(UTC)))
ROOM = {"sqlite": ("PRAGMA cache_size=-512000", "PRAGMA cache_size=-16000")}
"""SQLite's writer gets half a gigabyte of cache for its indexes while it is seeding; PostgreSQL has its own."""


@dataclass(frozen=True, slots=True)
class Seeded:
    """The result: how many identities existed, how many were created, and in how many seconds."""

    found: int
    made: int
    seconds: float

    def __str__(self) -> str:
        rows = self.made * TABLES
        return (
            f"{self.found:,} identities with a session were there, {self.made:,} were made in {self.seconds:,.1f} s: "
            f"{self.made / self.seconds:,.0f} a second, {rows / self.seconds:,.0f} rows a second in {TABLES} tables."
        )


def seed(dsn: str, *, count: int, password_hash: str, console: Console) -> Seeded:
    """Create those of the first `count` identities that are missing, and show the progress."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("identities and sessions", total=count, rate="")

        def advance(more: int, rate: float = 0.0) -> None:
            progress.update(task, advance=more, rate=f"{rate:,.0f} rows/s" if rate else "")

        return asyncio.run(_seed_and_close(dsn, count=count, password_hash=password_hash, advance=advance))


async def _seed_and_close(dsn: str, *, count: int, password_hash: str, advance: Callable[..., None]) -> Seeded:
    database = database_of(dsn)
    try:
        return await _seed(database, count=count, password_hash=password_hash, advance=advance)
    finally:
        await database.close()


async def _seed(database: Database, *, count: int, password_hash: str, advance: Callable[..., None]) -> Seeded:
    await migrate(database)
    found, begun = min(await _found(database), count), time.monotonic()
    advance(found)
    async with _roomy(database):
        for first in range(found, count, BATCH):
            numbers = range(first, min(first + BATCH, count))
            await _write_batch(database, numbers, password_hash=password_hash)
            advance(len(numbers), (numbers.stop - found) * TABLES / (time.monotonic() - begun))
    return Seeded(found, count - found, time.monotonic() - begun)


async def _found(database: Database) -> int:
    """Return how many exist already."""
    column = accounts.identities.c.id
    ours = column.between(identity_id(0), identity_id(MOST))
    async with database.unit() as unit:
        last: UUID | None = await unit.scalar(select(column).where(ours).order_by(column.desc()).limit(1))
    return 0 if last is None else number_of(last) + 1


async def _write_batch(database: Database, numbers: range, *, password_hash: str) -> None:
    rows_by_table = rows_of(numbers, password_hash=password_hash, now=datetime.now(UTC))
    async with database.transaction() as connection:
        for table, rows in rows_by_table.items():
            await _WRITERS[database.kind](connection, table, rows)


async def _insert(connection: AsyncConnection, table: Table, rows: Rows) -> None:
    await connection.execute(insert(table), rows)


async def _copy(connection: AsyncConnection, table: Table, rows: Rows) -> None:
    """Copy rows with binary COPY inside the transaction, which the first statement opens."""
    await connection.execute(text("SELECT 1"))
    driver: Any = (await connection.get_raw_connection()).driver_connection
    records = ([_plain(value) for value in row.values()] for row in rows)
    await driver.copy_records_to_table(table.name, records=records, columns=list(rows[0]))


_WRITERS = {"sqlite": _insert, "postgresql": _copy}


def _plain(value: Any) -> Any:
    """Return a value as COPY takes it: documents as text."""
    return msgspec.json.encode(value).decode() if isinstance(value, dict | list) else value


@asynccontextmanager
async def _roomy(database: Database) -> AsyncIterator[None]:
    more, usual = ROOM.get(database.kind, ("SELECT 1", "SELECT 1"))
    await _execute(database, more)
    try:
        yield
    finally:
        await _execute(database, usual)
    await _execute(database, "ANALYZE")  # so that queries are planned for tables of this size


async def _execute(database: Database, statement: str) -> None:
    async with database.transaction() as connection:
        await connection.execute(text(statement))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    told, console = _arguments(arguments), Console(stderr=True)
    hashed = hash_of(told.password or new_token(""))
    try:
        console.print(
            str(seed(told.dsn, count=told.count, password_hash=hashed, console=console)),
            highlight=False,
            soft_wrap=True,
        )
    except StorageUnavailable as failed:
        sys.exit(str(failed))


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.seed", description="Seeds identities and sessions.")
    parser.add_argument("--dsn", required=True, type=_dsn, help="sqlite:///folder/file.db or postgres://…")
    parser.add_argument("--count", type=_count, default=1_000_000, help="how many there are to be (%(default)s)")
    parser.add_argument("--password", help="the password of all of them; one that nobody knows when left out")
    return parser.parse_args(arguments)


def _dsn(text: str) -> str:
    if parse_dsn(text).kind == "memory":
        raise ValueError("memory ends with the process")
    return text


def _count(text: str) -> int:
    count = int(text.replace("_", ""))
    if not 1 <= count <= MOST:
        raise ValueError("out of range")
    return count


if __name__ == "__main__":
    main()
