"""Signing out where the answer to the commit is lost: the session has ended, and no process may go on with it."""

from collections.abc import AsyncIterator

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.identity.values import Identity
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.cache.port import Cache
from shopkeeper.storage.database import Database
from shopkeeper.storage.unavailable import CommitUnknown
from tests.services.line import Line, line_to
from tests.sessions.conftest import Process, answers, change, process, sign_in


@pytest.fixture
def dsn(postgres_dsn: str) -> str:
    return postgres_dsn


@pytest.fixture
def cache(clock: StoppedClock) -> Cache:
    return MemoryCache(clock)


@pytest.fixture
async def line(database: Database) -> AsyncIterator[Line]:
    async with line_to("127.0.0.1", database.url.port or 5432) as line:
        yield line


@pytest.fixture
async def far(database: Database, line: Line) -> AsyncIterator[Database]:
    far = Database(database.url.set(port=line.port))
    yield far
    await far.close()


@pytest.fixture
async def two(database: Database, cache: Cache, clock: StoppedClock) -> AsyncIterator[Process]:
    two = process(database, cache, clock)
    await two.sessions.listen()
    yield two
    await two.sessions.close()


async def test_a_session_has_ended_in_all_processes(
    database: Database, far: Database, line: Line, one: Process, two: Process, ada: Identity
) -> None:
    token = (await sign_in(database, one.sessions, ada)).token
    assert await answers(one.sessions, [token]) == await answers(two.sessions, [token]) == [True]
    line.hang_up_at(b"COMMIT\0")
    with pytest.raises(CommitUnknown):
        await change(far, one.sessions.revoke_token, token)
    assert await answers(one.sessions, [token]) == await answers(two.sessions, [token]) == [False]


@pytest.mark.parametrize("how", ["by token", "all", "by id"])
async def test_signing_out_again_is_announced_again(
    database: Database, one: Process, two: Process, ada: Identity, clock: StoppedClock, how: str
) -> None:
    """Here the first process that signed out was killed before it could announce anything."""
    started = await sign_in(database, one.sessions, ada)
    assert await answers(two.sessions, [started.token]) == [True]
    dead = process(database, MemoryCache(clock), clock)
    await change(database, dead.sessions.revoke_token, started.token)
    assert await answers(two.sessions, [started.token]) == [True]
    if how == "by token":
        await change(database, one.sessions.revoke_token, started.token)
    elif how == "all":
        await change(database, one.sessions.revoke_all, ada.id, by="admin")
    else:
        await change(database, one.sessions.revoke, started.session.id, by="admin")
    assert await answers(two.sessions, [started.token]) == [False]
