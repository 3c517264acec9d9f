"""Publishes to the other processes which sessions have changed, and repeats what could not be published.

Publishing may time out here while the other processes still hear messages and keep serving cached sessions. So it is
repeated until it succeeds or no process can have the old session cached.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import chain, repeat
from typing import Final
from uuid import UUID

import msgspec
import structlog

from shopkeeper.cancellation import end_tasks
from shopkeeper.clock import Clock
from shopkeeper.identity.changes import EVERY_IDENTITY
from shopkeeper.storage.cache.port import Cache, CacheDown

CHANNEL: Final = "sessions"
EVERYTHING: Final = EVERY_IDENTITY
"""As an id in a message: drop all cached sessions."""
MOST_UNSAID: Final = 10_000
"""How many unpublished ids are remembered. Above that number, everything is invalidated instead."""
PAUSES: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds between attempts to publish again; the last one is repeated."""

log = structlog.get_logger(__name__)


class Invalidation(msgspec.Struct, frozen=True):
    """A message to other processes: the ids of changed sessions and identities."""

    origin: UUID
    ids: list[UUID]


class InvalidationPublisher:
    """Publishes invalidations for one process.

    Args:
        channel: where it publishes.
        origin: the id of this process, so that it ignores its own messages.
        worth_telling: how long after a change another process may have the old state cached.
        pauses: seconds between attempts to publish again.
    """

    def __init__(
        self,
        cache: Cache,
        *,
        clock: Clock,
        origin: UUID,
        worth_telling: timedelta,
        channel: str = CHANNEL,
        pauses: Sequence[float] = PAUSES,
        most_unsaid: int = MOST_UNSAID,
    ) -> None:
        self._cache, self._clock, self._origin, self._channel = cache, clock, origin, channel
        self._worth_telling, self._pauses, self._most = worth_telling, pauses, most_unsaid
        self._unsaid: dict[UUID, datetime] = {}
        self._catching_up: asyncio.Task[None] | None = None

    async def tell(self, ids: Sequence[UUID]) -> None:
        """Publish the ids now, or repeat that in the background until it succeeds. Never raises `CacheDown`."""
        try:
            await self._publish(ids)
        except CacheDown as down:
            log.warning("sessions.announcement_delayed", changed=len(ids), reason=str(down))
            self._tell_later(ids)
        except (
            asyncio.CancelledError
        ):  # the request was cancelled, but its change is committed: other processes must learn of it
            self._tell_later(ids)
            raise

    def _tell_later(self, ids: Sequence[UUID]) -> None:
        self._remember(dict.fromkeys(ids, self._clock.now() + self._worth_telling))
        self._catch_up()

    async def close(self) -> None:
        """Stop repeating, after a last attempt."""
        if self._catching_up is not None:
            await end_tasks([self._catching_up])
        await self._try_again()

    def _catch_up(self) -> None:
        if self._catching_up is None or self._catching_up.done():
            self._catching_up = asyncio.create_task(self._keep_trying(), name="catch up with announcements")

    async def _keep_trying(self) -> None:
        for pause in chain(self._pauses, repeat(self._pauses[-1])):
            await asyncio.sleep(pause)
            if await self._try_again():
                return

    async def _try_again(self) -> bool:
        """Publish what is left; return whether nothing is left."""
        self._forget_what_is_over()
        unsaid, self._unsaid = self._unsaid, {}
        if not unsaid:
            return True
        try:
            await self._publish(list(unsaid))
        except CacheDown:
            self._remember(unsaid)
            return False
        except asyncio.CancelledError:  # `close` makes the last attempt
            self._remember(unsaid)
            raise
        log.info("sessions.announcement_made_up", changed=len(unsaid))
        return not self._unsaid

    def _remember(self, unsaid: dict[UUID, datetime]) -> None:
        """Keep the later time of each id. Replace too many ids by the one that invalidates everything."""
        for each, until in unsaid.items():
            self._unsaid[each] = max(until, self._unsaid.get(each, until))
        if len(self._unsaid) > self._most:
            self._unsaid = {EVERYTHING: max(self._unsaid.values())}

    def _forget_what_is_over(self) -> None:
        now = self._clock.now()
        over = [each for each, until in self._unsaid.items() if until <= now]
        for each in over:
            del self._unsaid[each]
        if over:
            log.warning("sessions.announcement_lost", changed=len(over))

    async def _publish(self, ids: Sequence[UUID]) -> None:
        await self._cache.publish(self._channel, msgspec.json.encode(Invalidation(self._origin, list(ids))))
