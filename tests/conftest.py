"""Fixtures for all tests: databases of both kinds, caches of both kinds, a stopped clock.

The servers are real and shared by all processes of a run (`pytest -n`): the first test that needs one starts it, the
process that began the run ends it.
"""

import gc
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import structlog

from shopkeeper.clock import StoppedClock
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.cache.port import Cache
from shopkeeper.storage.cache.redis import RedisCache
from shopkeeper.storage.database import Database
from shopkeeper.storage.postgres_connection import Deadlines
from tests.services.compiled_statements import share_compiled_statements
from tests.services.databases import LentPostgres, drop_postgres, empty_postgres, new_sqlite, sqlalchemy_url
from tests.services.install import PGBOUNCER, NotInstalled
from tests.services.openid_provider import OpenIDProvider, start_openid_provider
from tests.services.other_openid_provider import OtherProvider, start_other_provider
from tests.services.pgbouncer import start_pgbouncer, through
from tests.services.postgres import start_postgres
from tests.services.server import Server, share, start_no_servers, stop_shared
from tests.services.tls_postgres import Ground, start_tls_postgres
from tests.services.valkey import start_valkey

# Rooms share them, and whichever is collected first imports them.
pytest.register_assert_rewrite(
    "tests.attacks.scene", "tests.stories.visitor", "tests.stories.shopping", "tests.stories.screen"
)

# These tests do not test the deadlines, which are long so that a busy machine does not fail them.
PATIENT = Deadlines(answer=30, connect=20, turn=60, total=60)
NOW = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)


@dataclass(frozen=True)
class Run:
    """This test run: the folder its processes share, and the process that began it."""

    folder: Path
    owner: int


RUN = pytest.StashKey[Run]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="skip what needs a server in a process of its own")


def pytest_configure(config: pytest.Config) -> None:
    # The default renders the local variables of every frame with an exception, which takes seconds.
    plainly = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plainly])
    gc.disable()  # until all is collected: it takes half of that time, and there is no garbage yet
    share_compiled_statements()
    if config.getoption("quick"):
        start_no_servers()
    told = getattr(config, "workerinput", None)
    if told is None:
        config.stash[RUN] = Run(Path(tempfile.mkdtemp(prefix="shopkeeper-tests-")), os.getpid())
    else:
        config.stash[RUN] = Run(Path(told["folder"]), told["owner"])


def pytest_collection_finish() -> None:
    """Exclude the modules and the collected tests from garbage collection: they live until the end."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    run = node.config.stash[RUN]
    node.workerinput.update(folder=str(run.folder), owner=run.owner)


def pytest_unconfigure(config: pytest.Config) -> None:
    run = config.stash.get(RUN, None)
    if run is not None and run.owner == os.getpid():
        stop_shared(run.folder)
        shutil.rmtree(run.folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def log_configuration() -> Iterator[None]:
    """Restore the configuration of the log: a command that runs in this process sets its own."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session")
def run(pytestconfig: pytest.Config) -> Run:
    return pytestconfig.stash[RUN]


@pytest.fixture(scope="session")
def postgres_server(run: Run) -> Server:
    """One PostgreSQL server for the whole run."""
    return share(run.folder, "postgres", lambda: start_postgres(owner=run.owner))


@pytest.fixture(scope="session")
def ground(run: Run, postgres_server: Server) -> Ground:
    """A PostgreSQL server with TLS beside the run's, which has none, and files of certificates."""
    folder = run.folder / "certificates"
    try:
        started = share(run.folder, "postgres-tls", lambda: start_tls_postgres(folder, owner=run.owner))
    except NotInstalled as missing:
        pytest.skip(str(missing))
    return Ground(started, postgres_server, folder)


@pytest.fixture(scope="session")
def pgbouncer_server(request: pytest.FixtureRequest, run: Run, postgres_server: Server) -> Server:
    """A PgBouncer in front of the run's PostgreSQL server: in transaction mode, unless parametrized otherwise."""
    mode = getattr(request, "param", "transaction")
    try:
        PGBOUNCER.ensure()
    except NotInstalled as missing:
        pytest.skip(str(missing))
    begin = partial(start_pgbouncer, postgres_server, pool_mode=mode, owner=run.owner)
    return share(run.folder, f"pgbouncer-{mode}", begin)


