"""The registration flow, in one step or in two, and registering as such, which other doors use as well.

Registering is one transaction: the identity with its credential, its session where that is configured, the mail that
welcomes them. A taken address is told apart only where the answer gives it away anyhow: where registering signs in.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from shopkeeper import crypto
from shopkeeper.credentials.method import Draft, FieldError, RegistrationMethod, Rejected
from shopkeeper.errors import Conflict, FlowDisabled, SessionAlreadyAvailable
from shopkeeper.flows.flow import Caller, Flow, Opening, Submission
from shopkeeper.flows.login import SIGNED_IN
from shopkeeper.flows.pipeline import Finished, KindSettings, NextForm, filled
from shopkeeper.identity.draft import NewIdentity
from shopkeeper.identity.names import names_of
from shopkeeper.identity.schema import Schema, Schemas
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Client, Identity
from shopkeeper.identity.violations import Violation
from shopkeeper.notify.courier import Courier
from shopkeeper.storage.cache.port import Cache, CacheDown
from shopkeeper.storage.database import Unit
from shopkeeper.throttle import Throttle
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
    mitigate_enumeration: bool = True
    signs_in: Mapping[str, bool] | None = None

    def starts_session(self, method: str) -> bool:
        return bool((self.signs_in or {}).get(method))


class Taken(Rejected):
    """Somebody has registered with this identifier before."""

    def __init__(self) -> None:
        super().__init__(message(4000007), filled=False)


class Registrar:
    """Registers somebody, whichever door they came through."""

    def __init__(
        self,
        *,
        settings: RegistrationSettings,
        methods: Sequence[RegistrationMethod],
        schemas: Schemas,
        identities: Identities,
        throttle: Throttle,
        courier: Courier,
        cache: Cache,
    ) -> None:
        self._settings = settings
        self.methods = {method.name: method for method in methods}
        self._schemas = schemas
        self._identities = identities
        self._throttle = throttle
        self._courier = courier
        self._cache = cache

    async def register(
        self,
        unit: Unit,
        *,
        schema_id: str | None,
        traits: Mapping[str, Any],
        submitted: Mapping[str, Any],
        client: Client,
    ) -> tuple[Identity, str]:
        """A new identity, and the method it was made with. Raises `Rejected`, `TooManyRequests` or `Busy`.

        Where enumeration is mitigated and registering does not sign in, a taken address gives the same answer as a free
        one, with an identity that exists nowhere; the owner of the address is told by mail.
        """
        if not self._settings.enabled:
            raise FlowDisabled("Registration is switched off here.")
        schema = self._schemas.require(schema_id)
        method = self.methods.get(str(submitted.get("method")))
        self._require_whole(schema, traits, method, submitted)
        if method is None:
            raise Rejected(message(4010003))
        draft = Draft(schema.id, traits, schema.extract(traits).identifiers, client)
        async with self._counted(draft):
            credential = await method.enrol(draft, submitted)
            new = NewIdentity(schema_id=schema.id, traits=traits, credentials=(credential,))
            owner = await self._owner(unit, draft)
            if owner is not None:
                return await self._taken(unit, owner, new, method.name), method.name
            return await self._create(unit, new), method.name

    @asynccontextmanager
    async def _counted(self, draft: Draft) -> AsyncIterator[None]:
        """Counts the attempt: for the address always; for the identifier where it came to an end, whatever the end was,
        because nobody registers twice, and the same count for both tells nothing."""
        subject = next((identifier for known in draft.identifiers.values() for identifier in known), "")
        attempt = await self._throttle.check(subject, ip=draft.client.ip)
        try:
            yield
        except Taken:
            await self._throttle.failed(subject, ip=draft.client.ip)
            raise
        except BaseException:  # a mistake in the form, or too busy: no verdict, so the attempt is given back
            await self._throttle.release(attempt)
            raise
        await self._throttle.failed(subject, ip=draft.client.ip)

    def _require_whole(
        self, schema: Schema, traits: Mapping[str, Any], method: RegistrationMethod | None, submitted: Mapping[str, Any]
    ) -> None:
        wrong = trait_errors(schema.validate(traits))
        if wrong:
            raise Rejected(fields=[*wrong, *(method.missing(submitted) if method else ())])

    async def _owner(self, unit: Unit, draft: Draft) -> Identity | None:
        for type_, identifiers in draft.identifiers.items():
            for identifier in identifiers:
                owner = await self._identities.find_by_identifier(unit, type=type_, identifier=identifier)
                if owner is not None:
                    return owner
        return None

    async def _taken(self, unit: Unit, owner: Identity, new: NewIdentity, method: str) -> Identity:
        if self._settings.starts_session(method) or not self._settings.mitigate_enumeration:
            raise Taken
        pretended = await self._identities.pretend(unit, new)
        if owner.email and await self._first_this_hour(owner.email):
            await self._courier.queue(unit, template="sign_up_attempt", recipient=owner.email, context={})
        return pretended

    async def _first_this_hour(self, recipient: str) -> bool:
        """Whether nobody was told yet: strangers must not be able to fill somebody's inbox."""
        try:
            return await self._cache.add(f"sign-up-told:{crypto.digest(recipient).hex()}", b"1", ttl=timedelta(hours=1))
        except CacheDown:
            return True

    async def _create(self, unit: Unit, new: NewIdentity) -> Identity:
        try:
            identity = await self._identities.create(unit, new, actor="self")
        except Conflict as taken:
            raise Taken from taken
        if identity.email:
            await self._courier.queue(unit, template="welcome", recipient=identity.email, context=_names(identity))
        return identity


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
            unit, schema_id=schema.id, traits=traits, submitted=submission.fields, client=caller.client
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
        names = {field.name for field in schema.fields() if "password" in field.identifies}
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


def trait_errors(violations: Sequence[Violation]) -> list[FieldError]:
    """What the schema finds wrong, as messages at the traits' nodes."""
    return [FieldError(violation.name, violation.message) for violation in violations]


def _names(identity: Identity) -> dict[str, Any]:
    return {"first_name": names_of(identity).first}
