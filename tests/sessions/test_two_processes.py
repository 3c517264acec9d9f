"""Several processes on one database and one cache, of either kind: a session that one ends, no other serves."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.identity.values import Identity
from shopkeeper.sessions.acting import Agents
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.cache.port import Cache
from shopkeeper.storage.cache.redis import RedisCache
from shopkeeper.storage.database import Database
from tests.services.server import Server
from tests.sessions.conftest import Process, act_as, answers, change, enrol, process, refuses, sign_in

PROMISE = 0.1
"""Seconds within which every process refuses what one has ended."""


@pytest.fixture(params=["memory", "valkey"])
async def two(
    request: pytest.FixtureRequest, database: Database, clock: StoppedClock
) -> AsyncIterator[tuple[Process, Process]]:
    """Two processes, each with a connection of its own where there are connections."""
    if request.param == "memory":
        caches: list[Cache] = [MemoryCache(clock)] * 2
    else:
        url = request.getfixturevalue("valkey_url")
        caches = [RedisCache(url), RedisCache(url)]
    first, second = [process(database, cache, clock) for cache in caches]
    await first.sessions.listen()
    await second.sessions.listen()
    yield first, second
    for each, cache in zip((first, second), caches, strict=True):
        await each.sessions.close()
        await cache.close()


async def by_one(sessions: Any, database: Database, started: Any) -> None:
    await change(database, sessions.revoke, started.session.id, by="admin")


async def by_token(sessions: Any, database: Database, started: Any) -> None:
    await change(database, sessions.revoke_token, started.token)


async def by_everything(sessions: Any, database: Database, started: Any) -> None:
    await change(database, sessions.revoke_all, started.session.identity.id, by="admin")


async def by_deletion(sessions: Any, database: Database, started: Any) -> None:
    await change(database, sessions.delete_for, started.session.identity.id)


async def by_another(sessions: Any, database: Database, started: Any) -> None:
    current = await sign_in(database, sessions, started.session.identity)
    await change(database, sessions.revoke_others, current.session)


@pytest.mark.parametrize("ending", [by_one, by_token, by_everything, by_deletion, by_another])
async def test_a_session_that_one_ends_is_refused_by_the_other(
    two: tuple[Process, Process], database: Database, ada: Identity, ending: Callable[..., Any]
) -> None:
    here, there = two
    started = await sign_in(database, here.sessions, ada)
    for each in two:
        assert await answers(each.sessions, [started.token] * 2) == [True, True]
    reads = there.reads
    assert await answers(there.sessions, [started.token]) == [True]
    assert there.reads == reads, "it is kept over there, or this test shows nothing"
    await ending(here.sessions, database, started)
    assert await answers(here.sessions, [started.token]) == [False]
    await refuses(there, started.token)


async def test_it_takes_a_tenth_of_a_second_at_most(
    two: tuple[Process, Process], database: Database, ada: Identity
) -> None:
    """One of a few tries must meet the limit: a pause of the machine delays one try, a broken promise delays all."""
    here, there = two
    for _ in range(10):
        started = await sign_in(database, here.sessions, ada)
        assert await answers(there.sessions, [started.token]) == [True]
        await by_one(here.sessions, database, started)
        try:
            await refuses(there, started.token, within=PROMISE)
        except TimeoutError:
            continue
        return
    pytest.fail(f"no revocation was heard within {PROMISE} s")


async def test_an_account_switched_off_by_one_is_refused_by_the_other(
    two: tuple[Process, Process], database: Database, ada: Identity
) -> None:
    here, there = two
    started = await sign_in(database, here.sessions, ada)
    assert await answers(there.sessions, [started.token]) == [True]
    off = [{"op": "replace", "path": "/state", "value": "inactive"}]
    await change(database, here.identities.patch, ada.id, off)
    await refuses(there, started.token)


async def test_a_replaced_token_ends_with_its_window_in_the_other_process_too(
    two: tuple[Process, Process], database: Database, ada: Identity, clock: StoppedClock
) -> None:
    here, there = two
    first = await sign_in(database, here.sessions, ada)
    assert await answers(there.sessions, [first.token]) == [True]
    second = await here.sessions.refresh(first.token, store="fruit")
    clock.advance(seconds=11)
    await refuses(there, first.token)
    assert await answers(there.sessions, [second.token]) == [True]


async def test_twenty_refreshes_on_two_processes_give_one_successor(
    two: tuple[Process, Process], database: Database, ada: Identity
) -> None:
    first = await sign_in(database, two[0].sessions, ada)
    asked = [two[number % 2].sessions.refresh(first.token, store="fruit") for number in range(20)]
    assert len({started.token for started in await asyncio.gather(*asked)}) == 1


async def test_a_process_without_connection_to_the_cache_serves_nothing_from_memory(
    database: Database, clock: StoppedClock, ada: Identity, valkey_server: Server, valkey_url: str
) -> None:
    """The connection breaks and a session ends meanwhile, without any message: it is refused all the same."""
    cache, elsewhere = RedisCache(valkey_url), process(database, MemoryCache(clock), clock)
    one = process(database, cache, clock)
    await one.sessions.listen()
    started, other = [await sign_in(database, one.sessions, ada) for _ in range(2)]
    assert await answers(one.sessions, [started.token, other.token]) == [True, True]
    await cache._redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    await change(database, elsewhere.sessions.revoke, started.session.id, by="admin")
    await refuses(one, started.token)
    assert await answers(one.sessions, [other.token]) == [True]
    await one.sessions.close()
    await cache.close()


async def test_without_a_cache_that_answers_sessions_still_work(
    database: Database, clock: StoppedClock, ada: Identity
) -> None:
    cache = RedisCache("redis://127.0.0.1:1/0")
    one = process(database, cache, clock)
    await one.sessions.listen()
    started = await sign_in(database, one.sessions, ada)
    assert await answers(one.sessions, [started.token]) == [True]
    second = await one.sessions.refresh(started.token, store="fruit")
    assert await change(database, one.sessions.revoke, second.session.id, by="admin")
    assert await answers(one.sessions, [started.token, second.token]) == [False, False]
    await one.sessions.close()
    await cache.close()


@pytest.mark.parametrize("ending", [by_one, by_everything, by_deletion])
async def test_what_an_agent_acts_in_is_refused_by_the_other_when_the_agents_session_ends(
    database: Database, clock: StoppedClock, ada: Identity, ending: Callable[..., Any]
) -> None:
    cache, person = MemoryCache(clock), await enrol(database, clock)
    agents = Agents(ids=frozenset({person.id}))
    here, there = [process(database, cache, clock, agents=agents) for _ in range(2)]
    for each in (here, there):
        await each.sessions.listen()
    agent = await sign_in(database, here.sessions, person)
    token = await act_as(database, clock, ada, agent.session)
    for each in (here, there):
        assert await answers(each.sessions, [token]) == [True]
    reads = there.reads
    assert await answers(there.sessions, [token]) == [True]
    assert there.reads == reads, "it is kept over there, or this test shows nothing"
    await ending(here.sessions, database, agent)
    assert await answers(here.sessions, [token]) == [False]
    await refuses(there, token)
    for each in (here, there):
        await each.sessions.close()
