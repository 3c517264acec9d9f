"""PostgreSQL behind PgBouncer, which lends few connections to many clients, for a transaction or for a session."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from shopkeeper.settings.dsn import parse_dsn
from shopkeeper.storage.database import Database
from shopkeeper.storage.migrate import migrate, pending, revisions
from shopkeeper.storage.postgres_connection import Deadlines
from shopkeeper.storage.unavailable import DatabaseUnavailable, StorageUnavailable
from tests.conftest import PATIENT, Run
from tests.services.databases import drop_postgres, empty_postgres, sqlalchemy_url
from tests.services.pgbouncer import CONNECTIONS, start_pgbouncer, through
from tests.services.postgres import start_postgres
from tests.services.server import Server
from tests.storage.test_outbox import TestLeases, TestManyWorkers
from tests.storage.test_outbox_leases import TestCrash, TestOrder, TestRequestsAndWorkers, TestSettling
from tests.storage.test_postgres_failures import until

__all__ = ["TestCrash", "TestLeases", "TestManyWorkers", "TestOrder", "TestRequestsAndWorkers", "TestSettling"]

BOTH_MODES = pytest.mark.parametrize("pgbouncer_server", ["transaction", "session"], indirect=True)
SETTINGS = "SELECT name, setting FROM pg_settings WHERE source = 'session' AND name LIKE '%timeout'"
PREPARED = "SELECT count(*) FROM pg_prepared_statements"


@pytest.fixture
def dsn(pgbouncer_dsn: str) -> str:
    """What the imported tests run on."""
    return pgbouncer_dsn


@pytest.fixture
def empty_dsn(pgbouncer_server: Server, postgres_server: Server) -> Iterator[str]:
    dsn = empty_postgres(postgres_server)
    yield through(pgbouncer_server, dsn)
    drop_postgres(postgres_server, dsn)


@pytest.fixture
async def pair(dsn: str) -> AsyncIterator[tuple[Database, Database]]:
    """Two servers' databases, with more connections to PgBouncer than it has to PostgreSQL."""
    pair = Database(sqlalchemy_url(dsn), deadlines=PATIENT), Database(sqlalchemy_url(dsn), deadlines=PATIENT)
    async with pair[0].transaction() as connection:
        await connection.execute(text("CREATE TABLE notes (number INTEGER)"))
        await connection.execute(text("INSERT INTO notes VALUES (0)"))
    yield pair
    for database in pair:
        await database.close()


@BOTH_MODES
async def test_two_processes_migrate_at_once(empty_dsn: str) -> None:
    both = [Database(sqlalchemy_url(empty_dsn)) for _ in range(2)]
    assert await pending(both[0]) == revisions()
    await asyncio.gather(*(migrate(each) for each in both))
    assert await pending(both[1]) == []
    for each in both:
        await each.close()


@BOTH_MODES
async def test_reads_and_transactions_of_two_processes_take_turns(pair: tuple[Database, Database]) -> None:
    assert CONNECTIONS < 10

    async def work(database: Database) -> None:
        async with database.unit() as unit:
            before = await unit.scalar(text("SELECT number FROM notes"))
            await unit.begin()
            assert await unit.scalar(text("SELECT number FROM notes FOR UPDATE")) >= before
            await unit.write(text("UPDATE notes SET number = number + 1"))

    await asyncio.gather(*(work(pair[number % 2]) for number in range(40)))
    async with pair[0].unit() as unit:
        assert await unit.scalar(text("SELECT number FROM notes")) == 40


async def test_nothing_stays_behind_on_a_lent_connection(pair: tuple[Database, Database]) -> None:
    """Neither a setting nor a prepared statement, and yet each transaction has its limits."""
    for database in pair:
        async with database.unit() as unit:
            assert await unit.all(text(SETTINGS)) == []
            await unit.begin()
            limits = dict(await unit.all(text(SETTINGS)))  # type: ignore[arg-type]  # rows of two columns
            assert limits == {
                "statement_timeout": "5000",
                "lock_timeout": "4000",
                "idle_in_transaction_session_timeout": "60000",
            }
        async with database.unit() as unit:
            assert await unit.all(text(SETTINGS)) == []
            assert await unit.scalar(text(PREPARED)) == 0


