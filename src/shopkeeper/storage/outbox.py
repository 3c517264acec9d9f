"""What must leave the house: mail, webhooks, engine calls, push. Written with the change, delivered after it commits.

The promises:

- an event is written in the caller's unit of work: it exists if and only if the change does;
- it is delivered at least once, to the handler of its topic, by any number of workers on any number of hosts. A handler
  gets the event's id as idempotency key, because after a crash it may see an event again;
- events of one key are delivered in the order in which their units committed, one at a time. Keys do not wait for
  each other, so a key is whatever needs an order: a customer, a mailbox, a subscription. So many events of a topic are
  under way at once, and each that ends makes room for the next: a server that hangs holds up its own topic at most;
- a handler that raises is called again later, with growing pauses, and holds up its key meanwhile. Only when its event
  was tried for a day, and often enough, it is a dead letter: kept, listed and replayable. A dead letter does not hold
  up its key, for one mail that can never be sent must not stop every other; replayed, it goes to the end of its key's
  queue.

`delivering.py` keeps most of them.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    Row,
    String,
    Table,
    Text,
    and_,
    delete,
    func,
    insert,
    select,
)

from shopkeeper.clock import Clock
from shopkeeper.crypto import new_id
from shopkeeper.errors import NotFound
from shopkeeper.storage.database import Unit
from shopkeeper.storage.tables import Id, Json, Moment, metadata

outbox = Table(
    "outbox",
    metadata,
    # SQLite counts up only what it calls INTEGER.
    Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", Id, nullable=False, unique=True),
    Column("topic", String(100), nullable=False),
    Column("key", String(500), nullable=False),
    Column("payload", Json, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("available_at", Moment, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("locked_until", Moment),
    Column("locked_by", Id),
    Column("delivered_at", Moment),
    Column("died_at", Moment),
    Column("last_error", Text),
)
# Moments rather than a column of states: "is null" needs no parameter, so that a partial index serves every plan.
waiting: Final = and_(outbox.c.delivered_at.is_(None), outbox.c.died_at.is_(None))
_dead: Final = outbox.c.died_at.is_not(None)
Index(
    "ix_outbox_due",
    outbox.c.topic,
    outbox.c.available_at,
    outbox.c.sequence,
    postgresql_where=waiting,
    sqlite_where=waiting,
)
Index("ix_outbox_waiting_key", outbox.c.key, outbox.c.sequence, postgresql_where=waiting, sqlite_where=waiting)
Index("ix_outbox_dead", outbox.c.sequence, postgresql_where=_dead, sqlite_where=_dead)
Index(
    "ix_outbox_delivered_at",
    outbox.c.delivered_at,
    postgresql_where=outbox.c.delivered_at.is_not(None),
    sqlite_where=outbox.c.delivered_at.is_not(None),
)


@dataclass(frozen=True, slots=True)
class Event:
    """Something to deliver. `id` stays the same over all attempts; `attempt` begins with 1."""

    id: UUID
    topic: str
    key: str
    payload: Mapping[str, Any]
    attempt: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that was given up, when, and what its handler said last."""

    event: Event
    died_at: datetime
    last_error: str


def topic_for(listener: str, topic: str) -> str:
    """The topic under which a listener gets its events.

    >>> topic_for("mail", "order.placed")
    'order.placed/mail'
    """
    return f"{topic}/{listener}"


class Outbox:
    """Where rooms put what must leave the house.

    >>> async def change(unit):
    ...     await outbox.add(unit, "mail", key="ada@example.org", payload={"template": "welcome"})

    Args:
        clock: tells the time.
        listeners: who hears of what happened, by topic: each gets an event of its own, so that one who fails holds up
            nobody else. What nobody hears is not written. A topic that is not listed has one recipient: a mail, say.
    """

    def __init__(self, clock: Clock, *, listeners: Mapping[str, Collection[str]] | None = None) -> None:
        self._clock = clock
        self._listeners = dict(listeners or {})
        self._wake: Callable[[], None] | None = None

    def wakes(self, wake: Callable[[], None]) -> None:
        """Names who is told that something was committed, so that a worker in this process need not poll for it."""
        self._wake = wake

    async def add(self, unit: Unit, topic: str, *, key: str, payload: Mapping[str, Any]) -> list[UUID]:
        """Writes an event in the caller's unit for everybody who hears of the topic, and gives the ids.

        On PostgreSQL units that add to one key wait for each other from here to their commit; that is what keeps the
        order. So write first what others may wait for, and add then, always in this order, or two units may wait in a
        circle.
        """
        return [
            await self._put(unit, {"id": new_id(), "topic": own, "key": own_key, "payload": dict(payload)})
            for own, own_key in self._addressed(topic, key)
        ]

    def _addressed(self, topic: str, key: str) -> list[tuple[str, str]]:
        """Topic and key of each event; listeners in one order, because keys are locked in it."""
        if topic not in self._listeners:
            return [(topic, key)]
        return [(topic_for(name, topic), f"{name}/{key}") for name in sorted(self._listeners[topic])]

    async def dead(self, unit: Unit, *, limit: int = 100) -> list[DeadLetter]:
        """The dead letters, oldest first."""
        rows = await unit.all(select(outbox).where(_dead).order_by(outbox.c.sequence).limit(limit))
        return [DeadLetter(event_of(row), row.died_at, row.last_error or "") for row in rows]

    async def replay(self, unit: Unit, event_id: UUID) -> None:
        """Puts a dead letter to the end of its key's queue, under the id it had, with all its attempts before it.

        Raises `NotFound` where there is no dead letter of this id.
        """
        await unit.begin()
        letter = outbox.c.id == event_id, _dead
        row = await unit.first(select(outbox).where(*letter).with_for_update())
        if row is None:
            raise NotFound("There is no dead letter with this id.")
        await unit.write(delete(outbox).where(*letter))
        await self._put(unit, {"id": row.id, "topic": row.topic, "key": row.key, "payload": row.payload})

    async def purge(self, unit: Unit, *, before: datetime, batch: int = 1000) -> int:
        """Forgets what was delivered before a moment, `batch` events at most; says how many that were."""
        old = select(outbox.c.sequence).where(outbox.c.delivered_at < before).limit(batch)
        return (await unit.write(delete(outbox).where(outbox.c.sequence.in_(old)))).rowcount

    async def _put(self, unit: Unit, event: dict[str, Any]) -> UUID:
        await unit.begin()
        if unit.dialect == "postgresql":
            await unit.scalar(select(func.pg_advisory_xact_lock(func.hashtextextended(event["key"], 0))))
        now = self._clock.now()
        await unit.write(insert(outbox).values(**event, created_at=now, available_at=now))
        if self._wake is not None:
            unit.after_commit(self._tell)
        event_id: UUID = event["id"]
        return event_id

    async def _tell(self) -> None:
        if self._wake is not None:
            self._wake()


def event_of(row: Row[Any], *, attempt: int | None = None) -> Event:
    """The event that a row is."""
    return Event(row.id, row.topic, row.key, row.payload, row.attempts if attempt is None else attempt, row.created_at)
