"""Acting on the step of a submission: one transaction, then what goes to other servers.

A step is a value (`credentials/steps.py`). `Dispatcher.dispatch` is the only place that acts on one: it stores forms,
finishes flows, starts and elevates sessions, creates identities and opens replacements.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from shopkeeper import crypto
from shopkeeper.clock import Clock
from shopkeeper.credentials import mailed_nodes
from shopkeeper.credentials.by_mail import WRONG
from shopkeeper.credentials.steps import (
    AnyStep,
    Ask,
    CredentialChange,
    Enrolment,
    LastAttempt,
    Proof,
    Redirect,
    StartOver,
    SubmissionRejected,
    TraitsChange,
    Unverified,
    Verified,
)
from shopkeeper.errors import InvalidCredentials, NotFound, Refusal
from shopkeeper.flows import store
from shopkeeper.flows.account_changes import AccountChanges
from shopkeeper.flows.asking_guest import asking_guest, remembering_guest
from shopkeeper.flows.attempts import AttemptsUsedUp, FlowAttempts
from shopkeeper.flows.continue_with import ContinueWith
from shopkeeper.flows.flow import KEEP_SIGNED_IN, Flow, FlowState, FlowType, Opening, csrf_digest
from shopkeeper.flows.followers import followed, forgetting_code
from shopkeeper.flows.form_filling import filled
from shopkeeper.flows.handler import FlowHandler, NextForm, OffersSignIn, SendsVerification, ShowsVerification, Turn
from shopkeeper.flows.keep_signed_in import KeepSignedIn
from shopkeeper.flows.opener import FlowOpener, blank_flow
from shopkeeper.flows.outcomes import (
    Completed,
    FlowInvalid,
    FlowOutcome,
    RedirectedAway,
    Replaced,
    Updated,
    finished,
)
from shopkeeper.flows.registrants import Registrants, remembering_account
from shopkeeper.flows.registrar import Admission, PassOn, Registrar
from shopkeeper.flows.rejections import form_with_mistakes, rejections_shown
from shopkeeper.flows.return_to import ReturnAddresses
from shopkeeper.flows.verification_opener import VerificationOpener
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Aal, Identity
from shopkeeper.signin.completion import SignedIn, SignInCompletion, SignInRequest
from shopkeeper.signin.hooks import HookOrigin, HookSubject
from shopkeeper.storage.database import Database, Unit
from shopkeeper.ui.messages import Message, message, reason
from shopkeeper.ui.nodes import Node, csrf_node

_NEEDS_BROWSER = (
    "This way to sign in leads to another server and back, which an app's flow cannot do yet: open a browser flow."
)


LOGIN, RECOVERY, SETTINGS = "login", "recovery", "settings"


class Superseded(Exception):
    """Another submission of the same flow was stored first; this one rolls back."""


class Dispatcher:
    """Acts on steps.

    Args:
        privileged_for: how long after recovering an account its password can be changed, for the message that says so.
        names_verification: whether `continue_with` has the verification flows that were opened in any case, and not
            only where the hook `show_verification_ui` has them shown.
    """

    def __init__(
        self,
        *,
        database: Database,
        completion: SignInCompletion,
        registrar: Registrar,
        registrants: Registrants,
        identities: Identities,
        clock: Clock,
        return_addresses: ReturnAddresses,
        opener: FlowOpener,
        keeping: KeepSignedIn,
        changes: AccountChanges,
        attempts: FlowAttempts,
        verifications: VerificationOpener | None = None,
        privileged_for: timedelta = timedelta(hours=1),
        names_verification: bool = False,
    ) -> None:
        self._database = database
        self._completion = completion
        self._registrar = registrar
        self._registrants = registrants
        self._identities = identities
        self._clock = clock
        self._return = return_addresses
        self._opener = opener
        self._keeping = keeping
        self._changes = changes
        self._attempts = attempts
        self._verifications = verifications
        self._privileged_for = privileged_for
        self._names_verification = names_verification

    async def dispatch(self, handler: FlowHandler, turn: Turn, step: AnyStep | NextForm) -> FlowOutcome:
        """Act on a step. Never call it while a transaction is open.

        Raises `FlowInvalid` where the step is rejected after all, `Superseded`, or a refusal.
        """
        try:
            return await self._dispatched(handler, turn, step)
        except AttemptsUsedUp as used_up:
            return await self._start_over(handler, turn, used_up.instead)
        except _but_links(turn):
            # The browser that follows a link need not be the one that could be shown this form again.
            wrong = message(WRONG[turn.flow.kind, mailed_nodes.LINK])
            return await self._start_over(handler, turn, StartOver((wrong,), keeps_flow=True))

    async def _dispatched(self, handler: FlowHandler, turn: Turn, step: AnyStep | NextForm) -> FlowOutcome:
        outcome: FlowOutcome
        match step:
            case NextForm():
                outcome = await self._show(step)
            case Ask():
                outcome = await self._ask(handler, turn, step)
            case Redirect():
                outcome = await self._redirect(turn, step)
            case StartOver():
                outcome = await self._start_over(handler, turn, step)
            case Proof():
                outcome = await self._prove(handler, turn, step)
            case Enrolment():
                outcome = await self._enrol(handler, turn, step)
            case CredentialChange() | TraitsChange():
                outcome = await self._changes.apply(handler, turn, step)
            case Verified():
                outcome = await self._verify(handler, turn, step)
            case Unverified():
                raise await self._require_verification(turn, step)
        return outcome

    async def replacement(
        self,
        unit: Unit,
        handler: FlowHandler,
        turn: Turn,
        messages: Sequence[Message],
        *,
        shown: Sequence[Node] = (),
    ) -> Flow:
        """Build the replacement of a flow that cannot continue, opened with the same parameters; the caller stores it.
        What was typed into the `shown` nodes is kept."""
        flow = turn.flow
        opening = Opening(
            type=FlowType.BROWSER if turn.by_link else flow.type,
            request_url=flow.request_url,
            return_to=flow.return_to,
            refresh=flow.refresh,
            aal=flow.requested_aal.value,
            schema_id=flow.schema_id,
        )
        blank = blank_flow(handler, opening, turn.caller, clock=self._clock)
        if KEEP_SIGNED_IN in flow.context:
            blank = blank.choosing(flow.context[KEEP_SIGNED_IN])
        form = self._keeping.shown(await handler.form(unit, blank, turn.caller))
        fresh = filled(form, {node.name: node.value for node in shown if node.value})
        # A link is followed by a browser of its own; a form that is replaced stays with the browser that sent it.
        token = turn.caller.csrf_for(flow)
        keeps = csrf_digest(token) if token is not None and not turn.by_link else fresh.csrf
        return replace(fresh, messages=(*messages, *fresh.messages), csrf=keeps)

    # -- the flow continues --------------------------------------------------------------------------------------------

    async def _show(self, step: NextForm) -> Updated:
        async with self._database.unit() as unit:
            stored = await self._store(unit, self._keeping.shown(step.flow))
        return Updated(stored, status=step.status)

    async def _ask(self, handler: FlowHandler, turn: Turn, ask: Ask) -> Updated:
        nodes = list(handler.place(turn, ask.form))
        if turn.flow.type is FlowType.BROWSER and not any(node.name == "csrf_token" for node in nodes):
            nodes.append(csrf_node())
        shown = replace(
            forgetting_code(turn.flow).remembering(turn.method, ask.form.context),
            nodes=tuple(nodes),
            messages=tuple(ask.messages),
            state=FlowState(ask.state) if ask.state else turn.flow.state,
            active=ask.active or turn.method,
            transient_payload=ask.transient_payload,
        )
        shown = self._keeping.shown(remembering_account(remembering_guest(shown, turn.caller), turn.caller))
        async with self._database.unit() as unit:
            with rejections_shown(unit, turn, now=self._clock.now()):
                stored = await self._store(unit, shown)
                if ask.effect is not None:
                    await ask.effect(unit)
        return Updated(stored, status=ask.status)

    async def _redirect(self, turn: Turn, step: Redirect) -> RedirectedAway:
        """Redirect the browser. An app's flow is refused: its webview brings no cookie back that would bind it, and the
        exchange of session tokens, which binds it otherwise, comes with social sign-in."""
        if turn.flow.type is FlowType.API:
            raise await self._rejected(turn, SubmissionRejected(reason("needs_browser", _NEEDS_BROWSER), filled=False))
        cookie = next(iter(turn.caller.callback_cookies), None) or crypto.new_token("")
        left = replace(
            turn.flow.remembering(turn.method, step.context),
            callback_method=turn.method,
            callback_state=crypto.digest(turn.callback.state),
            callback_binding=crypto.digest(cookie),
        )
        async with self._database.unit() as unit:
            stored = await self._store(unit, left)
        return RedirectedAway(stored, step.url, cookie)

    async def _start_over(self, handler: FlowHandler, turn: Turn, step: StartOver) -> Replaced:
        async with self._database.unit() as unit:
            if not step.keeps_flow:
                await self._finish(unit, turn.flow)
            fresh = await self.replacement(unit, handler, turn, step.messages, shown=turn.flow.nodes)
            if step.shows_end:
                fresh = _ended_like(turn.flow, fresh)
            await store.add(unit, fresh)
        return Replaced(turn.flow, fresh, step.refusal)

    # -- the flow ends -------------------------------------------------------------------------------------------------

    async def _prove(self, handler: FlowHandler, turn: Turn, proof: Proof) -> Completed:
        hooked = _hooks_for(turn, proof)
        await self._completion.before(HookSubject(hooked, proof.method, proof.identity_id, turn.caller.client))
        sends = isinstance(handler, SendsVerification) and handler.sends_verification(proof.method)
        mailed = await self._mailed_to(turn, proof.identity_id) if sends else frozenset[str]()
        async with self._completion.transaction() as unit:
            with rejections_shown(unit, turn, now=self._clock.now(), but=_but_links(turn)):
                await self._finish(unit, turn.flow, proof.attempt)
                signed_in = await self._signed_in(unit, turn, proof)
                csrf, follow = crypto.new_csrf_token(), None
                shown: Sequence[ContinueWith] = ()
                if sends:
                    identity = signed_in.session.identity
                    _, shown = await self._verify_later(unit, turn, identity, mailed=mailed, csrf=csrf)
                if handler.name == RECOVERY and self._opener.offers(SETTINGS):
                    follow = await self._open_settings(unit, turn, signed_in, csrf=csrf)
        done = await self._completed(handler, turn, proof.method, signed_in.session.identity, signed_in)
        done = self._showing(done, handler, proof.method, csrf=csrf, verification=shown)
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

    async def _verify(self, handler: FlowHandler, turn: Turn, step: Verified) -> Updated:
        """Mark the address, end the flow, and show where to continue. The flow can be fetched until it expires.

        A proof that is only the owner's ends what was set before any address of the account was proven.
        """
        flow, now = turn.flow, self._clock.now()
        url = self._return.after(handler.settings.after, method=step.method, return_to=flow.return_to)
        registrant = await self._registrants.proven_by(flow, turn.caller, step.identity_id)
        done = replace(
            flow,  # with the digest of the secret: who brings it again is told that the address is confirmed
            nodes=tuple(mailed_nodes.passed(step.method, url)),
            messages=(message(1080002),),
            state=FlowState.PASSED_CHALLENGE,
            active=step.method,
            transient_payload=None,
            finished_at=now,
        )
        if turn.by_link and flow.type is FlowType.BROWSER:
            done = followed(done, turn.caller)
        async with self._database.unit() as unit:
            with rejections_shown(unit, turn, now=now, but=_but_links(turn)):
                # The flow's lock comes first, as where another mail is asked for.
                stored = await self._store(unit, done)
                try:
                    identity = await self._identities.lock(unit, step.identity_id)
                except NotFound as gone:
                    raise InvalidCredentials from gone
                if not any((each.via, each.value) == step.address for each in identity.verifiable_addresses):
                    raise InvalidCredentials  # the account has another address now
                if identity.outranked(*step.address) and not self._registrants.beside_verified(
                    flow, turn.caller, identity, step.address
                ):
                    raise InvalidCredentials
                verified = await self._identities.apply_proof(
                    unit,
                    identity,
                    verified=[step.address],
                    takes_over=not registrant,
                    actor=str(identity.id),
                    client_ip=turn.caller.client.ip,
                )
                if verified.factors != identity.factors:
                    stored = replace(stored, messages=(*stored.messages, message(1080090)))
                    await store.tell(unit, stored)
                if step.effect is not None:
                    await step.effect(unit)
        return Updated(stored, status=200)

    async def _require_verification(self, turn: Turn, step: Unverified) -> Refusal | FlowInvalid:
        """Refuse a sign-in that needs a verified address first; return what the caller raises."""
        refuse = await self._completion.require_verification(step, self._request(turn, step), in_form=True)
        if refuse.shown is None:
            return refuse.error
        return await self._rejected(turn, SubmissionRejected(message(refuse.shown)))

    async def _signed_in(self, unit: Unit, turn: Turn, proof: Proof) -> SignedIn:
        """Elevate the caller's session by a second factor; start a session for every other proof."""
        session, client = turn.caller.session, turn.caller.client
        of_session = session is not None and turn.flow.session_id == session.id
        if session is not None and (turn.flow.requested_aal is Aal.AAL2 or of_session):
            browser = turn.flow.type is FlowType.BROWSER
            return await self._completion.elevate(unit, proof, session=session, client=client, new_token=browser)
        return await self._completion.complete(unit, proof, self._request(turn, proof))

    async def _enrol(self, handler: FlowHandler, turn: Turn, enrolment: Enrolment) -> Completed:
        """Create the identity, and sign it in where the flow does that. The answer reveals that an identifier is taken
        only where the missing session would reveal it anyway."""
        if _confirmed_identity(turn) is not None:
            raise await self._rejected(turn, SubmissionRejected(message(4000006)))
        wrong = self._registrar.mistakes(enrolment, schema_id=turn.flow.schema_id)
        if wrong:
            raise await self._rejected(_with_more_to_ask(turn, enrolment), SubmissionRejected(fields=wrong))
        signs_in = handler.starts_session(enrolment.method)
        admission = await self._registrar.admit(
            enrolment, schema_id=turn.flow.schema_id, flow=_hooks_for(turn, enrolment), client=turn.caller.client
        )

        opener, mailed = self._verifications, frozenset[str]()
        if opener is not None:
            mailed = await opener.within_budget(self._registrar.unverified(admission), client=turn.caller.client)

        async def register(admission: Admission, pass_on: PassOn) -> Completed:
            return await self._registered(handler, turn, admission, mailed=mailed, signs_in=signs_in, pass_on=pass_on)

        return await self._registrar.retried(admission, register, signs_in=signs_in)

    async def _registered(
        self,
        handler: FlowHandler,
        turn: Turn,
        admission: Admission,
        *,
        mailed: frozenset[str],
        signs_in: bool,
        pass_on: PassOn,
    ) -> Completed:
        enrolment, signed_in, csrf = admission.enrolment, None, crypto.new_csrf_token()
        async with self._completion.transaction() as unit:
            with rejections_shown(unit, turn, now=self._clock.now(), but=pass_on):
                # A taken identifier is told before a finished flow, as in the contract (native_registration).
                identity = await self._registrar.create(
                    unit,
                    admission,
                    client=turn.caller.client,
                    locale=turn.caller.locale,
                    wished_language=turn.caller.wished_language,
                    signs_in=signs_in,
                )
                await self._finish(unit, turn.flow, enrolment.attempt)
                sign_in = await self._offered_sign_in(unit, handler, turn, enrolment, csrf=csrf)
                identity, shown = await self._verify_later(
                    unit, turn, identity, mailed=mailed, csrf=csrf, real=admission.owner is None
                )
                if signs_in:
                    signed_in = await self._completion.start(
                        unit,
                        identity,
                        self._request(turn, enrolment),
                        method=enrolment.method,
                        amr=enrolment.amr,
                        provider=enrolment.provider,
                    )
        done = await self._completed(handler, turn, enrolment.method, identity, signed_in)
        done = self._showing(done, handler, enrolment.method, csrf=csrf, verification=shown)
        return replace(done, sign_in=sign_in)

    async def _offered_sign_in(
        self, unit: Unit, handler: FlowHandler, turn: Turn, enrolment: Enrolment, *, csrf: bytes
    ) -> Flow | None:
        """Open a login form with the address filled in, where the configuration has a browser sign in by itself after
        registering. A taken address gets the same form."""
        flow = turn.flow
        offers = isinstance(handler, OffersSignIn) and handler.offers_sign_in(enrolment.method)
        if not offers or flow.type is not FlowType.BROWSER or flow.return_to is not None:
            return None
        caller = replace(turn.caller, csrf_tokens=(csrf,))
        opening = Opening(type=FlowType.BROWSER, request_url=flow.request_url)
        identifier = self._registrar.identifier(enrolment, schema_id=flow.schema_id)
        return await self._opener.open(
            unit, LOGIN, opening, caller, fields={"identifier": identifier}, messages=(message(1040090),)
        )

    async def _verify_later(
        self,
        unit: Unit,
        turn: Turn,
        identity: Identity,
        *,
        mailed: frozenset[str],
        csrf: bytes,
        real: bool = True,
    ) -> tuple[Identity, Sequence[ContinueWith]]:
        """Open a verification flow for each address of an identity that is not verified, and mail those in `mailed`; a
        simulated identity gets the same flows, without mails."""
        opener = self._verifications
        if opener is None or not opener.enabled:
            return identity, ()
        flow = turn.flow
        return_to = self._return.after_verification(flow.request_url) or flow.return_to
        return await opener.open_each(
            unit,
            identity,
            opener.pending(identity),
            mailed=mailed,
            opening=Opening(type=flow.type, request_url=flow.request_url, return_to=return_to),
            caller=replace(turn.caller, csrf_tokens=(csrf,)),
            real=real,
        )

    async def _completed(
        self, handler: FlowHandler, turn: Turn, method: str, identity: Identity, signed_in: SignedIn | None
    ) -> Completed:
        """Settle the cart merge after the commit, and return the outcome."""
        settled = await self._completion.settle(signed_in) if signed_in is not None else None
        return Completed(
            flow=turn.flow,
            identity=identity,
            next=self._return.after(handler.settings.after, method=method, return_to=turn.flow.return_to),
            signed_in=settled,
            guest=turn.caller.guest,
        )

    def _showing(
        self,
        done: Completed,
        handler: FlowHandler,
        method: str,
        *,
        csrf: bytes,
        verification: Sequence[ContinueWith],
    ) -> Completed:
        """Return the outcome with the browser's new anti-CSRF token, and with the verification flows that were opened
        if the configuration shows them (the hook `show_verification_ui`) or names them always."""
        shows = isinstance(handler, ShowsVerification) and handler.shows_verification(method)
        named = verification if shows or self._names_verification else ()
        return replace(done, csrf_token=csrf, continue_with=named, shows_next=shows)

    # -- shared --------------------------------------------------------------------------------------------------------

    def _request(self, turn: Turn, step: Proof | Enrolment | Unverified) -> SignInRequest:
        caller = turn.caller
        return SignInRequest(
            flow=_hooks_for(turn, step),
            store=turn.flow.store,
            client=caller.client,
            replacing=caller.session or caller.former,
            guest=caller.guest,
            further_guest=asking_guest(turn.flow, caller) if turn.by_link else None,
            expected=_confirmed_identity(turn),
            locale=caller.locale,
            wished_language=caller.wished_language,
            origin=_origin(turn),
            kept=self._keeping.choice(turn.flow, caller),
        )

    async def _rejected(self, turn: Turn, rejected: SubmissionRejected) -> FlowInvalid:
        """Store the form with these messages; the caller raises what is returned."""
        invalid = form_with_mistakes(turn, rejected, now=self._clock.now())
        async with self._database.unit() as unit:
            await unit.write(*store.keeping(invalid.flow))
        return invalid

    async def _store(self, unit: Unit, flow: Flow) -> Flow:
        """Store the flow in place of the version that was read. Raises `Superseded`."""
        shown = replace(flow, updated_at=self._clock.now())
        if (await unit.write(*store.keeping(shown))).rowcount != 1:
            raise Superseded
        return replace(shown, version=flow.version + 1)

    async def _finish(self, unit: Unit, flow: Flow, last: LastAttempt | None = None) -> None:
        """End the flow before anything is given for it; only one submission can. Raises `FlowExpired`, and
        `AttemptsUsedUp` where a submission that counts as an attempt comes too late."""
        now = self._clock.now()
        if last is None:
            is_first = await store.finish(unit, flow.id, now)
        else:
            is_first = await self._attempts.finish(unit, flow.id, now, last=last)
        if not is_first:
            raise finished(flow)


