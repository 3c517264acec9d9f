"""What goes on in the house by itself, and whether all of it still does."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from shopkeeper.transaction_guard import outside_transactions

log = structlog.get_logger("shopkeeper.app")


class Background:
    """Tasks that go on until the house closes. One that fails is told in the log at once, and to whoever checks."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._failed: list[str] = []
        self._tell: list[Callable[[], None]] = []

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Begins a task."""
        task = asyncio.create_task(work, name=name, context=outside_transactions())
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def on_failure(self, tell: Callable[[], None]) -> None:
        """Names who is told, besides the log, that a task has failed; at once if one has."""
        self._tell.append(tell)
        if self._failed:
            tell()

    async def check(self) -> str | None:
        """What does not go on any more, as a sentence."""
        if not self._failed:
            return None
        return f"Ended by an error until the next start ({', '.join(self._failed)}): the log says why."

    async def end(self) -> None:
        """Ends every task, and waits until it has ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        failed = None if task.cancelled() else task.exception()
        if failed is not None:
            self._failed.append(task.get_name())
            log.error("background.failed", task=task.get_name(), exc_info=failed)
            for tell in self._tell:
                tell()
