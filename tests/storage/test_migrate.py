"""Migrations: they create the tables that the modules declare, once, whole or not at all."""

import asyncio
import shutil
import stat
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, Table, inspect, select, text

from shopkeeper.sessions.store import sessions
from shopkeeper.signin.device_store import known_devices
from shopkeeper.storage.database import Database
from shopkeeper.storage.migrate import SCRIPTS, load_tables, migrate, pending, revisions, write_revision
from shopkeeper.storage.tables import Id, Json, Moment
from shopkeeper.storage.unavailable import StorageUnavailable
from tests.conftest import NOW
from tests.services.databases import sqlalchemy_url

REVISION = """
from alembic import op
import sqlalchemy as sa

revision, down_revision = {revision!r}, {after!r}


def upgrade() -> None:
    op.create_table({table!r}, sa.Column("id", sa.Integer, primary_key=True))
    {then}
"""


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """A folder of migrations of this test, without revisions."""
    folder = tmp_path / "migrations 100%"
    folder.mkdir()
    for name in ("env.py", "script.py.mako"):
        shutil.copy(SCRIPTS / name, folder)
    (folder / "versions").mkdir()
    return folder


@pytest.fixture
async def empty(empty_dsn: str) -> AsyncIterator[Database]:
    database = Database(sqlalchemy_url(empty_dsn))
    yield database
    await database.close()


def write(scripts: Path, revision: str, *, table: str, after: str | None = None, then: str = "") -> None:
    source = REVISION.format(revision=revision, after=after, table=table, then=then)
    (scripts / "versions" / f"{revision}_{table}.py").write_text(source)


async def tables(database: Database) -> set[str]:
    async with database.transaction() as connection:
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))


async def differences(database: Database) -> list[Any]:
    """Return what a new revision would have to change."""

    def compare(connection: Connection) -> list[Any]:
        # SQLite does not distinguish types as PostgreSQL does, so only PostgreSQL's are compared.
        context = MigrationContext.configure(connection, opts={"compare_type": connection.dialect.name != "sqlite"})
        return list(compare_metadata(context, load_tables()))

    async with database.transaction() as connection:
        return await connection.run_sync(compare)


async def test_the_migrations_create_the_tables_that_the_modules_declare(empty: Database) -> None:
    """When this fails: `python -m shopkeeper.storage.migrate "what changed"`, read what it wrote, and commit it."""
    await migrate(empty)
    assert await differences(empty) == []


class TestWritingRevisions:
    async def test_a_new_revision_holds_everything_that_is_missing(self, empty: Database, scripts: Path) -> None:
        await write_revision("All tables", scripts=scripts)
        assert revisions(scripts) == ["0001"]
        await migrate(empty, scripts=scripts)
        assert await differences(empty) == []

    async def test_types_are_written_as_the_modules_write_them(self, scripts: Path) -> None:
        await write_revision("All tables", scripts=scripts)
        (file,) = (scripts / "versions").glob("*.py")
        written = file.read_text()
        assert file.name == "0001_all_tables.py"
        assert '"All tables"' in written
        for name in ("Id", "Json", "Moment"):
            assert f"from shopkeeper.storage.tables import {name}\n" in written
        assert "shopkeeper.storage.tables." not in written
        assert "JSON(" not in written
        assert "DateTime(" not in written


class TestMigrating:
    async def test_what_is_missing_is_applied_and_nothing_twice(self, empty: Database, scripts: Path) -> None:
        write(scripts, "0001", table="one")
        await migrate(empty, scripts=scripts)
        write(scripts, "0002", table="two", after="0001")
        await migrate(empty, scripts=scripts)
        await migrate(empty, scripts=scripts)
        assert await tables(empty) == {"alembic_version", "one", "two"}

    async def test_many_that_start_at_once_do_not_interfere(self, empty_dsn: str, scripts: Path) -> None:
        for number in range(1, 4):
            write(scripts, f"000{number}", table=f"t{number}", after=f"000{number - 1}" if number > 1 else None)
        empty_dsn = empty_dsn.replace("new.db", "new-folder/new.db")
        hosts = [Database(sqlalchemy_url(empty_dsn)) for _ in range(5)]
        await asyncio.gather(*(migrate(host, scripts=scripts) for host in hosts))
        assert await tables(hosts[0]) == {"alembic_version", "t1", "t2", "t3"}
        for host in hosts:
            await host.close()

    async def test_a_migration_that_fails_leaves_nothing_behind(self, empty: Database, scripts: Path) -> None:
        write(scripts, "0001", table="one")
        await migrate(empty, scripts=scripts)
        write(scripts, "0002", table="two", after="0001")
        write(scripts, "0003", table="three", after="0002", then="raise LookupError")
        with pytest.raises(LookupError):
            await migrate(empty, scripts=scripts)
        assert await tables(empty) == {"alembic_version", "one"}
        assert await pending(empty, scripts=scripts) == ["0002", "0003"]

    async def test_no_half_made_file_stays(self, tmp_path: Path, scripts: Path) -> None:
        file = tmp_path / "var" / "shopkeeper.db"
        database = Database(f"sqlite+aiosqlite:///{file}")
        write(scripts, "0001", table="one", then="raise LookupError")
        with pytest.raises(LookupError):
            await migrate(database, scripts=scripts)
        assert not file.parent.exists()
        write(scripts, "0001", table="one")
        await migrate(database, scripts=scripts)
        assert await tables(database) == {"alembic_version", "one"}
        await database.close()

    async def test_a_new_file_is_not_readable_by_other_users(self, tmp_path: Path, scripts: Path) -> None:
        file = tmp_path / "var" / "shopkeeper.db"
        database = Database(f"sqlite+aiosqlite:///{file}")
        write(scripts, "0001", table="one")
        await migrate(database, scripts=scripts)
        async with database.unit() as unit:
            await unit.write(text("INSERT INTO one VALUES (1)"))
            modes = {made.name: stat.S_IMODE(made.stat().st_mode) for made in (file.parent, *file.parent.iterdir())}
        await database.close()
        assert {"var", "shopkeeper.db", "shopkeeper.db-wal", "shopkeeper.db-shm"} <= modes.keys()
        assert modes.pop("var") == 0o700
        assert set(modes.values()) == {0o600}

    async def test_a_file_that_was_there_is_never_taken_away(self, tmp_path: Path, scripts: Path) -> None:
        file = tmp_path / "shopkeeper.db"
        file.touch()
        database = Database(f"sqlite+aiosqlite:///{file}")
        write(scripts, "0001", table="one", then="raise LookupError")
        with pytest.raises(LookupError):
            await migrate(database, scripts=scripts)
        assert file.exists()
        await database.close()


