"""Acting on the proof of an identity: a session starts or is elevated, or a verified address is needed first."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from shopkeeper import crypto
from shopkeeper.clock import Clock
from shopkeeper.credentials.steps import Proof, SubmissionRejected, Unverified, UpstreamSession
from shopkeeper.errors import Refusal
from shopkeeper.flows import store
from shopkeeper.flows.collisions import Collisions
from shopkeeper.flows.continue_with import ContinueWith
from shopkeeper.flows.endings import FlowEndings
from shopkeeper.flows.flow import RECOVERY, SETTINGS, Flow, FlowType, Opening
from shopkeeper.flows.flow_writer import FlowWriter
from shopkeeper.flows.handler import SendsVerification, Turn
from shopkeeper.flows.opener import FlowOpener
from shopkeeper.flows.outcomes import Completed, FlowInvalid
from shopkeeper.flows.pending_links import PendingLink, without_link
from shopkeeper.flows.rejections import refused_links, rejections_shown
from shopkeeper.flows.sign_in_requests import SignInRequests, ends_as
from shopkeeper.flows.verification_opener import VerificationOpener
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Aal
from shopkeeper.openid.errors import ProviderTokenInvalid
from shopkeeper.signin.completion import SignedIn, SignInCompletion
from shopkeeper.signin.hooks import HookSubject
from shopkeeper.storage.database import Database, Unit
from shopkeeper.ui.messages import message


class Proofs:
    """Signs in by proofs.

    Args:
        privileged_for: how long after recovering an account its password can be changed, for the message that says so.
    """

    def __init__(
        self,
        *,
        database: Database,
        completion: SignInCompletion,
        identities: Identities,
        collisions: Collisions,
        writer: FlowWriter,
        endings: FlowEndings,
        requests: SignInRequests,
        opener: FlowOpener,
        clock: Clock,
        verifications: VerificationOpener | None = None,
        privileged_for: timedelta = timedelta(hours=1),
    ) -> None:
        self._database = database
        self._completion = completion
        self._identities = identities
        self._collisions = collisions
        self._writer = writer
        self._endings = endings
        self._requests = requests
        self._opener = opener
        self._clock = clock
        self._verifications = verifications
        self._privileged_for = privileged_for

    async def prove(self, turn: Turn, proof: Proof, *, link: PendingLink | None = None) -> Completed:
        """Sign in, or elevate the session; add `link`, or the credential that waits for this proof in the flow.

        A proof in a registration ends as a login (`ends_as`). One that nobody has asked for (`Flow.silent`) sends no
        mail to verify addresses, and shows no verification. Never call it while a transaction is open. Raises as
        `Dispatcher.dispatch` does.
        """
        handler = self._opener.handler(ends_as(turn, proof), store=turn.flow.store)
        silent, client = turn.flow.silent, turn.caller.client
        await self._completion.before(HookSubject(handler.name, proof.method, proof.identity_id, client, silent=silent))
        sends = not silent and isinstance(handler, SendsVerification) and handler.sends_verification(proof.method)
        mailed = await self._mailed_to(turn, proof.identity_id) if sends else frozenset[str]()
        async with self._completion.transaction() as unit:
            with rejections_shown(unit, turn, now=self._clock.now(), but=refused_links(turn)):
                await self._writer.finish(unit, turn.flow, proof.attempt, ended_as=handler.name)
                link = link or self._collisions.pending(turn.flow, proof)
                with _dropping_spent_link(unit, turn.flow, proof):
                    linked = link.upstream if link is not None else None
                    signed_in = await self._signed_in(unit, turn, proof, linked=linked)
                if link is not None:
                    signed_in = await self._collisions.link(unit, turn, link, signed_in)
                csrf, follow = crypto.new_csrf_token(), None
                shown: Sequence[ContinueWith] = ()
                if sends:
                    identity = signed_in.session.identity
                    _, shown = await self._endings.verify_later(unit, turn, identity, mailed=mailed, csrf=csrf)
                if handler.name == RECOVERY and self._opener.offers(SETTINGS, store=turn.flow.store):
                    follow = await self._open_settings(unit, turn, signed_in, csrf=csrf)
        done = await self._endings.completed(handler, turn, proof.method, signed_in.session.identity, signed_in)
        done = self._endings.showing(done, handler, proof.method, csrf=csrf, verification=shown)
        return replace(done, follow=follow)

    async def _mailed_to(self, turn: Turn, identity_id: UUID) -> frozenset[str]:
        """Count a verification mail for each address that a sign-in sends one to, and return those within budget."""
        opener = self._verifications
        if opener is None or not opener.enabled:
            return frozenset()
        async with self._database.reading() as unit:
            identity = await self._identities.get(unit, identity_id)
        return await opener.within_budget(opener.pending(identity) if identity else (), client=turn.caller.client)

    async def _open_settings(self, unit: Unit, turn: Turn, signed_in: SignedIn, *, csrf: bytes) -> Flow:
        """Open the form in which a recovered account gets a new password."""
        flow = turn.flow
        opening = Opening(
            type=FlowType.BROWSER if turn.by_link else flow.type, request_url=flow.request_url, return_to=flow.return_to
        )
        caller = replace(turn.caller, session=signed_in.session, csrf_tokens=(csrf,))
        minutes = int(self._privileged_for.total_seconds() // 60)
        told = (message(1060001, minutes=minutes),)
        return await self._opener.open(unit, SETTINGS, opening, caller, messages=told, owner=signed_in.identity)

    async def require_verification(self, turn: Turn, step: Unverified) -> Refusal | FlowInvalid:
        """Refuse a sign-in that needs a verified address first; return what the caller raises."""
        refuse = await self._completion.require_verification(step, self._requests.of(turn, step), in_form=True)
        if refuse.shown is None:
            return refuse.error
        return await self._writer.rejected(turn, SubmissionRejected(message(refuse.shown)))

    async def _signed_in(self, unit: Unit, turn: Turn, proof: Proof, *, linked: UpstreamSession | None) -> SignedIn:
        """Elevate the caller's session by a second factor; start a session for every other proof."""
        session, client = turn.caller.session, turn.caller.client
        of_session = session is not None and turn.flow.session_id == session.id
        if session is not None and (turn.flow.requested_aal is Aal.AAL2 or of_session):
            browser = turn.flow.type is FlowType.BROWSER
            return await self._completion.elevate(
                unit, proof, session=session, client=client, new_token=browser, linked=linked
            )
        return await self._completion.complete(unit, proof, self._requests.of(turn, proof), linked=linked)


@contextmanager
def _dropping_spent_link(unit: Unit, flow: Flow, proof: Proof) -> Iterator[None]:
    """Take the pending link out of a flow, although everything else of the unit rolls back, where its token has signed
    in before: no proof could ever add it. A token of the proof itself leaves it."""
    try:
        yield
    except ProviderTokenInvalid:
        if proof.upstream is None or proof.upstream.one_use is None:
            unit.always(*store.keeping(without_link(flow)))
        raise
