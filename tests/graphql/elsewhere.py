"""A remote engine in this process: a shop with a database of its own, which refuses calls inside our transactions.

Every call is a unit of work of the engine, and is refused while our side holds a transaction open. Our database is
SQLite with one writer, so a second connection that cannot begin to write detects any open transaction.
"""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shopkeeper.clock import Clock
from shopkeeper.commerce.embedded.demo import read_catalogue
from shopkeeper.commerce.embedded.engine import EmbeddedEngine
from shopkeeper.commerce.embedded.load import load
from shopkeeper.commerce.port import CartMergeReport, Grant, Shopper
from shopkeeper.storage.database import Database, Unit


class CalledInsideATransaction(AssertionError):
    """Our side called another server while it held a transaction open."""


class Part:
    """A part of the other shop. Each of its methods is a call of that shop."""

    def __init__(self, engine: "ElsewhereEngine", shopper: Shopper, name: str) -> None:
        self._engine, self._shopper, self._name = engine, shopper, name

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any, **named: Any) -> Any:
            async with self._engine.over_there() as unit:
                session = self._engine.shop.bind(unit, self._shopper)
                return await getattr(getattr(session, self._name), method)(*arguments, **named)

        return call


@dataclass(frozen=True)
class ElsewhereSession:
    """Satisfies `EngineSession`."""

    engine: "ElsewhereEngine"
    shopper: Shopper

    def __getattr__(self, part: str) -> Part:
        if part not in {"carts", "catalogue", "orders", "customers"}:
            raise AttributeError(part)
        return Part(self.engine, self.shopper, part)


@dataclass
class ElsewhereEngine:
    """Satisfies `Engine`. `calls` counts the accepted calls."""

    shop: EmbeddedEngine
    database: Database
    ours: Path
    name: str = "elsewhere"
    shares_transaction: bool = False
    calls: int = 0

    def bind(self, unit: Unit | None, shopper: Shopper, grant: Grant | None = None) -> ElsewhereSession:
        _refuse_unit(unit)
        return ElsewhereSession(self, shopper)

    async def merge_guest_cart(self, unit: Unit | None, **named: Any) -> CartMergeReport:
        _refuse_unit(unit)
        async with self.over_there() as theirs:
            return await self.shop.merge_guest_cart(theirs, **named)

    async def forget(self, unit: Unit | None, identity_id: str) -> None:
        _refuse_unit(unit)
        async with self.over_there() as theirs:
            await self.shop.forget(theirs, identity_id)

    @asynccontextmanager
    async def over_there(self) -> AsyncIterator[Unit]:
        """Open a unit of the other shop for one call. Raises `CalledInsideATransaction` where ours has one open."""
        with closing(sqlite3.connect(self.ours, timeout=0, isolation_level=None)) as second:
            try:
                second.execute("BEGIN IMMEDIATE")
                second.execute("ROLLBACK")
            except sqlite3.OperationalError as locked:
                raise CalledInsideATransaction from locked
        self.calls += 1
        async with self.database.unit() as unit:
            yield unit


def _refuse_unit(unit: Unit | None) -> None:
    if unit is not None:
        raise AssertionError("Another server has no use for our unit of work.")


@asynccontextmanager
async def elsewhere(place: Path, ours: Path, clock: Clock) -> AsyncIterator[ElsewhereEngine]:
    """Open the other shop: `place` is an empty database of its own, `ours` the file of our side's."""
    database = Database(f"sqlite+aiosqlite:///{place}")
    async with database.unit() as unit:
        await load(unit, store="kettle", catalogue=read_catalogue())
    yield ElsewhereEngine(EmbeddedEngine(clock), database, ours)
    await database.close()
