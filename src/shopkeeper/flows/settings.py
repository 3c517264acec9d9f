"""The settings flow: the account page of the signed-in customer, with profile and credentials.

A flow belongs to an identity, whichever of its sessions it is used in: who must sign in again for a change comes back
with another session. The flow stays open after a change.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from urllib.parse import urlencode

from shopkeeper.clock import Clock
from shopkeeper.credentials.method import CallbackMethod, OmitsToken, SettingsMethod
from shopkeeper.credentials.password import SAME_PASSWORD
from shopkeeper.credentials.profile import PROFILE, Profile
from shopkeeper.credentials.stale_traits import ChangedMeanwhile
from shopkeeper.credentials.steps import AnyStep, Form, SubmissionRejected, TraitsChange
from shopkeeper.errors import IdentityMismatch, SessionInactive, SessionRefreshRequired, Unauthenticated
from shopkeeper.flows.flow import SETTINGS, Caller, Flow, FlowState, FlowType, Opening, store_query
from shopkeeper.flows.form_filling import filled, flatten
from shopkeeper.flows.handler import FlowSettings, NextForm, Turn, method_view
from shopkeeper.flows.outcomes import finished
from shopkeeper.flows.required_assurance import RequiredAssurance
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Identity
from shopkeeper.sessions.values import Session
from shopkeeper.storage.database import Unit
from shopkeeper.throttle import Throttle
from shopkeeper.ui.messages import message
from shopkeeper.ui.nodes import Node, csrf_node


@dataclass(frozen=True, slots=True)
class AccountSettingsSettings(FlowSettings):
    """The settings of this flow, beside those of every flow.

    `privileged_for` is how long after signing in credentials and addresses can be changed; `shows_verification` whether
    clients are shown the verification of a new address.
    """

    privileged_for: timedelta = timedelta(hours=1)
    shows_verification: bool = False


class AccountSettings:
    """The flow that changes the account.

    Args:
        throttle: limits how often one account can find out whether a password is its own.
        assurance: the level that a session needs for this flow.
        base_url: our public address, for the way to a new sign-in.
        ui_url: the address of the flow's page.
    """

    name = SETTINGS
    expired_message = 4050001

    def __init__(
        self,
        *,
        settings: AccountSettingsSettings,
        methods: Sequence[SettingsMethod],
        identities: Identities,
        throttle: Throttle,
        clock: Clock,
        assurance: RequiredAssurance,
        base_url: str,
        ui_url: str,
    ) -> None:
        self.settings: AccountSettingsSettings = settings
        self._methods = {method.name: method for method in methods}
        self._identities = identities
        self._throttle = throttle
        self._clock = clock
        self._assurance = assurance
        self._base_url = base_url
        self._ui_url = ui_url

    async def may_open(self, unit: Unit, opening: Opening, caller: Caller) -> None:
        if caller.session is None:
            raise SessionInactive("The account belongs to a customer: sign in first.")
        back = opening.request_url if opening.type is FlowType.BROWSER and opening.return_to else None
        self._assurance.require(caller.session, store=store_query(opening.request_url), return_to=back)

    async def form(self, unit: Unit, flow: Flow, caller: Caller) -> Flow:
        identity = await self._identity(unit, _required_session(caller))
        return await self.form_of(unit, flow, caller, identity)

    async def form_of(self, unit: Unit, flow: Flow, caller: Caller, identity: Identity) -> Flow:
        """Return the flow with the form of an identity that was read with its credentials."""
        session = _required_session(caller)
        nodes: list[Node] = [csrf_node()]
        for name, method in self._methods.items():
            form = await method.settings_form(unit, method_view(flow, caller, method=name, identity=identity))
            flow = flow.remembering(name, form.context)
            nodes.extend(form.nodes)
        flow = replace(flow, state=FlowState.SHOW_FORM, identity_id=identity.id, session_id=session.id)
        return replace(flow.showing(nodes), identity=identity)

    def as_of_now(self, flow: Flow, identity: Identity) -> Flow:
        """See `OwnedFlowHandler`."""
        profile = self._methods.get(PROFILE)
        if not isinstance(profile, Profile):
            return flow
        nodes = profile.as_of_now(flow.nodes, flow.remembered(PROFILE), identity)
        return replace(flow, nodes=tuple(nodes))

    def may_see(self, flow: Flow, caller: Caller) -> None:
        """Raise the refusal where this caller may not fetch the flow."""
        if caller.session is None:
            raise Unauthenticated("The form belongs to a customer: sign in first.")
        self._require_owner(flow, caller.session, back=f"{self._ui_url}?flow={flow.id}")

    async def may_go_on(self, unit: Unit, flow: Flow, caller: Caller) -> None:
        if caller.session is None:
            raise SessionInactive("The account belongs to a customer: sign in first.")
        self._require_owner(flow, caller.session, back=self._address_of(flow))
        if flow.finished_at is not None:
            raise finished(flow)

    async def submit(self, unit: Unit, turn: Turn) -> AnyStep | NextForm:
        method, session = self._methods.get(turn.method), _required_session(turn.caller)
        if method is None:
            raise SubmissionRejected(message(4010004))
        if turn.method != PROFILE:
            # Before anything is looked at: an old session must not find out whether a password is the account's.
            self.require_privileged(turn.flow, session)
        identity = await self._identity(unit, session)
        try:
            step = await self._judged(unit, turn, method, identity)
        except ChangedMeanwhile as changed:
            return NextForm(await self._opened_anew(unit, turn, identity, changed))
        if isinstance(step, TraitsChange) and step.privileged:
            self.require_privileged(turn.flow, session)
        return step

    async def callback(self, unit: Unit, turn: Turn) -> AnyStep:
        method: object = self._methods.get(turn.method)
        session = _required_session(turn.caller)
        if not isinstance(method, CallbackMethod):
            raise SubmissionRejected(message(4010004))
        self.require_privileged(turn.flow, session)
        return await method.callback(unit, turn.method_input(identity=session.identity))

    def place(self, turn: Turn, form: Form) -> Sequence[Node]:
        """Return the nodes of the whole form; the group of the method that asks comes last."""
        return (*(node for node in turn.flow.nodes if node.group != turn.method), *form.nodes)

    def takes_scripts(self, method: str) -> bool:
        return isinstance(self._methods.get(method), OmitsToken)

    def shows_verification(self, method: str) -> bool:
        return self.settings.shows_verification and method == PROFILE

    async def _opened_anew(self, unit: Unit, turn: Turn, identity: Identity, changed: ChangedMeanwhile) -> Flow:
        """Return the form as if it was opened now, with what was typed except for what would put something back."""
        form = await self.form_of(unit, turn.flow, turn.caller, identity)
        typed = flatten(turn.submission.fields)
        shown = filled(form, {name: value for name, value in typed.items() if name not in changed.names})
        return replace(shown, messages=changed.general)

    def _require_owner(self, flow: Flow, session: Session, *, back: str) -> None:
        """Raise the refusal where a session is another account's, or lacks a second factor; `back` is where the browser
        comes back to with that."""
        if flow.identity_id != session.identity.id:
            raise IdentityMismatch("The form was opened by another account than the one that is signed in.")
        self._assurance.require(session, store=flow.store_query, return_to=back)

    def _address_of(self, flow: Flow) -> str:
        return f"{self._base_url}/self-service/{SETTINGS}?{flow.submit_query}"

    def require_privileged(self, flow: Flow, session: Session) -> None:
        """Raise `SessionRefreshRequired` where the last sign-in is too old for a change of credentials or addresses."""
        if self._clock.now() < session.authenticated_at + self.settings.privileged_for:
            return
        query = urlencode({"refresh": "true", "return_to": self._address_of(flow), **flow.store_query})
        raise SessionRefreshRequired(redirect_browser_to=f"{self._base_url}/self-service/login/browser?{query}")

    async def _judged(self, unit: Unit, turn: Turn, method: SettingsMethod, identity: Identity) -> AnyStep:
        """Return the method's step. A new password that is the old one counts as a guess at it."""
        # Counted for the account alone: a thief of a session changes addresses more easily than accounts.
        slot = await self._throttle.check(SETTINGS, ip=str(identity.id))
        try:
            step = await method.submit_settings(unit, turn.method_input(identity=identity))
        except SubmissionRejected as rejected:
            guessed = any(error.message.id == SAME_PASSWORD for error in rejected.fields)
            await (self._throttle.failed(slot) if guessed else self._throttle.release(slot))
            raise
        except BaseException:
            await self._throttle.release(slot)
            raise
        await self._throttle.release(slot)
        return step

    async def _identity(self, unit: Unit, session: Session) -> Identity:
        return await self._identities.require(unit, session.identity.id, credentials=True)


def _required_session(caller: Caller) -> Session:
    if caller.session is None:
        raise SessionInactive("The account belongs to a customer: sign in first.")
    return caller.session
