"""The promises of the outbox, on both databases."""

import asyncio
import os
import random
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from shopkeeper.clock import StoppedClock, SystemClock
from shopkeeper.errors import NotFound
from shopkeeper.storage.database import Database, Unit
from shopkeeper.storage.outbox import Event, Outbox
from shopkeeper.storage.outbox import outbox as table
from shopkeeper.storage.outbox_worker import OutboxWorker, Subscriber
from shopkeeper.storage.unavailable import DatabaseUnavailable
from tests.services.databases import sqlalchemy_url
from tests.storage.post import LEASE, PAUSE, Post, Work, drain, put

DROP_THE_OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class GivenUp:
    """Remembers the ids of events that were given up."""

    def __init__(self) -> None:
        self.ids: list[UUID] = []

    async def __call__(self, unit: Unit, event: Event) -> None:
        self.ids.append(event.id)


class TestWriting:
    async def test_an_event_is_delivered_as_it_was_written(
        self, database: Database, outbox: Outbox, work: Work, clock: StoppedClock
    ) -> None:
        payload = {"text": "žluťoučký", "list": [1, None, True, {"deep": 1.5}]}
        async with database.unit() as unit:
            (event_id,) = await outbox.add(unit, "mail", key="ada", payload=payload)
        post = Post()
        assert await work(post).run_once() == 1
        assert post.events == [Event(event_id, "mail", "ada", payload, 1, clock.now())]

    async def test_an_event_of_a_unit_that_rolled_back_does_not_exist(
        self, database: Database, outbox: Outbox, work: Work
    ) -> None:
        with suppress(LookupError):
            async with database.unit() as unit:
                await outbox.add(unit, "mail", key="ada", payload={"number": 1})
                raise LookupError
        assert await work(Post()).run_once() == 0

    async def test_a_delivered_event_is_not_delivered_again(
        self, database: Database, outbox: Outbox, work: Work, clock: StoppedClock
    ) -> None:
        await put(database, outbox, 1)
        post = Post()
        await drain(work(post))
        clock.advance(days=1)
        assert await work(post).run_once() == 0
        assert post.numbers == [1]

    async def test_a_waiting_worker_in_this_process_is_woken_after_the_commit_and_not_after_a_rollback(
        self, database: Database, outbox: Outbox
    ) -> None:
        woken: list[bool] = []
        outbox.wakes(lambda: woken.append(True))
        with suppress(LookupError):
            async with database.unit() as unit:
                await outbox.add(unit, "mail", key="ada", payload={})
                raise LookupError
        assert not woken
        async with database.unit() as unit:
            await outbox.add(unit, "mail", key="ada", payload={})
            assert not woken
        assert woken == [True]

    async def test_the_payload_is_what_it_was_when_it_was_added(
        self, database: Database, outbox: Outbox, work: Work
    ) -> None:
        payload = {"lines": [1, 2]}
        async with database.unit() as unit:
            await outbox.add(unit, "mail", key="ada", payload=payload)
            payload["lines"].clear()
        post = Post()
        await work(post).run_once()
        assert [event.payload for event in post.events] == [{"lines": [1, 2]}]

    async def test_a_payload_that_cannot_be_written_is_refused_where_it_is_added(
        self, database: Database, outbox: Outbox
    ) -> None:
        async with database.unit() as unit:
            with pytest.raises(TypeError):
                await outbox.add(unit, "mail", key="ada", payload={"what": object()})

    async def test_adding_locks_nothing_until_the_unit_commits(
        self, database: Database, outbox: Outbox, work: Work
    ) -> None:
        """Regression: on SQLite it took the only writer."""
        post = Post()
        async with database.unit() as unit:
            await outbox.add(unit, "mail", key="ada", payload={"number": 1})
            await put(database, outbox, 2)
        await drain(work(post))
        assert post.numbers == [2, 1]


