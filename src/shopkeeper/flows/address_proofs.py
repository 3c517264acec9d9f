"""Acting on the proof of an address: it is verified, and no session starts."""

from dataclasses import replace

from shopkeeper.clock import Clock
from shopkeeper.credentials import mailed_nodes
from shopkeeper.credentials.steps import Verified
from shopkeeper.errors import InvalidCredentials, NotFound
from shopkeeper.flows import store
from shopkeeper.flows.flow import FlowState, FlowType
from shopkeeper.flows.flow_writer import FlowWriter
from shopkeeper.flows.followers import followed
from shopkeeper.flows.handler import FlowHandler, Turn
from shopkeeper.flows.outcomes import Updated
from shopkeeper.flows.registrants import Registrants
from shopkeeper.flows.rejections import refused_links, rejections_shown
from shopkeeper.flows.return_to import ReturnAddresses
from shopkeeper.identity.service import Identities
from shopkeeper.storage.database import Database
from shopkeeper.ui.messages import message


class AddressProofs:
    """Verifies addresses."""

    def __init__(
        self,
        *,
        database: Database,
        identities: Identities,
        registrants: Registrants,
        return_addresses: ReturnAddresses,
        writer: FlowWriter,
        clock: Clock,
    ) -> None:
        self._database = database
        self._identities = identities
        self._registrants = registrants
        self._return = return_addresses
        self._writer = writer
        self._clock = clock

    async def verify(self, handler: FlowHandler, turn: Turn, step: Verified) -> Updated:
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
            with rejections_shown(unit, turn, now=now, but=refused_links(turn)):
                # The flow's lock comes first, as where another mail is asked for.
                stored = await self._writer.store(unit, done)
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
