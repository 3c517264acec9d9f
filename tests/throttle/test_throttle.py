"""The throttle against guessing, with counters in process and in Valkey."""

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from shopkeeper.clock import StoppedClock
from shopkeeper.errors import TooManyRequests
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.cache.port import Cache, CacheDown
from shopkeeper.storage.cache.redis import RedisCache
from shopkeeper.throttle import ASK_AGAIN_AFTER, Throttle
from tests.conftest import NOW
from tests.services.server import Server
from tests.services.valkey import start_valkey

ADA, GRACE = "ada@example.org", "grace@example.org"
HOME, CAFE = "192.0.2.7", "198.51.100.9"
KEY = bytes(range(32))


def throttle(counters: Cache, clock: StoppedClock, **other: Any) -> Throttle:
    options: Mapping[str, Any] = {
        "name": "login",
        "failures": 3,
        "block": timedelta(minutes=1),
        "block_max": timedelta(minutes=10),
        "per_ip": "1000/minute",
        "key": KEY,
        **other,
    }
    return Throttle(counters, spare=MemoryCache(clock), down=CacheDown, clock=clock, **options)


@pytest.fixture
def brake(cache: Cache, clock: StoppedClock) -> Throttle:
    return throttle(cache, clock)


async def fail(brake: Throttle, times: int = 1, *, subject: str = ADA, ip: str = HOME) -> None:
    for _ in range(times):
        await brake.failed(await brake.check(subject, ip=ip))


async def succeed(brake: Throttle, *, subject: str = ADA, ip: str = HOME) -> None:
    await brake.succeeded(await brake.check(subject, ip=ip))


async def wait_asked(brake: Throttle, *, subject: str = ADA, ip: str = HOME) -> int:
    with pytest.raises(TooManyRequests) as refused:
        await brake.check(subject, ip=ip)
    return refused.value.retry_after


class TestPairs:
    async def test_so_many_failures_in_a_row_and_no_more(self, brake: Throttle) -> None:
        await fail(brake, 3)
        assert await wait_asked(brake) == 60

    async def test_the_block_ends_with_its_time(self, brake: Throttle, clock: StoppedClock) -> None:
        await fail(brake, 3)
        clock.advance(seconds=59.5)
        assert await wait_asked(brake) == 1
        clock.advance(seconds=0.5)
        await succeed(brake)

    async def test_asking_while_blocked_makes_the_block_no_longer(self, brake: Throttle, clock: StoppedClock) -> None:
        await fail(brake, 3)
        for _ in range(10):
            await wait_asked(brake)
        clock.advance(seconds=60)
        await succeed(brake)

    async def test_each_block_is_twice_as_long_up_to_the_longest(self, brake: Throttle, clock: StoppedClock) -> None:
        waits = []
        for _ in range(6):
            await fail(brake, 3)
            waits.append(await wait_asked(brake))
            clock.advance(seconds=waits[-1])
        assert waits == [60, 120, 240, 480, 600, 600]

    async def test_a_good_attempt_clears_the_pair(self, brake: Throttle, clock: StoppedClock) -> None:
        await fail(brake, 3)
        clock.advance(minutes=1)
        await fail(brake, 2)
        await succeed(brake)
        for wait in (60, 120):
            await fail(brake, 3)
            assert await wait_asked(brake) == wait
            clock.advance(seconds=wait)

    async def test_other_subjects_and_other_addresses_are_other_pairs(self, brake: Throttle) -> None:
        await fail(brake, 3)
        await succeed(brake, subject=GRACE)
        await succeed(brake, ip=CAFE)
        assert await wait_asked(brake) == 60

    async def test_other_throttles_count_for_themselves(self, cache: Cache, clock: StoppedClock) -> None:
        await fail(throttle(cache, clock, name="login"), 3)
        await succeed(throttle(cache, clock, name="registration"))

    async def test_failures_are_forgotten_in_the_end(self, brake: Throttle, clock: StoppedClock) -> None:
        await fail(brake, 2)
        clock.advance(minutes=20)
        await fail(brake, 2)
        await succeed(brake)

    async def test_failures_are_remembered_for_the_longest_block(self, brake: Throttle, clock: StoppedClock) -> None:
        await fail(brake, 2)
        clock.advance(minutes=10)
        await fail(brake)
        assert await wait_asked(brake) == 60


