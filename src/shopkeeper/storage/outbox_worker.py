"""Delivers the events of the outbox: takes them, calls the subscribers and stores the outcomes.

Handlers run outside any transaction; the outcome of a delivery is stored in a short unit of its own.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import structlog
from sqlalchemy import Integer, bindparam, or_, select, update
from structlog.typing import FilteringBoundLogger

from shopkeeper.cancellation import end_tasks
from shopkeeper.clock import Clock
from shopkeeper.storage.database import Database, Unit, to_the_end
from shopkeeper.storage.outbox import SHARE_OF_LEASE, UNLOCKED, Event, event_of, held_up, outbox, waiting
from shopkeeper.storage.unavailable import DATABASE_ERRORS
from shopkeeper.transaction_guard import outside_transactions

_DUE: Final = (
    select(outbox)
    .where(waiting, outbox.c.topic == bindparam("topic"), outbox.c.available_at <= bindparam("now"))
    .where(or_(outbox.c.locked_until.is_(None), outbox.c.locked_until <= bindparam("now")))
    .where(~held_up)
    .order_by(outbox.c.available_at, outbox.c.sequence)
    .limit(bindparam("room", type_=Integer))
)
_DUE_AND_FREE: Final = _DUE.with_for_update(skip_locked=True)

LONGEST_ERROR: Final = 500
LOST: Final = "the lease ended without an outcome: a worker or a request that held it was killed, or too slow"
LEAST_ATTEMPTS: Final = 6
GIVE_UP_AFTER: Final = timedelta(days=1)

Handler = Callable[[Event], Awaitable[None]]
GiveUp = Callable[[Unit, Event], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Delivers the events of a topic.

    `give_up` records that an event will not be tried again. It runs in the unit that makes the event a dead letter,
    also where no attempt ran to its end. `least_attempts` is how often an event is tried before that.
    """

    deliver: Handler
    give_up: GiveUp | None = None
    least_attempts: int = LEAST_ATTEMPTS

    def __post_init__(self) -> None:
        if self.least_attempts < 1:
            raise ValueError("an event needs at least one attempt")


