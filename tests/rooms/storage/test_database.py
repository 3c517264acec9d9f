"""The unit of work when others are in the way: somebody else's lock, and a caller who goes before the end."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError

from shopkeeper.clock import StoppedClock
from shopkeeper.storage.database import Database
from shopkeeper.storage.outbox import Outbox, outbox
from tests.services.databases import sqlalchemy_url


class TestReadingInPlace:
    async def test_a_locked_file_does_not_stop_the_process(self, sqlite_dsn: str) -> None:
        """Whoever holds the lock here can only let go of it if the event loop goes on meanwhile."""
        database, file = Database(sqlalchemy_url(sqlite_dsn)), Path(sqlite_dsn.removeprefix("sqlite://"))
        holder = sqlite3.connect(file, isolation_level=None)
        for statement in ("PRAGMA locking_mode=EXCLUSIVE", "BEGIN EXCLUSIVE", "DELETE FROM outbox"):
            holder.execute(statement)

        async def read() -> int:
            async with database.unit() as unit:
                return int(await unit.scalar(select(func.count()).select_from(outbox)))

        reading = asyncio.create_task(read())
        await asyncio.sleep(0.01)
        assert not reading.done()
        holder.execute("COMMIT")
        holder.close()
        assert await reading == 0
        await database.close()

    async def test_other_errors_are_raised_at_once(self, sqlite_dsn: str) -> None:
        database = Database(sqlalchemy_url(sqlite_dsn))
        async with database.unit() as unit:
            with pytest.raises(OperationalError, match="no such table"):
                await unit.all(text("SELECT * FROM nothing_here"))
        await database.close()


class TestACallerWhoGoes:
    async def test_while_it_is_committed_hears_nothing_but_all_others_do(
        self, database: Database, clock: StoppedClock
    ) -> None:
        told: list[str] = []

        async def tell() -> None:
            told.append("all others")

        async def request() -> None:
            async with database.unit() as unit:
                await Outbox(clock).add(unit, "topic", key="key", payload={})
                unit.after_commit(tell)
                this = asyncio.current_task()
                assert this is not None
                this.cancel()

        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(request())
        async with database.unit() as unit:
            assert await unit.scalar(select(func.count()).select_from(outbox)) == len(told) == 1

    async def test_while_others_are_told_stops_nothing(self, database: Database, clock: StoppedClock) -> None:
        telling, go_on, told = asyncio.Event(), asyncio.Event(), []

        async def tell() -> None:
            telling.set()
            await go_on.wait()
            told.append("all others")

        async def request() -> None:
            async with database.unit() as unit:
                await Outbox(clock).add(unit, "topic", key="key", payload={})
                unit.after_commit(tell)

        task = asyncio.create_task(request())
        await telling.wait()
        task.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert told == ["all others"]
