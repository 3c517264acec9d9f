"""The registration flow, in one step or in two. Registering itself is `flows/registrar.py`, for other doors as well."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shopkeeper.credentials.method import Rejected
from shopkeeper.errors import FlowDisabled, SessionAlreadyAvailable
from shopkeeper.flows.flow import Caller, Flow, Opening, Submission
from shopkeeper.flows.login import SIGNED_IN
from shopkeeper.flows.pipeline import Finished, KindSettings, NextForm, filled
from shopkeeper.flows.registrar import Registrar, trait_errors
from shopkeeper.identity.schema import Schema, Schemas
from shopkeeper.storage.database import Unit
from shopkeeper.ui.messages import message
from shopkeeper.ui.nodes import Node, csrf_node, input_node, submit_node

PROFILE = "profile"


@dataclass(frozen=True, slots=True)
class RegistrationSettings(KindSettings):
    """What is configured for registration beside what every kind of flow has.

    `signs_in` says for each method whether registering starts a session (the hook `session`). `one_group` is true where
    a single method is offered: its field then stands right behind the identifier, as the contract has it.
    """

    enabled: bool = True
    two_steps: bool = True
    one_group: bool = True
    signs_in: Mapping[str, bool] | None = None

    def starts_session(self, method: str) -> bool:
        return bool((self.signs_in or {}).get(method))


class Registration:
    """The kind of flow that registers."""

    name = "registration"
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
            raise FlowDisabled("Registration is switched off here.")
        if caller.session is not None:
            raise SessionAlreadyAvailable(SIGNED_IN)
        self._schemas.require(opening.schema_id)

    async def form(self, unit: Unit, flow: Flow, caller: Caller) -> Flow:
        return flow.showing(self._profile_form(flow) if self.settings.two_steps else self._whole_form(flow))

    async def may_go_on(self, unit: Unit, flow: Flow, caller: Caller) -> None:
        if caller.session is not None:
            raise SessionAlreadyAvailable(SIGNED_IN)

    async def advance(self, unit: Unit, flow: Flow, submission: Submission, caller: Caller) -> Finished | NextForm:
        schema = self._schema(flow)
        traits = submitted_traits(schema, submission.fields)
        back = submission.text("screen") == "previous"
        if self.settings.two_steps and (submission.method == PROFILE or back):
            return NextForm(self._turn(flow, schema, traits, submission))
        identity, method = await self._registrar.register(
            unit,
            schema_id=schema.id,
            traits=traits,
            submitted=submission.fields,
            client=caller.client,
            locale=caller.locale,
            signs_in=self.settings.starts_session(submission.method),
        )
        return Finished(identity=identity, method=method, signs_in=self.settings.starts_session(method))

    def _turn(self, flow: Flow, schema: Schema, traits: Mapping[str, Any], submission: Submission) -> Flow:
        """Forward to the choice of a method, or back to the profile."""
        typed = filled(flow.showing(self._profile_form(flow)), submission.fields)
        if submission.text("screen") == "previous":
            return replace(typed, transient_payload=None)
        wrong = trait_errors(schema.validate(traits))
        if wrong:
            raise Rejected(fields=wrong)
        hidden = [node if node.name == "csrf_token" else node.with_type("hidden") for node in typed.nodes[:-1]]
        back = input_node("screen", "submit", group=PROFILE, value="previous", label=message(1040008))
        whole = self._arranged(hidden, schema)
        return replace(typed.showing((*whole, back), message(1040009)), transient_payload={})

    def _whole_form(self, flow: Flow) -> Sequence[Node]:
        schema = self._schema(flow)
        return self._arranged([csrf_node(), *(field.node() for field in schema.fields())], schema)

    def _profile_form(self, flow: Flow) -> Sequence[Node]:
        button = submit_node(PROFILE, label=message(1040001))
        return (csrf_node(), *(field.node() for field in self._schema(flow).fields()), button)

    def _arranged(self, before: Sequence[Node], schema: Schema) -> Sequence[Node]:
        """The traits and then the methods; a single method's field stands behind the first identifier."""
        own = [node for method in self._registrar.methods.values() for node in method.registration_nodes()]
        if not (self.settings.one_group and own):
            return [*before, *own]
        names = {field.name for field in schema.fields() if field.identifies & self._registrar.methods.keys()}
        first = next((i for i, node in enumerate(before) if node.name in names), 0)
        return [*before[: first + 1], own[0], *before[first + 1 :], *own[1:]]

    def _schema(self, flow: Flow) -> Schema:
        return self._schemas.require(flow.schema_id)


def submitted_traits(schema: Schema, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The traits: an object in JSON, `traits.…` fields in a form, which are given the types of the schema."""
    traits = fields.get("traits")
    if isinstance(traits, Mapping):
        return traits
    return schema.coerce({k: v for k, v in fields.items() if k.startswith("traits.") and isinstance(v, str)})
