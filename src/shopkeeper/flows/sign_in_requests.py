"""What a sign-in is asked for: whose hooks run, which sessions and guests it takes over, whom it may lead to."""

from collections.abc import Mapping
from uuid import UUID

from shopkeeper.credentials.steps import Enrolment, Proof, Unverified
from shopkeeper.flows.asking_guest import asking_guest
from shopkeeper.flows.flow import LOGIN, REGISTRATION, FlowType
from shopkeeper.flows.handler import Turn
from shopkeeper.flows.keep_signed_in import KeepSignedIn
from shopkeeper.identity.values import Aal
from shopkeeper.signin.completion import SignInRequest
from shopkeeper.signin.hooks import HookOrigin


class SignInRequests:
    """Makes the request of a sign-in from the submission that leads to it."""

    def __init__(self, keeping: KeepSignedIn) -> None:
        self._keeping = keeping

    def of(self, turn: Turn, step: Proof | Enrolment | Unverified) -> SignInRequest:
        """Return the request of a step that signs in."""
        caller = turn.caller
        return SignInRequest(
            flow=ends_as(turn, step),
            store=turn.flow.store,
            client=caller.client,
            replacing=caller.session or caller.former,
            guest=caller.guest,
            further_guest=asking_guest(turn.flow, caller) if turn.by_link else None,
            expected=confirmed_identity(turn),
            locale=caller.locale,
            wished_language=caller.wished_language,
            origin=_origin(turn),
            kept=self._keeping.choice(turn.flow, caller),
            session_id=turn.flow.exchange_session if turn.app_waits else None,
            waits_until=turn.flow.expires_at if turn.app_waits else None,
            silent=turn.flow.silent,
        )


_TURNS_INTO: Mapping[type[Proof | Enrolment | Unverified], Mapping[str, str]] = {
    Proof: {REGISTRATION: LOGIN},
    Unverified: {REGISTRATION: LOGIN},
    Enrolment: {LOGIN: REGISTRATION},
}


def ends_as(turn: Turn, step: Proof | Enrolment | Unverified) -> str:
    """Return the kind of flow whose end this is: whose hooks run, whose settings count, and whose answer and return
    address follow. The step decides, not the form: a registration form that signs in to an existing account ends as a
    login, and a login form that registers as a registration, as in the contract."""
    return _TURNS_INTO[type(step)].get(turn.flow.kind, turn.flow.kind)


def confirmed_identity(turn: Turn) -> UUID | None:
    """Return the identity that the flow belongs to, or whose session it confirms or elevates; no step may lead to
    another one."""
    session = turn.caller.session
    if turn.flow.identity_id is not None:
        return turn.flow.identity_id
    confirms = turn.flow.refresh or turn.flow.requested_aal is Aal.AAL2
    return session.identity.id if confirms and session is not None else None


def _origin(turn: Turn) -> HookOrigin:
    flow, caller = turn.flow, turn.caller
    return HookOrigin(
        client=caller.client,
        store=flow.store,
        browser=flow.type is FlowType.BROWSER,
        request_url=flow.request_url,
        return_to=flow.return_to,
        csrf=caller.csrf,
        locale=caller.locale,
        wished_language=caller.wished_language,
    )
