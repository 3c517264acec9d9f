"""Ends background tasks for certain."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

AGAIN_AFTER: Final = 0.5
"""Seconds until a task that still runs is cancelled again."""


async def end_tasks(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel the tasks and wait until they have ended, however they end. Their exceptions are not raised.

    A task is cancelled again while it runs: a library that waits with a timeout of its own may lose a cancellation
    that comes at the moment the timeout does, and the task would run on for ever.
    """
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=AGAIN_AFTER)
