"""Registering an identity, for forms and for GraphQL.

    prove     valid traits? -> counted -> the method's step              reads only
    admit     blocking hooks -> are these identifiers taken?             no transaction is open
    create    inside the transaction: identity, credentials, mail

The answer reveals that an identifier is taken only where it does so anyway: where registering signs in. In every other
case a taken one gets the answer of a free one after the same work, and its owner a mail.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Final, TypeAlias, TypeVar

import structlog

from shopkeeper import crypto, refunds
from shopkeeper.client import Client
from shopkeeper.credentials.method import BringsTraits, MethodInput, RegistrationMethod, Traits
from shopkeeper.credentials.steps import Ask, Enrolment, FieldError, Redirect, StartOver, SubmissionRejected
from shopkeeper.errors import Conflict, FlowDisabled
from shopkeeper.flows.flow import REGISTRATION
from shopkeeper.flows.store_handlers import AccountsElsewhere
from shopkeeper.identity.address_changes import AddressChanges, addresses_of
from shopkeeper.identity.builder import AddressInput, NewIdentity
from shopkeeper.identity.extraction import Extracted
from shopkeeper.identity.facts import CredentialInput
from shopkeeper.identity.mail_values import mail_values
from shopkeeper.identity.normalise import normalise_identifier
from shopkeeper.identity.schema import Schema, Schemas
from shopkeeper.identity.service import Identities
from shopkeeper.identity.unique_names import UniqueNames
from shopkeeper.identity.values import Identity, Via
from shopkeeper.identity.violations import Violation
from shopkeeper.notify.addresses import AddressRefused
from shopkeeper.notify.courier import Courier
from shopkeeper.notify.recipient_budget import RecipientBudget
from shopkeeper.notify.sign_up_notices import SignUpNotices
from shopkeeper.signin.hooks import HookSubject
from shopkeeper.storage.database import Database, Unit
from shopkeeper.throttle import Throttle
from shopkeeper.ui.messages import message

log = structlog.get_logger("shopkeeper.registration")

BlockingHooks = Callable[[HookSubject], Awaitable[Mapping[str, Any] | None]]
"""Runs the blocking hooks and returns the traits that one has changed. Raises their refusals."""


_RACES: Final = 3
"""How often a registration starts over because an identifier was taken under it. The second time simulates; more are
needed only where the identifier's new owner was deleted meanwhile, and yet another one came."""
NOTHING_EXTRACTED: Final = Extracted(identifiers={})
Result = TypeVar("Result")
PassOn: TypeAlias = tuple[type[SubmissionRejected], ...]
"""Rejections that are passed on to the caller instead of being shown in a form."""


class Taken(SubmissionRejected):
    """Another account has one of these identifiers."""

    def __init__(self) -> None:
        super().__init__(message(4000007), filled=False)


@dataclass(frozen=True, slots=True)
class Admission:
    """A registration whose hooks have run. `owner` has one of its identifiers already; `told` is the mailbox for the
    mail about it, empty without one; `notified` says that it recently got such a mail, and `mailed` that the address
    which registers is within its budget of mails.
    """

    enrolment: Enrolment
    new: NewIdentity
    owner: Identity | None
    notified: bool
    mailed: bool
    told: str = ""


