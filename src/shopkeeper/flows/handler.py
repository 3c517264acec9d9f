"""The port of a flow: what is specific to it. What all flows share is in the pipeline and the dispatcher.

A handler chooses the method of a submission and places the nodes; it never commits, redirects or starts a session.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol, runtime_checkable
from uuid import UUID

from shopkeeper.credentials.method import Callback, MethodInput, MethodView, Traits
from shopkeeper.credentials.steps import AnyStep, Form, NewCredential, StartOver
from shopkeeper.errors import CsrfViolation
from shopkeeper.flows.flow import Caller, Flow, FlowType, Opening, Submission
from shopkeeper.flows.return_to import AfterFlow
from shopkeeper.identity.values import Identity
from shopkeeper.storage.database import Unit
from shopkeeper.ui.nodes import Node


@dataclass(frozen=True, slots=True)
class FlowSettings:
    """The settings of one flow."""

    lifespan: timedelta = timedelta(hours=1)
    after: AfterFlow = field(default_factory=AfterFlow)


@dataclass(frozen=True, slots=True)
class Turn:
    """One submission of a flow, with everything that handler and method need of it.

    Args:
        flow: as it was read, once.
        method: the name of the method that was chosen.
        count_attempt: see `MethodInput`.
        callback: where another server sends the browser back to.
        query: the parameters of a callback or a mailed link.
        left_as: the id that the flow had when it was left for the server whose callback has come, if it was.
        by_link: whether a mailed link continues the flow, perhaps in another browser than the one that opened it.
    """

    flow: Flow
    submission: Submission
    caller: Caller
    method: str
    count_attempt: Callable[[int], Awaitable[bool]]
    callback: Callback
    query: Mapping[str, str] = field(default_factory=dict)
    left_as: UUID | None = None
    by_link: bool = False

    @property
    def app_waits(self) -> bool:
        """Whether a browser has come back for an app, which gets the session by its codes (`token_exchange.py`)."""
        return self.flow.exchange_return is not None and bool(self.query)

    def method_input(self, *, identity: Identity | None = None, traits: Traits | None = None) -> MethodInput:
        """Return the submission as a method sees it."""
        flow, session = self.flow, self.caller.session
        return MethodInput(
            client=self.caller.client,
            context=flow.remembered(self.method),
            state=flow.state.value,
            refresh=flow.refresh,
            requested_aal=flow.requested_aal,
            identity=identity,
            session_id=session.id if session else None,
            locale=self.caller.locale,
            wished_language=self.caller.wished_language,
            expires_at=flow.expires_at,
            opened_at=flow.issued_at,
            native=flow.type is FlowType.API,
            flow_id=self.left_as or flow.id,
            request_url=flow.request_url,
            schema_id=flow.schema_id,
            submitted=self.submission.fields,
            shown=flow.nodes,
            traits=traits,
            count_attempt=self.count_attempt,
            callback=self.callback,
            query=self.query,
        )


def method_view(flow: Flow, caller: Caller, *, method: str, identity: Identity | None = None) -> MethodView:
    """Return what a method needs to know to describe its part of a form."""
    return MethodView(
        client=caller.client,
        context=flow.remembered(method),
        state=flow.state.value,
        refresh=flow.refresh,
        requested_aal=flow.requested_aal,
        identity=identity,
        session_id=caller.session.id if caller.session else None,
        locale=caller.locale,
        wished_language=caller.wished_language,
        expires_at=flow.expires_at,
        opened_at=flow.issued_at,
        flow_id=flow.id,
        request_url=flow.request_url,
        schema_id=flow.schema_id,
        native=flow.type is FlowType.API,
    )


@dataclass(frozen=True, slots=True)
class NextForm:
    """A handler's own step: the flow with its next form, such as the second of two. Methods answer `Ask` instead."""

    flow: Flow
    status: int = 400


