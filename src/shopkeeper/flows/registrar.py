"""Registering somebody, whichever door they came through: a form, or GraphQL.

Registering is one transaction: the identity with its credential, and the mail that welcomes them. Whether an address is
taken is told only where the answer gives it away anyhow: where registering signs in. Everywhere else a taken one gets
the answer of a free one after the same work, and its owner a mail.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import structlog

from shopkeeper import crypto
from shopkeeper.credentials.method import Draft, FieldError, RegistrationMethod, Rejected
from shopkeeper.errors import Conflict, FlowDisabled
from shopkeeper.identity.draft import NewIdentity
from shopkeeper.identity.extraction import Extracted
from shopkeeper.identity.names import names_of
from shopkeeper.identity.schema import Schema, Schemas
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Client, Identity
from shopkeeper.identity.violations import Violation
from shopkeeper.notify.addresses import AddressRefused
from shopkeeper.notify.courier import Courier
from shopkeeper.storage.cache.port import Cache, CacheDown
from shopkeeper.storage.database import Unit
from shopkeeper.throttle import Throttle
from shopkeeper.ui.messages import message

TOLD_FOR = timedelta(hours=1)
"""How long the owner of an address is not told again: strangers must not be able to fill somebody's inbox."""

log = structlog.get_logger("shopkeeper.registration")


class Taken(Rejected):
    """Somebody has registered with this identifier before."""

    def __init__(self) -> None:
        super().__init__(message(4000007), filled=False)


class Registrar:
    """Registers somebody.

    Args:
        enabled: whether anybody may register.
        mitigate_enumeration: whether a taken address is kept secret where it can be.
        cache: remembers whose owners were told lately.
    """

    def __init__(
        self,
        *,
        enabled: bool,
        mitigate_enumeration: bool,
        methods: Sequence[RegistrationMethod],
        schemas: Schemas,
        identities: Identities,
        throttle: Throttle,
        courier: Courier,
        cache: Cache,
    ) -> None:
        self._enabled = enabled
        self._mitigate = mitigate_enumeration
        self.methods = {method.name: method for method in methods}
        self._schemas = schemas
        self._identities = identities
        self._throttle = throttle
        self._courier = courier
        self._cache = cache

    async def register(
        self,
        unit: Unit,
        *,
        schema_id: str | None,
        traits: Mapping[str, Any],
        submitted: Mapping[str, Any],
        client: Client,
        locale: str,
        signs_in: bool,
    ) -> tuple[Identity, str]:
        """A new identity, and the method it was made with. Raises `Rejected`, `TooManyRequests` or `Busy`.

        `signs_in` says that the caller starts a session for it, and `locale` which language it is written to in.

        Where enumeration is mitigated and registering does not sign in, a taken address gives the same answer as a free
        one, with an identity that exists nowhere; the owner of the address is told by mail.
        """
        if not self._enabled:
            raise FlowDisabled("Registration is switched off here.")
        schema = self._schemas.require(schema_id)
        method = self.methods.get(str(submitted.get("method")))
        _require_whole(schema, traits, method, submitted)
        if method is None:
            raise Rejected(message(4010003))
        extracted = schema.extract(traits)
        draft = Draft(schema.id, traits, extracted.identifiers, client)
        # Whatever waits for others comes first, because SQLite has one writer, and others wait for that.
        async with self._counted(draft):
            credential = await method.enrol(draft, submitted)
            owner = await self._owner(unit, extracted)
            told = await self._was_told(owner)
        new = NewIdentity(schema_id=schema.id, traits=traits, credentials=(credential,))
        if owner is None:
            return await self._create(unit, new, client=client, locale=locale), method.name
        await self._identities.remember_claim(unit, owner.id, client_ip=client.ip)
        if signs_in or not self._mitigate:
            raise Taken
        return await self._pretend(unit, new, owner, locale=locale, told=told), method.name

    @asynccontextmanager
    async def _counted(self, draft: Draft) -> AsyncIterator[None]:
        """Counts the attempt: for the address always; for the identifier where it comes to a verdict, whatever that is,
        because nobody registers twice, and the same count for both tells nothing."""
        subject = next((identifier for known in draft.identifiers.values() for identifier in known), "")
        attempt = await self._throttle.check(subject, ip=draft.client.ip)
        try:
            yield
        except BaseException:  # a mistake in the form, or too busy: no verdict, so the attempt is given back
            await self._throttle.release(attempt)
            raise
        await self._throttle.failed(subject, ip=draft.client.ip)

    async def _owner(self, unit: Unit, wanted: Extracted) -> Identity | None:
        """Who has one of these identifiers or addresses already. All are looked up, so that time tells nothing."""
        named = [(type_, name) for type_, names in wanted.identifiers.items() for name in names]
        reached = dict.fromkeys((*wanted.verifiable, *wanted.recovery))
        found = [await self._identities.find_by_identifier(unit, type=type_, identifier=name) for type_, name in named]
        found += [await self._identities.find_by_address(unit, via=via, value=value) for via, value in reached]
        return next((owner for owner in found if owner is not None), None)

    async def _create(self, unit: Unit, new: NewIdentity, *, client: Client, locale: str) -> Identity:
        try:
            identity = await self._identities.create(unit, new, actor="self", client_ip=client.ip)
        except Conflict as taken:  # meanwhile
            raise Taken from taken
        names = {"first_name": names_of(identity).first}
        await self._write(unit, "welcome", to=identity.email, context=names, locale=locale)
        return identity

    async def _pretend(self, unit: Unit, new: NewIdentity, owner: Identity, *, locale: str, told: bool) -> Identity:
        pretended = await self._identities.pretend(unit, new)
        await self._write(unit, "sign_up_attempt", to=None if told else owner.email, context={}, locale=locale)
        # Remembered once it is true. Two at the same moment may both write to the owner; the throttle bounds them.
        unit.after_commit(lambda: self._remember_told(owner))
        return pretended

    async def _write(
        self, unit: Unit, template: str, *, to: str | None, context: Mapping[str, Any], locale: str
    ) -> None:
        """A mail, if there is a mailbox: an account without one is an account all the same, and costs the same work."""
        try:
            if to:
                await self._courier.queue(unit, template=template, recipient=to, context=context, locale=locale)
                return
        except AddressRefused:
            log.warning("mail.address_refused", template=template)
        await self._courier.pretend(unit, template=template, context=context, locale=locale)

    async def _was_told(self, owner: Identity | None) -> bool:
        """Asked for nobody as well, so that time tells nothing."""
        try:
            return await self._cache.get(_told_key(owner)) is not None
        except CacheDown:
            return False

    async def _remember_told(self, owner: Identity) -> None:
        with suppress(CacheDown):
            await self._cache.add(_told_key(owner), b"1", ttl=TOLD_FOR)


def trait_errors(violations: Sequence[Violation]) -> list[FieldError]:
    """What the schema finds wrong, as messages at the traits' nodes."""
    return [FieldError(violation.name, violation.message) for violation in violations]


def _require_whole(
    schema: Schema, traits: Mapping[str, Any], method: RegistrationMethod | None, submitted: Mapping[str, Any]
) -> None:
    wrong = trait_errors(schema.validate(traits))
    if wrong:
        raise Rejected(fields=[*wrong, *(method.missing(submitted) if method else ())])


def _told_key(owner: Identity | None) -> str:
    return f"sign-up-told:{crypto.digest((owner and owner.email) or '').hex()}"
