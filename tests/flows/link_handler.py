"""A minimal handler for tests: a flow that a mailed link continues."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from shopkeeper.credentials.steps import AnyStep, Form, Proof, SubmissionRejected
from shopkeeper.flows.flow import Caller, Flow, Opening
from shopkeeper.flows.handler import FlowSettings, Turn
from shopkeeper.http.flow_responses import FlowResponses
from shopkeeper.identity.values import Aal
from shopkeeper.storage.database import Unit
from shopkeeper.ui.messages import message
from shopkeeper.ui.nodes import Node, csrf_node
from tests.attacks.scene import ADDRESS


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


def presented(name: str) -> FlowResponses:
    """Return how the routes show such a flow: as any other, with nothing of its own."""
    return FlowResponses(f"{ADDRESS}/{name}", own=lambda flow: {}, success=lambda serializers, done: {})