@pytest.fixture
def pgbouncer_dsn(pgbouncer_server: Server, postgres_dsn: str) -> str:
    """A fresh PostgreSQL database with all tables, reached through PgBouncer."""
    return through(pgbouncer_server, postgres_dsn)


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Server]:
    """One Valkey for each process of the run, because channels are not kept apart by database numbers."""
    server = start_valkey(owner=os.getpid())
    yield server
    server.stop()


@pytest.fixture(scope="session")
def openid_server() -> Iterator[OpenIDProvider]:
    """One OpenID provider for each process of the run, because its clock and its faults are those of all clients."""
    provider = start_openid_provider(owner=os.getpid())
    yield provider
    provider.stop()


@pytest.fixture
def openid_provider(openid_server: OpenIDProvider) -> OpenIDProvider:
    """The process's OpenID provider, without faults, sessions and an offset of its clock."""
    openid_server.reset()
    return openid_server


@pytest.fixture(scope="session")
def other_openid_provider(run: Run) -> OtherProvider:
    """The run's OpenID provider from another author."""
    server = share(run.folder, "other-openid", lambda: start_other_provider(owner=run.owner).server)
    return OtherProvider(server.url, server)


@pytest.fixture
def sqlite_dsn(run: Run, tmp_path: Path) -> str:
    """A fresh SQLite database with all tables, in Kratos' notation."""
    return new_sqlite(run.folder, tmp_path)


@pytest.fixture(scope="session")
def lent_postgres(run: Run, postgres_server: Server) -> Iterator[LentPostgres]:
    """The PostgreSQL databases of this process of the run."""
    databases = LentPostgres(run.folder, postgres_server)
    yield databases
    databases.close()


@pytest.fixture
def postgres_dsn(lent_postgres: LentPostgres) -> Iterator[str]:
    """A PostgreSQL database with all tables, as if it were fresh, in Kratos' notation."""
    dsn = lent_postgres.lend()
    yield dsn
    lent_postgres.take_back(dsn)


@pytest.fixture(params=["sqlite", "postgresql"])
def dsn(request: pytest.FixtureRequest) -> str:
    """A fresh database of either kind, in Kratos' notation: for tests that start a server process."""
    name = {"sqlite": "sqlite_dsn", "postgresql": "postgres_dsn"}[request.param]
    return str(request.getfixturevalue(name))


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """A fresh database of either kind, opened."""
    database = Database(sqlalchemy_url(dsn), deadlines=PATIENT)
    yield database
    await database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_dsn(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of either kind, without tables; SQLite's file does not even exist."""
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path / 'new.db'}"
        return
    server = request.getfixturevalue("postgres_server")
    dsn = empty_postgres(server)
    yield dsn
    drop_postgres(server, dsn)


@pytest.fixture
def valkey_url(valkey_server: Server) -> str:
    """An empty Valkey."""
    address = urlsplit(valkey_server.url)
    with socket.create_connection((address.hostname, address.port), timeout=5) as line:
        line.sendall(b"FLUSHALL\r\n")
        assert line.recv(16) == b"+OK\r\n"
    return valkey_server.url


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock(NOW)


@pytest.fixture(params=["memory", "valkey"])
async def cache(request: pytest.FixtureRequest) -> AsyncIterator[Cache]:
    """An empty cache of either kind. Valkey uses the machine's clock, the other one the test's."""
    if request.param == "memory":
        cache: Cache = MemoryCache(request.getfixturevalue("clock"))
    else:
        # These tests do not test the timeouts, which are long so that a busy machine does not fail them.
        cache = RedisCache(request.getfixturevalue("valkey_url"), connect_within=20, answer_within=20)
    yield cache
    await cache.close()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared` beside the checkout, which holds the contracts."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.fail(f"The contracts are missing: put the folder 'shared' beside the checkout, at {folder}.")
    return folder
