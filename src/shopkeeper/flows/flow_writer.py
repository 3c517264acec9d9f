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

    async def finish(
        self, unit: Unit, flow: Flow, last: LastAttempt | None = None, *, ended_as: str | None = None
    ) -> None:
        """End the flow before anything is given for it; only one submission can. Raises `FlowExpired`, and
        `AttemptsUsedUp` where a submission that counts as an attempt comes too late.

        `ended_as` is the kind of flow whose end it is, which is kept where it is another one than that of the form."""
        now = self._clock.now()
        if last is None:
            other = ended_as if ended_as != flow.kind else None
            is_first = await store.finish(unit, flow, now, ended_as=other)
        else:
            is_first = await self._attempts.finish(unit, flow.id, now, last=last)
        if not is_first:
            raise finished(flow)

    async def lead_on(
        self, unit: Unit, turn: Turn, to: tuple[str, UUID] | None, *, ended_as: str | None = None
    ) -> None:
        """Keep with a flow that has ended by a callback, and without a session, where it has led to, for a browser that
        comes back once more (`repeated_callbacks.py`): the kind and the id of the flow that goes on in its place; None
        where the browser goes where a flow of the kind `ended_as` leads."""
        if turn.query and not turn.by_link:
            led = {"kind": to[0], "id": str(to[1])} if to is not None else {"end": True}
            await store.keep_led_to(unit, turn.flow, {**led, "as": ended_as or turn.flow.kind})

    async def rejected(self, turn: Turn, rejected: SubmissionRejected) -> FlowInvalid:
        """Store the form with these messages; the caller raises what is returned."""
        invalid = form_with_mistakes(turn, rejected, now=self._clock.now())
        async with self._database.unit() as unit:
            await unit.write(*store.keeping(invalid.flow))
        return invalid
