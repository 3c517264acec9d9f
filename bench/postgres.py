"""PostgreSQL to measure with: a given one, or the tests' own with durable writes."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

import asyncpg

from bench.outcome import Unmeasured
from tests.services import postgres
from tests.services.server import NotStarted

# The tests' server loses data at a crash. Figures of writes mean something only with durable writes.
CAREFUL = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "autovacuum": "on"}
ROOMY = {"shared_buffers": "256MB", "max_wal_size": "4GB"}


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where databases are created: an address that databases' names are appended to, or one given database."""

    url: str
    own: bool

    def dsn(self, name: str) -> str:
        """Return the data source name of a database of our own server."""
        return f"{self.url}/{name}?sslmode=disable"


@contextmanager
def cluster(named: str, *, owner: int) -> Iterator[Cluster]:
    """Use the PostgreSQL behind a data source name, or with `auto` one of our own that ends with the run."""
    if named != "auto":
        yield Cluster(named, own=False)
        return
    postgres.QUICK.update(CAREFUL | ROOMY)
    try:
        server = postgres.start_postgres(owner=owner)
    except NotStarted as failed:
        raise Unmeasured(str(failed)) from failed
    try:
        yield Cluster(server.url, own=True)
    finally:
        server.stop()


def new_database(server: Cluster) -> str:
    """Create an empty database on our own server; return the given one otherwise."""
    if not server.own:
        return server.url
    name = f"bench_{uuid4().hex}"
    asyncio.run(_execute(server.dsn("postgres"), f"CREATE DATABASE {name}"))
    return server.dsn(name)


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
