"""How live connections learn of the end of their sessions."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from shopkeeper.clock import StoppedClock
from shopkeeper.errors import Busy
from shopkeeper.identity.values import Aal, Identity
from shopkeeper.sessions.end_watch import CHECK_EVERY, EndReason, EndWatch
from shopkeeper.sessions.service import Sessions
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.cache.port import Cache
from shopkeeper.storage.database import Database
from tests.sessions.conftest import CLIENT, LIFESPAN, PATIENCE, Process, change, process, sign_in
from tests.sessions.test_two_processes import two

__all__ = ["two"]


class Heard:
    """A connection that remembers the reasons it was given."""

    def __init__(self) -> None:
        self.reasons: list[EndReason] = []
        self._called = asyncio.Event()

    def __call__(self, reason: EndReason) -> None:
        self.reasons.append(reason)
        self._called.set()

    async def wait(self) -> list[EndReason]:
        async with asyncio.timeout(PATIENCE):
            await self._called.wait()
        return self.reasons


async def settled(sessions: Sessions) -> None:
    """Wait until every watched session was read."""
    watch = sessions._end_watch
    async with asyncio.timeout(PATIENCE):
        while watch._due or watch._unread:  # noqa: ASYNC110 - there is no event for nothing left to do
            await asyncio.sleep(0.001)


async def revoked(one: Process, database: Database, started: Any) -> None:
    await change(database, one.sessions.revoke, started.session.id, by="admin")


async def all_deleted(one: Process, database: Database, started: Any) -> None:
    await change(database, one.sessions.delete_for, started.session.identity.id)


async def all_revoked(one: Process, database: Database, started: Any) -> None:
    await change(database, one.sessions.revoke_all, started.session.identity.id, by="admin")


async def switched_off(one: Process, database: Database, started: Any) -> None:
    off = [{"op": "replace", "path": "/state", "value": "inactive"}]
    await change(database, one.identities.patch, started.session.identity.id, off)


async def account_deleted(one: Process, database: Database, started: Any) -> None:
    await change(database, one.identities.delete, started.session.identity.id)


Ending = Callable[[Process, Database, Any], Awaitable[None]]


@pytest.mark.parametrize("ending", [revoked, all_deleted, all_revoked, switched_off, account_deleted])
async def test_the_end_of_a_session_is_reported_in_every_process(
    two: tuple[Process, Process], database: Database, ada: Identity, ending: Ending
) -> None:
    here, there = two
    started = await sign_in(database, here.sessions, ada)
    connections = [Heard(), Heard(), Heard()]
    for process_, heard in zip((here, there, there), connections, strict=True):
        process_.sessions.on_ended(started.session.id, heard)
    for process_ in two:
        await settled(process_.sessions)
    assert [heard.reasons for heard in connections] == [[], [], []]
    await ending(here, database, started)
    assert [await heard.wait() for heard in connections] == [[EndReason.ENDED]] * 3


class TestHere:
    @pytest.fixture
    def cache(self, clock: StoppedClock) -> Cache:
        return MemoryCache(clock)

    async def test_a_session_that_had_ended_before_is_reported_as_well(
        self, database: Database, one: Process, ada: Identity
    ) -> None:
        """A connection is authenticated first and watches then: the session may end in between."""
        started, heard = await sign_in(database, one.sessions, ada), Heard()
        await revoked(one, database, started)
        one.sessions.on_ended(started.session.id, heard)
        assert await heard.wait() == [EndReason.ENDED]

    async def test_an_account_switched_off_while_its_session_is_read_for_the_first_time(
        self, database: Database, one: Process, ada: Identity
    ) -> None:
        started, heard = await sign_in(database, one.sessions, ada), Heard()
        one.sessions.on_ended(started.session.id, heard)
        await switched_off(one, database, started)
        assert await heard.wait() == [EndReason.ENDED]

    async def test_a_change_of_a_session_is_not_its_end(
        self, database: Database, one: Process, ada: Identity, clock: StoppedClock
    ) -> None:
        started, other, heard, end = *[await sign_in(database, one.sessions, ada) for _ in range(2)], Heard(), Heard()
        one.sessions.on_ended(started.session.id, heard)
        one.sessions.on_ended(other.session.id, end)
        await settled(one.sessions)
        await change(database, one.sessions.extend, started.session.id)
        await change(
            database,
            one.sessions.elevate,
            started.session,
            method="totp",
            aal=Aal.AAL2,
            client=CLIENT,
            new_token=True,
        )
        await change(database, one.identities.patch, ada.id, [{"op": "add", "path": "/traits/name", "value": "Ada"}])
        await revoked(one, database, other)
        assert await end.wait() == [EndReason.ENDED]
        await settled(one.sessions)
        assert heard.reasons == []

    async def test_the_time_of_a_session_runs_out(
        self, database: Database, one: Process, ada: Identity, clock: StoppedClock
    ) -> None:
        started, heard = await sign_in(database, one.sessions, ada), Heard()
        one.sessions.on_ended(started.session.id, heard)
        await settled(one.sessions)
        clock.advance(seconds=LIFESPAN.total_seconds())
        assert await heard.wait() == [EndReason.EXPIRED]

    async def test_a_session_is_read_again_every_minute_though_nothing_was_announced(
        self, database: Database, one: Process, ada: Identity, clock: StoppedClock
    ) -> None:
        silent = process(database, MemoryCache(clock), clock)
        started, heard = await sign_in(database, one.sessions, ada), Heard()
        one.sessions.on_ended(started.session.id, heard)
        await settled(one.sessions)
        await revoked(silent, database, started)
        clock.advance(seconds=CHECK_EVERY.total_seconds())
        assert await heard.wait() == [EndReason.ENDED]

    async def test_a_cancelled_watch_reports_nothing_and_leaves_nothing_behind(
        self, database: Database, one: Process, ada: Identity
    ) -> None:
        started, gone, stays = await sign_in(database, one.sessions, ada), Heard(), Heard()
        cancel = one.sessions.on_ended(started.session.id, gone)
        keep = one.sessions.on_ended(started.session.id, stays)
        await settled(one.sessions)
        cancel()
        cancel()
        await revoked(one, database, started)
        assert await stays.wait() == [EndReason.ENDED]
        assert gone.reasons == []
        keep()
        watch = one.sessions._end_watch
        assert (watch._watched, watch._by_identity, watch._unread, watch._due, watch._count) == (
            {},
            {},
            set(),
            set(),
            0,
        )

    async def test_a_callback_that_fails_is_logged_and_stops_no_other(
        self, database: Database, one: Process, ada: Identity
    ) -> None:
        def broken(reason: EndReason) -> None:
            raise RuntimeError("this connection is broken")

        started, heard = await sign_in(database, one.sessions, ada), Heard()
        one.sessions.on_ended(started.session.id, heard)
        one.sessions.on_ended(started.session.id, broken)
        with capture_logs() as logs:
            await revoked(one, database, started)
            assert await heard.wait() == [EndReason.ENDED]
        assert [line["event"] for line in logs].count("sessions.end_callback_failed") == 1

    async def test_the_number_of_watches_is_limited(
        self, database: Database, clock: StoppedClock, one: Process, ada: Identity
    ) -> None:
        started = await sign_in(database, one.sessions, ada)
        watch = EndWatch(database, clock=clock, most=2)
        cancel, _ = [watch.add(started.session.id, Heard()) for _ in range(2)]
        with pytest.raises(Busy):
            watch.add(started.session.id, Heard())
        cancel()
        watch.add(started.session.id, Heard())
        await watch.close()


class TestALostLine:
    async def test_asks_to_check_again_once(self, database: Database, clock: StoppedClock, ada: Identity) -> None:
        watch = EndWatch(database, clock=clock)
        one = process(database, MemoryCache(clock), clock)
        started, heard = await sign_in(database, one.sessions, ada), Heard()
        watch.set_hearing(True)
        watch.add(started.session.id, heard)
        watch.set_hearing(False)
        assert await heard.wait() == [EndReason.UNKNOWN]
        watch.set_hearing(True)
        watch.set_hearing(False)
        await asyncio.sleep(0.01)
        assert heard.reasons == [EndReason.UNKNOWN]
        await watch.close()

    async def test_has_sessions_read_every_few_seconds(
        self, database: Database, clock: StoppedClock, ada: Identity
    ) -> None:
        """So a connection that was checked and watches again learns of the end without the cache."""
        one = process(database, MemoryCache(clock), clock)
        started, heard = await sign_in(database, one.sessions, ada), Heard()
        watch = EndWatch(database, clock=clock, tick=0.01)
        watch.add(started.session.id, heard)
        while watch._due or watch._unread:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await revoked(one, database, started)
        clock.advance(seconds=5)
        assert await heard.wait() == [EndReason.ENDED]
        await watch.close()