class TestOrder:
    async def test_events_of_a_key_come_in_order_one_at_a_time(
        self, database: Database, outbox: Outbox, work: Work
    ) -> None:
        await put(database, outbox, *range(5))
        post, batches = Post(), []
        worker = work(post)
        while taken := await worker.run_once():
            batches.append(taken)
        assert post.numbers == [0, 1, 2, 3, 4]
        assert batches == [1, 1, 1, 1, 1]

    async def test_events_of_one_unit_come_in_the_order_of_adding(
        self, database: Database, outbox: Outbox, work: Work
    ) -> None:
        async with database.unit() as unit:
            for number, key in enumerate(("grace", "ada", "grace", "ada", "ada")):
                await outbox.add(unit, "mail", key=key, payload={"number": number})
        post = Post()
        await drain(work(post))
        of = {key: [event.payload["number"] for event in post.events if event.key == key] for key in ("ada", "grace")}
        assert of == {"ada": [1, 3, 4], "grace": [0, 2]}

    async def test_keys_do_not_wait_for_each_other(self, database: Database, outbox: Outbox, work: Work) -> None:
        await put(database, outbox, 1, 2, key="ada")
        await put(database, outbox, 10, key="grace")
        post = Post(failures=1)
        assert await work(post).run_once() == 2
        assert post.numbers == [10]

    async def test_a_key_that_hangs_delays_no_other_key(self, database: Database, outbox: Outbox, work: Work) -> None:
        """Regression: a worker waited for all that it had begun before it took more, so one server that hung delayed
        all."""
        await put(database, outbox, 0, key="hanging")
        begun, delivered = asyncio.Event(), asyncio.Queue[int]()

        async def deliver(event: Event) -> None:
            if event.key == "hanging":
                begun.set()
                await asyncio.Event().wait()
            delivered.put_nowait(event.payload["number"])

        worker = work(deliver, at_once=2, poll=timedelta(milliseconds=5))
        async with _running(worker):
            await begun.wait()
            for number in range(1, 6):
                await put(database, outbox, number, key=f"key {number % 2}")
            assert [await delivered.get() for _ in range(5)] == [1, 2, 3, 4, 5]

    async def test_a_topic_that_hangs_delays_no_other_topic(
        self, database: Database, outbox: Outbox, work: Work
    ) -> None:
        for number in range(5):
            await put(database, outbox, number, key=f"address {number}")
        under_way: list[int] = []
        pushed = asyncio.Event()

        async def hang(event: Event) -> None:
            under_way.append(event.payload["number"])
            await asyncio.Event().wait()

        async def push(event: Event) -> None:
            pushed.set()

        async with _running(work({"mail": hang, "push": push}, at_once=2, poll=timedelta(milliseconds=5))):
            await put(database, outbox, 5, key="subscription", topic="push")
            await pushed.wait()
        assert under_way == [0, 1]

    async def test_a_failure_delays_its_key_until_it_is_tried_again(
        self, database: Database, outbox: Outbox, work: Work, clock: StoppedClock
    ) -> None:
        await put(database, outbox, 1, 2)
        post = Post(failures=1)
        worker = work(post)
        assert await worker.run_once() == 1
        assert await worker.run_once() == 0
        clock.advance(seconds=8)
        await drain(worker)
        assert post.numbers == [1, 2]

    async def test_a_topic_without_a_handler_is_left_to_other_workers(
        self, database: Database, outbox: Outbox, work: Work
    ) -> None:
        await put(database, outbox, 1, topic="push")
        assert await work(Post()).run_once() == 0
        push = Post()
        assert await work({"push": push}).run_once() == 1
        assert push.numbers == [1]