class FlowHandler(Protocol):
    """A self-service flow's own part."""

    name: str

    @property
    def settings(self) -> FlowSettings: ...

    expired_message: int
    """The id of the message that says that the flow has expired."""

    async def may_open(self, unit: Unit, opening: Opening, caller: Caller) -> None:
        """Raise the refusal where this caller may not open such a flow now."""
        ...

    async def form(self, unit: Unit, flow: Flow, caller: Caller) -> Flow:
        """Return the flow with its first form."""
        ...

    async def may_go_on(self, unit: Unit, flow: Flow, caller: Caller) -> None:
        """Raise the refusal where this caller may not submit now."""
        ...

    async def submit(self, unit: Unit, turn: Turn) -> AnyStep | NextForm:
        """Return the step that follows a submission. Only reads. Raises `SubmissionRejected`, or a refusal."""
        ...

    async def callback(self, unit: Unit, turn: Turn) -> AnyStep:
        """Return the step that follows when another server sends the browser back. Only reads. Raises as `submit`
        does."""
        ...

    def place(self, turn: Turn, form: Form) -> Sequence[Node]:
        """Return the nodes of the whole form, with those of a method's `Ask` in their place."""
        ...


@runtime_checkable
class LinkHandler(FlowHandler, Protocol):
    """A flow that a mailed link continues: GET of the address that its form is sent to."""

    async def follow_link(self, unit: Unit, turn: Turn) -> AnyStep | NextForm:
        """Return the step that follows; `turn.query` has the link's parameters. Links have no anti-CSRF token."""
        ...


@runtime_checkable
class AnswersWhenUsed(Protocol):
    """A flow that goes on answering when it has done its work."""

    def used(self) -> StartOver:
        """Return the step that follows then."""
        ...


@runtime_checkable
class RestartsWhenForged(Protocol):
    """A flow that starts over where its form was not sent by the browser that opened it (`forgery.py`)."""

    def restart(self, violation: CsrfViolation) -> StartOver:
        """Return the step that follows then."""
        ...


@runtime_checkable
class OwnedFlowHandler(FlowHandler, Protocol):
    """A flow that belongs to an account."""

    def may_see(self, flow: Flow, caller: Caller) -> None:
        """Raise the refusal where this caller may not fetch the flow."""
        ...

    async def form_of(self, unit: Unit, flow: Flow, caller: Caller, identity: Identity) -> Flow:
        """Return the flow with the form of its owner, who was read with credentials."""
        ...

    def as_of_now(self, flow: Flow, identity: Identity) -> Flow:
        """Return the flow with what was changed elsewhere since its form was opened."""
        ...


@dataclass(frozen=True, slots=True)
class OwnersWays:
    """How the owner of an account can sign in: the methods, and the ids of the providers that are linked."""

    methods: Sequence[str]
    providers: Sequence[str]


@runtime_checkable
class ConfirmsOwner(FlowHandler, Protocol):
    """A flow in which the owner of an account proves it, before another way to sign in is added."""

    async def owner_form(
        self,
        unit: Unit,
        flow: Flow,
        caller: Caller,
        *,
        identifier: str,
        owner: Identity | None,
        enrolled: NewCredential,
    ) -> tuple[Flow, OwnersWays]:
        """Return the flow with the form of the ways that the owner can use, who was read with credentials; of every
        way but that of the `enrolled` credential, where `owner` is None because who asks must not learn them."""
        ...


@runtime_checkable
class CompletesTraits(FlowHandler, Protocol):
    """A flow that asks for the traits that an enrolment lacks."""

    async def traits_form(
        self, unit: Unit, flow: Flow, caller: Caller, *, method: str, traits: Mapping[str, Any]
    ) -> Flow:
        """Return the flow with every trait, filled in where it is known, and the method's button to continue."""
        ...


@runtime_checkable
class TakesScripts(Protocol):
    """A flow that takes JSON of a known page's script without the field `csrf_token` (`forgery.py`)."""

    def takes_scripts(self, method: str) -> bool:
        """Return whether it does, for this method."""
        ...


@runtime_checkable
class Registers(FlowHandler, Protocol):
    """A flow that ends with another identity."""

    def starts_session(self, method: str) -> bool:
        """Return whether it ends with a session, too, where the identity was created by this method."""
        ...


@runtime_checkable
class OffersSignIn(Protocol):
    """A flow after which a browser may be shown the login form."""

    def offers_sign_in(self, method: str) -> bool:
        """Return whether it is, after this method: no session starts, and no other page is configured."""
        ...


@runtime_checkable
class SendsVerification(Protocol):
    """A flow after which addresses that are not verified yet may get a mail."""

    def sends_verification(self, method: str) -> bool:
        """Return whether they do, after this method (the hook `verification`)."""
        ...


@runtime_checkable
class ShowsVerification(Protocol):
    """A flow after which browsers may be shown the verification of a new address."""

    def shows_verification(self, method: str) -> bool:
        """Return whether they are, after this method (the hook `show_verification_ui`)."""
        ...
