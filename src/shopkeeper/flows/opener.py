"""Opening a flow: its blank value, its first form, and its row."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from shopkeeper import crypto
from shopkeeper.clock import Clock
from shopkeeper.flows import store
from shopkeeper.flows.carried import taken_over
from shopkeeper.flows.flow import SILENT, Caller, Flow, FlowType, Opening, csrf_digest
from shopkeeper.flows.form_filling import filled
from shopkeeper.flows.handler import FlowHandler, OwnedFlowHandler, Turn
from shopkeeper.flows.keep_signed_in import KeepSignedIn
from shopkeeper.flows.store_handlers import StoreHandlers
from shopkeeper.identity.values import Aal, Identity
from shopkeeper.storage.database import Unit
from shopkeeper.ui.messages import Message
from shopkeeper.ui.nodes import Node


class FlowOpener:
    """Opens flows of every kind, also inside the transaction of another flow: settings after recovery, verification
    after registration. It does not ask whether the caller may open the flow; the pipeline does."""

    def __init__(self, handlers: StoreHandlers, *, clock: Clock, keeping: KeepSignedIn) -> None:
        self._handlers = handlers
        self._clock = clock
        self._keeping = keeping

    def offers(self, name: str, *, store: str) -> bool:
        """Return whether a store has flows of this name."""
        return self._handlers.offers(name, store)

    def handler(self, name: str, *, store: str) -> FlowHandler:
        """Return the handler of a store's flows of this name. Raises `FlowDisabled`."""
        return self._handlers.of(name, store)

    async def open(
        self,
        unit: Unit,
        name: str,
        opening: Opening,
        caller: Caller,
        *,
        fields: Mapping[str, str] | None = None,
        messages: Sequence[Message] = (),
        owner: Identity | None = None,
    ) -> Flow:
        """Open a flow with its first form, and store it. Raises `FlowDisabled` where the caller's store has none.

        Args:
            fields: filled in.
            messages: stand above the form.
            owner: the account that the flow belongs to, where it was read with its credentials before.
        """
        handler = self._handlers.of(name, caller.store)
        blank = blank_flow(handler, opening, caller, clock=self._clock)
        if owner is not None and isinstance(handler, OwnedFlowHandler):
            form = await handler.form_of(unit, blank, caller, owner)
        else:
            form = await handler.form(unit, blank, caller)
        flow = self._keeping.shown(form)
        told = (*messages, *flow.messages)
        flow = replace(filled(flow, fields), messages=told) if fields else replace(flow, messages=told)
        await store.add(unit, flow)
        return flow

    async def replace(
        self,
        unit: Unit,
        handler: FlowHandler,
        turn: Turn,
        messages: Sequence[Message],
        *,
        shown: Sequence[Node] = (),
    ) -> Flow:
        """Build the replacement of a flow that cannot continue, opened with the same parameters; the caller stores it.
        What was typed into the `shown` nodes is kept."""
        flow = turn.flow
        opening = Opening(
            type=FlowType.BROWSER if turn.by_link else flow.type,
            request_url=flow.request_url,
            return_to=flow.return_to,
            refresh=flow.refresh,
            aal=flow.requested_aal.value,
            schema_id=flow.schema_id,
        )
        blank = taken_over(flow, blank_flow(handler, opening, turn.caller, clock=self._clock))
        form = self._keeping.shown(await handler.form(unit, blank, turn.caller))
        fresh = filled(form, {node.name: node.value for node in shown if node.value})
        # A link is followed by a browser of its own; a form that is replaced stays with the browser that sent it.
        token = turn.caller.csrf_for(flow)
        keeps = csrf_digest(token) if token is not None and not turn.by_link else fresh.csrf
        return replace(fresh, messages=(*messages, *fresh.messages), csrf=keeps)


def blank_flow(handler: FlowHandler, opening: Opening, caller: Caller, *, clock: Clock) -> Flow:
    """Return a new flow without a form."""
    now = clock.now()
    code = crypto.new_token("") if opening.exchanges else None
    return Flow(
        id=crypto.new_id(),
        kind=handler.name,
        store=caller.store,
        type=opening.type,
        request_url=opening.request_url,
        return_to=opening.return_to,
        issued_at=now,
        expires_at=now + handler.settings.lifespan,
        created_at=now,
        updated_at=now,
        csrf=csrf_digest(caller.csrf_for_new) if opening.type is FlowType.BROWSER and caller.csrf_for_new else None,
        refresh=opening.refresh,
        requested_aal=Aal(opening.aal or Aal.AAL1),
        schema_id=opening.schema_id,
        context={SILENT: True} if opening.silent else {},
        exchange_init=crypto.digest(code) if code else None,
        exchange_code=code,
    )
