"""The database of a server under test, opened beside it."""

import asyncio

from sqlalchemy import func, select

from shopkeeper.settings.dsn import parse_dsn
from shopkeeper.storage.database import Database
from shopkeeper.storage.migrate import load_tables


def database_of(dsn: str) -> Database:
    """Open the database of a data source name as the server opens it."""
    read = parse_dsn(dsn)
    return Database(read.sqlalchemy_url, pool_size=read.pool_size, connect_args=read.connect_args())


def count_rows(dsn: str) -> dict[str, int]:
    """Return how many rows every table has."""
    return asyncio.run(_count_rows(dsn))


async def _count_rows(dsn: str) -> dict[str, int]:
    database, tables = database_of(dsn), load_tables().sorted_tables
    try:
        async with database.unit() as unit:
            return {table.name: await unit.scalar(select(func.count()).select_from(table)) for table in tables}
    finally:
        await database.close()
