"""Shared by the tests of the outbox: events that are numbers, and a handler that remembers them."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from shopkeeper.storage.database import Database
from shopkeeper.storage.outbox import Event, Outbox
from shopkeeper.storage.outbox_worker import OutboxWorker

LEASE = timedelta(minutes=1)
PAUSE = timedelta(seconds=8)

Work = Callable[..., OutboxWorker]


class Post:
    """A handler that remembers its deliveries, and fails as often as the test sets."""

    def __init__(self, *, failures: int = 0) -> None:
        self.events: list[Event] = []
        self.failures = failures

    async def __call__(self, event: Event) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the post office is closed")
        self.events.append(event)

    @property
    def numbers(self) -> list[int]:
        return [event.payload["number"] for event in self.events]


async def put(database: Database, outbox: Outbox, *numbers: int, key: str = "ada", topic: str = "mail") -> list[UUID]:
    ids: list[UUID] = []
    for number in numbers:
        async with database.unit() as unit:
            ids += await outbox.add(unit, topic, key=key, payload={"number": number})
    return ids


async def drain(worker: OutboxWorker) -> None:
    while await worker.run_once():
        pass