class OutboxWorker:
    """Delivers events. Any number may run, in one process or on many hosts.

    Args:
        subscribers: the subscriber of each topic. Topics without one are left to other workers.
        random: returns numbers from 0 to 1, for jitter.
        poll: how often to look for events when `wake` is not called; events of other processes are found this way.
        at_once: how many events of a topic, each of another key, are delivered concurrently.
        lease: how long a handler may take. One that takes longer is cancelled and has failed; the events of a worker
            that died are taken over after this time. The clocks of all hosts must agree to within a fraction of it.
        give_up_after: how old an event must be to be given up. It must also have had its subscriber's `least_attempts`,
            so that an event that waited long for its turn, or for a worker, is tried often enough.
        pause: the pause after the first failure; it doubles with each one, up to `longest_pause`.
    """

    def __init__(
        self,
        database: Database,
        subscribers: Mapping[str, Subscriber],
        *,
        clock: Clock,
        random: Callable[[], float],
        poll: timedelta = timedelta(seconds=1),
        at_once: int = 20,
        lease: timedelta = timedelta(minutes=1),
        give_up_after: timedelta = GIVE_UP_AFTER,
        pause: timedelta = timedelta(seconds=5),
        longest_pause: timedelta = timedelta(hours=1),
        log: FilteringBoundLogger | None = None,
    ) -> None:
        if at_once < 1 or lease <= timedelta(0):
            raise ValueError("a worker needs room for an event and a time for it")
        self._database, self._subscribers = database, dict(subscribers)
        self._clock, self._random = clock, random
        self._poll, self._at_once, self._lease, self._give_up_after = poll, at_once, lease, give_up_after
        self._pause, self._longest_pause = pause, longest_pause
        self._log: FilteringBoundLogger = log or structlog.get_logger("shopkeeper.outbox")
        self._id = uuid4()
        self._woken = asyncio.Event()
        self._under_way: dict[asyncio.Task[None], str] = {}

    def replace(self, subscribers: Mapping[str, Subscriber]) -> None:
        """Deliver by other subscribers from now on. Deliveries under way end as they began."""
        self._subscribers = {**self._subscribers, **subscribers}

    async def end_of_deliveries(self) -> None:
        """Wait until the deliveries that are under way now have ended, no longer than a lease."""
        if self._under_way:
            await asyncio.wait(set(self._under_way), timeout=self._lease.total_seconds())

    def wake(self) -> None:
        """Look for events now."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled; then give unfinished deliveries back for other workers to take at once."""
        try:
            while True:
                self._woken.clear()
                await self._look()
                await self._wait()
        finally:
            await to_the_end(self._let_go())

    async def run_once(self) -> int:
        """Take the events that are due and wait for their outcomes; return how many there were."""
        try:
            begun = await self._begin()
            while self._under_way:
                await asyncio.wait(self._under_way)
                self._put_away()
        except BaseException:
            await to_the_end(self._let_go())
            raise
        return begun

    async def _look(self) -> None:
        try:
            self._put_away()
            await self._begin()
        except DATABASE_ERRORS as failed:
            self._log.warning("outbox.database_unavailable", error=type(failed).__name__)

    async def _wait(self) -> None:
        """Wait until an event was added, a delivery has ended, or the poll interval is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._poll.total_seconds()):
                await self._woken.wait()

    def _put_away(self) -> None:
        """Remove finished deliveries. Raises where an outcome was not stored: that event's lease expires."""
        over = [task for task in self._under_way if task.done()]
        for task in over:
            del self._under_way[task]
        for unwritten in [task.exception() for task in over if not task.cancelled()]:
            if unwritten is not None:
                raise unwritten

    async def _begin(self) -> int:
        """Start deliveries up to the limit of each topic; return how many were started."""
        begun = 0
        for topic in self._subscribers:
            room = self._at_once - list(self._under_way.values()).count(topic)
            for event in await self._claim(topic, room=room) if room else ():
                self._start(event)
                begun += 1
        return begun

    def _start(self, event: Event) -> None:
        task = asyncio.create_task(self._deliver(event), context=outside_transactions())
        self._under_way[task] = event.topic
        task.add_done_callback(lambda _: self.wake())

    async def _claim(self, topic: str, *, room: int) -> list[Event]:
        """Take the first waiting event of each key that is due and not leased.

        Query before beginning a transaction: most of the time nothing is due, and SQLite has one writer.

        Two workers cannot take events of one key at once: the second event is not the first of its key until the
        outcome of the first is stored. PostgreSQL skips a row that another worker is taking. It checks a row again that
        another worker has just taken, once its lock is released, and the row no longer matches.
        """
        now = self._clock.now()
        asked = {"topic": topic, "now": now, "room": room}
        async with self._database.unit() as unit:
            if await unit.first(_DUE, asked) is None:
                return []
            await unit.begin()
            rows = await unit.all(_DUE_AND_FREE, asked)
            for row in (row for row in rows if row.locked_by is not None):
                await self._fail(unit, event_of(row), error="WorkerLost", said=LOST, holder=row.locked_by)
            taken = [row for row in rows if row.locked_by is None]
            if taken:
                await unit.write(
                    update(outbox)
                    .where(outbox.c.sequence.in_([row.sequence for row in taken]))
                    .values(locked_by=self._id, locked_until=now + self._lease, attempts=outbox.c.attempts + 1)
                )
        return [event_of(row, attempt=row.attempts + 1) for row in taken]

    async def _deliver(self, event: Event) -> None:
        try:
            async with asyncio.timeout(self._lease.total_seconds() * SHARE_OF_LEASE):
                await self._subscribers[event.topic].deliver(event)
        except Exception as failed:  # an event is kept and tried again after any exception of its handler
            await to_the_end(self._write_failure(event, failed))
        else:
            await to_the_end(self._write_delivery(event))

    async def _write_delivery(self, event: Event) -> None:
        async with self._database.unit() as unit:
            await self._write(unit, event, {"delivered_at": self._clock.now(), "last_error": None}, holder=self._id)

    async def _write_failure(self, event: Event, failed: Exception) -> None:
        error = type(failed).__name__
        async with self._database.unit() as unit:
            await self._fail(unit, event, error=error, said=f"{error}: {failed}", holder=self._id)

    async def _fail(self, unit: Unit, event: Event, *, error: str, said: str, holder: UUID) -> None:
        """Store that an attempt failed, and whether the event is tried again later or becomes a dead letter."""
        now, subscriber = self._clock.now(), self._subscribers[event.topic]
        over = event.attempt >= subscriber.least_attempts and now - event.created_at >= self._give_up_after
        later = now + self._back_off(event.attempt)
        fate = {"died_at": now} if over else {"available_at": later}
        if not await self._write(unit, event, {**fate, "last_error": said[:LONGEST_ERROR]}, holder=holder):
            return
        if not over:
            await self._hold_up(unit, event.key, until=later)
        elif subscriber.give_up is not None:
            await self._give_up(unit, event, subscriber.give_up)
        self._tell(event, over=over, error=error)

    async def _give_up(self, unit: Unit, event: Event, give_up: GiveUp) -> None:
        try:
            async with unit.savepoint():
                await give_up(unit, event)
        except DATABASE_ERRORS:
            raise
        except Exception:  # otherwise an event whose `give_up` fails would stop every worker
            self._log.exception("outbox.give_up_failed", event_id=str(event.id), topic=event.topic)

    async def _write(self, unit: Unit, event: Event, outcome: Mapping[str, Any], *, holder: UUID) -> bool:
        """Store an outcome. Returns `False`, and changes nothing, where another worker has taken over the lease."""
        mine = outbox.c.id == event.id, outbox.c.locked_by == holder, outbox.c.attempts == event.attempt
        return (await unit.write(update(outbox).where(*mine).values(**outcome, **UNLOCKED))).rowcount == 1

    async def _hold_up(self, unit: Unit, key: str, *, until: datetime) -> None:
        """Postpone the later events of a key that failed: they cannot be taken before it."""
        behind = outbox.c.key == key, waiting, outbox.c.available_at < until
        await unit.write(update(outbox).where(*behind).values(available_at=until))

    def _back_off(self, attempt: int) -> timedelta:
        """Double the pause with each attempt; jitter down to a half spreads events that failed together."""
        doubled = self._pause * (1 << min(attempt - 1, 30))
        return min(doubled, self._longest_pause) * (0.5 + self._random() / 2)

    def _tell(self, event: Event, *, over: bool, error: str) -> None:
        tell = self._log.error if over else self._log.warning
        tell(
            "outbox.dead_letter" if over else "outbox.failed",
            event_id=str(event.id),
            topic=event.topic,
            attempt=event.attempt,
            error=error,
        )

    async def _let_go(self) -> None:
        """Cancel deliveries and give their events back. The attempt does not count, because the worker ended it."""
        await end_tasks(self._under_way)
        self._under_way.clear()
        try:
            async with self._database.unit() as unit:
                await unit.write(
                    update(outbox)
                    .where(outbox.c.locked_by == self._id, waiting)
                    .values(attempts=outbox.c.attempts - 1, **UNLOCKED)
                )
        except DATABASE_ERRORS as failed:  # the events are taken over when their leases expire
            self._log.warning("outbox.database_unavailable", error=type(failed).__name__)
