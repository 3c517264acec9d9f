"""One readable sentence for each failure of a database, from the real failure."""

import asyncio
import getpass
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import URL, make_url

from shopkeeper.settings.dsn import parse_dsn
from shopkeeper.storage.database import Database
from shopkeeper.storage.migrate import migrate, pending
from shopkeeper.storage.unavailable import StorageUnavailable, explained, is_unavailable
from tests.services.databases import sqlalchemy_url
from tests.services.server import free_port

PASSWORD = "correct-horse-battery"


async def sentence_about(dsn: str) -> str:
    """Return what is said about a DSN with its options, as the command reads it."""
    parsed = parse_dsn(dsn)
    return await sentence(parsed.sqlalchemy_url, connect_args=parsed.connect_args())


async def sentence(url: str | URL, **options: Any) -> str:
    database = Database(url, **options)
    try:
        with pytest.raises(StorageUnavailable) as refused:
            await migrate(database)
    finally:
        await database.close()
    assert PASSWORD not in str(refused.value)
    return str(refused.value)


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


class TestServer:
    @pytest.fixture
    async def guest(self, postgres_dsn: str) -> AsyncIterator[tuple[Database, URL]]:
        """The owner's database, and the URL of a user in it who may do nothing."""
        owner = Database(sqlalchemy_url(postgres_dsn))
        name = f"guest_{owner.url.database}"
        await self._execute(owner, f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
        yield owner, owner.url.set(username=name, password=PASSWORD)
        await self._execute(owner, f"DROP ROLE {name}")
        await owner.close()

    @staticmethod
    async def _execute(database: Database, statement: str) -> None:
        async with database.transaction() as connection:
            await connection.execute(text(statement))

    async def test_a_wrong_password_has_its_sentence(self, postgres_dsn: str) -> None:
        url = make_url(sqlalchemy_url(postgres_dsn)).set(password=PASSWORD)
        assert await sentence(url) == (
            f"The database at 127.0.0.1:{url.port} refuses the user 'shopkeeper': check user and password in the DSN."
        )

    async def test_an_unknown_user_has_its_sentence(self, postgres_dsn: str) -> None:
        url = make_url(sqlalchemy_url(postgres_dsn)).set(username="nobody-we-know", password=PASSWORD)
        assert "refuses the user 'nobody-we-know'" in await sentence(url)

    async def test_an_unknown_database_has_its_sentence(self, postgres_dsn: str) -> None:
        url = make_url(sqlalchemy_url(postgres_dsn)).set(database="elsewhere")
        assert "There is no database 'elsewhere'" in await sentence(url)

    async def test_a_port_where_nothing_answers_has_its_sentence(self) -> None:
        port = free_port()
        said = await sentence(f"postgresql+asyncpg://ada:{PASSWORD}@127.0.0.1:{port}/shop")
        assert said.startswith(f"Nothing answers at 127.0.0.1:{port}: check host and port")

    async def test_a_host_that_does_not_exist_has_its_sentence(self) -> None:
        said = await sentence(f"postgresql+asyncpg://ada:{PASSWORD}@database.invalid/shop")
        assert "host 'database.invalid' cannot be found" in said

    async def test_a_server_without_tls_where_tls_is_asked_for_has_its_sentence(self, postgres_dsn: str) -> None:
        said = await sentence_about(postgres_dsn.replace("sslmode=disable", "sslmode=require"))
        assert "speaks no TLS, which sslmode=require asks for" in said

    @pytest.mark.parametrize(
        ("mode", "fault"),
        [
            ("disable", "closed the connection: check that it is PostgreSQL"),
            ("allow", "closed the connection: check that it is PostgreSQL"),
            ("prefer", "closed the connection: check that it is PostgreSQL"),
            ("require", "closed the connection, or speaks no TLS: check that it is PostgreSQL"),
        ],
    )
    async def test_a_closed_connection_may_be_a_fault_of_tls_only_where_tls_is_needed(
        self, mode: str, fault: str
    ) -> None:
        async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        async with await asyncio.start_server(hang_up, "127.0.0.1", port := free_port()):
            said = await sentence_about(f"postgres://ada:{PASSWORD}@127.0.0.1:{port}/shop?sslmode={mode}")
        assert said.startswith(f"127.0.0.1:{port} {fault}")

    @pytest.mark.parametrize("dsn", ["postgres://ada@/shop?host={}&port=6000", "postgres://ada@{}/shop?port=6000"])
    async def test_a_socket_is_named_by_its_file(self, tmp_path: Path, dsn: str) -> None:
        encoded = str(tmp_path).replace("/", "%2F")
        said = await sentence_about(dsn.format(encoded))
        assert said.startswith(f"Nothing answers at {tmp_path}/.s.PGSQL.6000:")

    async def test_a_closed_socket_says_nothing_about_tls(self) -> None:
        async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        with TemporaryDirectory(dir="/tmp") as folder:  # the path of a socket must be short
            async with await asyncio.start_unix_server(hang_up, f"{folder}/.s.PGSQL.5432"):
                said = await sentence_about(f"postgres://ada@/shop?host={folder}&sslmode=require")
            assert said.startswith(f"{folder}/.s.PGSQL.5432 closed the connection: check that it is PostgreSQL")

    async def test_a_dsn_without_a_user_is_told_whom_it_stands_for(
        self, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url = make_url(sqlalchemy_url(postgres_dsn))
        dsn = f"postgres://127.0.0.1:{url.port}/shop?sslmode=disable&password={PASSWORD}"
        monkeypatch.delenv("PGUSER", raising=False)
        assert f"refuses the user {getpass.getuser()!r}, who is asked for because the DSN names no user" in (
            await sentence_about(dsn)
        )
        monkeypatch.setenv("PGUSER", "nobody-we-know")
        assert "refuses the user 'nobody-we-know'" in await sentence_about(dsn)

    @pytest.mark.parametrize("path", ["nosuch", "nosuch,norsuch"])
    async def test_a_schema_that_is_not_there_has_its_sentence_before_a_migration_too(
        self, postgres_dsn: str, path: str
    ) -> None:
        dsn = f"{postgres_dsn}&search_path={path}"
        parsed = parse_dsn(dsn)
        database = Database(parsed.sqlalchemy_url, connect_args=parsed.connect_args())
        with pytest.raises(StorageUnavailable) as looked:
            await pending(database)
        await database.close()
        assert str(looked.value) == await sentence_about(dsn)
        assert str(looked.value).startswith(f"There is no schema {path!r} in the database: create it")

    async def test_a_user_who_may_not_make_tables_has_its_sentence(self, guest: tuple[Database, URL]) -> None:
        owner, url = guest
        await self._execute(owner, "DROP SCHEMA public CASCADE")
        await self._execute(owner, "CREATE SCHEMA public")
        assert "make it the owner of the database" in await sentence(url)

    async def test_a_server_without_free_connections_has_its_sentence(self, guest: tuple[Database, URL]) -> None:
        owner, url = guest
        await self._execute(owner, f"ALTER ROLE {url.username} CONNECTION LIMIT 0")
        assert "has no connection left" in await sentence(url)

    async def test_a_replica_has_its_sentence(self, postgres_dsn: str) -> None:
        options = {"connect_args": {"server_settings": {"default_transaction_read_only": "on"}}}
        url = make_url(sqlalchemy_url(postgres_dsn))
        database = Database(url)
        await self._execute(database, "DROP SCHEMA public CASCADE")
        await self._execute(database, "CREATE SCHEMA public")
        await database.close()
        assert "point the DSN at the primary" in await sentence(url, **options)


class TestFile:
    async def test_a_folder_that_cannot_be_made_has_its_sentence(self, tmp_path: Path) -> None:
        said = await sentence(f"sqlite+aiosqlite:///{tmp_path}/no/such/folder/shopkeeper.db")
        assert "cannot be opened or created" in said
        assert _files(tmp_path) == []

    async def test_a_folder_that_cannot_be_written_has_its_sentence(self) -> None:
        assert "cannot be opened or created" in await sentence("sqlite+aiosqlite:////proc/shopkeeper.db")

    async def test_a_file_in_the_way_of_the_folder_has_its_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "var").touch()
        assert "cannot be opened or created" in await sentence(f"sqlite+aiosqlite:///{tmp_path}/var/shopkeeper.db")

    async def test_a_file_that_is_no_database_has_its_sentence(self, tmp_path: Path) -> None:
        file = tmp_path / "shopkeeper.db"
        file.write_text("Dear diary, " * 100)
        assert await sentence(f"sqlite+aiosqlite:///{file}") == (
            f"{file} is not an SQLite database: correct the path in the DSN."
        )
        assert file.read_text().startswith("Dear diary")

    async def test_a_file_that_may_only_be_read_has_its_sentence(self, tmp_path: Path) -> None:
        file = tmp_path / "shopkeeper.db"
        file.touch()
        said = await sentence(f"sqlite+aiosqlite:///file:{file}?mode=ro&uri=true")
        assert "cannot be written" in said

    async def test_asking_what_is_pending_raises_the_sentence_too(self, tmp_path: Path) -> None:
        file = tmp_path / "shopkeeper.db"
        file.write_text("Dear diary, " * 100)
        database = Database(f"sqlite+aiosqlite:///{file}")
        with pytest.raises(StorageUnavailable, match="is not an SQLite database"):
            await pending(database)
        await database.close()


def test_a_file_that_became_read_only_counts_as_unavailable(tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE one (id INTEGER)")
    read_only = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    with closing(read_only), pytest.raises(sqlite3.OperationalError) as failed:
        read_only.execute("INSERT INTO one VALUES (1)")
    assert is_unavailable(failed.value)


def test_an_error_that_is_not_the_databases_fault_passes_unchanged() -> None:
    with pytest.raises(LookupError), explained(make_url("sqlite://")):
        raise LookupError
