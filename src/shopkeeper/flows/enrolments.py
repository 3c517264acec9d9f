"""Acting on an enrolment: the identity is created, and signed in where the flow does that."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from shopkeeper import crypto
from shopkeeper.clock import Clock
from shopkeeper.credentials.steps import Enrolment, SubmissionRejected
from shopkeeper.flows.collisions import Collision, Collisions, pending_link
from shopkeeper.flows.continue_with import ContinueWith
from shopkeeper.flows.endings import FlowEndings, shows_verification
from shopkeeper.flows.flow import LOGIN, VERIFICATION, Flow, FlowType, Opening
from shopkeeper.flows.flow_writer import FlowWriter
from shopkeeper.flows.handler import FlowHandler, OffersSignIn, Registers, Turn
from shopkeeper.flows.missing_traits import MissingTraits
from shopkeeper.flows.opener import FlowOpener
from shopkeeper.flows.outcomes import Completed, Diverted
from shopkeeper.flows.proofs import Proofs
from shopkeeper.flows.registrar import Admission, PassOn, Registrar
from shopkeeper.flows.rejections import ANOTHER_ACCOUNT, rejections_shown
from shopkeeper.flows.sign_in_requests import SignInRequests, confirmed_identity, ends_as
from shopkeeper.flows.verification_opener import VerificationOpener
from shopkeeper.signin.completion import SignInCompletion
from shopkeeper.storage.database import Unit
from shopkeeper.ui.messages import message

NO_ACCOUNT: Final = 4010090
WRONG: Final = 4000006


class Enrolments:
    """Registers by the flows; `flows/registrar.py` registers, for GraphQL as well."""

    def __init__(
        self,
        *,
        completion: SignInCompletion,
        registrar: Registrar,
        missing: MissingTraits,
        collisions: Collisions,
        proofs: Proofs,
        writer: FlowWriter,
        endings: FlowEndings,
        requests: SignInRequests,
        opener: FlowOpener,
        clock: Clock,
        verifications: VerificationOpener | None = None,
    ) -> None:
        self._completion = completion
        self._registrar = registrar
        self._missing = missing
        self._collisions = collisions
        self._proofs = proofs
        self._writer = writer
        self._endings = endings
        self._requests = requests
        self._opener = opener
        self._clock = clock
        self._verifications = verifications

    async def enrol(self, turn: Turn, enrolment: Enrolment) -> Completed | Diverted:
        """Create the identity, and sign it in where the flow does that; or ask for what is missing: traits, or the
        proof of the account that has the address.

        The answer reveals that an identifier is taken only where the missing session would reveal it anyway, or where
        the enrolment has verified it. An enrolment in a login ends as a registration (`ends_as`). Never call it while a
        transaction is open. Raises as `Dispatcher.dispatch` does.
        """
        if confirmed_identity(turn) is not None:
            told = WRONG if enrolment.provider is None else ANOTHER_ACCOUNT
            raise await self._writer.rejected(turn, SubmissionRejected(message(told)))
        kind = ends_as(turn, enrolment)
        registers = self._registrar.enabled and self._opener.offers(kind, store=turn.flow.store)
        if turn.flow.kind != kind and not registers:
            raise await self._writer.rejected(turn, SubmissionRejected(message(NO_ACCOUNT)))
        handler = self._opener.handler(kind, store=turn.flow.store)
        wrong = self._registrar.mistakes(enrolment, schema_id=turn.flow.schema_id)
        if wrong:
            collision = await self._collisions.by_verified_address(
                enrolment, store=turn.flow.store, schema_id=turn.flow.schema_id
            )
            if collision is not None:
                return await self._link(turn, collision)
            return await self._missing.ask(turn, enrolment, wrong)
        if turn.query or turn.flow.kind == LOGIN:
            await self._registrar.count(enrolment, schema_id=turn.flow.schema_id, client=turn.caller.client)
        signs_in = isinstance(handler, Registers) and handler.starts_session(enrolment.method)
        admission = await self._registrar.admit(
            enrolment, schema_id=turn.flow.schema_id, flow=kind, client=turn.caller.client
        )
        collision = self._collisions.collision(admission, store=turn.flow.store, signs_in=signs_in)
        if collision is not None:
            return await self._link(turn, collision)

        opener, mailed = self._verifications, frozenset[str]()
        if opener is not None:
            mailed = await opener.within_budget(self._registrar.unverified(admission), client=turn.caller.client)

        async def register(admission: Admission, pass_on: PassOn) -> Completed:
            return await self._registered(handler, turn, admission, mailed=mailed, signs_in=signs_in, pass_on=pass_on)

        return await self._registrar.retried(admission, register, signs_in=signs_in)

    async def _link(self, turn: Turn, collision: Collision) -> Completed | Diverted:
        proof = self._collisions.proof(collision, store=turn.flow.store)
        if proof is None:
            return await self._collisions.ask(turn, collision)
        return await self._proofs.prove(turn, proof, link=pending_link(collision))

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
                await self._writer.finish(unit, turn.flow, enrolment.attempt, ended_as=handler.name)
                sign_in = await self._offered_sign_in(unit, handler, turn, enrolment, csrf=csrf)
                identity, shown = await self._endings.verify_later(
                    unit, turn, identity, mailed=mailed, csrf=csrf, real=admission.owner is None
                )
                if signs_in:
                    signed_in = await self._completion.start(
                        unit,
                        identity,
                        self._requests.of(turn, enrolment),
                        method=enrolment.method,
                        aal=enrolment.aal,
                        amr=enrolment.amr,
                        provider=enrolment.provider,
                        upstreams=() if enrolment.upstream is None else (enrolment.upstream,),
                    )
                else:
                    asked = shown if shows_verification(handler, enrolment.method) else ()
                    await self._writer.lead_on(unit, turn, _next_flow(asked, sign_in), ended_as=handler.name)
        done = await self._endings.completed(handler, turn, enrolment.method, identity, signed_in)
        done = self._endings.showing(done, handler, enrolment.method, csrf=csrf, verification=shown)
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


def _next_flow(verification: Sequence[ContinueWith], sign_in: Flow | None) -> tuple[str, UUID] | None:
    """Return the kind and the id of the flow that a browser is shown after registering, None where it is none."""
    for shown in verification:
        return VERIFICATION, shown.flow_id
    return (sign_in.kind, sign_in.id) if sign_in is not None else None
