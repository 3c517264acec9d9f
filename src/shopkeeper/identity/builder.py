"""Builds a consistent identity from input: its identifiers and addresses are always derived from the traits.

These are functions without I/O.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from shopkeeper.errors import InvalidInput
from shopkeeper.identity.extraction import Address, Extracted
from shopkeeper.identity.facts import CredentialFacts, CredentialInput, FactsByType, facts_of
from shopkeeper.identity.memberships import GivenGroups
from shopkeeper.identity.normalise import LONGEST, normalise_identifier
from shopkeeper.identity.sealing import holds_something
from shopkeeper.identity.text_limits import unstorable
from shopkeeper.identity.values import (
    AddressStatus,
    Credential,
    Identity,
    RecoveryAddress,
    State,
    VerifiableAddress,
    Via,
)
from shopkeeper.languages.choice import storable

LONGEST_EXTERNAL_ID = 255
LONGEST_TYPE = 32


@dataclass(frozen=True, slots=True)
class AddressInput:
    """What is already known about an address in the traits. An address that is not in the traits is ignored."""

    value: str
    via: Via = Via.EMAIL
    verified: bool = False
    status: AddressStatus = AddressStatus.PENDING
    verified_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class NewIdentity:
    """The input for creating or replacing an identity.

    Without `schema_id` and `state`, a new identity gets the default schema and is active, and an existing one keeps its
    own. Recovery addresses come from the traits alone; given ones must be among them. Without `locale`, the language of
    the person stays as it is; only offered languages are stored. Without `groups`, those that it is in stay.
    """

    traits: Mapping[str, Any]
    schema_id: str | None = None
    state: State | None = None
    metadata_public: Any = None
    metadata_admin: Any = None
    external_id: str | None = None
    credentials: Sequence[CredentialInput] = ()
    verifiable_addresses: Sequence[AddressInput] = ()
    recovery_addresses: Sequence[AddressInput] = ()
    id: UUID | None = None
    locale: str | None = None
    groups: GivenGroups | None = None


@dataclass(frozen=True, slots=True)
class _Removed:
    """Stands for a removed credential: it has no config and no identifiers."""

    type: str
    config: Mapping[str, Any] = field(default_factory=dict)
    identifiers: Sequence[str] = ()


def incognito(identity: Identity) -> Identity:
    """Return the identity without identifiers and with addresses that do not exist.

    Removing it again costs the time that writing the identifiers would take.
    """
    unheard_of = identity.id.hex
    return replace(
        identity,
        credentials={type_: replace(known, identifiers=()) for type_, known in identity.credentials.items()},
        verifiable_addresses=tuple(
            replace(address, value=f"{unheard_of}-{n}") for n, address in enumerate(identity.verifiable_addresses)
        ),
        recovery_addresses=tuple(
            replace(address, value=f"{unheard_of}-{n}") for n, address in enumerate(identity.recovery_addresses)
        ),
    )


@dataclass(frozen=True, slots=True)
class IdentityBuilder:
    """Builds one identity at one moment; `before` is its previous state.

    >>> builder = IdentityBuilder(now=now, new_id=new_id, facts=facts)  # doctest: +SKIP
    >>> builder.identity(new, schema_id="default", extracted=extracted)  # doctest: +SKIP
    """

    now: datetime
    new_id: Callable[[], UUID]
    facts: FactsByType
    before: Identity | None = None

    def identity(self, new: NewIdentity, *, schema_id: str, extracted: Extracted) -> Identity:
        """Return the new state of the identity. Raises `InvalidInput` for values that cannot be stored."""
        _refuse_unstorable("metadata_public", new.metadata_public)
        _refuse_unstorable("metadata_admin", new.metadata_admin)
        _refuse_foreign(new.recovery_addresses, extracted.recovery)
        before = self.before
        state = new.state or (before.state if before else State.ACTIVE)
        return Identity(
            id=before.id if before else new.id or self.new_id(),
            schema_id=schema_id,
            state=state,
            state_changed_at=before.state_changed_at if before and before.state is state else self.now,
            traits=new.traits,
            metadata_public=new.metadata_public,
            metadata_admin=new.metadata_admin,
            external_id=_external_id(new.external_id),
            verifiable_addresses=self._verifiable(extracted.verifiable, new.verifiable_addresses),
            recovery_addresses=self._recovery(extracted.recovery),
            created_at=before.created_at if before else self.now,
            updated_at=self.now,
            locale=storable(new.locale) or (before.locale if before else None),
            credentials=self._credentials(extracted, {given.type: given for given in new.credentials}),
            memberships=before.memberships if before else (),
            version=before.version if before else 1,
        )

    def changed(self, changes: Mapping[str, CredentialInput | None], *, extracted: Extracted) -> Identity:
        """Return `before` with other credentials: each replaces the one of its type, None removes it.

        A removed credential whose identifiers are traits is kept without its config, so that the identifier stays
        reserved and another identity cannot take it over. Raises `InvalidInput`.
        """
        if self.before is None:
            raise ValueError("there is no identity to change")
        credentials = dict(self.before.credentials)
        for type_, given in changes.items():
            kept = credentials.pop(type_, None)
            after = self._credential(type_, extracted, _Removed(type_) if given is None else given, kept)
            credentials.update({type_: after} if after else {})
        return replace(self.before, credentials=credentials)

    def _verifiable(self, wanted: Iterable[Address], given: Iterable[AddressInput]) -> tuple[VerifiableAddress, ...]:
        before = self.before.verifiable_addresses if self.before else ()
        kept = {(address.via, address.value): address for address in before}
        told = {(address.via, normalise_identifier(address.value)): address for address in given}
        fresh = (kept.get(address) or self._unverified(address) for address in wanted)
        return tuple(self._told(address, told.get((address.via, address.value))) for address in fresh)

    def _unverified(self, address: Address) -> VerifiableAddress:
        via, value = address
        return VerifiableAddress(
            id=self.new_id(),
            value=value,
            via=via,
            verified=False,
            status=AddressStatus.PENDING,
            verified_at=None,
            created_at=self.now,
            updated_at=self.now,
        )

    def _told(self, address: VerifiableAddress, told: AddressInput | None) -> VerifiableAddress:
        """Apply what is known about an address: it is `completed` exactly when it is `verified`."""
        if told is None:
            return address
        unproven = AddressStatus.PENDING if told.status is AddressStatus.COMPLETED else told.status
        status = AddressStatus.COMPLETED if told.verified else unproven
        told_at = _in_utc(told.verified_at)
        at = (told_at or address.verified_at or self.now) if told.verified else None
        known = (address.verified, address.status, address.verified_at)
        if (told.verified, status, at) == known:
            return address
        return replace(address, verified=told.verified, status=status, verified_at=at, updated_at=self.now)

    def _recovery(self, wanted: Iterable[Address]) -> tuple[RecoveryAddress, ...]:
        before = self.before.recovery_addresses if self.before else ()
        kept = {(address.via, address.value): address for address in before}
        return tuple(kept.get((via, value)) or self._for_recovery(via, value) for via, value in wanted)

    def _for_recovery(self, via: Via, value: str) -> RecoveryAddress:
        return RecoveryAddress(id=self.new_id(), value=value, via=via, created_at=self.now, updated_at=self.now)

    def _credentials(self, extracted: Extracted, given: Mapping[str, CredentialInput]) -> dict[str, Credential]:
        kept = self.before.credentials if self.before else {}
        types = sorted({*extracted.identifiers, *given, *kept})
        whole = {type_: self._added(one, kept.get(type_)) for type_, one in given.items()}
        made = (self._credential(type_, extracted, whole.get(type_), kept.get(type_)) for type_ in types)
        return {credential.type: credential for credential in made if credential is not None}

    def _added(self, given: CredentialInput, kept: Credential | None) -> CredentialInput:
        """Return a given credential with what the identity keeps of its own, for types that hold several things."""
        added = facts_of(self.facts, given.type).added
        return given if added is None or kept is None else added(kept, given)

    def _credential(
        self, type_: str, extracted: Extracted, given: CredentialInput | None, kept: Credential | None
    ) -> Credential | None:
        facts = facts_of(self.facts, type_)
        identifiers = _identifiers(facts, extracted, given, kept)
        config = _config(facts, extracted, given, kept)
        if not identifiers and not holds_something(config):
            return None
        if kept is None:
            _refuse_odd_type(type_)
            return Credential(type_, identifiers, config, facts.written_version, self.now, self.now, self.now)
        if kept.identifiers == identifiers and kept.config == config:
            return kept
        set_at = kept.set_since if kept.config == config else self.now
        return replace(kept, identifiers=identifiers, config=config, updated_at=self.now, set_at=set_at)


def _in_utc(at: datetime | None) -> datetime | None:
    try:
        return at.astimezone(UTC) if at else None
    except OverflowError:
        raise InvalidInput("'verified_at' is further away than a calendar goes.") from None


def _identifiers(
    facts: CredentialFacts, extracted: Extracted, given: CredentialInput | None, kept: Credential | None
) -> tuple[str, ...]:
    """Return the identifiers from the traits where the schema defines them, else the credential's own.

    So importing a credential cannot claim an identifier that is a trait of another identity.
    """
    if facts.from_traits:
        return tuple(extracted.identifiers.get(facts.type, ()))
    if given is None:
        return kept.identifiers if kept else ()
    if any(not 0 < len(identifier) <= LONGEST or unstorable(identifier) for identifier in given.identifiers):
        raise InvalidInput(f"An identifier of a credential has 1 to {LONGEST} plain characters.")
    return tuple(dict.fromkeys(given.identifiers))


def _config(
    facts: CredentialFacts, extracted: Extracted, given: CredentialInput | None, kept: Credential | None
) -> Mapping[str, Any]:
    if facts.config_from_traits is not None:
        return facts.config_from_traits(extracted)
    if given is not None:
        _refuse_unstorable("credentials", given.config)
        return given.config
    return kept.config if kept else {}


def _refuse_odd_type(type_: str) -> None:
    if len(type_) > LONGEST_TYPE or not type_.isidentifier():
        raise InvalidInput("This is not the name of a credential type.")


def _external_id(given: str | None) -> str | None:
    if given is not None and (len(given) > LONGEST_EXTERNAL_ID or unstorable(given)):
        raise InvalidInput(f"'external_id' has {LONGEST_EXTERNAL_ID} plain characters at most.")
    return given or None


def _refuse_foreign(given: Iterable[AddressInput], known: Sequence[Address]) -> None:
    """Refuse recovery addresses outside the traits: the next change of traits would drop them, and until then they
    would give access to the account."""
    if not {(address.via, normalise_identifier(address.value)) for address in given} <= {*known}:
        raise InvalidInput("'recovery_addresses' has an address that is none of the traits marked for recovery.")


def _refuse_unstorable(name: str, value: Any) -> None:
    if lost := unstorable(value):
        path, reason = lost
        raise InvalidInput(f"{'.'.join((name, *path))}: {reason}")
