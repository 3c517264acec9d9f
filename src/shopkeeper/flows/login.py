"""The login flow: unified (identifier and methods on one form) or identifier-first (two forms), refresh, and AAL2.

This module decides who may open such a flow and places the nodes; the rest is the methods'.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from shopkeeper.credentials.method import (
    BringsTraits,
    CallbackMethod,
    LinkingMethod,
    LoginMethod,
    MethodInput,
    OwnersWay,
    Traits,
)
from shopkeeper.credentials.steps import AnyStep, FieldError, Form, NewCredential, SubmissionRejected
from shopkeeper.errors import FirstFactorRequired, SessionAlreadyAvailable
from shopkeeper.flows.carried import refuse_large_traits
from shopkeeper.flows.flow import LOGIN, Caller, Flow, Opening
from shopkeeper.flows.form_order import leading_nodes, own_nodes
from shopkeeper.flows.handler import FlowSettings, NextForm, OwnersWays, Turn, method_view
from shopkeeper.flows.outcomes import finished
from shopkeeper.flows.registrar import NOTHING_EXTRACTED
from shopkeeper.identity.schema import Schemas
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Aal, Identity
from shopkeeper.storage.database import Unit
from shopkeeper.ui.messages import message
from shopkeeper.ui.nodes import Node, csrf_node, input_node, submit_node

IDENTIFIER_FIRST = "identifier_first"
SIGNED_IN = "There is a session already: sign out first, or ask for refresh=true to confirm it."


@dataclass(frozen=True, slots=True)
class LoginSettings(FlowSettings):
    """The settings of login, beside those of every flow.

    Args:
        sends_verification: the methods after which addresses that are not verified get a mail (hook `verification`).
        shows_verification: the methods after which a browser sees the verification (hook `show_verification_ui`).
    """

    identifier_first: bool = False
    mitigate_enumeration: bool = True
    sends_verification: frozenset[str] = frozenset()
    shows_verification: frozenset[str] = frozenset()


class Login:
    """The flow that signs in."""

    name = LOGIN
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
        if opening.aal == Aal.AAL2:
            if caller.session is None:
                raise FirstFactorRequired("A second factor can only be added to a session: sign in first.")
        elif caller.session is not None and not opening.refresh:
            raise SessionAlreadyAvailable(SIGNED_IN)
        self._schemas.require_selectable(opening.schema_id)

    async def form(self, unit: Unit, flow: Flow, caller: Caller) -> Flow:
        identity = self._expected(flow, caller)
        if flow.requested_aal is Aal.AAL1 and identity is None and self.settings.identifier_first:
            flow, forms = await self._with_methods(unit, flow, caller, None)
            return flow.showing(self._identifier_form(flow, leading_nodes(forms)))
        flow, forms = await self._with_methods(unit, flow, caller, identity)
        first, own = leading_nodes(forms), own_nodes(forms)
        if flow.requested_aal is Aal.AAL2:
            return flow.showing((*first, csrf_node(), *own) if first or own else (), message(1010004))
        if identity is not None:
            known = self._known_identifier(flow, identity, forms)
            return flow.showing((*first, csrf_node(), *known, *own), message(1010003))
        alone = bool(forms) and all(form.identifier == "none" for form in forms)
        identifier = () if alone else (identifier_node(self._schemas, flow),)
        return flow.showing((*first, csrf_node(), *identifier, *own))

    async def may_go_on(self, unit: Unit, flow: Flow, caller: Caller) -> None:
        if flow.finished_at is not None:
            raise finished(flow)
        if caller.session is not None and not flow.refresh and flow.requested_aal is Aal.AAL1:
            raise SessionAlreadyAvailable(SIGNED_IN)
        if caller.session is None and flow.requested_aal is Aal.AAL2:
            raise FirstFactorRequired("A second factor can only be added to a session: sign in first.")

    def sends_verification(self, method: str) -> bool:
        return method in self.settings.sends_verification

    def shows_verification(self, method: str) -> bool:
        return method in self.settings.shows_verification

    async def submit(self, unit: Unit, turn: Turn) -> AnyStep | NextForm:
        turn = _with_identifier(turn)
        if self.settings.identifier_first and turn.method == IDENTIFIER_FIRST:
            return await self._second_form(unit, turn)
        method = self._require_method(turn)
        return await method.submit_login(unit, self._input(turn, method))

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
        """See `ConfirmsOwner`."""
        forms: dict[str, Form] = {}
        for name, method in self._methods.items():
            if flow.requested_aal not in method.aals or (owner is not None and not _has(owner, method)):
                continue
            if isinstance(method, LinkingMethod):
                form = method.confirm_form(owner, enrolled=enrolled)
            else:
                form = await method.login_form(unit, method_view(flow, caller, method=name))
            if form.nodes:
                forms[name] = form
                flow = flow.remembering(name, form.context)
        first, own = leading_nodes(forms.values()), own_nodes(forms.values())
        named = identifier_node(self._schemas, flow).with_value(identifier)
        if owner is None or any(identifier in known.identifiers for known in owner.credentials.values()):
            named = named.with_type("hidden")
        providers = [str(node.value) for node in first if node.name == "provider"]
        return flow.showing((*first, csrf_node(), named, *own)), OwnersWays(list(forms), providers)

    async def callback(self, unit: Unit, turn: Turn) -> AnyStep:
        method = self._require_method(turn)
        if not isinstance(method, CallbackMethod):
            raise SubmissionRejected(message(4010002))
        return await method.callback(unit, self._input(turn, method))

    def place(self, turn: Turn, form: Form) -> Sequence[Node]:
        """Return the nodes of the whole form: those of an `Ask` that replaces it, or with the method's own group
        replaced."""
        if form.scope == "form":
            return form.nodes
        others = [node for node in turn.flow.nodes if node.group != turn.method]
        return (*others, *form.nodes)

    def _input(self, turn: Turn, method: LoginMethod | CallbackMethod) -> MethodInput:
        """Return the submission; for a method that brings traits with those that were sent beside them, because an
        unknown account registers: Apple tells a person's name to the app only (`updateLoginFlowWithOidcMethod`)."""
        typed = None
        if isinstance(method, BringsTraits) and method.brings_traits:
            schema = self._schemas.require(turn.flow.schema_id)
            sent = schema.submitted(turn.submission.fields)
            refuse_large_traits(sent)
            typed = Traits(schema.id, sent, NOTHING_EXTRACTED)
        return turn.method_input(identity=self._expected(turn.flow, turn.caller), traits=typed)

    def _require_method(self, turn: Turn) -> LoginMethod:
        method = self._methods.get(turn.method)
        if method is None or turn.flow.requested_aal not in method.aals:
            raise SubmissionRejected(message(4010002))
        return method

    def _expected(self, flow: Flow, caller: Caller) -> Identity | None:
        """Return the only identity that counts: the session's, where the flow confirms or elevates it."""
        confirms = flow.refresh or flow.requested_aal is Aal.AAL2
        return caller.session.identity if confirms and caller.session else None

    def _identifier_form(self, flow: Flow, leading: Sequence[Node]) -> Sequence[Node]:
        button = submit_node(IDENTIFIER_FIRST, label=message(1070009))
        return (self._identifier_alone(flow), button, *leading, csrf_node())

    def _known_identifier(self, flow: Flow, identity: Identity, forms: Sequence[Form]) -> Sequence[Node]:
        """Return the identifier of a known account, in the form that the most demanding method needs."""
        needed = {form.identifier for form in forms}
        if "text" in needed:
            return (identifier_node(self._schemas, flow),)
        if "hidden" in needed or not needed:
            return (input_node("identifier", "hidden", group="default", value=self._identifier_of(identity)),)
        return ()

    async def _second_form(self, unit: Unit, turn: Turn) -> NextForm:
        """Return the form with the methods, after an identifier was given. Only without mitigation it shows whether
        that is known, and how its owner signs in."""
        identifier = (turn.submission.text("identifier") or "").strip()
        owner = await self._identities.find_by_name(unit, identifier) if identifier else None
        flow, nodes = turn.flow, []
        if identifier and self.settings.mitigate_enumeration:
            flow, forms = await self._with_methods(unit, flow, turn.caller, None, password_first=True)
            nodes = [*leading_nodes(forms), csrf_node(), *own_nodes(forms)]
        elif owner is not None:
            flow, nodes = await self._own_ways(unit, flow, turn.caller, owner)
        if not nodes:
            raise SubmissionRejected(fields=[FieldError("identifier", message(4000037))])
        hidden = self._identifier_alone(flow).with_value(identifier).with_type("hidden")
        return NextForm(replace(flow.showing((hidden, *nodes)), active=IDENTIFIER_FIRST, transient_payload={}))

    async def _own_ways(self, unit: Unit, flow: Flow, caller: Caller, owner: Identity) -> tuple[Flow, list[Node]]:
        """Return the nodes of the ways that an account has to sign in, in the contract's order; none where it has no
        way. The flow is returned with the methods' contexts."""
        forms: list[Form] = []
        for name, method in sorted(self._methods.items(), key=_password_first):
            if flow.requested_aal in method.aals and _has(owner, method):
                if isinstance(method, OwnersWay):
                    form = method.sign_in_form(owner)
                else:
                    form = await method.login_form(unit, method_view(flow, caller, method=name))
                flow = flow.remembering(name, form.context)
                forms.append(form)
        ways = [*leading_nodes(forms), *own_nodes(forms)]
        return flow, [csrf_node(), *ways] if ways else []

    def _identifier_alone(self, flow: Flow) -> Node:
        """Return the field of the first of two forms. The contract offers passkeys in it, independent of the methods
        that follow."""
        return identifier_node(self._schemas, flow, group=IDENTIFIER_FIRST, autocomplete="username webauthn")

    def _identifier_of(self, identity: Identity) -> str:
        """Return the identity's identifier, by the first method that has one."""
        named = [name for name, method in self._methods.items() if method.facts.from_traits]
        known = [identity.credentials[name] for name in named if name in identity.credentials]
        names = [name for credential in known for name in credential.identifiers]
        return names[0] if names else identity.email or ""

    async def _with_methods(
        self,
        unit: Unit,
        flow: Flow,
        caller: Caller,
        identity: Identity | None,
        *,
        password_first: bool = False,
    ) -> tuple[Flow, Sequence[Form]]:
        """Return the form of every method that can give the requested level, and the flow with the methods'
        contexts. The contract has the password first in the second of two forms."""
        forms: list[Form] = []
        methods = sorted(self._methods.items(), key=_password_first) if password_first else self._methods.items()
        for name, method in methods:
            if flow.requested_aal in method.aals:
                form = await method.login_form(unit, method_view(flow, caller, method=name, identity=identity))
                flow = flow.remembering(name, form.context)
                forms.append(form)
        return flow, forms


def _password_first(named: tuple[str, LoginMethod]) -> bool:
    return named[0] != "password"


def _has(owner: Identity, method: LoginMethod) -> bool:
    """Return whether an account can sign in by a method."""
    credential = owner.credentials.get(method.facts.type)
    return credential is not None and method.facts.usable(credential)


def identifier_node(schemas: Schemas, flow: Flow, *, group: str = "default", autocomplete: str | None = None) -> Node:
    """Return the field for the identifier, labelled by the schema where that has just one."""
    label = schemas.require(flow.schema_id).identifier_label()
    return input_node(
        "identifier", "text", group=group, value="", required=True, autocomplete=autocomplete, label=label
    )


def _with_identifier(turn: Turn) -> Turn:
    """Return the turn with the identifier under its name of today. Clients before v0.11 send it as
    `password_identifier` (`updateLoginFlowWithPasswordMethod`, where it is deprecated and still read)."""
    fields = turn.submission.fields
    if fields.get("identifier") not in (None, "") or "password_identifier" not in fields:
        return turn
    named = {**fields, "identifier": fields["password_identifier"]}
    return replace(turn, submission=replace(turn.submission, fields=named))
