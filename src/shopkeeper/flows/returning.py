"""Returning: another server sends the browser back, and the flow that it left from goes on.

    callback    state known? -> by the browser that left? -> not expired? -> allowed to continue? -> step
    for an app  state known? -> the callback waits -> both codes? -> not expired? -> allowed to continue? -> step

`callbacks.py` finds the flow; `pipeline.py` refuses one that has expired, and has the step dispatched.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from shopkeeper.clock import Clock
from shopkeeper.credentials.steps import AnyStep, Proof
from shopkeeper.errors import FlowExpired, NotFound, Unauthenticated, VerifiedAddressRequired
from shopkeeper.flows.callbacks import Callbacks, CameBack
from shopkeeper.flows.carried import with_carried
from shopkeeper.flows.flow import Caller, Flow, Submission
from shopkeeper.flows.handler import NextForm, Turn
from shopkeeper.flows.outcomes import (
    BackToApp,
    Completed,
    Diverted,
    FlowInvalid,
    FlowOutcome,
    FlowRefused,
    RedirectedAway,
    Replaced,
)
from shopkeeper.flows.pipeline import Pipeline
from shopkeeper.flows.repeated_callbacks import RepeatedCallbacks
from shopkeeper.flows.return_to import ReturnAddresses
from shopkeeper.flows.token_exchange import with_code
from shopkeeper.storage.database import Unit


class Returning:
    """Continues flows that were left for another server.

    Args:
        callbacks: finds the flow of a callback.
        repeated: leads browsers on that come back once more.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        callbacks: Callbacks,
        repeated: RepeatedCallbacks,
        return_addresses: ReturnAddresses,
        clock: Clock,
    ) -> None:
        self._pipeline = pipeline
        self._callbacks = callbacks
        self._repeated = repeated
        self._return = return_addresses
        self._clock = clock

    async def callback(self, method: str, query: Mapping[str, str], caller: Caller) -> FlowOutcome:
        """Continue a flow when another server sends the browser back; the flow is found by `state`, which works once.

        A browser that comes back with it once more is led on. Raises as `Pipeline.submit` and
        `RepeatedCallbacks.lead_on` do.
        """
        back = await self._callbacks.take(method, query, caller)
        if back is None:
            return await self._repeated.lead_on(method, query, caller)
        if back.code is not None:
            return await self._lead_to_app(back, back.code, method, query)
        try:
            return await self._return_from(back, method, query)
        except FlowRefused as refused:
            if isinstance(refused.refusal, VerifiedAddressRequired):
                # The first request leads to the mail's code; those that come later have only this form to say it.
                await self._pipeline.show_reason(back.flow, Submission(), refusal=refused.refusal)
            else:
                await self._callbacks.answered(back.flow)
            raise

    async def finish_for_app(self, flow: Flow, caller: Caller) -> Completed | RedirectedAway | Flow:
        """Do what a callback waits with that an app has brought both codes for; return the flow that goes on, where it
        ended with neither a session nor an account. The flow shows the reason.

        Raises `NotFound` where another request was first, or has ended the flow meanwhile.
        """
        taken = await self._callbacks.take_waiting(flow, caller)
        if taken is None:
            raise NotFound
        back, waiting = taken
        try:
            outcome = await self._return_from(back, waiting.method, waiting.query)
        except FlowInvalid as invalid:
            return invalid.flow
        except FlowRefused as refused:
            if isinstance(refused.refusal, FlowExpired):
                raise NotFound from refused
            return await self._pipeline.show_reason(refused.flow, Submission(), refusal=refused.refusal)
        match outcome:
            case Completed() | RedirectedAway():
                return outcome
            case Diverted() | Replaced():
                return outcome.fresh
        return outcome.flow

    async def _lead_to_app(self, back: CameBack, code: str, method: str, query: Mapping[str, str]) -> FlowOutcome:
        """Lead a browser back to the app that waits, which goes on with both codes (`finish_for_app`). Where the flow
        has run out, another one takes its place."""
        if back.flow.expires_at <= self._clock.now():
            with suppress(FlowRefused):
                await self._return_from(back, method, query)
        after = self._pipeline.handler_of(back.flow).settings.after
        return BackToApp(
            back.flow, with_code(self._return.after(after, method=method, return_to=back.flow.return_to), code)
        )

    async def _return_from(self, back: CameBack, method: str, query: Mapping[str, str]) -> FlowOutcome:
        handler = self._pipeline.handler_of(back.flow)

        async def prove(unit: Unit, turn: Turn) -> AnyStep | NextForm:
            await handler.may_go_on(unit, turn.flow, turn.caller)
            step = await handler.callback(unit, replace(turn, left_as=back.left_as))
            if turn.flow.silent and not isinstance(step, Proof):
                raise Unauthenticated("There is nobody to sign on silently.")
            return step

        submission = with_carried(back.flow, Submission(fields={"method": method}))
        return await self._pipeline.take_on(handler, back.flow, submission, back.caller, prove, query=query)
