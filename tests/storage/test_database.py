"""The unit of work: its phases, locks of other connections, and callers that are cancelled."""

import asyncio
import gc
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import TextClause, func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from shopkeeper.clock import StoppedClock, SystemClock
from shopkeeper.storage.database import Database, Unit
from shopkeeper.storage.outbox import Outbox, outbox
from shopkeeper.storage.sqlite_connections import CHECKPOINT_EVERY
from shopkeeper.storage.unavailable import DatabaseUnavailable
from shopkeeper.storage.unit import WriteCollected
from tests.services.databases import sqlalchemy_url
from tests.services.server import free_port


class Notes:
    def __init__(self, database: Database) -> None:
        self._database = database

    @staticmethod
    def insert(number: int) -> TextClause:
        return text(f"INSERT INTO notes VALUES ({number})")

    async def all(self) -> list[int]:
        async with self._database.unit() as unit:
            return [row.number for row in await unit.all(text("SELECT number FROM notes ORDER BY number"))]


@pytest.fixture
async def notes(database: Database) -> Notes:
    """A table in which each number occurs at most once."""
    async with database.transaction() as connection:
        await connection.execute(text("CREATE TABLE notes (number INTEGER PRIMARY KEY)"))
    return Notes(database)


class TestWriting:
    async def test_two_first_writes_of_one_unit_at_once_are_refused(self, notes: Notes, database: Database) -> None:
        """One of them was lost, with its connection."""

        async def work() -> None:
            async with database.unit() as unit:
                await asyncio.gather(*(unit.write(notes.insert(number)) for number in range(2)))

        if database.kind == "postgresql":
            with pytest.raises(RuntimeError, match="at once"):
                await work()
            assert await notes.all() == []
        else:  # in a file's thread no other task runs before the transaction has begun
            await work()
            assert await notes.all() == [0, 1]
        assert not any(pool.taken for pool in database.pools.values())

    async def test_a_statement_with_no_parameters_at_all_is_not_executed(
        self, notes: Notes, database: Database
    ) -> None:
        async with database.unit() as unit:
            result = await unit.write(text("INSERT INTO notes VALUES (:number)"), [])
            assert (result.rowcount, result.first(), result.all(), result.scalar()) == (0, None, [], None)
        assert await notes.all() == []


class TestCancelledStatements:
    """A client that disconnects, or the end of the server, cancels whatever statement is running."""

    async def test_keep_no_writer_out(self, notes: Notes, database: Database) -> None:
        await self._cancel_and_write(notes, database)

    async def test_keep_no_writer_of_a_database_in_memory_out(self) -> None:
        """They stayed open with their locks, and the next commit waited for half a minute."""
        database = Database("sqlite+aiosqlite:///file:/cancelled?vfs=memdb&uri=true")
        async with database.transaction() as connection:
            await connection.execute(text("CREATE TABLE notes (number INTEGER PRIMARY KEY)"))
        await self._cancel_and_write(Notes(database), database)
        await database.close()

    @pytest.fixture(autouse=True)
    def _without_collector(self) -> Iterator[None]:
        """The server collects seldom as well; what a cancelled task leaves behind stays for a while."""
        gc.disable()
        yield
        gc.enable()

    async def _cancel_and_write(self, notes: Notes, database: Database) -> None:

        async def work(number: int) -> None:
            async with database.unit() as unit:
                await unit.all(text("SELECT number FROM notes"))
                await unit.write(Notes.insert(number))
                await unit.all(text("SELECT number FROM notes"))

        for number in range(60):
            task = asyncio.create_task(work(number))
            await asyncio.sleep(number * 0.0001)  # from before the first statement to behind the last one
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            async with asyncio.timeout(5), database.unit() as unit:
                await unit.write(Notes.insert(1_000 + number))
        assert len([number for number in await notes.all() if number >= 1_000]) == 60