class TestAccounts:
    """Several names of one account: each is blocked by itself, and the account's own limit does not show."""

    async def attempt(self, brake: Throttle, name: str, *, account: str, right: bool = False) -> bool:
        """Make an attempt; return whether it was let in."""
        slot = await brake.check(name, ip=HOME, account=account)
        if right and not slot.exhausted:
            await brake.succeeded(slot)
            return True
        await brake.failed(slot)
        return False

    async def test_a_block_of_one_name_is_none_of_another(self, brake: Throttle) -> None:
        for _ in range(3):
            await self.attempt(brake, "mail", account=ADA)
        with pytest.raises(TooManyRequests):
            await self.attempt(brake, "mail", account=ADA)
        assert await self.attempt(brake, "phone", account=ADA, right=True)
        with pytest.raises(TooManyRequests):
            await self.attempt(brake, "mail", account=ADA)

    async def test_twice_as_many_failures_over_all_names_refuse_in_silence_for_a_block(
        self, brake: Throttle, clock: StoppedClock
    ) -> None:
        for name in ("mail", "phone"):
            for _ in range(3):
                await self.attempt(brake, name, account=ADA)
        assert not await self.attempt(brake, "number", account=ADA, right=True)
        clock.advance(minutes=1)
        assert await self.attempt(brake, "number", account=ADA, right=True)

    async def test_attempts_that_were_not_judged_do_not_make_the_block_longer(
        self, brake: Throttle, clock: StoppedClock
    ) -> None:
        for number in range(26):
            await self.attempt(brake, f"name {number}", account=ADA)
        clock.advance(minutes=1)
        assert await self.attempt(brake, "mail", account=ADA, right=True)

    async def test_what_was_given_back_was_no_guess(self, brake: Throttle) -> None:
        for number in range(20):
            await brake.release(await brake.check(f"name {number}", ip=HOME, account=ADA))
        assert await self.attempt(brake, "mail", account=ADA, right=True)

    async def test_the_cache_is_asked_the_same_for_an_account_without_attempts_left(self, clock: StoppedClock) -> None:
        """Otherwise the time of an answer would tell which names belong to one account."""
        cache = MemoryCache(clock)
        brake = throttle(cache, clock)
        for number in range(7):
            await self.attempt(brake, f"name {number}", account=ADA)
        asked: dict[str, list[str]] = {}
        for account in (ADA, "nobody"):
            with recording(cache) as calls:
                await self.attempt(brake, f"another of {account}", account=account)
            asked[account] = calls
        assert asked[ADA] == asked["nobody"]


@contextmanager
def recording(cache: MemoryCache) -> Iterator[list[str]]:
    """Yield the names of the calls that a cache gets, which it answers as ever."""
    calls: list[str] = []

    def recorded(name: str) -> Any:
        real = getattr(cache, name)

        async def call(*arguments: Any, **named: Any) -> Any:
            calls.append(name)
            return await real(*arguments, **named)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("get", "set", "increment", "delete"):
            patch.setattr(cache, name, recorded(name))
        yield calls


class TestParallelGuesses:
    async def test_of_a_hundred_at_once_only_as_many_as_failures_are_allowed_reach_the_hash(
        self, brake: Throttle
    ) -> None:
        hashed = []

        async def guess(number: int) -> None:
            slot = await brake.check(ADA, ip=HOME)
            hashed.append(number)
            await asyncio.sleep(0.01)
            await brake.failed(slot)

        outcomes = await asyncio.gather(*map(guess, range(100)), return_exceptions=True)
        assert len(hashed) == 3
        assert [type(outcome) for outcome in outcomes if outcome].count(TooManyRequests) == 97
        assert await wait_asked(brake) == 60

    async def test_a_refusal_because_of_others_under_way_allows_a_retry_soon(self, brake: Throttle) -> None:
        attempts = [await brake.check(ADA, ip=HOME) for _ in range(3)]
        assert await wait_asked(brake) == 1
        await brake.succeeded(attempts[0])
        await succeed(brake)

    async def test_an_attempt_without_a_verdict_is_taken_back(self, brake: Throttle) -> None:
        attempts = [await brake.check(ADA, ip=HOME) for _ in range(3)]
        await wait_asked(brake)
        await brake.release(attempts[0])
        await fail(brake)
        assert await wait_asked(brake) == 1

    async def test_taking_back_after_a_good_attempt_gives_no_extra_guess(self, brake: Throttle) -> None:
        attempt = await brake.check(ADA, ip=HOME)
        await succeed(brake)
        await brake.release(attempt)
        await fail(brake, 3)
        assert await wait_asked(brake) == 60

    async def test_of_many_addresses_attempts_at_once_only_its_budget_is_let_through(
        self, cache: Cache, clock: StoppedClock
    ) -> None:
        brake = throttle(cache, clock, per_ip="20/minute")
        outcomes = await asyncio.gather(
            *(brake.check(f"user{number}", ip=HOME) for number in range(100)), return_exceptions=True
        )
        assert [isinstance(outcome, TooManyRequests) for outcome in outcomes].count(False) == 20


