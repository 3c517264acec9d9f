"""The outbox: events for listeners and other servers (mail, webhooks, engine calls, push).

An event is written in the transaction of its cause and delivered after the commit. The guarantees:

- An event is written in the caller's unit of work, as the last thing before the commit: it exists if and only if the
  change does. All units lock keys in one order, so a unit may add events early and in any order, and no two units
  deadlock.
- It is delivered at least once, to the handler of its topic, by any number of workers on any number of hosts. A handler
  uses the event's id as idempotency key, because it may receive an event again after a crash.
- Events of one key are delivered one at a time, in the order in which their units committed. Keys do not wait for each
  other; use as key what needs an order, such as a customer, a mailbox or a subscription. Each topic has a limit of
  concurrent deliveries, so that a server that hangs delays only its own topic.
- A handler that raises is called again later, with growing pauses, and holds up its key meanwhile. An event that was
  tried for a day, and often enough, becomes a dead letter: kept for 30 days, listed and replayable. It does not hold up
  its key, so that one undeliverable event does not stop all others. When replayed, it is appended to its key's queue.
- An event may be leased to the request that writes it (`add_leased`), which delivers it itself after the commit. Until
  the lease is settled, released or expired, no worker takes it or a later event of its key.

`outbox_worker.py` implements most of them.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec
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
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    update,
)

from shopkeeper.clock import Clock
from shopkeeper.crypto import new_id
from shopkeeper.errors import NotFound
from shopkeeper.storage.database import Unit
from shopkeeper.storage.tables import Id, Json, Moment, metadata

outbox = Table(
    "outbox",
    metadata,
    # SQLite autoincrements only a column of type INTEGER.
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
# Timestamps rather than a status column: "is null" needs no parameter, so that a partial index serves every plan.
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

_earlier: Final = outbox.alias("earlier")
# OFFSET 0 keeps PostgreSQL from rewriting this as a join, which would compare every two events of a key. ORDER BY keeps
# it from reading the whole table for a frequent key.
held_up: Final = exists(
    select(literal(1))
    .where(_earlier.c.key == outbox.c.key, _earlier.c.sequence < outbox.c.sequence)
    .where(_earlier.c.delivered_at.is_(None), _earlier.c.died_at.is_(None))
    .correlate(outbox)
    .order_by(_earlier.c.sequence)
    .offset(0)
)
"""Whether an earlier event of the key is waiting."""

UNLOCKED: Final[Mapping[str, None]] = {"locked_by": None, "locked_until": None}
SHARE_OF_LEASE: Final = 0.9
"""How much of a lease a delivery may use; the rest is for storing the outcome before another worker takes over."""

_failing: Final = func.sum(case((outbox.c.last_error.is_not(None), 1), else_=0))
# Two queries, because each has an index of its own; delivered events are many.
_BACKLOG: Final = (
    select(
        outbox.c.topic,
        func.count().label("waiting"),
        _failing.label("failing"),
        func.min(outbox.c.created_at).label("oldest"),
    )
    .where(waiting)
    .group_by(outbox.c.topic)
)
_GIVEN_UP: Final = select(outbox.c.topic, func.count().label("dead")).where(_dead).group_by(outbox.c.topic)
_ADD: Final = insert(outbox)
_WRITTEN: Final = (
    "id",
    "topic",
    "key",
    "payload",
    "created_at",
    "available_at",
    "attempts",
    "locked_until",
    "locked_by",
)
_LOCKED: Final = select(
    func.pg_advisory_xact_lock(func.hashtextextended(bindparam("new_key", type_=String), 0)).label("held")
).subquery("locked")
# PostgreSQL draws the sequence for a row that comes out of the lock, so numbers are drawn in the order of the commits.
_ADD_LOCKED: Final = insert(outbox).from_select(
    _WRITTEN,
    select(*(bindparam(f"new_{name}", type_=outbox.c[name].type) for name in _WRITTEN)).select_from(_LOCKED),
)
_LEASED: Final = and_(outbox.c.id == bindparam("event"), outbox.c.locked_by == bindparam("holder"), waiting)
_FIRST: Final = select(literal(1)).where(_LEASED, outbox.c.locked_until > bindparam("now"), ~held_up)
_END_LEASE: Final = update(outbox).where(_LEASED).values(**UNLOCKED)
_SETTLE: Final = _END_LEASE.values(delivered_at=bindparam("at"), last_error=None)


@dataclass(frozen=True, slots=True)
class Event:
    """An event to deliver. `id` stays the same over all attempts; `attempt` begins with 1."""

    id: UUID
    topic: str
    key: str
    payload: Mapping[str, Any]
    attempt: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class LeasedEvent:
    """An event that only the request which wrote it may deliver until `until`.

    `event` is what a handler of its topic would receive. `holder` identifies this lease.
    """

    event: Event
    holder: UUID
    until: datetime


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits of a topic: how much, how much of it has failed before, since when, and how much was given up."""

    topic: str
    waiting: int
    failing: int
    dead: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class WaitingEvent:
    """An event that waits: when it is tried next, and why the last attempt failed, if there was one."""

    event: Event
    next_at: datetime
    last_error: str | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that was given up, with the time and the last error of its handler."""

    event: Event
    died_at: datetime
    last_error: str


def topic_for(listener: str, topic: str) -> str:
    """Return the topic under which a listener receives its events.

    >>> topic_for("mail", "order.placed")
    'order.placed/mail'
    """
    return f"{topic}/{listener}"


class Outbox:
    """Stores events in the caller's unit of work.

    >>> async def change(unit):
    ...     await outbox.add(unit, "mail", key="ada@example.org", payload={"template": "welcome"})

    Args:
        clock: sets the times of events and leases.
        listeners: the listeners of each topic. Each gets an event of its own, so that one that fails does not delay the
            others. A topic with an empty collection stores nothing; a topic that is not listed has one recipient.
    """

    def __init__(self, clock: Clock, *, listeners: Mapping[str, Collection[str]] | None = None) -> None:
        self._clock = clock
        self._listeners = dict(listeners or {})
        self._wake: Callable[[], None] | None = None

    def wakes(self, wake: Callable[[], None]) -> None:
        """Set the function to call after a commit with new events, so that a worker here need not poll."""
        self._wake = wake

    async def add(self, unit: Unit, topic: str, *, key: str, payload: Mapping[str, Any]) -> list[UUID]:
        """Add an event for each listener of the topic to the caller's unit, and return their ids.

        They are written right before the unit commits. On PostgreSQL, units that write to one key wait for each other
        from there until the commit ends; that keeps the order.

        Raises `TypeError` where the payload cannot be encoded as JSON, and `RuntimeError` in a unit that only reads.
        """
        addressed = self._addressed(topic, key)
        return [self._put(unit, new_id(), own, own_key, payload) for own, own_key in addressed]

    async def add_leased(
        self, unit: Unit, topic: str, *, key: str, payload: Mapping[str, Any], lease: timedelta
    ) -> LeasedEvent:
        """Add an event that this request delivers itself after the commit, in place of a worker.

        The lease begins now. If the process dies, a worker takes the event over when the lease expires: that counts as
        a failed attempt, and the topic's subscriber delivers the event after a pause. To deliver it:

        1. after the commit, call `is_first`. If it returns `False`, `release` the event: an earlier event of the key
           must be delivered first;
        2. deliver `leased.event` within `time_left`, outside any unit of work, with its id as idempotency key;
        3. in a unit of its own, `settle` it, and where that returns `True`, write the result of the delivery; or
           `release` it where the delivery failed. A cancelled request releases it too, with `to_the_end`.

        Raises what `add` raises, and `ValueError` where the lease has no length or the topic does not have exactly one
        recipient.

        >>> async def merge(database):
        ...     async with database.unit() as unit:
        ...         leased = await outbox.add_leased(
        ...             unit, "cart.merge", key="ada", payload={"cart": "7"}, lease=timedelta(seconds=10)
        ...         )
        ...     async with database.reading() as unit:
        ...         first = await outbox.is_first(unit, leased)
        """
        addressed = self._addressed(topic, key)
        if lease <= timedelta(0) or len(addressed) != 1:
            raise ValueError("a leased event needs a lease and exactly one recipient")
        ((own, own_key),) = addressed
        holder, until = uuid4(), self._clock.now() + lease
        leased = {"attempts": 1, "locked_by": holder, "locked_until": until}
        return LeasedEvent(self._collect(unit, new_id(), own, own_key, payload, **leased), holder, until)

    async def is_first(self, unit: Unit, leased: LeasedEvent) -> bool:
        """Whether the request may deliver its event: it has the lease, and no earlier event of the key is waiting.

        Call it after the commit of the unit that added the event; before, the event is not stored. Once `True`, it
        stays so until the lease expires: units that write to one key commit one after the other, so no event can be
        inserted before a committed one.
        """
        bound = {"event": leased.event.id, "holder": leased.holder, "now": self._clock.now()}
        return await unit.first(_FIRST, bound) is not None

    def time_left(self, leased: LeasedEvent) -> timedelta:
        """Return how long the request may take to deliver its event from now; zero where the time is over.

        Part of the lease is reserved for `settle`, so that no worker delivers the event at the same time.
        """
        lease = leased.until - leased.event.created_at
        return max(leased.event.created_at + lease * SHARE_OF_LEASE - self._clock.now(), timedelta(0))

    async def settle(self, unit: Unit, leased: LeasedEvent) -> bool:
        """Mark a leased event as delivered. Returns `False`, and changes nothing, where a worker has taken it over."""
        bound = {"event": leased.event.id, "holder": leased.holder, "at": self._clock.now()}
        return self._ended((await unit.write(_SETTLE, bound)).rowcount == 1, unit)

    async def release(self, unit: Unit, leased: LeasedEvent) -> None:
        """Give up the lease, so that any worker may take the event in its turn. The attempt counts.

        Changes nothing where a worker has taken it over or it was settled.
        """
        bound = {"event": leased.event.id, "holder": leased.holder}
        self._ended((await unit.write(_END_LEASE, bound)).rowcount == 1, unit)

    def _ended(self, ended: bool, unit: Unit) -> bool:
        if ended:  # this event, or the next one of its key, can be taken now
            self._wake_after(unit)
        return ended

    def _addressed(self, topic: str, key: str) -> list[tuple[str, str]]:
        """Return topic and key of each event to write, one for each listener of the topic."""
        if topic not in self._listeners:
            return [(topic, key)]
        return [(topic_for(name, topic), f"{name}/{key}") for name in sorted(self._listeners[topic])]

    async def dead(self, unit: Unit, *, limit: int = 100) -> list[DeadLetter]:
        """Return the dead letters, oldest first."""
        rows = await unit.all(select(outbox).where(_dead).order_by(outbox.c.sequence).limit(limit))
        return [DeadLetter(event_of(row), row.died_at, row.last_error or "") for row in rows]

    async def waiting(self, unit: Unit, *, limit: int = 100) -> list[WaitingEvent]:
        """Return the events that wait: first those that have failed before, then the others, oldest first."""
        order = case((outbox.c.attempts > 0, 0), else_=1), outbox.c.sequence
        rows = await unit.all(select(outbox).where(waiting).order_by(*order).limit(limit))
        return [WaitingEvent(event_of(row), row.available_at, row.last_error) for row in rows]

    async def backlog(self, unit: Unit) -> list[Backlog]:
        """Return what waits and what was given up, by topic."""
        dead = {row.topic: int(row.dead) for row in await unit.all(_GIVEN_UP)}
        alive = [
            Backlog(row.topic, row.waiting, int(row.failing), dead.pop(row.topic, 0), row.oldest)
            for row in await unit.all(_BACKLOG)
        ]
        return [*alive, *(Backlog(topic, 0, 0, number, None) for topic, number in dead.items())]

    async def replay(self, unit: Unit, event_id: UUID) -> None:
        """Append a dead letter to its key's queue, with the same id and a new count of attempts.

        Raises `NotFound` where there is no dead letter with this id.
        """
        await unit.begin()
        letter = outbox.c.id == event_id, _dead
        row = await unit.first(select(outbox).where(*letter).with_for_update())
        if row is None:
            raise NotFound("There is no dead letter with this id.")
        await unit.write(delete(outbox).where(*letter))
        self._put(unit, row.id, row.topic, row.key, row.payload)

    async def purge(self, unit: Unit, *, before: datetime, batch: int = 1000) -> int:
        """Delete at most `batch` events that were delivered before `before`; return how many were deleted."""
        old = select(outbox.c.sequence).where(outbox.c.delivered_at < before).limit(batch)
        return (await unit.write(delete(outbox).where(outbox.c.sequence.in_(old)))).rowcount

    async def purge_dead(self, unit: Unit, *, before: datetime, batch: int = 1000) -> int:
        """Delete at most `batch` dead letters from before `before`; return how many were deleted."""
        old = select(outbox.c.sequence).where(_dead, outbox.c.died_at < before).limit(batch)
        return (await unit.write(delete(outbox).where(outbox.c.sequence.in_(old)))).rowcount

    def _put(self, unit: Unit, event_id: UUID, topic: str, key: str, payload: Mapping[str, Any]) -> UUID:
        self._collect(unit, event_id, topic, key, payload, attempts=0, **UNLOCKED)
        self._wake_after(unit)
        return event_id

    def _collect(
        self, unit: Unit, event_id: UUID, topic: str, key: str, payload: Mapping[str, Any], **lock: Any
    ) -> Event:
        """Collect an event for the commit and return it. The payload is copied: later changes have no effect."""
        stored, now = msgspec.json.decode(msgspec.json.encode(dict(payload))), self._clock.now()
        own = {"id": event_id, "topic": topic, "key": key, "payload": stored}
        unit.collect({**own, "created_at": now, "available_at": now, **lock}, write=_write_all)
        return Event(event_id, topic, key, stored, lock["attempts"], now)

    def _wake_after(self, unit: Unit) -> None:
        if self._wake is not None:
            unit.after_commit_or_doubt(self._tell)

    async def _tell(self) -> None:
        if self._wake is not None:
            self._wake()


async def _write_all(unit: Unit, events: Sequence[dict[str, Any]]) -> None:
    """Write a unit's events, those of each key in the order in which they were added; lock the keys in sorted order.

    All units lock in this order, so that they do not deadlock. SQLite has one writer and needs no locks.
    """
    if unit.dialect != "postgresql":
        await unit.write(_ADD, events)
        return
    ordered = sorted(events, key=lambda event: str(event["key"]))
    await unit.write(_ADD_LOCKED, [{f"new_{name}": value for name, value in event.items()} for event in ordered])


def event_of(row: Row[Any], *, attempt: int | None = None) -> Event:
    """Return the event of a row."""
    return Event(row.id, row.topic, row.key, row.payload, row.attempts if attempt is None else attempt, row.created_at)