class TestReadingInPlace:
    async def test_a_locked_file_does_not_stop_the_process(self, sqlite_dsn: str) -> None:
        """The holder of the lock can release it only if the event loop keeps running meanwhile."""
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
    async def test_a_caller_cancelled_during_the_commit_prevents_no_action_after_it(
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

    @pytest.mark.parametrize("times", [1, 3])
    async def test_a_caller_cancelled_after_the_commit_prevents_no_action(
        self, database: Database, clock: StoppedClock, times: int
    ) -> None:
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
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert told == ["all others"]


class TestReading:
    @pytest.mark.parametrize(
        "change",
        [
            lambda unit: unit.begin(),
            lambda unit: unit.write(Notes.insert(1)),
            lambda unit: Outbox(SystemClock()).add(unit, "topic", key="key", payload={}),
        ],
        ids=["begin", "write", "an event"],
    )
    async def test_a_reading_unit_refuses_to_begin_a_transaction(
        self, database: Database, notes: Notes, change: Callable[[Unit], Awaitable[object]]
    ) -> None:
        async with database.reading() as unit:
            with pytest.raises(RuntimeError, match=r"only reads.*Database\.unit"):
                await change(unit)
            assert await unit.scalar(select(func.count()).select_from(outbox)) == 0
        assert await notes.all() == []
        async with database.unit() as unit:
            assert await unit.scalar(select(func.count()).select_from(outbox)) == 0

    @pytest.mark.parametrize("error", [None, LookupError, asyncio.CancelledError])
    async def test_a_reading_unit_writes_at_its_end_what_is_written_always(
        self, database: Database, notes: Notes, error: type[BaseException] | None
    ) -> None:
        with suppress(LookupError, asyncio.CancelledError):
            async with database.reading() as unit:
                unit.always(notes.insert(1))
                unit.always(notes.insert(2))
                async with database.unit() as another:  # SQLite has one writer: this waits for any other
                    assert await another.all(text("SELECT number FROM notes")) == []
                    await another.write(notes.insert(3))
                if error is not None:
                    raise error
        assert await notes.all() == [1, 2, 3]

    @pytest.mark.parametrize("fails", [False, True])
    async def test_a_reading_unit_writes_all_of_that_or_nothing(
        self, database: Database, notes: Notes, fails: bool
    ) -> None:
        with pytest.raises((IntegrityError, LookupError)):
            await _read_and_note(database, notes, 1, 2, 1, fails=fails)
        assert await notes.all() == []

    async def test_a_reading_unit_does_at_its_end_what_is_done_after_the_commit(self, database: Database) -> None:
        told: list[str] = []

        async def tell() -> None:
            told.append("all others")

        async with database.reading() as unit:
            unit.after_commit(tell)
        assert told == ["all others"]


async def _read_and_note(database: Database, notes: Notes, *numbers: int, fails: bool) -> None:
    async with database.reading() as unit:
        for number in numbers:
            unit.always(notes.insert(number))
        if fails:
            raise LookupError


class TestCollecting:
    async def test_collected_items_are_written_once_after_all_else_and_in_order(
        self, database: Database, notes: Notes
    ) -> None:
        written: list[Sequence[int]] = []

        async def write(unit: Unit, numbers: Sequence[int]) -> None:
            assert [row.number for row in await unit.all(text("SELECT number FROM notes ORDER BY number"))] == [7, 8]
            written.append(numbers)
            for number in numbers:
                await unit.write(notes.insert(number))

        async with database.unit() as unit:
            unit.always(notes.insert(8))
            for number in (3, 1, 2):
                unit.collect(number, write=write)
            await unit.write(notes.insert(7))
            assert written == []
        assert written == [[3, 1, 2]]
        assert await notes.all() == [1, 2, 3, 7, 8]

    async def test_collected_items_are_dropped_where_the_unit_rolls_back(
        self, database: Database, notes: Notes
    ) -> None:
        async def write(unit: Unit, numbers: Sequence[int]) -> None:
            raise AssertionError("nothing is left to be written")

        with suppress(LookupError):
            async with database.unit() as unit:
                unit.collect(1, write=write)
                unit.always(notes.insert(2))
                raise LookupError
        assert await notes.all() == [2]

    async def test_a_failure_to_write_collected_items_rolls_back_the_unit(
        self, database: Database, notes: Notes
    ) -> None:
        async def write(unit: Unit, numbers: Sequence[int]) -> None:
            await unit.write(notes.insert(1))

        with pytest.raises(IntegrityError):
            await _note_and_collect(database, notes, write)
        assert await notes.all() == [2]


async def _note_and_collect(database: Database, notes: Notes, write: WriteCollected[int]) -> None:
    async with database.unit() as unit:
        await unit.write(notes.insert(1))
        unit.always(notes.insert(2))
        unit.collect(1, write=write)


async def _execute(database: Database, *statements: str) -> None:
    async with database.transaction() as connection:
        for statement in statements:
            await connection.execute(text(statement))


class TestAway:
    async def test_a_server_that_is_gone_is_reported_as_temporary(self) -> None:
        database = Database(f"postgresql+asyncpg://ada:secret@127.0.0.1:{free_port()}/shop")
        for ask in (lambda unit: unit.scalar(text("SELECT 1")), lambda unit: unit.begin()):
            with pytest.raises(DatabaseUnavailable) as away:
                async with database.unit() as unit:
                    await ask(unit)
            assert (away.value.status, away.value.retry_after) == (503, 1)
            assert "secret" not in str(away.value)
        await database.close()

    async def test_a_connection_that_is_cut_is_reported_as_temporary_and_the_next_one_works(
        self, postgres_dsn: str
    ) -> None:
        database = Database(sqlalchemy_url(postgres_dsn))

        async def cut() -> None:
            async with database.unit() as unit:
                await unit.begin()
                await unit.scalar(text("SELECT pg_terminate_backend(pg_backend_pid())"))

        with pytest.raises(DatabaseUnavailable):
            await cut()
        async with database.unit() as unit:
            await unit.begin()
            assert await unit.scalar(text("SELECT 1")) == 1
        await database.close()

    async def test_a_deadlock_is_reported_as_temporary_to_one_of_two(self, postgres_dsn: str) -> None:
        database = Database(sqlalchemy_url(postgres_dsn))
        holding = [asyncio.Event(), asyncio.Event()]
        await _execute(database, "CREATE TABLE notes (number INTEGER PRIMARY KEY)", "INSERT INTO notes VALUES (0), (1)")

        async def lock_both(first: int) -> None:
            async with database.unit() as unit:
                await unit.write(text(f"UPDATE notes SET number = number WHERE number = {first}"))
                holding[first].set()
                await holding[1 - first].wait()
                await unit.write(text(f"UPDATE notes SET number = number WHERE number = {1 - first}"))

        outcomes = await asyncio.gather(lock_both(0), lock_both(1), return_exceptions=True)
        [refused] = [outcome for outcome in outcomes if outcome is not None]
        assert isinstance(refused, DatabaseUnavailable)
        assert (refused.status, refused.retry_after) == (503, 1)
        await database.close()

    async def test_a_serialization_failure_is_reported_as_temporary(self, postgres_dsn: str) -> None:
        database = Database(sqlalchemy_url(postgres_dsn))
        await _execute(database, "CREATE TABLE notes (number INTEGER)", "INSERT INTO notes VALUES (0)")
        raise_number = text("UPDATE notes SET number = number + 1")

        async def write_after_another() -> None:
            async with database.unit() as unit:
                await unit.write(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
                await unit.scalar(text("SELECT number FROM notes"))
                async with database.unit() as other:
                    await other.write(raise_number)
                await unit.write(raise_number)

        with pytest.raises(DatabaseUnavailable):
            await write_after_another()
        await database.close()

    async def test_a_wrong_statement_is_not_reported_as_temporary(self, database: Database) -> None:
        with pytest.raises(DBAPIError):
            async with database.unit() as unit:
                await unit.scalar(text("SELECT nothing FROM nowhere"))


class TestAfterTheCommit:
    async def test_every_action_is_done_although_one_fails(self, database: Database, clock: StoppedClock) -> None:
        told: list[str] = []

        async def fail() -> None:
            raise LookupError

        async def tell() -> None:
            told.append("the others")

        async with database.unit() as unit:
            await Outbox(clock).add(unit, "topic", key="key", payload={})
            unit.after_commit(fail)
            unit.after_commit(tell)
        assert told == ["the others"]


def _size(file: Path) -> int:
    return file.stat().st_size


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


class TestWritingInPlace:
    async def test_the_log_is_moved_into_the_file_beside_the_work(self, sqlite_dsn: str, clock: StoppedClock) -> None:
        database, file = Database(sqlalchemy_url(sqlite_dsn)), Path(sqlite_dsn.removeprefix("sqlite://"))
        for number in range(3 * CHECKPOINT_EVERY):
            async with database.unit() as unit:
                await Outbox(clock).add(unit, "topic", key=str(number), payload={"filler": "x" * 1000})
        async with database.unit() as unit:
            assert await unit.scalar(select(func.count()).select_from(outbox)) == 3 * CHECKPOINT_EVERY
        assert await self._begins_anew(database, clock, log=Path(f"{file}-wal")), (
            "although somebody writes all the time"
        )
        await database.close()
        assert [each.name for each in _files(file.parent)] == [file.name], "nothing of the log is left"

    async def _begins_anew(self, database: Database, clock: StoppedClock, *, log: Path) -> bool:
        """Write until the log does not grow; return whether that came. How soon depends on the machine's load."""
        for _ in range(60):
            before = _size(log)
            for number in range(CHECKPOINT_EVERY):
                async with database.unit() as unit:
                    await Outbox(clock).add(unit, "topic", key=str(number), payload={"filler": "x" * 1000})
            if _size(log) == before:
                return True
        return False

    async def test_a_commit_that_fails_leaves_nothing_open(self, sqlite_dsn: str, clock: StoppedClock) -> None:
        """A deferred constraint is checked when the transaction ends; the next transaction must not meet its
        remains."""
        database = Database(sqlalchemy_url(sqlite_dsn))
        async with database.transaction() as connection:
            await connection.execute(text("CREATE TABLE parents (id INTEGER PRIMARY KEY)"))
            reference = "REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED"
            await connection.execute(text(f"CREATE TABLE children (parent INTEGER {reference})"))

        async def orphan() -> None:
            async with database.unit() as unit:
                await unit.write(text("INSERT INTO children VALUES (7)"))

        with pytest.raises(DBAPIError):
            await orphan()
        async with database.unit() as unit:
            await Outbox(clock).add(unit, "topic", key="key", payload={})
        async with database.unit() as unit:
            assert await unit.scalar(text("SELECT count(*) FROM children")) == 0
        await database.close()

    async def test_transactions_wait_for_each_other(self, sqlite_dsn: str, clock: StoppedClock) -> None:
        database = Database(sqlalchemy_url(sqlite_dsn))
        order: list[str] = []

        async def write(name: str) -> None:
            async with database.unit() as unit:
                await unit.begin()
                order.append(f"{name} begins")
                await asyncio.sleep(0.01)
                await Outbox(clock).add(unit, "topic", key=name, payload={})
                order.append(f"{name} ends")

        await asyncio.gather(*(write(name) for name in "abc"))
        assert order == [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]
        await database.close()

    async def test_another_process_gets_the_lock_in_time(self, sqlite_dsn: str, clock: StoppedClock) -> None:
        database, file = Database(sqlalchemy_url(sqlite_dsn)), Path(sqlite_dsn.removeprefix("sqlite://"))
        holder = sqlite3.connect(file, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")

        async def write() -> None:
            async with database.unit() as unit:
                await Outbox(clock).add(unit, "topic", key="key", payload={})

        writing = asyncio.create_task(write())
        await asyncio.sleep(0.05)
        assert not writing.done()
        holder.execute("COMMIT")
        holder.close()
        await writing
        await database.close()
