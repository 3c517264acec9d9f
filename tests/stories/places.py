"""The servers of the end-to-end tests: on SQLite with the cache in process, and on PostgreSQL with Valkey.

`place` is shared by all processes of a run, so its tests use customers of their own and products of which there are
plenty. Tests that need a server of their own use `launch` and `infrastructure`.
"""

import asyncio
import json
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from tests.services.databases import sqlalchemy_url
from tests.services.shopkeeper_server import Commerce

KINDS = ("sqlite", "postgresql")
TENANTS = ("quince-eu", "quince-us")
STORES: Mapping[str, Any] = {
    "stores": [
        {"id": "quince", "tenants": list(TENANTS), "currency": "EUR", "country": "DE"},
        {"id": "kettle", "hosts": ["kettle.example"], "currency": "GBP", "country": "GB"},
    ]
}
"""Two stores: one with tenants, which is the default, and one that is also found by its host."""


@dataclass(frozen=True)
class Ground:
    """What a server runs on: its database in Kratos' notation, and its cache; None means one in process."""

    dsn: str
    cache_url: str | None = None

    def start_with(self) -> dict[str, Any]:
        """Return the arguments of `start_shopkeeper` for a server on this database and cache."""
        return {"dsn": self.dsn, "cache_url": self.cache_url}

    def write(self, note: Path) -> None:
        note.write_text(json.dumps([self.dsn, self.cache_url]))

    @classmethod
    def read(cls, note: Path) -> "Ground":
        return cls(*json.loads(note.read_text()))


@dataclass(frozen=True)
class Place:
    """A running server of ours, with its database and cache."""

    shop: Commerce
    infrastructure: Ground

    @property
    def public(self) -> str:
        return self.shop.public

    @property
    def admin(self) -> str:
        return self.shop.admin

    @property
    def ledger(self) -> "Ledger":
        """Its database, read without the server."""
        return Ledger(self.infrastructure.dsn)


def new_folder(run_folder: Path) -> Path:
    """Create an empty folder for a server."""
    return Path(tempfile.mkdtemp(prefix="story-", dir=run_folder))


class Ledger:
    """A server's database, read directly: what was really stored."""

    def __init__(self, dsn: str) -> None:
        self._address = sqlalchemy_url(dsn)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query that both databases understand."""
        if self._address.startswith("sqlite"):
            return self._in_file(query)
        return _elsewhere(lambda: asyncio.run(self._on_server(query)))

    def execute(self, statement: str) -> None:
        """Change something, as time or an operator would."""
        self.rows(statement)

    def column(self, query: str) -> list[Any]:
        """Return the first column."""
        return [row[0] for row in self.rows(query)]

    def written(self, id_: str) -> str:
        """Return an id as this database writes it."""
        return id_ if self._address.startswith("postgresql") else id_.replace("-", "")

    def count(self, table: str, where: str = "1 = 1") -> int:
        [number] = self.column(f"SELECT count(*) FROM {table} WHERE {where}")
        return int(number)

    def sizes(self) -> dict[str, int]:
        """Return the number of rows of each table."""
        return {table: self.count(f'"{table}"') for table in self.tables()}

    def tables(self) -> Sequence[str]:
        known = {
            "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
            "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
        }
        return sorted(self.column(known[self._address.partition("+")[0]]))

    def _in_file(self, query: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self._address.partition(":///")[2], timeout=60, isolation_level=None)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    async def _on_server(self, query: str) -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(self._address.replace("+asyncpg", "") + "?sslmode=disable")
        try:
            return [tuple(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()


def _elsewhere(act: Callable[[], Any]) -> Any:
    """Run in a thread of its own, because this one may be running a browser's event loop."""
    done: list[Any] = []
    failures: list[BaseException] = []

    def body() -> None:
        try:
            done.append(act())
        except BaseException as failed:
            failures.append(failed)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return done[0]
