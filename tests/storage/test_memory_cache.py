from datetime import timedelta

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.storage.cache.memory import SLACK, MemoryCache

MINUTE = timedelta(minutes=1)


async def test_a_value_ends_with_its_time_to_the_moment(clock: StoppedClock) -> None:
    cache = MemoryCache(clock)
    await cache.set("key", b"value", ttl=MINUTE)
    clock.advance(seconds=59.999)
    assert await cache.get("key") == b"value"
    clock.advance(seconds=0.001)
    assert await cache.get("key") is None
    assert await cache.time_left("key") is None
    assert await cache.add("key", b"again", ttl=MINUTE)


async def test_a_counter_begins_anew_after_its_time(clock: StoppedClock) -> None:
    cache = MemoryCache(clock)
    assert await cache.increment("count", ttl=MINUTE) == 1
    clock.advance(seconds=30)
    assert await cache.increment("count", ttl=MINUTE) == 2
    clock.advance(seconds=30)
    assert await cache.increment("count", ttl=MINUTE) == 1


async def test_a_full_cache_drops_what_has_ended_and_then_what_ends_first(clock: StoppedClock) -> None:
    cache = MemoryCache(clock, max_entries=3)
    for key, minutes in (("ended", 1), ("late", 30), ("soon", 5)):
        await cache.set(key, b"", ttl=minutes * MINUTE)
    clock.advance(minutes=2)
    await cache.set("new", b"", ttl=20 * MINUTE)
    assert await cache.get("soon") == b""
    await cache.set("newer", b"", ttl=20 * MINUTE)
    assert await cache.get("soon") is None
    assert await cache.get("late") == await cache.get("new") == await cache.get("newer") == b""


async def test_no_kind_of_key_evicts_another(clock: StoppedClock) -> None:
    """Counters of sign-ins live for minutes, others for hours: what expires first is evicted first."""
    cache = MemoryCache(clock, max_entries=3)
    await cache.set("login.pair:ada", b"blocked", ttl=MINUTE)
    for number in range(10):
        for kind in ("login.ip", "login", "code_pair.ip", "registrant"):
            await cache.increment(f"{kind}:{number}", ttl=120 * MINUTE)
    assert await cache.get("login.pair:ada") == b"blocked"
    kept = [await cache.get(f"registrant:{number}") for number in range(10)]
    assert sum(value is not None for value in kept) == 3


async def test_replacing_a_value_in_a_full_cache_costs_no_other(clock: StoppedClock) -> None:
    cache = MemoryCache(clock, max_entries=2)
    await cache.set("one", b"1", ttl=MINUTE)
    await cache.set("two", b"2", ttl=MINUTE)
    await cache.set("two", b"2!", ttl=MINUTE)
    assert (await cache.get("one"), await cache.get("two")) == (b"1", b"2!")


async def test_setting_one_key_for_ever_does_not_grow(clock: StoppedClock) -> None:
    cache = MemoryCache(clock)
    for _ in range(5 * SLACK):
        await cache.set("key", b"value", ttl=MINUTE)
    assert len(cache._kinds[""].endings) <= SLACK + 3


def test_a_cache_without_capacity_is_refused(clock: StoppedClock) -> None:
    with pytest.raises(ValueError, match="at least one"):
        MemoryCache(clock, max_entries=0)
