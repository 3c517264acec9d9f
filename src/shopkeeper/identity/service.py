"""Creates, changes and deletes identities.

Traits are validated against their schema here for every caller, and identifiers and addresses are derived from them.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from shopkeeper.clock import Clock
from shopkeeper.crypto import KeyRing, new_id
from shopkeeper.errors import BadRequest, InvalidInput, NotFound, PreconditionFailed
from shopkeeper.identity import group_store, store
from shopkeeper.identity.address_change_store import end_all
from shopkeeper.identity.builder import IdentityBuilder, NewIdentity, incognito
from shopkeeper.identity.changes import (
    EVERY_IDENTITY,
    AccessListener,
    AuditTrail,
    Change,
    ChangePublisher,
    Events,
    Listener,
    differences,
)
from shopkeeper.identity.constraints import uniqueness
from shopkeeper.identity.document import patched
from shopkeeper.identity.extraction import Address, Extracted
from shopkeeper.identity.facts import CredentialInput, FactsByType, facts_of
from shopkeeper.identity.group_names import group_name_of
from shopkeeper.identity.memberships import GivenGroups, group_names, joined
from shopkeeper.identity.normalise import normalise_identifier
from shopkeeper.identity.reader import NO_IDENTITY, IdentityReader
from shopkeeper.identity.schema import Schemas
from shopkeeper.identity.sealing import holds_something
from shopkeeper.identity.unique_names import UniqueNames
from shopkeeper.identity.values import AddressStatus, Credential, Identity
from shopkeeper.identity.withdrawals import CREDENTIALS_CHANGED, SET_BEFORE_VERIFIED
from shopkeeper.languages.choice import storable
from shopkeeper.storage.database import Unit

GROUPS_CHANGED: Final = "identity.groups_changed"
_GIVES_ACCESS: Final = ("credentials", "verifiable_addresses", "recovery_addresses")


class Identities(IdentityReader):
    """The identities of this server.

    >>> identity = await identities.create(unit, NewIdentity(traits={"email": "ada@example.org"}))  # doctest: +SKIP
    >>> await identities.find_by_identifier(unit, type="password", identifier="ADA@example.org")  # doctest: +SKIP

    Args:
        schemas: the schemas of the traits.
        facts: the facts about each credential type.
        keys: seals the credentials of the types that are stored sealed. Raises `ValueError` where it is None and there
            are such types.
        clock: sets the times of changes.
        audit: records every change, if set.
        events: the outbox for `identity.changed` and `identity.deleted`, if set.
        listeners: called for each change.
        on_access_revoked: called where earlier proofs are no longer valid (a password replaced or removed, an account
            deactivated), with the session to spare.
        on_deleted: called where an identity is deleted, to delete what the same database stores about it elsewhere.
        ids: generates ids.
    """

    def __init__(
        self,
        schemas: Schemas,
        *,
        facts: FactsByType,
        clock: Clock,
        keys: KeyRing | None = None,
        audit: AuditTrail | None = None,
        events: Events | None = None,
        listeners: Sequence[Listener] = (),
        on_access_revoked: Sequence[AccessListener] = (),
        on_deleted: Sequence[Listener] = (),
        ids: Callable[[], UUID] = new_id,
    ) -> None:
        super().__init__(store.IdentityStore(facts, keys=keys))
        self.schemas = schemas
        self._facts = facts
        self._clock = clock
        self._ids = ids
        self._publisher = ChangePublisher(
            clock=clock,
            audit=audit,
            events=events,
            listeners=listeners,
            on_access_revoked=on_access_revoked,
            on_deleted=on_deleted,
            facts=facts,
        )

    async def create(
        self,
        unit: Unit,
        new: NewIdentity,
        *,
        actor: str = "system",
        client_ip: str | None = None,
        like_simulated: bool = False,
    ) -> Identity:
        """Create an identity. Raises `InvalidInput` (`InvalidTraits`), and `Conflict` where an identifier is taken.

        After a `Conflict` the unit must end in an exception: earlier writes of this call must not be committed.

        Args:
            like_simulated: take as many statements as `simulate`, where the answer may come from either.
        """
        identity = await self._joined(unit, self._built(new, before=None), new.groups)
        with uniqueness():
            identity = await self._store.insert(unit, identity, identifiers_apart=like_simulated)
        details = {"schema_id": identity.schema_id}
        change = Change("identity.created", identity.id, actor, client_ip, changed=["created"], details=details)
        await self._publisher.created(unit, change)
        return identity

    async def simulate(self, unit: Unit, new: NewIdentity) -> Identity:
        """Return an identity as if it had been created, for answers that must not reveal that an identifier is taken.

        It costs as much as creating one with `like_simulated`, so that the time reveals nothing either. Raises
        `InvalidInput`.
        """
        identity = await self._joined(unit, self._built(new, before=None), new.groups)
        stored = await self._store.insert(unit, incognito(identity))
        await store.delete_identity(unit, identity.id)
        return replace(identity, factors=stored.factors)

    async def find_by_name(self, unit: Unit, name: str) -> Identity | None:
        """Return the identity that has this identifier of any type whose identifiers are traits, with credentials, or
        None. An unknown one takes as long as a known one."""
        types = [facts.type for facts in self._facts.values() if facts.from_traits]
        return await self.find_owner(unit, UniqueNames.of(identifiers=[(type_, name) for type_ in types]))

    async def remember_claim(self, unit: Unit, owner: UUID, *, client_ip: str | None) -> None:
        """Record that a registration used an identifier of this identity, also where the unit rolls back."""
        change = Change("registration.refused", owner, "anonymous", client_ip, details={"reason": "taken"})
        await self._publisher.record(unit, change, outcome="refused", always=True)

    async def replace(
        self,
        unit: Unit,
        identity_id: UUID,
        new: NewIdentity,
        *,
        versions: Collection[int] | None = None,
        actor: str = "system",
        client_ip: str | None = None,
    ) -> Identity:
        """Replace traits, state and metadata. Credentials of types that are not given are kept; of types that hold
        several things, those that are there already are, too (`CredentialFacts.added`).

        Addresses that stay the same stay verified. Raises `NotFound`, `InvalidInput` and `Conflict`, and
        `PreconditionFailed` where the identity has none of the `versions`.
        """
        before = await self.lock(unit, identity_id)
        require_version(before.version, versions)
        return await self._decided(unit, before, new, actor=actor, client_ip=client_ip)

    async def change_traits(
        self,
        unit: Unit,
        before: Identity,
        traits: Mapping[str, Any],
        *,
        actor: str = "system",
        client_ip: str | None = None,
    ) -> Identity:
        """Replace the traits of an identity that this unit has locked; everything else stays.

        Addresses that stay the same stay verified. Raises `InvalidInput` and `Conflict`.
        """
        return await self._change(unit, before, _same_but(before, traits), actor=actor, client_ip=client_ip)

    async def change_profile(
        self,
        unit: Unit,
        before: Identity,
        *,
        traits: Mapping[str, Any],
        metadata_public: Any,
        metadata_admin: Any,
        actor: str = "system",
        client_ip: str | None = None,
    ) -> Identity:
        """Replace traits and metadata of an identity that this unit has locked, as `change_traits` does."""
        new = replace(_same_but(before, traits), metadata_public=metadata_public, metadata_admin=metadata_admin)
        return await self._change(unit, before, new, actor=actor, client_ip=client_ip)

    async def take_back(
        self,
        unit: Unit,
        before: Identity,
        traits: Mapping[str, Any],
        *,
        revoke: Sequence[str],
        client_ip: str | None = None,
    ) -> Identity:
        """Give an identity that this unit has locked other traits, remove credentials, and end all its sessions: for
        an owner who takes the account back. The last way to sign in may go, because recovery gives a new one.

        Raises `InvalidInput` and `Conflict`.
        """
        restored = self._built(_same_but(before, traits), before=before)
        extracted = self.schemas.require(before.schema_id).extract(traits)
        after = self._builder(restored).changed(dict.fromkeys(revoke), extracted=extracted)
        with uniqueness():
            after = await self._store.update(unit, before, after)
        action, details = "identity.address_change_undone", {"types": sorted(revoke)}
        changed = differences(before, after)
        change = Change(action, after.id, str(after.id), client_ip, changed=changed, details=details)
        await self._publisher.taken_back(unit, change)
        return after

    async def patch(
        self,
        unit: Unit,
        identity_id: UUID,
        operations: Sequence[Mapping[str, Any]],
        *,
        versions: Collection[int] | None = None,
        actor: str = "system",
        client_ip: str | None = None,
    ) -> Identity:
        """Apply a JSON Patch (RFC 6902). Raises `NotFound`, `BadRequest` (`InvalidInput`) and `Conflict`, and
        `PreconditionFailed` where the identity has none of the `versions`."""
        before = await self.lock(unit, identity_id)
        require_version(before.version, versions)
        return await self._decided(unit, before, patched(before, operations), actor=actor, client_ip=client_ip)

    async def delete(
        self,
        unit: Unit,
        identity_id: UUID,
        *,
        versions: Collection[int] | None = None,
        actor: str = "system",
        client_ip: str | None = None,
    ) -> None:
        """Delete an identity with all that belongs to it. Raises `NotFound`, and `PreconditionFailed` where it has none
        of the `versions`."""
        if versions is not None:
            require_version((await self.lock(unit, identity_id)).version, versions)
        if not await store.delete_identity(unit, identity_id):
            raise NotFound(message=NO_IDENTITY)
        change = Change("identity.deleted", identity_id, actor, client_ip, changed=["deleted"])
        await self._publisher.deleted(unit, change)

    async def give_groups(
        self,
        unit: Unit,
        before: Identity,
        given: GivenGroups,
        *,
        actor: str = "system",
        client_ip: str | None = None,
    ) -> Identity:
        """Make these the groups that a source gives an identity that this unit has locked; those of others stay.

        It ends no sessions. Nothing is written where they are so already. Raises `InvalidInput`.
        """
        after = await self._joined(unit, before, given)
        if after.memberships == before.memberships:
            return before
        after = await self._store.update(unit, before, replace(after, updated_at=self._clock.now()))
        details = {
            "source": given.source,
            "added": sorted({*after.groups} - {*before.groups}),
            "removed": sorted({*before.groups} - {*after.groups}),
        }
        change = Change(GROUPS_CHANGED, after.id, actor, client_ip, changed=["groups"], details=details)
        await self._publisher.changed_aside(unit, change)
        return after

    async def record_change(self, unit: Unit, change: Change) -> None:
        """Record and publish a change of an identity that was written elsewhere and leaves every proof valid."""
        await self._publisher.changed_aside(unit, change)

    async def drop_all_cached(self, unit: Unit) -> None:
        """Drop what is cached about every identity, after the commit."""
        await self._publisher.invalidate(unit, EVERY_IDENTITY)

    async def change_credentials(
        self,
        unit: Unit,
        identity: Identity,
        changes: Mapping[str, CredentialInput | None],
        *,
        actor: str,
        client_ip: str | None,
        spare_session: UUID | None = None,
    ) -> Identity:
        """Replace, add or remove credentials by type; None removes.

        Where a credential is replaced or removed, the sessions of the identity end, except `spare_session`. Identifiers
        that are traits stay reserved for the identity. Returns the identity as it is now.

        Raises `NotFound`, `InvalidInput`, `Conflict` where an identifier is taken, and `BadRequest` where no way to
        sign in would be left.
        """
        # Read again under the lock: `identity` may be outdated, and changes missing in `before` would be overwritten.
        before = await self.lock(unit, identity.id)
        return await self.change_locked_credentials(
            unit, before, changes, actor=actor, client_ip=client_ip, spare_session=spare_session
        )

    async def change_locked_credentials(
        self,
        unit: Unit,
        before: Identity,
        changes: Mapping[str, CredentialInput | None],
        *,
        actor: str,
        client_ip: str | None,
        spare_session: UUID | None = None,
    ) -> Identity:
        """Change credentials as `change_credentials` does, of an identity that this unit has locked."""
        extracted = self.schemas.require(before.schema_id).extract(before.traits)
        after = replace(self._with_credentials(before, changes, extracted), updated_at=self._clock.now())
        if after.credentials == before.credentials:
            return before
        with uniqueness():
            after = await self._store.update(unit, before, after)
        details = {"types": sorted(changes)}
        changed = _with_groups(["credentials"], before, after)
        change = Change(CREDENTIALS_CHANGED, after.id, actor, client_ip, changed=changed, details=details)
        await self._publisher.changed(unit, change, before, after, spare=spare_session)
        return after

    async def delete_credential(
        self,
        unit: Unit,
        identity_id: UUID,
        type: str,  # noqa: A002 - the contract's word
        *,
        identifier: str | None = None,
        actor: str = "system",
        client_ip: str | None = None,
    ) -> None:
        """Remove a credential and end the sessions that it may have proven.

        Args:
            identifier: the part to remove, for types that hold several parts (`CredentialFacts.without`); ignored for
                all others.

        Raises `NotFound`, and `BadRequest` for the last way to sign in, for types that cannot be removed, and where the
        identifier is missing.
        """
        before = await self.lock(unit, identity_id)
        left = self._left_of(self._removable(before, type), identifier)
        after = self._with_credentials(before, {type: left}, _reserved(before, self._facts))
        after = await self._store.update(unit, before, after)
        action, details = "identity.credential_deleted", {"type": type}
        changed = _with_groups(["credentials"], before, after)
        change = Change(action, identity_id, actor, client_ip, changed=changed, details=details)
        await self._publisher.changed(unit, change, before, after)

    async def set_credential_config(
        self,
        unit: Unit,
        identity_id: UUID,
        type: str,  # noqa: A002 - the contract's word
        config: Mapping[str, Any],
        *,
        actor: str = "system",
        client_ip: str | None = None,
    ) -> None:
        """Store a method's own data, such as a new hash or a counter, as the effect of a proof.

        It ends no sessions and publishes nothing. Raises `NotFound`, and `Conflict` where the config has what belongs
        to another identity (`CredentialFacts.digests`).
        """
        before, now = await self.lock(unit, identity_id), self._clock.now()
        known = before.credentials.get(type)
        version = facts_of(self._facts, type).written_version
        fresh = known or Credential(type, (), config, version, now, now)
        credential = replace(fresh, config=config, updated_at=now, set_at=fresh.set_since)
        after = replace(before, credentials={**before.credentials, type: credential})
        with uniqueness():
            after = await self._store.update(unit, before, after, counts=False)
        change = Change("identity.credential_set", identity_id, actor, client_ip, details={"type": type})
        await self._publisher.record(unit, change)
        if after.factors != before.factors:  # e.g. the last backup code was used
            await self._publisher.invalidate(unit, identity_id)

    async def mark_address(
        self,
        unit: Unit,
        address_id: UUID,
        status: AddressStatus,
        *,
        actor: str = "system",
        client_ip: str | None = None,
    ) -> None:
        """Set how far the verification of an address has come; `completed` verifies it. Raises `NotFound`."""
        now = self._clock.now()
        at = now if status is AddressStatus.COMPLETED else None
        owner = await store.mark_address(unit, address_id, status=status, verified_at=at, now=now)
        if owner is None:
            raise NotFound("There is no address of this id.")
        await self._publisher.changed_aside(unit, _marked(owner, status, actor=actor, client_ip=client_ip))

    async def mark_verified(
        self,
        unit: Unit,
        identity: Identity,
        addresses: Collection[Address],
        *,
        actor: str = "system",
        client_ip: str | None = None,
    ) -> Identity:
        """Mark addresses of the identity as verified, because they were proven to belong to it.

        Addresses of other identities and those already verified are ignored. It ends no sessions. The identity was read
        with its credentials. Returns it as it is now.
        """
        return await self.apply_proof(unit, identity, verified=addresses, actor=actor, client_ip=client_ip)

    async def mark_sent(
        self, unit: Unit, address_id: UUID, *, owner: UUID, actor: str = "system", client_ip: str | None = None
    ) -> None:
        """Record that a verification mail is on its way to an identity's address; one that is verified stays so.

        Unknown ids cost as much as known ones, so that the time reveals nothing.
        """
        store.mark_sent(unit, address_id, now=self._clock.now())
        change = _marked(owner, AddressStatus.SENT, actor=actor, client_ip=client_ip)
        await self._publisher.record(unit, change)
        await self._publisher.invalidate(unit, owner)

    async def learn_locale(self, unit: Unit, identity_id: UUID, locale: str) -> None:
        """Store the language of an identity's person, unless one is known already. Call it where the person is proven.

        It is no change of the account: it ends no sessions and publishes nothing. Only offered languages are stored.
        """
        if storable(locale) and await store.set_locale(unit, identity_id, locale, unless_known=True):
            await self._publisher.invalidate(unit, identity_id)

    async def choose_locale(self, unit: Unit, identity_id: UUID, locale: str) -> None:
        """Store the language that an identity's person has chosen, as `learn_locale` does, in place of any other."""
        if storable(locale) and await store.set_locale(unit, identity_id, locale, unless_known=False):
            await self._publisher.invalidate(unit, identity_id)

    async def apply_proof(
        self,
        unit: Unit,
        identity: Identity,
        *,
        verified: Collection[Address] = (),
        takes_over: bool = False,
        recovers: bool = False,
        actor: str = "system",
        client_ip: str | None = None,
    ) -> Identity:
        """Write what a proof implies for an identity that was read with its credentials: these addresses are verified,
        as by `mark_verified`. Returns the identity as it is now.

        Args:
            takes_over: remove its first factors and end its sessions where these addresses were never verified before.
                Whoever registered it need not own its address, so a password that they chose must not survive the
                owner's recovery. Second factors stay: without them, a mailbox alone would open an account that asks for
                more.
            recovers: end what former addresses may still do, except these addresses: who had the account before must
                not get it back. So does a takeover.
        """
        taken_over = takes_over and not _were_verified(identity, verified)
        if recovers or taken_over:
            spared = [value for _, value in verified]
            await end_all(unit, identity.id, self._clock.now(), spared=spared)
        unproven = self._chosen(identity) if taken_over else []
        without = self._without(identity, unproven) if unproven else identity
        after = self._verified(without, verified)
        if taken_over:
            after = self._entered_anew(after)
        if after is identity and not taken_over:
            return identity
        after = await self._store.update(unit, identity, after)
        if unproven:
            action, details = CREDENTIALS_CHANGED, {"types": unproven, "reason": SET_BEFORE_VERIFIED}
            change = Change(action, identity.id, actor, client_ip, changed=["credentials"], details=details)
            await self._publisher.changed(unit, change, identity, after)
        elif taken_over:  # there are sessions without them: of codes that went to an address that has been replaced
            await self._publisher.revoke(unit, identity.id)
        if after.verifiable_addresses != identity.verifiable_addresses:
            change = _marked(identity.id, AddressStatus.COMPLETED, actor=actor, client_ip=client_ip)
            await self._publisher.changed_aside(unit, change)
        return after

    def _entered_anew(self, identity: Identity) -> Identity:
        """Return the identity with its unverified addresses as if they were entered now: no verification that was
        opened before proves them (`flows/registrants.py`)."""
        now, known = self._clock.now(), identity.verifiable_addresses
        anew = tuple(each if each.verified else replace(each, created_at=now) for each in known)
        return identity if anew == known else replace(identity, verifiable_addresses=anew)

    def _chosen(self, identity: Identity) -> list[str]:
        """Return the types of the first factors that somebody has set."""
        return sorted(type_ for type_ in identity.credentials if self._is_chosen(type_))

    def _without(self, identity: Identity, types: Sequence[str]) -> Identity:
        extracted = _reserved(identity, self._facts)
        after = self._builder(identity).changed(dict.fromkeys(types), extracted=extracted)
        return replace(after, updated_at=self._clock.now())

    def _verified(self, identity: Identity, addresses: Iterable[Address]) -> Identity:
        """Return the identity with these addresses verified, itself where they are."""
        proven = {(via, normalise_identifier(value)) for via, value in addresses}
        now, status = self._clock.now(), AddressStatus.COMPLETED
        marked = tuple(
            replace(address, verified=True, status=status, verified_at=now, updated_at=now)
            if (address.via, address.value) in proven and not address.verified
            else address
            for address in identity.verifiable_addresses
        )
        known = identity.verifiable_addresses
        return identity if marked == known else replace(identity, verifiable_addresses=marked)

    def _is_chosen(self, type_: str) -> bool:
        """Return whether a credential is a first factor that somebody has set, and does not follow from the traits."""
        known = facts_of(self._facts, type_)
        return known.first_factor and known.config_from_traits is None

    async def _decided(
        self, unit: Unit, before: Identity, new: NewIdentity, *, actor: str, client_ip: str | None
    ) -> Identity:
        """Change an identity as an operator decides, after which no former address undoes what was decided."""
        after = await self._change(unit, before, new, actor=actor, client_ip=client_ip)
        if any(getattr(before, name) != getattr(after, name) for name in _GIVES_ACCESS):
            await end_all(unit, before.id, self._clock.now())
        return after

    async def _change(
        self, unit: Unit, before: Identity, new: NewIdentity, *, actor: str, client_ip: str | None
    ) -> Identity:
        after = await self._joined(unit, self._built(new, before=before), new.groups)
        with uniqueness():
            after = await self._store.update(unit, before, after)
        changed = differences(before, after)
        change = Change("identity.updated", after.id, actor, client_ip, changed=changed, details={"changed": changed})
        await self._publisher.changed(unit, change, before, after)
        return after

    async def _joined(self, unit: Unit, identity: Identity, given: GivenGroups | None) -> Identity:
        """Return an identity in the groups that a source gives it. Those that do not exist are made."""
        if given is None:
            return identity
        names, now = group_names(given), self._clock.now()
        new = {name: text for text in given.names if (name := group_name_of(text)) not in identity.groups}
        ids = {each.group: each.group_id for each in identity.memberships}
        ids |= await group_store.ensure(unit, new, now=now, new_id=self._ids) if new else {}
        if given.decides and any(name not in ids for name in names):
            raise InvalidInput(f"There are {group_store.MOST_IN_ALL} groups; delete some before you make more.")
        memberships = joined(identity.memberships, names, given=given, ids=ids, now=now)
        return replace(identity, memberships=memberships)

    def _built(self, new: NewIdentity, *, before: Identity | None) -> Identity:
        schema = self.schemas.require(new.schema_id or (before.schema_id if before else None))
        schema.require_valid(new.traits)
        return self._builder(before).identity(new, schema_id=schema.id, extracted=schema.extract(new.traits))

    def _with_credentials(
        self, before: Identity, changes: Mapping[str, CredentialInput | None], extracted: Extracted
    ) -> Identity:
        """Return the identity with changed credentials. Raises `BadRequest` where no way to sign in would be left."""
        after = self._builder(before).changed(changes, extracted=extracted)
        if self._first_factors(before) and not self._first_factors(after):
            raise BadRequest("This is the last way to sign in to the account: add another before removing it.")
        return after

    def _builder(self, before: Identity | None) -> IdentityBuilder:
        return IdentityBuilder(now=self._clock.now(), new_id=self._ids, facts=self._facts, before=before)

    def _first_factors(self, identity: Identity) -> list[str]:
        known = [(facts_of(self._facts, type_), credential) for type_, credential in identity.credentials.items()]
        return [facts.type for facts, credential in known if facts.first_factor and facts.usable(credential)]

    def _removable(self, identity: Identity, type_: str) -> Credential:
        """Return the credential of a type. Raises `NotFound`, and `BadRequest` where it cannot be removed."""
        credential = identity.credentials.get(type_)
        if credential is None:
            raise NotFound("The account has no credential of this type.")
        if not facts_of(self._facts, type_).removable:
            raise BadRequest("A credential of this type cannot be removed by itself.")
        if not holds_something(credential.config):
            raise NotFound("The account has no credential of this type.")
        return credential

    def _left_of(self, credential: Credential, identifier: str | None) -> Credential | None:
        """Return what is left of a credential without an identifier, None where nothing is.

        Raises `BadRequest` for a missing identifier, and `NotFound` for one that the credential does not have.
        """
        without = facts_of(self._facts, credential.type).without
        if without is None:
            return None
        if identifier is None:
            raise BadRequest("Name the account to remove: send its 'identifier', one of the credential's identifiers.")
        if identifier not in credential.identifiers:
            raise NotFound("The account has no credential of this type with this identifier.")
        if len(credential.identifiers) == 1:
            return None
        if not credential.config:
            raise BadRequest(
                "This credential cannot be opened: configure the secret in secrets.cipher it was sealed with."
            )
        return without(credential, identifier)


