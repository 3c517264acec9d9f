"""What follows where an enrolment brings the address of an account: another way to sign in to that account, once its
owner has proven it.

An enrolment of a method that links (`Enrolment.link`) may bring an address that belongs to an account. Nobody is signed
in by that address. A login flow opens instead, which asks for the account's proof, and the credential waits in it. Only
a proof of exactly this account adds it, in the transaction of the sign-in; any other sign-in leaves it alone.

Whose account it is, and how it signs in, is shown only to who has verified the address at the provider, or where it is
not to be kept secret. Everybody else gets the answer of a registration with a taken address.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from shopkeeper.client import Client
from shopkeeper.clock import Clock
from shopkeeper.credentials.linked_providers import OIDC, linked_accounts
from shopkeeper.credentials.method import LinkingMethod, Method
from shopkeeper.credentials.steps import Enrolment, Proof, SubmissionRejected
from shopkeeper.errors import Conflict
from shopkeeper.flows import store
from shopkeeper.flows.carried import taken_over
from shopkeeper.flows.flow import LOGIN, Flow, Opening
from shopkeeper.flows.flow_writer import FlowWriter
from shopkeeper.flows.handler import ConfirmsOwner, Turn
from shopkeeper.flows.keep_signed_in import KeepSignedIn
from shopkeeper.flows.opener import FlowOpener, blank_flow
from shopkeeper.flows.outcomes import Diverted
from shopkeeper.flows.pending_links import PendingLink, PendingLinks, without_link
from shopkeeper.flows.registrar import Admission, Registrar, Taken
from shopkeeper.flows.rejections import rejections_shown
from shopkeeper.flows.store_handlers import AccountsElsewhere
from shopkeeper.identity.mail_values import mail_values
from shopkeeper.identity.normalise import is_exact, normalise_identifier
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Identity
from shopkeeper.notify.account_notices import AccountNotices
from shopkeeper.signin.completion import SignedIn
from shopkeeper.storage.database import Database, Unit
from shopkeeper.ui.messages import LINKED_TO_ANOTHER, message

LINK: Final = 1010016


@dataclass(frozen=True, slots=True)
class Collision:
    """An enrolment whose identifier or address another account has.

    Args:
        name: the identifier or address.
        verified: whether the provider has verified it.
    """

    enrolment: Enrolment
    owner: Identity
    name: str
    verified: bool


class Collisions:
    """Finds collisions, asks for the owner's proof, and links.

    Args:
        methods: every enabled method, by name.
        login_url: the address of the login page, for clients that open it themselves.
        elsewhere: the stores whose customers have their accounts at a provider.
    """

    def __init__(
        self,
        *,
        database: Database,
        registrar: Registrar,
        identities: Identities,
        links: PendingLinks,
        methods: Mapping[str, Method],
        writer: FlowWriter,
        opener: FlowOpener,
        keeping: KeepSignedIn,
        notices: AccountNotices,
        clock: Clock,
        login_url: str,
        elsewhere: AccountsElsewhere,
    ) -> None:
        self._database = database
        self._registrar = registrar
        self._identities = identities
        self._links = links
        self._methods = methods
        self._writer = writer
        self._opener = opener
        self._keeping = keeping
        self._notices = notices
        self._clock = clock
        self._login_url = login_url
        self._elsewhere = elsewhere

    def collision(self, admission: Admission, *, store: str, signs_in: bool) -> Collision | None:
        """Return the collision of a registration that can end in a link; None where it goes on as any other.

        It does so, too, where the account has the very same credential: that one was registered at the same moment.
        """
        enrolment, owner = admission.enrolment, admission.owner
        if owner is None or not self._may_link(enrolment, owner, store=store):
            return None
        proven = _proven(enrolment, owner)
        if proven is not None or self._registrar.may_simulate(signs_in=signs_in):
            return proven
        taken = next((name for name in self._registrar.names(admission) if name in _names_of(owner)), None)
        return Collision(enrolment, owner, taken, verified=False) if taken is not None else None

    async def by_verified_address(self, enrolment: Enrolment, *, store: str, schema_id: str | None) -> Collision | None:
        """Return the collision of an enrolment whose traits are incomplete: by an address that the provider has
        verified. The account that has it needs no other traits."""
        if enrolment.link is None or not enrolment.verified:
            return None
        owner = await self._registrar.owner_by_verified(enrolment, schema_id=schema_id)
        if owner is None or not self._may_link(enrolment, owner, store=store):
            return None
        return _proven(enrolment, owner)

    def _may_link(self, enrolment: Enrolment, owner: Identity, *, store: str) -> bool:
        if enrolment.link is None or not self._opener.offers(LOGIN, store=store):
            return False
        own = [name for credential in enrolment.credentials for name in credential.identifiers]
        return _names_of(owner).isdisjoint(own)

    def proof(self, collision: Collision, *, store: str) -> Proof | None:
        """Return the proof of the account where it is linked without another one; None where its owner is asked.

        That takes an address that both the provider and the account have verified. Where the customers of every store
        have their accounts at a provider, there is no other way to prove an account that has never verified its
        address, and is linked to no provider: who has verified it takes the account over, as by a mailed code.
        """
        enrolment, address = collision.enrolment, collision.name
        if enrolment.link is None or not collision.verified:
            return None
        if self._is_of_stores_provider(enrolment, store) and _is_unclaimed(collision.owner):
            return Proof(
                collision.owner.id,
                enrolment.method,
                enrolment.aal,
                still_valid=lambda now: (
                    _is_unclaimed(now) and address in {each.value for each in now.verifiable_addresses}
                ),
                amr=enrolment.amr,
                provider=enrolment.provider,
                verified=enrolment.verified,
                takes_over=True,
                upstream=enrolment.upstream,
                effect=enrolment.effect,
            )
        if not enrolment.link.automatic or not _has_verified(collision.owner, address):
            return None
        return Proof(
            collision.owner.id,
            enrolment.method,
            enrolment.aal,
            still_valid=lambda now: _has_verified(now, address),
            amr=enrolment.amr,
            provider=enrolment.provider,
            upstream=enrolment.upstream,
            effect=enrolment.effect,
        )

    def _is_of_stores_provider(self, enrolment: Enrolment, store: str) -> bool:
        provider = self._elsewhere.provider_of(store)
        return self._elsewhere.everywhere and provider is not None and provider == enrolment.provider

    async def ask(self, turn: Turn, collision: Collision) -> Diverted:
        """End the flow, and open one in which the account's owner signs in to link the credential."""
        flow, owner = turn.flow, collision.owner
        async with self._database.unit() as unit:
            with rejections_shown(unit, turn, now=self._clock.now()):
                await self._identities.remember_claim(unit, owner.id, client_ip=turn.caller.client.ip)
                await self._writer.finish(unit, flow, collision.enrolment.attempt)
                fresh = await self._form(unit, turn, collision)
                await store.add(unit, fresh)
                await self._writer.lead_on(unit, turn, (fresh.kind, fresh.id))
        return Diverted(flow, fresh)

    async def _form(self, unit: Unit, turn: Turn, collision: Collision) -> Flow:
        flow, enrolment = turn.flow, collision.enrolment
        opening = Opening(
            type=flow.type, request_url=flow.request_url, return_to=flow.return_to, schema_id=flow.schema_id
        )
        handler = self._opener.handler(LOGIN, store=flow.store)
        if not isinstance(handler, ConfirmsOwner):
            raise TypeError("the login flow cannot confirm the owner of an account")
        blank = taken_over(flow, blank_flow(handler, opening, turn.caller, clock=self._clock))
        told = collision.verified or not self._registrar.may_simulate(signs_in=False)
        link = pending_link(collision)
        form, ways = await handler.owner_form(
            unit,
            blank,
            turn.caller,
            identifier=collision.name,
            owner=collision.owner if told else None,
            enrolled=link.credential,
        )
        if not ways.methods:
            raise Taken
        standing = message(
            LINK,
            available_credential_types=list(ways.methods),
            available_providers=list(ways.providers),
            duplicateIdentifier=collision.name,
            duplicate_identifier=collision.name,
            newLoginUrl=self._login_url,
            new_login_url=self._login_url,
            provider=link.label,
        )
        return self._keeping.shown(
            replace(self._links.keeping(form, link, standing=standing), active=enrolment.method, messages=())
        )

    def pending(self, flow: Flow, proof: Proof) -> PendingLink | None:
        """Return what a proof in a flow links; None where nothing waits for exactly this account."""
        link = self._links.of(flow) if flow.kind == LOGIN else None
        return link if link is not None and link.identity_id == proof.identity_id else None

    async def link(self, unit: Unit, turn: Turn, link: PendingLink, signed_in: SignedIn) -> SignedIn:
        """Add the credential to the account that this unit has locked and signed in, and tell its owner by mail. What
        the provider has verified is verified now, as at each sign-in with it.

        Raises `FlowInvalid` where another account has got the credential meanwhile, or this one cannot have it: the
        flow continues without it.
        """
        with rejections_shown(unit, replace(turn, flow=without_link(turn.flow)), now=self._clock.now()):
            after = await self._linked(unit, link, signed_in, client=turn.caller.client)
        locale = after.locale or turn.caller.locale
        await self._notices.sign_in_linked(
            unit, to=after.email, account=mail_values(after), provider=link.label, locale=locale
        )
        return replace(signed_in, identity=after, session=replace(signed_in.session, identity=after))

    async def _linked(self, unit: Unit, link: PendingLink, signed_in: SignedIn, *, client: Client) -> Identity:
        method, identity = self._methods.get(link.credential.type), signed_in.identity
        if identity is None or not isinstance(method, LinkingMethod):
            raise SubmissionRejected(message(4010002))
        try:
            linked = await self._identities.change_locked_credentials(
                unit,
                identity,
                {link.credential.type: method.linked_to(identity, link.credential)},
                actor=str(identity.id),
                client_ip=client.ip,
                spare_session=signed_in.session.id,
            )
        except Conflict as taken:
            raise SubmissionRejected(message(LINKED_TO_ANOTHER), filled=False) from taken
        # No takeover: who proves by password keeps it, and a proof by a mailed code has ended an unproven one already.
        return await self._identities.apply_proof(
            unit, linked, verified=link.verified, actor=str(identity.id), client_ip=client.ip
        )


