"""The login flow: unified (identifier and methods on one form) or identifier-first (two forms), and refresh.

What a method does is the method's; this file decides who may open such a flow, and shows the form.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from shopkeeper.credentials.method import Attempt, FieldError, LoginMethod, LoginView, Proof, Rejected
from shopkeeper.errors import FirstFactorRequired, InvalidInput, SessionAlreadyAvailable
from shopkeeper.flows.flow import Caller, Flow, Opening, Submission
from shopkeeper.flows.pipeline import Finished, KindSettings, NextForm, filled, finished
from shopkeeper.identity.schema import Schemas
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Aal, Identity
from shopkeeper.storage.database import Unit
from shopkeeper.ui.messages import message
from shopkeeper.ui.nodes import Node, csrf_node, input_node, submit_node

IDENTIFIER_FIRST = "identifier_first"
SIGNED_IN = "There is a session already: sign out first, or ask for refresh=true to confirm it."


@dataclass(frozen=True, slots=True)
class LoginSettings(KindSettings):
    """What is configured for login beside what every kind of flow has."""

    identifier_first: bool = False
    mitigate_enumeration: bool = True


class Login:
    """The kind of flow that signs in."""

    name = "login"
    expired_message = 4010001

    def __init__(
        self,
        *,
        settings: LoginSettings,
        methods: Sequence[LoginMethod],
        schemas: Schemas,
        identities: Identities,
    ) -> None:
        self.settings: LoginSettings = settings
        self._methods = {method.name: method for method in methods}
        self._schemas = schemas
        self._identities = identities

    async def may_open(self, unit: Unit, opening: Opening, caller: Caller) -> None:
        if opening.aal not in {None, "", *Aal}:
            raise InvalidInput("The query parameter 'aal' takes aal1 or aal2.")
        if opening.aal == Aal.AAL2:
            if caller.session is None:
                raise FirstFactorRequired("A second factor can only be added to a session: sign in first.")
        elif caller.session is not None and not opening.refresh:
            raise SessionAlreadyAvailable(SIGNED_IN)
        self._schemas.require(opening.schema_id)

    async def form(self, unit: Unit, flow: Flow, caller: Caller) -> Flow:
        if flow.requested_aal is Aal.AAL2:
            return flow.showing((), message(1010004))
        refreshed = caller.session.identity if flow.refresh and caller.session else None
        if refreshed is not None:
            return flow.showing(self._refresh_form(flow, refreshed), message(1010003))
        return flow.showing(self._first_form(flow))

    async def may_go_on(self, unit: Unit, flow: Flow, caller: Caller) -> None:
        if flow.finished_at is not None:
            raise finished(flow)
        if caller.session is not None and not flow.refresh and flow.requested_aal is Aal.AAL1:
            raise SessionAlreadyAvailable(SIGNED_IN)

    async def advance(self, unit: Unit, flow: Flow, submission: Submission, caller: Caller) -> Finished | NextForm:
        if self.settings.identifier_first and submission.method == IDENTIFIER_FIRST:
            return NextForm(await self._second_form(unit, flow, submission))
        proof = await self._prove(unit, flow, submission, caller)
        return Finished(identity=proof.identity, method=proof.method, aal=proof.aal)

    async def _prove(self, unit: Unit, flow: Flow, submission: Submission, caller: Caller) -> Proof:
        method = self._methods.get(submission.method)
        if method is None or flow.requested_aal is Aal.AAL2:
            raise Rejected(message(4010002))
        known = caller.session.identity if flow.refresh and caller.session else None
        return await method.prove(unit, Attempt(submitted=submission.fields, client=caller.client, identity=known))

    def _first_form(self, flow: Flow) -> Sequence[Node]:
        if self.settings.identifier_first:
            return (
                self._identifier_alone(flow),
                submit_node(IDENTIFIER_FIRST, label=message(1070009)),
                csrf_node(),
            )
        return (csrf_node(), identifier_node(self._schemas, flow), *self._method_nodes(flow))

    def _refresh_form(self, flow: Flow, identity: Identity) -> Sequence[Node]:
        known = input_node("identifier", "hidden", group="default", value=self._identifier_of(identity))
        return (csrf_node(), known, *self._method_nodes(flow))

    async def _second_form(self, unit: Unit, flow: Flow, submission: Submission) -> Flow:
        """The methods, once an identifier is given. Whether it is known shows only without mitigation."""
        identifier = (submission.text("identifier") or "").strip()
        if not identifier or not await self._may_be_known(unit, identifier):
            raise Rejected(fields=[FieldError("identifier", message(4000037))])
        asked = filled(flow, {"identifier": identifier})
        hidden = self._identifier_alone(flow).with_value(identifier).with_type("hidden")
        return replace(
            asked.showing((hidden, csrf_node(), *self._method_nodes(flow))),
            active=IDENTIFIER_FIRST,
            transient_payload=asked.transient_payload or {},
        )

    def _identifier_alone(self, flow: Flow) -> Node:
        """The field of the first of two forms; the contract has it offer passkeys whatever methods come after it."""
        return identifier_node(self._schemas, flow, group=IDENTIFIER_FIRST, autocomplete="username webauthn")

    async def _may_be_known(self, unit: Unit, identifier: str) -> bool:
        """Every method is asked, whatever the first one says: it takes as long for nobody."""
        found = [
            await self._identities.find_by_identifier(unit, type=method, identifier=identifier)
            for method in self._methods
        ]
        return any(identity is not None for identity in found) or self.settings.mitigate_enumeration

    def _identifier_of(self, identity: Identity) -> str:
        """What they sign in with, by the first method that knows a name of theirs."""
        known = [identity.credentials[method] for method in self._methods if method in identity.credentials]
        names = [name for credential in known for name in credential.identifiers]
        return names[0] if names else identity.email or ""

    def _method_nodes(self, flow: Flow) -> list[Node]:
        view = LoginView(refresh=flow.refresh, requested_aal=flow.requested_aal)
        return [node for method in self._methods.values() for node in method.login_nodes(view)]


def identifier_node(schemas: Schemas, flow: Flow, *, group: str = "default", autocomplete: str | None = None) -> Node:
    """The field for the login name, labelled by the schema where it has just one."""
    label = schemas.require(flow.schema_id).identifier_label()
    return input_node(
        "identifier", "text", group=group, value="", required=True, autocomplete=autocomplete, label=label
    )
