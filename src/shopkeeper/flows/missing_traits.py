"""Asking for the traits that an enrolment lacks: what the method has learned stays with the form, so that the person
need not prove it again.

A registration flow shows the form itself. A login flow ends, and a registration flow takes its place.
"""

from collections.abc import Sequence
from dataclasses import replace

from shopkeeper.clock import Clock
from shopkeeper.credentials.steps import Enrolment, FieldError, SubmissionRejected
from shopkeeper.flows import store
from shopkeeper.flows.carried import taken_over
from shopkeeper.flows.flow import REGISTRATION, Flow, Opening
from shopkeeper.flows.flow_writer import FlowWriter
from shopkeeper.flows.form_filling import with_mistakes
from shopkeeper.flows.handler import CompletesTraits, Turn
from shopkeeper.flows.keep_signed_in import KeepSignedIn
from shopkeeper.flows.opener import FlowOpener, blank_flow
from shopkeeper.flows.outcomes import Diverted
from shopkeeper.flows.rejections import rejections_shown
from shopkeeper.storage.database import Database, Unit


class MissingTraits:
    """Asks for traits."""

    def __init__(
        self,
        *,
        database: Database,
        writer: FlowWriter,
        opener: FlowOpener,
        keeping: KeepSignedIn,
        clock: Clock,
    ) -> None:
        self._database = database
        self._writer = writer
        self._opener = opener
        self._keeping = keeping
        self._clock = clock

    async def ask(self, turn: Turn, enrolment: Enrolment, wrong: Sequence[FieldError]) -> Diverted:
        """Show the form with the traits as they are, and what is wrong with them. Never call it while a transaction is
        open. Raises `FlowInvalid` where the flow is a registration."""
        if turn.flow.kind == REGISTRATION:
            async with self._database.reading() as unit:
                form = await self._form(unit, turn, turn.flow, enrolment, wrong)
            raise await self._writer.show(form)
        opening = Opening(
            type=turn.flow.type,
            request_url=turn.flow.request_url,
            return_to=turn.flow.return_to,
            schema_id=turn.flow.schema_id,
        )
        async with self._database.unit() as unit:
            with rejections_shown(unit, turn, now=self._clock.now()):
                await self._writer.finish(unit, turn.flow, enrolment.attempt)
                handler = self._opener.handler(REGISTRATION, store=turn.flow.store)
                blank = taken_over(turn.flow, blank_flow(handler, opening, turn.caller, clock=self._clock))
                fresh = await self._form(unit, turn, blank, enrolment, wrong)
                await store.add(unit, fresh)
                await self._writer.lead_on(unit, turn, (fresh.kind, fresh.id))
        return Diverted(turn.flow, fresh)

    async def _form(
        self, unit: Unit, turn: Turn, flow: Flow, enrolment: Enrolment, wrong: Sequence[FieldError]
    ) -> Flow:
        handler = self._opener.handler(REGISTRATION, store=flow.store)
        method = enrolment.method
        if not isinstance(handler, CompletesTraits):
            raise TypeError("the registration flow cannot ask for traits")
        knowing = flow.remembering(method, enrolment.context)
        form = await handler.traits_form(unit, knowing, turn.caller, method=method, traits=enrolment.traits)
        shown = self._keeping.shown(with_mistakes(form, SubmissionRejected(fields=wrong)))
        return replace(shown, updated_at=self._clock.now())
