"""The pipeline: the checks that every self-service flow shares, so that no handler and no method can forget one.

    opening     has the store such flows? -> allowed to open? -> return address allowed? -> form -> stored
    fetching    exists? -> has the store such flows? -> not expired? -> by the browser that opened it?
    submitting  exists? -> has the store such flows? -> not expired? -> allowed to continue? -> not forged? -> readable?
                -> the handler's step

`returning.py` continues a flow when another server sends the browser back.

Everything up to the step only reads; `dispatch.py` acts on the step in one transaction. A submission that is rejected
rolls back, except for the form with its messages, the counted attempt, and its audit event.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from shopkeeper import refunds
from shopkeeper.clock import Clock
from shopkeeper.credentials.method import Callback
from shopkeeper.credentials.steps import AnyStep, SubmissionRejected
from shopkeeper.errors import (
    CsrfViolation,
    FlowExpired,
    InvalidInput,
    NotFound,
    Refusal,
    SessionRefreshRequired,
    TooManyRequests,
    Unauthenticated,
)
from shopkeeper.flows import store
from shopkeeper.flows.attempts import FlowAttempts
from shopkeeper.flows.callback_states import CallbackStates
from shopkeeper.flows.carried import with_payload
from shopkeeper.flows.dispatch import Dispatcher
from shopkeeper.flows.flow import Caller, Flow, FlowType, Opening, Submission
from shopkeeper.flows.flow_writer import Superseded
from shopkeeper.flows.followers import seen_by
from shopkeeper.flows.forgery import refuse_forged
from shopkeeper.flows.form_filling import filled, has_long_values, refuse_long_values
from shopkeeper.flows.handler import (
    AnswersWhenUsed,
    FlowHandler,
    LinkHandler,
    NextForm,
    OwnedFlowHandler,
    RestartsWhenForged,
    Turn,
)
from shopkeeper.flows.keep_signed_in import KeepSignedIn
from shopkeeper.flows.opener import FlowOpener
from shopkeeper.flows.outcomes import (
    FlowInvalid,
    FlowOutcome,
    FlowRefused,
    Updated,
    finished,
    refusals_with,
)
from shopkeeper.flows.paused_submissions import PausedSubmissions
from shopkeeper.flows.rejections import rejections_shown
from shopkeeper.flows.return_to import ReturnAddresses
from shopkeeper.flows.store_handlers import StoreHandlers
from shopkeeper.identity.values import Aal
from shopkeeper.parsing import uuid_or_none
from shopkeeper.storage.database import Database, Unit
from shopkeeper.ui.messages import message, reason_of

Prove = Callable[[Unit, Turn], Awaitable[AnyStep | NextForm]]
ReadSubmission = Callable[[], Awaitable[Submission]]


class Pipeline:
    """Opens, fetches and submits the flows of every handler in its list.

    Args:
        states: makes the states of callbacks.
        callback_url: the address that other servers send the browser back to; the method's name is appended.
        locale_of: returns the language of a store's mails.
    """

    def __init__(
        self,
        handlers: StoreHandlers,
        *,
        database: Database,
        dispatcher: Dispatcher,
        attempts: FlowAttempts,
        opener: FlowOpener,
        keeping: KeepSignedIn,
        paused: PausedSubmissions,
        states: CallbackStates,
        clock: Clock,
        return_addresses: ReturnAddresses,
        callback_url: str,
        locale_of: Callable[[str], str],
    ) -> None:
        self._handlers = handlers
        self._database = database
        self._dispatcher = dispatcher
        self._opener = opener
        self._keeping = keeping
        self._paused = paused
        self._clock = clock
        self._return = return_addresses
        self._callback_url = callback_url
        self._locale_of = locale_of
        self._states = states
        self._attempts = attempts

    def handler(self, name: str) -> FlowHandler:
        """Return the handler of the flows of this name, for what is alike in all stores."""
        return self._handlers.anywhere(name)

    def handler_of(self, flow: Flow) -> FlowHandler:
        """Return the handler of a flow. Raises `FlowDisabled` where its store has no such flows (any more)."""
        return self._handlers.of(flow.kind, flow.store)

    def offers(self, name: str, *, store: str) -> bool:
        """Return whether a store has flows of this name."""
        return self._handlers.offers(name, store)

    def landing(self, name: str, *, return_to: str | None = None) -> str:
        """Return where a browser goes that has nothing to do in this flow. Raises `ReturnToForbidden`."""
        wanted = self._return.check(return_to)
        return self._return.after(self.handler(name).settings.after, method=None, return_to=wanted)

    async def open(self, name: str, opening: Opening, caller: Caller) -> Flow:
        """Open a flow. Raises `SessionAlreadyAvailable`, `FlowDisabled`, `ReturnToForbidden` and the like."""
        if opening.aal not in {None, "", *Aal}:
            raise InvalidInput("The query parameter 'aal' takes aal1 or aal2.")
        handler, caller = self._handlers.of(name, caller.store), caller.within(caller.store)
        wanted = replace(opening, return_to=self._return.check(opening.return_to))
        async with self._database.unit() as unit:
            await handler.may_open(unit, wanted, caller)
            return await self._opener.open(unit, name, wanted, caller)

    async def fetch(self, name: str, flow_id: str | None, caller: Caller) -> Flow:
        """Return the flow as it is stored. Raises `NotFound`, or `FlowRefused` with `FlowExpired`, or with
        `CsrfViolation` where another browser opened it; `Unauthenticated` for a flow of accounts without a session,
        whether there is such a flow or not."""
        if isinstance(self.handler(name), OwnedFlowHandler) and caller.session is None:
            raise Unauthenticated("The form belongs to a customer: sign in first.")
        async with self._database.reading() as unit:
            flow = seen_by(_owned(await self._require(unit, name, flow_id), caller), caller)
        handler = self.handler_of(flow)
        with refusals_with(flow):
            if isinstance(handler, OwnedFlowHandler):
                handler.may_see(flow, caller)
            if flow.expires_at <= self._clock.now():
                raise FlowExpired(
                    _EXPIRED, expired_at=flow.expires_at, flow_type=flow.type, opened_with=flow.opened_with
                )
            if flow.type is FlowType.BROWSER and not flow.by_operator and caller.csrf_for(flow) is None:
                raise CsrfViolation(
                    "This form was opened by another browser, or its anti-CSRF cookie is missing. Open a new one.",
                    details={"reject_reason": "the anti-CSRF cookie does not belong to this flow"},
                )
        if isinstance(handler, OwnedFlowHandler) and flow.identity is not None:
            return handler.as_of_now(flow, flow.identity)
        return flow

    async def show_reason(self, flow: Flow, submission: Submission, *, refusal: Refusal) -> Flow:
        """Show a refusal above the form of its submission, and keep what was typed into it. Where another
        submission was stored meanwhile, return its form. Raises `FlowExpired` where that one ended the flow."""
        typed = {} if has_long_values(flow, submission.fields) else submission.fields
        shown = replace(filled(flow, typed), messages=(reason_of(refusal),), updated_at=self._clock.now())
        async with self._database.unit() as unit:
            if (await unit.write(*store.keeping(shown))).rowcount == 1:
                return shown
        async with self._database.reading() as unit:
            return await self._standing(unit, flow)

    async def submit(self, name: str, flow_id: str | None, read: ReadSubmission, caller: Caller) -> FlowOutcome:
        """Submit to a flow. Raises `FlowInvalid` with the form to show again, or `FlowRefused`; a plain refusal before
        the flow is read, and what `read` raises. Never call it while a transaction is open.

        `read` is called once it is known that the flow exists, so that nobody sends large bodies for nothing.
        """
        async with self._database.reading() as unit:
            flow = seen_by(await self._required_for_submit(unit, name, flow_id), caller)
        handler = self.handler_of(flow)
        submission = with_payload(flow, await read())

        async def prove(unit: Unit, turn: Turn) -> AnyStep | NextForm:
            # Checked before forgery, because a sign-in in another tab makes every open form look forged. A caller who
            # may not continue learns only that, and nothing that was sent has been looked at.
            await handler.may_go_on(unit, turn.flow, turn.caller)
            try:
                refuse_forged(handler, turn)
            except CsrfViolation as violation:
                if not isinstance(handler, RestartsWhenForged) or turn.caller.from_foreign_page:
                    raise
                return handler.restart(violation)
            if submission.broken:
                raise SubmissionRejected(reason_of(submission.broken))
            refuse_long_values(turn.flow, submission.fields)
            return await handler.submit(unit, turn)

        try:
            return await self.take_on(handler, flow, submission, caller, prove)
        except FlowRefused as refused:
            if isinstance(refused.refusal, SessionRefreshRequired) and flow.type is FlowType.BROWSER:
                refused.refusal.continuity = await self._paused.pause(flow, submission)
            raise

    async def resume(self, name: str, flow_id: str | None, caller: Caller) -> FlowOutcome:
        """Do what was submitted before its sender had to sign in again; return the form where nothing waits.

        The anti-CSRF token of then is worth nothing after the sign-in: the cookie of the browser that sent the
        submission takes its place. Raises as `submit` does.
        """
        async with self._database.reading() as unit:
            flow = _owned(await self._required_for_submit(unit, name, flow_id), caller)
            handler = self.handler_of(flow)
            with refusals_with(flow):
                await handler.may_go_on(unit, flow, caller)
        taken = await self._paused.take(flow) if self._paused.waits(flow, caller) else None
        if taken is None:
            return Updated(flow, status=200)
        flow, submission = taken

        async def prove(unit: Unit, turn: Turn) -> AnyStep | NextForm:
            await handler.may_go_on(unit, turn.flow, turn.caller)
            return await handler.submit(unit, turn)

        return await self.take_on(handler, flow, submission, caller, prove)

    async def follow_link(self, name: str, query: Mapping[str, str], caller: Caller) -> FlowOutcome:
        """Continue a flow by a mailed link. Raises as `submit` does; `NotFound` where this flow has no links."""
        handler = self.handler(name)
        if not isinstance(handler, LinkHandler):
            raise NotFound
        follow: Prove = handler.follow_link
        outcome = await self.take_on(
            handler, query.get("flow"), Submission(), caller, follow, query=query, by_link=True
        )
        return replace(outcome, flow=seen_by(outcome.flow, caller)) if isinstance(outcome, Updated) else outcome

    async def take_on(
        self,
        handler: FlowHandler,
        which: str | Flow | None,
        submission: Submission,
        caller: Caller,
        prove: Prove,
        *,
        query: Mapping[str, str] | None = None,
        by_link: bool = False,
    ) -> FlowOutcome:
        """Get the step in a unit that only reads, then dispatch it in one transaction. `prove` makes every check but
        that the flow has not expired. Raises as `submit` does."""
        async with refunds.refunded_when_busy():
            async with self._database.reading() as unit:
                found = which if isinstance(which, Flow) else await self._required_for_submit(unit, handler.name, which)
                self.handler_of(found)  # by a link, too, a store has the flows that it has
                flow = seen_by(found, caller)
                turn = replace(self._turn(_owned(flow, caller), submission, caller, query or {}), by_link=by_link)
                with refusals_with(flow), _spends_no_mail():
                    await self._refuse_expired(unit, handler, turn)
                    with rejections_shown(unit, turn, now=self._clock.now()):
                        step = await prove(unit, turn)
            try:
                with refusals_with(flow), _spends_no_mail():
                    return await self._dispatcher.dispatch(handler, turn, step)
            except Superseded:
                ended = await self._ended(flow) if isinstance(handler, AnswersWhenUsed) else None
                if ended is None:
                    return await self._as_it_stands(flow, caller)
        return await self.take_on(handler, ended, submission, caller, prove, query=query, by_link=by_link)

    def caller_in(self, flow: Flow, caller: Caller) -> Caller:
        """Return the caller as the store of a flow knows them, with the language that the flow is shown in to them."""
        return caller.within(flow.store).speaking(default=self._locale_of(flow.store))

    def _turn(self, flow: Flow, submission: Submission, caller: Caller, query: Mapping[str, str]) -> Turn:
        method = submission.method or _pressed(flow, submission)

        async def count_attempt(most: int) -> bool:
            return await self._attempts.count(flow.id, most)

        return Turn(
            flow=self._keeping.noted(flow, submission),
            submission=submission,
            # A form is sent without the query that its flow was opened with; the flow stores its store.
            caller=self.caller_in(flow, caller),
            method=method,
            count_attempt=count_attempt,
            callback=Callback(
                url=f"{self._callback_url}/{method}/callback", state=self._states.new(flow, method=method)
            ),
            query=query,
        )

    async def _as_it_stands(self, flow: Flow, caller: Caller) -> FlowOutcome:
        """Return the form that another submission of the same flow has stored meanwhile."""
        async with self._database.reading() as unit:
            with refusals_with(flow):
                return Updated(seen_by(await self._standing(unit, flow), caller))

    async def _ended(self, flow: Flow) -> Flow | None:
        """Return the flow as another submission has ended it meanwhile, None where none has."""
        async with self._database.reading() as unit:
            current = await store.get(unit, flow.id, kind=flow.kind)
        return current if current is not None and current.finished_at is not None else None

    async def _standing(self, unit: Unit, flow: Flow) -> Flow:
        current = await store.get(unit, flow.id, kind=flow.kind)
        if current is None or current.finished_at is not None:
            raise finished(flow)
        return current

    async def _refuse_expired(self, unit: Unit, handler: FlowHandler, turn: Turn) -> None:
        flow = turn.flow
        if flow.expires_at > self._clock.now():
            return
        told = message(
            handler.expired_message,
            expired_at=flow.expires_at.isoformat(),
            expired_at_unix=int(flow.expires_at.timestamp()),
        )
        fresh = await self._opener.replace(unit, handler, turn, (told,))
        unit.always(*store.adding(fresh))
        raise FlowExpired(_EXPIRED, expired_at=flow.expires_at, use_flow_id=str(fresh.id))

    async def _required_for_submit(self, unit: Unit, name: str, flow_id: str | None) -> Flow:
        if not flow_id:
            raise InvalidInput("The flow is missing: send its id as the query parameter 'flow'.")
        return await self._require(unit, name, flow_id)

    async def _require(self, unit: Unit, name: str, flow_id: str | None) -> Flow:
        known = uuid_or_none(flow_id or "")
        flow = await store.get(unit, known, kind=name) if known else None
        if flow is None:
            raise NotFound
        return flow


_EXPIRED = "This form has run out; open a new one and try again."


def _pressed(flow: Flow, submission: Submission) -> str:
    """Return the method whose button was pressed, where the form names none: some buttons have an address or a
    provider."""
    buttons = (node for node in flow.nodes if node.attributes.get("type") == "submit" and node.name != "method")
    return next((node.group for node in buttons if node.value and submission.text(node.name) == node.value), "")


def _owned(flow: Flow, caller: Caller) -> Flow:
    """Return the flow with its owner, where that is the caller."""
    session = caller.session
    return replace(flow, identity=session.identity) if session and caller.signed_in_as(flow.identity_id) else flow


@contextmanager
def _spends_no_mail() -> Iterator[None]:
    """Give back what was spent for mails where a submission rolls back, or another one of the same flow was stored
    first: none is sent then."""
    try:
        yield
    except (FlowInvalid, Superseded, TooManyRequests):
        refunds.without_effect()
        raise
