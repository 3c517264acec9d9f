"""Callbacks: another server sends the browser back, and the flow that it left from is found.

`returning.py` continues the flow. It is found by `state`, which works once. A browser's flow is bound to the browser by
a cookie of its own, not the anti-CSRF cookie, because a cross-site POST (Apple's form_post) sends no Lax cookies. An
app's flow is bound by the codes of the token exchange instead (`token_exchange.py`), and its callback waits for them
(`waiting_callbacks.py`); or by the same cookie where the app itself comes back.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from shopkeeper import crypto
from shopkeeper.clock import Clock
from shopkeeper.errors import CsrfViolation, Refusal, SessionAlreadyAvailable
from shopkeeper.flows import store
from shopkeeper.flows.flow import Caller, Flow, FlowType
from shopkeeper.flows.token_exchange import left_as, of_app
from shopkeeper.flows.waiting_callbacks import WaitingCallback, WaitingCallbacks
from shopkeeper.sessions.values import Session
from shopkeeper.storage.database import Database, Unit

FindSession = Callable[[Unit, UUID], Awaitable[Session | None]]

_OTHER_BROWSER = "The sign-in was begun in another browser. Please begin again in this one."
_NO_CODES = (
    "The sign-in was begun by an app that did not ask to get it from this browser. Please begin again in the app. Its "
    "makers have to open the flow with return_session_token_exchange_code=true."
)
_NOT_AWAITED = "The sign-in was finished already, was begun elsewhere, or has taken too long. Please begin again."


@dataclass(frozen=True, slots=True)
class CameBack:
    """A flow whose callback has come.

    Args:
        caller: whose flow it is, which for an app's flow is not the browser that has come.
        code: the return-to code, where an app waits for the end of the flow: the callback waits in the flow then,
            unless that has run out.
        left_as: the id that the flow had when it was left; one that an app waits for has another now.
    """

    flow: Flow
    caller: Caller
    code: str | None
    left_as: UUID


class Callbacks:
    """Finds the flow of a callback.

    Args:
        waiting: keeps the callbacks of apps, whose browser is bound by nothing.
        find_session: returns a session by its id, for the flows of apps, whose browser does not bring it back.
    """

    def __init__(
        self, database: Database, *, waiting: WaitingCallbacks, find_session: FindSession, clock: Clock
    ) -> None:
        self._database = database
        self._waiting = waiting
        self._find_session = find_session
        self._clock = clock

    async def take(self, method: str, query: Mapping[str, str], caller: Caller) -> CameBack | None:
        """Return the flow that awaits this callback, which it does no longer; None where none does."""
        state = query.get("state", "")
        return await self._taken(crypto.digest(state), method, query, caller) if state else None

    async def take_waiting(self, flow: Flow, caller: Caller) -> tuple[CameBack, WaitingCallback] | None:
        """Take the callback that waits in an app's flow; None where another request was first. `caller` is the app."""
        taken = await self._waiting.take(flow)
        if taken is None:
            return None
        flow, callback = taken
        return CameBack(flow, await self.whose(flow, caller), None, left_as=left_as(flow)), callback

    async def answered(self, flow: Flow) -> None:
        """Say that a callback was answered without its flow being stored, so that no other request waits for that."""
        async with self._database.unit() as unit:
            await store.callback_answered(unit, flow.id)

    async def _taken(self, state: bytes, method: str, query: Mapping[str, str], caller: Caller) -> CameBack | None:
        bindings = [crypto.digest(each) for each in caller.callback_cookies]
        if bindings:
            async with self._database.unit() as unit:
                flow = await store.take_awaited(unit, state, method=method, bindings=bindings)
            if flow is not None:
                return CameBack(flow, await self.whose(flow, caller), None, left_as=flow.id)
        code = crypto.new_token("")
        async with self._database.unit() as unit:
            flow = await store.take_for_app(unit, state, method=method, return_to=crypto.digest(code))
            if flow is not None and flow.expires_at > self._clock.now():
                flow = await self._waiting.keep(unit, flow, WaitingCallback(method, dict(query)))
        if flow is None:
            return None
        return CameBack(flow, await self.whose(flow, caller), code, left_as=left_as(flow))

    async def refusal(self, state: str, method: str, caller: Caller) -> Refusal:
        """Return why a callback is refused that no flow of this browser knows: `SessionAlreadyAvailable` where it is
        signed in, `CsrfViolation` for every other unknown state and for another browser."""
        async with self._database.reading() as unit:
            flow = await store.by_callback_state(unit, crypto.digest(state)) if state else None
        if flow is not None and flow.callback_method == method:
            return _not_from_here(flow)
        return SessionAlreadyAvailable() if state and caller.session is not None else _not_awaited()

    async def whose(self, flow: Flow, caller: Caller) -> Caller:
        """Return the caller, with the session that an app's flow was left with."""
        app = of_app(flow, caller)
        if flow.type is not FlowType.API or flow.session_id is None:
            return app
        async with self._database.reading() as unit:
            session = await self._find_session(unit, flow.session_id)
        live = session is not None and session.valid_at(self._clock.now())
        return replace(app, session=session if live else None)


def _not_awaited() -> CsrfViolation:
    return CsrfViolation(_NOT_AWAITED, topic="callback")


def _not_from_here(flow: Flow) -> CsrfViolation:
    if flow.type is FlowType.API:
        return CsrfViolation(_NO_CODES, topic="callback_for_app")
    return CsrfViolation(_OTHER_BROWSER, topic="callback_elsewhere")
