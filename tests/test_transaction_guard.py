"""Other servers are called while no transaction is open: what counts as inside one, on both databases."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from sqlalchemy import select, text

from shopkeeper.app.background import Background
from shopkeeper.clock import StoppedClock
from shopkeeper.http_client import GuardedClient
from shopkeeper.storage.database import Database, Unit
from shopkeeper.storage.outbox import Event, Outbox, outbox
from shopkeeper.storage.outbox_worker import OutboxWorker, Subscriber
from shopkeeper.storage.unavailable import DatabaseUnavailable
from shopkeeper.transaction_guard import CalledInsideTransaction, outside_transactions, refuse_inside_transaction
from tests.services.databases import sqlalchemy_url
from tests.services.server import free_port
from tests.services.web import serving

READ = select(outbox.c.id)
WRITE = text("UPDATE outbox SET last_error = 'seen'")


def may_call() -> bool:
    try:
        refuse_inside_transaction("Another server")
    except CalledInsideTransaction:
        return False
    return True


async def asks() -> bool:
    return may_call()


async def begins(unit: Unit) -> None:
    await unit.begin()


async def writes(unit: Unit) -> None:
    await unit.write(WRITE)


class TestInOneTask:
    async def test_a_call_before_the_first_write_is_allowed(self, database: Database) -> None:
        async with database.unit() as unit:
            await unit.all(READ)
            assert may_call()

    @pytest.mark.parametrize("open_it", [begins, writes])
    async def test_a_call_is_refused_from_the_first_write_on(
        self, database: Database, open_it: Callable[[Unit], Awaitable[None]]
    ) -> None:
        async with database.unit() as unit:
            await open_it(unit)
            assert not may_call()
            await unit.all(READ)
            assert not may_call()

    async def test_a_call_in_a_reading_unit_is_allowed(self, database: Database) -> None:
        async with database.reading() as unit:
            await unit.all(READ)
            unit.always(WRITE)
            assert may_call()

    async def test_a_call_after_the_commit_is_allowed(self, database: Database) -> None:
        """The commit happens in a task of its own."""
        for _ in range(2):
            async with database.unit() as unit:
                await unit.write(WRITE)
            assert may_call()

    @pytest.mark.parametrize("always", [False, True], ids=["plain", "with something to write always"])
    async def test_a_call_after_a_rollback_is_allowed(self, database: Database, always: bool) -> None:
        with suppress(LookupError):
            async with database.unit() as unit:
                await unit.write(WRITE)
                if always:
                    unit.always(WRITE)
                raise LookupError
        assert may_call()

    async def test_a_call_after_a_commit_that_failed_is_allowed(self, database: Database) -> None:
        async def fail(unit: Unit, items: object) -> None:
            raise LookupError

        with suppress(LookupError):
            async with database.unit() as unit:
                unit.collect(1, write=fail)
        assert may_call()

    async def test_a_call_in_an_action_after_the_commit_is_allowed(self, database: Database) -> None:
        allowed: list[bool] = []

        async def call() -> None:
            allowed.append(may_call())

        async with database.unit() as unit:
            await unit.write(WRITE)
            unit.after_commit(call)
        assert allowed == [True]

    async def test_a_call_after_a_transaction_that_could_not_begin_is_allowed(self) -> None:
        away = Database(f"postgresql+asyncpg://ada:secret@127.0.0.1:{free_port()}/shop")
        async with away.unit() as unit:
            with pytest.raises(DatabaseUnavailable):
                await unit.begin()
            assert may_call()
        await away.close()

    async def test_a_call_in_a_unit_within_an_open_one_is_refused(self, database: Database) -> None:
        async with database.unit() as outer:
            await outer.begin()
            async with database.reading() as inner:
                await inner.all(READ)
                assert not may_call()
            assert not may_call()
        assert may_call()

    async def test_a_call_after_an_inner_unit_is_allowed_where_the_outer_one_only_read(
        self, database: Database
    ) -> None:
        async with database.unit():
            async with database.unit() as inner:
                await inner.write(WRITE)
                assert not may_call()
            assert may_call()

    async def test_a_call_after_the_caller_was_cancelled_during_the_commit_is_allowed(self, database: Database) -> None:
        async def request() -> bool:
            this = asyncio.current_task()
            assert this is not None
            try:
                async with database.unit() as unit:
                    await unit.write(WRITE)
                    this.cancel()
            except asyncio.CancelledError:
                return may_call()
            raise AssertionError("the request was not cancelled")

        assert await asyncio.create_task(request())


class TestAcrossTasks:
    async def test_a_call_in_a_task_that_the_transaction_waits_for_is_refused(self, database: Database) -> None:
        async with database.unit() as unit:
            await unit.begin()
            assert await asyncio.gather(asks(), asyncio.wait_for(asks(), timeout=5)) == [False, False]

    async def test_a_call_is_refused_where_another_task_has_opened_the_transaction(self, database: Database) -> None:
        async with database.unit() as unit:
            await asyncio.create_task(begins(unit))
            assert not may_call()

    async def test_a_task_started_inside_a_transaction_may_call_when_that_has_ended(self, database: Database) -> None:
        """Its context is a copy from before the end."""
        ended = asyncio.Event()

        async def call() -> bool:
            await ended.wait()
            return may_call()

        async with database.unit() as unit:
            await unit.begin()
            task = asyncio.create_task(call())
            await asyncio.sleep(0)
        async with database.unit() as another:
            await another.begin()
            ended.set()
            assert await task, "what is opened later is no transaction of that task"

    async def test_a_task_that_goes_on_by_itself_may_call_at_once(self, database: Database) -> None:
        async with database.unit() as unit:
            await unit.begin()
            assert await asyncio.create_task(asks(), context=outside_transactions())
            assert not may_call()

    async def test_a_background_task_may_call_at_once(self, database: Database) -> None:
        allowed = asyncio.Queue[bool]()

        async def call() -> None:
            allowed.put_nowait(may_call())

        background = Background()
        async with database.unit() as unit:
            await unit.begin()
            background.start("calls", call())
            assert await allowed.get()
        await background.end()

    async def test_the_outbox_worker_may_call_at_once(self, postgres_dsn: str, clock: StoppedClock) -> None:
        database, allowed = Database(sqlalchemy_url(postgres_dsn)), []

        async def deliver(event: Event) -> None:
            allowed.append(may_call())

        worker = OutboxWorker(database, {"push": Subscriber(deliver)}, clock=clock, random=random.random)
        async with database.unit() as unit:
            await Outbox(clock).add(unit, "push", key="ada", payload={})
        async with database.unit() as unit:
            await unit.begin()
            await worker.run_once()
        assert allowed == [True]
        await database.close()

    @pytest.mark.parametrize("in_a_unit_before", [False, True])
    async def test_transactions_of_other_requests_do_not_count(
        self, database: Database, in_a_unit_before: bool
    ) -> None:
        """The tasks of requests copy one context, in which a unit may have been used, at the start for example."""
        if in_a_unit_before:
            async with database.unit() as unit:
                await unit.write(WRITE)
        opened, go_on = asyncio.Event(), asyncio.Event()

        async def request() -> None:
            async with database.unit() as unit:
                await unit.begin()
                opened.set()
                await go_on.wait()

        task = asyncio.create_task(request())
        await opened.wait()
        async with database.reading() as unit:
            await unit.all(READ)
            assert may_call()
        go_on.set()
        await task


class TestTheHttpClient:
    async def test_the_client_sends_nothing_while_a_transaction_is_open(self, database: Database) -> None:
        async with serving("127.0.0.1") as server, GuardedClient(private_allowed=True) as http_client:
            async with database.unit() as unit:
                await unit.write(WRITE)
                with pytest.raises(CalledInsideTransaction, match="before the transaction begins, after the commit"):
                    await http_client.request("GET", server.url())
            assert server.heads == []
            assert (await http_client.request("GET", server.url())).ok

    async def test_the_client_may_be_used_by_an_action_after_the_commit(self, database: Database) -> None:
        async with serving("127.0.0.1") as server, GuardedClient(private_allowed=True) as http_client:

            async def notify() -> None:
                await http_client.request("GET", server.url())

            async with database.unit() as unit:
                await unit.write(WRITE)
                unit.after_commit(notify)
            assert len(server.heads) == 1
