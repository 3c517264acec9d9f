"""A value that is read again: by one caller at a time, and a failure is no value."""

import asyncio
from datetime import timedelta

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.errors import Busy
from shopkeeper.renewal import Renewed

FRESH, USABLE = timedelta(seconds=30), timedelta(hours=1)


class Source:
    """Counts its readings, and fails where it is told to."""

    def __init__(self) -> None:
        self.readings = 0
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def read(self) -> int:
        self.readings += 1
        number = self.readings
        await self.gate.wait()
        await asyncio.sleep(0)
        if self.away:
            raise Busy(retry_after=1)
        return number


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture(params=[False, True])
def renewed(source: Source, clock: StoppedClock, request: pytest.FixtureRequest) -> Renewed[int]:
    return Renewed(
        source.read,
        clock=clock,
        fresh=FRESH,
        usable=USABLE,
        failures=Busy,
        stale_meanwhile=request.param,
    )


async def test_callers_share_a_reading(source: Source, renewed: Renewed[int]) -> None:
    assert await asyncio.gather(*(renewed.get() for _ in range(5))) == [1] * 5


async def test_a_value_read_again_is_newer_than_the_call(source: Source, renewed: Renewed[int]) -> None:
    source.gate.clear()
    first = asyncio.create_task(renewed.get())
    await asyncio.sleep(0)
    later = [asyncio.create_task(renewed.renew()) for _ in range(4)]
    await asyncio.sleep(0)
    source.gate.set()
    assert await first == 1
    assert await asyncio.gather(*later) == [2] * 4


async def test_with_a_floor_a_reading_that_runs_is_new_enough(source: Source, renewed: Renewed[int]) -> None:
    source.gate.clear()
    calls = [asyncio.create_task(renewed.renew(floor=timedelta(seconds=10))) for _ in range(4)]
    await asyncio.sleep(0)
    source.gate.set()
    assert await asyncio.gather(*calls) == [1] * 4
    assert await renewed.renew(floor=timedelta(seconds=10)) == 1
    assert await renewed.renew() == 2


async def test_what_failed_is_answered_by_no_older_value(source: Source, renewed: Renewed[int]) -> None:
    assert await renewed.get() == 1
    source.away = True
    found = await asyncio.gather(*(renewed.renew() for _ in range(5)), return_exceptions=True)
    assert [type(each) for each in found] == [Busy] * 5
    assert len({id(each) for each in found}) == 5
    for again in (renewed.renew(floor=timedelta(seconds=10)), asyncio.to_thread(renewed.last)):
        with pytest.raises(Busy):
            await again


async def test_an_older_value_serves_until_it_is_too_old(
    source: Source, renewed: Renewed[int], clock: StoppedClock
) -> None:
    assert await renewed.get() == 1
    source.away = True
    clock.advance(seconds=USABLE.total_seconds() - 1)
    assert await asyncio.gather(*(renewed.get() for _ in range(5))) == [1] * 5
    clock.advance(seconds=1)
    found = await asyncio.gather(*(renewed.get() for _ in range(5)), return_exceptions=True)
    assert [type(each) for each in found] == [Busy] * 5
    source.away = False
    assert await renewed.get() > 1


async def test_a_reader_that_goes_away_leaves_the_reading_to_the_next(source: Source, renewed: Renewed[int]) -> None:
    assert await renewed.get() == 1
    source.gate.clear()
    calls = [asyncio.create_task(renewed.renew()) for _ in range(3)]
    await asyncio.sleep(0)
    calls[0].cancel()
    await asyncio.sleep(0)
    source.gate.set()
    assert await asyncio.gather(*calls[1:]) == [3, 3]


async def test_who_must_not_have_an_older_value_waits(source: Source, clock: StoppedClock) -> None:
    for stale_meanwhile, expected in ((True, [2, 1]), (False, [2, 2])):
        source.readings = 0
        renewed = Renewed(
            source.read,
            clock=clock,
            fresh=FRESH,
            usable=USABLE,
            failures=Busy,
            stale_meanwhile=stale_meanwhile,
        )
        await renewed.get()
        clock.advance(seconds=FRESH.total_seconds())
        assert await asyncio.gather(renewed.get(), renewed.get()) == expected
