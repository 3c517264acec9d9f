"""Delivers what is in the outbox, by its promises: takes it, calls whoever subscribed, writes down how it went.

Handlers run outside any transaction; that an event was delivered is written in a short unit of its own.
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
    """Who delivers the events of a topic.

    `give_up` writes down that an event will not be tried again, in the unit in which it becomes a dead letter: also
    where its handler never came to say anything. `least_attempts` is how often it is tried before that may happen.
    """

    deliver: Handler
    give_up: GiveUp | None = None
    least_attempts: int = LEAST_ATTEMPTS

    def __post_init__(self) -> None:
        if self.least_attempts < 1:
            raise ValueError("an event needs at least one attempt")


class OutboxWorker:
    """Delivers events. Run as many as you like, in one process or on many hosts.

    Args:
        subscribers: who delivers which topic. Topics without a subscriber here are left to other workers.
        random: gives numbers from 0 to 1, for jitter.
        poll: how often to look when nobody wakes it; events of other processes are found this way.
        at_once: how many events of a topic, each of another key, are under way at once.
        lease: how long a handler may take. One that takes longer is cancelled and has failed; the events of a worker
            that died are taken over after this time. The clocks of all hosts must agree to within a fraction of it.
        give_up_after: how old an event must be to be given up; and it must have had its subscriber's `least_attempts`,
            so that one which waited long for its turn, or for any worker, has a fair chance.
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

    def wake(self) -> None:
        """Says that there is something to deliver."""
        self._woken.set()

    async def run(self) -> None:
        """Delivers until cancelled. What it has begun then is given back, for others to deliver at once."""
        try:
            while True:
                self._woken.clear()
                await self._look()
                await self._wait()
        finally:
            await to_the_end(self._let_go())

    async def run_once(self) -> int:
        """Takes what there is room for and sees each event through to its outcome; says how many there were."""
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
        """Until there is news: an event was added, a delivery has ended, or others may have written something."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._poll.total_seconds()):
                await self._woken.wait()

    def _put_away(self) -> None:
        """Makes room. An outcome that could not be written is raised; its event comes back when its lease ends."""
        over = [task for task in self._under_way if task.done()]
        for task in over:
            del self._under_way[task]
        for unwritten in [task.exception() for task in over if not task.cancelled()]:
            if unwritten is not None:
                raise unwritten

    async def _begin(self) -> int:
        """Fills the room of each topic; says how many events it began with."""
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
        """Takes the first waiting event of each key, unless somebody has it or it is to wait.

        Looks before it begins a transaction: most of the time there is nothing, and SQLite has one writer.

        Two workers cannot take events of one key at once: the second event is not the key's first until the first one's
        outcome is written. A row that another worker is just taking is skipped; one it has just taken is looked at
        again by PostgreSQL once its lock is gone, and does not fit any more.
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
        except Exception as failed:  # whatever a handler raises, the event must be kept and tried again
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
        """Writes down that an attempt failed, and what becomes of the event: another attempt later, or none."""
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
            await give_up(unit, event)
        except DATABASE_ERRORS:
            raise
        except Exception:  # an event that nobody can even give up would end every worker, one after the other
            self._log.exception("outbox.give_up_failed", event_id=str(event.id), topic=event.topic)

    async def _write(self, unit: Unit, event: Event, outcome: Mapping[str, Any], *, holder: UUID) -> bool:
        """Unless the lease has passed to another worker: then the outcome is that one's to write."""
        mine = outbox.c.id == event.id, outbox.c.locked_by == holder, outbox.c.attempts == event.attempt
        return (await unit.write(update(outbox).where(*mine).values(**outcome, **UNLOCKED))).rowcount == 1

    async def _hold_up(self, unit: Unit, key: str, *, until: datetime) -> None:
        """What waits behind a failure cannot be taken before it, so that nobody needs to look at it until then."""
        behind = outbox.c.key == key, waiting, outbox.c.available_at < until
        await unit.write(update(outbox).where(*behind).values(available_at=until))

    def _back_off(self, attempt: int) -> timedelta:
        """Doubling, with jitter down to a half, so that what failed together is not tried together again."""
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
        """Ends what is under way and gives it back. Stopping is not its fault, so the attempt does not count."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        self._under_way.clear()
        try:
            async with self._database.unit() as unit:
                await unit.write(
                    update(outbox)
                    .where(outbox.c.locked_by == self._id, waiting)
                    .values(attempts=outbox.c.attempts - 1, **UNLOCKED)
                )
        except DATABASE_ERRORS as failed:  # they come back when their lease ends
            self._log.warning("outbox.database_unavailable", error=type(failed).__name__)