class TestListeners:
    @pytest.fixture
    def outbox(self, clock: StoppedClock) -> Outbox:
        return Outbox(clock, listeners={"order.placed": ("push", "mail"), "cart.handed_over": ()})

    async def test_each_gets_an_event_once_and_one_that_fails_delays_no_other(
        self, database: Database, outbox: Outbox, work: Work
    ) -> None:
        ids = await put(database, outbox, 1, 2, topic="order.placed")
        push, mail = Post(failures=1), Post()
        await drain(work({"order.placed/push": push, "order.placed/mail": mail}))
        assert (push.numbers, mail.numbers) == ([], [1, 2])
        assert len(set(ids)) == 4

    async def test_each_gets_the_events_in_order(
        self, database: Database, outbox: Outbox, work: Work, clock: StoppedClock
    ) -> None:
        await put(database, outbox, 1, 2, topic="order.placed")
        push, mail = Post(failures=1), Post()
        worker = work({"order.placed/push": push, "order.placed/mail": mail})
        await drain(worker)
        clock.advance(seconds=8)
        await drain(worker)
        assert (push.numbers, mail.numbers) == ([1, 2], [1, 2])

    async def test_an_event_without_a_listener_is_not_written(self, database: Database, outbox: Outbox) -> None:
        """Regression: it waited for a handler that did nothing."""
        assert await put(database, outbox, 1, topic="cart.handed_over") == []
        async with database.unit() as unit:
            assert await unit.all(select(table)) == []

    async def test_a_topic_that_is_not_listed_has_one_recipient(
        self, database: Database, outbox: Outbox, work: Work
    ) -> None:
        await put(database, outbox, 1)
        post = Post()
        await drain(work(post))
        assert post.numbers == [1]


