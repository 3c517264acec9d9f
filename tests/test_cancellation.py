"""Background tasks end, whatever they do with a cancellation."""

import asyncio

import pytest

from shopkeeper import cancellation
from shopkeeper.cancellation import end_tasks


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancellation, "AGAIN_AFTER", 0.01)


async def waits(lost: int) -> None:
    """Lose a number of cancellations, as a library may whose own timeout comes at the same moment."""
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            if not lost:
                raise
            lost -= 1


async def fails_when_cancelled() -> None:
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        raise RuntimeError("not able to end well") from None


@pytest.mark.parametrize("lost", [0, 1, 3])
async def test_a_task_that_loses_a_cancellation_ends_too(lost: int) -> None:
    tasks = [asyncio.create_task(waits(lost)), asyncio.create_task(waits(0))]
    await asyncio.sleep(0)
    await asyncio.wait_for(end_tasks(tasks), 10)
    assert [task.cancelled() for task in tasks] == [True, True]


async def test_a_task_that_fails_does_not_fail_the_one_that_ends_it() -> None:
    task = asyncio.create_task(fails_when_cancelled())
    await asyncio.sleep(0)
    await asyncio.wait_for(end_tasks([task]), 10)
    assert isinstance(task.exception(), RuntimeError)


async def test_tasks_that_have_ended_and_none_at_all_are_no_wait() -> None:
    task = asyncio.create_task(asyncio.sleep(0))
    await task
    await end_tasks([task])
    await end_tasks([])
    assert not task.cancelled()
