"""A worker that takes one event, says so, and never finishes: for tests that kill it."""

import asyncio
import random
import sys
from datetime import timedelta

from shopkeeper.clock import SystemClock
from shopkeeper.storage.database import Database
from shopkeeper.storage.outbox import Event
from shopkeeper.storage.outbox_worker import OutboxWorker, Subscriber


async def hang(event: Event) -> None:
    print("begun", flush=True)
    await asyncio.Event().wait()


async def main(url: str) -> None:
    worker = OutboxWorker(
        Database(url),
        {"mail": Subscriber(hang)},
        clock=SystemClock(),
        random=random.random,
        lease=timedelta(minutes=1),
    )
    await worker.run()


asyncio.run(main(sys.argv[1]))