class TestAddresses:
    @pytest.fixture
    def brake(self, cache: Cache, clock: StoppedClock) -> Throttle:
        return throttle(cache, clock, per_ip="4/minute", failures=100)

    async def spend(self, brake: Throttle, ip: str = HOME, times: int = 4) -> None:
        for number in range(times):
            await brake.check(f"user{number}", ip=ip)

    async def test_an_address_has_one_budget_for_all_subjects(self, brake: Throttle) -> None:
        await self.spend(brake)
        assert await wait_asked(brake) > 0
        await brake.check(ADA, ip=CAFE)

    async def test_good_attempts_give_nothing_back(self, brake: Throttle) -> None:
        """allauth 65.8.1: a good login cleared the failures of the whole address."""
        for _ in range(4):
            await succeed(brake)
        await wait_asked(brake, subject=GRACE)

    async def test_the_window_slides_so_no_budget_is_spent_twice_around_its_edge(
        self, brake: Throttle, clock: StoppedClock
    ) -> None:
        clock.advance(seconds=60 - clock.now().timestamp() % 60 - 1)
        await self.spend(brake)
        clock.advance(seconds=2)
        await wait_asked(brake)

    @pytest.mark.parametrize("spent_at", [0, 10, 30, 59])
    async def test_a_client_that_waits_as_long_as_asked_may_try_again_and_not_much_sooner(
        self, brake: Throttle, clock: StoppedClock, spent_at: int
    ) -> None:
        clock.advance(seconds=60 - clock.now().timestamp() % 60 + spent_at)
        await self.spend(brake)
        wait = await wait_asked(brake)
        clock.advance(seconds=wait - 2)
        await wait_asked(brake)
        clock.advance(seconds=2)
        await brake.check(ADA, ip=HOME)

    async def test_after_two_periods_the_whole_budget_is_there_again(
        self, brake: Throttle, clock: StoppedClock
    ) -> None:
        await self.spend(brake)
        clock.advance(minutes=2)
        await self.spend(brake)

    async def test_refused_attempts_cost_nothing(self, brake: Throttle, clock: StoppedClock) -> None:
        await self.spend(brake)
        for _ in range(20):
            await wait_asked(brake)
        clock.advance(minutes=2)
        await self.spend(brake)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"),
            ("2001:db8:1:2::1", "2001:DB8:1:2:0:0:0:1"),
            ("::ffff:192.0.2.7", "192.0.2.7"),  # one visitor, through a socket for both kinds
        ],
    )
    async def test_addresses_of_one_client_share_a_budget(self, brake: Throttle, one: str, other: str) -> None:
        await self.spend(brake, ip=one)
        await wait_asked(brake, ip=other)

    @pytest.mark.parametrize(
        ("one", "other"),
        [("2001:db8:1:2::1", "2001:db8:1:3::1"), ("192.0.2.7", "192.0.2.8"), ("unix:", "192.0.2.8")],
    )
    async def test_addresses_of_two_clients_do_not_share_a_budget(self, brake: Throttle, one: str, other: str) -> None:
        await self.spend(brake, ip=one)
        await brake.check(ADA, ip=other)

    async def test_a_pair_is_blocked_for_the_whole_network(self, cache: Cache, clock: StoppedClock) -> None:
        brake = throttle(cache, clock)
        await fail(brake, 3, ip="2001:db8:1:2::1")
        assert await wait_asked(brake, ip="2001:db8:1:2::2") == 60


