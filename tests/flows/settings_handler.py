"""Minimal handlers for tests: a settings flow, and a flow that a mailed link continues."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from shopkeeper.credentials.method import CallbackMethod, SettingsMethod
from shopkeeper.credentials.steps import AnyStep, Form, Proof, SubmissionRejected
from shopkeeper.errors import NotYours, SessionInactive
from shopkeeper.flows.flow import Caller, Flow, Opening
from shopkeeper.flows.handler import FlowSettings, Turn, method_view
from shopkeeper.http.flow_responses import FlowResponses
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Aal, Identity
from shopkeeper.storage.database import Unit
from shopkeeper.ui.messages import message
from shopkeeper.ui.nodes import Node, csrf_node
from tests.attacks.scene import ADDRESS


class SettingsHandler:
    """Changes credentials of the signed-in identity: a form for each method, and nothing else."""

    name = "settings"
    expired_message = 4010001

    def __init__(self, *, methods: Sequence[SettingsMethod], identities: Identities) -> None:
        self.settings = FlowSettings()
        self._methods = {method.name: method for method in methods}
        self._identities = identities

    async def may_open(self, unit: Unit, opening: Opening, caller: Caller) -> None:
        if caller.session is None:
            raise SessionInactive

    async def form(self, unit: Unit, flow: Flow, caller: Caller) -> Flow:
        assert caller.session is not None
        identity = await self._identity(unit, caller)
        nodes: list[Node] = [csrf_node()]
        for name, method in self._methods.items():
            view = method_view(flow, caller, method=name, identity=identity)
            nodes.extend((await method.settings_form(unit, view)).nodes)
        return replace(flow.showing(nodes), identity_id=identity.id, session_id=caller.session.id)

    async def may_go_on(self, unit: Unit, flow: Flow, caller: Caller) -> None:
        if caller.session is None:
            raise SessionInactive
        if caller.session.id != flow.session_id:
            raise NotYours

    async def submit(self, unit: Unit, turn: Turn) -> AnyStep:
        method = self._methods.get(turn.method)
        if method is None:
            raise SubmissionRejected(message(4010002))
        return await method.submit_settings(unit, turn.method_input(identity=await self._identity(unit, turn.caller)))

    async def callback(self, unit: Unit, turn: Turn) -> AnyStep:
        method: object = self._methods.get(turn.method)
        assert isinstance(method, CallbackMethod)
        return await method.callback(unit, turn.method_input(identity=await self._identity(unit, turn.caller)))

    def place(self, turn: Turn, form: Form) -> Sequence[Node]:
        return (*(node for node in turn.flow.nodes if node.group != turn.method), *form.nodes)

    def starts_session(self, method: str) -> bool:
        return False

    async def _identity(self, unit: Unit, caller: Caller) -> Identity:
        assert caller.session is not None
        return await self._identities.require(unit, caller.session.identity.id, credentials=True)


class LinkFlow:
    """A flow that a mailed link ends; its token proves the identity that the test has set."""

    name = "link"
    expired_message = 4010001

    def __init__(self) -> None:
        self.settings = FlowSettings()
        self.links: dict[str, UUID] = {}

    async def may_open(self, unit: Unit, opening: Opening, caller: Caller) -> None: ...

    async def form(self, unit: Unit, flow: Flow, caller: Caller) -> Flow:
        return flow.showing([csrf_node()])

    async def may_go_on(self, unit: Unit, flow: Flow, caller: Caller) -> None: ...

    async def submit(self, unit: Unit, turn: Turn) -> AnyStep:
        raise SubmissionRejected(message(4010002))

    callback = submit

    async def follow_link(self, unit: Unit, turn: Turn) -> AnyStep:
        query: Mapping[str, str] = turn.query
        if query.get("token") not in self.links:
            raise SubmissionRejected(message(4010008))
        return Proof(self.links[query["token"]], "link", Aal.AAL1, still_valid=lambda now: True, amr="link_recovery")

    def place(self, turn: Turn, form: Form) -> Sequence[Node]:
        return form.nodes

    def starts_session(self, method: str) -> bool:
        return False


def presented(name: str) -> FlowResponses:
    """Return how the routes show such a flow: as any other, with nothing of its own."""
    return FlowResponses(f"{ADDRESS}/{name}", own=lambda flow: {}, success=lambda serializers, done: {})
