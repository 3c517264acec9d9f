"""Acting on the step of a submission: one transaction, then what goes to other servers.

A step is a value (`credentials/steps.py`). `Dispatcher.dispatch` is the only place that acts on one. It shows forms,
redirects and replaces flows itself; what ends a flow has a file for each step.
"""

from dataclasses import replace

from shopkeeper.clock import Clock
from shopkeeper.credentials import mailed_nodes
from shopkeeper.credentials.by_mail import WRONG
from shopkeeper.credentials.steps import (
    AnyStep,
    Ask,
    CredentialChange,
    Enrolment,
    Proof,
    Redirect,
    StartOver,
    TraitsChange,
    Unverified,
    Verified,
)
from shopkeeper.flows import store
from shopkeeper.flows.account_changes import AccountChanges
from shopkeeper.flows.address_proofs import AddressProofs
from shopkeeper.flows.asking_guest import remembering_guest
from shopkeeper.flows.attempts import AttemptsUsedUp
from shopkeeper.flows.departures import Departures
from shopkeeper.flows.enrolments import Enrolments
from shopkeeper.flows.flow import Flow, FlowState, FlowType
from shopkeeper.flows.flow_writer import FlowWriter
from shopkeeper.flows.followers import forgetting_code
from shopkeeper.flows.handler import FlowHandler, NextForm, Turn
from shopkeeper.flows.keep_signed_in import KeepSignedIn
from shopkeeper.flows.opener import FlowOpener
from shopkeeper.flows.outcomes import FlowOutcome, Replaced, Updated
from shopkeeper.flows.proofs import Proofs
from shopkeeper.flows.registrants import remembering_account
from shopkeeper.flows.rejections import refused_links, rejections_shown
from shopkeeper.storage.database import Database
from shopkeeper.ui.messages import message
from shopkeeper.ui.nodes import csrf_node


class Dispatcher:
    """Acts on steps."""

    def __init__(
        self,
        *,
        database: Database,
        writer: FlowWriter,
        opener: FlowOpener,
        keeping: KeepSignedIn,
        departures: Departures,
        proofs: Proofs,
        enrolments: Enrolments,
        address_proofs: AddressProofs,
        changes: AccountChanges,
        clock: Clock,
    ) -> None:
        self._database = database
        self._writer = writer
        self._opener = opener
        self._keeping = keeping
        self._departures = departures
        self._proofs = proofs
        self._enrolments = enrolments
        self._address_proofs = address_proofs
        self._changes = changes
        self._clock = clock

    async def dispatch(self, handler: FlowHandler, turn: Turn, step: AnyStep | NextForm) -> FlowOutcome:
        """Act on a step. Never call it while a transaction is open.

        Raises `FlowInvalid` where the step is rejected after all, `Superseded`, or a refusal.
        """
        try:
            return await self._dispatched(handler, turn, step)
        except AttemptsUsedUp as used_up:
            return await self._start_over(handler, turn, used_up.instead)
        except refused_links(turn):
            # The browser that follows a link need not be the one that could be shown this form again.
            wrong = message(WRONG[turn.flow.kind, mailed_nodes.LINK])
            return await self._start_over(handler, turn, StartOver((wrong,), keeps_flow=True))

    async def _dispatched(self, handler: FlowHandler, turn: Turn, step: AnyStep | NextForm) -> FlowOutcome:
        outcome: FlowOutcome
        match step:
            case NextForm():
                outcome = await self._show(step)
            case Ask():
                outcome = await self._ask(handler, turn, step)
            case Redirect():
                outcome = await self._departures.leave(turn, step)
            case StartOver():
                outcome = await self._start_over(handler, turn, step)
            case Proof():
                outcome = await self._proofs.prove(turn, step)
            case Enrolment():
                outcome = await self._enrolments.enrol(turn, step)
            case CredentialChange() | TraitsChange():
                outcome = await self._changes.apply(handler, turn, step)
            case Verified():
                outcome = await self._address_proofs.verify(handler, turn, step)
            case Unverified():
                raise await self._proofs.require_verification(turn, step)
        return outcome

    async def _show(self, step: NextForm) -> Updated:
        async with self._database.unit() as unit:
            stored = await self._writer.store(unit, self._keeping.shown(step.flow))
        return Updated(stored, status=step.status)

    async def _ask(self, handler: FlowHandler, turn: Turn, ask: Ask) -> Updated:
        nodes = list(handler.place(turn, ask.form))
        if turn.flow.type is FlowType.BROWSER and not any(node.name == "csrf_token" for node in nodes):
            nodes.append(csrf_node())
        shown = replace(
            forgetting_code(turn.flow).remembering(turn.method, ask.form.context),
            nodes=tuple(nodes),
            messages=tuple(ask.messages),
            state=FlowState(ask.state) if ask.state else turn.flow.state,
            active=ask.active or turn.method,
            transient_payload=ask.transient_payload,
        )
        shown = self._keeping.shown(remembering_account(remembering_guest(shown, turn.caller), turn.caller))
        async with self._database.unit() as unit:
            with rejections_shown(unit, turn, now=self._clock.now()):
                stored = await self._writer.store(unit, shown)
                if ask.effect is not None:
                    await ask.effect(unit)
        return Updated(stored, status=ask.status)

    async def _start_over(self, handler: FlowHandler, turn: Turn, step: StartOver) -> Replaced:
        async with self._database.unit() as unit:
            if not step.keeps_flow:
                await self._writer.finish(unit, turn.flow)
            fresh = await self._opener.replace(unit, handler, turn, step.messages, shown=turn.flow.nodes)
            if step.shows_end:
                fresh = _ended_like(turn.flow, fresh)
            await store.add(unit, fresh)
            if not step.keeps_flow:
                await self._writer.lead_on(unit, turn, (fresh.kind, fresh.id))
        return Replaced(turn.flow, fresh, step.refusal)


def _ended_like(flow: Flow, fresh: Flow) -> Flow:
    """Return the replacement of a flow with the end of that one."""
    return replace(
        fresh,
        nodes=flow.nodes,
        state=flow.state,
        active=flow.active,
        finished_at=fresh.issued_at,
        transient_payload=None,
    )