class TestSecrecy:
    async def test_neither_subject_nor_address_can_be_read_in_the_counters(self, clock: StoppedClock) -> None:
        cache = MemoryCache(clock)
        await fail(throttle(cache, clock), 3)
        kept = repr([kind.entries for kind in cache._kinds.values()])
        assert "login" in kept
        assert ADA not in kept
        assert HOME not in kept

    async def test_counters_of_two_pairs_never_have_one_key(self, cache: Cache, clock: StoppedClock) -> None:
        brake = throttle(cache, clock)
        await fail(brake, 3, subject="a\x001", ip="b")
        await succeed(brake, subject="a", ip="1\x00b")


class TestWhenTheCacheIsDown:
    @pytest.fixture
    def mortal(self) -> Iterator[Server]:
        server = start_valkey(owner=os.getpid())
        yield server
        server.stop()

    async def test_each_worker_counts_for_itself_and_says_so_once(self, mortal: Server, clock: StoppedClock) -> None:
        cache = RedisCache(mortal.url, connect_within=20, answer_within=20)
        brake = throttle(cache, clock)
        await brake.check(ADA, ip=HOME)
        assert not brake.degraded
        await asyncio.to_thread(mortal.kill)
        with capture_logs() as logs:
            await fail(brake, 3)
            assert await wait_asked(brake) == 60
            clock.advance(seconds=ASK_AGAIN_AFTER.total_seconds())
            await wait_asked(brake)
        assert brake.degraded
        assert [entry["event"] for entry in logs] == ["throttle.degraded"]
        assert HOME not in str(logs)
        await cache.close()

    async def test_the_workers_count_together_again_when_the_cache_is_back(
        self, mortal: Server, clock: StoppedClock
    ) -> None:
        cache = RedisCache(mortal.url, connect_within=20, answer_within=20)
        brake = throttle(cache, clock)
        await asyncio.to_thread(mortal.kill)
        await fail(brake)
        port = int(mortal.url.rpartition(":")[2].removesuffix("/0"))
        again = await asyncio.to_thread(lambda: start_valkey(owner=os.getpid(), port=port))
        await fail(brake)
        assert brake.degraded
        clock.advance(seconds=ASK_AGAIN_AFTER.total_seconds())
        with capture_logs() as logs:
            await fail(brake)
        assert not brake.degraded
        assert [entry["event"] for entry in logs] == ["throttle.recovered"]
        await cache.close()
        await asyncio.to_thread(again.stop)


class Faltering(MemoryCache):
    """A cache that can be unreachable, and keeps what it has meanwhile."""

    unreachable = False
    calls_left: int | None = None
    """How many calls are answered before it is unreachable; None for any number."""

    async def get(self, key: str) -> bytes | None:
        self._refuse()
        return await super().get(key)

    async def set(self, key: str, value: bytes, *, ttl: timedelta) -> None:
        self._refuse()
        await super().set(key, value, ttl=ttl)

    async def increment(self, key: str, *, ttl: timedelta, by: int = 1) -> int:
        self._refuse()
        return await super().increment(key, ttl=ttl, by=by)

    async def delete(self, *keys: str) -> None:
        self._refuse()
        await super().delete(*keys)

    def _refuse(self) -> None:
        if self.calls_left is not None:
            self.calls_left, self.unreachable = max(0, self.calls_left - 1), self.calls_left == 0
        if self.unreachable:
            raise CacheDown