def pending_link(collision: Collision) -> PendingLink:
    """Return what a collision leaves to be linked."""
    enrolment = collision.enrolment
    [credential] = enrolment.credentials
    label = enrolment.link.label if enrolment.link is not None else enrolment.method
    return PendingLink(collision.owner.id, credential, label, enrolment.upstream, tuple(enrolment.verified))


def _proven(enrolment: Enrolment, owner: Identity) -> Collision | None:
    """Return the collision by an address that the provider has verified; None without one."""
    verified = (normalise_identifier(value) for _, value in enrolment.verified if is_exact(value))
    name = next((name for name in verified if name in _names_of(owner)), None)
    return Collision(enrolment, owner, name, verified=True) if name is not None else None


def _has(owner: Identity, address: str) -> bool:
    return address in {each.value for each in owner.verifiable_addresses}


def _is_unclaimed(owner: Identity) -> bool:
    """Return whether no address of an account was ever verified, and no account at a provider is linked to it."""
    return owner.unverified and not linked_accounts(owner.credentials.get(OIDC))


def _names_of(owner: Identity) -> set[str]:
    """Return the identifiers and addresses of an account that was read with its credentials."""
    addresses = {each.value for each in owner.verifiable_addresses}
    addresses |= {each.value for each in owner.recovery_addresses}
    return addresses | {name for credential in owner.credentials.values() for name in credential.identifiers}


def _has_verified(identity: Identity, address: str) -> bool:
    return any(each.value == address and each.verified for each in identity.verifiable_addresses)