class TestRevision0011:
    async def test_devices_and_notices_are_kept_with_what_they_are_of(self, empty: Database, scripts: Path) -> None:
        for revision in (SCRIPTS / "versions").glob("00*.py"):
            if revision.name < "0011":
                shutil.copy(revision, scripts / "versions")
        await migrate(empty, scripts=scripts)
        who, one, two, phone, desk = (UUID(int=number) for number in range(1, 6))
        begun = {"authenticated_at": NOW, "issued_at": NOW, "expires_at": NOW, "created_at": NOW, "updated_at": NOW}
        session = {"identity_id": who, "active": True, "aal": "aal1", "authentication_methods": [], **begun}
        device = {"session_id": one, "ip_address": "192.0.2.7", "location": "Kassel"}
        seen = {"identity_id": who, "last_seen_at": NOW}
        notice = {"token_digest": b"c", "identity_id": who, "session_id": one, "created_at": NOW, "expires_at": NOW}
        identity = {
            "id": who,
            "schema_id": "default",
            "state": "active",
            "state_changed_at": NOW,
            "traits": {},
            **begun,
        }
        async with empty.transaction() as connection:
            await connection.run_sync(_add, "identities", identity)
            await connection.run_sync(
                _add,
                "sessions",
                {"id": one, "token_hash": b"a", **session},
                {"id": two, "token_hash": b"b", **session},
            )
            await connection.run_sync(
                _add,
                "session_devices",
                {"id": desk, "user_agent": "Desk/2.0", **device},
                {"id": phone, "user_agent": "Phone/1.0", **device},
            )
            await connection.run_sync(
                _add,
                "known_devices",
                {"feature": "told", "first_seen_at": NOW, **seen},
                {"feature": "not told", "first_seen_at": NOW - timedelta(days=1), **seen},
            )
            await connection.run_sync(_add, "device_notices", notice)
        await migrate(empty)
        async with empty.unit() as unit:
            kept = {row.id: row.devices for row in await unit.all(select(sessions))}
            told = {row.feature: row.told_at for row in await unit.all(select(known_devices))}
        assert [(UUID(each["id"]), each["user_agent"]) for each in kept[one]] == [
            (phone, "Phone/1.0"),
            (desk, "Desk/2.0"),
        ]
        assert {(each["ip_address"], each["location"]) for each in kept[one]} == {("192.0.2.7", "Kassel")}
        assert kept[two] == []
        assert told == {"told": NOW, "not told": None}


def _add(connection: Connection, name: str, *rows: Mapping[str, Any]) -> None:
    """Insert rows into a table as it is in the database, not as its module declares it."""
    table = Table(name, MetaData(), autoload_with=connection)
    for column in table.c:
        column.type = _TYPES.get(type(column.type).__name__, column.type)
    known = [{key: value for key, value in row.items() if key in table.c} for row in rows]
    connection.execute(table.insert(), known)


_TYPES: Mapping[str, Any] = {"CHAR": Id, "JSON": Json, "DATETIME": Moment()}
"""What SQLite's types stand for."""


class TestPending:
    async def test_everything_is_pending_for_a_new_database_and_nothing_is_made(
        self, empty: Database, empty_dsn: str, scripts: Path
    ) -> None:
        write(scripts, "0001", table="one")
        write(scripts, "0002", table="two", after="0001")
        assert await pending(empty, scripts=scripts) == ["0001", "0002"]
        if empty_dsn.startswith("sqlite"):
            assert not _exists(empty_dsn)
        else:
            assert await tables(empty) == set()

    async def test_only_the_later_ones_are_pending_after_an_earlier_version(
        self, empty: Database, scripts: Path
    ) -> None:
        write(scripts, "0001", table="one")
        await migrate(empty, scripts=scripts)
        assert await pending(empty, scripts=scripts) == []
        write(scripts, "0002", table="two", after="0001")
        assert await pending(empty, scripts=scripts) == ["0002"]

    async def test_a_database_of_a_newer_program_is_refused(self, empty: Database, scripts: Path) -> None:
        write(scripts, "0001", table="one")
        await migrate(empty, scripts=scripts)
        async with empty.transaction() as connection:
            await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        for ask in (migrate, pending):
            with pytest.raises(StorageUnavailable, match="newer version of Shopkeeper"):
                await ask(empty, scripts=scripts)


def _exists(sqlite_dsn: str) -> bool:
    return Path(sqlite_dsn.removeprefix("sqlite://")).exists()