class TestWhenTheCacheFaltersDuringAnAttempt:
    """Regression: the outcome was recorded where attempts were counted by then. So those in the cache stayed under way,
    and later ones were refused, until they were forgotten."""

    @pytest.fixture
    def shared(self, clock: StoppedClock) -> Faltering:
        return Faltering(clock)

    @staticmethod
    def back(shared: Faltering, clock: StoppedClock) -> None:
        shared.unreachable, shared.calls_left = False, None
        clock.advance(seconds=ASK_AGAIN_AFTER.total_seconds())

    @pytest.mark.parametrize("outcome", ["succeeded", "release"])
    async def test_no_attempt_stays_under_way(self, shared: Faltering, clock: StoppedClock, outcome: str) -> None:
        brake, of_another_process = throttle(shared, clock), throttle(shared, clock)
        for _ in range(5):
            slot = await brake.check(ADA, ip=HOME, account=ADA)
            shared.unreachable = True
            await getattr(brake, outcome)(slot)
            self.back(shared, clock)
        await brake.check(GRACE, ip=CAFE)
        await fail(of_another_process, 3)
        assert await wait_asked(of_another_process) == 60

    async def test_a_wrong_guess_is_a_failure_for_all_processes(self, shared: Faltering, clock: StoppedClock) -> None:
        brake = throttle(shared, clock)
        for _ in range(3):
            slot = await brake.check(ADA, ip=HOME, account=ADA)
            shared.unreachable = True
            await brake.failed(slot)
            self.back(shared, clock)
        await brake.check(GRACE, ip=CAFE)
        assert await wait_asked(throttle(shared, clock)) == 60

    async def test_an_attempt_counted_in_process_ends_there(self, shared: Faltering, clock: StoppedClock) -> None:
        brake = throttle(shared, clock)
        shared.unreachable = True
        attempts = [await brake.check(ADA, ip=HOME) for _ in range(3)]
        self.back(shared, clock)
        for slot in attempts:
            await brake.failed(slot)
        await brake.check(ADA, ip=HOME)
        shared.unreachable = True
        assert await wait_asked(brake) == 60

    @pytest.mark.parametrize("calls", range(9))
    async def test_a_check_that_was_moved_in_the_middle_is_not_under_way_in_the_cache(
        self, shared: Faltering, clock: StoppedClock, calls: int
    ) -> None:
        brake = throttle(shared, clock)
        for _ in range(5):
            shared.calls_left = calls
            await brake.release(await brake.check(ADA, ip=HOME, account=ADA))
            self.back(shared, clock)
        await brake.check(GRACE, ip=CAFE)
        await fail(throttle(shared, clock), 3)

    async def test_what_the_cache_is_owed_waits_until_it_takes_it(self, shared: Faltering, clock: StoppedClock) -> None:
        brake = throttle(shared, clock)
        attempts = [await brake.check(ADA, ip=HOME) for _ in range(3)]
        shared.unreachable = True
        for slot in attempts:
            await brake.release(slot)
        clock.advance(seconds=ASK_AGAIN_AFTER.total_seconds())
        await brake.check(ADA, ip=HOME)
        assert brake.degraded
        self.back(shared, clock)
        await fail(brake, 3)
        assert await wait_asked(throttle(shared, clock)) == 60


class TestConfiguration:
    @pytest.mark.parametrize(
        "nonsense",
        [
            {"failures": 0},
            {"block": timedelta(0)},
            {"block": timedelta(hours=2), "block_max": timedelta(hours=1)},
            {"per_ip": "many"},
            {"key": b"short"},
        ],
        ids=str,
    )
    def test_invalid_settings_are_refused(self, nonsense: dict[str, Any], clock: StoppedClock) -> None:
        with pytest.raises(ValueError, match=r"throttle login|parse"):
            throttle(MemoryCache(clock), clock, **nonsense)


# What may happen, in any order: an attempt begins, an attempt that is under way ends, time passes.
HAPPENINGS = st.lists(
    st.one_of(
        st.just(("begin", 0.0)),
        st.tuples(st.just("fail"), st.integers(0, 9)),
        st.tuples(st.just("release"), st.integers(0, 9)),
        st.tuples(st.just("pass"), st.sampled_from([0.5, 20.0, 59.9, 60.0, 150.0, 600.0, 1300.0])),
    ),
    max_size=80,
)


@given(happenings=HAPPENINGS, failures=st.integers(1, 4))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_in_any_order_of_things_no_block_time_sees_more_guesses_than_failures_are_allowed(
    happenings: list[tuple[str, float]], failures: int
) -> None:
    """Guesses that reached the hash and were wrong: in any stretch as long as the block, never more than allowed."""
    asyncio.run(_guesses_stay_bounded(happenings, failures))


async def _guesses_stay_bounded(happenings: list[tuple[str, float]], failures: int) -> None:
    clock = StoppedClock(NOW)
    brake = throttle(MemoryCache(clock), clock, failures=failures, per_ip="100000/second")
    under_way, guesses = [], []
    for happening, value in happenings:
        if happening == "pass":
            clock.advance(seconds=value)
        elif happening == "begin":
            with suppress(TooManyRequests):
                under_way.append((await brake.check(ADA, ip=HOME), clock.now()))
        elif under_way:
            attempt, began = under_way.pop(int(value) % len(under_way))
            if happening == "release":
                await brake.release(attempt)
            else:
                guesses.append(began)
                await brake.failed(attempt)
    guesses.sort()
    for first, beyond in zip(guesses, guesses[failures:], strict=False):
        assert beyond - first >= timedelta(minutes=1)
