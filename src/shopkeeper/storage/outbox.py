"""What must leave the house: mail, webhooks, engine calls, push. Written with the change, delivered after it commits.

The promises:

- an event is written in the caller's unit of work: it exists if and only if the change does;
- it is delivered at least once, to the handler of its topic, by any number of workers on any number of hosts. A handler
  gets the event's id as idempotency key, because after a crash it may see an event again;
- events of one key are delivered in the order in which their units committed, one at a time. Keys do not wait for
  each other, so a key is whatever needs an order: a customer, a mailbox, a subscription;
- a handler that raises is called again later, with growing pauses, and holds up its key meanwhile. After
  `max_attempts` its event is a dead letter: kept, listed and replayable. A dead letter does not hold up its key, for
  one mail that can never be sent must not stop every other; replayed, it goes to the end of its key's queue.

Handlers run outside any transaction; that an event was delivered is written in a short unit of its own.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import structlog
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
    exists,
    func,
    insert,
    or_,
    select,
    update,
)
from structlog.typing import FilteringBoundLogger

from shopkeeper.clock import Clock
from shopkeeper.crypto import new_id
from shopkeeper.errors import NotFound
from shopkeeper.storage.database import Database, Unit, to_the_end
from shopkeeper.storage.tables import Id, Json, Moment, metadata
from shopkeeper.storage.unavailable import DATABASE_ERRORS

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
_waiting: Final = and_(outbox.c.delivered_at.is_(None), outbox.c.died_at.is_(None))
_dead: Final = outbox.c.died_at.is_not(None)
Index("ix_outbox_waiting", outbox.c.sequence, postgresql_where=_waiting, sqlite_where=_waiting)
Index("ix_outbox_waiting_key", outbox.c.key, outbox.c.sequence, postgresql_where=_waiting, sqlite_where=_waiting)
Index("ix_outbox_dead", outbox.c.sequence, postgresql_where=_dead, sqlite_where=_dead)
Index(
    "ix_outbox_delivered_at",
    outbox.c.delivered_at,
    postgresql_where=outbox.c.delivered_at.is_not(None),
    sqlite_where=outbox.c.delivered_at.is_not(None),
)

LONGEST_ERROR: Final = 500
SHARE_OF_LEASE: Final = 0.9
"""How much of the lease a handler may use; the rest is for writing how it went before another worker takes over."""


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


Handler = Callable[[Event], Awaitable[None]]


class Outbox:
    """Where rooms put what must leave the house.

    >>> async def change(unit):
    ...     await outbox.add(unit, "mail", key="ada@example.org", payload={"template": "welcome"})
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wake: Callable[[], None] | None = None

    def wakes(self, wake: Callable[[], None]) -> None:
        """Names who is told that something was committed, so that a worker in this process need not poll for it."""
        self._wake = wake

    async def add(self, unit: Unit, topic: str, *, key: str, payload: Mapping[str, Any]) -> UUID:
        """Writes an event in the caller's unit, and gives its id.

        On PostgreSQL units that add to one key wait for each other from here to their commit; that is what keeps the
        order. So write the rows first and add the event last, always in this order, or two units may wait in a circle.
        """
        return await self._put(unit, {"id": new_id(), "topic": topic, "key": key, "payload": dict(payload)})

    async def dead(self, unit: Unit, *, limit: int = 100) -> list[DeadLetter]:
        """The dead letters, oldest first."""
        rows = await unit.all(select(outbox).where(_dead).order_by(outbox.c.sequence).limit(limit))
        return [DeadLetter(_event(row), row.died_at, row.last_error or "") for row in rows]

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