async def test_a_changed_table_is_read_as_it_is_now(pair: tuple[Database, Database]) -> None:
    database, other = pair
    for kind in ("INTEGER", "BIGINT", "TEXT"):
        async with other.transaction() as connection:
            await connection.execute(text(f"ALTER TABLE notes ALTER COLUMN number TYPE {kind}"))
        async with database.unit() as unit:
            await unit.begin()
            assert str(await unit.scalar(text("SELECT number FROM notes"))) == "0"
        async with database.unit() as unit:
            assert str(await unit.scalar(text("SELECT number FROM notes"))) == "0"


async def test_a_pooler_that_lost_its_server_is_unavailable_and_then_works_again(
    pair: tuple[Database, Database], postgres_dsn: str
) -> None:
    database, direct = pair[0], Database(sqlalchemy_url(postgres_dsn))

    async def cut() -> None:
        async with database.unit() as unit:
            await unit.begin()
            pid = await unit.scalar(text("SELECT pg_backend_pid()"))
            async with direct.unit() as other:
                await other.scalar(text(f"SELECT pg_terminate_backend({pid})"))
            await unit.scalar(text("SELECT 1"))
            await unit.scalar(text("SELECT 2"))

    with pytest.raises(DatabaseUnavailable):
        await cut()
    async with database.unit() as unit:
        assert await unit.scalar(text("SELECT number FROM notes")) == 0
    await direct.close()


async def test_a_parameter_that_the_pooler_refuses_has_its_sentence(dsn: str) -> None:
    parsed = parse_dsn(f"{dsn}&search_path=shop")
    database = Database(parsed.sqlalchemy_url, connect_args=parsed.connect_args())
    with pytest.raises(StorageUnavailable) as told:
        await migrate(database)
    assert "(PgBouncer) refuses the start-up parameter search_path" in str(told.value)
    assert "TLS" not in str(told.value)
    await database.close()


async def test_what_else_a_pooler_says_is_reported_in_its_words(pgbouncer_server: Server) -> None:
    url = sqlalchemy_url(f"{pgbouncer_server.url}/shop").replace("shopkeeper:", "a-stranger:")
    database = Database(url)
    with pytest.raises(StorageUnavailable) as told:
        await migrate(database)
    assert "refuses" in str(told.value)
    assert "TLS" not in str(told.value)
    await database.close()


async def test_a_pooler_without_its_database_says_so(run: Run) -> None:
    """It is PgBouncer that answers, and not a server that speaks no TLS."""
    server = start_postgres(owner=run.owner)
    pooler = start_pgbouncer(server, pool_mode="transaction", owner=run.owner, options="server_login_retry = 1")
    parsed = parse_dsn(f"{pooler.url}/postgres?sslmode=disable")
    told = ""

    async def is_told() -> bool:
        """The pooler lets the first clients wait, and refuses the next ones."""
        nonlocal told
        hasty = Deadlines(answer=1, connect=1, turn=1, total=2)
        database = Database(parsed.sqlalchemy_url, connect_args=parsed.connect_args(), deadlines=hasty)
        with pytest.raises(StorageUnavailable) as refused:
            await pending(database)
        await database.close()
        told = str(refused.value)
        return "pooler" in told

    try:
        database = Database(parsed.sqlalchemy_url, connect_args=parsed.connect_args())
        assert await pending(database) == revisions()
        await database.close()
        server.stop()
        await until(is_told)
    finally:
        pooler.stop()
    assert told == (
        f"The pooler at {urlsplit(pooler.url).netloc.rpartition('@')[2]} cannot reach its database: server login has"
        " been failing, try again later (server_login_retry)."
    )


@BOTH_MODES
async def test_a_slow_read_ends_at_the_server_too(dsn: str) -> None:
    """A read that stands alone has no limit of the server's there."""
    database = Database(sqlalchemy_url(dsn), deadlines=Deadlines(answer=0.5, connect=20, turn=60, total=60))
    backends = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
        " AND query LIKE '%pg_sleep(30)%' AND pid <> pg_backend_pid()"
    )
    async with database.unit() as unit:
        await unit.scalar(text("SELECT 1"))
    async with database.unit() as unit:
        with pytest.raises(DatabaseUnavailable):
            await unit.scalar(text("SELECT pg_sleep(30)"))

    async def is_over() -> bool:
        async with database.unit() as unit:
            return await unit.scalar(text(backends)) == 0

    await until(is_over)
    await database.close()
