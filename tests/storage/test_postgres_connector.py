"""Connections to real PostgreSQL servers by the options of a DSN: several hosts, and the settings of a session."""

import asyncio
import socket
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from sqlalchemy import text

from shopkeeper.settings.dsn import parse_dsn
from shopkeeper.storage.database import Database
from shopkeeper.storage.unavailable import StorageUnavailable, explained
from tests.conftest import Run
from tests.services.postgres import USER
from tests.services.server import Server, free_port, locked
from tests.services.tls_postgres import PASSWORD, Ground

NAME = "two_hosts"


async def ask(dsn: str, question: str) -> str:
    """Connect with a DSN and return the answer to a question in SQL. Raises `StorageUnavailable`."""
    parsed = parse_dsn(dsn)
    database = Database(parsed.sqlalchemy_url, pool_size=1, connect_args=parsed.connect_args())
    try:
        with explained(database.url):
            async with database.unit() as unit:
                return str(await unit.scalar(text(question)))
    finally:
        await database.close()


async def show(dsn: str, setting: str) -> str:
    return await ask(dsn, f"SELECT current_setting('{setting}')")


class TestSettings:
    @pytest.mark.parametrize(
        ("query", "setting", "value"),
        [
            ("search_path=shop,public", "search_path", "shop,public"),
            ("options=-c%20search_path%3Dshop", "search_path", "shop"),
            ("options=-csearch_path%3Dshop%20-c%20work_mem%3D8MB", "work_mem", "8MB"),
            ("options=--work-mem%3D8MB", "work_mem", "8MB"),
            ("options=-c%20search_path%3Dshop&search_path=other", "search_path", "other"),
            ("application_name=kettle", "application_name", "kettle"),
            ("fallback_application_name=kettle", "application_name", "kettle"),
            ("fallback_application_name=kettle&application_name=quince", "application_name", "quince"),
            ("role=pg_monitor", "role", "pg_monitor"),
        ],
    )
    async def test_the_settings_of_a_dsn_are_those_of_the_session(
        self, postgres_server: Server, query: str, setting: str, value: str
    ) -> None:
        dsn = f"{postgres_server.url}/postgres?sslmode=disable&{query}"
        assert await show(dsn, setting) == value

    async def test_a_long_statement_timeout_does_not_replace_ours(self, postgres_server: Server) -> None:
        plain = f"{postgres_server.url}/postgres?sslmode=disable"
        ours = await show(plain, "statement_timeout")
        assert await show(f"{plain}&statement_timeout=86400000", "statement_timeout") == ours
        assert await show(f"{plain}&options=-c%20statement_timeout%3D86400000", "statement_timeout") == ours

    @pytest.mark.parametrize(
        ("query", "sentence"),
        [
            ("options=-c%20serch_path%3Dx", 'unrecognized configuration parameter "serch_path"'),
            ("options=-c%20work_mem%3Dlots", 'invalid value for parameter "work_mem": "lots"'),
            ("role=nobody_we_know", 'role "nobody_we_know" does not exist'),
        ],
    )
    async def test_a_setting_that_the_server_refuses_has_its_sentence(
        self, postgres_server: Server, query: str, sentence: str
    ) -> None:
        with pytest.raises(StorageUnavailable) as refused:
            await show(f"{postgres_server.url}/postgres?sslmode=disable&{query}", "search_path")
        assert str(refused.value).endswith(f"refuses a setting in the DSN: {sentence}.")


class TestKeepalive:
    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("", (1, 30, 10, 3, 30_000)),
            ("keepalives_idle=7&keepalives_interval=2&keepalives_count=5&tcp_user_timeout=1234", (1, 7, 2, 5, 1234)),
            ("keepalives=0", (0, 30, 10, 3, 30_000)),
        ],
    )
    async def test_the_kernel_notices_that_the_server_is_gone(
        self, postgres_server: Server, query: str, found: tuple[int, ...]
    ) -> None:
        parsed = parse_dsn(f"{postgres_server.url}/postgres?{query}")
        arguments = parsed.connect_args()
        url, connect = urlsplit(parsed.sqlalchemy_url), arguments.pop("async_creator_fn")
        connection = await connect(
            host=url.hostname, port=url.port, user=url.username, password=url.password, database="postgres"
        )
        used = connection._transport.get_extra_info("socket")
        options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
        is_on = used.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert (is_on, *(used.getsockopt(socket.IPPROTO_TCP, option) for option in options)) == found
        await connection.close()

    @pytest.mark.parametrize("value", ["soon", "-1", "1e3", "999999999"])
    def test_what_is_no_number_is_refused(self, value: str) -> None:
        with pytest.raises(ValueError, match="has a keepalives_idle that is no number"):
            parse_dsn(f"postgres://u:p@h/d?keepalives_idle={value}")


@pytest.mark.parametrize("pgbouncer_server", ["transaction", "session"], indirect=True)
class TestBehindAPooler:
    @pytest.mark.parametrize("query", ["search_path=shop", "options=-c%20search_path%3Dshop"])
    async def test_a_start_up_parameter_that_it_refuses_has_its_sentence(self, pgbouncer_dsn: str, query: str) -> None:
        with pytest.raises(StorageUnavailable) as refused:
            await show(f"{pgbouncer_dsn}&{query}", "search_path")
        assert "(PgBouncer) refuses the start-up parameter search_path" in str(refused.value)
        assert "ALTER ROLE … SET search_path = …" in str(refused.value)

    async def test_the_name_of_the_application_is_passed_on(self, pgbouncer_dsn: str) -> None:
        assert await show(f"{pgbouncer_dsn}&application_name=kettle", "application_name") == "kettle"