class OutboxWorker:
    """Delivers events. Run as many as you like, in one process or on many hosts.

    Args:
        handlers: who delivers which topic. Topics without a handler here are left to other workers.
        random: gives numbers from 0 to 1, for jitter.
        poll: how often to look when nobody wakes it; events of other processes are found this way.
        batch: how many events, each of another key, are delivered at once.
        lease: how long a handler may take. One that takes longer is cancelled and has failed; the events of a worker
            that died are taken over after this time. The clocks of all hosts must agree to within a fraction of it.
        max_attempts: how often a handler is called before its event is a dead letter.
        pause: the pause after the first failure; it doubles with each one, up to `longest_pause`.
    """

    def __init__(
        self,
        database: Database,
        handlers: Mapping[str, Handler],
        *,
        clock: Clock,
        random: Callable[[], float],
        poll: timedelta = timedelta(seconds=1),
        batch: int = 20,
        lease: timedelta = timedelta(minutes=1),
        max_attempts: int = 12,
        pause: timedelta = timedelta(seconds=5),
        longest_pause: timedelta = timedelta(hours=1),
        log: FilteringBoundLogger | None = None,
    ) -> None:
        if batch < 1 or max_attempts < 1 or lease <= timedelta(0):
            raise ValueError("a worker needs room for an event, an attempt and a time for it")
        self._database, self._handlers = database, dict(handlers)
        self._clock, self._random = clock, random
        self._poll, self._batch, self._lease, self._max_attempts = poll, batch, lease, max_attempts
        self._pause, self._longest_pause = pause, longest_pause
        self._log: FilteringBoundLogger = log or structlog.get_logger("shopkeeper.outbox")
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Says that there is something to deliver."""
        self._woken.set()

    async def run(self) -> None:
        """Delivers until cancelled. What it has begun then is given back, for others to deliver at once."""
        while True:
            self._woken.clear()
            try:
                idle = await self.run_once() == 0
            except DATABASE_ERRORS as failed:
                self._log.warning("outbox.database_unavailable", error=type(failed).__name__)
                await asyncio.sleep(self._poll.total_seconds())
                continue
            if idle:
                await self._wait()

    async def run_once(self) -> int:
        """Takes one batch of events and sees each through to its outcome; says how many there were."""
        lease = uuid4()
        events = await self._claim(lease)
        try:
            outcomes = await asyncio.gather(*(self._deliver(event, lease) for event in events), return_exceptions=True)
        except asyncio.CancelledError:
            await to_the_end(self._give_back(lease))
            raise
        for unwritten in (outcome for outcome in outcomes if isinstance(outcome, Exception)):
            raise unwritten  # the database is gone; the events come back when their lease ends
        return len(events)

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._poll.total_seconds()):
                await self._woken.wait()

    async def _claim(self, lease: UUID) -> list[Event]:
        """Takes the first waiting event of each key, unless somebody has it or it is to wait.

        Two workers cannot take events of one key at once: the second event is not the key's first until the first one's
        outcome is written. A row that another worker is just taking is skipped; one it has just taken is looked at
        again by PostgreSQL once its lock is gone, and does not fit any more.
        """
        now = self._clock.now()
        async with self._database.unit() as unit:
            await unit.begin()
            rows = await unit.all(self._takeable(now))
            worn_out = [row.sequence for row in rows if row.attempts >= self._max_attempts]
            await self._bury(unit, worn_out, at=now)
            taken = [row for row in rows if row.attempts < self._max_attempts]
            if taken:
                await unit.write(
                    update(outbox)
                    .where(outbox.c.sequence.in_([row.sequence for row in taken]))
                    .values(locked_by=lease, locked_until=now + self._lease, attempts=outbox.c.attempts + 1)
                )
        return [_event(row, attempt=row.attempts + 1) for row in taken]

    def _takeable(self, now: datetime) -> Any:
        earlier = outbox.alias("earlier")
        held_up = exists().where(
            earlier.c.key == outbox.c.key,
            earlier.c.sequence < outbox.c.sequence,
            earlier.c.delivered_at.is_(None),
            earlier.c.died_at.is_(None),
        )
        return (
            select(outbox)
            .where(_waiting, ~held_up, outbox.c.topic.in_(self._handlers), outbox.c.available_at <= now)
            .where(or_(outbox.c.locked_until.is_(None), outbox.c.locked_until <= now))
            .order_by(outbox.c.sequence)
            .limit(self._batch)
            .with_for_update(skip_locked=True)
        )

    async def _bury(self, unit: Unit, sequences: Sequence[int], *, at: datetime) -> None:
        """The last attempt of these killed its worker; a further one might kill the next."""
        if sequences:
            await unit.write(
                update(outbox)
                .where(outbox.c.sequence.in_(sequences))
                .values(died_at=at, last_error="its worker ended without saying how it went", **_UNLOCKED)
            )
            self._log.error("outbox.dead_letters", events=len(sequences), error="worker lost")

    async def _deliver(self, event: Event, lease: UUID) -> None:
        try:
            async with asyncio.timeout(self._lease.total_seconds() * SHARE_OF_LEASE):
                await self._handlers[event.topic](event)
        except Exception as failed:  # whatever a handler raises, the event must be kept and tried again
            await to_the_end(self._write(event, lease, self._failure(event, failed)))
        else:
            await to_the_end(self._write(event, lease, {"delivered_at": self._clock.now(), "last_error": None}))

    def _failure(self, event: Event, failed: Exception) -> dict[str, Any]:
        dead = event.attempt >= self._max_attempts
        tell = self._log.error if dead else self._log.warning
        tell(
            "outbox.dead_letter" if dead else "outbox.failed",
            event_id=str(event.id),
            topic=event.topic,
            attempt=event.attempt,
            error=type(failed).__name__,
        )
        said = {"last_error": f"{type(failed).__name__}: {failed}"[:LONGEST_ERROR]}
        now = self._clock.now()
        return {**said, "died_at": now} if dead else {**said, "available_at": now + self._back_off(event.attempt)}

    def _back_off(self, attempt: int) -> timedelta:
        """Doubling, with jitter down to a half, so that what failed together is not tried together again."""
        doubled = self._pause * (1 << min(attempt - 1, 30))
        return min(doubled, self._longest_pause) * (0.5 + self._random() / 2)

    async def _write(self, event: Event, lease: UUID, outcome: Mapping[str, Any]) -> None:
        """Unless the lease has passed to another worker: then the outcome is that one's to write."""
        async with self._database.unit() as unit:
            await unit.write(
                update(outbox)
                .where(outbox.c.id == event.id, outbox.c.locked_by == lease)
                .values(**outcome, **_UNLOCKED)
            )

    async def _give_back(self, lease: UUID) -> None:
        """Stopping is not the event's fault, so the attempt does not count."""
        async with self._database.unit() as unit:
            await unit.write(
                update(outbox).where(outbox.c.locked_by == lease).values(attempts=outbox.c.attempts - 1, **_UNLOCKED)
            )


_UNLOCKED: Final[Mapping[str, None]] = {"locked_by": None, "locked_until": None}


def _event(row: Row[Any], *, attempt: int | None = None) -> Event:
    return Event(row.id, row.topic, row.key, row.payload, row.attempts if attempt is None else attempt, row.created_at)