class TestFailing:
    async def test_pauses_double_and_have_jitter(
        self, database: Database, outbox: Outbox, work: Work, clock: StoppedClock
    ) -> None:
        await put(database, outbox, 1)
        post = Post(failures=4)
        worker = work(post, random=lambda: 0.0, least_attempts=10)
        for seconds in (4, 8, 16, 32):  # random returns 0, so half of 8, 16, 32 and 64
            assert await worker.run_once() == 1
            clock.advance(seconds=seconds - 0.001)
            assert await worker.run_once() == 0
            clock.advance(seconds=0.001)
        assert await worker.run_once() == 1
        assert post.numbers == [1]
        assert post.events[0].attempt == 5

    async def test_no_pause_is_longer_than_the_longest(
        self, database: Database, outbox: Outbox, work: Work, clock: StoppedClock
    ) -> None:
        await put(database, outbox, 1)
        worker = work(Post(failures=100), least_attempts=100, longest_pause=timedelta(minutes=1))
        for _ in range(50):
            assert await worker.run_once() == 1
            clock.advance(minutes=1)

    async def test_an_outage_of_hours_loses_nothing(
        self, database: Database, outbox: Outbox, work: Work, clock: StoppedClock
    ) -> None:
        """Regression: events were lost after a number of attempts, which took ten minutes."""
        await put(database, outbox, 1)
        post = Post(failures=1000)
        worker = work(post, give_up_after=timedelta(days=1), random=random.Random(7).random)
        for _ in range(23):
            await drain(worker)
            clock.advance(hours=1)
        post.failures = 0
        await drain(worker)
        assert post.numbers == [1]

    async def test_an_event_that_fails_for_longer_than_its_limit_is_a_dead_letter(
        self, database: Database, outbox: Outbox, work: Work, clock: StoppedClock
    ) -> None:
        await put(database, outbox, 1)
        worker = work(Post(failures=1000), give_up_after=timedelta(days=1))
        for _ in range(26):
            await drain(worker)
            clock.advance(hours=1)
        async with database.unit() as unit:
            (letter,) = await outbox.dead(unit)
        assert letter.died_at - letter.event.created_at == timedelta(days=1)

    async def test_an_event_that_waited_long_for_its_turn_still_has_its_attempts(
        self, database: Database, outbox: Outbox, work: Work, clock: StoppedClock
    ) -> None:
        await put(database, outbox, 1)
        clock.advance(days=7)
        post = Post(failures=2)
        worker = work(post, give_up_after=timedelta(days=1), least_attempts=3)
        for _ in range(3):
            await worker.run_once()
            clock.advance(hours=1)
        assert post.numbers == [1]

    async def test_a_subscriber_writes_in_the_unit_in_which_an_event_is_given_up(
        self, database: Database, outbox: Outbox, work: Work
    ) -> None:
        await put(database, outbox, 1)

        async def fail_to_write(unit: Unit, event: Event) -> None:
            raise DatabaseUnavailable(retry_after=1)

        with pytest.raises(DatabaseUnavailable):
            await work(Post(failures=1), least_attempts=1, give_up=fail_to_write).run_once()
        async with database.unit() as unit:
            assert await outbox.dead(unit) == []

    async def test_a_mistake_of_a_subscriber_does_not_end_the_worker(
        self, database: Database, outbox: Outbox, work: Work
    ) -> None:
        (event_id,) = await put(database, outbox, 1)

        async def stumble(unit: Unit, event: Event) -> None:
            raise KeyError("message_id")

        await work(Post(failures=1), least_attempts=1, give_up=stumble).run_once()
        async with database.unit() as unit:
            assert [letter.event.id for letter in await outbox.dead(unit)] == [event_id]

    async def test_a_statement_of_a_subscriber_that_fails_does_not_undo_the_outcome(
        self, database: Database, outbox: Outbox, work: Work
    ) -> None:
        """PostgreSQL would roll all of the unit back, and the event would be tried for ever."""
        (event_id,) = await put(database, outbox, 1)
        done = []

        async def note() -> None:
            done.append("noted")

        async def break_a_rule(unit: Unit, event: Event) -> None:
            unit.after_commit(note)
            try:
                await unit.write(text("INSERT INTO outbox (id) VALUES (NULL)"))
            except IntegrityError as broken:
                raise KeyError("message_id") from broken

        await work(Post(failures=1), least_attempts=1, give_up=break_a_rule).run_once()
        async with database.unit() as unit:
            assert [letter.event.id for letter in await outbox.dead(unit)] == [event_id]
        assert done == []

    async def test_after_the_last_attempt_an_event_is_a_dead_letter_and_its_key_continues(
        self, database: Database, outbox: Outbox, work: Work, clock: StoppedClock
    ) -> None:
        ids = await put(database, outbox, 1, 2)
        post = Post(failures=3)
        for _ in range(3):
            await work(post).run_once()
            clock.advance(hours=1)
        await drain(work(post))
        assert post.numbers == [2]
        async with database.unit() as unit:
            (letter,) = await outbox.dead(unit)
        assert letter.event.id == ids[0]
        assert letter.event.attempt == 3
        assert letter.died_at == clock.now() - timedelta(hours=1)
        assert letter.last_error == "ConnectionError: the post office is closed"

    async def test_a_dead_letter_replayed_comes_under_its_id_at_the_end_of_its_key(
        self, database: Database, outbox: Outbox, work: Work
    ) -> None:
        (first, *_) = await put(database, outbox, 1)
        await work(Post(failures=1), least_attempts=1).run_once()
        await put(database, outbox, 2)
        async with database.unit() as unit:
            await outbox.replay(unit, first)
            assert await outbox.dead(unit) == []
        post = Post()
        await drain(work(post))
        assert post.numbers == [2, 1]
        assert post.events[1].id == first
        assert post.events[1].attempt == 1

    async def test_only_a_dead_letter_can_be_replayed(self, database: Database, outbox: Outbox) -> None:
        (waiting,) = await put(database, outbox, 1)
        for event_id in (waiting, uuid4()):
            with pytest.raises(NotFound):
                async with database.unit() as unit:
                    await outbox.replay(unit, event_id)

    async def test_a_handler_that_takes_too_long_is_cancelled_and_has_failed(
        self, database: Database, outbox: Outbox, work: Work
    ) -> None:
        await put(database, outbox, 1)
        cancelled: list[bool] = []

        async def hang(event: Event) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

        assert await work(hang, lease=timedelta(milliseconds=20), least_attempts=1).run_once() == 1
        assert cancelled == [True]
        async with database.unit() as unit:
            assert [letter.last_error for letter in await outbox.dead(unit)] == ["TimeoutError: "]

    async def test_a_long_error_is_cut(self, database: Database, outbox: Outbox, work: Work) -> None:
        await put(database, outbox, 1)

        async def complain(event: Event) -> None:
            raise ValueError("x" * 10_000)

        await work(complain, least_attempts=1).run_once()
        async with database.unit() as unit:
            assert [len(letter.last_error) for letter in await outbox.dead(unit)] == [500]


