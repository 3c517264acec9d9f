"""What a process caches of sessions, and when it drops that."""

import asyncio
import gc
import tracemalloc
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import msgspec
import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.crypto import digest, new_id
from shopkeeper.identity.values import Identity
from shopkeeper.sessions.cache import STALE_AFTER, CachedSession, SessionCache
from shopkeeper.sessions.invalidation import CHANNEL, EVERYTHING, Invalidation, InvalidationPublisher
from shopkeeper.sessions.memory import memory_of
from shopkeeper.sessions.values import Session, WhoamiAnswer
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.cache.port import CacheDown
from shopkeeper.storage.database import Database
from tests.conftest import NOW
from tests.sessions.conftest import Process, answers, change, person, process, sign_in


class Line(MemoryCache):
    """A cache whose connection can be cut: it reports that to its listeners, as a real connection does."""

    def __init__(self, clock: StoppedClock) -> None:
        super().__init__(clock)
        self._states: list[Callable[[bool], None]] = []
        self.up = True

    async def subscribe(
        self, channel: str, *, on_message: Callable[[bytes], None], on_state: Callable[[bool], None]
    ) -> Callable[[], Awaitable[None]]:
        self._states.append(on_state)
        return await super().subscribe(channel, on_message=on_message, on_state=on_state)

    async def publish(self, channel: str, message: bytes) -> None:
        if not self.up:
            raise CacheDown("the line is cut")
        await super().publish(channel, message)

    def cut(self) -> None:
        self.up = False
        for tell in self._states:
            tell(False)

    def mend(self) -> None:
        self.up = True
        for tell in self._states:
            tell(True)


@pytest.fixture
def cache(clock: StoppedClock) -> Line:
    return Line(clock)


def resolved(identity: Identity | None = None) -> CachedSession:
    session = Session(
        id=new_id(),
        identity=identity or person(NOW),
        active=True,
        aal="aal1",  # type: ignore[arg-type]
        authentication_methods=(),
        authenticated_at=NOW,
        issued_at=NOW,
        expires_at=NOW + timedelta(hours=24),
        devices=(),
    )
    return CachedSession(
        session=session, whoami=WhoamiAnswer(200, (), b"{}", ""), until=session.expires_at, read_at=NOW
    )


SIZE = memory_of(resolved(), most=1_000_000) + 200
"""Bytes of one session, and a few for longer names, and for texts that are encoded meanwhile."""


async def listening(cache: Line, clock: StoppedClock, *, entries: int = 3) -> SessionCache:
    kept = SessionCache(cache, clock=clock, capacity=entries * SIZE)
    await kept.listen()
    return kept


def keep(kept: SessionCache, key: bytes, what: CachedSession) -> None:
    with kept.reading() as reading:
        kept.keep(key, what, reading)


