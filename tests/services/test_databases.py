"""PostgreSQL databases that one test after the other has to itself."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from shopkeeper.commerce.embedded import demo
from shopkeeper.commerce.embedded.load import load as load_catalogue
from shopkeeper.storage.database import Database
from tests.conftest import Run
from tests.services.databases import LentPostgres, sqlalchemy_url
from tests.services.server import Server

CHANGES = {
    "a table": "CREATE TABLE of_a_test (id int)",
    "a column": "ALTER TABLE carts ADD COLUMN of_a_test int",
    "a column less": "ALTER TABLE carts DROP COLUMN id CASCADE",
    "an index less": "DROP INDEX ix_audit_events_at",
    "a rule": "ALTER TABLE carts ADD CONSTRAINT of_a_test CHECK (id IS NOT NULL)",
    "a right": "REVOKE SELECT ON carts FROM CURRENT_USER",
    "a schema": "CREATE SCHEMA of_a_test",
    "a revision": "UPDATE alembic_version SET version_num = 'of_a_test'",
    "a setting": "ALTER DATABASE {name} SET default_transaction_read_only = on",
    "no connections": "ALTER DATABASE {name} ALLOW_CONNECTIONS false",
    "its end": "DROP DATABASE {name} WITH (FORCE)",
}


@pytest.fixture
def databases(run: Run, postgres_server: Server) -> Iterator[LentPostgres]:
    databases = LentPostgres(run.folder, postgres_server)
    yield databases
    databases.close()


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def rows(dsn: str) -> dict[str, int]:
    """Return how many rows each table has, where it has any."""
    async with connected(dsn) as connection:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        counted = {name: await connection.fetchval(f'SELECT count(*) FROM "{name}"') for (name,) in tables}
        return {name: count for name, count in counted.items() if count}


async def test_what_one_test_wrote_the_next_does_not_see(databases: LentPostgres) -> None:
    dsn = databases.lend()
    database = Database(sqlalchemy_url(dsn))
    async with database.unit() as unit:
        await load_catalogue(unit, store="fruit", catalogue=demo.read_catalogue())
    await database.close()
    assert {"shop_products", "shop_variants", "alembic_version"} <= (await rows(dsn)).keys()
    databases.take_back(dsn)

    assert databases.lend() == dsn
    assert await rows(dsn) == {"alembic_version": 1}
    databases.take_back(dsn)


async def test_two_at_once_are_two(databases: LentPostgres) -> None:
    one, other = databases.lend(), databases.lend()
    assert one != other
    databases.take_back(one)
    databases.take_back(other)


async def test_what_is_still_connected_is_disconnected(databases: LentPostgres) -> None:
    dsn = databases.lend()
    async with connected(dsn) as left_open:
        await left_open.execute("BEGIN; LOCK TABLE carts")
        databases.take_back(dsn)
        assert databases.lend() == dsn
        with pytest.raises(asyncpg.PostgresError):
            await left_open.execute("SELECT 1")
    databases.take_back(dsn)


async def test_the_connection_that_empties_may_have_been_ended(databases: LentPostgres) -> None:
    dsn = databases.lend()
    async with connected(dsn) as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    databases.take_back(dsn)
    assert databases.lend() == dsn
    databases.take_back(dsn)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_a_changed_database_is_not_lent_again(
    databases: LentPostgres, postgres_server: Server, change: str
) -> None:
    dsn = databases.lend()
    name = dsn.partition("?")[0].rpartition("/")[2]
    async with connected(f"{postgres_server.url}/{'postgres' if '{name}' in change else name}") as connection:
        await connection.execute(change.format(name=name))
    databases.take_back(dsn)
    fresh = databases.lend()
    assert fresh != dsn
    assert await rows(fresh) == {"alembic_version": 1}
    databases.take_back(fresh)
