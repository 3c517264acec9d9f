"""One event loop in a thread of its own, which makes every call to the provider.

Connections, keys and running calls belong to one event loop. Synchronous frameworks have none, and some asynchronous
ones have one for each request; so all frameworks of a process share this one, and a caller that goes away ends no call
that others wait for.
"""

import asyncio
import os
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Generic, TypeVar, cast

Resident = TypeVar("Resident")
Result = TypeVar("Result")


class Background(Generic[Resident]):
    """Runs coroutines on its own event loop. The thread starts with the first one, and anew after a fork.

    Args:
        build: makes what lives on that loop.
        end: closes it again.
    """

    def __init__(self, build: Callable[[], Resident], end: Callable[[Resident], Coroutine[Any, Any, None]]) -> None:
        self._build, self._end = build, end
        self._start_afresh()
        this = weakref.ref(self)

        def after_fork() -> None:
            # The thread exists in the parent alone, and a lock may have been held there at that moment.
            if (background := this()) is not None:
                background._start_afresh()

        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=after_fork)

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._running: tuple[asyncio.AbstractEventLoop, Callable[[], object], Resident] | None = None

    def submit(self, work: Callable[[Resident], Coroutine[Any, Any, Result]]) -> "Future[Result]":
        """Run a coroutine and return its future. Cancelling the future cancels the coroutine."""
        with self._lock:
            if self._running is None:
                self._running = self._start()
            loop, _, resident = self._running
            return asyncio.run_coroutine_threadsafe(work(resident), loop)

    def close(self) -> None:
        """End the thread and what lives in it. Another `submit` starts them again."""
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            loop, join, resident = running
            asyncio.run_coroutine_threadsafe(_wind_up(self._end(resident)), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            join()

    def _start(self) -> tuple[asyncio.AbstractEventLoop, Callable[[], object], Resident]:
        started: Future[asyncio.AbstractEventLoop] = Future()
        join = _start_thread(lambda: _serve(started))
        return started.result(), join, self._build()


def _start_thread(work: Callable[[], None]) -> Callable[[], object]:
    """Run work in a thread of the system, and return what waits for its end."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        # What `threading` starts then is a greenlet: our event loop would run in the thread of the application, in
        # which no view could have one.
        return cast(Callable[[], object], sys.modules["gevent"].get_hub().threadpool.spawn(work).wait)
    # A daemon, so that a process ends although nobody has called `close`.
    thread = threading.Thread(target=work, name="shopkeeper-asgi", daemon=True)
    thread.start()
    return thread.join


def _serve(started: "Future[asyncio.AbstractEventLoop]") -> None:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.call_soon(started.set_result, loop)
        loop.run_forever()
    finally:
        loop.close()


async def _wind_up(ending: Coroutine[Any, Any, None]) -> None:
    """Close, then cancel what still runs."""
    await ending
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