class TestKeeping:
    async def test_drops_what_was_unused_for_longest(self, cache: Line, clock: StoppedClock) -> None:
        kept = await listening(cache, clock)
        for key in (b"a", b"b", b"c"):
            keep(kept, key, resolved())
        kept.get(b"a")
        keep(kept, b"d", resolved())
        assert [kept.get(key) is not None for key in (b"a", b"b", b"c", b"d")] == [True, False, True, True]

    async def test_nothing_is_kept_for_longer_than_a_minute(self, cache: Line, clock: StoppedClock) -> None:
        kept = await listening(cache, clock)
        keep(kept, b"a", resolved())
        clock.advance(seconds=STALE_AFTER.total_seconds() - 1)
        assert kept.get(b"a") is not None
        clock.advance(seconds=1)
        assert kept.get(b"a") is None

    async def test_nothing_is_kept_before_listening_and_after_closing(self, cache: Line, clock: StoppedClock) -> None:
        kept = SessionCache(cache, clock=clock, capacity=3 * SIZE)
        keep(kept, b"a", resolved())
        assert kept.get(b"a") is None
        await kept.listen()
        keep(kept, b"a", resolved())
        assert kept.get(b"a") is not None
        await kept.close()
        keep(kept, b"b", resolved())
        assert [kept.get(key) for key in (b"a", b"b")] == [None, None]

    async def test_needs_a_size_of_at_least_one(self, cache: Line, clock: StoppedClock) -> None:
        with pytest.raises(ValueError, match="at least one"):
            SessionCache(cache, clock=clock, capacity=0)

    async def test_is_bounded_by_the_bytes_of_what_it_keeps(self, cache: Line, clock: StoppedClock) -> None:
        kept = await listening(cache, clock, entries=50)
        for number in range(60):
            keep(kept, bytes([number]), resolved(replace(person(NOW), metadata_admin=["x" * 100] * 100)))
        assert 0 < len(kept) < 50
        assert len(kept) * 100 * 8 < kept.size <= 50 * SIZE

    async def test_keeps_none_that_is_too_large(self, cache: Line, clock: StoppedClock) -> None:
        kept = await listening(cache, clock, entries=2_000)
        keep(kept, b"a", resolved())
        for name in ("traits", "metadata_public", "metadata_admin"):
            keep(kept, b"b", resolved(replace(person(NOW), **{name: {"avatar": "x" * 4_500_000}})))
            assert kept.get(b"b") is None
        assert kept.get(b"a") is not None

    async def test_charges_nothing_for_what_was_dropped(self, cache: Line, clock: StoppedClock) -> None:
        kept = await listening(cache, clock)
        first, second = resolved(), resolved()
        keep(kept, b"a", first)
        keep(kept, b"b", second)
        keep(kept, b"b", second)
        assert kept.size == memory_of(first, most=SIZE * 2) + memory_of(second, most=SIZE * 2)
        await kept.announce([second.session.id])
        assert kept.size == memory_of(first, most=SIZE * 2)
        await kept.close()
        assert (kept.size, len(kept)) == (0, 0)

    async def test_charges_at_least_the_memory_that_is_taken(self, cache: Line, clock: StoppedClock) -> None:
        kept = await listening(cache, clock, entries=2_000)
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for number in range(500):
                traits = msgspec.json.decode(
                    f'{{"email": "ada{number}@example.org", "tags": ["a{number}", {number}.5]}}'
                )
                keep(kept, digest(str(number)), resolved(replace(person(NOW), traits=traits)))
            gc.collect()
            taken = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert len(kept) == 500
        assert taken <= kept.size <= 4 * taken

    async def test_leaves_no_index_behind_for_what_was_dropped(self, cache: Line, clock: StoppedClock) -> None:
        """A bounded cache whose index grows is not bounded."""
        kept = await listening(cache, clock, entries=5)
        identity = person(NOW)
        for number in range(200):
            what = resolved(identity if number % 3 else None)
            keep(kept, bytes([number]), what)
            if number % 7 == 0:
                await kept.announce([what.session.id])
        assert len(kept._entries) <= 5
        assert sum(map(len, kept._known_by.values())) == 2 * len(kept._entries)
        await kept.announce(list(kept._known_by))
        assert (len(kept._entries), len(kept._known_by)) == (0, 0)