class Registrar:
    """Registers identities.

    Args:
        enabled: whether registration is enabled.
        elsewhere: the stores whose customers have their accounts at a provider.
        mitigate_enumeration: whether a taken identifier is kept secret where that is possible.
        before: runs the blocking hooks.
        notices: limits the mails to owners of identifiers that somebody wants to register with.
        budget: limits the mails to an address that registers, under whatever tags. Beyond it there are none.
    """

    def __init__(
        self,
        *,
        enabled: bool,
        elsewhere: AccountsElsewhere,
        mitigate_enumeration: bool,
        methods: Sequence[RegistrationMethod],
        database: Database,
        schemas: Schemas,
        identities: Identities,
        address_changes: AddressChanges,
        throttle: Throttle,
        courier: Courier,
        notices: SignUpNotices,
        budget: RecipientBudget,
        before: BlockingHooks,
    ) -> None:
        self._enabled = enabled
        self._elsewhere = elsewhere
        self._mitigate = mitigate_enumeration
        self.methods = {method.name: method for method in methods}
        self._database = database
        self._schemas = schemas
        self._identities = identities
        self._address_changes = address_changes
        self._throttle = throttle
        self._courier = courier
        self._notices = notices
        self._budget = budget
        self._before = before

    @property
    def enabled(self) -> bool:
        """Whether accounts can be registered."""
        return self._enabled

    def among(self, methods: Sequence[RegistrationMethod]) -> "Registrar":
        """Return a registrar that offers these methods only."""
        other = copy(self)
        other.methods = {method.name: method for method in methods}
        return other

    def may_simulate(self, *, signs_in: bool) -> bool:
        """Return whether a taken identifier gets the answer of a free one."""
        return self._mitigate and not signs_in

    async def register(
        self,
        *,
        store: str,
        schema_id: str | None,
        traits: Mapping[str, Any],
        submitted: Mapping[str, Any],
        client: Client,
        locale: str,
        wished_language: str | None = None,
    ) -> tuple[Identity, str]:
        """Register with a method that needs one submission only, without a flow and without signing in; return the
        identity and the method's name. Never call it while a transaction is open.

        `locale` is the language of mails; `wished_language` the one that the person has chosen or asks for. It is kept
        with the identity.

        A taken identifier gives an identity that does not exist, where enumeration is mitigated. Raises
        `SubmissionRejected`, `TooManyRequests`, `FlowDisabled` or `Busy`.
        """
        self._elsewhere.require_own(store)
        asked = MethodInput(client=client, submitted=submitted, locale=locale, wished_language=wished_language)

        async def create_alone(admission: Admission, pass_on: PassOn) -> Identity:
            async with self._database.unit() as unit:
                return await self.create(
                    unit, admission, client=client, locale=locale, wished_language=wished_language, signs_in=False
                )

        async with refunds.refunded_when_busy():
            async with self._database.reading() as unit:
                step = await self.prove(unit, str(submitted.get("method")), asked, schema_id=schema_id, traits=traits)
            if not isinstance(step, Enrolment):
                raise SubmissionRejected(message(4010003))
            admission = await self.admit(step, schema_id=schema_id, flow=REGISTRATION, client=client)
            return await self.retried(admission, create_alone, signs_in=False), step.method

    async def retried(
        self,
        admission: Admission,
        register: Callable[[Admission, PassOn], Awaitable[Result]],
        *,
        signs_in: bool,
    ) -> Result:
        """Run the transaction of a registration; again, in a fresh one, where an identifier was taken since `admit` and
        that is kept secret, so that the next one simulates.

        `register` lets the rejections pass that its second argument names, instead of showing them in a form.
        """
        if not self.may_simulate(signs_in=signs_in):
            return await register(admission, ())
        for _ in range(_RACES):
            try:
                return await register(admission, (Taken,))
            except Taken:
                admission = await self.owned(admission)
        return await register(admission, ())

    def mistakes(self, enrolment: Enrolment, *, schema_id: str | None) -> Sequence[FieldError]:
        """What is missing or wrong in the traits of an enrolment that did not come from the form."""
        return trait_errors(self._schemas.require(schema_id).validate(enrolment.traits))

    def identifier(self, enrolment: Enrolment, *, schema_id: str | None) -> str:
        """Return the first identifier in the traits of an enrolment; empty where there is none."""
        extracted = self._schemas.require(schema_id).extract(enrolment.traits)
        return next((name for names in extracted.identifiers.values() for name in names), "")

    def names(self, admission: Admission) -> Sequence[str]:
        """Return the identifiers and addresses in the traits of a new identity."""
        extracted = self._schemas.require(admission.new.schema_id).extract(admission.new.traits)
        names = [name for known in extracted.identifiers.values() for name in known]
        return [*names, *(value for _, value in (*extracted.verifiable, *extracted.recovery))]

    def unverified(self, admission: Admission) -> Sequence[str]:
        """Return the e-mail addresses of a new identity that are not verified yet."""
        new = admission.new
        verified = {(each.via, each.value) for each in new.verifiable_addresses if each.verified}
        extracted = self._schemas.require(new.schema_id).extract(new.traits)
        return [value for via, value in extracted.verifiable if via is Via.EMAIL and (via, value) not in verified]

    async def prove(
        self, unit: Unit, method_name: str, asked: MethodInput, *, schema_id: str | None, traits: Mapping[str, Any]
    ) -> Ask | Redirect | StartOver | Enrolment:
        """Validate the traits, count the attempt, and return the method's step. Only reads.

        A method that brings its own traits is asked first, and its enrolment is counted once it is known whose it is:
        before that there is no name, and all such attempts would count as those of one.

        Raises `SubmissionRejected` with all mistakes at once, `TooManyRequests` or `Busy`.
        """
        self._require_enabled()
        schema, method = self._schemas.require(schema_id), self.methods.get(method_name)
        if isinstance(method, BringsTraits) and method.brings_traits:
            known = Traits(schema.id, traits, NOTHING_EXTRACTED)
            brought = await method.submit_registration(unit, replace(asked, traits=known))
            if isinstance(brought, Enrolment) and not self.mistakes(brought, schema_id=schema.id):
                await self.count(brought, schema_id=schema.id, client=asked.client, always=True)
            return brought
        _require_whole(schema, traits, method, asked.submitted)
        known = Traits(schema.id, traits, schema.extract(traits))
        if method is None:
            raise SubmissionRejected(message(4010003))
        async with self._counted(known.extracted, asked.client) as verdict:
            step = await method.submit_registration(unit, replace(asked, traits=known))
            verdict.reached = isinstance(step, Enrolment)
        return step

    async def admit(self, enrolment: Enrolment, *, schema_id: str | None, flow: str, client: Client) -> Admission:
        """Run the blocking hooks and look up the owner of these identifiers.

        Hooks run for a taken identifier too, because the time of the answer would show that they were left out. Raises
        `FlowDisabled`: an unknown subject of a provider registers in a login flow too.
        """
        self._require_enabled()
        identity_id = crypto.new_id()
        changed = await self._before(HookSubject(flow, enrolment.method, identity_id, client, enrolment.traits))
        new = NewIdentity(
            id=identity_id,
            schema_id=self._schemas.require(schema_id).id,
            traits=enrolment.traits if changed is None else changed,
            metadata_public=enrolment.metadata_public,
            metadata_admin=enrolment.metadata_admin,
            credentials=enrolment.credentials,
            verifiable_addresses=[AddressInput(value, via, verified=True) for via, value in enrolment.verified],
            groups=enrolment.groups,
        )
        return await self.owned(
            Admission(enrolment, new, owner=None, notified=False, mailed=await self._may_mail(new, client))
        )

    async def count(self, enrolment: Enrolment, *, schema_id: str | None, client: Client, always: bool = False) -> None:
        """Count an enrolment whose traits the method has brought, as `prove` counts those that were typed.

        It may find out which addresses have an account, unless it has verified its own: then it is counted only for the
        client's address, if `always`, because somebody may come back more than once. Raises `TooManyRequests`.
        """
        extracted = self._schemas.require(schema_id).extract(enrolment.traits)
        verified = {normalise_identifier(value) for _, value in enrolment.verified}
        names = (name for known in extracted.identifiers.values() for name in known)
        values = (value for _, value in (*extracted.verifiable, *extracted.recovery))
        if not {*names, *values} <= verified:
            async with self._counted(extracted, client) as verdict:
                verdict.reached = True
        elif always:
            await self._throttle.spend(client.ip)

    async def owned(self, admission: Admission) -> Admission:
        """Return the admission with the account that has one of its identifiers now."""
        extracted = self._schemas.require(admission.new.schema_id).extract(admission.new.traits)
        async with self._database.reading() as unit:
            owner = await self._owner(unit, extracted, admission.enrolment, admission.new.credentials)
        told = _told(owner, extracted, admission.new.credentials) or ""
        return replace(admission, owner=owner, told=told, notified=await self._notices.was_sent(told))

    async def owner_by_verified(self, enrolment: Enrolment, *, schema_id: str | None) -> Identity | None:
        """Return the account that has one of these identifiers or addresses, of those that the enrolment has verified.
        The traits need not be complete."""
        extracted = self._schemas.require(schema_id).extract(enrolment.traits)
        verified = {normalise_identifier(value) for _, value in enrolment.verified}
        wanted = replace(
            NOTHING_EXTRACTED,
            identifiers={
                type_: tuple(name for name in names if name in verified)
                for type_, names in extracted.identifiers.items()
            },
            verifiable=tuple(address for address in extracted.verifiable if address[1] in verified),
            recovery=tuple(address for address in extracted.recovery if address[1] in verified),
        )
        async with self._database.reading() as unit:
            return await self._owner(unit, wanted, enrolment, enrolment.credentials)

    async def create(
        self,
        unit: Unit,
        admission: Admission,
        *,
        client: Client,
        locale: str,
        wished_language: str | None = None,
        signs_in: bool,
    ) -> Identity:
        """Create the identity in the caller's transaction, or simulate it where an identifier is taken and that is kept
        secret. Raises `Taken`.
        """
        enrolment, owner = admission.enrolment, admission.owner
        new = replace(admission.new, locale=wished_language)
        if owner is not None:
            await self._identities.remember_claim(unit, owner.id, client_ip=client.ip)
            if not self.may_simulate(signs_in=signs_in):
                raise Taken
            simulated = await self._identities.simulate(unit, new)
            if enrolment.when_simulated is not None:
                await enrolment.when_simulated(unit, simulated)
            await self._notify(unit, owner, admission, locale=owner.locale or locale)
            return simulated
        if enrolment.effect is not None:
            await enrolment.effect(unit)
        try:
            identity = await self._identities.create(
                unit,
                new,
                actor="self",
                client_ip=client.ip,
                like_simulated=self.may_simulate(signs_in=signs_in),
            )
        except Conflict as taken:  # taken since `admit`
            raise Taken from taken
        if self.may_simulate(signs_in=signs_in):
            if enrolment.when_simulated is not None:
                await enrolment.when_simulated(unit, None)
            unit.after_commit(lambda: self._notices.look_up(identity.email or ""))
        known = mail_values(identity)
        to = identity.email if admission.mailed else None
        await self._mail(unit, "welcome", to=to, context=known, locale=locale)
        return identity

    async def _may_mail(self, new: NewIdentity, client: Client) -> bool:
        """Count a mail to the first e-mail address of a new identity; return False where there were too many."""
        extracted = self._schemas.require(new.schema_id).extract(new.traits)
        known = (value for via, value in (*extracted.verifiable, *extracted.recovery) if via is Via.EMAIL)
        address = next(known, new.traits.get("email"))
        return isinstance(address, str) and await self._budget.may_mail("registered", address, ip=client.ip)

    def _require_enabled(self) -> None:
        if not self._enabled:
            raise FlowDisabled("Registration is switched off here.", topic="registration")

    @asynccontextmanager
    async def _counted(self, extracted: Extracted, client: Client) -> AsyncIterator["_Verdict"]:
        """Count the attempt: for the client's address always; for the identifier where the attempt reaches a verdict,
        good or bad. An identity registers only once, and counting free and taken identifiers alike reveals nothing.

        A verdict counts when the registration has ended, because we may still be too busy to create the identity.
        """
        subject, verdict = _subject(extracted), _Verdict()
        if subject is None:
            await self._throttle.spend(client.ip)
            yield verdict
            return
        slot = await self._throttle.check(subject, ip=client.ip)
        try:
            yield verdict
        except BaseException:  # a mistake in the form, or too busy: no verdict, so the attempt is given back
            await self._throttle.release(slot)
            raise
        if verdict.reached:
            throttle = self._throttle
            await refunds.charge(give_back=lambda: throttle.release(slot), keep=lambda: throttle.failed(slot))
        else:
            await self._throttle.release(slot)

    async def _owner(
        self, unit: Unit, wanted: Extracted, enrolment: Enrolment, credentials: Sequence[CredentialInput]
    ) -> Identity | None:
        """Return the account with one of these identifiers or addresses, or that one of the addresses is reserved
        for. No address is reserved against who has proven it."""
        identifiers = [(type_, name) for type_, names in wanted.identifiers.items() for name in names]
        own = [(credential.type, name) for credential in credentials for name in credential.identifiers]
        addresses = (*wanted.verifiable, *wanted.recovery)
        names = UniqueNames.of(identifiers=identifiers, addresses=addresses, exact=own)
        return await self._address_changes.owner_of(unit, names, proven=enrolment.verified)

    async def _notify(self, unit: Unit, owner: Identity, admission: Admission, *, locale: str) -> None:
        """Tell the owner of a taken identifier that somebody has used it."""
        told = admission.mailed and not admission.notified
        to, known = admission.told if told else None, mail_values(owner)
        await self._mail(unit, "sign_up_attempt", to=to, context=known, locale=locale)
        # Stored after the commit. Two concurrent attempts may both mail the owner; the throttle limits them.
        unit.after_commit(lambda: self._notices.remember(admission.told))

    async def _mail(
        self, unit: Unit, template: str, *, to: str | None, context: Mapping[str, Any], locale: str
    ) -> None:
        """Queue a mail, or do the same work without one: an account may have no mailbox."""
        try:
            if to:
                await self._courier.queue(unit, template=template, recipient=to, context=context, locale=locale)
                return
        except AddressRefused:
            log.warning("mail.address_refused", template=template)
        await self._courier.simulate(unit, template=template, context=context, locale=locale)


