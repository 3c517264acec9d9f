"""An outbox, and its workers."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.storage.database import Database
from shopkeeper.storage.outbox import Outbox
from shopkeeper.storage.outbox_worker import GiveUp, Handler, OutboxWorker, Subscriber
from tests.storage.post import LEASE, PAUSE, Work


@pytest.fixture
def outbox(clock: StoppedClock) -> Outbox:
    return Outbox(clock)


@pytest.fixture
def work(database: Database, clock: StoppedClock) -> Work:
    """Build a worker on this test's database. It gives an event up after three attempts, however young that is."""

    def make(
        handlers: Mapping[str, Handler] | Handler,
        *,
        least_attempts: int = 3,
        give_up: GiveUp | None = None,
        **options: Any,
    ) -> OutboxWorker:
        table = handlers if isinstance(handlers, Mapping) else {"mail": handlers}
        subscribers = {
            topic: Subscriber(handler, give_up=give_up, least_attempts=least_attempts)
            for topic, handler in table.items()
        }
        options = {"lease": LEASE, "pause": PAUSE, "give_up_after": timedelta(0), **options}
        return OutboxWorker(database, subscribers, **{"clock": clock, "random": lambda: 1.0, **options})

    return make
