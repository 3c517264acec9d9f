"""The exchange of session tokens: an app begins a sign-in, a browser finishes it, and the app gets the session.

Kratos' `return_session_token_exchange_code` (contract page 1.1). An app cannot sign in at a provider itself. It opens a
native flow, gets the init code, and opens the provider in a browser, which shares no cookies with it. The callback
leads the browser to the app's return address with the return-to code. With both codes the app gets the session.

The two codes take the place of the cookie that binds a browser, and nothing is done without both. Whoever opens a flow
and has a stranger sign in to it knows the init code only: the return-to code goes to an allowed return address on the
stranger's device. So the callback only waits in the flow (`waiting_callbacks.py`): it redeems nothing, signs nobody in,
creates no account, and links nothing, because the traits that were typed and the link that waits in a flow are those of
whoever opened it. All of this is done at the exchange. Until the browser comes back the app knows the flow's id, and
the id alone lets it submit the flow; from then on the flow has another id, which only the exchange tells.

Nothing that could be used is stored in clear: the codes are digests, the callback is sealed, and the session has no
token before the app is given it.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol
from urllib.parse import unquote_plus
from uuid import UUID

from shopkeeper import crypto
from shopkeeper.clock import Clock
from shopkeeper.errors import BadRequest, NotFound, SessionInactive
from shopkeeper.flows import store
from shopkeeper.flows.flow import GUEST, Caller, Flow, FlowType
from shopkeeper.flows.outcomes import Completed, RedirectedAway
from shopkeeper.flows.waiting_callbacks import under_way, waits
from shopkeeper.signin.completion import SignedIn, SignInCompletion
from shopkeeper.storage.database import Database

LONGEST_CODE = 128
"""Characters: longer ones are not hashed."""
_LEFT_AS = "left_as"
_NOTHING_YET = (
    "No session waits for these codes: the sign-in is not finished yet, or the codes were used or have expired."
)


class Budget(Protocol):
    """Limits how often a client may ask."""

    async def spend(self, source: str) -> None:
        """Count one request. Raises `TooManyRequests`."""
        ...


@dataclass(frozen=True, slots=True)
class Exchanged:
    """The session that waited for the app, and the flow that it began with."""

    flow: Flow
    signed_in: SignedIn


FinishForApp = Callable[[Flow, Caller], Awaitable[Completed | RedirectedAway | Flow]]
"""Does what the callback of a flow waits with; see `Returning.finish_for_app`."""


class TokenExchange:
    """Finishes the sign-ins of the apps that wait for them, and hands their sessions over."""

    def __init__(
        self,
        *,
        database: Database,
        finish: FinishForApp,
        completion: SignInCompletion,
        budget: Budget,
        clock: Clock,
    ) -> None:
        self._database = database
        self._finish = finish
        self._completion = completion
        self._budget = budget
        self._clock = clock

    async def exchange(
        self, init_code: str, return_to_code: str, caller: Caller
    ) -> Exchanged | Completed | RedirectedAway | Flow:
        """Finish the sign-in and return its session, once; the flow to continue with, where there is none. `Completed`
        is a registration that starts no session, `RedirectedAway` another server that comes first.

        The app's guest is the caller's, or the one that the flow was submitted by. Never call it while a transaction is
        open.

        Raises `BadRequest` where a code is missing, `NotFound` where nothing waits for them or the session has ended
        meanwhile, `IdentityDisabled`, and `TooManyRequests`.
        """
        if not init_code or not return_to_code:
            raise BadRequest(message="Send both codes: 'init_code' and 'return_to_code'.")
        await self._budget.spend(caller.client.ip)
        flow = await self._find(init_code, return_to_code)
        if flow is None or under_way(flow):
            raise NotFound(_NOTHING_YET)
        if waits(flow):
            try:
                outcome = await self._finish(flow, caller)
            except NotFound as gone:
                raise NotFound(_NOTHING_YET) from gone
            if not isinstance(outcome, Completed) or outcome.signed_in is None:
                return outcome
            flow = outcome.flow
        elif flow.finished_at is None:
            return flow
        if flow.exchange_session is None:
            raise NotFound(_NOTHING_YET)
        try:
            return await self._handed(flow, flow.exchange_session, caller)
        except SessionInactive as ended:  # there is none, too, where the app has finished the flow itself
            raise NotFound(_NOTHING_YET) from ended

    async def _handed(self, flow: Flow, session_id: UUID, caller: Caller) -> Exchanged:
        here = caller.within(flow.store)
        async with self._database.unit() as unit:
            if not await store.take_session(unit, flow):
                raise NotFound(_NOTHING_YET)
            handed = await self._completion.hand_over(
                unit,
                session_id,
                client=caller.client,
                guest=here.guest or _leaving_guest(flow.context),
                replacing=here.session or here.former,
                is_new=session_id != flow.session_id,
            )
        return Exchanged(flow, await self._completion.settle(handed))

    async def _find(self, init_code: str, return_to_code: str) -> Flow | None:
        if max(len(init_code), len(return_to_code)) > LONGEST_CODE:
            return None
        async with self._database.reading() as unit:
            flow = await store.by_exchange_codes(unit, crypto.digest(init_code), crypto.digest(return_to_code))
        return flow if flow is not None and flow.expires_at > self._clock.now() else None


def exchanges(flow: Flow) -> bool:
    """Return whether an app waits for the end of a flow with codes."""
    return flow.type is FlowType.API and flow.exchange_init is not None


def left_as(flow: Flow) -> UUID:
    """Return the id that a flow had when it was left for its callback."""
    return UUID(flow.context[_LEFT_AS])


def leaving(flow: Flow, caller: Caller) -> Flow:
    """Return an app's flow with what its browser will not bring back: its id of now, the app's guest, and the session
    that it confirms."""
    if flow.type is not FlowType.API:
        return flow
    flow = replace(flow, context={**flow.context, _LEFT_AS: str(flow.id)})
    if caller.guest is not None:
        flow = replace(flow, context={**flow.context, GUEST: {"id": caller.guest}})
    if caller.session is None:
        return flow
    return replace(flow, session_id=caller.session.id, identity_id=caller.session.identity.id)


def of_app(flow: Flow, caller: Caller) -> Caller:
    """Return the caller of a callback as the app's flow sees them.

    With codes, a browser has come, whose guest and session are not the app's; the app's own are taken at the exchange.
    Without, the app itself has come, by the cookie that binds it: its guest is the one that it left with, or the one
    that it presents now, and the session that it presents ends.
    """
    if flow.type is not FlowType.API:
        return caller
    app = Caller(client=caller.client, store=flow.store, locale=caller.locale, wished_language=caller.wished_language)
    if exchanges(flow):
        return app
    here = caller.within(flow.store)
    guest = _leaving_guest(flow.context) or here.guest
    return replace(app, guests={flow.store: guest} if guest is not None else {}, former=here.session or here.former)


def with_code(url: str, code: str) -> str:
    """Return a return address with the code in its query, in place of another one; its fragment stays at the end.

    >>> with_code("shop://back?code=1&a=b#c", "xyz"), with_code("shop:/back", "xyz")
    ('shop://back?a=b&code=xyz#c', 'shop:/back?code=xyz')
    """
    address, mark, fragment = url.partition("#")
    path, _, query = address.partition("?")
    kept = [part for part in query.split("&") if part and unquote_plus(part.partition("=")[0]) != "code"]
    return f"{path}?{'&'.join([*kept, f'code={code}'])}{mark}{fragment}"


def _leaving_guest(context: Mapping[str, Any]) -> str | None:
    kept = context.get(GUEST)
    guest = kept.get("id") if isinstance(kept, Mapping) else None
    return guest if isinstance(guest, str) else None
