"""Counts the attempts of a flow, such as guesses at its code, and gives back those that we were too busy to answer."""

from collections import OrderedDict
from datetime import datetime
from typing import Final
from uuid import UUID

from shopkeeper import refunds
from shopkeeper.credentials.steps import LastAttempt, StartOver
from shopkeeper.errors import Busy
from shopkeeper.flows import store
from shopkeeper.storage.database import Database, Unit

MOST_OWED: Final = 10_000
"""The flows whose attempts wait to be given back; the oldest are dropped. The database was away when they ended."""


class AttemptsUsedUp(Exception):
    """Raised where a right secret comes after all the attempts that its flow allows. `instead` is the step then."""

    def __init__(self, instead: StartOver) -> None:
        self.instead = instead


class FlowAttempts:
    """Counts attempts in the row of their flow, each in a unit of its own, so that parallel ones are all counted.

    An attempt whose operation ends with 503 is owed to its flow, and given back by the statement with which this
    process counts the next one: a database that was away for the attempt would be away for giving it back, too.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._owed: OrderedDict[UUID, int] = OrderedDict()

    async def count(self, flow_id: UUID, most: int) -> bool:
        """Count an attempt; return False where the flow has had `most`. Raises `Busy`."""
        owed = self._owed.pop(flow_id, 0)
        try:
            async with self._database.unit() as unit:
                counted = await store.count_attempt(unit, flow_id, most=most, owed=owed)
        except Busy:
            self._owe(flow_id, owed)
            raise
        if counted:
            await refunds.charge(give_back=lambda: self._give_back(flow_id))
        else:
            self._owe(flow_id, owed)
        return counted

    async def finish(self, unit: Unit, flow_id: UUID, at: datetime, *, last: LastAttempt) -> bool:
        """End a flow and count its last attempt by one statement of the caller's transaction; return False where it has
        ended before. Where the transaction rolls back, the attempt was not counted: its secret was right.

        Raises `AttemptsUsedUp`.
        """
        had = await store.finish_counted(unit, flow_id, at)
        if had is not None and had > last.most + self._owed.get(flow_id, 0):
            raise AttemptsUsedUp(last.too_many)
        return had is not None

    async def _give_back(self, flow_id: UUID) -> None:
        self._owe(flow_id, 1)

    def _owe(self, flow_id: UUID, attempts: int) -> None:
        if attempts:
            self._owed[flow_id] = self._owed.get(flow_id, 0) + attempts
            self._owed.move_to_end(flow_id)
            while len(self._owed) > MOST_OWED:
                self._owed.popitem(last=False)