@dataclass(slots=True)
class _Verdict:
    """Whether an attempt to register has ended, with success or failure, and not with another form."""

    reached: bool = False


def _subject(extracted: Extracted) -> str | None:
    """Return the name that an attempt is counted for; None where the traits have none."""
    names = (name for known in extracted.identifiers.values() for name in known)
    addresses = (value for _, value in (*extracted.verifiable, *extracted.recovery))
    return next(chain(names, addresses), None)


def trait_errors(violations: Sequence[Violation]) -> list[FieldError]:
    """Return the schema's violations as messages at the traits' nodes."""
    return [FieldError(violation.name, violation.message) for violation in violations]


def _require_whole(
    schema: Schema, traits: Mapping[str, Any], method: RegistrationMethod | None, submitted: Mapping[str, Any]
) -> None:
    wrong = trait_errors(schema.validate(traits))
    if wrong:
        raise SubmissionRejected(fields=[*wrong, *(method.missing(submitted) if method else ())])


def _told(owner: Identity | None, wanted: Extracted, credentials: Sequence[CredentialInput]) -> str | None:
    """Return the mailbox that learns that an identifier of the account was used: the one that was entered, if the
    account has it or it is reserved for the account. Any other mailbox of the account may be somebody else's.

    Nobody learns of an account that only has one of the new `credentials`, such as an account at a provider."""
    if owner is None:
        return None
    entered = [value for via, value in dict.fromkeys((*wanted.verifiable, *wanted.recovery)) if via is Via.EMAIL]
    own = [value for value in entered if (Via.EMAIL, value) in addresses_of(owner)]
    if own:
        return own[0]
    has_identifier = any(
        name in known.identifiers
        for type_, known in owner.credentials.items()
        for name in wanted.identifiers.get(type_, ())
    )
    if has_identifier or not entered:
        return normalise_identifier(owner.email or "")
    if any(_has_one_of(owner, each) for each in credentials):
        return None
    # Reserved only; with several mailboxes nobody knows here which of them.
    return entered[0] if len(entered) == 1 else None


def _has_one_of(owner: Identity, credential: CredentialInput) -> bool:
    known = owner.credentials.get(credential.type)
    return known is not None and not set(known.identifiers).isdisjoint(credential.identifiers)
