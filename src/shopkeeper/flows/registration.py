"""The registration flow, in one step or in two. `flows/registrar.py` registers, for GraphQL as well."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shopkeeper.credentials.method import CallbackMethod, Traits
from shopkeeper.credentials.steps import AnyStep, Form, SubmissionRejected
from shopkeeper.errors import FlowDisabled, SessionAlreadyAvailable
from shopkeeper.flows.flow import REGISTRATION, Caller, Flow, FlowState, Opening
from shopkeeper.flows.form_filling import filled
from shopkeeper.flows.form_order import leading_nodes, own_nodes
from shopkeeper.flows.handler import FlowSettings, NextForm, Turn, method_view
from shopkeeper.flows.login import SIGNED_IN
from shopkeeper.flows.registrar import NOTHING_EXTRACTED, Registrar, trait_errors
from shopkeeper.identity.schema import Schema, Schemas
from shopkeeper.storage.database import Unit
from shopkeeper.ui.messages import message
from shopkeeper.ui.nodes import Node, csrf_node, input_node, submit_node

PROFILE = "profile"
PREVIOUS, CREDENTIALS = "previous", "credential-selection"
"""The values of the buttons named `screen`: back to the traits, or back to the choice of a method."""


@dataclass(frozen=True, slots=True)
class RegistrationSettings(FlowSettings):
    """The settings of registration, beside those of every flow.

    Args:
        shows_verification: the methods after which a browser sees the verification of its address.
        signs_in: for each method whether registering starts a session (the hook `session`).
        own_pages: whether the address that a browser goes to by default is our own account page.
        one_group: whether a single method is offered: the contract has its field right after the identifier then.
    """

    enabled: bool = True
    two_steps: bool = True
    one_group: bool = True
    signs_in: Mapping[str, bool] | None = None
    shows_verification: frozenset[str] = frozenset()
    own_pages: bool = False


class Registration:
    """The flow that registers."""

    name = REGISTRATION
    expired_message = 4040001

    def __init__(
        self,
        *,
        settings: RegistrationSettings,
        registrar: Registrar,
        schemas: Schemas,
    ) -> None:
        self.settings: RegistrationSettings = settings
        self._registrar = registrar
        self._schemas = schemas

    async def may_open(self, unit: Unit, opening: Opening, caller: Caller) -> None:
        if not self.settings.enabled:
            raise FlowDisabled("Registration is switched off here.", topic="registration")
        if caller.session is not None:
            raise SessionAlreadyAvailable(SIGNED_IN)
        self._schemas.require_selectable(opening.schema_id)

    async def form(self, unit: Unit, flow: Flow, caller: Caller) -> Flow:
        forms = await self._forms(unit, flow, caller)
        if self.settings.two_steps:
            leading = {name: form for name, form in forms.items() if form.leads}
            shown = flow.showing((*leading_nodes(leading.values()), *self._profile_form(flow)))
            return _remembering(shown, leading)
        return self._with_methods(flow, forms, [csrf_node(), *self._trait_nodes(flow)])

    async def may_go_on(self, unit: Unit, flow: Flow, caller: Caller) -> None:
        if caller.session is not None:
            raise SessionAlreadyAvailable(SIGNED_IN)

    def starts_session(self, method: str) -> bool:
        return bool((self.settings.signs_in or {}).get(method))

    def offers_sign_in(self, method: str) -> bool:
        configured = self.settings.after.default or self.settings.after.by_method.get(method)
        return self.settings.own_pages and configured is None and not self.starts_session(method)

    def shows_verification(self, method: str) -> bool:
        return method in self.settings.shows_verification

    async def submit(self, unit: Unit, turn: Turn) -> AnyStep | NextForm:
        schema, screen = self._schema(turn.flow), turn.submission.text("screen")
        traits = schema.submitted(turn.submission.fields)
        if self.settings.two_steps and screen == PREVIOUS:
            return await self._profile_again(unit, turn)
        if self.settings.two_steps and (turn.method == PROFILE or screen == CREDENTIALS):
            return await self._choose_credential(unit, turn, schema, traits)
        return await self._registrar.prove(unit, turn.method, turn.method_input(), schema_id=schema.id, traits=traits)

    async def callback(self, unit: Unit, turn: Turn) -> AnyStep:
        method: object = self._registrar.methods.get(turn.method)
        if not isinstance(method, CallbackMethod):
            raise SubmissionRejected(message(4010003))
        schema = self._schema(turn.flow)
        typed = Traits(schema.id, schema.submitted(turn.submission.fields), NOTHING_EXTRACTED)
        return await method.callback(unit, turn.method_input(traits=typed))

    def place(self, turn: Turn, form: Form) -> Sequence[Node]:
        """Return the method's form after the traits, which are hidden: they are sent again with its answer."""
        back = input_node("screen", "submit", group=PROFILE, value=CREDENTIALS, label=message(1040008))
        return (*self._hidden_traits(turn), *form.nodes, *([back] if self.settings.two_steps else ()))

    async def traits_form(
        self, unit: Unit, flow: Flow, caller: Caller, *, method: str, traits: Mapping[str, Any]
    ) -> Flow:
        """See `CompletesTraits`. The same in one step and in two, as in the contract."""
        own = await self._registrar.methods[method].registration_form(unit, method_view(flow, caller, method=method))
        whole = flow.showing([*own.nodes, csrf_node(), *self._trait_nodes(flow)])
        shown = filled(whole, {"traits": traits})
        return replace(shown, state=FlowState.CHOOSE_METHOD, active=method, transient_payload=None)

    async def _profile_again(self, unit: Unit, turn: Turn) -> NextForm:
        first = await self.form(unit, turn.flow, turn.caller)
        typed = filled(first, turn.submission.fields)
        return NextForm(replace(typed, state=FlowState.CHOOSE_METHOD, active=None, transient_payload=None))

    async def _choose_credential(self, unit: Unit, turn: Turn, schema: Schema, traits: Mapping[str, Any]) -> NextForm:
        """Return the second of two forms: the traits, hidden, and the fields of every method."""
        wrong = trait_errors(schema.validate(traits))
        if wrong:
            raise SubmissionRejected(fields=wrong)
        back = input_node("screen", "submit", group=PROFILE, value=PREVIOUS, label=message(1040008))
        forms = await self._forms(unit, turn.flow, turn.caller)
        after = {name: form for name, form in forms.items() if not form.leads}
        whole = self._with_methods(turn.flow, after, self._hidden_traits(turn))
        shown = whole.showing((*whole.nodes, back), message(1040009))
        return NextForm(replace(shown, state=FlowState.CHOOSE_METHOD, active=None, transient_payload={}))

    def _hidden_traits(self, turn: Turn) -> Sequence[Node]:
        typed = filled(turn.flow.showing(self._trait_nodes(turn.flow)), turn.submission.fields)
        return [csrf_node(), *(node.with_type("hidden") for node in typed.nodes)]

    def _profile_form(self, flow: Flow) -> Sequence[Node]:
        return (csrf_node(), *self._trait_nodes(flow), submit_node(PROFILE, label=message(1040001)))

    def _trait_nodes(self, flow: Flow) -> Sequence[Node]:
        return [field.node() for field in self._schema(flow).fields()]

    async def _forms(self, unit: Unit, flow: Flow, caller: Caller) -> Mapping[str, Form]:
        return {
            name: await method.registration_form(unit, method_view(flow, caller, method=name))
            for name, method in self._registrar.methods.items()
        }

    def _with_methods(self, flow: Flow, forms: Mapping[str, Form], before: Sequence[Node]) -> Flow:
        """Return the flow with the nodes of every method around the traits, and with the methods' contexts."""
        arranged = self._arranged(flow, before, own_nodes(forms.values()))
        return _remembering(flow, forms).showing((*leading_nodes(forms.values()), *arranged))

    def _arranged(self, flow: Flow, before: Sequence[Node], own: Sequence[Node]) -> Sequence[Node]:
        """Return the nodes in order: a single method's field after the first identifier, those of several methods after
        all traits."""
        if not (self.settings.one_group and own) or own[0].attributes["type"] == "submit":
            return [*before, *own]
        fields = self._schema(flow).fields()
        names = {field.name for field in fields if field.identifies & self._registrar.methods.keys()}
        first = next((i for i, node in enumerate(before) if node.name in names), 0)
        return [*before[: first + 1], own[0], *before[first + 1 :], *own[1:]]

    def _schema(self, flow: Flow) -> Schema:
        return self._schemas.require(flow.schema_id)


def _remembering(flow: Flow, forms: Mapping[str, Form]) -> Flow:
    for name, form in forms.items():
        flow = flow.remembering(name, form.context)
    return flow