class TestLeases:
    async def test_an_event_that_one_worker_has_leased_is_taken_by_no_other(
        self, database: Database, outbox: Outbox, work: Work
    ) -> None:
        await put(database, outbox, 1)
        begun, finish = asyncio.Event(), asyncio.Event()

        async def slow(event: Event) -> None:
            begun.set()
            await finish.wait()

        task = asyncio.create_task(work(slow).run_once())
        await begun.wait()
        assert await work(Post()).run_once() == 0
        finish.set()
        assert await task == 1

    async def test_a_worker_stopped_in_good_order_gives_back_what_it_had_begun(
        self, database: Database, outbox: Outbox, work: Work
    ) -> None:
        await put(database, outbox, 1)
        begun = asyncio.Event()

        async def slow(event: Event) -> None:
            begun.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(work(slow).run())
        await begun.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        post = Post()
        await drain(work(post))
        assert [event.attempt for event in post.events] == [1]

    async def test_an_outcome_that_comes_after_the_lease_has_passed_on_changes_nothing(
        self, database: Database, outbox: Outbox, work: Work, clock: StoppedClock
    ) -> None:
        await put(database, outbox, 1)
        begun, finish = asyncio.Event(), asyncio.Event()

        async def slow(event: Event) -> None:
            begun.set()
            await finish.wait()
            raise ConnectionError

        late = asyncio.create_task(work(slow, least_attempts=1).run_once())
        await begun.wait()
        clock.advance(seconds=60)
        post = Post()
        assert await work(post).run_once() == 0
        clock.advance(seconds=8)
        assert await work(post).run_once() == 1
        finish.set()
        await late
        async with database.unit() as unit:
            assert await outbox.dead(unit) == []
        assert [event.attempt for event in post.events] == [2]

    async def test_the_event_of_a_killed_worker_comes_again_after_its_lease(self, dsn: str, database: Database) -> None:
        outbox, clock = Outbox(SystemClock()), StoppedClock(SystemClock().now())
        ids = await put(database, outbox, 1, 2)
        await _claim_and_be_killed(dsn)
        post = Post()
        worker = OutboxWorker(database, {"mail": Subscriber(post)}, clock=clock, random=random.random, lease=LEASE)
        assert await worker.run_once() == 0
        clock.advance(minutes=2)
        assert await worker.run_once() == 0  # it has failed, and waits as others do
        clock.advance(seconds=5)
        await drain(worker)
        assert [event.id for event in post.events] == ids
        assert [event.attempt for event in post.events] == [2, 1]

    async def test_an_event_that_kills_its_worker_each_time_is_a_dead_letter_at_last(
        self, dsn: str, database: Database, work: Work, clock: StoppedClock
    ) -> None:
        outbox = Outbox(clock)
        (event_id,) = await put(database, outbox, 1)
        await _claim_and_be_killed(dsn)
        clock.advance(days=3650)
        post, given_up = Post(), GivenUp()
        await drain(work(post, least_attempts=1, give_up=given_up))
        async with database.unit() as unit:
            (letter,) = await outbox.dead(unit)
        assert (letter.event.id, post.events) == (event_id, [])
        assert given_up.ids == [event_id]
        assert "the lease ended without an outcome" in letter.last_error