class TestAnnouncements:
    @pytest.mark.parametrize("of", ["session", "identity"])
    async def test_announcements_drop_entries_by_either_id_in_every_process(
        self, cache: Line, clock: StoppedClock, of: str
    ) -> None:
        here, there = [await listening(cache, clock) for _ in range(2)]
        changed, other = resolved(), resolved()
        for kept in (here, there):
            keep(kept, b"a", changed)
            keep(kept, b"b", other)
        await here.announce([changed.session.id if of == "session" else changed.session.identity.id])
        assert here.get(b"a") is None
        await asyncio.sleep(0)
        assert there.get(b"a") is None
        assert [kept.get(b"b") for kept in (here, there)] == [other, other]

    async def test_an_announcement_during_a_lookup_keeps_its_result_out(self, cache: Line, clock: StoppedClock) -> None:
        kept = await listening(cache, clock)
        changed, other = resolved(), resolved()
        with kept.reading() as reading:
            await kept.announce([changed.session.id])
            kept.keep(b"a", changed, reading)
            kept.keep(b"b", other, reading)
        assert [kept.get(key) for key in (b"a", b"b")] == [None, other]

    async def test_are_not_undone_by_ones_own_echo(self, cache: Line, clock: StoppedClock) -> None:
        here, there = [await listening(cache, clock) for _ in range(2)]
        what = resolved()
        for kept in (here, there):
            keep(kept, b"a", what)
        with here.reading() as reading:
            await here.announce_and_keep(b"b", what, reading)
        await asyncio.sleep(0)
        assert [here.get(key) for key in (b"a", b"b")] == [None, what]
        assert [there.get(key) for key in (b"a", b"b")] == [None, None]

    async def test_announcements_of_another_process_keep_out_what_this_one_has_built(
        self, cache: Line, clock: StoppedClock
    ) -> None:
        here, there = [await listening(cache, clock) for _ in range(2)]
        what = resolved()
        with here.reading() as reading:
            await there.announce([what.session.identity.id])
            await asyncio.sleep(0)
            await here.announce_and_keep(b"b", what, reading)
        assert here.get(b"b") is None

    @pytest.mark.parametrize("message", [b"", b"nonsense", b"{}", b'{"origin":"x","ids":[]}', b"\xff" * 10])
    async def test_a_malformed_announcement_empties_the_cache(
        self, cache: Line, clock: StoppedClock, message: bytes
    ) -> None:
        kept = await listening(cache, clock)
        keep(kept, b"a", resolved())
        await cache.publish(CHANNEL, message)
        await asyncio.sleep(0)
        assert kept.get(b"a") is None

    async def test_announcements_hold_ids_and_nothing_else(self, cache: Line, clock: StoppedClock) -> None:
        heard: list[bytes] = []
        await cache.subscribe(CHANNEL, on_message=heard.append, on_state=lambda _: None)
        kept = await listening(cache, clock)
        what = resolved()
        keep(kept, digest("shk_st_secret"), what)
        await kept.announce([what.session.id])
        await asyncio.sleep(0)
        assert msgspec.json.decode(heard[0], type=Invalidation).ids == [what.session.id]
        assert set(msgspec.json.decode(heard[0])) == {"origin", "ids"}


class TestALostLine:
    async def test_empties_the_cache_until_it_is_back(self, cache: Line, clock: StoppedClock) -> None:
        kept = await listening(cache, clock)
        keep(kept, b"a", resolved())
        cache.cut()
        keep(kept, b"b", resolved())
        assert [kept.get(key) for key in (b"a", b"b")] == [None, None]
        cache.mend()
        keep(kept, b"a", resolved())
        assert kept.get(b"a") is not None

    async def test_while_reading_keeps_that_reading_out(self, cache: Line, clock: StoppedClock) -> None:
        kept = await listening(cache, clock)
        with kept.reading() as reading:
            cache.cut()
            cache.mend()
            kept.keep(b"a", resolved(), reading)
        assert kept.get(b"a") is None

    async def test_makes_every_request_ask_the_database(
        self, database: Database, cache: Line, clock: StoppedClock, ada: Identity, one: Process
    ) -> None:
        token = (await sign_in(database, one.sessions, ada)).token
        assert await answers(one.sessions, [token] * 3) == [True] * 3
        assert one.reads == 1
        cache.cut()
        assert await answers(one.sessions, [token] * 3) == [True] * 3
        assert one.reads == 4
        cache.mend()
        assert await answers(one.sessions, [token] * 3) == [True] * 3
        assert one.reads == 5

    async def test_does_not_stop_a_revocation(
        self, database: Database, cache: Line, clock: StoppedClock, ada: Identity, one: Process
    ) -> None:
        other = process(database, cache, clock)
        await other.sessions.listen()
        started = await sign_in(database, one.sessions, ada)
        assert await answers(other.sessions, [started.token]) == [True]
        cache.cut()
        assert await change(database, one.sessions.revoke, started.session.id, by="admin")
        for each in (one, other):
            assert await answers(each.sessions, [started.token]) == [False]


