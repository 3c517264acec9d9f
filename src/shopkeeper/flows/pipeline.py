"""The pipeline: the steps that every self-service flow shares, so that no kind of flow and no method can forget one.

Opening:    allowed to open? -> return address on the list? -> form -> kept
Fetching:   there? -> not run out? -> by the browser that opened it?
Submitting: there? -> not run out? -> allowed to go on? -> not forged? -> readable? -> the kind's own part
            -> finished, once -> session, hooks, cart -> done; or the next form

Raising undoes everything but what must stay: the form with its messages, the counted failure, its audit.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Protocol

from shopkeeper import crypto
from shopkeeper.clock import Clock
from shopkeeper.credentials.method import FieldError, Proof, Rejected
from shopkeeper.errors import CsrfViolation, FlowExpired, InvalidInput, NotFound, Refusal
from shopkeeper.flows import store
from shopkeeper.flows.flow import Caller, Flow, FlowType, Opening, Submission
from shopkeeper.flows.return_to import AfterFlow, ReturnAddresses
from shopkeeper.identity.values import Aal, Identity
from shopkeeper.incoming import uuid_or_none
from shopkeeper.signin.completion import SignedIn, SignInCompletion
from shopkeeper.storage.database import Unit
from shopkeeper.ui.messages import message
from shopkeeper.ui.nodes import Node, input_node


@dataclass(frozen=True, slots=True)
class Done:
    """A flow that has done its work: who, their session if they have one now, and where to go.

    `guest` is the anonymous visitor that the customer was until now; `hand_over` says what became of the guest's cart.
    """

    flow: Flow
    identity: Identity
    return_to: str
    signed_in: SignedIn | None = None
    guest: str | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """A kind of flow has done its part; the pipeline finishes the flow, and signs in if it is to."""

    identity: Identity
    method: str
    aal: Aal = Aal.AAL1
    signs_in: bool = True


@dataclass(frozen=True, slots=True)
class NextForm:
    """The flow goes on with another form: what was written stays. The contract answers a next step with 400, mostly."""

    flow: Flow
    status: int = 400


class FlowInvalid(Refusal):
    """The form is to be shown again, with what was wrong; nothing else of the submission stays."""

    code, status = "flow_invalid", 400
    message = "The form is not complete yet."

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow


@dataclass(frozen=True, slots=True)
class KindSettings:
    """What is configured for one kind of flow."""

    lifespan: timedelta = timedelta(hours=1)
    after: AfterFlow = field(default_factory=AfterFlow)


class Kind(Protocol):
    """One kind of flow: what is its own, and nothing of what is shared."""

    name: str

    @property
    def settings(self) -> KindSettings: ...

    expired_message: int
    """The number of the message that says such a flow has run out."""

    async def may_open(self, unit: Unit, opening: Opening, caller: Caller) -> None:
        """Raises the refusal, if this caller may not open such a flow now."""
        ...

    async def form(self, unit: Unit, flow: Flow, caller: Caller) -> Flow:
        """The flow with its first form."""
        ...

    async def may_go_on(self, unit: Unit, flow: Flow, caller: Caller) -> None:
        """Raises the refusal, if this caller may not submit now."""
        ...

    async def advance(self, unit: Unit, flow: Flow, submission: Submission, caller: Caller) -> Finished | NextForm:
        """Does the work. Raises `Rejected` with messages, or a refusal."""
        ...


class Pipeline:
    """Opens, fetches and submits flows of every kind in its list."""

    def __init__(
        self, kinds: Sequence[Kind], *, signing_in: SignInCompletion, clock: Clock, return_addresses: ReturnAddresses
    ) -> None:
        self._kinds = {kind.name: kind for kind in kinds}
        self._signing_in = signing_in
        self._clock = clock
        self._return = return_addresses

    def kind(self, name: str) -> Kind:
        """The kind of flow of a name."""
        return self._kinds[name]

    def landing(self, name: str, *, return_to: str | None = None) -> str:
        """Where somebody is sent who has nothing to do in this kind of flow. Raises `ReturnToForbidden`."""
        wanted = self._return.check(return_to)
        return self._return.after(self._kinds[name].settings.after, method=None, return_to=wanted)

    async def open(self, unit: Unit, name: str, opening: Opening, caller: Caller) -> Flow:
        """A new flow. Raises `SessionAlreadyAvailable`, `FlowDisabled`, `ReturnToForbidden` and the like."""
        kind, caller = self._kinds[name], caller.within(caller.store)
        return_to = self._return.check(opening.return_to)
        await kind.may_open(unit, opening, caller)
        flow = await kind.form(unit, self._blank(kind, replace(opening, return_to=return_to), caller), caller)
        await store.add(unit, flow)
        return flow

    async def fetch(self, unit: Unit, name: str, flow_id: str | None, caller: Caller) -> Flow:
        """A flow as it stands. Raises `NotFound`, `FlowExpired`, or `CsrfViolation` for another browser's."""
        flow = await self._require(unit, name, flow_id)
        if flow.expires_at <= self._clock.now():
            raise FlowExpired(_OVER, expired_at=flow.expires_at, flow_type=flow.type, opened_with=flow.opened_with)
        if flow.type is FlowType.BROWSER and not _opened_by(flow, caller):
            raise CsrfViolation(
                "This form was opened by another browser, or its anti-CSRF cookie is missing. Open a new one.",
                details={"reject_reason": "the anti-CSRF cookie does not belong to this flow"},
            )
        return flow

    async def get(self, unit: Unit, name: str, flow_id: str | None) -> Flow | None:
        """A flow, whoever asks: for doors, which answer each type of flow in its own way. It is not to be shown."""
        known = uuid_or_none(flow_id or "")
        return await store.get(unit, known, kind=name) if known else None

    async def tell(
        self, unit: Unit, name: str, flow_id: str | None, submission: Submission, caller: Caller, *, reason: str
    ) -> Flow:
        """Puts a sentence above a form that could not be served just now, and keeps what was written in it.

        Raises as `fetch` does, and what `submit` raises for a forged form.
        """
        flow = await self.fetch(unit, name, flow_id, caller)
        _refuse_forged(flow, submission, caller)
        typed = {} if _has_giants(flow, submission) else submission.fields
        told = replace(filled(flow, typed), messages=(message(4000001, reason=reason),))
        return await self._keep(unit, told)

    async def submit(
        self, unit: Unit, name: str, flow_id: str | None, submission: Submission, caller: Caller
    ) -> Done | NextForm:
        """Takes a flow on. Raises `FlowInvalid` with the form to show again, `FlowExpired`, or a refusal."""
        kind = self._kinds[name]
        if not flow_id:
            raise InvalidInput("The flow is missing: send its id as the query parameter 'flow'.")
        flow = await self._require(unit, name, flow_id)
        # A form is sent without the names that it was opened with: whose it is, the flow remembers.
        caller = caller.within(flow.store)
        await self._refuse_expired(unit, kind, flow, caller)
        try:
            return await self._go_on(unit, kind, flow, submission, caller)
        except Rejected as rejected:
            shown = self._with_mistakes(filled(flow, submission.fields if rejected.filled else {}), rejected)
            unit.always(store.keeping(shown))
            raise FlowInvalid(shown) from rejected

    async def _go_on(
        self, unit: Unit, kind: Kind, flow: Flow, submission: Submission, caller: Caller
    ) -> Done | NextForm:
        # Asked before whether the form is forged: signing in in another tab makes every form that is open look so. That
        # is safe, because a caller who may not go on is told just that, and nothing that was sent has been looked at.
        await kind.may_go_on(unit, flow, caller)
        _refuse_forged(flow, submission, caller)
        if submission.broken:
            raise Rejected(message(4000001, reason=submission.broken))
        _refuse_giants(flow, submission)
        outcome = await kind.advance(unit, flow, submission, caller)
        if isinstance(outcome, NextForm):
            return replace(outcome, flow=await self._keep(unit, outcome.flow))
        return await self._finish(unit, kind, flow, outcome, caller)

    async def _keep(self, unit: Unit, flow: Flow) -> Flow:
        """The flow with its next form, kept, unless it was finished meanwhile: no form of it leads anywhere then."""
        shown = replace(flow, updated_at=self._clock.now())
        if (await unit.write(store.keeping(shown))).rowcount != 1:
            raise finished(flow)
        return shown

    async def _finish(self, unit: Unit, kind: Kind, flow: Flow, outcome: Finished, caller: Caller) -> Done:
        """Ends the flow, once and for all, before anything is given for it."""
        if not await store.finish(unit, flow.id, self._clock.now()):
            raise finished(flow)
        signed_in = None
        if outcome.signs_in:
            signed_in = await self._signing_in(
                unit,
                Proof(outcome.identity, outcome.method, outcome.aal),
                kind=kind.name,
                store=flow.store,
                client=caller.client,
                replacing=caller.session or caller.former,
                guest=caller.guest,
            )
        return Done(
            flow=flow,
            identity=outcome.identity,
            signed_in=signed_in,
            guest=caller.guest,
            return_to=self._return.after(kind.settings.after, method=outcome.method, return_to=flow.return_to),
        )

    async def _refuse_expired(self, unit: Unit, kind: Kind, flow: Flow, caller: Caller) -> None:
        now = self._clock.now()
        if flow.expires_at > now:
            return
        opening = Opening(
            type=flow.type,
            request_url=flow.request_url,
            return_to=flow.return_to,
            refresh=flow.refresh,
            aal=flow.requested_aal.value,
            schema_id=flow.schema_id,
        )
        fresh = await kind.form(unit, self._blank(kind, opening, caller), caller)
        told = message(
            kind.expired_message,
            expired_at=flow.expires_at.isoformat(),
            expired_at_unix=int(flow.expires_at.timestamp()),
        )
        fresh = replace(fresh, messages=(told, *fresh.messages), csrf=flow.csrf)
        unit.always(store.adding(fresh))
        raise FlowExpired(_OVER, expired_at=flow.expires_at, use_flow_id=str(fresh.id))

    def _blank(self, kind: Kind, opening: Opening, caller: Caller) -> Flow:
        now = self._clock.now()
        return Flow(
            id=crypto.new_id(),
            kind=kind.name,
            store=caller.store,
            type=opening.type,
            request_url=opening.request_url,
            return_to=opening.return_to,
            issued_at=now,
            expires_at=now + kind.settings.lifespan,
            created_at=now,
            updated_at=now,
            csrf=_csrf_digest(caller) if opening.type is FlowType.BROWSER else None,
            refresh=opening.refresh,
            requested_aal=Aal(opening.aal or Aal.AAL1),
            schema_id=opening.schema_id,
        )

    def _with_mistakes(self, flow: Flow, rejected: Rejected) -> Flow:
        nodes = [_told(node, rejected.fields) for node in _with_places(flow.nodes, rejected.fields)]
        now = self._clock.now()
        return replace(flow, nodes=tuple(nodes), messages=rejected.general, transient_payload=None, updated_at=now)

    async def _require(self, unit: Unit, name: str, flow_id: str | None) -> Flow:
        flow = await self.get(unit, name, flow_id)
        if flow is None:
            raise NotFound
        return flow


