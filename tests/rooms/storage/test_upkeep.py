"""The upkeep goes on, whatever the database does meanwhile."""

import asyncio
import sqlite3
from datetime import datetime, timedelta

import pytest
from asyncpg import PostgresError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shopkeeper.clock import StoppedClock
from shopkeeper.storage.database import Database, Unit
from shopkeeper.storage.upkeep import Chore, Upkeep
from tests.services.databases import sqlalchemy_url


class TestUpkeep:
    @pytest.mark.parametrize(
        "failure",
        [PostgresError("shutting down"), PoolTimeout("no turn"), sqlite3.OperationalError("locked"), OSError("away")],
        ids=lambda failure: type(failure).__name__,
    )
    async def test_a_database_that_fails_as_drivers_fail_is_asked_again(
        self, sqlite_dsn: str, clock: StoppedClock, failure: Exception
    ) -> None:
        database, again = Database(sqlalchemy_url(sqlite_dsn)), asyncio.Event()
        failures = [failure]

        async def delete(unit: Unit, before: datetime, batch: int) -> int:
            if failures:
                raise failures.pop()
            again.set()
            return 0

        chore = Chore("dust", timedelta(days=1), delete)
        running = asyncio.create_task(Upkeep(database, [chore], clock=clock, every=timedelta(milliseconds=1)).run())
        over = asyncio.create_task(again.wait())
        await asyncio.wait([running, over], return_when=asyncio.FIRST_COMPLETED)
        assert again.is_set()
        running.cancel()
        await asyncio.gather(running, over, return_exceptions=True)
        await database.close()
