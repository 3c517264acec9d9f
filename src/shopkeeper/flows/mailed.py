"""The flows that a mail continues: recovery and verification, each by one-time code or by link.

`use` is what the form offers; links that an operator has made are followed as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from shopkeeper.credentials.mailed_code import MailedCode
from shopkeeper.credentials.mailed_nodes import CODE, LINK
from shopkeeper.credentials.method import RecoveryMethod, VerificationMethod
from shopkeeper.credentials.steps import AnyStep, Form, StartOver, SubmissionRejected
from shopkeeper.errors import CsrfViolation, FlowDisabled, SessionAlreadyAvailable
from shopkeeper.flows.flow import RECOVERY, VERIFICATION, Caller, Flow, FlowState, Opening
from shopkeeper.flows.followers import followed
from shopkeeper.flows.handler import FlowSettings, NextForm, Turn, method_view
from shopkeeper.flows.login import SIGNED_IN
from shopkeeper.storage.database import Unit
from shopkeeper.ui.messages import message
from shopkeeper.ui.nodes import Node


@dataclass(frozen=True, slots=True)
class MailedSettings(FlowSettings):
    """The settings of a flow by mail, beside those of every flow."""

    enabled: bool = True
    use: str = CODE


class _Mailed:
    """What both flows do alike."""

    name: str
    used_message: int
    _methods: Mapping[str, RecoveryMethod] | Mapping[str, VerificationMethod]

    def __init__(self, *, settings: MailedSettings) -> None:
        self.settings: MailedSettings = settings

    async def may_open(self, unit: Unit, opening: Opening, caller: Caller) -> None:
        """Raise `FlowDisabled` where the flow is switched off, or the method that it uses."""
        if not self.settings.enabled:
            raise FlowDisabled("This flow is switched off here.")
        if self.settings.use not in self._methods:
            setting = f"selfservice.methods.{self.settings.use}.enabled"
            raise FlowDisabled(f"The method of this flow is switched off here: an administrator sets `{setting}`.")

    async def may_go_on(self, unit: Unit, flow: Flow, caller: Caller) -> None:
        if not self.settings.enabled:
            raise FlowDisabled("This flow is switched off here.")

    async def callback(self, unit: Unit, turn: Turn) -> AnyStep:
        raise SubmissionRejected(message(4010002))

    def place(self, turn: Turn, form: Form) -> Sequence[Node]:
        return form.nodes

    def used(self) -> StartOver:
        """Return the step where the flow has done its work: another one takes its place."""
        return StartOver((message(self.used_message),), keeps_flow=True)


class Recovery(_Mailed):
    """The flow that lets the owner of an address back into the account. A form of another browser opens a new flow."""

    name = RECOVERY
    expired_message = 4060005
    used_message = 4060001

    def __init__(self, *, settings: MailedSettings, methods: Sequence[RecoveryMethod]) -> None:
        super().__init__(settings=settings)
        self._methods: Mapping[str, RecoveryMethod] = {method.name: method for method in methods}

    async def may_open(self, unit: Unit, opening: Opening, caller: Caller) -> None:
        await super().may_open(unit, opening, caller)
        if caller.session is not None:
            raise SessionAlreadyAvailable(SIGNED_IN)

    async def form(self, unit: Unit, flow: Flow, caller: Caller) -> Flow:
        method = self._methods.get(self.settings.use)
        form = await method.recovery_form(unit, method_view(flow, caller, method=method.name)) if method else Form(())
        return replace(flow.showing(form.nodes), active=self.settings.use)

    async def submit(self, unit: Unit, turn: Turn) -> AnyStep:
        if turn.flow.finished_at is not None:
            return self.used()
        offered = turn.method == turn.flow.active if turn.flow.by_operator else True
        method = self._methods.get(turn.method) if offered else None
        # No mail may be asked for in an operator's flow, which has no anti-CSRF token: only its link continues it.
        if method is None or (turn.flow.by_operator and method.name == LINK):
            raise SubmissionRejected(message(4010005))
        return await method.submit_recovery(unit, turn.method_input())

    def restart(self, violation: CsrfViolation) -> StartOver:
        """See `RestartsWhenForged`."""
        return StartOver(keeps_flow=True, refusal=violation)

    async def follow_link(self, unit: Unit, turn: Turn) -> AnyStep:
        """See `LinkHandler`."""
        method = self._methods.get(LINK)
        if turn.flow.finished_at is not None or method is None or "token" not in turn.query:
            return StartOver((message(4060004),), keeps_flow=True)
        return await method.submit_recovery(unit, replace(turn, method=LINK).method_input())


class Verification(_Mailed):
    """The flow that shows that an address belongs to the account that has it. Nobody is signed in by it."""

    name = VERIFICATION
    expired_message = 4070005
    used_message = 4070002

    def __init__(self, *, settings: MailedSettings, methods: Sequence[VerificationMethod]) -> None:
        super().__init__(settings=settings)
        self._methods: Mapping[str, VerificationMethod] = {method.name: method for method in methods}

    async def form(self, unit: Unit, flow: Flow, caller: Caller) -> Flow:
        method = self._methods.get(self.settings.use)
        view = method_view(flow, caller, method=self.settings.use)
        form = await method.verification_form(unit, view) if method else Form(())
        return replace(flow.showing(form.nodes), active=self.settings.use)

    async def submit(self, unit: Unit, turn: Turn) -> AnyStep:
        if turn.flow.finished_at is not None:
            return self._passed(turn, CODE, turn.submission.text(CODE)) or self.used()
        method = self._methods.get(turn.method)  # also one that the form does not show, as in the contract
        if method is None:
            raise SubmissionRejected(message(4010006))
        return await method.submit_verification(unit, turn.method_input())

    async def follow_link(self, unit: Unit, turn: Turn) -> AnyStep | NextForm:
        """See `LinkHandler`. The link of a code only fills the code in, in the browser that follows it."""
        code, token = turn.query.get("code"), turn.query.get("token")
        method = self._methods.get(CODE if token is None else LINK)
        if turn.flow.finished_at is not None and method is not None:
            passed = self._passed(turn, method.name, code if token is None else token)
            return passed or StartOver((message(4070001),), keeps_flow=True)
        if turn.flow.finished_at is not None or method is None or (code is None and token is None):
            return StartOver((message(4070001),), keeps_flow=True)
        turn = replace(turn, method=method.name)
        if token is not None:
            return await method.submit_verification(unit, turn.method_input())
        view = method_view(turn.flow, turn.caller, method=CODE)
        if not isinstance(method, MailedCode) or not method.has_sent(view):
            return StartOver((message(4070001),), keeps_flow=True)
        form = method.asking_for_code(view)
        shown = followed(turn.flow.showing(form.nodes, *turn.flow.messages), turn.caller, code=(code or "")[:6])
        return NextForm(replace(shown, state=FlowState.SENT_EMAIL), status=200)

    def _passed(self, turn: Turn, name: str, secret: str | None) -> StartOver | None:
        """Return the step that tells who brings the secret of a flow that has passed that the address is confirmed."""
        method = self._methods.get(name)
        if method is None or secret is None or turn.flow.state is not FlowState.PASSED_CHALLENGE:
            return None
        if not method.has_mailed(method_view(turn.flow, turn.caller, method=name), secret):
            return None
        return StartOver((message(1080002),), keeps_flow=True, shows_end=True)