class TestHosts:
    """One database on two servers: the first of them is read-only, the second can be written."""

    @pytest.fixture
    async def ports(self, ground: Ground, run: Run) -> tuple[int, int]:
        """The ports of the read-only server, and of the other one."""
        with locked(run.folder / "two-hosts.lock"):
            for server in (ground.with_tls, ground.without_tls):
                await self._prepare(server, read_only=server is ground.with_tls)
        read_only, writable = (urlsplit(server.url).port for server in (ground.with_tls, ground.without_tls))
        assert read_only is not None
        assert writable is not None
        return read_only, writable

    @staticmethod
    async def _prepare(server: Server, *, read_only: bool) -> None:
        connection = await asyncpg.connect(f"{server.url}/postgres?sslmode=disable")
        try:
            if not await connection.fetchval(f"SELECT 1 FROM pg_database WHERE datname = '{NAME}'"):
                await connection.execute(f"CREATE DATABASE {NAME} STRATEGY FILE_COPY")
            if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = 'two'"):
                await connection.execute(f"CREATE ROLE two LOGIN PASSWORD '{PASSWORD}'")
            if read_only:
                await connection.execute(f"ALTER DATABASE {NAME} SET default_transaction_read_only = on")
        finally:
            await connection.close()

    @staticmethod
    def _dsn(*ports: int, query: str = "") -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        return f"postgres://two:{PASSWORD}@{hosts}/{NAME}?sslmode=disable&{query}"

    @staticmethod
    async def _port_of(dsn: str) -> int:
        return int(await ask(dsn, "SELECT inet_server_port()"))

    async def test_the_first_that_answers_is_taken(self, ports: tuple[int, int]) -> None:
        assert await self._port_of(self._dsn(*ports)) == ports[0]
        assert await self._port_of(self._dsn(free_port(), *ports)) == ports[0]

    @pytest.mark.parametrize("attributes", ["read-write", "primary"])
    async def test_the_writable_one_is_found(self, ports: tuple[int, int], attributes: str) -> None:
        # No server of this test is a standby, so that `primary` fits both.
        expected = ports[1] if attributes == "read-write" else ports[0]
        assert await self._port_of(self._dsn(*ports, query=f"target_session_attrs={attributes}")) == expected

    async def test_hosts_and_ports_may_stand_in_the_query(self, ports: tuple[int, int]) -> None:
        dsn = (
            f"postgres://two:{PASSWORD}@/{NAME}?host=127.0.0.1,127.0.0.1&port={ports[0]},{ports[1]}"
            "&sslmode=disable&target_session_attrs=read-write"
        )
        assert await self._port_of(dsn) == ports[1]

    async def test_a_silent_host_does_not_use_up_the_time_of_the_next(self, ports: tuple[int, int]) -> None:
        async def stay_silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await _reader.read()
            finally:
                writer.close()

        async with await asyncio.start_server(stay_silent, "127.0.0.1", silent := free_port()):
            assert await self._port_of(self._dsn(silent, ports[1], query="connect_timeout=1")) == ports[1]

    async def test_where_none_is_writable_a_sentence_names_all(self, ports: tuple[int, int]) -> None:
        nowhere = free_port()
        with pytest.raises(StorageUnavailable) as refused:
            await self._port_of(self._dsn(nowhere, ports[0], query="target_session_attrs=read-write"))
        assert str(refused.value) == (
            f"No host in the DSN can be used: 127.0.0.1:{nowhere} cannot be reached; 127.0.0.1:{ports[0]} is read-only."
        )

    async def test_one_host_that_is_read_only_has_its_sentence(self, ports: tuple[int, int]) -> None:
        with pytest.raises(StorageUnavailable, match="is read-only, and the DSN asks for one that can be written"):
            await self._port_of(self._dsn(ports[0], query="target_session_attrs=read-write"))

    async def test_a_refused_user_is_not_tried_elsewhere(self, ports: tuple[int, int]) -> None:
        dsn = self._dsn(*ports).replace(PASSWORD, "wrong")
        with pytest.raises(StorageUnavailable, match=f"127.0.0.1:{ports[0]} refuses the user 'two'"):
            await self._port_of(dsn)


class TestAccounts:
    async def test_the_password_may_stand_in_a_password_file(self, postgres_server: Server, tmp_path: Path) -> None:
        url = urlsplit(postgres_server.url)
        file = tmp_path / "passwords"
        file.write_text(f"127.0.0.1:{url.port}:*:{USER}:{url.password}\n")
        file.chmod(0o600)
        dsn = f"postgres://{USER}@127.0.0.1:{url.port}/postgres?sslmode=disable&passfile={file}"
        assert await ask(dsn, "SELECT current_user") == USER

    async def test_everything_may_stand_in_a_service_file(
        self, postgres_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url = urlsplit(postgres_server.url)
        file = tmp_path / "services"
        file.write_text(
            f"[shop]\nhost=127.0.0.1\nport={url.port}\nuser={USER}\npassword={url.password}\ndbname=postgres\n"
            "sslmode=disable\napplication_name=from the file\n"
        )
        monkeypatch.setenv("PGSERVICEFILE", str(file))
        assert await show("postgres://?service=shop", "application_name") == "from the file"
        assert await show("postgres://?service=shop&application_name=kettle", "application_name") == "kettle"
