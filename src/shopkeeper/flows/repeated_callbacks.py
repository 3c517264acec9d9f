"""Repeated callbacks: a browser comes back with a state that its flow does not await any more.

Browsers send the same callback more than once, and show the last answer: after a second click, from a service worker,
by reloading. And who chooses a provider in two tabs may finish the first. Nothing is done for them. They are led to
where the flow is by now, which is where the first one has led to.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from shopkeeper import crypto
from shopkeeper.clock import Clock
from shopkeeper.errors import FlowExpired, ReturnToApp, SessionAlreadyAvailable
from shopkeeper.flows import store
from shopkeeper.flows.callback_states import CallbackStates, Left
from shopkeeper.flows.callbacks import Callbacks
from shopkeeper.flows.flow import Caller, Flow
from shopkeeper.flows.outcomes import FlowOutcome, LedOn, Updated, finished, refusals_with
from shopkeeper.flows.return_to import ReturnAddresses
from shopkeeper.flows.store_handlers import StoreHandlers
from shopkeeper.storage.database import Database
from shopkeeper.ui.messages import Message, reason

PATIENCE: Final = timedelta(seconds=3)
"""How long a second request waits for the first one to be answered."""
_LOOKS: Final = 30
_LEFT_AGAIN: Final = "You have gone to a provider again since. Please finish there, or choose once more."


class RepeatedCallbacks:
    """Leads browsers on that come back once more.

    Args:
        callbacks: knows whose a flow is, and why a callback is refused.
        states: reads the states of callbacks that came before.
    """

    def __init__(
        self,
        handlers: StoreHandlers,
        *,
        database: Database,
        callbacks: Callbacks,
        states: CallbackStates,
        return_addresses: ReturnAddresses,
        clock: Clock,
    ) -> None:
        self._handlers = handlers
        self._database = database
        self._callbacks = callbacks
        self._states = states
        self._return = return_addresses
        self._clock = clock

    async def lead_on(self, method: str, query: Mapping[str, str], caller: Caller) -> FlowOutcome:
        """Return where a browser goes on that has left from the flow of a state, once a callback that is under way is
        answered. Never call it while a transaction is open.

        Raises `ReturnToApp` where an app waits for the end of the flow; `FlowRefused` where another form is opened; and
        what `Callbacks.refusal` returns for an unknown state and for another browser.
        """
        state = query.get("state", "")
        left = self._states.left(state, method=method)
        if left is not None and left.for_app:
            raise ReturnToApp
        flow = await self._settled(left, crypto.digest(state), caller) if left is not None else None
        if flow is None:
            raise await self._callbacks.refusal(state, method, caller)
        with refusals_with(flow):
            return await self._led_on(flow, method, await self._callbacks.whose(flow, caller))

    async def _settled(self, left: Left, state: bytes, caller: Caller) -> Flow | None:
        """Return the flow, of the browser that left from it; wait while its callback is being answered."""
        flow = await self._left(left, caller)
        for _ in range(_LOOKS):
            if flow is None or flow.silent or not _being_answered(flow, state):
                break
            await asyncio.sleep(PATIENCE.total_seconds() / _LOOKS)
            flow = await self._left(left, caller)
        return flow

    async def _left(self, left: Left, caller: Caller) -> Flow | None:
        async with self._database.reading() as unit:
            flow = await store.get(unit, left.flow_id, kind=left.kind)
        if flow is None or flow.callback_binding is None:
            return None
        bindings = [crypto.digest(each) for each in caller.callback_cookies]
        return flow if any(crypto.same(each, flow.callback_binding) for each in bindings) else None

    async def _led_on(self, flow: Flow, method: str, caller: Caller) -> FlowOutcome:
        handler, caller = self._handlers.of(flow.kind, flow.store), caller.within(flow.store)
        try:
            if flow.finished_at is not None or flow.expires_at <= self._clock.now():
                raise finished(flow)
            async with self._database.reading() as unit:
                await handler.may_go_on(unit, flow, caller)
        except (SessionAlreadyAvailable, FlowExpired):
            if caller.session is not None or flow.silent or flow.led_to_end:
                return LedOn(flow, self._landing(flow, method))
            return await self._in_its_place(flow, method)
        return Updated(await self._told(flow, reason("left_again", _LEFT_AGAIN)) if _awaits(flow) else flow)

    async def _in_its_place(self, flow: Flow, method: str) -> FlowOutcome:
        """Return what has followed a flow that has ended without a session."""
        if flow.led_to is None:
            raise finished(flow)
        kind, flow_id = flow.led_to
        async with self._database.reading() as unit:
            fresh = await store.get(unit, flow_id, kind=kind)
        if fresh is None or fresh.finished_at is not None:
            raise finished(flow)
        return Updated(fresh)

    async def _told(self, flow: Flow, message: Message) -> Flow:
        """Show a message above the form. Where it was changed meanwhile, it stays as it is."""
        shown = replace(flow, messages=(message,), updated_at=self._clock.now())
        async with self._database.unit() as unit:
            await unit.write(*store.keeping(shown))
        return shown

    def _landing(self, flow: Flow, method: str) -> str:
        after = self._handlers.anywhere(flow.ended_as).settings.after
        return self._return.after(after, method=method, return_to=flow.return_to)


def _awaits(flow: Flow) -> bool:
    """Return whether the browser has left again, so that another callback is awaited."""
    return flow.callback_method is not None


def _being_answered(flow: Flow, state: bytes) -> bool:
    """Return whether a callback with this state has come, and its flow was neither stored nor ended since."""
    return flow.callback_state == state and not _awaits(flow) and flow.finished_at is None