def require_version(version: int, expected: Collection[int] | None) -> None:
    """Raise `PreconditionFailed` where a version is none of those that a change was made from."""
    if expected is not None and version not in expected:
        raise PreconditionFailed("Read it again, and repeat your change with the 'ETag' of that answer in 'If-Match'.")


def _with_groups(changed: Sequence[str], before: Identity, after: Identity) -> Sequence[str]:
    return [*changed, *(["groups"] if before.groups != after.groups else [])]


def _were_verified(identity: Identity, proven: Collection[Address]) -> bool:
    """Return whether the addresses that a proof shows were verified before. Another address says nothing about the
    owner of these; but one that the account does not have now is judged by those that it has."""
    addresses = identity.verifiable_addresses
    own = [address for address in addresses if (address.via, normalise_identifier(address.value)) in proven]
    return all(each.verified for each in own) if own else any(each.verified for each in addresses)


def _same_but(identity: Identity, traits: Mapping[str, Any]) -> NewIdentity:
    return NewIdentity(
        traits=traits,
        metadata_public=identity.metadata_public,
        metadata_admin=identity.metadata_admin,
        external_id=identity.external_id,
    )


def _marked(owner: UUID, status: AddressStatus, *, actor: str, client_ip: str | None) -> Change:
    action, details = "identity.address_marked", {"status": status.value}
    return Change(action, owner, actor, client_ip, changed=["verifiable_addresses"], details=details)


def _reserved(identity: Identity, facts: FactsByType) -> Extracted:
    """Return the stored identifiers from traits, for a change that must not depend on the schema."""
    known = identity.credentials.items()
    return Extracted({type_: each.identifiers for type_, each in known if facts_of(facts, type_).from_traits})
