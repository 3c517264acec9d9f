"""When sessions end by themselves: after a time without use, at their absolute end, and as the oldest of too many."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta
from typing import Any

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.errors import SessionInactive, TokenInvalid
from shopkeeper.identity.values import Identity
from shopkeeper.sessions import last_seen
from shopkeeper.sessions.end_watch import EndReason
from shopkeeper.sessions.lifetimes import COARSEST, Lifetimes
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.cache.port import Cache
from shopkeeper.storage.database import Database
from shopkeeper.storage.unavailable import DatabaseUnavailable
from tests.sessions.conftest import LIFESPAN, Process, answers, audited, change, enrol, process, refuses, sign_in
from tests.sessions.test_end_watch import Heard

Make = Callable[..., Awaitable[Process]]
IDLE = timedelta(hours=1)
TINY = timedelta(microseconds=1)


@pytest.fixture
def cache(clock: StoppedClock) -> Cache:
    return MemoryCache(clock)


@pytest.fixture
async def make(database: Database, cache: Cache, clock: StoppedClock) -> AsyncIterator[Make]:
    """Makes processes with lifetimes, which are closed after the test."""
    async with AsyncExitStack() as stack:

        async def started(lifetimes: Lifetimes, **options: object) -> Process:
            one = process(database, cache, clock, lifetimes=lifetimes, **options)  # type: ignore[arg-type]
            await one.sessions.listen()
            stack.push_async_callback(one.sessions.close)
            return one

        yield started


@contextmanager
def changes(database: Database) -> Iterator[list[str]]:
    """Return a list that grows with every change of the table of sessions."""
    found: list[str] = []

    def note(statement: str) -> None:
        if statement.startswith("UPDATE sessions"):
            found.append(statement)

    with database.observed(note):
        yield found


class TestIdle:
    async def test_ends_exactly_then_though_it_is_cached(
        self, make: Make, database: Database, clock: StoppedClock, ada: Identity
    ) -> None:
        one = await make(Lifetimes(LIFESPAN, idle=IDLE))
        started = await sign_in(database, one.sessions, ada)
        clock.advance(seconds=(IDLE - TINY - timedelta(seconds=30)).total_seconds())
        assert (await one.sessions._reader.lookup(started.token)) is not None  # cached, without being used
        clock.advance(seconds=(timedelta(seconds=30)).total_seconds())
        assert (await one.sessions._reader.lookup(started.token)) is not None
        clock.advance(seconds=(TINY).total_seconds())
        assert one.sessions.cached(started.token) is None
        assert await one.sessions.resolve(started.token) is None
        assert await answers(one.sessions, [started.token]) == [False]

    async def test_use_keeps_it_alive_until_its_lifespan_ends(
        self, make: Make, database: Database, clock: StoppedClock, ada: Identity
    ) -> None:
        one = await make(Lifetimes(LIFESPAN, idle=IDLE))
        started = await sign_in(database, one.sessions, ada)
        for _ in range(31):
            clock.advance(seconds=(timedelta(minutes=45)).total_seconds())
            assert await answers(one.sessions, [started.token]) == [True]
            await one.sessions.settle()
        clock.advance(seconds=(timedelta(minutes=45)).total_seconds())
        assert await answers(one.sessions, [started.token]) == [False]

    async def test_costs_one_write_in_minutes(
        self, make: Make, database: Database, clock: StoppedClock, ada: Identity
    ) -> None:
        one = await make(Lifetimes(LIFESPAN, idle=IDLE))
        started = await sign_in(database, one.sessions, ada)
        with changes(database) as seen:
            for _ in range(100):
                clock.advance(seconds=(COARSEST * 2 / 100 + TINY).total_seconds())
                await one.sessions.resolve(started.token)
                await one.sessions.settle()
        assert len(seen) == 2

    async def test_many_requests_at_once_cost_one_write_a_session_at_most_and_do_not_wait_for_it(
        self, make: Make, database: Database, clock: StoppedClock, ada: Identity
    ) -> None:
        one = await make(Lifetimes(LIFESPAN, idle=IDLE))
        started = [await sign_in(database, one.sessions, ada) for _ in range(5)]
        clock.advance(seconds=(COARSEST).total_seconds())
        with changes(database) as seen:
            for each in started * 20:
                await one.sessions.resolve(each.token)
            reads = one.reads
            await one.sessions.settle()
        assert 1 <= len(seen) <= 5, "how many go into one statement depends on the load"
        assert await answers(one.sessions, [each.token for each in started]) == [True] * 5
        assert one.reads == reads == 5

    async def test_a_process_that_has_not_seen_it_asks_before_it_refuses(
        self, make: Make, database: Database, clock: StoppedClock, ada: Identity
    ) -> None:
        here, there = await make(Lifetimes(LIFESPAN, idle=IDLE)), await make(Lifetimes(LIFESPAN, idle=IDLE))
        started = await sign_in(database, here.sessions, ada)
        clock.advance(seconds=(IDLE - timedelta(seconds=20)).total_seconds())
        assert await there.sessions._reader.lookup(started.token) is not None
        assert await answers(here.sessions, [started.token]) == [True]
        await here.sessions.settle()
        clock.advance(seconds=(timedelta(seconds=30)).total_seconds())
        assert await answers(there.sessions, [started.token]) == [True]

    async def test_what_has_ended_stays_ended_though_a_use_is_written_late(
        self, make: Make, database: Database, clock: StoppedClock, ada: Identity
    ) -> None:
        one = await make(Lifetimes(LIFESPAN, idle=IDLE))
        started = await sign_in(database, one.sessions, ada)
        clock.advance(seconds=(IDLE - TINY).total_seconds())
        assert await answers(one.sessions, [started.token]) == [True]
        clock.advance(seconds=(TINY).total_seconds())  # before the background had its turn
        await one.sessions.settle()
        assert await answers(one.sessions, [started.token]) == [False]

    async def test_a_use_that_the_database_could_not_take_is_written_later(
        self, make: Make, database: Database, clock: StoppedClock, ada: Identity, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = await make(Lifetimes(LIFESPAN, idle=IDLE))
        started = await sign_in(database, one.sessions, ada)
        clock.advance(seconds=(COARSEST).total_seconds())
        failures, real = [DatabaseUnavailable(retry_after=1)] * 2, last_seen.rows.set_idle_end

        async def failing_at_first(*arguments: Any, **options: Any) -> None:
            if failures:
                raise failures.pop()
            await real(*arguments, **options)

        monkeypatch.setattr(last_seen.rows, "set_idle_end", failing_at_first)
        monkeypatch.setattr(last_seen, "PAUSE", 0.01)
        assert await answers(one.sessions, [started.token]) == [True]
        await one.sessions.settle()
        assert failures == []
        clock.advance(seconds=(IDLE - TINY).total_seconds())
        assert await answers(one.sessions, [started.token]) == [True]

    async def test_what_was_revoked_meanwhile_stays_revoked(
        self, make: Make, database: Database, clock: StoppedClock, ada: Identity
    ) -> None:
        one = await make(Lifetimes(LIFESPAN, idle=IDLE))
        started = await sign_in(database, one.sessions, ada)
        clock.advance(seconds=(COARSEST).total_seconds())
        assert await answers(one.sessions, [started.token]) == [True]
        await change(database, one.sessions.revoke, started.session.id, by="admin")
        await one.sessions.settle()
        assert await answers(one.sessions, [started.token]) == [False]

    async def test_is_neither_listed_nor_refreshed_nor_elevated_nor_extended_afterwards(
        self, make: Make, database: Database, clock: StoppedClock, ada: Identity
    ) -> None:
        one = await make(Lifetimes(LIFESPAN, idle=IDLE))
        started = await sign_in(database, one.sessions, ada)
        clock.advance(seconds=(IDLE).total_seconds())
        assert (await change(database, one.sessions.list_for, ada.id, active=True)).items == ()
        ended = await change(database, one.sessions.list_for, ada.id, active=False)
        assert [each.id for each in ended.items] == [started.session.id]
        with pytest.raises(TokenInvalid):
            await one.sessions.refresh(started.token, store="fruit")
        for new_token in (True, False):
            with pytest.raises(SessionInactive):
                await change(database, one.sessions.keep, started.session, new_token=new_token)
        await change(database, one.sessions.extend, started.session.id)
        assert await answers(one.sessions, [started.token]) == [False]

    async def test_refreshing_is_a_use(
        self, make: Make, database: Database, clock: StoppedClock, ada: Identity
    ) -> None:
        one = await make(Lifetimes(LIFESPAN, idle=IDLE))
        started = await sign_in(database, one.sessions, ada)
        clock.advance(seconds=(IDLE - TINY).total_seconds())
        again = await one.sessions.refresh(started.token, store="fruit")
        clock.advance(seconds=(IDLE - TINY).total_seconds())
        assert await answers(one.sessions, [again.token]) == [True]

    async def test_live_connections_learn_of_it(
        self, make: Make, database: Database, clock: StoppedClock, ada: Identity
    ) -> None:
        one = await make(Lifetimes(LIFESPAN, idle=IDLE))
        started = await sign_in(database, one.sessions, ada)
        clock.advance(seconds=(IDLE).total_seconds())
        heard = Heard()
        one.sessions.on_ended(started.session.id, heard)
        assert await heard.wait() == [EndReason.EXPIRED]

    async def test_other_settings_count_from_the_next_use_on(
        self, make: Make, database: Database, clock: StoppedClock, ada: Identity
    ) -> None:
        before, after = await make(Lifetimes(LIFESPAN)), await make(Lifetimes(LIFESPAN, idle=IDLE))
        old = await sign_in(database, before.sessions, ada)
        assert await answers(after.sessions, [old.token]) == [True]
        await after.sessions.settle()
        clock.advance(seconds=(IDLE).total_seconds())
        assert await answers(after.sessions, [old.token]) == [False]
        new = await sign_in(database, after.sessions, ada)
        assert await answers(before.sessions, [new.token]) == [True]
        await before.sessions.settle()
        clock.advance(seconds=(IDLE).total_seconds())
        assert await answers(before.sessions, [new.token]) == [True]

    async def test_does_not_end_sessions_that_are_kept(
        self, make: Make, database: Database, clock: StoppedClock, ada: Identity
    ) -> None:
        one = await make(Lifetimes(LIFESPAN, kept=timedelta(days=30), idle=IDLE))
        kept = await sign_in(database, one.sessions, ada, kept=True)
        clock.advance(seconds=(timedelta(days=30) - TINY).total_seconds())
        assert await answers(one.sessions, [kept.token]) == [True]
        clock.advance(seconds=(TINY).total_seconds())
        assert await answers(one.sessions, [kept.token]) == [False]


class TestAbsolute:
    async def test_no_extension_and_no_refresh_goes_beyond(
        self, make: Make, database: Database, clock: StoppedClock, ada: Identity
    ) -> None:
        one = await make(Lifetimes(LIFESPAN, absolute=timedelta(hours=36)))
        extended, refreshed = [await sign_in(database, one.sessions, ada) for _ in range(2)]
        clock.advance(seconds=(timedelta(hours=20)).total_seconds())
        longer = await change(database, one.sessions.extend, extended.session.id)
        again = await one.sessions.refresh(refreshed.token, store="fruit")
        assert longer.expires_at == again.session.expires_at == extended.session.issued_at + timedelta(hours=36)
        clock.advance(seconds=(timedelta(hours=16)).total_seconds())
        assert await answers(one.sessions, [extended.token, again.token]) == [False, False]
        with pytest.raises(TokenInvalid):
            await one.sessions.refresh(again.token, store="fruit")


class TestLimit:
    async def test_one_more_ends_the_oldest(
        self, make: Make, database: Database, clock: StoppedClock, ada: Identity
    ) -> None:
        one, there = await make(Lifetimes(LIFESPAN, most=2)), await make(Lifetimes(LIFESPAN, most=2))
        other = await sign_in(database, one.sessions, await enrol(database, clock))
        first, second = [await sign_in(database, one.sessions, ada) for _ in range(2)]
        tokens = [other.token, first.token, second.token]
        assert await answers(one.sessions, tokens) == await answers(there.sessions, tokens) == [True] * 3
        third = await sign_in(database, one.sessions, ada)
        for each in (one, there):
            await refuses(each, first.token)
            assert await answers(each.sessions, [*tokens, third.token]) == [True, False, True, True]
        [event_] = await audited(database, clock, action="session.revoked")
        assert event_.details == {"count": 1, "reason": "limit"}

    async def test_sessions_that_have_ended_do_not_count(
        self, make: Make, database: Database, clock: StoppedClock, ada: Identity
    ) -> None:
        one = await make(Lifetimes(LIFESPAN, most=2))
        oldest, revoked = [await sign_in(database, one.sessions, ada) for _ in range(2)]
        await change(database, one.sessions.revoke, revoked.session.id, by="admin")
        replaced = await sign_in(database, one.sessions, ada)
        newest = await sign_in(database, one.sessions, ada, replacing=replaced.session)
        assert await answers(one.sessions, [oldest.token, replaced.token, newest.token]) == [True, False, True]
