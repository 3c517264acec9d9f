"""A request that leases an event, says so once it is committed, and never finishes: for tests that kill it."""

import asyncio
import sys
from datetime import timedelta

from shopkeeper.clock import SystemClock
from shopkeeper.storage.database import Database
from shopkeeper.storage.outbox import Outbox


async def main(url: str) -> None:
    database, outbox = Database(url), Outbox(SystemClock())
    async with database.unit() as unit:
        await outbox.add_leased(unit, "mail", key="ada", payload={"number": 1}, lease=timedelta(minutes=1))
    print("begun", flush=True)
    await asyncio.Event().wait()


asyncio.run(main(sys.argv[1]))
