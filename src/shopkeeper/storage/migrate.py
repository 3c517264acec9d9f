"""Migrates a database to the schema that this version expects.

Revisions are numbered and form one sequence: `versions/0001_….py`, `versions/0002_….py`. Alembic applies them; whether
any are pending is determined without it.

Any number of processes may start at once on one database: on PostgreSQL they queue at an advisory lock, on SQLite at
the write lock. A migration runs in one transaction, and is applied completely or not at all.

Write a new revision with `python -m shopkeeper.storage.migrate "what it does"`.
"""

import asyncio
import importlib
import os
import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Final

from sqlalchemy import MetaData, text
from sqlalchemy.ext.asyncio import AsyncConnection

import shopkeeper
from shopkeeper.storage.database import Database, Unit
from shopkeeper.storage.sqlite_file import plain_file
from shopkeeper.storage.tables import metadata
from shopkeeper.storage.unavailable import StorageUnavailable, explained

SCRIPTS: Final = Path(__file__).with_name("migrations")
_LOCK: Final = 0x53484F504B454550  # "SHOPKEEP": one number for all hosts, and for this purpose only
_HAS_VERSION: Final = {
    "sqlite": text("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"),
    "postgresql": text("SELECT to_regclass('alembic_version')"),
}

_SCHEMA: Final = text("SELECT current_schema()")
_PATH: Final = text("SELECT current_setting('search_path')")
# One that is there and yet not the current schema may not be used by this user, which the migration tells.
_IS_THERE: Final = text("""
SELECT EXISTS (
    SELECT FROM unnest(string_to_array(current_setting('search_path'), ',')) AS listed, btrim(listed) AS name
    JOIN pg_namespace ON nspname = CASE
        WHEN name = '"$user"' THEN current_user
        WHEN name LIKE '"%' THEN btrim(name, '"')
        ELSE lower(name)
    END
)
""")


async def migrate(database: Database, *, scripts: Path = SCRIPTS) -> None:
    """Apply the pending revisions; delete a new SQLite file where that fails.

    Raises:
        StorageUnavailable: the database cannot be reached or written, or is newer than this program.
    """
    waiting = await pending(database, scripts=scripts)
    with explained(database.url):
        async with _no_half_made_file(database):
            await _try_file(database, "BEGIN IMMEDIATE")
            if waiting:
                await _upgrade(database, scripts)


async def pending(database: Database, *, scripts: Path = SCRIPTS) -> list[str]:
    """Return the revisions still to be applied, oldest first; an empty list means that the database is up to date.

    Creates and changes nothing. Raises `StorageUnavailable` where the database cannot be reached, cannot be written, or
    is newer than this program.
    """
    file = _file(database)
    if file is not None and not file.exists():
        with explained(database.url):
            _require_room_for(file)
        return revisions(scripts)
    with explained(database.url):
        await _try_file(database, "PRAGMA schema_version")
        async with database.unit() as unit:
            current = await _current(unit)
    return _after(current, revisions(scripts))


def revisions(scripts: Path = SCRIPTS) -> list[str]:
    """Return the numbers of all revisions, oldest first."""
    return sorted(file.name.partition("_")[0] for file in (scripts / "versions").glob("[0-9]*_*.py"))


def load_tables() -> MetaData:
    """Import every module that defines tables, found by their source, and return the complete metadata.

    For writing revisions and for tests; the running program imports only what it uses.
    """
    root = Path(shopkeeper.__file__).parent
    for module in sorted(root.rglob("*.py")):
        source = module.read_text(encoding="utf-8")
        if " = Table(\n" in source and "shopkeeper.storage.tables" in source:
            importlib.import_module(".".join(("shopkeeper", *module.relative_to(root).with_suffix("").parts)))
    return metadata


async def write_revision(message: str, *, scripts: Path = SCRIPTS) -> None:
    """Write the revision that migrates the latest revision's schema to the current tables."""
    from shopkeeper.storage.migrations.steps import write  # noqa: PLC0415 - Alembic is large and rarely needed

    load_tables()
    number = f"{len(revisions(scripts)) + 1:04d}"
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite+aiosqlite:///{folder}/migrated.db")
        try:
            await migrate(database, scripts=scripts)
            async with database.transaction() as connection:
                await connection.run_sync(write, scripts, message, number=number)
        finally:
            await database.close()


async def _upgrade(database: Database, scripts: Path) -> None:
    from shopkeeper.storage.migrations.steps import upgrade  # noqa: PLC0415 - Alembic is large and rarely needed

    async with database.transaction() as connection:
        await _alone(connection)
        await connection.run_sync(upgrade, scripts)


def _after(current: str | None, known: list[str]) -> list[str]:
    if current is None:
        return known
    if current not in known:
        raise StorageUnavailable(
            "The database was migrated by a newer version of Shopkeeper than this one: start that version, or restore"
            " the backup that was made before the upgrade."
        )
    return known[known.index(current) + 1 :]


async def _current(unit: Unit) -> str | None:
    if await unit.scalar(_HAS_VERSION[unit.dialect]) is None:
        if unit.dialect == "postgresql":
            await _require_schema(unit)
        return None
    version: str | None = await unit.scalar(text("SELECT version_num FROM alembic_version"))
    return version


async def _require_schema(unit: Unit) -> None:
    """Raise `StorageUnavailable` where no schema of `search_path` is there, in which the tables would be created."""
    if await unit.scalar(_SCHEMA) is not None or await unit.scalar(_IS_THERE):
        return
    path = await unit.scalar(_PATH)
    raise StorageUnavailable(
        f"There is no schema {path!r} in the database: create it (CREATE SCHEMA), or correct search_path in the DSN or"
        " of the user."
    )


async def _alone(connection: AsyncConnection) -> None:
    """Lock out other migrations; on SQLite the transaction itself does."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


@asynccontextmanager
async def _no_half_made_file(database: Database) -> AsyncIterator[None]:
    """Create a new SQLite file, and its folder where that is missing; delete both where the body raises.

    Only their owner may read them, because they hold customers' data. SQLite gives the files beside it the same mode.
    """
    file = _file(database)
    if file is None or file.exists():
        yield
        return
    new_folder = not file.parent.exists()
    if new_folder:
        file.parent.mkdir(mode=0o700, exist_ok=True)  # another process may create it at the same time
    try:
        file.touch(mode=0o600)
        yield
    except BaseException:
        await database.close()
        _take_away(file, with_folder=new_folder)
        raise


def _take_away(file: Path, *, with_folder: bool) -> None:
    for ending in ("", "-wal", "-shm", "-journal"):
        Path(f"{file}{ending}").unlink(missing_ok=True)
    if with_folder:
        with suppress(OSError):  # not empty: another process uses it already
            file.parent.rmdir()


async def _try_file(database: Database, statement: str) -> None:
    """Open an SQLite file once without the asynchronous driver, whose thread survives a failed opening."""
    file = _file(database)
    if file is not None:
        await asyncio.to_thread(_execute_once, file, statement)


def _execute_once(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file, timeout=10, isolation_level=None)) as connection:
        connection.execute(statement)


def _require_room_for(file: Path) -> None:
    """Raise `PermissionError` unless the file, or its missing folder, can be created."""
    folder = file.parent if file.parent.exists() else file.parent.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"nothing can be made in {folder}")


def _file(database: Database) -> Path | None:
    return plain_file(database.url)


def main(arguments: Sequence[str]) -> None:
    """Write a revision; the only argument is its message."""
    asyncio.run(write_revision(arguments[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