class TestALostAnnouncement:
    """The command of this process times out while all connections stand, so no other process knows that it misses
    something."""

    async def test_keeps_a_revoked_session_alive_nowhere(
        self, database: Database, cache: Line, clock: StoppedClock, ada: Identity, one: Process
    ) -> None:
        other = process(database, cache, clock)
        await other.sessions.listen()
        started = await sign_in(database, one.sessions, ada)
        assert await answers(other.sessions, [started.token]) == [True]
        cache.up = False
        await change(database, one.sessions.revoke, started.session.id, by="admin")
        assert await answers(one.sessions, [started.token]) == [False]
        cache.up = True
        assert await eventually(lambda: _is_refused(other, started.token))

    async def test_is_made_up_for_when_the_process_ends(self, cache: Line, clock: StoppedClock) -> None:
        here, there = [await listening(cache, clock) for _ in range(2)]
        what = resolved()
        keep(there, b"a", what)
        cache.up = False
        await here.announce([what.session.id])
        cache.up = True
        await here.close()
        await asyncio.sleep(0)
        assert there.get(b"a") is None

    async def test_is_dropped_once_no_process_can_cache_what_it_is_about(
        self, cache: Line, clock: StoppedClock
    ) -> None:
        heard: list[bytes] = []
        await cache.subscribe(CHANNEL, on_message=heard.append, on_state=lambda _: None)
        announcer = InvalidationPublisher(cache, clock=clock, origin=new_id(), worth_telling=STALE_AFTER, pauses=[0])
        cache.up = False
        await announcer.tell([new_id()])
        clock.advance(seconds=STALE_AFTER.total_seconds())
        await _caught_up(announcer)
        cache.up = True
        await announcer.close()
        await asyncio.sleep(0)
        assert heard == []

    async def test_among_very_many_empties_the_cache(self, cache: Line, clock: StoppedClock) -> None:
        kept = await listening(cache, clock)
        announcer = InvalidationPublisher(cache, clock=clock, origin=new_id(), worth_telling=STALE_AFTER, most_unsaid=2)
        keep(kept, b"a", resolved())
        cache.up = False
        for _ in range(3):
            await announcer.tell([new_id()])
        assert list(announcer._unsaid) == [EVERYTHING]
        cache.up = True
        await announcer.close()
        await asyncio.sleep(0)
        assert kept.get(b"a") is None


async def _is_refused(process: Process, token: str) -> bool:
    return await answers(process.sessions, [token]) == [False]


async def _caught_up(announcer: InvalidationPublisher) -> None:
    assert announcer._catching_up is not None
    await asyncio.wait_for(announcer._catching_up, timeout=10)


async def eventually(true: Callable[[], Awaitable[bool]]) -> bool:
    """Whether it becomes true within ten seconds; usually it takes far less."""
    for _ in range(1000):
        if await true():
            return True
        await asyncio.sleep(0.01)
    return False


@pytest.mark.parametrize("by", ["session", "identity"])
async def test_a_change_during_a_lookup_is_not_overlooked_by_the_next(
    database: Database, clock: StoppedClock, ada: Identity, one: Process, by: str
) -> None:
    started = await sign_in(database, one.sessions, ada)
    one.lookups.may_answer.clear()
    lookup = asyncio.create_task(one.sessions.resolve(started.token))
    await one.lookups.has_read.wait()
    if by == "session":
        await change(database, one.sessions.revoke, started.session.id, by="admin")
    else:
        await change(database, one.sessions.revoke_all, ada.id, by="admin")
    one.lookups.may_answer.set()
    await lookup
    assert await one.sessions.resolve(started.token) is None


async def test_a_hundred_lookups_read_once_when_warm(database: Database, ada: Identity, one: Process) -> None:
    token = (await sign_in(database, one.sessions, ada)).token
    assert await answers(one.sessions, [token]) == [True]
    assert await answers(one.sessions, [token] * 100) == [True] * 100
    assert one.reads == 1


async def test_unknown_tokens_are_not_cached(database: Database, one: Process) -> None:
    tokens = ["shk_st_" + UUID(int=number).hex for number in range(20)]
    for reads in (20, 40):
        assert not any(await answers(one.sessions, tokens))
        assert one.reads == reads
