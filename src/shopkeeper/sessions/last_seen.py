"""Writes down that sessions were used, so that unused ones end.

A request never waits for it: the idle end of a session is moved in the background, at most once in some minutes, and
for many sessions with one statement. What is used while a batch is written goes into the next one. An end that has
passed is never moved, so a session that has ended stays so, whichever process has seen it last.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from itertools import islice
from typing import Final
from uuid import UUID

import structlog

from shopkeeper.cancellation import end_tasks
from shopkeeper.clock import Clock
from shopkeeper.sessions import store as rows
from shopkeeper.sessions.cache import SessionCache
from shopkeeper.sessions.lifetimes import Lifetimes
from shopkeeper.sessions.values import Session
from shopkeeper.storage.database import Database
from shopkeeper.storage.unavailable import DATABASE_ERRORS

AT_ONCE: Final = 500
MOST_WAITING: Final = 100_000
PAUSE: Final = 1.0
"""Seconds until it is tried again after the database has failed."""
LAST_ATTEMPT: Final = 2.0

log = structlog.get_logger(__name__)


class LastSeen:
    """Moves the idle ends of sessions that are used.

    Args:
        cache: is told the new ends, so that it need not read them.
    """

    def __init__(self, database: Database, *, cache: SessionCache, clock: Clock, lifetimes: Lifetimes) -> None:
        self._database, self._cache, self._clock, self._lifetimes = database, cache, clock, lifetimes
        self._waiting: dict[UUID, bool | None] = {}
        self._writing: frozenset[UUID] = frozenset()
        self._task: asyncio.Task[None] | None = None

    def note(self, session: Session) -> None:
        """Note that a session is used now. It does not wait, and is cheap where nothing has to be written."""
        if not self._lifetimes.outdated(session, self._clock.now()) or session.id in self._writing:
            return
        if len(self._waiting) < MOST_WAITING:
            self._waiting[session.id] = session.kept
            self._start()

    async def settle(self) -> None:
        """Wait until everything noted is written."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def close(self) -> None:
        """Write what is left, and stop."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.settle(), LAST_ATTEMPT)
        if self._task is not None:
            await end_tasks([self._task])

    def _start(self) -> None:
        if self._task is None or self._task.done():
            # A context of its own: its log lines belong to no request.
            self._task = asyncio.create_task(self._run(), name="last use of sessions", context=Context())

    async def _run(self) -> None:
        while self._waiting:
            batch = dict(islice(self._waiting.items(), AT_ONCE))
            for each in batch:
                del self._waiting[each]
            try:
                await self._write_batch(batch)
            except DATABASE_ERRORS as failed:
                self._waiting = {**batch, **self._waiting}
                log.warning("sessions.last_use_delayed", waiting=len(self._waiting), error=type(failed).__name__)
                await asyncio.sleep(PAUSE)
            except Exception:  # a bug here must not be repeated without end
                log.exception("sessions.last_use_failed", lost=len(batch))
                await asyncio.sleep(PAUSE)
            finally:
                self._writing = frozenset()

    async def _write_batch(self, chosen: Mapping[UUID, bool | None]) -> None:
        self._writing = frozenset(chosen)
        # One statement for sessions that are kept signed in, one for the others: the first have no idle end.
        for kept in (True, False):
            await self._write([each for each, choice in chosen.items() if bool(choice) is kept], kept=kept)

    async def _write(self, ids: Sequence[UUID], *, kept: bool) -> None:
        if not ids:
            return
        now = self._clock.now()
        ends_at = self._lifetimes.idle_end(now=now, kept=kept)
        async with self._database.unit() as unit:
            await rows.set_idle_end(unit, sorted(ids), ends_at, now=now)
        self._cache.set_idle_end(ids, ends_at, now=now)