async def _claim_and_be_killed(dsn: str) -> None:
    """Let a worker in a process of its own take an event, and kill it while its handler runs."""
    program = Path(__file__).with_name("hanging_worker.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, program, sqlalchemy_url(dsn), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"begun\n"
    os.kill(process.pid, signal.SIGKILL)
    await process.communicate()


class TestLooking:
    """What must be cheap, because it is done every second and after each delivery."""

    async def test_a_worker_that_has_nothing_to_take_blocks_no_writer(
        self, database: Database, outbox: Outbox, work: Work
    ) -> None:
        """Regression: it began a transaction first, and SQLite has one writer."""
        await put(database, outbox, 1, 2)
        worker = work(Post(failures=1))
        await worker.run_once()
        async with database.unit() as unit:
            await unit.begin()
            assert await worker.run_once() == 0

    async def test_an_event_that_waits_behind_a_failure_is_due_when_that_is(
        self, database: Database, outbox: Outbox, work: Work, clock: StoppedClock
    ) -> None:
        """Regression: every worker looked at it each time."""
        await put(database, outbox, 1, 2, 3)
        await put(database, outbox, 4, key="grace")
        await work(Post(failures=1)).run_once()
        async with database.unit() as unit:
            rows = await unit.all(select(table.c.available_at).where(table.c.delivered_at.is_(None)))
        assert {row.available_at for row in rows} == {clock.now() + PAUSE}

    async def test_many_events_that_wait_hide_none_behind_them(
        self, database: Database, outbox: Outbox, work: Work
    ) -> None:
        await put(database, outbox, 1, key="failing")
        await work(Post(failures=1)).run_once()
        await put(database, outbox, *range(2, 30), key="failing")
        await put(database, outbox, 1000, key="grace")
        post = Post()
        assert await work(post, at_once=1).run_once() == 1
        assert post.numbers == [1000]


class TestPurging:
    async def test_only_old_delivered_events_go_and_no_more_than_a_batch(
        self, database: Database, outbox: Outbox, work: Work, clock: StoppedClock
    ) -> None:
        await put(database, outbox, *range(5), key="old")
        await drain(work(Post()))
        clock.advance(days=7)
        await put(database, outbox, 5, key="new")
        await drain(work(Post()))
        await put(database, outbox, 6, key="dead")
        await work(Post(failures=1), least_attempts=1).run_once()
        await put(database, outbox, 7, key="waiting")
        purged = []
        for _ in range(3):
            async with database.unit() as unit:
                purged.append(await outbox.purge(unit, before=clock.now(), batch=3))
        assert purged == [3, 2, 0]
        async with database.unit() as unit:
            rows = await unit.all(text("SELECT key FROM outbox ORDER BY sequence"))
        assert [row.key for row in rows] == ["new", "dead", "waiting"]

    async def test_old_dead_letters_are_deleted_in_batches(
        self, database: Database, outbox: Outbox, work: Work, clock: StoppedClock
    ) -> None:
        await put(database, outbox, 1, 2, 3, key="dead")
        for _ in range(3):
            await work(Post(failures=1), least_attempts=1).run_once()
        clock.advance(days=1)
        await put(database, outbox, 4, key="dead lately")
        await work(Post(failures=1), least_attempts=1).run_once()
        await put(database, outbox, 5, key="waiting")
        purged = []
        for _ in range(3):
            async with database.unit() as unit:
                purged.append(await outbox.purge_dead(unit, before=clock.now(), batch=2))
        assert purged == [2, 1, 0]
        async with database.unit() as unit:
            rows = await unit.all(text("SELECT key FROM outbox ORDER BY sequence"))
        assert [row.key for row in rows] == ["dead lately", "waiting"]


class TestRunning:
    async def test_a_worker_delivers_when_woken_without_waiting_for_the_poll(
        self, database: Database, outbox: Outbox, work: Work
    ) -> None:
        delivered = asyncio.Event()

        async def deliver(event: Event) -> None:
            delivered.set()

        worker = work(deliver, poll=timedelta(days=1))
        outbox.wakes(worker.wake)
        async with _running(worker):
            await put(database, outbox, 1)
            await delivered.wait()

    async def test_a_worker_finds_the_events_of_other_processes_by_polling(
        self, database: Database, outbox: Outbox, work: Work
    ) -> None:
        delivered = asyncio.Event()

        async def deliver(event: Event) -> None:
            delivered.set()

        async with _running(work(deliver, poll=timedelta(milliseconds=5))):
            await put(database, outbox, 1)
            await delivered.wait()

    async def test_a_database_that_goes_away_is_waited_for(self, postgres_dsn: str, clock: StoppedClock) -> None:
        """The server drops every connection of the worker."""
        database, other = Database(sqlalchemy_url(postgres_dsn)), Database(sqlalchemy_url(postgres_dsn))
        outbox, delivered = Outbox(clock), asyncio.Queue[int]()

        async def deliver(event: Event) -> None:
            delivered.put_nowait(event.payload["number"])

        worker = OutboxWorker(
            database, {"mail": Subscriber(deliver)}, clock=clock, random=random.random, poll=timedelta(milliseconds=5)
        )
        async with _running(worker):
            await put(other, outbox, 1)
            assert await delivered.get() == 1
            async with other.unit() as unit:
                await unit.begin()
                await outbox.add(unit, "mail", key="ada", payload={"number": 2})
                await unit.all(text(DROP_THE_OTHERS))
            number = 1
            while number != 2:
                # The first may come again, because the connection broke before its result was written. Where the answer
                # to a claim was lost, its lease must end first.
                clock.advance(minutes=2)
                with suppress(TimeoutError):
                    number = await asyncio.wait_for(delivered.get(), 1)
        await database.close()
        await other.close()


@asynccontextmanager
async def _running(*workers: OutboxWorker) -> AsyncIterator[None]:
    """Run workers for the length of the block."""
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    yield
    assert not any(task.done() for task in tasks)
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class TestManyWorkers:
    @pytest.fixture
    async def others(self, dsn: str) -> AsyncIterator[list[Database]]:
        databases = [Database(sqlalchemy_url(dsn), pool_size=4) for _ in range(4 if dsn.startswith("postgres") else 2)]
        yield databases
        for database in databases:
            await database.close()

    async def test_five_hundred_events_over_twenty_keys_come_once_each_and_in_order(
        self, database: Database, others: list[Database]
    ) -> None:
        clock, dice = SystemClock(), random.Random(7)
        outbox = Outbox(clock)
        delivered: defaultdict[str, list[int]] = defaultdict(list)
        done = asyncio.Event()
        under_way: set[str] = set()

        async def deliver(event: Event) -> None:
            assert event.key not in under_way
            under_way.add(event.key)
            await asyncio.sleep(dice.random() / 1000)
            under_way.discard(event.key)
            delivered[event.key].append(event.payload["number"])
            if sum(map(len, delivered.values())) >= 500:
                done.set()

        workers = [
            OutboxWorker(
                other, {"mail": Subscriber(deliver)}, clock=clock, random=dice.random, poll=timedelta(milliseconds=5)
            )
            for other in others
        ]
        async with _running(*workers):
            await asyncio.gather(*(put(database, outbox, *range(25), key=f"key {key}") for key in range(20)))
            await done.wait()
        for worker in workers:
            assert await worker.run_once() == 0
        assert delivered == {f"key {key}": list(range(25)) for key in range(20)}
        async with database.unit() as unit:
            rows = await unit.all(text("SELECT attempts FROM outbox WHERE delivered_at IS NOT NULL"))
        assert [row.attempts for row in rows] == [1] * 500


class TestConcurrentUnits:
    """Only PostgreSQL has units that write at the same time."""

    @pytest.fixture
    async def database(self, postgres_dsn: str) -> AsyncIterator[Database]:
        database = Database(sqlalchemy_url(postgres_dsn))
        yield database
        await database.close()

    async def test_a_unit_that_commits_to_a_key_waits_for_the_one_that_began_to_before(
        self, database: Database, outbox: Outbox, work: Work
    ) -> None:
        go_on, post = asyncio.Event(), Post()

        async def hold(unit: Unit, items: Sequence[None]) -> None:
            """Wait after the events of the unit were written, and before they are committed."""
            await go_on.wait()

        async def put_slowly() -> None:
            async with database.unit() as unit:
                await outbox.add(unit, "mail", key="ada", payload={"number": 1})
                unit.collect(None, write=hold)

        first = asyncio.create_task(put_slowly())
        await _until(database, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted")
        drawn = await _drawn(database)
        second = asyncio.create_task(put(database, outbox, 2))
        await _until(database, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        assert await _drawn(database) == drawn  # the number comes after the lock, or the order would be lost
        await put(database, outbox, 3, key="grace")
        await drain(work(post))
        assert post.numbers == [3]
        go_on.set()
        await asyncio.gather(first, second)
        await drain(work(post))
        assert post.numbers == [3, 1, 2]

    @pytest.mark.parametrize("listeners", [{}, {"mail": ("push", "web")}], ids=["one recipient", "two listeners"])
    async def test_units_that_add_to_two_keys_in_opposite_order_do_not_deadlock(
        self, database: Database, clock: StoppedClock, listeners: Mapping[str, Collection[str]]
    ) -> None:
        """Regression: they locked each key when they added to it, and PostgreSQL ended one of them."""
        outbox, both_added = Outbox(clock, listeners=listeners), asyncio.Barrier(2)

        async def add(*keys: str) -> None:
            async with database.unit() as unit:
                await unit.begin()
                await outbox.add(unit, "mail", key=keys[0], payload={})
                await both_added.wait()
                await outbox.add(unit, "mail", key=keys[1], payload={})

        await asyncio.gather(add("ada", "grace"), add("grace", "ada"))
        async with database.unit() as unit:
            assert len(await unit.all(select(table.c.id))) == 4 * len(listeners.get("mail", ["the only one"]))

    async def test_many_units_that_add_to_many_keys_in_any_order_all_commit(
        self, database: Database, outbox: Outbox, work: Work
    ) -> None:
        dice, keys = random.Random(7), [f"key {number}" for number in range(6)]

        async def add(number: int) -> None:
            async with database.unit() as unit:
                await unit.begin()
                for key in dice.sample(keys, k=4):
                    await outbox.add(unit, "mail", key=key, payload={"number": number})

        await asyncio.gather(*(add(number) for number in range(40)))
        post = Post()
        await drain(work(post))
        assert sorted(post.numbers) == sorted(list(range(40)) * 4)


async def _drawn(database: Database) -> int:
    """Return the last number that was drawn for an event on PostgreSQL."""
    async with database.unit() as unit:
        return int(await unit.scalar(text("SELECT last_value FROM outbox_sequence_seq")))


async def _until(database: Database, query: str) -> None:
    """Wait until a query finds something."""
    async with database.unit() as unit, asyncio.timeout(20):
        while await unit.first(text(query)) is None:  # noqa: ASYNC110 - a connection of the server is waited for
            await asyncio.sleep(0.005)


def test_a_worker_without_capacity_is_refused(clock: StoppedClock) -> None:
    for nonsense in ({"at_once": 0}, {"lease": timedelta(0)}):
        with pytest.raises(ValueError, match="room"):
            OutboxWorker(Database("sqlite+aiosqlite:///unused.db"), {}, clock=clock, random=random.random, **nonsense)  # type: ignore[arg-type]


def test_a_subscriber_gets_an_attempt_at_least() -> None:
    with pytest.raises(ValueError, match="at least one attempt"):
        Subscriber(Post(), least_attempts=0)
