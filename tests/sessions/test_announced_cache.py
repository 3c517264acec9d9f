"""A cache whose values are dropped when a change is announced, and that keeps nothing from before one."""

from datetime import timedelta
from uuid import UUID

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.crypto import new_id
from shopkeeper.sessions.announced_cache import AnnouncedCache

ONE, OTHER = new_id(), new_id()
MOST = 3


@pytest.fixture
def cache(clock: StoppedClock) -> AnnouncedCache[str, UUID]:
    cache = AnnouncedCache[str, UUID](lambda _, value: (value,), clock=clock, most=MOST)
    cache.set_hearing(True)
    return cache


def keep(cache: AnnouncedCache[str, UUID], clock: StoppedClock, key: str, value: UUID, *announced: UUID) -> None:
    with cache.reading() as reading:
        cache.changed(announced)
    cache.keep(key, value, reading, until=clock.now() + timedelta(seconds=60))


def test_a_value_is_kept_until_its_time(cache: AnnouncedCache[str, UUID], clock: StoppedClock) -> None:
    keep(cache, clock, "a", ONE)
    clock.advance(seconds=59)
    assert cache.get("a") == ONE
    clock.advance(seconds=1)
    assert cache.get("a") is None


def test_what_was_announced_is_dropped(cache: AnnouncedCache[str, UUID], clock: StoppedClock) -> None:
    for key, value in (("a", ONE), ("b", ONE), ("c", OTHER)):
        keep(cache, clock, key, value)
    cache.changed([ONE])
    assert [cache.get(key) for key in "abc"] == [None, None, OTHER]


def test_nothing_from_before_an_announcement_is_kept(cache: AnnouncedCache[str, UUID], clock: StoppedClock) -> None:
    keep(cache, clock, "a", ONE, ONE)
    keep(cache, clock, "b", ONE, OTHER)
    assert [cache.get(key) for key in "ab"] == [None, ONE]
    with cache.reading() as reading:
        cache.all_changed()
    cache.keep("c", OTHER, reading, until=clock.now() + timedelta(seconds=60))
    assert len(cache) == 0


def test_a_process_that_hears_nothing_keeps_nothing(cache: AnnouncedCache[str, UUID], clock: StoppedClock) -> None:
    keep(cache, clock, "a", ONE)
    cache.set_hearing(False)
    keep(cache, clock, "b", ONE)
    assert len(cache) == 0
    cache.set_hearing(True)
    keep(cache, clock, "b", ONE)
    assert cache.get("b") == ONE


def test_the_least_recently_used_goes_first(cache: AnnouncedCache[str, UUID], clock: StoppedClock) -> None:
    for key in "abc":
        keep(cache, clock, key, ONE)
    assert cache.get("a") == ONE
    keep(cache, clock, "d", OTHER)
    assert [cache.get(key) is not None for key in "abcd"] == [True, False, True, True]
    keep(cache, clock, "d", ONE)
    cache.changed([OTHER])
    assert cache.get("d") == ONE


def test_another_form_of_a_value_goes_with_it(cache: AnnouncedCache[str, UUID], clock: StoppedClock) -> None:
    keep(cache, clock, "a", ONE)
    cache.exchange("a", UUID(int=ONE.int))
    cache.exchange("b", ONE)
    assert (cache.get("a"), len(cache)) == (ONE, 1)
    cache.changed([ONE])
    assert len(cache) == 0
