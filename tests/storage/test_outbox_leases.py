"""Events that the request which wrote them delivers itself, and what a worker does meanwhile, on both databases."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from shopkeeper.clock import StoppedClock, SystemClock
from shopkeeper.storage.database import Database
from shopkeeper.storage.outbox import Event, LeasedEvent, Outbox
from shopkeeper.storage.outbox import outbox as table
from shopkeeper.storage.outbox_worker import OutboxWorker, Subscriber
from tests.services.databases import sqlalchemy_url
from tests.storage.post import PAUSE, Post, Work, drain, put

LEASE = timedelta(seconds=10)


async def lease(database: Database, outbox: Outbox, number: int = 1, *, key: str = "ada") -> LeasedEvent:
    async with database.unit() as unit:
        return await outbox.add_leased(unit, "mail", key=key, payload={"number": number}, lease=LEASE)


async def settle(database: Database, outbox: Outbox, leased: LeasedEvent) -> bool:
    async with database.unit() as unit:
        return await outbox.settle(unit, leased)


async def release(database: Database, outbox: Outbox, leased: LeasedEvent) -> None:
    async with database.unit() as unit:
        await outbox.release(unit, leased)


async def is_first(database: Database, outbox: Outbox, leased: LeasedEvent) -> bool:
    async with database.reading() as unit:
        return await outbox.is_first(unit, leased)


class TestLeasing:
    async def test_the_request_has_the_event_as_a_handler_would_get_it(
        self, database: Database, outbox: Outbox, work: Work
    ) -> None:
        payload = {"text": "žluťoučký", "list": (1, None), "deep": {"number": 1.5}}
        async with database.unit() as unit:
            leased = await outbox.add_leased(unit, "mail", key="ada", payload=payload, lease=LEASE)
        await release(database, outbox, leased)
        post = Post()
        await drain(work(post))
        (delivered,) = post.events
        assert (leased.event.attempt, delivered.attempt) == (1, 2)
        assert leased.event == Event(
            delivered.id, "mail", "ada", delivered.payload, attempt=1, created_at=delivered.created_at
        )

    async def test_an_event_of_a_unit_that_rolled_back_does_not_exist(self, database: Database, outbox: Outbox) -> None:
        with suppress(LookupError):
            async with database.unit() as unit:
                leased = await outbox.add_leased(unit, "mail", key="ada", payload={}, lease=LEASE)
                raise LookupError
        assert not await is_first(database, outbox, leased)
        assert not await settle(database, outbox, leased)
        async with database.unit() as unit:
            assert await unit.all(select(table)) == []

    async def test_no_worker_takes_a_leased_event_nor_what_comes_after_it_during_the_lease(
        self, database: Database, outbox: Outbox, work: Work, clock: StoppedClock
    ) -> None:
        await lease(database, outbox)
        await put(database, outbox, 2)
        clock.advance(seconds=9.999)
        assert await work(Post()).run_once() == 0

    async def test_events_of_other_keys_are_not_delayed(self, database: Database, outbox: Outbox, work: Work) -> None:
        await lease(database, outbox)
        await put(database, outbox, 2, key="grace")
        post = Post()
        await drain(work(post))
        assert post.numbers == [2]

    async def test_a_lease_needs_a_length_of_time(self, database: Database, outbox: Outbox) -> None:
        async with database.unit() as unit:
            with pytest.raises(ValueError, match="needs a lease"):
                await outbox.add_leased(unit, "mail", key="ada", payload={}, lease=timedelta(0))

    @pytest.mark.parametrize("listeners", [(), ("mail", "push")], ids=["none", "two"])
    async def test_a_leased_event_needs_exactly_one_recipient(
        self, database: Database, clock: StoppedClock, listeners: tuple[str, ...]
    ) -> None:
        outbox = Outbox(clock, listeners={"mail": listeners})
        async with database.unit() as unit:
            with pytest.raises(ValueError, match="exactly one recipient"):
                await outbox.add_leased(unit, "mail", key="ada", payload={}, lease=LEASE)

    async def test_the_only_listener_of_a_topic_is_its_recipient(
        self, database: Database, clock: StoppedClock, work: Work
    ) -> None:
        outbox, post = Outbox(clock, listeners={"mail": ("push",)}), Post()
        leased = await lease(database, outbox)
        await release(database, outbox, leased)
        await drain(work({"mail/push": post}))
        assert [event.id for event in post.events] == [leased.event.id]


class TestSettling:
    async def test_a_settled_event_is_delivered_by_no_worker(
        self, database: Database, outbox: Outbox, work: Work, clock: StoppedClock
    ) -> None:
        leased = await lease(database, outbox)
        assert await settle(database, outbox, leased)
        clock.advance(days=1)
        assert await work(Post()).run_once() == 0
        async with database.unit() as unit:
            (row,) = await unit.all(select(table))
        assert (row.delivered_at, row.locked_by, row.locked_until) == (leased.event.created_at, None, None)

    async def test_an_event_is_settled_once(self, database: Database, outbox: Outbox) -> None:
        leased = await lease(database, outbox)
        assert await settle(database, outbox, leased)
        assert not await settle(database, outbox, leased)

    async def test_an_event_is_settled_with_what_is_written_about_it_or_not_at_all(
        self, database: Database, outbox: Outbox, work: Work
    ) -> None:
        leased = await lease(database, outbox)
        with suppress(LookupError):
            async with database.unit() as unit:
                assert await outbox.settle(unit, leased)
                raise LookupError
        assert await is_first(database, outbox, leased)

    async def test_after_the_lease_an_event_can_be_settled_where_no_worker_has_come(
        self, database: Database, outbox: Outbox, work: Work, clock: StoppedClock
    ) -> None:
        leased = await lease(database, outbox)
        clock.advance(seconds=10)
        assert await settle(database, outbox, leased)
        assert await work(Post()).run_once() == 0

    async def test_an_event_is_not_settled_where_a_worker_has_taken_it_over(
        self, database: Database, outbox: Outbox, work: Work, clock: StoppedClock
    ) -> None:
        leased, post = await lease(database, outbox), Post()
        clock.advance(seconds=10)
        assert await work(post).run_once() == 0  # it has failed, and waits as others do
        assert not await settle(database, outbox, leased)
        clock.advance(seconds=PAUSE.total_seconds())
        assert await work(post).run_once() == 1
        assert not await settle(database, outbox, leased)
        assert [(event.id, event.attempt) for event in post.events] == [(leased.event.id, 2)]

    @pytest.mark.parametrize("end", [settle, release])
    async def test_a_request_that_is_late_does_not_take_the_event_from_the_worker_that_has_it(
        self, database: Database, outbox: Outbox, work: Work, clock: StoppedClock, end: Callable[..., object]
    ) -> None:
        leased = await lease(database, outbox)
        clock.advance(seconds=10)
        begun, finish = asyncio.Event(), asyncio.Event()

        async def slow(event: Event) -> None:
            begun.set()
            await finish.wait()

        worker = work(slow)
        await worker.run_once()
        clock.advance(seconds=PAUSE.total_seconds())
        running = asyncio.create_task(worker.run_once())
        await begun.wait()
        await end(database, outbox, leased)
        assert await work(Post()).run_once() == 0
        finish.set()
        assert await running == 1
        assert await work(Post()).run_once() == 0

    @pytest.mark.parametrize("end", [settle, release])
    async def test_a_worker_in_this_process_is_woken_for_what_can_be_taken_now(
        self, database: Database, outbox: Outbox, end: Callable[..., object]
    ) -> None:
        woken: list[bool] = []
        outbox.wakes(lambda: woken.append(True))
        leased = await lease(database, outbox)
        assert woken == [], "there is nothing to take while it is leased"
        await end(database, outbox, leased)
        assert woken == [True]
        await end(database, outbox, leased)
        assert woken == [True]


class TestReleasing:
    async def test_a_released_event_can_be_taken_at_once_and_comes_in_its_turn(
        self, database: Database, outbox: Outbox, work: Work
    ) -> None:
        await put(database, outbox, 1)
        leased = await lease(database, outbox, 2)
        await put(database, outbox, 3)
        await release(database, outbox, leased)
        post = Post()
        await drain(work(post))
        assert post.numbers == [1, 2, 3]

    async def test_a_released_event_belongs_to_the_request_no_more(self, database: Database, outbox: Outbox) -> None:
        leased = await lease(database, outbox)
        await release(database, outbox, leased)
        assert not await is_first(database, outbox, leased)
        assert not await settle(database, outbox, leased)

    async def test_a_settled_event_cannot_be_released(self, database: Database, outbox: Outbox, work: Work) -> None:
        leased = await lease(database, outbox)
        await settle(database, outbox, leased)
        await release(database, outbox, leased)
        assert await work(Post()).run_once() == 0


class TestOrder:
    async def test_an_event_is_first_where_nothing_of_its_key_waits(self, database: Database, outbox: Outbox) -> None:
        await put(database, outbox, 1, key="grace")
        assert await is_first(database, outbox, await lease(database, outbox))

    async def test_an_event_is_not_first_while_an_earlier_event_of_its_key_waits(
        self, database: Database, outbox: Outbox, work: Work
    ) -> None:
        await put(database, outbox, 1)
        leased = await lease(database, outbox, 2)
        assert not await is_first(database, outbox, leased)
        await work(Post()).run_once()
        assert await is_first(database, outbox, leased)

    async def test_an_event_is_not_first_while_an_earlier_event_is_under_way(
        self, database: Database, outbox: Outbox, work: Work
    ) -> None:
        await put(database, outbox, 1)
        leased = await lease(database, outbox, 2)
        begun, finish = asyncio.Event(), asyncio.Event()

        async def slow(event: Event) -> None:
            begun.set()
            await finish.wait()

        running = asyncio.create_task(work(slow).run_once())
        await begun.wait()
        assert not await is_first(database, outbox, leased)
        finish.set()
        await running
        assert await is_first(database, outbox, leased)

    async def test_two_requests_of_one_key_go_one_after_the_other(self, database: Database, outbox: Outbox) -> None:
        first, second = await lease(database, outbox, 1), await lease(database, outbox, 2)
        assert [await is_first(database, outbox, each) for each in (first, second)] == [True, False]
        await settle(database, outbox, first)
        assert await is_first(database, outbox, second)

    async def test_a_dead_letter_delays_no_request(self, database: Database, outbox: Outbox, work: Work) -> None:
        await put(database, outbox, 1)
        await work(Post(failures=1), least_attempts=1).run_once()
        leased = await lease(database, outbox, 2)
        async with database.unit() as unit:
            (letter,) = await outbox.dead(unit)
            await outbox.replay(unit, letter.event.id)
        assert await is_first(database, outbox, leased), "what is replayed goes to the end"

    async def test_an_event_is_first_no_more_when_the_lease_is_over(
        self, database: Database, outbox: Outbox, clock: StoppedClock
    ) -> None:
        leased = await lease(database, outbox)
        clock.advance(seconds=10)
        assert not await is_first(database, outbox, leased)


class TestTime:
    @pytest.mark.parametrize(("passed", "left"), [(0, 9), (4, 5), (9, 0), (11, 0)])
    async def test_some_of_the_lease_is_kept_for_settling(
        self, database: Database, outbox: Outbox, clock: StoppedClock, passed: int, left: int
    ) -> None:
        leased = await lease(database, outbox)
        clock.advance(seconds=passed)
        assert outbox.time_left(leased) == timedelta(seconds=left)


class TestCrash:
    async def test_a_worker_takes_the_event_of_a_killed_request_when_the_lease_ends(
        self, dsn: str, database: Database
    ) -> None:
        await _lease_and_be_killed(dsn)
        clock, post = StoppedClock(SystemClock().now()), Post()
        await put(database, Outbox(clock), 2)
        worker = OutboxWorker(database, {"mail": Subscriber(post)}, clock=clock, random=random.random)
        assert await worker.run_once() == 0
        clock.advance(minutes=1)
        await worker.run_once()
        clock.advance(seconds=5)
        await drain(worker)
        assert [(event.payload["number"], event.attempt) for event in post.events] == [(1, 2), (2, 1)]

    async def test_an_event_whose_request_is_killed_and_whose_attempts_are_over_is_a_dead_letter_at_last(
        self, database: Database, outbox: Outbox, work: Work, clock: StoppedClock
    ) -> None:
        leased = await lease(database, outbox)
        clock.advance(seconds=10)
        await work(Post(), least_attempts=1).run_once()
        async with database.unit() as unit:
            (letter,) = await outbox.dead(unit)
        assert letter.event.id == leased.event.id
        assert "the lease ended without an outcome" in letter.last_error


async def _lease_and_be_killed(dsn: str) -> None:
    program = Path(__file__).with_name("leasing_request.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, program, sqlalchemy_url(dsn), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"begun\n"
    os.kill(process.pid, signal.SIGKILL)
    await process.communicate()


class TestRequestsAndWorkers:
    async def test_no_event_is_delivered_by_a_request_and_a_worker_at_once(self, database: Database, dsn: str) -> None:
        """Requests that deliver, fail and release, beside workers, over three keys."""
        clock, dice, other = SystemClock(), random.Random(7), Database(sqlalchemy_url(dsn))
        outbox, under_way, overlaps = Outbox(clock), set[str](), list[Event]()
        delivered: dict[str, list[int]] = {f"key {number}": [] for number in range(3)}
        all_delivered = asyncio.Event()

        async def deliver(event: Event) -> None:
            if event.key in under_way:
                overlaps.append(event)
            under_way.add(event.key)
            await asyncio.sleep(dice.random() / 500)
            under_way.discard(event.key)
            if event.attempt == 1 and dice.random() < 0.3:
                raise ConnectionError
            delivered[event.key].append(event.payload["number"])
            if sum(map(len, delivered.values())) == 60:
                all_delivered.set()

        async def request(key: str, number: int) -> None:
            leased = await lease(database, outbox, number, key=key)
            try:
                if not await is_first(database, outbox, leased):
                    raise LookupError
                async with asyncio.timeout(outbox.time_left(leased).total_seconds()):
                    await deliver(leased.event)
            except (LookupError, ConnectionError):
                await release(database, outbox, leased)
            else:
                assert await settle(database, outbox, leased)

        async def customer(key: str) -> None:
            for number in range(20):
                await request(key, number)

        worker = OutboxWorker(
            other, {"mail": Subscriber(deliver)}, clock=clock, random=dice.random, poll=timedelta(milliseconds=5)
        )
        working = asyncio.create_task(worker.run())
        async with asyncio.timeout(60):
            await asyncio.gather(*map(customer, delivered), all_delivered.wait())
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        await other.close()
        assert overlaps == []
        assert delivered == {key: list(range(20)) for key in delivered}
