"""Notifies live connections when their session has ended.

A connection that stays open (WebSocket, server-sent events) is authenticated once. `EndWatch` reports the end of its
session soon after this process can know of it. An announcement only says that a session or an identity has changed, so
the affected sessions are read again, many with one query, in a task of its own: announcing never waits.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from itertools import islice
from typing import Final
from uuid import UUID

import structlog

from shopkeeper.cancellation import end_tasks
from shopkeeper.clock import Clock
from shopkeeper.errors import Busy
from shopkeeper.sessions import store as rows
from shopkeeper.storage.database import Database
from shopkeeper.storage.unavailable import DATABASE_ERRORS

MOST_CALLBACKS: Final = 100_000
AT_ONCE: Final = 500
"""How many sessions are read with one query."""
TICK: Final = 1.0
"""Seconds between looks at the clock while sessions are watched."""
CHECK_EVERY: Final = timedelta(seconds=60)
"""How often a session is read again without an announcement; a session is cached for no longer than that."""
CHECK_EVERY_UNHEARD: Final = timedelta(seconds=5)
"""How often a session is read again while announcements of other processes are not heard."""

log = structlog.get_logger(__name__)


class EndReason(StrEnum):
    """Why a callback is called."""

    ENDED = "ended"
    """The session was revoked or deleted, or its identity may not sign in any more."""
    EXPIRED = "expired"
    """The session has expired."""
    UNKNOWN = "unknown"
    """Announcements may have been missed: authenticate the connection again, and watch its session again."""


EndCallback = Callable[[EndReason], None]


@dataclass(slots=True, eq=False)
class _Watched:
    """The state of a watched session; `identity_id` and `until` are `None` until it is read for the first time."""

    callbacks: dict[object, EndCallback] = field(default_factory=dict)
    identity_id: UUID | None = None
    until: datetime | None = None
    checked_at: datetime | None = None


class EndWatch:
    """Callbacks by session, called once each.

    Args:
        most: the maximum number of callbacks.
        tick: seconds between looks at the clock.
    """

    def __init__(self, database: Database, *, clock: Clock, most: int = MOST_CALLBACKS, tick: float = TICK) -> None:
        self._database, self._clock, self._most, self._tick = database, clock, most, tick
        self._watched: dict[UUID, _Watched] = {}
        self._by_identity: dict[UUID, set[UUID]] = {}
        self._unread: set[UUID] = set()
        self._due: set[UUID] = set()
        self._uncertain: set[UUID] = set()
        self._count = 0
        self._hearing = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def add(self, session_id: UUID, callback: EndCallback) -> Callable[[], None]:
        """Call `callback` once when the session has ended, even before this call. Returns a function that cancels it.

        Raises `Busy` at the maximum number of callbacks.
        """
        if self._count >= self._most:
            raise Busy(retry_after=1)
        watched = self._watched.get(session_id)
        if watched is None:
            watched = self._watched[session_id] = _Watched()
            self._unread.add(session_id)
        handle = object()
        watched.callbacks[handle] = callback
        self._count += 1
        self._check([session_id])
        self._start()
        return partial(self._cancel, session_id, watched, handle)

    def changed(self, ids: Iterable[UUID]) -> None:
        """Read the watched ones among the changed sessions and identities again. Call it after the commit."""
        for each in ids:
            if each in self._watched:
                self._check([each])
            self._check(self._by_identity.get(each, ()))
        # A session that was not read yet may belong to one of these identities.
        self._check(self._unread)

    def all_changed(self) -> None:
        """Read all watched sessions again: any of them may have changed."""
        self._check(self._watched)

    def set_hearing(self, hearing: bool) -> None:
        """Set whether announcements of other processes are heard from now on."""
        if self._hearing and not hearing:
            self._uncertain.update(self._watched)
            self._wake.set()
        self._hearing = hearing
        self.all_changed()

    async def close(self) -> None:
        """Stop watching, without calling any callback."""
        if self._task is not None:
            await end_tasks([self._task])
        for session_id in list(self._watched):
            self._forget(session_id)
        self._count = 0

    def _check(self, ids: Iterable[UUID]) -> None:
        before = len(self._due)
        self._due.update(ids)
        if len(self._due) > before:
            self._wake.set()

    def _start(self) -> None:
        if self._task is None or self._task.done():
            # A context of its own: its log lines belong to no request.
            self._task = asyncio.create_task(self._run(), name="watch for ended sessions", context=Context())

    async def _run(self) -> None:
        while self._watched:
            try:
                await self._report()
            except DATABASE_ERRORS as failed:
                log.warning("sessions.end_watch_delayed", watched=len(self._watched), error=type(failed).__name__)
                await asyncio.sleep(self._tick)
            except Exception:  # a bug here must not leave live connections unnotified
                log.exception("sessions.end_watch_failed")
                await asyncio.sleep(self._tick)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._tick)
            self._wake.clear()
            self._check(self._due_by_time())

    async def _report(self) -> None:
        """Read the sessions that are due, and call the callbacks of those that have ended."""
        while self._uncertain or self._due:
            while self._uncertain:
                self._end(self._uncertain.pop(), EndReason.UNKNOWN)
            chosen = list(islice(self._due, AT_ONCE))
            found = await self._read(chosen) if chosen else {}
            for each in chosen:
                self._judge(each, found.get(each))

    async def _read(self, chosen: Sequence[UUID]) -> Mapping[UUID, rows.Validity]:
        """Read sessions. One that is announced meanwhile becomes due again; what could not be read stays due."""
        self._due.difference_update(chosen)
        try:
            async with self._database.unit() as unit:
                return await rows.validity_of(unit, chosen)
        except BaseException:
            self._due.update(each for each in chosen if each in self._watched)
            raise

    def _judge(self, session_id: UUID, found: rows.Validity | None) -> None:
        watched, now = self._watched.get(session_id), self._clock.now()
        if watched is None:
            return
        if found is None or not found.active:
            self._end(session_id, EndReason.ENDED)
        elif found.expires_at <= now:
            self._end(session_id, EndReason.EXPIRED)
        else:
            watched.identity_id, watched.until, watched.checked_at = found.identity_id, found.expires_at, now
            self._by_identity.setdefault(found.identity_id, set()).add(session_id)
            self._unread.discard(session_id)

    def _due_by_time(self) -> list[UUID]:
        now, every = self._clock.now(), CHECK_EVERY if self._hearing else CHECK_EVERY_UNHEARD
        return [
            session_id
            for session_id, watched in self._watched.items()
            if (watched.until is not None and watched.until <= now)
            or (watched.checked_at is not None and watched.checked_at + every <= now)
        ]

    def _end(self, session_id: UUID, reason: EndReason) -> None:
        watched = self._forget(session_id)
        while watched is not None and watched.callbacks:
            _, callback = watched.callbacks.popitem()
            self._count -= 1
            try:
                callback(reason)
            except Exception:  # an exception of one callback must not prevent the others
                log.exception("sessions.end_callback_failed")

    def _cancel(self, session_id: UUID, watched: _Watched, handle: object) -> None:
        if watched.callbacks.pop(handle, None) is not None:
            self._count -= 1
        if not watched.callbacks and self._watched.get(session_id) is watched:
            self._forget(session_id)

    def _forget(self, session_id: UUID) -> _Watched | None:
        watched = self._watched.pop(session_id, None)
        for ids in (self._unread, self._due, self._uncertain):
            ids.discard(session_id)
        if watched is not None and watched.identity_id is not None:
            own = self._by_identity[watched.identity_id]
            own.discard(session_id)
            if not own:
                del self._by_identity[watched.identity_id]
        return watched
