"""The cleanup continues after any error of the database or of a rule."""

import asyncio
import sqlite3
from datetime import datetime, timedelta

import pytest
from asyncpg import PostgresError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from structlog.testing import capture_logs

from shopkeeper.clock import StoppedClock
from shopkeeper.storage.cleanup import Cleanup, RetentionRule
from shopkeeper.storage.database import Database, Unit
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

        chore = RetentionRule("dust", timedelta(days=1), delete)
        running = asyncio.create_task(Cleanup(database, [chore], clock=clock, every=timedelta(milliseconds=1)).run())
        over = asyncio.create_task(again.wait())
        await asyncio.wait([running, over], return_when=asyncio.FIRST_COMPLETED)
        assert again.is_set()
        running.cancel()
        await asyncio.gather(running, over, return_exceptions=True)
        await database.close()

    async def test_a_rule_that_fails_does_not_stop_the_others(self, database: Database, clock: StoppedClock) -> None:
        """Regression: the first failure ended the round, and a mistake of ours ended the cleanup until the next
        start."""

        async def fail(unit: Unit, before: datetime, batch: int) -> int:
            raise LookupError("something nobody foresaw")

        async def sweep(unit: Unit, before: datetime, batch: int) -> int:
            return 3

        retention_rules = [
            RetentionRule("dust", timedelta(days=1), fail),
            RetentionRule("leaves", timedelta(days=1), sweep),
        ]
        with capture_logs() as logs:
            gone = await Cleanup(database, retention_rules, clock=clock, every=timedelta(minutes=1)).run_once()
        assert gone == {"dust": 0, "leaves": 3}
        assert [(line["event"], line["chore"], line["log_level"]) for line in logs] == [
            ("upkeep.failed", "dust", "error")
        ]
