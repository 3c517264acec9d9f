"""The application that answers: replaced as a whole when the configuration changes, without a request in between.

A request is answered to its end by the application that it reached. One that was replaced is closed after the last of
its requests and deliveries.
"""

import asyncio
import gc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from shopkeeper.app.application import Application
from shopkeeper.cancellation import end_tasks

MOST_REPLACED: Final = 8
"""How many replaced applications may wait for their last requests at once."""


@dataclass(slots=True, eq=False)
class _Generation:
    """An application, and how many requests it answers at this moment."""

    application: Application
    answering: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    def left(self) -> None:
        self.answering -= 1
        if not self.answering:
            self.idle.set()


class RunningApplication:
    """Answers by the current application. `public` and `admin` are its two apps, and stay the same."""

    def __init__(self, application: Application) -> None:
        self._current = _Generation(application)
        self._closing: set[asyncio.Task[None]] = set()
        self.public: ASGIApp = self._app(lambda application: application.public)
        self.admin: ASGIApp = self._app(lambda application: application.admin)

    @property
    def application(self) -> Application:
        """The current application."""
        return self._current.application

    @property
    def may_replace(self) -> bool:
        """Whether few enough replaced applications are left."""
        return len(self._closing) < MOST_REPLACED

    def replace(self, application: Application) -> None:
        """Answer every further request by another application; close the current one when its requests and
        deliveries are over."""
        former, self._current = self._current, _Generation(application)
        task = asyncio.create_task(_close_when_idle(former, application), name="close a replaced application")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close the current application, and the replaced ones that are left."""
        await end_tasks(self._closing)
        await self.application.close()

    def _app(self, of: Callable[[Application], ASGIApp]) -> ASGIApp:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            generation = self._current
            generation.answering += 1
            try:
                await of(generation.application)(scope, receive, send)
            finally:
                generation.left()

        return app


async def _close_when_idle(generation: _Generation, successor: Application) -> None:
    try:
        while generation.answering:
            generation.idle.clear()
            await generation.idle.wait()
        await generation.application.worker.end_of_deliveries()  # the former channel sends them
    finally:
        await generation.application.close(other=successor)
    del generation, successor
    gc.collect()  # its parts refer to each other, and the collector rarely looks at what has grown old