def _with_more_to_ask(turn: Turn, enrolment: Enrolment) -> Turn:
    """Return the turn as if the traits had been typed, with what the method must remember: the form asks for the traits
    that are missing or wrong, and the method can enrol with its next submission without leaving again."""
    flow = turn.flow.remembering(turn.method, enrolment.context)
    fields = {**turn.submission.fields, "traits": enrolment.traits}
    return replace(turn, flow=flow, submission=replace(turn.submission, fields=fields))


_TURNS_INTO: Mapping[type[Proof | Enrolment | Unverified], Mapping[str, str]] = {
    Proof: {"registration": "login"},
    Unverified: {"registration": "login"},
    Enrolment: {"login": "registration"},
}


def _hooks_for(turn: Turn, step: Proof | Enrolment | Unverified) -> str:
    """Return the flow whose hooks run. The step decides, not the flow: otherwise a registration form that signs in to
    an existing account would avoid the hooks of a login, and a login form that registers those of a registration."""
    return _TURNS_INTO[type(step)].get(turn.flow.kind, turn.flow.kind)


def _ended_like(flow: Flow, fresh: Flow) -> Flow:
    """Return the replacement of a flow with the end of that one."""
    return replace(
        fresh,
        nodes=flow.nodes,
        state=flow.state,
        active=flow.active,
        finished_at=fresh.issued_at,
        transient_payload=None,
    )


def _but_links(turn: Turn) -> tuple[type[InvalidCredentials], ...]:
    """Return the refusals of a link's proof that no form is shown again for."""
    return (InvalidCredentials,) if turn.by_link and (turn.flow.kind, mailed_nodes.LINK) in WRONG else ()


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


def _confirmed_identity(turn: Turn) -> UUID | None:
    """Return the identity that the flow belongs to, or whose session it confirms or elevates; no step may lead to
    another one."""
    session = turn.caller.session
    if turn.flow.identity_id is not None:
        return turn.flow.identity_id
    confirms = turn.flow.refresh or turn.flow.requested_aal is Aal.AAL2
    return session.identity.id if confirms and session is not None else None
