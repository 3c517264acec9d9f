"""Turns at a connection of a pool, handed out first come, first served, and counted for the metrics."""

import asyncio
from typing import Literal


class Turns(asyncio.Semaphore):
    """A semaphore that knows how many of its turns are taken, and how many callers wait for one."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size
        self.taken = 0
        self.waiting = 0

    async def acquire(self) -> Literal[True]:
        self.waiting += 1
        try:
            await super().acquire()
        finally:
            self.waiting -= 1
        self.taken += 1
        return True

    def release(self) -> None:
        super().release()
        self.taken -= 1
