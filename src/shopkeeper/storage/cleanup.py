"""Deletes expired rows in bounded batches, at an interval."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from shopkeeper.clock import Clock
from shopkeeper.storage.database import Database, Unit
from shopkeeper.storage.unavailable import DATABASE_ERRORS

log = structlog.get_logger("shopkeeper.upkeep")

BATCH = 500
BATCHES_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """A retention rule: what is deleted `after` a time.

    `delete(unit, before, batch)` deletes at most `batch` rows that ended before `before` and returns how many it
    deleted.
    """

    name: str
    after: timedelta
    delete: Callable[[Unit, datetime, int], Awaitable[int]]


class Cleanup:
    """Runs the retention rules, each batch in a unit of its own."""

    def __init__(
        self, database: Database, retention_rules: Sequence[RetentionRule], *, clock: Clock, every: timedelta
    ) -> None:
        self._database = database
        self._rules = tuple(retention_rules)
        self._clock = clock
        self._every = every

    def replace(self, retention_rules: Sequence[RetentionRule]) -> None:
        """Run other rules from the next interval on."""
        self._rules = tuple(retention_rules)

    async def run(self) -> None:
        """Run until cancelled. A rule that fails is tried again at the next interval."""
        while True:
            await asyncio.sleep(self._every.total_seconds())
            await self.run_once()

    async def run_once(self) -> dict[str, int]:
        """Run each rule for a bounded number of batches; return how many rows each one deleted."""
        return {rule.name: await self._try(rule) for rule in self._rules}

    async def _try(self, rule: RetentionRule) -> int:
        try:
            return await self._do(rule)
        except DATABASE_ERRORS as failed:
            log.warning("upkeep.failed", chore=rule.name, error=type(failed).__name__)
        except Exception:  # a bug in one rule must not stop the others
            log.exception("upkeep.failed", chore=rule.name)
        return 0

    async def _do(self, rule: RetentionRule) -> int:
        before, gone = self._clock.now() - rule.after, 0
        for _ in range(BATCHES_AT_ONCE):
            async with self._database.unit() as unit:
                batch = await rule.delete(unit, before, BATCH)
            gone += batch
            if batch < BATCH:
                break
        return gone
