"""Writing a flow's row: every write compares the version that was read, so that of two submissions one is stored."""

from dataclasses import replace
from uuid import UUID

from shopkeeper.clock import Clock
from shopkeeper.credentials.steps import LastAttempt, SubmissionRejected
from shopkeeper.flows import store
from shopkeeper.flows.attempts import FlowAttempts
from shopkeeper.flows.flow import Flow
from shopkeeper.flows.handler import Turn
from shopkeeper.flows.outcomes import FlowInvalid, finished
from shopkeeper.flows.rejections import form_with_mistakes
from shopkeeper.storage.database import Database, Unit


class Superseded(Exception):
    """Another submission of the same flow was stored first; this one rolls back."""


class FlowWriter:
    """Stores and ends flows."""

    def __init__(self, database: Database, *, attempts: FlowAttempts, clock: Clock) -> None:
        self._database = database
        self._attempts = attempts
        self._clock = clock

    async def store(self, unit: Unit, flow: Flow) -> Flow:
        """Store the flow in place of the version that was read. Raises `Superseded`."""
        shown = replace(flow, updated_at=self._clock.now())
        if (await unit.write(*store.keeping(shown))).rowcount != 1:
            raise Superseded
        return replace(shown, version=flow.version + 1)

    async def show(self, flow: Flow) -> FlowInvalid:
        """Store a form with messages; the caller raises what is returned."""
        async with self._database.unit() as unit:
            stored = await self.store(unit, flow)
        return FlowInvalid(stored)

    async def finish(self, unit: Unit, flow: Flow, last: LastAttempt | None = None) -> None:
        """End the flow before anything is given for it; only one submission can. Raises `FlowExpired`, and
        `AttemptsUsedUp` where a submission that counts as an attempt comes too late."""
        now = self._clock.now()
        if last is None:
            is_first = await store.finish(unit, flow.id, now)
        else:
            is_first = await self._attempts.finish(unit, flow.id, now, last=last)
        if not is_first:
            raise finished(flow)

    async def lead_on(self, unit: Unit, turn: Turn, to: tuple[str, UUID] | None) -> None:
        """Keep with a flow that has ended by a callback, and without a session, where it has led to, for a browser that
        comes back once more (`repeated_callbacks.py`). See `store.lead_on`."""
        if turn.query and not turn.by_link:
            await store.lead_on(unit, turn.flow, to)

    async def rejected(self, turn: Turn, rejected: SubmissionRejected) -> FlowInvalid:
        """Store the form with these messages; the caller raises what is returned."""
        invalid = form_with_mistakes(turn, rejected, now=self._clock.now())
        async with self._database.unit() as unit:
            await unit.write(*store.keeping(invalid.flow))
        return invalid
