"""PostgreSQL when something is wrong with it: silent, restarted, read-only, changed, or stricter than usual."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import Integer, bindparam, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError

from shopkeeper.clock import SystemClock
from shopkeeper.storage.cleanup import Cleanup, RetentionRule
from shopkeeper.storage.database import Database, Unit, broken_constraint
from shopkeeper.storage.outbox import Outbox
from shopkeeper.storage.outbox_worker import OutboxWorker, Subscriber
from shopkeeper.storage.postgres_connection import Deadlines
from shopkeeper.storage.unavailable import (
    DATABASE_ERRORS,
    CommitUnknown,
    DatabaseUnavailable,
    RetryAtOnce,
    StorageUnavailable,
    explained,
)
from tests.services.databases import sqlalchemy_url
from tests.services.line import Line, line_to

SHORT = Deadlines(answer=1.0, connect=2.0)
ENOUGH = 30
"""Seconds after which a wait counts as endless."""
INSERT = text("INSERT INTO notes VALUES (:number)").bindparams(bindparam("number", type_=Integer))
COUNT = text("SELECT count(*) FROM notes")
BACKEND = text("SELECT pg_backend_pid()")
RAISE = text("UPDATE notes SET number = number + 1")


async def execute(database: Database, *statements: str) -> None:
    async with database.transaction() as connection:
        for statement in statements:
            await connection.execute(text(statement))


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    """A database with an empty table `notes`."""
    database = Database(sqlalchemy_url(postgres_dsn))
    await execute(database, "CREATE TABLE notes (number INTEGER)")
    yield database
    await database.close()


async def read(database: Database) -> int:
    async with database.unit() as unit:
        return int(await unit.scalar(COUNT))


async def write(database: Database, number: int = 1) -> None:
    async with database.unit() as unit:
        await unit.write(INSERT, {"number": number})


async def warm(database: Database) -> None:
    """Fill both pools: half of the connections stay idle, as in a server that was busier a moment ago."""
    acts = [act for act in (read, write) for _ in range(4)]
    await asyncio.gather(*(_until_it_works(partial(act, database)) for act in acts))


class TestSilence:
    """A server, or something on the way to it, that keeps its connections open and does not answer."""

    @pytest.fixture
    async def line(self, database: Database) -> AsyncIterator[Line]:
        async with line_to("127.0.0.1", database.url.port or 5432) as line:
            yield line

    @pytest.fixture
    async def far(self, database: Database, line: Line) -> AsyncIterator[Database]:
        """The database at the end of the line, with all connections open."""
        far = Database(database.url.set(port=line.port), deadlines=SHORT)
        await warm(far)
        yield far
        await far.close()

    @pytest.mark.parametrize("act", [read, write], ids=["reading", "writing"])
    async def test_all_who_ask_are_refused_in_time_and_served_again_later(
        self, far: Database, line: Line, act: Callable[[Database], Awaitable[object]]
    ) -> None:
        line.fall_silent()
        async with asyncio.timeout(ENOUGH):
            refused = await asyncio.gather(*(act(far) for _ in range(30)), return_exceptions=True)
        assert {type(each) for each in refused} == {DatabaseUnavailable}
        assert all(isinstance(each, DatabaseUnavailable) and each.retry_after >= 1 for each in refused)
        line.speak_again()
        async with asyncio.timeout(ENOUGH):
            await _until_it_works(lambda: act(far))

    @pytest.mark.parametrize("how", ["commits", "rolls back"])
    async def test_the_end_of_a_transaction_does_not_wait_for_ever(self, far: Database, line: Line, how: str) -> None:
        async def work() -> None:
            async with far.unit() as unit:
                await unit.write(INSERT, {"number": 7})
                line.fall_silent()
                if how == "rolls back":
                    raise LookupError

        with pytest.raises(DatabaseUnavailable if how == "commits" else LookupError):
            await asyncio.wait_for(work(), ENOUGH)
        line.speak_again()
        async with asyncio.timeout(ENOUGH):
            await _until_it_works(lambda: read(far))

    @pytest.mark.parametrize("when", ["connecting", "locking", "committing", "rolling back"])
    async def test_no_wait_of_a_bulk_transaction_is_endless(self, database: Database, line: Line, when: str) -> None:
        deadlines = Deadlines(answer=1.0, connect=1.0, bulk_commit=1.0)
        far = Database(database.url.set(port=line.port), deadlines=deadlines)

        async def work() -> None:
            if when == "connecting":
                line.fall_silent()
            async with far.transaction() as connection:
                await connection.execute(text("INSERT INTO notes VALUES (1)"))
                line.fall_silent()
                if when == "rolling back":
                    raise LookupError

        expected = {"committing": CommitUnknown, "rolling back": LookupError}
        if when != "locking":
            with pytest.raises(expected.get(when, DATABASE_ERRORS)):
                await asyncio.wait_for(work(), ENOUGH)
        else:
            await self._lock_in_vain(database)
        await asyncio.wait_for(far.close(), ENOUGH)

    @staticmethod
    async def _lock_in_vain(database: Database) -> None:
        near = Database(database.url, deadlines=Deadlines(bulk_lock=0.2))
        async with database.transaction() as holder:
            await holder.execute(text("SELECT pg_advisory_xact_lock(7)"))
            with pytest.raises(StorageUnavailable, match="keeps a lock"), explained(near.url):
                async with near.transaction() as connection:
                    await connection.execute(text("SELECT pg_advisory_xact_lock(7)"))
        await near.close()

    async def test_a_bulk_transaction_can_be_cancelled(self, database: Database, line: Line) -> None:
        far, ready = Database(database.url.set(port=line.port)), asyncio.Event()

        async def work() -> None:
            async with far.transaction() as connection:
                await connection.execute(text("INSERT INTO notes VALUES (1)"))
                line.fall_silent()
                ready.set()
                await connection.execute(text("INSERT INTO notes VALUES (2)"))

        task = asyncio.create_task(work())
        await ready.wait()
        await asyncio.sleep(0.05)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=ENOUGH)
        assert done
        assert task.cancelled()
        await far.close()

    async def test_what_is_written_always_is_not_waited_for_again(self, far: Database, line: Line) -> None:
        async def work() -> None:
            async with far.unit() as unit:
                unit.always(INSERT, {"number": 7})
                line.fall_silent()
                await unit.scalar(COUNT)

        with pytest.raises(DatabaseUnavailable):
            await asyncio.wait_for(work(), ENOUGH)

    async def test_the_database_can_be_closed(self, database: Database, line: Line) -> None:
        far = Database(database.url.set(port=line.port), deadlines=SHORT)
        await warm(far)
        line.fall_silent()
        await asyncio.wait_for(far.close(), ENOUGH)

    async def test_connections_that_were_forgotten_while_idle_cost_nobody_a_refusal(
        self, database: Database, line: Line
    ) -> None:
        far = Database(database.url.set(port=line.port), deadlines=Deadlines(idle=0.0, probe=0.2))
        await warm(far)
        line.forget()
        for _ in range(3):
            assert await read(far) == 4
        await write(far)
        await far.close()

    async def test_background_tasks_go_on_when_it_is_over(self, far: Database, line: Line) -> None:
        delivered, cleaned = asyncio.Event(), asyncio.Event()

        async def deliver(_event: object) -> None:
            delivered.set()

        async def clean(unit: Unit, _before: object, _batch: int) -> int:
            await unit.scalar(COUNT)
            cleaned.set()
            return 0

        clock = SystemClock()
        worker = OutboxWorker(
            far, {"mail": Subscriber(deliver)}, clock=clock, random=lambda: 1.0, poll=timedelta(seconds=0.1)
        )
        cleanup = Cleanup(far, [RetentionRule("notes", timedelta(0), clean)], clock=clock, every=timedelta(seconds=0.1))
        tasks = [asyncio.create_task(worker.run()), asyncio.create_task(cleanup.run())]
        async with asyncio.timeout(ENOUGH):
            await cleaned.wait()
            line.fall_silent()
            with suppress(DatabaseUnavailable):
                await read(far)
            cleaned.clear()
            line.speak_again()
            await _until_it_works(lambda: self._post(far))
            await delivered.wait()
            await cleaned.wait()
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @staticmethod
    async def _post(database: Database) -> None:
        async with database.unit() as unit:
            await Outbox(SystemClock()).add(unit, "mail", key="ada", payload={})


class TestSlowness:
    """A statement that takes too long, on a server that answers everybody else."""

    SLEEP = text("SELECT pg_sleep(20), 'slow'")
    STILL_ACTIVE = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
        " AND query LIKE '%pg_sleep(20)%' AND pid <> pg_backend_pid()"
    )

    @pytest.mark.parametrize("acts", ["reading", "writing"])
    async def test_only_its_request_ends_and_the_server_stops_it(self, database: Database, acts: str) -> None:
        impatient = Database(database.url, deadlines=Deadlines(answer=0.3))
        async with impatient.unit() as unit:
            backend = await unit.scalar(BACKEND)
            await unit.begin()
            writing = await unit.scalar(BACKEND)

        async def work() -> None:
            async with impatient.unit() as unit:
                unit.always(INSERT, {"number": 1})
                if acts == "writing":
                    await unit.begin()
                await unit.scalar(self.SLEEP)

        with pytest.raises(DatabaseUnavailable) as refused:
            await work()
        assert isinstance(refused.value.__cause__, TimeoutError)
        await until(partial(self._is_over, database))
        await until(partial(self._all_given_back, impatient))
        async with impatient.unit() as unit:  # the connections that nothing happened to are kept
            if acts == "writing":
                assert await unit.scalar(BACKEND) == backend
            await unit.begin()
            assert (await unit.scalar(BACKEND) == writing) == (acts == "reading")
        assert await read(database) == 1
        await impatient.close()

    async def _is_over(self, database: Database) -> bool:
        async with database.unit() as unit:
            return await unit.scalar(self.STILL_ACTIVE) == 0

    @staticmethod
    async def _all_given_back(database: Database) -> bool:
        return not any(pool.taken for pool in database.pools.values())

    async def test_a_unit_waits_no_longer_for_many_statements_than_for_one(self, database: Database) -> None:
        hurried = Database(database.url, deadlines=Deadlines(answer=0.6, total=1.0))

        async def work() -> None:
            async with hurried.unit() as unit:
                for _ in range(30):
                    await unit.scalar(text("SELECT pg_sleep(0.1)"))

        with pytest.raises(DatabaseUnavailable) as refused:
            await work()
        assert isinstance(refused.value.__cause__, TimeoutError)
        async with hurried.unit() as unit:
            await asyncio.sleep(1.1)  # password hashing or another server: not the database's time
            await unit.scalar(COUNT)
        await hurried.close()

    async def test_who_waited_long_for_a_turn_has_less_time_and_harms_nobody(self, database: Database) -> None:
        hurried = Database(database.url, pool_size=1, deadlines=Deadlines(answer=4.0, turn=4.0, total=2.0))

        async def hold(seconds: float) -> None:
            async with hurried.unit() as unit:
                await unit.begin()
                await unit.scalar(text(f"SELECT pg_sleep({seconds})"))

        async with hurried.unit() as unit:
            reader = await unit.scalar(BACKEND)
        first, second = await asyncio.gather(hold(1.5), hold(1.6), return_exceptions=True)
        assert first is None
        assert isinstance(second, DatabaseUnavailable)
        async with hurried.unit() as unit:
            assert await unit.scalar(BACKEND) == reader
        await hurried.close()


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(ENOUGH):
        while not await is_so():  # noqa: ASYNC110 - what another server does sets no event
            await asyncio.sleep(0.02)


async def _until_it_works(act: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            await act()
        except DatabaseUnavailable:
            await asyncio.sleep(0.05)
        else:
            return


class TestLostCommits:
    """The connection is lost between a commit and its answer."""

    @pytest.fixture
    async def line(self, database: Database) -> AsyncIterator[Line]:
        async with line_to("127.0.0.1", database.url.port or 5432) as line:
            yield line

    async def test_nobody_is_told_that_nothing_happened(self, database: Database, line: Line) -> None:
        far, ran = Database(database.url.set(port=line.port)), list[str]()

        async def note(what: str) -> None:
            ran.append(what)

        async def work() -> None:
            async with far.unit() as unit:
                await unit.write(INSERT, {"number": 7})
                unit.after_commit(partial(note, "the change"))
                unit.after_commit(partial(note, "kept"), if_unknown=partial(note, "dropped"))
                unit.after_commit_or_doubt(partial(note, "invalidated"))
                line.hang_up_at(b"COMMIT\0")

        with pytest.raises(CommitUnknown, match="It may have been made") as refused:
            await work()
        assert not isinstance(refused.value, RetryAtOnce)
        assert ran == ["dropped", "invalidated"]
        assert await read(database) == 1
        await far.close()

    async def test_a_commit_that_the_server_refuses_has_had_no_effect(self, database: Database) -> None:
        await execute(database, "CREATE TABLE once (n INTEGER UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        ran = []

        async def note() -> None:
            ran.append("ran")

        async def work() -> None:
            async with database.unit() as unit:
                unit.after_commit_or_doubt(note)
                for _ in range(2):
                    await unit.write(text("INSERT INTO once VALUES (1)"))

        with pytest.raises(IntegrityError):
            await work()
        assert ran == []

    async def test_a_transaction_that_was_aborted_is_not_taken_for_a_commit(self, database: Database) -> None:
        await execute(database, "CREATE UNIQUE INDEX ON notes (number)")
        await write(database, 1)

        async def work() -> None:
            async with database.unit() as unit:
                await unit.write(INSERT, {"number": 2})
                with suppress(IntegrityError):
                    await unit.write(INSERT, {"number": 1})

        with pytest.raises(RuntimeError, match="rolled the transaction back"):
            await work()
        assert await read(database) == 1
        await write(database, 2)


class TestCutConnections:
    async def test_nobody_notices_that_idle_connections_were_cut(self, database: Database, postgres_dsn: str) -> None:
        await warm(database)
        other = Database(sqlalchemy_url(postgres_dsn))
        await execute(
            other,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        await other.close()
        assert await read(database) == 4
        await write(database)
        assert await read(database) == 5


class TestChangedTables:
    """A column changes its type under connections that have prepared statements for it: SQLSTATE 0A000."""

    NUMBERS = text("SELECT number FROM notes")

    async def _change(self, database: Database) -> None:
        await execute(database, "ALTER TABLE notes ALTER COLUMN number TYPE BIGINT")

    async def test_reads_go_on(self, database: Database) -> None:
        await write(database)
        for change in (False, True):
            if change:
                await self._change(database)
            async with database.unit() as unit:
                assert await unit.scalar(self.NUMBERS) == 1

    async def test_a_transaction_that_begins_with_it_goes_on(self, database: Database) -> None:
        await write(database)
        for change in (False, True):
            if change:
                await self._change(database)
            async with database.unit() as unit:
                await unit.begin()
                assert await unit.scalar(self.NUMBERS) == 1
                await unit.write(INSERT, {"number": 1})
        assert await read(database) == 3

    async def test_a_transaction_that_meets_it_later_is_refused_once(self, database: Database) -> None:
        async def work() -> None:
            async with database.unit() as unit:
                await unit.write(INSERT, {"number": 1})
                await unit.all(self.NUMBERS)

        await work()
        await self._change(database)
        with pytest.raises(DatabaseUnavailable):
            await work()
        await work()
        assert await read(database) == 2


class TestStricterServers:
    @pytest.mark.parametrize("level", ["serializable", "repeatable read"])
    async def test_writers_of_one_row_take_turns_whatever_the_default_isolation_is(
        self, database: Database, postgres_dsn: str, level: str
    ) -> None:
        await write(database, 0)
        await execute(database, f"ALTER DATABASE {database.url.database} SET default_transaction_isolation = '{level}'")
        strict = Database(sqlalchemy_url(postgres_dsn))

        async def raise_after_reading() -> None:
            async with strict.unit() as unit:
                await unit.begin()
                await unit.scalar(text("SELECT number FROM notes FOR UPDATE"))
                await unit.write(RAISE)

        await asyncio.gather(*(raise_after_reading() for _ in range(8)))
        async with strict.unit() as unit:
            assert await unit.scalar(text("SELECT number FROM notes")) == 8
        await strict.close()

    async def test_a_server_that_became_read_only_is_reported_and_recovers(
        self, database: Database, postgres_dsn: str
    ) -> None:
        other, name = Database(sqlalchemy_url(postgres_dsn)), database.url.database
        await execute(other, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        failed_over = Database(sqlalchemy_url(postgres_dsn))
        with pytest.raises(DatabaseUnavailable) as refused:
            await write(failed_over)
        assert (refused.value.status, refused.value.retry_after) == (503, 1)
        with pytest.raises(StorageUnavailable, match="is read-only: point the DSN at the primary"):
            await failed_over.require_writable()
        assert await read(failed_over) == 0
        await execute(other, "SET TRANSACTION READ WRITE", f"ALTER DATABASE {name} RESET default_transaction_read_only")
        async with asyncio.timeout(ENOUGH):  # connections of the time before are noticed, and dropped
            await _until_it_works(lambda: write(failed_over))
        await failed_over.require_writable()
        await failed_over.close()
        await other.close()

    async def test_writes_that_a_read_only_server_refuses_do_not_open_connections(
        self, database: Database, postgres_dsn: str
    ) -> None:
        """Neither do checks of readiness; and readers keep theirs until the writer has found a better server."""
        name = database.url.database
        await execute(database, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        failed_over = Database(sqlalchemy_url(postgres_dsn), pool_size=1)

        async def read_backend() -> int:
            async with failed_over.unit() as unit:
                return int(await unit.scalar(BACKEND))

        reader, writers = await read_backend(), set[int]()
        for _ in range(10):
            with pytest.raises(DatabaseUnavailable):
                await write(failed_over)
            with pytest.raises(StorageUnavailable):
                await failed_over.require_writable()
            assert await read_backend() == reader
            async with failed_over.unit() as unit:
                await unit.begin()
                writers.add(await unit.scalar(BACKEND))
        assert len(writers) < 10
        await execute(
            database, "SET TRANSACTION READ WRITE", f"ALTER DATABASE {name} RESET default_transaction_read_only"
        )
        async with asyncio.timeout(ENOUGH):
            await _until_it_works(lambda: write(failed_over))
        assert await read_backend() != reader
        await failed_over.close()

    async def test_a_server_that_is_writable_is_reported_as_such(self, database: Database) -> None:
        await database.require_writable()

    async def test_a_prepared_statement_that_has_vanished_is_not_missed(self, database: Database) -> None:
        """As behind a pooler that could not be recognised."""
        await write(database)
        await write(database)
        async with database.unit() as unit:
            await unit.write(text("DEALLOCATE ALL"))
        await write(database)
        assert await read(database) == 3


async def test_an_error_tells_its_statement_and_no_values(database: Database) -> None:
    await execute(database, "CREATE UNIQUE INDEX ON notes (number)")
    await write(database, 4711)
    with pytest.raises(IntegrityError) as refused:
        await write(database, 4711)
    told = "".join(traceback.format_exception(refused.value))
    assert "INSERT INTO notes" in told
    assert broken_constraint(refused.value) == "notes_number_idx"
    assert "4711" not in told.replace("4711)\n", "")  # but for the line of this test


async def test_no_setting_goes_with_the_connection(database: Database, postgres_dsn: str) -> None:
    """Poolers refuse those that they do not know."""
    async with database.unit() as unit:
        limits = {
            name: await unit.scalar(text(f"SHOW {name}"))
            for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        }
    assert limits == {
        "statement_timeout": "5s",
        "lock_timeout": "4s",
        "idle_in_transaction_session_timeout": "1min",
    }
    assert make_url(sqlalchemy_url(postgres_dsn)).query == {}