def filled(flow: Flow, fields: Mapping[str, Any]) -> Flow:
    """The flow with what was typed, but never passwords, tokens or buttons; messages of the last time are gone."""
    values = flatten(fields)
    return replace(flow, nodes=tuple(_filled(node.without_messages(), values) for node in flow.nodes), messages=())


def flatten(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields by their dotted names: `{"traits": {"email": "a"}}` is `{"traits.email": "a"}`."""
    flat: dict[str, Any] = {}
    for key, value in fields.items():
        name = f"{prefix}{key}"
        flat.update(flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value})
    return flat


MOST_KEPT = 10_000
"""Characters of one field: what was typed is kept with the flow, before anybody has said who they are."""


def _refuse_giants(flow: Flow, submission: Submission) -> None:
    """Refuses what is too long to be shown again, rather than keeping megabytes of a stranger's, or losing them."""
    if _has_giants(flow, submission):
        reason = f"A field of the form has more than {MOST_KEPT} characters."
        raise Rejected(message(4000001, reason=reason), filled=False)


def _has_giants(flow: Flow, submission: Submission) -> bool:
    values = flatten(submission.fields)
    kept = [node.name for node in flow.nodes if node.type == "input" and node.attributes["type"] not in _NEVER_FILLED]
    return any(len(str(_shown(values[name]))) > MOST_KEPT for name in kept if name in values)


_OVER = "This form has run out; open a new one and try again."
_NEVER_FILLED = {"password", "submit", "button"}
# The login name is shown as it was sent the last time, also when it was not sent.
_EMPTIED = {"identifier"}


def _filled(node: Node, values: Mapping[str, Any]) -> Node:
    kept = node.type != "input" or node.attributes["type"] in _NEVER_FILLED or node.name in {"csrf_token", "method"}
    if kept or values.get(node.name) is None:
        return node.with_value("") if node.name in _EMPTIED else node
    return node.with_value(_shown(values[node.name]))


def _shown(value: Any) -> Any:
    """A value as a form shows it: plain values as they are, anything else as the JSON text that was sent."""
    if isinstance(value, str):
        return str(value)  # of one that was sent more than once, the last
    return value if isinstance(value, int | float | bool) else json.dumps(value, separators=(",", ":"))


def _told(node: Node, errors: Sequence[FieldError]) -> Node:
    return node.with_messages(*(error.message for error in errors if error.name == node.name))


def _with_places(nodes: Sequence[Node], errors: Sequence[FieldError]) -> list[Node]:
    """The nodes, and further ones behind the default group for messages that have no node of their own."""
    places = list(nodes)
    known = {node.name for node in nodes}
    for name in dict.fromkeys(error.name for error in errors if error.name not in known):
        last = max((i for i, node in enumerate(places) if node.group == "default"), default=-1)
        places.insert(last + 1, input_node(name, "text", group="default"))
    return places


def _refuse_forged(flow: Flow, submission: Submission, caller: Caller) -> None:
    """CSRF: a browser proves by cookie and field that its own page submits; a native app sends neither."""
    if flow.type is FlowType.API:
        if caller.from_browser:
            raise Rejected(message(4000001, reason=_NOT_FOR_BROWSERS))
        return
    if not _opened_by(flow, caller) or not crypto.same(crypto.unmask(submission.csrf_token), caller.csrf or b"-"):
        raise CsrfViolation(
            "The form was not sent by the page that showed it: send the cookies and the field 'csrf_token' of this "
            "flow, and call with credentials included.",
            details={"reject_reason": _why_forged(submission, caller)},
        )


_NOT_FOR_BROWSERS = (
    "This flow is for native apps, and the request carries cookies or an Origin header as browsers send them. "
    "Open a browser flow instead."
)


def _why_forged(submission: Submission, caller: Caller) -> str:
    if caller.csrf is None:
        return "the anti-CSRF cookie is missing"
    return "the csrf_token does not match" if submission.csrf_token else "the csrf_token is missing from the body"


def _opened_by(flow: Flow, caller: Caller) -> bool:
    digest = _csrf_digest(caller)
    return digest is not None and flow.csrf is not None and crypto.same(digest, flow.csrf)


def _csrf_digest(caller: Caller) -> bytes | None:
    return crypto.digest(caller.csrf.hex()) if caller.csrf else None


def finished(flow: Flow) -> FlowExpired:
    """The refusal of a flow that has done its work."""
    return FlowExpired("This form has done its work already; open a new one.", expired_at=flow.expires_at)
