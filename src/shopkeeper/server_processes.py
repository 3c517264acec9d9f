"""Several processes that serve beside each other, all by settings that agree.

They follow changes of the configuration by themselves; one that ends is replaced here. A successor reads the
configuration as it is by then, so it is checked first by the rules of a change, `app/reloading.py`.
"""

import asyncio
import multiprocessing
import multiprocessing.connection
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from typing import Final

import structlog

from shopkeeper.app import Misconfigured, dry_run
from shopkeeper.settings import Settings, SettingsError, StartValues, load_beside, start_values

log = structlog.get_logger("shopkeeper.serving")

PAUSE: Final = 0.5
"""Seconds before a process that ended is replaced."""
PATIENCE: Final = 15.0
"""Seconds that a process has to end when it is told to, before it is killed. Its open requests get 10 of them."""
LoadSettings = Callable[[], Settings]
Target = Callable[[LoadSettings, StartValues], None]


class ServerProcesses:
    """Keeps a number of processes alive, and ends them together.

    Args:
        target: what each of them runs; called there with `load` and what only a start can change.
        load: reads the settings, in each process again.
        settings: those of the start.
    """

    def __init__(self, target: Target, load: LoadSettings, settings: Settings) -> None:
        self._target, self._load = target, load
        self._start_values, self._size = start_values(settings), settings.http.workers
        self._context = multiprocessing.get_context("spawn")
        self._stopping = False
        self._refused: Sequence[str] = ()

    def run(self, *, ready: Callable[[], None]) -> None:
        """Run until stopped and every process has ended; `ready` is called once they are started."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        children = [self._start() for _ in range(self._size)]
        ready()
        while not self._stopping:
            multiprocessing.connection.wait([child.sentinel for child in children], timeout=0.5)
            children = [child if child.is_alive() or self._stopping else self._again(child) for child in children]
        _end(children)

    def _start(self) -> BaseProcess:
        child = self._context.Process(target=self._target, args=(self._load, self._start_values))
        child.start()
        return child

    def _again(self, ended: BaseProcess) -> BaseProcess:
        """Return the successor of a process that has ended, or itself while the configuration cannot be used: the other
        processes work on with the one before."""
        time.sleep(PAUSE)  # otherwise a process that ends at once is restarted in a busy loop
        if not self._usable():
            return ended
        log.error("worker ended, starting another", pid=ended.pid, exit_code=ended.exitcode)
        return self._start()

    def _usable(self) -> bool:
        try:
            asyncio.run(dry_run(load_beside(self._load, self._start_values)))
        except (SettingsError, Misconfigured) as refused:
            problems = str(refused).splitlines()
            if problems != self._refused:
                log.error("configuration.refused", problems=problems)
            self._refused = problems
            return False
        except Exception as unexpected:  # a bug here must not end the other processes
            if [repr(unexpected)] != self._refused:
                log.exception("configuration.refused")
            self._refused = [repr(unexpected)]
            return False
        self._refused = ()
        return True

    def _stop(self, *_: object) -> None:
        self._stopping = True


def _end(children: Sequence[BaseProcess]) -> None:
    for child in children:
        child.terminate()
    for child in children:
        child.join(PATIENCE)
        if child.is_alive():
            child.kill()
