"""A fresh database for every test, cheaply: the tables are created once a run, and each test gets a copy.

PostgreSQL takes a tenth of a second to copy and drop, so each process of the run lends one copy to test after test,
emptied in between (`LentPostgres`).
"""

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import asyncpg

from shopkeeper.storage.database import Database
from shopkeeper.storage.migrate import load_tables, migrate, revisions
from tests.services.server import Server, locked

TEMPLATE = "template"
Result = TypeVar("Result")


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


class LentPostgres:
    """PostgreSQL databases that one test after the other has to itself, each as if it were fresh.

    A database is emptied before it is lent again, not when it is given back: until then, a server that the test started
    may still write to it. One whose tables, rights or settings a test has changed is not lent again.
    """

    def __init__(self, folder: Path, server: Server) -> None:
        self._folder, self._server = folder, server
        self._free: list[_Emptied] = []
        self._lent: dict[str, _Emptied] = {}

    def lend(self) -> str:
        """Return the data source name of a database with all tables, and as little in them as after migrating."""
        while self._free:
            database = self._free.pop()
            if database.emptied():
                self._lent[database.dsn] = database
                return database.dsn
            self._drop(database)
        database = _Emptied(new_postgres(self._folder, self._server))
        self._lent[database.dsn] = database
        return database.dsn

    def take_back(self, dsn: str) -> None:
        """Take a database that its test is done with."""
        self._free.append(self._lent.pop(dsn))

    def close(self) -> None:
        """Drop all databases."""
        for database in self._free:
            self._drop(database)

    def _drop(self, database: "_Emptied") -> None:
        database.close()
        drop_postgres(self._server, database.dsn)


class _Emptied:
    """A database, and the connection that empties it. It stays open, because its first statements are the slow ones."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="emptying")  # the tests' thread may have a running loop
        self._loop = asyncio.Runner()
        self._connection: Any = None
        self._fresh = self._run(self._look())

    def emptied(self) -> bool:
        """Delete all rows, and end what else is connected. Returns whether the database is as fresh then."""
        for _ in range(2):  # the test may have ended our connection
            try:
                self._run(self._empty())
                return bool(self._run(self._look()) == self._fresh)
            except (asyncpg.InterfaceError, asyncpg.PostgresError, OSError):
                self._run(self._disconnect())
        return False

    def close(self) -> None:
        self._run(self._disconnect())
        self._thread.submit(self._loop.close).result()
        self._thread.shutdown()

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self._thread.submit(self._loop.run, work).result()

    async def _empty(self) -> None:
        await (await self._connected()).execute(_EMPTY)

    async def _look(self) -> tuple[object, ...]:
        connection = await self._connected()
        return tuple([await connection.fetch(question) for question in (_STRUCTURE, _SETTINGS, _REVISIONS)])

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
            await asyncio.sleep(0)  # its transport is closed in the loop's next round

    async def _connected(self) -> Any:
        if self._connection is None:
            self._connection = await asyncpg.connect(self.dsn)
        return self._connection


def empty_postgres(server: Server, *, template: str = "template0") -> str:
    """Create a database; return a data source name."""
    name = f"test_{uuid4().hex}"
    # FILE_COPY takes 12 ms where the default takes 50; it is only unwise for large templates on durable servers.
    in_a_loop_of_its_own(_execute, server, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    return f"{server.url}/{name}?sslmode=disable"


def drop_postgres(server: Server, dsn: str) -> None:
    """Drop a database, also while clients are connected."""
    name = dsn.partition("?")[0].rpartition("/")[2]
    in_a_loop_of_its_own(_execute, server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def in_a_loop_of_its_own(act: Callable[..., Coroutine[Any, Any, Result]], *arguments: Any) -> Result:
    """Run a coroutine from a plain fixture, also where the loop of this thread is running."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(lambda: asyncio.run(act(*arguments))).result()


async def _execute(server: Server, statement: str) -> None:
    connection = await asyncpg.connect(f"{server.url}/postgres?sslmode=disable")
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


_EMPTY = """
SET session_replication_role = replica;  -- deletes in any order, because foreign keys are not looked at
DO $$
DECLARE
    name text;
    filled boolean;
BEGIN
    PERFORM pg_terminate_backend(pid, 10000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid();
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM public.%I)', name) INTO filled;
        IF filled THEN
            EXECUTE format('DELETE FROM public.%I', name);
        END IF;
    END LOOP;
END $$
"""
# Whatever changes a structure, rights or settings adds rows to these catalogues, removes them, or writes them anew.
_STRUCTURE = " UNION ALL ".join(
    f"SELECT '{catalogue}', count(*), coalesce(max(xmin::text::bigint), 0) FROM {catalogue}"
    for catalogue in ("pg_class", "pg_attribute", "pg_constraint", "pg_trigger", "pg_proc", "pg_namespace")
)
_REVISIONS = "SELECT string_agg(version_num, ' ' ORDER BY version_num) FROM alembic_version"
_SETTINGS = """
SELECT d.xmin::text::bigint, (SELECT count(*) FROM pg_db_role_setting WHERE setdatabase = d.oid)
FROM pg_database d WHERE datname = current_database()
"""


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
