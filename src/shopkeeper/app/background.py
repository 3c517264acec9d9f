"""Background tasks, and whether all of them still run."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from shopkeeper.cancellation import end_tasks
from shopkeeper.transaction_guard import outside_transactions

log = structlog.get_logger("shopkeeper.app")


class Background:
    """Tasks that run until the application stops. A task that fails is logged at once and reported by `check`."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._failed: list[str] = []
        self._tell: list[Callable[[], None]] = []

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Start a task."""
        task = asyncio.create_task(work, name=name, context=outside_transactions())
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def on_failure(self, tell: Callable[[], None]) -> None:
        """Register a callback that is called when a task fails; at once where one has failed already."""
        self._tell.append(tell)
        if self._failed:
            tell()

    async def check(self) -> str | None:
        """Return a sentence that names the tasks that no longer run; None where all run."""
        if not self._failed:
            return None
        return f"Ended by an error until the next start ({', '.join(self._failed)}): the log says why."

    async def end(self) -> None:
        """Cancel every task, and wait until it has ended."""
        await end_tasks(self._tasks)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        failed = None if task.cancelled() else task.exception()
        if failed is not None:
            self._failed.append(task.get_name())
            log.error("background.failed", task=task.get_name(), exc_info=failed)
            for tell in self._tell:
                tell()
